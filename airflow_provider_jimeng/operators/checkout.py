"""One task instance's way to a paid render: adopt the recorded one, or record the intent and submit."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pendulum

from airflow_provider_jimeng.core.errors import (
    ChangedRequestError,
    LedgerError,
    ParameterError,
    SettingsError,
    UnknownSubmitError,
)
from airflow_provider_jimeng.core.record import Adopt, Record, RecordState, Start, decide_start
from airflow_provider_jimeng.core.render import (
    Render,
    RenderManifest,
    cost_in_words,
    format_money,
    format_time,
)
from airflow_provider_jimeng.core.submit_messages import (
    argument_refused,
    changed,
    owner_of,
    summary_of,
    under_way,
    unknown_before,
    unreadable,
)
from airflow_provider_jimeng.hooks.waiting import ask_now, poller_for
from airflow_provider_jimeng.operators.neighbours import Neighbours, is_replaced, landed_by, refuse_replaced
from airflow_provider_jimeng.operators.purchase import Purchase, SubmitOnce
from airflow_provider_jimeng.operators.xcom import ESTIMATED_COST, push
from airflow_provider_jimeng.storage.manifest import read_manifest, refuse_taken, sidecar_of
from airflow_provider_jimeng.storage.names import check_names
from airflow_provider_jimeng.storage.target import Target

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.event import RenderEvent
    from airflow_provider_jimeng.core.parameters import RenderRequest
    from airflow_provider_jimeng.hooks.jimeng import JimengHook
    from airflow_provider_jimeng.operators.policies import Policies
    from airflow_provider_jimeng.storage.ledger import Ledger

log = logging.getLogger(__name__)

STEP_BACK_SECONDS = (1.0, 2.0, 4.0, 8.0, 8.0, 8.0)
"""How long a task waits at most, a random part of it, before it looks again after another one stepped in."""


class Checkout:
    """Reads the ledger, decides, submits at most once, and keeps the record up to date.

    :param build_request: checks the arguments and opens the images; called only when something may be submitted.
    """

    def __init__(
        self,
        *,
        ti: Any,
        ledger: Ledger,
        hook: JimengHook,
        build_request: Callable[[], RenderRequest],
        policies: Policies,
        target: Target | None,
        output_path: str | None,
        output_conn_id: str | None,
        overwrite: bool = False,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._ti = ti
        self._ledger = ledger
        self._hook = hook
        self._build_request = build_request
        self._policies = policies
        self._target = target
        self._output_path = output_path
        self._output_conn_id = output_conn_id
        self._overwrite = overwrite
        self._sleep = sleep
        self._record: Record | None = None
        self._unknown: Record | None = None
        self._cleared = False

    @cached_property
    def request(self) -> RenderRequest:
        """The request as the author writes it now."""
        return self._build_request()

    def open(self) -> Purchase:
        """Return the render of this task instance, submitting one only if none is paid.

        :raises ConcurrencyLimitedError, RateLimitedError: no slot is free; nothing is recorded or paid.
        :raises UnknownSubmitError: a submit may have been accepted under an unknown id.
        :raises ChangedRequestError: a retry asks for something else than what is paid.
        :raises LedgerError: what was paid cannot be known.
        """
        if self._output_path is not None:
            check_names(Target.of(self._output_path, self._output_conn_id))
        record = self._read()
        try:
            asked, take = self.request.fingerprint(), self.request.take
        except (ParameterError, SettingsError) as error:
            return self._adopt_unseen(record, error)
        decision = decide_start(
            record,
            asked=asked,
            take=take,
            max_tries=self._ti.max_tries,
            on_rerun=self._policies.on_rerun,
            on_unknown_submit=self._policies.on_unknown_submit,
            on_lost=self._policies.on_lost,
        )
        if isinstance(decision, Start) or record is None:
            return self._start(decision.take if isinstance(decision, Start) else take)
        if isinstance(decision, Adopt):
            return self._adopt(record, landed=decision.landed)
        if decision.unknown:
            raise UnknownSubmitError(unknown_before(record))
        raise ChangedRequestError(changed(record))

    @property
    def cleared(self) -> bool:
        """Did somebody clear the task since its record was last seen, before this try?"""
        return self._cleared

    @property
    def unknown_intent(self) -> Record | None:
        """The intent of a submit whose outcome is unknown, if that is what stopped this task."""
        record = self._unknown or self._record
        return record if record is not None and record.state is RecordState.INTENT else None

    def earlier(self, render: Render | None) -> list[dict[str, Any]]:
        """Return what this task instance paid for before a render, for who adds up the bill."""
        but = None if render is None else render.task_id
        return [] if self._record is None else self._record.bill(but=but)

    @property
    def landed_before(self) -> bool:
        """Was the recorded render landed already, whatever became of its file?"""
        return self._record is not None and self._record.manifest is not None

    @property
    def target(self) -> Target | None:
        """Where the video goes, ``None`` for a task that only submits."""
        return self._target

    def may_replace(self, target: Target) -> bool:
        """May landing replace the target's file: with the author's leave, or as this task's own older one?"""
        if self._overwrite or target.is_directory:
            return True
        if self._record is None:
            return False
        there = read_manifest(sidecar_of(target.file()))
        own = {past["render"]["task_id"] for past in self._record.past()}
        return there is not None and (there.task_id in own or there.fingerprint == self._record.asked)

    def hook_of(self, render: Render) -> JimengHook:
        """Return the hook of the connection that pays for a render."""
        if render.jimeng_conn_id == self._hook.jimeng_conn_id:
            return self._hook
        return type(self._hook)(jimeng_conn_id=render.jimeng_conn_id)

    def ask_once(self, render: Render) -> RenderEvent | None:
        """Ask what became of an adopted render; ``None`` while it runs, or where the answer settles nothing."""
        hook = self.hook_of(render)
        ended = ask_now(lambda: hook.query(render), poller_for(render, deadline=float("inf")))
        log.info("Adopted render %s: %s.", render.task_id, ended.outcome.value if ended else "it goes on")
        return ended

    def resume(self, task_id: str, announced: Render | None) -> Render | None:
        """Return the recorded render that a wait was for; ``None`` if no ledger keeps it.

        :param announced: what XCom says of it. It completes a record that could not be written after the submit.
        """
        try:
            record = self._read()
        except LedgerError as error:
            log.warning("%s The render %s goes on: to land it costs nothing.", error.__cause__, task_id)
            return None
        if record is None:
            return None
        lost_answer = record.state is RecordState.INTENT and announced is not None
        if lost_answer and announced is not None and announced.fingerprint == record.fingerprint:
            self._record = replace(record, state=RecordState.SUBMITTED, render=announced.to_payload())
            self.note(announced, RecordState.SUBMITTED)
            return announced
        if record.render is None:
            return None
        render = Render.from_payload(record.render)
        return render if render.task_id == task_id else None

    def close(self, render: Render, state: RecordState, manifest: RenderManifest | None = None) -> None:
        """Record how a render ended. Without a record of this very render there is nothing to close.

        :raises LedgerError: the record still says what it said before.
        """
        if not is_replaced(self._ledger, self._record, render):  # by a newer try, with another submit
            self._close(render, state, manifest, self._ledger.write)

    def note(self, render: Render, state: RecordState, manifest: RenderManifest | None = None) -> None:
        """Record how a render ended, if that can be written; if not, the next try finds it out again, free."""
        try:
            self._close(render, state, manifest, self._ledger.settle)
        except LedgerError as error:
            log.warning("%s The record of the render %s is not up to date.", error, render.task_id)

    def confirm_landing(self, render: Render) -> None:
        """Raise if a newer submit of this task is going to land in the same full file name."""
        if self._target is not None and not self._target.is_directory:
            refuse_replaced(self._ledger, self._record, render, self._target)

    @property
    def resubmitted_in_this_try(self) -> bool:
        """Did this try already submit in place of a lost render? It does so once, so that it cannot pay for ever."""
        return self._record is not None and self._record.lost_try == self._ti.try_number

    def _read(self) -> Record | None:
        try:
            record = self._record = self._ledger.read()
        except LedgerError as error:
            raise LedgerError(unreadable(error)) from error
        if record is not None and record.cleared_since(self._ti.max_tries):
            self._cleared = True
        return record

    def _close(
        self,
        render: Render,
        state: RecordState,
        manifest: RenderManifest | None,
        write: Callable[[Record], None],
    ) -> None:
        record = self._record
        if record is None or record.render is None or record.render.get("task_id") != render.task_id:
            return
        payload = record.manifest if manifest is None else manifest.to_payload()
        self._record = replace(record, state=state, manifest=payload)
        write(self._record)

    def _save(self, record: Record) -> None:
        self._ledger.write(record)
        self._record = record

    def _adopt(self, record: Record, *, landed: bool) -> Purchase:
        self._save(record.seen_by(max_tries=self._ti.max_tries, try_number=self._ti.try_number))
        return Purchase.of(record, landed=landed)

    def _adopt_unseen(self, record: Record | None, error: ParameterError | SettingsError) -> Purchase:
        """Go on with what a retry has paid for although its arguments cannot be read any more: that costs nothing."""
        if record is None or record.state not in (RecordState.SUBMITTED, RecordState.LANDED):
            raise error
        if self._cleared:
            error.args = (argument_refused(record, error),)
            raise error
        log.warning("%s Going on with the recorded render, which is paid for.", error)
        return self._adopt(record, landed=record.state is RecordState.LANDED)

    def _start(self, take: int) -> Purchase:
        """Adopt what another task has paid for, or submit.

        Tasks that begin to submit the same request at the same moment step back, and look again after a random while.
        """
        for longest in (*STEP_BACK_SECONDS, None):
            if (found := self._reuse(take)) is not None:
                return found
            submitted = self._submit(take)
            if isinstance(submitted, Purchase):
                return submitted
            if longest is None:
                raise LedgerError(under_way(submitted))
            log.info("%s submits the same request at this moment. Looking again.", owner_of(submitted))
            self._sleep(random.uniform(0.0, longest))
        raise AssertionError  # the last round returns or raises

    def _reuse(self, take: int) -> Purchase | None:
        """Return a render of the same request that was paid for already, if the author wants that."""
        if not self._reuses(take):
            return None
        asked = self.request.fingerprint()
        for other in self._neighbours.of_request(asked, but=self._given_up()):
            if other.state is RecordState.INTENT:
                if self._policies.on_unknown_submit == "resubmit":
                    continue
                self._unknown = other
                raise UnknownSubmitError(unknown_before(other))
            log.info("Adopting the render %s of %s.", (other.render or {})["task_id"], owner_of(other))
            adopted = replace(
                self._new_record(take),
                state=other.state,
                take=other.take,
                fingerprint=other.fingerprint,
                render={**(other.render or {}), "prompt": self.request.prompt},
                manifest=other.manifest
                or landed_by(other, output_path=self._output_path, output_conn_id=self._output_conn_id),
            )
            self._save(adopted)
            return Purchase.of(adopted, landed=adopted.manifest is not None)
        return None

    def _reuses(self, take: int) -> bool:
        """Does what others paid for count? Not for a new take after a Clear: nobody asks for it by that number."""
        return self._policies.reuse == "output_path" and take == self.request.take

    @cached_property
    def _neighbours(self) -> Neighbours:
        return Neighbours(ledger=self._ledger, timeout_seconds=self._hook.settings.timeout_seconds)

    def _given_up(self) -> frozenset[str]:
        return frozenset() if self._record is None else self._record.given_up()

    def _as_take(self, take: int) -> RenderRequest:
        return replace(self.request, take=take)

    def _new_record(self, take: int) -> Record:
        before = self._record
        return Record(
            state=RecordState.INTENT,
            key=self._ledger.key,
            asked=self.request.fingerprint(),
            fingerprint=self._as_take(take).fingerprint(),
            take=take,
            max_tries=self._ti.max_tries,
            try_number=self._ti.try_number,
            intent_at=format_time(pendulum.now("UTC")),
            jimeng_conn_id=self._hook.jimeng_conn_id,
            output_path=self._output_path,
            request=summary_of(self.request),
            previous=() if before is None else before.past(),
            serial=self._ledger.next_serial,
            lost_try=self._ti.try_number if before is not None and before.state is RecordState.LOST else None,
        )

    def _submit(self, take: int) -> Purchase | Record:
        """Pay for the request. Return the record of another task instead, if that one submits it at this moment."""
        before = self._record
        intent = self._new_record(take)
        self._refuse_taken_target(intent.fingerprint)
        self._announce_cost()
        once = SubmitOnce(
            ledger=self._ledger,
            hook=self._hook,
            look_again=lambda: self._look_again(intent),
            on_unknown_submit=self._policies.on_unknown_submit,
        )
        try:
            outcome = once.run(self._as_take(take), intent, before)
        except UnknownSubmitError:
            self._unknown = self._record = intent
            raise
        if isinstance(outcome, Purchase):
            self._record = outcome.record
        return outcome

    def _look_again(self, intent: Record) -> Record | None:
        """Look for others once more: they may have recorded their intents at the same moment."""
        self._refuse_rival()
        if not self._reuses(intent.take):
            return None
        return self._neighbours.twin(intent.asked, but=self._given_up())

    def _refuse_taken_target(self, fingerprint: str) -> None:
        """Refuse before paying what landing would refuse after it."""
        self._refuse_rival()
        target = self.target
        if target is None or target.is_directory:
            return
        if self.may_replace(target):
            target.file().size()  # refuses a directory of this name
        else:
            refuse_taken(target, fingerprint)

    def _refuse_rival(self) -> None:
        if self.target is not None and not self.target.is_directory and not self._overwrite:
            self._neighbours.refuse_rival(self.target, but=self._given_up())

    def _announce_cost(self) -> None:
        """Say, in the log and in XCom, what is about to be paid."""
        cost = format_money(self.request.estimated_cost())
        push(self._ti, ESTIMATED_COST, cost)
        log.info(
            "Submitting %s, %s s, estimated cost %s.",
            self.request.spec.name,
            self.request.duration,
            cost_in_words(self.request.estimated_cost()),
        )
