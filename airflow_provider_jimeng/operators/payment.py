# SPDX-License-Identifier: Apache-2.0
"""One payment: the intent is recorded, the request leaves at most once, the id of the render is recorded.

Everything that can fail before the request leaves happens before the intent is recorded, or takes the intent back.
After the answer, nothing happens before the id is recorded.
"""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pendulum
from airflow.providers.common.compat.sdk import AirflowTaskTimeout

from airflow_provider_jimeng.core.arguments import read_seconds
from airflow_provider_jimeng.core.errors import (
    ApiError,
    LedgerError,
    RateLimitedError,
    TransportError,
    UnknownSubmitError,
)
from airflow_provider_jimeng.core.limits import (
    READY_QUERY_SECONDS,
    SETTLE_SECONDS,
    TRIES_AFTER_END,
    TRY_WHEN_FREE_SECONDS,
    TRY_WHEN_THROTTLED_SECONDS,
    frees_slot,
    spread,
)
from airflow_provider_jimeng.core.outcomes import Outcome
from airflow_provider_jimeng.core.record import Record, RecordState
from airflow_provider_jimeng.core.render import (
    Render,
    RenderEvent,
    cost_in_words,
    format_money,
    format_time,
    in_words,
    landable_until,
)
from airflow_provider_jimeng.core.submit_messages import under_way, unknown_now
from airflow_provider_jimeng.core.wire import certainly_not_accepted
from airflow_provider_jimeng.hooks.waiting import answer as answer_to
from airflow_provider_jimeng.operators.records import OtherTasks, Paid, TaskRecord
from airflow_provider_jimeng.operators.xcom import count
from airflow_provider_jimeng.storage.output import refuse_taken
from airflow_provider_jimeng.tracing import traced_submit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_jimeng.core.errors import ConcurrencyLimitedError
    from airflow_provider_jimeng.core.parameters import RenderRequest
    from airflow_provider_jimeng.hooks.jimeng import JimengHook
    from airflow_provider_jimeng.operators.base import JimengSubmittingOperator
    from airflow_provider_jimeng.operators.submission import Submission
    from airflow_provider_jimeng.operators.xcom import Announcements
    from airflow_provider_jimeng.storage.output import OutputPath

log = logging.getLogger(__name__)

FRESH_SECONDS = 5.0
"""The request leaves at most this long after the last look at other tasks. A process can be stopped for a while."""
MAX_LOOKS = 5

