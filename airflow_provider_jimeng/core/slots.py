"""Which of the tasks that wait for a render slot submits next, and when a task tries without a sign of a free slot.

An account has a concurrency limit per model (docs 85621: trial 1, paid 1 to 2; confidence M). The API answers 50430 to
a submit beyond it and does not report when a slot comes free. Therefore the end of a render that this process polls
wakes one waiting task. Other processes and clients also free slots, so one waiting task tries from time to time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

SETTLE_SECONDS = 10.5
"""No task resumes earlier than 10 s after it deferred, and deferring takes a moment. The scheduler can fail a task that
resumes within about 6 s."""
TRY_WHEN_FREE_SECONDS = 20.0
"""Pause between tries while fewer renders run than at the peak, or while this process knows of no render."""
TRY_WHEN_FULL_SECONDS = 180.0
"""Pause while as many renders run as at the peak: only a higher limit would accept another one."""
TRY_WHEN_THROTTLED_SECONDS = 6.0
"""Pause after 50429: the request rate was the limit, not the number of renders."""
CREDIT_SECONDS = 60.0
"""Seconds for which a free slot is kept for the next waiting task."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Waiter:
    """A task that waits for a slot. Times are epoch seconds; ``since`` is when its first submit was refused."""

    since: float
    not_before: float
    priority_weight: int = 1
    dag_id: str = ""
    throttled: bool = False

    @property
    def refused_at(self) -> float:
        """When the last submit was refused. A slot that came free before that is not free any more."""
        return self.not_before - SETTLE_SECONDS


def choose(waiters: Iterable[Waiter], *, now: float, turns: Mapping[str, int]) -> Waiter | None:
    """Return the waiter that submits next: by weight, then DAGs in turn, then the longest wait.

    A waiter that deferred a moment ago is chosen only if there is no other one.

    :param turns: a number per DAG that grows each time one of its tasks is chosen; no number means never.
    """
    everyone = list(waiters)
    settled = [waiter for waiter in everyone if waiter.not_before <= now]
    if not settled:
        return min(everyone, key=lambda waiter: waiter.not_before, default=None)
    return min(
        settled, key=lambda waiter: (-waiter.priority_weight, turns.get(waiter.dag_id, -1), waiter.since)
    )


def pause_between_tries(*, running: int, peak: int, throttled: bool) -> float:
    """Return the seconds after which one waiter tries without a sign of a free slot.

    :param running: renders of the account and model that this process polls now.
    :param peak: the highest such number so far.
    :param throttled: the request rate caused the last refusal.
    """
    if throttled:
        return TRY_WHEN_THROTTLED_SECONDS
    return TRY_WHEN_FULL_SECONDS if 0 < peak <= running else TRY_WHEN_FREE_SECONDS
