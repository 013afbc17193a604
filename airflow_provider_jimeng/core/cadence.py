"""When to query a render, by the durations of earlier renders of its model.

Until enough durations are known, the vendor's 1 to 5 minutes (confidence M) stand in. A render is queried rarely while
it cannot be done yet, and often while its end is likely.
"""

from __future__ import annotations

from collections import deque
from math import sqrt
from weakref import WeakSet

from airflow_provider_jimeng.core.catalogue import TYPICAL_RENDER_SECONDS

LEARNED_FROM = 2
"""Number of durations from which they are used."""
TRUSTED_FROM = 8
"""Number of durations from which they replace the vendor's range, if they lie within it."""
REMEMBERED = 100
CLOSEST = 2.0
"""The shortest step: seconds between two queries when the end is known well."""
WIDEST = 13.0
"""The widest step when the end is known badly and much time is left."""
WIDEST_GUESS = 11.6
"""The widest step while only the vendor's range is known."""
OVERDUE = 8.0
"""The step after the longest known duration."""
FARTHEST = 30.0
"""The widest step of a render that is long overdue."""
BLIND_SECONDS = 120.0
"""The longest time without a query, because durations can change."""
EARLY_LOOKS = (11.0, 33.0)
"""Ages at which a render is queried while nothing is known, because some APIs take less than a minute."""
DRIFT = 1.25
"""The jitter can bring a query this much earlier than planned. It counts as the planned one all the same."""
EARLY_SHARE = 0.97
"""Queries begin at this share of the shortest duration that is expected."""
GUESSED_EARLIER = 0.7
"""If the first query already finds a render done, its duration is at least this share of its age."""
STEPS_WHEN_DUE = 6
"""The range of likely ends has at least this many steps."""


class Cadence:
    """The known durations of one model, in seconds from submit to done, and the steps that follow from them."""

    __slots__ = ("_durations", "_waiters")

    def __init__(self) -> None:
        self._durations: deque[tuple[float, float]] = deque(maxlen=REMEMBERED)
        self._waiters: WeakSet[object] = WeakSet()

    def join(self, waiter: object) -> None:
        """Count an object that waits for a render, until the object is gone."""
        self._waiters.add(waiter)

    def learn(self, *, pending_at: float | None, done_at: float) -> None:
        """Add one render: its age when it was last seen running, and its age when it was first seen done.

        A render that was queried long after its end, such as one that a retry adopts an hour later, is ignored.
        """
        if pending_at is None:
            if not self.known or done_at > 2 * self.longest:
                return
            pending_at = done_at * GUESSED_EARLIER
        elif pending_at < TYPICAL_RENDER_SECONDS[0] <= done_at:
            pending_at = TYPICAL_RENDER_SECONDS[0]  # the duration can lie within the vendor's range
        self._durations.append((pending_at, done_at))

    @property
    def known(self) -> bool:
        """Whether enough durations are known to use them."""
        return len(self._durations) >= LEARNED_FROM

    @property
    def shortest(self) -> float:
        """The age before which no render is expected to be done."""
        return self._expected()[0]

    @property
    def longest(self) -> float:
        """The age at which every known render was done."""
        return max(done for _, done in self._durations) if self.known else TYPICAL_RENDER_SECONDS[1]

    def blind_wait(self, age: float) -> float:
        """Return the seconds until the next query of a render that is too young to be done."""
        due = self.shortest + self._step(self.shortest)
        if not self.known:
            due = next((look for look in EARLY_LOOKS if look > age * DRIFT), due)
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
        """Whether more renders are waited for than are known.

        If many renders begin together, the first ones to end are the short ones and say little about the others.
        """
        return len(self._durations) < len(self._waiters)

    def _step(self, age: float) -> float:
        """Return the seconds to the next query of a render whose end is possible now.

        Steps shrink with age. Every render pays for the first steps, only the long ones pay for the last, so this
        takes fewer queries than equal steps with the same mean delay.
        """
        unsure = self._crowded or not self.known
        start, end = TYPICAL_RENDER_SECONDS if unsure else self._expected()
        widest = WIDEST_GUESS if unsure else min(WIDEST, (end - start) / STEPS_WHEN_DUE)
        left = min(1.0, max(0.0, (end - age) / (end - start)))
        return max(CLOSEST, widest * 0.4, widest * sqrt(left))

    def _expected(self) -> tuple[float, float]:
        """Return the ages between which a render is expected to end.

        The range begins before the shortest known duration, the more so the fewer are known. A few durations within
        the vendor's range narrow that range only a little.
        """
        usual = TYPICAL_RENDER_SECONDS
        if not self.known:
            return usual
        earliest = min(pending for pending, _ in self._durations)
        others = len(self._durations) - 1
        start = max(0.0, earliest - (self.longest - earliest) / others) * EARLY_SHARE
        trust = 1.0 if earliest < usual[0] else min(1.0, others / TRUSTED_FROM)
        return usual[0] + (start - usual[0]) * trust, usual[1] + (self.longest - usual[1]) * trust