_INTERRUPTIONS = (KeyboardInterrupt, SystemExit, AirflowTaskTimeout)
"""What can end a task at any line without being an ``Exception``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """The API accepts no submit now, or ``error`` is ``None`` and no slot came free while the task stood ready.

    Nothing is recorded or paid.
    """

    error: ConcurrencyLimitedError | RateLimitedError | None


@dataclass(slots=True, kw_only=True)
class ExpectedSlot:
    """The slot of a running render of the account, which a task on its worker stands ready for.

    It asks what became of the render and submits when the render has ended. A submit that is refused all the same is
    tried again a little later, because the API can count an ended render for another moment.

    :param until: epoch second at which the task gives up.
    """

    render_id: str
    req_key: str
    until: float
    _ended: bool = False
    _pauses: list[float] = field(default_factory=lambda: list(TRIES_AFTER_END))

    @classmethod
    def of(cls, event: RenderEvent) -> ExpectedSlot | None:
        """Return the slot that an event announces, ``None`` if the slot is free already."""
        if event.task_id is None or event.req_key is None or event.ready_until is None:
            return None
        return cls(render_id=event.task_id, req_key=event.req_key, until=event.ready_until)

    def comes_free(self, hook: JimengHook, *, sleep: Callable[[float], None] = time.sleep) -> bool:
        """Wait until the render has ended; return ``False`` if the time is over first."""
        if self._ended:
            return True
        began, pause = time.time(), READY_QUERY_SECONDS
        log.info("Ready to submit when the render %s of the account ends.", self.render_id)
        while True:
            reply = answer_to(lambda: hook.query(self.render_id, self.req_key))
            self._ended, now = frees_slot(reply), time.time()
            if self._ended or now >= self.until:
                log.info(
                    "Stood ready for %.1f s: the render %s.",
                    now - began,
                    "ended" if self._ended else "goes on",
                )
                return self._ended
            pause *= 2 if isinstance(reply, RateLimitedError) else 1
            sleep(min(pause, self.until - now))

    def next_try(self, error: ConcurrencyLimitedError | RateLimitedError | None) -> float | None:
        """Return the seconds until another submit on this worker, ``None`` if the task is to wait in the triggerer."""
        tries_again = self._ended and self._pauses and not isinstance(error, RateLimitedError)
        return self._pauses.pop(0) if tries_again else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    """Another task submits the same request at this moment; nothing was paid here."""

    record: Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """Pays for one request.

    :param requested: fingerprint of the request as the author writes it.
    :param others: returns what other tasks have paid for.
    :param reuses: do renders of other tasks count?
    :param target: the full file name that the video will have, ``None`` if it has none of its own.
    :param expected: the slot that is about to come free, ``None`` if the request is to leave at once.
    """

    hook: JimengHook
    record: TaskRecord
    others: Callable[[], OtherTasks]
    requested: str
    reuses: bool
    target: OutputPath | None
    overwrite: bool
    on_unknown_submit: str
    announcements: Announcements
    expected: ExpectedSlot | None = None
    clock: Callable[[], float] = time.monotonic

    @traced_submit
    def make(self, request: RenderRequest) -> Paid | Twin | Busy:
        """Submit a request, and return the paid render.

        :raises UnknownSubmitError: the request left, and nobody knows whether it was accepted; the intent stays.
        """
        self._refuse_taken_target(request.fingerprint)
        log.info(
            "Submitting %s, %s s, estimated cost %s.",
            request.spec.name,
            request.duration,
            self.announcements.cost(request),
        )
        self.hook.prepare()  # its connection, authentication and client are ready before the intent
        if self.expected is not None and not self.expected.comes_free(self.hook):
            return Busy(error=None)
        before, intent = self.record.current, self.intent(request)
        self._begin(intent, before)
        try:
            answer = self._look(intent) or self.hook.submit(request)
        except (Exception, *_INTERRUPTIONS) as error:
            if _left_nothing(error, sent=self.hook.has_sent):
                self.record.ledger.withdraw(intent, before, cause=error)
                raise
            if not isinstance(error, Exception):
                raise
            self.record.current = intent
            raise UnknownSubmitError(
                unknown_now(intent, error, on_unknown_submit=self.on_unknown_submit),
                retryable=self.on_unknown_submit == "resubmit",
            ) from error
        if isinstance(answer, Record):
            self.record.ledger.withdraw(intent, before, cause=LedgerError(under_way(answer)))
            return Twin(record=answer)
        self._settle(intent, answer)
        log.info(
            "The render %s is paid for (%s). It usually takes 1 to 5 minutes. The API keeps it until %s.",
            *(answer.task_id, cost_in_words(answer.estimated_cost_cny), landable_until(answer)),
        )
        count("submitted", answer.model)
        self.announcements.paid(answer, self.record.current)
        return Paid(render=answer)

    def intent(self, request: RenderRequest) -> Record:
        """Return the record of a submit that is about to begin."""
        record, ti = self.record, self.record.ti
        before = record.current
        return Record(
            state=RecordState.INTENT,
            key=record.ledger.key,
            requested=self.requested,
            fingerprint=request.fingerprint,
            take=request.take,
            max_tries=ti.max_tries,
            try_number=ti.try_number,
            intent_at=format_time(pendulum.now("UTC")),
            jimeng_conn_id=self.hook.jimeng_conn_id,
            output_path=self.announcements.output_path,
            request=request.summary(),
            previous=() if before is None else before.past(),
            serial=record.ledger.next_serial,
            lost_try=ti.try_number if before is not None and before.state is RecordState.LOST else None,
        )

    def _begin(self, intent: Record, before: Record | None) -> None:
        try:
            self.record.ledger.begin(intent, before)
        except LedgerError as error:
            raise LedgerError(
                f"{error} Nothing was submitted, because the intent could not be recorded."
            ) from error

    def _look(self, intent: Record) -> Record | None:
        """Look at other tasks once more: they might have recorded their intents at the same moment."""
        for _ in range(MAX_LOOKS):
            began = self.clock()
            self._refuse_rival()
            twin = (
                self.others().twin(intent.requested, except_ids=self.record.given_up())
                if self.reuses
                else None
            )
            if twin is not None or self.clock() - began < FRESH_SECONDS:
                return twin
        return None

    def _refuse_taken_target(self, fingerprint: str) -> None:
        """Refuse before the payment what saving would refuse after it."""
        self._refuse_rival()
        if self.target is None:
            return
        if self.overwrite or self.record.may_replace(self.target):
            self.target.file().size()  # refuses a directory of this name
        else:
            refuse_taken(self.target, fingerprint)

    def _refuse_rival(self) -> None:
        if self.target is not None and not self.overwrite:
            self.others().refuse_rival(self.target, except_ids=self.record.given_up())

    def _settle(self, intent: Record, render: Render) -> None:
        """Record the id of a paid render. If no place takes it, this try goes on with it: nothing else knows it."""
        self.record.current = replace(intent, state=RecordState.SUBMITTED, render=render.to_payload())
        try:
            self.record.ledger.settle(self.record.current)
        except LedgerError as error:
            log.error(  # noqa: TRY400 - the trace says nothing that the message does not
                "The render %s is paid for and could not be recorded (%s). This try goes on with it. If this try ends "
                "now, no later one finds it. Save it then by JimengDownloadVideoOperator(render_id=%r, model=%r).",
                *(render.task_id, error, render.task_id, render.model),
            )


def _left_nothing(error: BaseException, *, sent: bool) -> bool:
    """After a failed submit: is it certain that the API accepted nothing?

    The class of an API or transport error tells it. After any other error it depends on whether the request had left.
    """
    if isinstance(error, ApiError | TransportError):
        return certainly_not_accepted(error)
    return not sent


def wait_for_slot(
    task: JimengSubmittingOperator,
    submission: Submission,
    error: ConcurrencyLimitedError | RateLimitedError | None,
    waiting_since: float | None,
) -> float:
    """Defer until a slot is likely free, or sleep on the worker; return when the wait began.

    :param error: the refusal of the submit, ``None`` if the task stood ready and did not submit.
    :param waiting_since: epoch second at which the wait began, ``None`` before the first refusal.
    :raises SlotTimedOutError: no slot came free in time.
    """
    now, throttled = time.time(), isinstance(error, RateLimitedError)
    longest = read_seconds("max_wait_for_slot", task.max_wait_for_slot)
    if waiting_since is None:
        waiting_since = now
        log.info(
            "Waiting%s for a free slot (up to %s): the account %s. The API said: %s",
            "" if task.deferrable else " on the worker",
            in_words(longest),
            "sends as many requests a second as it may"
            if throttled
            else "renders as many videos at a time as it may",
            "nothing" if error is None else error.said,
        )
    deadline = waiting_since + longest
    if now >= deadline:
        details = (
            {}
            if error is None
            else {name: getattr(error, name) for name in ("code", "message", "request_id")}
        )
        submission.no_slot(RenderEvent(outcome=Outcome.SLOT_TIMED_OUT, **details))
    if submission.expected is not None and (pause := submission.expected.next_try(error)) is not None:
        time.sleep(pause)
        return waiting_since
    if task.deferrable:
        from airflow_provider_jimeng.triggers.slot import JimengSlotTrigger

        trigger = JimengSlotTrigger(
            req_key=submission.request.spec.req_key,
            jimeng_conn_id=str(task.jimeng_conn_id),
            waiting_since=waiting_since,
            not_before=now + SETTLE_SECONDS,
            deadline=deadline,
            priority_weight=task.priority_weight,
            dag_id=task.dag_id,
            throttled=throttled,
        )
        announced = format_money(submission.request.estimated_cost)
        task.defer(trigger=trigger, method_name="resume_submit", kwargs={"announced_cost": announced})
    pause = TRY_WHEN_THROTTLED_SECONDS if throttled else TRY_WHEN_FREE_SECONDS
    time.sleep(max(0.0, min(spread(pause, random.random()), deadline - now)))
    return waiting_since


def read_slot_event(
    submission: Submission, event: Mapping[str, Any], announced_cost: str | None
) -> float | None:
    """Tell a submission how its wait for a slot ended, and return when that wait began.

    :param announced_cost: the estimated cost that this try pushed to XCom before the wait.
    :raises SlotTimedOutError: no slot came free in time.
    """
    ended = RenderEvent.from_payload(event)
    submission.xcom.announced_cost = announced_cost
    submission.expected = ExpectedSlot.of(ended)
    if ended.outcome is Outcome.SLOT_TIMED_OUT:
        submission.no_slot(ended)
    return ended.waiting_since
