# SPDX-License-Identifier: Apache-2.0
"""When the next waiting task of an account can start. The loops that ask do the sleeping.

An account has a concurrency limit per model (docs 85621: trial 1, paid 1 to 2; confidence M). The API answers 50430
to a submit beyond it and does not report when a slot comes free. Therefore the end of a render that this process polls
wakes one waiting task. If the known durations say when a render ends, one task is woken ahead of that end. It stands
ready on its worker, queries the render, and submits when the render has ended. Other processes and clients also free
slots, so one waiting task tries from time to time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from airflow_provider_jimeng.core.errors import ApiError, JimengError
from airflow_provider_jimeng.core.render import RenderStatus
from airflow_provider_jimeng.core.wire import QueryReply

SETTLE_SECONDS = 10.5
"""No task resumes earlier than 10 s after it deferred, and deferring takes a moment. The scheduler can fail a task that
resumes within about 6 s."""
TRY_WHEN_FREE_SECONDS = 20.0
"""Pause between tries while fewer renders run than at the peak, or while this process knows of no render."""
TRY_WHEN_FULL_SECONDS = 180.0
"""Pause while as many renders run as at the peak: only a higher limit would accept another one."""
TRY_WHEN_THROTTLED_SECONDS = 6.0
"""Pause after 50429: the request rate was the limit, not the number of renders."""
JITTER = 0.2
"""A wait is lengthened or shortened by up to a fifth, so that waits that began together do not end together."""
CREDIT_SECONDS = 60.0
"""Seconds for which a free slot is kept for the next waiting task."""
LEAD_SECONDS = 5.0
"""A task is woken this long before a render can end. On a quiet machine it is ready on its worker after 2 s."""
READY_SECONDS = 6.0
"""A task that was woken ahead waits for the slot until this long after the lead."""
SOON = 0.2
"""A task is woken ahead if at least this share of the known renders would end within the lead."""
LIKELY = 0.6
"""A task is woken ahead only if at least this share would end while it stands ready, so that few wake-ups are wasted."""
READY_QUERY_SECONDS = 1.0
"""Pause between the queries of a task that stands ready."""
TRIES_AFTER_END = (1.0, 2.0)
"""Pauses before a submit is tried again that was refused although a render had ended just before."""
QUERIES_WHILE_TASKS_WAIT = 0.5
"""While tasks wait for a slot, the running renders of the account and model are queried this often a second in all."""
SHORTEST_QUERY_PAUSE = 3.0
"""A render is not queried more often than this in seconds, however many tasks wait for its slot."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Wake:
    """Why a waiting task is woken: a slot is free, or the slot of a render comes free before ``until`` (epoch seconds)."""

    render_id: str | None = None
    until: float | None = None


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
    :param peak: the highest number of them that ran at once so far; see :func:`running_at_once`.
    :param throttled: the request rate caused the last refusal.
    """
    if throttled:
        return TRY_WHEN_THROTTLED_SECONDS
    return TRY_WHEN_FULL_SECONDS if 0 < peak <= running else TRY_WHEN_FREE_SECONDS


def ends_soon(durations: Iterable[tuple[float, float]], age: float) -> bool:
    """Return whether a task is to be woken ahead of the end of a render of this age.

    It is if the end is possible within the time that a worker needs to start, and likely while the task stands ready.

    :param durations: of known renders, the last age at which each still ran and the first at which it was done.
    """
    known = list(durations)
    left = _still_running(known, age)
    if not left:
        return False
    ready_at, ready_until = age + LEAD_SECONDS, age + LEAD_SECONDS + READY_SECONDS
    return (
        1 - _still_running(known, ready_at) / left >= SOON
        and 1 - _still_running(known, ready_until) / left >= LIKELY
    )


def _still_running(durations: Iterable[tuple[float, float]], age: float) -> float:
    """Return how many of the known renders ran at this age. An end lies anywhere between the two ages that are known."""
    return sum(
        1.0 if age <= pending else (done - age) / (done - pending)
        for pending, done in durations
        if age < done
    )


def running_at_once(renders: Iterable[tuple[float, float]]) -> int:
    """Return how many renders certainly ran when the latest of them was accepted.

    A render whose end is not noticed yet does not count, because its slot can be that of the latest one.

    :param renders: when each was accepted, and when it was last seen running, as epoch seconds.
    """
    known = list(renders)
    latest = max((accepted for accepted, _ in known), default=0.0)
    return sum(seen_running >= latest for _, seen_running in known)


def longest_query_pause(*, running: int, waiting: int) -> float:
    """Return the longest pause between two queries of a render whose end is possible.

    :param running: renders of the account and model that this process polls.
    :param waiting: tasks that wait for a slot of theirs; without any, no pause is too long.
    """
    return max(SHORTEST_QUERY_PAUSE, running / QUERIES_WHILE_TASKS_WAIT) if waiting else float("inf")


def frees_slot(answer: QueryReply | JimengError) -> bool:
    """Return whether the answer to a query says that the render has ended, so that its slot is free."""
    if isinstance(answer, QueryReply):
        return answer.status in _ENDED
    return isinstance(answer, ApiError) and answer.entry is not None and answer.entry.fails_render


_ENDED = frozenset({RenderStatus.DONE, RenderStatus.FAILED, RenderStatus.EXPIRED, RenderStatus.NOT_FOUND})


def spread(seconds: float, jitter: float) -> float:
    """Return ``seconds`` changed by up to a fifth; ``jitter`` is a random number from 0 to 1."""
    return seconds * (1 + JITTER * (2 * jitter - 1))
