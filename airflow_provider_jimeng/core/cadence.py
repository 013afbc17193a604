"""When a render is worth asking about: from how long renders of its model were seen to take.

Until enough was seen, the vendor's 1 to 5 minutes (confidence M) stand in. Then there is no query while nothing can
be ready, and close ones while the render is due.
"""

from __future__ import annotations

from collections import deque
from math import sqrt
from weakref import WeakSet

from airflow_provider_jimeng.core.catalogue import TYPICAL_RENDER_SECONDS

LEARNED_FROM = 2
"""So many durations are enough to go by."""
TRUSTED_FROM = 8
"""So many are enough to forget what the vendor says, where the durations seen do not contradict it."""
REMEMBERED = 100
CLOSEST = 2.0
"""Seconds between two queries when the end is known well."""
WIDEST = 14.0
"""The same when it is not and much time is left."""
WIDEST_GUESS = 12.2
"""The same while the vendor's minutes are all there is to go by."""
OVERDUE = 9.5
"""The same beyond the longest duration seen."""
FARTHEST = 30.0
BLIND_SECONDS = 120.0
"""No longer than this passes without a query, whatever was learnt."""
GLANCES = (11.0, 33.0)
"""Ages at which a render is asked about before it is due, while nothing is known: not every API takes a minute."""
EARLY_SHARE = 0.97
"""Asking begins this much before the shortest duration to be expected."""
GUESSED_EARLIER = 0.7
"""A render that was done when it was first asked about may have taken this part of its age."""
STEPS_WHEN_DUE = 6
"""The widest step is this part of the time in which the end can be expected."""


class Cadence:
    """What is known of one model's durations, in seconds from submit to done."""

    __slots__ = ("_asking", "_seen")

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque(maxlen=REMEMBERED)
        self._asking: WeakSet[object] = WeakSet()

    def join(self, waiter: object) -> None:
        """Count somebody who waits for a render, for as long as there is anyone to."""
        self._asking.add(waiter)

    def learn(self, *, pending_at: float | None, done_at: float) -> None:
        """Take in one render: the age at which it was last seen running, and that at which it was seen done.

        A render that nobody asked about in time, such as one adopted an hour later, teaches nothing.
        """
        if pending_at is None:
            if not self.known or done_at > 2 * self.longest:
                return
            pending_at = done_at * GUESSED_EARLIER
        elif pending_at < TYPICAL_RENDER_SECONDS[0] <= done_at:
            pending_at = TYPICAL_RENDER_SECONDS[0]  # nothing that contradicts the vendor
        self._seen.append((pending_at, done_at))

    @property
    def known(self) -> bool:
        """Was enough seen to go by?"""
        return len(self._seen) >= LEARNED_FROM

    @property
    def shortest(self) -> float:
        """The age before which nothing is ready."""
        return self._due()[0]

    @property
    def longest(self) -> float:
        """The age by which all were ready."""
        return max(high for _, high in self._seen) if self.known else TYPICAL_RENDER_SECONDS[1]

    def blind_wait(self, age: float) -> float:
        """Return the seconds to let pass while nothing can be ready; what was learnt may be out of date."""
        due = self.shortest + self._step(self.shortest)
        if not self.known:
            due = next((at for at in GLANCES if at > age), due)
        return min(BLIND_SECONDS, max(CLOSEST, due - age))

    def wait_at(self, age: float) -> float:
        """Return the seconds from a query at this age to the next one."""
        if age < self.shortest:
            return self.blind_wait(age)
        overdue = max(self.longest, TYPICAL_RENDER_SECONDS[1])
        if age > overdue:
            return min(FARTHEST, max(OVERDUE, (age - overdue) * 0.2))
        return OVERDUE if age > self.longest and not self._crowded else self._step(age)

    @property
    def _crowded(self) -> bool:
        """Do many go by few? Of renders that began together, the first to end say little about the others."""
        return len(self._seen) < len(self._asking)

    def _step(self, age: float) -> float:
        """Wide steps first, which every render pays for, then closer ones: few queries for the same mean delay."""
        unsure = self._crowded or not self.known
        start, end = TYPICAL_RENDER_SECONDS if unsure else self._due()
        widest = WIDEST_GUESS if unsure else min(WIDEST, (end - start) / STEPS_WHEN_DUE)
        left = min(1.0, max(0.0, (end - age) / (end - start)))
        return max(CLOSEST, widest / 3, widest * sqrt(left))

    def _due(self) -> tuple[float, float]:
        """Return the ages between which a render can be expected to end.

        The fewer were seen, the further before them it begins; and few that lie within what the vendor says do not
        narrow it much.
        """
        usual = TYPICAL_RENDER_SECONDS
        if not self.known:
            return usual
        earliest = min(low for low, _ in self._seen)
        more = len(self._seen) - 1
        start = max(0.0, earliest - (self.longest - earliest) / more) * EARLY_SHARE
        trust = 1.0 if earliest < usual[0] else min(1.0, more / TRUSTED_FROM)
        return usual[0] + (start - usual[0]) * trust, usual[1] + (self.longest - usual[1]) * trust
