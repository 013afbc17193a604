"""Decides when the next request of an account may start; sleeping is left to the loop that asks.

Nobody publishes the API's request rate, so the limiter starts at the configured rate, halves when the API says
it was too much, and creeps back. Routine polls use at most a share of it, so that a submit or a cancel never
queues behind hundreds of polls.
"""

from __future__ import annotations

MAX_REQUESTS_PER_SECOND = 5.0
"""The request rate to begin with. The API publishes none (L)."""
ROUTINE_SHARE = 0.8
"""The part of the rate that routine polls may use."""
SLOWEST_SHARE = 1 / 50
"""The rate never falls below this part of the configured one."""
RECOVERY_STEPS = 50
"""So many accepted requests bring the rate from nothing back to the configured one."""
BURST_SECONDS = 0.05
"""Requests due within so short a time start together: sleeping for less costs more than it spreads."""


class RateLimiter:
    """Spaces the starts of requests. Every method takes ``now`` in seconds of one monotonic clock.

    Ask with at most one waiting caller of each kind (routine or not) at a time; :meth:`delay` then needs no
    queue of its own.
    """

    __slots__ = ("_last_cut", "_max_rate", "_next_routine", "_next_start", "_rate")

    def __init__(self, max_requests_per_second: float) -> None:
        self._max_rate = max_requests_per_second
        self._rate = max_requests_per_second
        self._next_start = float("-inf")
        self._next_routine = float("-inf")
        self._last_cut = float("-inf")

    def cap(self, max_requests_per_second: float) -> None:
        """Take another ceiling: the connection's was changed."""
        self._max_rate = max_requests_per_second
        self._rate = min(self._rate, max_requests_per_second)

    @property
    def rate(self) -> float:
        """Requests a second at present."""
        return self._rate

    def delay(self, now: float, *, routine: bool) -> float:
        """Return the seconds to wait and ask again, or 0 when the request may start now (it then counts)."""
        due = max(self._next_start, self._next_routine) if routine else self._next_start
        if due - now > BURST_SECONDS:
            return due - now
        self._next_start = max(now, self._next_start) + 1 / self._rate
        if routine:
            self._next_routine = max(now, self._next_routine) + 1 / (self._rate * ROUTINE_SHARE)
        return 0.0

    def accepted(self) -> None:
        """Creep back: a request was not refused for its rate."""
        if self._rate < self._max_rate:
            self._rate = min(self._max_rate, self._rate + self._max_rate / RECOVERY_STEPS)

    def refused(self, started: float, now: float) -> None:
        """Halve: a request that started at ``started`` was too much.

        Requests that were already out when the rate was last halved say nothing about the new rate.
        """
        if started < self._last_cut:
            return
        self._last_cut = now
        self._rate = max(self._rate / 2, self._max_rate * SLOWEST_SHARE)
        pause = now + 1 / self._rate
        self._next_start = max(self._next_start, pause)
        self._next_routine = max(self._next_routine, pause)
