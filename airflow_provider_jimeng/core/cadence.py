"""When a render is worth asking about: from how long renders of its model were seen to take.

Until enough was seen, the vendor's 1 to 5 minutes (confidence M) stand in. Then there is no query while nothing can
be ready, and close ones while the render is due.
"""

from __future__ import annotations

from collections import deque

from airflow_provider_jimeng.core.catalogue import TYPICAL_RENDER_SECONDS

LEARNED_FROM = 2
"""So many durations are enough to go by."""
REMEMBERED = 40
CLOSEST = 2.0
"""Seconds between two queries when the end is known well."""
CLOSE = 9.5
"""The same when it is not: the mean delay to notice is half of it."""
FARTHEST = 30.0
BLIND_SECONDS = 120.0
"""No longer than this passes without a query, whatever was learnt."""
EARLY_SHARE = 0.97
"""Asking begins this much before the shortest duration seen."""
GUESSED_EARLIER = 0.7
"""A render that was done when it was first asked about may have taken this part of its age."""


class Cadence:
    """What is known of one model's durations, in seconds from submit to done."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque(maxlen=REMEMBERED)

    def learn(self, *, pending_at: float | None, done_at: float) -> None:
        """Take in one render: the age at which it was last seen running, and that at which it was seen done.

        A render that nobody asked about in time, such as one adopted an hour later, teaches nothing.
        """
        if pending_at is None:
            if not self.known or done_at > 2 * self.longest:
                return
            pending_at = done_at * GUESSED_EARLIER
        self._seen.append((pending_at, done_at))

    @property
    def known(self) -> bool:
        """Was enough seen to go by?"""
        return len(self._seen) >= LEARNED_FROM

    @property
    def shortest(self) -> float:
        """The age before which nothing is ready; 0 until enough was seen."""
        return min(low for low, _ in self._seen) * EARLY_SHARE if self.known else 0.0

    @property
    def longest(self) -> float:
        """The age by which all were ready."""
        return max(high for _, high in self._seen) if self.known else TYPICAL_RENDER_SECONDS[1]

    def blind_wait(self, age: float) -> float:
        """Return the seconds to let pass while nothing can be ready; what was learnt may be out of date."""
        return min(BLIND_SECONDS, max(CLOSEST, self.shortest - age))

    def wait_at(self, age: float) -> float:
        """Return the seconds from a query at this age to the next one."""
        if age < self.shortest:
            return self.blind_wait(age)
        if age > self.longest:
            return min(FARTHEST, max(CLOSE, (age - self.longest) * 0.2))
        if not self.known:
            return CLOSE
        return min(CLOSE, max(CLOSEST, (self.longest - self.shortest) / 20))
