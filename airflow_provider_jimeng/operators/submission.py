# SPDX-License-Identifier: Apache-2.0
"""One try of a task: adopt the render that is paid for, or pay for one; then save its video.

A submission owns the record of its task instance, the author's policies, conflicts with other tasks, and what the task
pushes to XCom. It answers with :class:`Paid`, or with :class:`Busy` if no slot is free. An error stops the task.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NoReturn

import pendulum

from airflow_provider_jimeng.core.arguments import as_bool, as_mapping, is_absent, read_seconds
from airflow_provider_jimeng.core.errors import (
    ApiError,
    ChangedRequestError,
    ConcurrencyLimitedError,
    JimengError,
    LedgerError,
    ParameterError,
    RateLimitedError,
    RenderNotFoundError,
    SettingsError,
    UnknownSubmitError,
)
from airflow_provider_jimeng.core.messages import (
    TAKE_UNLABELLED,
    landing_fields,
    outcome_fields,
    render_error,
    slot_error,
    unlabelled_for_good,
)
from airflow_provider_jimeng.core.outcomes import Outcome
from airflow_provider_jimeng.core.output_path import warning_of
from airflow_provider_jimeng.core.parameters import RenderRequest, check_aigc_meta
from airflow_provider_jimeng.core.record import Adopt, Record, RecordState, Start, decide_start
from airflow_provider_jimeng.core.render import RenderEvent
from airflow_provider_jimeng.core.submit_messages import (
    argument_refused,
    changed,
    owner_of,
    under_way,
    unknown_before,
)
from airflow_provider_jimeng.hooks.base import ask_for, links_to, make_ready
from airflow_provider_jimeng.hooks.waiting import poke, poll, poller_for
from airflow_provider_jimeng.operators.base import REQUEST_FIELDS, WAITS, refuse_difference
from airflow_provider_jimeng.operators.payment import Busy, ExpectedSlot, Payment, Twin
from airflow_provider_jimeng.operators.records import OtherTasks, Paid, TaskRecord, kept, saved_by
from airflow_provider_jimeng.operators.xcom import (
    Announcements,
    add_to_outlets,
    count,
    count_end,
    count_landing,
    push_refusal,
)
from airflow_provider_jimeng.storage.landing import already_landed, land, still_landed
from airflow_provider_jimeng.storage.ledger import Ledger
from airflow_provider_jimeng.storage.output import check_names

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_jimeng.client.settings import ClientSettings
    from airflow_provider_jimeng.core.render import Render, RenderManifest
    from airflow_provider_jimeng.hooks.jimeng import JimengHook
    from airflow_provider_jimeng.operators.base import JimengSubmittingOperator
    from airflow_provider_jimeng.storage.output import OutputPath

log = logging.getLogger(__name__)

STEP_BACK_SECONDS = (1.0, 2.0, 4.0, 8.0, 8.0, 8.0)
"""The longest pauses before a task looks again after another one submitted its request. The real ones are random."""


class Submission:
    """Adopts, submits at most once at a time, saves, and keeps the record up to date.

    :param task: the operator, whose arguments are rendered.
    :param hook: the hook of the task's connection, which shares a client.
    :param clients: hooks of other connections share their clients until it closes.
    :param policies: the arguments by which the author allows another payment.
    :param target: where the video is saved, ``None`` for a task that only submits.
    :param folder: the directory that keeps the records, ``None`` without ``output_path``.
    """

    def __init__(
        self,
        task: JimengSubmittingOperator,
        context: Context,
        *,
        hook: JimengHook,
        clients: ExitStack,
        policies: Mapping[str, str],
        target: OutputPath | None,
        folder: OutputPath | None,
    ) -> None:
        self._task = task
        self._policies = policies
        self._context = context
        self._hook = hook
        self._hooks = {hook.jimeng_conn_id: hook}
        self._target = target
        self._folder = folder
        self._overwrite = as_bool("overwrite", getattr(task, "overwrite", False))
        self._require_tagged = as_bool("require_tagged", task.require_tagged)
        self._record = TaskRecord(Ledger.open(context, folder), context["ti"])
        self.xcom = Announcements(ti=context["ti"], task_id=task.task_id, output_path=task.output_path)
        self.expected: ExpectedSlot | None = None
        self._take = 1
        self._unknown: Record | None = None
        self._clients = clients

    @cached_property
    def request(self) -> RenderRequest:
        """The request as the author writes it now."""
        return _build_request(self._task, self._hook.settings)

    @property
    def _requested(self) -> RenderRequest:
        """The request with the version number that this try pays for."""
        return self.request if self._take == self.request.take else self.request.as_take(self._take)

    def adopt(self) -> Paid | None:
        """Return the render that this task continues with, ``None`` if one must be paid for.

        :raises UnknownSubmitError: an earlier submit might have been accepted under an unknown id.
        :raises ChangedRequestError: a retry asks for another video than the one that is paid for.
        :raises RenderError: the paid render ended badly, and no new one may be paid for.
        :raises LedgerError: what was paid cannot be known.
        """
        while True:
            with self._announcing_failures():
                paid = self._recorded()
            if paid is None:
                return None
            count("adopted", paid.render.model)
            self.xcom.paid(paid.render, self._record.current)
            paid = self._look_at(paid)
            if paid.ended is None or paid.ended.outcome is Outcome.SUCCEEDED:
                return paid
            self._conclude(paid.render, paid.ended, adopted=True)

    def submit(self) -> Paid | Busy:
        """Pay for the request, unless another task submits the same one at this moment.

        :raises UnknownSubmitError: the submit might have been accepted under an unknown id.
        :raises ApiError: the API refused the request, and nothing was paid.
        """
        for longest in (*STEP_BACK_SECONDS, None):
            try:
                with self._announcing_failures():
                    answer = self._payment().make(self._requested)
            except (ConcurrencyLimitedError, RateLimitedError) as error:
                return Busy(error=error)
            if not isinstance(answer, Twin):
                return answer
            if longest is None:
                with self._announcing_failures():
                    raise LedgerError(under_way(answer.record))
            log.info("%s submits the same request at this moment. Looking again.", owner_of(answer.record))
            time.sleep(random.uniform(0.0, longest))
            if (paid := self.adopt()) is not None:
                return paid
        raise AssertionError  # the last round returns or raises an error

    def resume(self, event: Mapping[str, Any]) -> tuple[Paid, RenderEvent]:
        """Return the render that a wait in the triggerer was for, and how that wait ended."""
        ended = RenderEvent.from_payload(event)
        render = self._record.awaited(ended.task_id)
        if render is None:
            announced = self.xcom.render_of(ended, jimeng_conn_id=self._hook.jimeng_conn_id)
            render = self._record.recover(announced) or announced
        return Paid(render=render), ended

    def poll(self, render: Render, *, deadline: float, poll_interval: float | None) -> RenderEvent:
        """Ask on this worker until the render is done, or the deadline (epoch seconds) passes."""
        hook = self._hook_of(render)
        poller = poller_for(render, deadline=deadline, poll_interval=poll_interval)
        return poll(lambda: ask_for(hook, render), poller, log, renew=hook.renew)[0]

    def land(self, paid: Paid, ended: RenderEvent) -> dict[str, Any] | None:
        """Save the video and return its manifest as a payload; ``None`` if a new render is to be paid for.

        :raises RenderError: the render did not end well: what happened, what it can have cost, what comes next.
        :raises LandingError: or one of its kin; a retry saves the video without paying again.
        :raises DifferentVideoError: the video is saved, differs from its request, and the author wants no such video.
        """
        if ended.outcome is not Outcome.SUCCEEDED:
            self._conclude(paid.render, ended, adopted=False)
            return None
        manifest, began = paid.manifest, pendulum.now("UTC")
        if manifest is None or (self._require_tagged and not manifest.is_labelled):
            manifest = self._save(paid.render, ended, manifest)
        else:
            log.info("%s is saved already and matches its manifest.", manifest.uri)
        if manifest is None:
            return None
        payload = manifest.to_payload()
        again = self._record.was_landed
        self._record.note(paid.render, RecordState.LANDED, payload)
        count_landing(manifest, since=began, again=again)
        if getattr(self._task, "on_difference", None) != "warn":
            with self.xcom.failures(paid.render, ended.outcome):
                refuse_difference(self._task, manifest)
        add_to_outlets(self._task, self._context, manifest.uri, payload)
        return payload

    def no_slot(self, ended: RenderEvent) -> NoReturn:
        """Push ``jimeng_refusal`` after a wait in which no slot became free, and raise the error that says so."""
        request = None
        with suppress(ParameterError, SettingsError):  # both could be read before the wait
            request = self.request
        self.xcom.no_slot(request, str(self._task.model), ended)
        raise slot_error(ended, str(self._task.model))

    def _recorded(self) -> Paid | None:
        """Return the recorded render that counts; ``None``, and the take to submit, if a new one is due."""
        if self._folder is not None:
            check_names(self._target or self._folder)
        record = self._record.read()
        try:
            requested, take = self.request.fingerprint, self.request.take
        except (ParameterError, SettingsError) as error:
            return self._adopt_unread(record, error)
        decision = decide_start(
            record,
            requested=requested,
            take=take,
            max_tries=self._record.ti.max_tries,
            on_rerun=self._policies["on_rerun"],
            on_unknown_submit=self._policies["on_unknown_submit"],
            on_lost=self._policies["on_lost"],
        )
        if record is None or isinstance(decision, Start):
            self._take = decision.take if isinstance(decision, Start) else take
            return self._reuse(self._take)
        if isinstance(decision, Adopt):
            return Paid.of(self._record.adopt(record), landed=decision.landed)
        if decision.unknown:
            raise UnknownSubmitError(unknown_before(record))
        raise ChangedRequestError(changed(record))

    def _adopt_unread(self, record: Record | None, error: ParameterError | SettingsError) -> Paid:
        """Continue with the paid render although the arguments cannot be read any more: that is free."""
        if record is None or record.state not in (RecordState.SUBMITTED, RecordState.LANDED):
            raise error
        if self._record.cleared:
            error.args = (argument_refused(record, error),)
            raise error
        log.warning("Going on with the recorded render, which is paid for. %s", error)
        return Paid.of(self._record.adopt(record), landed=record.state is RecordState.LANDED)

    def _reuse(self, take: int) -> Paid | None:
        """Return a render of the same request that another task has paid for, if the author wants that."""
        if not self._reuses(take):
            return None
        for other in self.others.of_request(self.request.fingerprint, except_ids=self._record.given_up()):
            if other.state is RecordState.INTENT:
                if self._policies["on_unknown_submit"] == "resubmit":
                    continue
                self._unknown = other
                raise UnknownSubmitError(unknown_before(other))
            log.info("Adopting the render %s of %s.", (other.render or {})["task_id"], owner_of(other))
            adopted = replace(
                self._payment().intent(self._requested),
                state=other.state,
                take=other.take,
                fingerprint=other.fingerprint,
                render={**(other.render or {}), "prompt": self.request.prompt},
                manifest=other.manifest or saved_by(other, self._folder),
            )
            self._record.save(adopted)
            return Paid.of(adopted, landed=adopted.manifest is not None)
        return None

    def _reuses(self, take: int) -> bool:
        """Return whether renders of other tasks count. A new take after a Clear is asked for by this task alone."""
        return self._policies["reuse"] == "output_path" and take == self.request.take

    @cached_property
    def others(self) -> OtherTasks:
        """What other tasks have paid for, or are about to pay for."""
        return OtherTasks(ledger=self._record.ledger, timeout_seconds=self._hook.settings.timeout_seconds)

    def _look_at(self, paid: Paid) -> Paid:
        """Return an adopted render with its saved file, or with how it ended. This does not wait for the render."""
        render = paid.render
        with self.xcom.failures(render, None):
            saved = self._saved(paid)
        if saved is not None:
            return replace(paid, ended=saved.success(), manifest=saved)
        ended = poke(lambda: self._hook_of(render).query(render), poller_for(render))
        log.info("Adopted render %s: %s.", render.task_id, ended.outcome.value if ended else "it goes on")
        if ended is not None and ended.outcome is not Outcome.SUCCEEDED and self._is_downloaded(render):
            return paid
        return replace(paid, ended=ended, manifest=None)

    def _is_downloaded(self, render: Render) -> bool:
        """Return whether the task that downloads the render has saved its video already, so that nothing is lost."""
        folder = self._folder if self._target is None else None
        return folder is not None and already_landed(folder, render) is not None

    def _saved(self, paid: Paid) -> RenderManifest | None:
        """Return the manifest of the adopted render's file, if the file is there and unaltered."""
        if self._target is None:
            return paid.manifest
        target, file = self._target, paid.manifest
        saved = already_landed(target, paid.render)
        if saved is not None or file is None:
            return saved
        return still_landed(file, output_conn_id=target.output_conn_id, output_path=target.output_path)

    def _payment(self) -> Payment:
        return Payment(
            hook=self._hook,
            record=self._record,
            others=lambda: self.others,
            requested=self.request.fingerprint,
            reuses=self._reuses(self._take),
            target=None if self._target is None or self._target.is_directory else self._target,
            overwrite=self._overwrite,
            on_unknown_submit=self._policies["on_unknown_submit"],
            announcements=self.xcom,
            expected=self.expected,
        )

    def _save(
        self, render: Render, ended: RenderEvent, unlabelled: RenderManifest | None
    ) -> RenderManifest | None:
        """Save a finished render; ``None`` if the API lost it and a new one is to be paid for.

        :param unlabelled: its file, which was saved before without the label that is required now.
        """
        if self._target is None:
            raise RuntimeError("A task that only submits saves nothing.")
        target = self._target
        one_file = not target.is_directory
        try:
            links = links_to(
                self._hook_of(render),
                render,
                aigc_meta=self._task.aigc_meta,
                require_tagged=self._require_tagged,
            )
            manifest = land(
                render,
                links,
                target=target,
                overwrite=self._overwrite or not one_file or self._record.may_replace(target),
                require_tagged=self._require_tagged,
                event=ended,
                confirm=partial(self._record.refuse_replaced, render, target) if one_file else None,
            )
        except RenderNotFoundError as error:
            if unlabelled is None:
                self._conclude(render, replace(ended, outcome=Outcome.NOT_FOUND), adopted=False)
                return None
            final = unlabelled_for_good(unlabelled)
            self.xcom.render(render, **landing_fields(final, ended.outcome, advice=TAKE_UNLABELLED))
            raise final from error
        except JimengError as error:
            extended = kept(error, render)
            self.xcom.render(render, **landing_fields(extended, ended.outcome))
            raise extended from extended.__cause__
        return manifest

    def _conclude(self, render: Render, ended: RenderEvent, *, adopted: bool) -> None:
        """Record and announce a render that did not succeed; return if a new one may be paid for in this try.

        It may if an adopted render failed unbilled and a retry or a Clear asks for a new one anyway, and if the render
        is lost and the author allows another payment.

        :raises RenderError: what happened, what it can have cost and what comes next.
        """
        self.xcom.render(render, **outcome_fields(ended))
        count_end(render, ended)
        error = render_error(ended, render, on_lost=self._policies["on_lost"])
        if ended.outcome is Outcome.FAILED:
            if adopted and (self._record.cleared or error.retryable):
                self._record.close(render, RecordState.FAILED)
                log.info("The adopted render %s failed unbilled; starting a new one.", render.task_id)
                return
            self._record.note(render, RecordState.FAILED)
        elif ended.outcome.ending.over:
            if self._policies["on_lost"] == "resubmit" and not self._record.resubmitted_in_this_try:
                self._record.close(render, RecordState.LOST)
                log.warning("Submitting again in this try. %s", error)
                return
            self._record.note(render, RecordState.LOST)
        raise error

    def _hook_of(self, render: Render) -> JimengHook:
        """Return the hook of the connection that pays for a render."""
        conn_id = render.jimeng_conn_id
        if conn_id not in self._hooks:
            self._hooks[conn_id] = self._clients.enter_context(self._hook.for_render(render))
        return self._hooks[conn_id]

    @contextmanager
    def _announcing_failures(self) -> Iterator[None]:
        """Push to XCom, and count, why nothing was paid, or what might have been paid."""
        try:
            yield
        except JimengError as error:
            self.xcom.earlier(None, self._record.current)
            if isinstance(error, ApiError | UnknownSubmitError):
                self.xcom.failure(self.request, error, self._unknown or self._record.current)
            else:
                push_refusal(self._task, self._context["ti"], error)
            raise


def _build_request(task: JimengSubmittingOperator, settings: ClientSettings) -> RenderRequest:
    """Check every argument of a task, open its images, and return its request. Nothing is sent.

    :param settings: the settings of the task's connection.
    :raises ParameterError: naming the argument, the limit and the remedy.
    """
    arguments = {name: getattr(task, name) for name in REQUEST_FIELDS}
    arguments["extra_body"] = as_mapping("extra_body", arguments["extra_body"])
    for name in WAITS:
        if not is_absent(value := getattr(task, name, None)):
            read_seconds(name, value)
    needs_label, label = (
        as_bool("require_tagged", task.require_tagged),
        as_mapping("aigc_meta", task.aigc_meta),
    )
    request = RenderRequest.build(**arguments, catalogue=settings.catalogue)
    if label is not None:
        label = check_aigc_meta(label)
    if needs_label and not (label or settings.aigc_meta):
        raise ParameterError("require_tagged", "needs aigc_meta, here or in the connection's extra.")
    request = make_ready(request, settings, task.max_cost_cny)
    if warning := warning_of(task.output_path):
        log.warning("%s", warning)
    return request
