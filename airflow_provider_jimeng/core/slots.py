"""Who of those that wait for a render slot goes next, and when to try without having seen one come free.

An account renders so many at once per model (docs 85621: trial 1, paid 1 to 2; confidence M), answers 50430 to the
next submit, and tells nobody when a slot comes free. So the end of a render that this process polls wakes one of
those that wait; what other processes and clients do is found out by trying now and then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

SETTLE_SECONDS = 10.5
"""Nobody goes on sooner than 10 s after deferring, which itself takes a moment: a task that resumes within about 6 s
can be failed by the scheduler."""
TRY_WHEN_FREE_SECONDS = 20.0
"""Pause between tries while fewer renders run than did at some time, or none that this process knows of."""
TRY_WHEN_FULL_SECONDS = 180.0
"""The same while as many run as ever did: only a limit that was raised could let another one in."""
TRY_WHEN_THROTTLED_SECONDS = 6.0
"""The same after 50429: the request rate was the limit, not the slots."""
CREDIT_SECONDS = 60.0
"""So long a slot that came free while nobody waited is offered to the next who comes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Waiter:
    """Somebody who waits. Times are epoch seconds; ``since`` is when the first submit was refused."""

    since: float
    not_before: float
    priority_weight: int = 1
    dag_id: str = ""
    throttled: bool = False

    @property
    def refused_at(self) -> float:
        """When the last submit was refused: a slot that came free earlier was not there for it."""
        return self.not_before - SETTLE_SECONDS


def choose(waiters: Iterable[Waiter], *, now: float, turns: Mapping[str, int]) -> Waiter | None:
    """Return who goes next: by weight, then DAGs in turn, then the longest wait.

    Those who deferred a moment ago stand back while there is anyone else.

    :param turns: a number per DAG that grows each time one of its tasks goes; absent: never yet.
    """
    everyone = list(waiters)
    settled = [waiter for waiter in everyone if waiter.not_before <= now]
    if not settled:
        return min(everyone, key=lambda waiter: waiter.not_before, default=None)
    return min(
        settled, key=lambda waiter: (-waiter.priority_weight, turns.get(waiter.dag_id, -1), waiter.since)
    )


def pause_between_tries(*, running: int, peak: int, throttled: bool) -> float:
    """Return the seconds after which one waiter tries although nothing was seen to come free.

    :param running: renders of the account and model that this process polls now; ``peak``: the most it ever did.
    :param throttled: the last refusal was for the request rate.
    """
    if throttled:
        return TRY_WHEN_THROTTLED_SECONDS
    return TRY_WHEN_FULL_SECONDS if 0 < peak <= running else TRY_WHEN_FREE_SECONDS
