"""The operators a DAG author uses: submit, generate (submit, wait and land), download."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import pendulum
from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_jimeng.core.arguments import as_bool, as_mapping, is_absent, read_seconds
from airflow_provider_jimeng.core.errors import JimengError, RenderNotFoundError
from airflow_provider_jimeng.core.event import Outcome, RenderEvent
from airflow_provider_jimeng.core.output_path import path_as_text
from airflow_provider_jimeng.metrics import count_landing
from airflow_provider_jimeng.operators.literals import check_render_literals, check_waiting_literals
from airflow_provider_jimeng.operators.submitting import (
    DEFAULT_RETRIES,
    DEFAULT_WAIT_TIMEOUT,
    JimengSubmittingOperator,
)
from airflow_provider_jimeng.operators.xcom import RENDER, publish, pull_own, push
from airflow_provider_jimeng.retry import airflow_errors, with_default_policy
from airflow_provider_jimeng.web.links import JimengVideoLink

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_jimeng.core.render import Render, RenderManifest
    from airflow_provider_jimeng.operators.checkout import Checkout
    from airflow_provider_jimeng.operators.purchase import Purchase
    from airflow_provider_jimeng.storage.target import OutputPath, Target


class JimengSubmitVideoOperator(JimengSubmittingOperator):
    """Submit a render and return its payload, without waiting for the video.

    XCom: ``task_id`` (text), ``jimeng_render`` and ``return_value`` (the render payload). Follow it with
    :class:`~airflow_provider_jimeng.sensors.video.JimengVideoSensor` and :class:`JimengDownloadVideoOperator`.
    Arguments: see :class:`~airflow_provider_jimeng.operators.submitting.JimengSubmittingOperator`. ``output_path``
    is optional here: the record of what was paid lies there.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        """Submit, or adopt the render that an earlier try paid for."""
        with airflow_errors(self):
            return self._submit(context, self.checkout(context), waiting_since=None)

    def resume_submit(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Go on after a wait for a slot."""
        with airflow_errors(self):
            checkout = self.checkout(context)
            return self._submit(context, checkout, waiting_since=self.slot_event(context, checkout, event))

    def _submit(self, context: Context, checkout: Checkout, waiting_since: float | None) -> dict[str, Any]:
        while True:
            purchase = self.purchase(context, checkout, waiting_since)
            render = purchase.render
            if not purchase.adopted or purchase.manifest is not None:
                return render.to_payload()
            ended = checkout.ask_once(render)
            if ended is None or not ended.outcome.ending.over or self._is_landed(render):
                return render.to_payload()
            self.conclude(context, checkout, render, ended, adopted=True)

    def _is_landed(self, render: Render) -> bool:
        """Has the download task landed the render in this task's directory already? Then nothing is lost."""
        from airflow_provider_jimeng.storage.landing import already_landed

        folder = self.output_folder()
        return folder is not None and already_landed(folder, render) is not None


class JimengGenerateVideoOperator(JimengSubmittingOperator):
    """Submit a render, wait without holding a worker, and land the video.

    XCom: ``task_id`` (text), ``jimeng_render`` (render payload, with outcome, code, message and advice after a
    failure) and ``return_value`` (the manifest). Outlets get the manifest as the extra of their asset event.

    :param output_path: directory URI ending in ``/``, or a full file name, that ``ObjectStoragePath`` opens; or a path
        object.
    :param poll_interval: seconds between two queries; by default they follow the age of the render.
    :param wait_timeout: seconds after which the wait is given up; a retry takes it up again, free.
    :param overwrite: land over a target that holds another request's file.

    Other arguments: see :class:`~airflow_provider_jimeng.operators.submitting.JimengSubmittingOperator`.
    """

    template_fields: Sequence[str] = (
        *JimengSubmittingOperator.template_fields,
        "poll_interval",
        "wait_timeout",
        "overwrite",
    )

    def __init__(
        self,
        *,
        output_path: OutputPath,
        poll_interval: float | str | None = None,
        wait_timeout: float | str = DEFAULT_WAIT_TIMEOUT,
        overwrite: bool = False,
        retries: int | None = DEFAULT_RETRIES,
        retry_policy: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(output_path=output_path, retries=retries, retry_policy=retry_policy, **kwargs)
        self.poll_interval = poll_interval
        self.wait_timeout = wait_timeout
        self.overwrite = overwrite
        check_render_literals(self)

    def execute(self, context: Context) -> dict[str, Any]:
        """Submit or adopt, then wait and land, or defer."""
        with airflow_errors(self):
            return self._run(context, self._landing_checkout(context), waiting_since=None)

    def resume_submit(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Go on after a wait for a slot."""
        with airflow_errors(self):
            checkout = self._landing_checkout(context)
            return self._run(context, checkout, waiting_since=self.slot_event(context, checkout, event))

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Go on after the wait for the render: land it, or say what became of it."""
        with airflow_errors(self):
            checkout = self._landing_checkout(context)
            ended = RenderEvent.from_payload(event)
            announced = self._announced(context, ended)
            render = checkout.resume(str(ended.task_id), announced) or announced
            return self._end(context, checkout, render, ended)

    @property
    def target(self) -> Target:
        """Where the video goes."""
        from airflow_provider_jimeng.storage.target import Target

        return Target.of(self.output_path, self.output_conn_id)

    def _landing_checkout(self, context: Context) -> Checkout:
        return self.checkout(context, target=self.target, overwrite=as_bool("overwrite", self.overwrite))

    def _run(self, context: Context, checkout: Checkout, waiting_since: float | None) -> dict[str, Any]:
        from airflow_provider_jimeng.core.messages import lacks_label, landing_fields, success_of
        from airflow_provider_jimeng.core.record import RecordState

        purchase = self.purchase(context, checkout, waiting_since)
        render = purchase.render
        try:
            landed = self._landed(purchase) if purchase.adopted else None
        except JimengError as error:
            self.announce(context, render, **landing_fields(error, None))
            raise
        if landed is not None:
            if lacks_label(landed, required=as_bool("require_tagged", self.require_tagged)):
                self.log.info("%s was landed without the label. Fetching it again, free.", landed.uri)
                return self._land(context, checkout, render, success_of(landed), unlabelled=landed)
            self.log.info("%s is landed already and matches its manifest.", landed.uri)
            checkout.note(render, RecordState.LANDED, landed)
            return publish(self, context, landed)
        ended = checkout.ask_once(render) if purchase.adopted else None
        if ended is not None:
            return self._end(context, checkout, render, ended, adopted=True)
        return self._end(context, checkout, render, self._wait(checkout, render))

    def check_waiting(self) -> None:
        """Refuse, before anything is paid, what a wait after the submit would stumble over."""
        super().check_waiting()
        self._waiting()

    def _waiting(self) -> tuple[float | None, float]:
        """Return the fixed seconds between two queries, if any, and those of the whole wait."""
        fixed = None if is_absent(self.poll_interval) else read_seconds("poll_interval", self.poll_interval)
        return fixed, read_seconds("wait_timeout", self.wait_timeout)

    def _wait(self, checkout: Checkout, render: Render) -> RenderEvent:
        from airflow_provider_jimeng.core.deadlines import deadline_for, in_words

        now = time.time()
        poll_interval, wait_timeout = self._waiting()
        deadline = deadline_for(
            now=now,
            wait_timeout=wait_timeout,
            submitted_at=render.submitted_at.timestamp(),
        )
        self.log.info(
            "Waiting for the render %s, up to %s, %s.",
            render.task_id,
            in_words(round(deadline - now)),
            "in the triggerer: no worker is held" if self.deferrable else "on this worker (deferrable=False)",
        )
        if self.deferrable:
            from airflow_provider_jimeng.triggers.render import JimengRenderTrigger

            self.defer(
                trigger=JimengRenderTrigger.after_deferring(
                    render, deadline=deadline, poll_interval=poll_interval, now=now
                ),
                method_name="execute_complete",
            )
        from airflow_provider_jimeng.hooks.waiting import ask_for, poller_for, wait_until_finished

        hook = checkout.hook_of(render)
        poller = poller_for(render, deadline=deadline, poll_interval=poll_interval)
        return wait_until_finished(lambda: ask_for(hook, render), poller, self.log, renew=hook.renew)[0]

    def _end(
        self,
        context: Context,
        checkout: Checkout,
        render: Render,
        ended: RenderEvent,
        *,
        adopted: bool = False,
    ) -> dict[str, Any]:
        if ended.outcome is Outcome.SUCCEEDED:
            return self._land(context, checkout, render, ended)
        self.conclude(context, checkout, render, ended, adopted=adopted)
        return self._run(context, checkout, waiting_since=None)

    def _land(
        self,
        context: Context,
        checkout: Checkout,
        render: Render,
        ended: RenderEvent,
        *,
        unlabelled: RenderManifest | None = None,
    ) -> dict[str, Any]:
        """Land a finished render.

        :param unlabelled: its file, which was landed before without the label that is required now.
        """
        from airflow_provider_jimeng.core.messages import (
            TAKE_UNLABELLED,
            kept,
            landing_fields,
            unlabelled_for_good,
        )
        from airflow_provider_jimeng.core.record import RecordState
        from airflow_provider_jimeng.hooks.landing import land_render

        began = pendulum.now("UTC")
        try:
            with kept(render):
                manifest = land_render(
                    checkout.hook_of(render),
                    render,
                    target=self.target,
                    overwrite=checkout.may_replace(self.target),
                    aigc_meta=self.aigc_label(),
                    require_tagged=as_bool("require_tagged", self.require_tagged),
                    event=ended,
                    confirm=lambda: checkout.confirm_landing(render),
                )
        except RenderNotFoundError as error:
            if unlabelled is None:
                gone = replace(ended, outcome=Outcome.NOT_FOUND)
                return self._end(context, checkout, render, gone)
            final = unlabelled_for_good(unlabelled)
            told = landing_fields(final, ended.outcome, advice=TAKE_UNLABELLED)
            self.announce(context, render, **told)
            raise final from error
        except JimengError as error:
            self.announce(context, render, **landing_fields(error, ended.outcome))
            raise
        count_landing(manifest, since=began, again=checkout.landed_before)
        checkout.note(render, RecordState.LANDED, manifest)
        return publish(self, context, manifest)

    def _landed(self, purchase: Purchase) -> RenderManifest | None:
        """Return the manifest of the adopted render's file, if it is there and unaltered."""
        from airflow_provider_jimeng.storage.landing import already_landed, still_landed

        if (landed := already_landed(self.target, purchase.render)) is not None or purchase.manifest is None:
            return landed
        return still_landed(
            purchase.manifest, output_conn_id=self.output_conn_id, output_path=self.output_path
        )

    def _announced(self, context: Context, ended: RenderEvent) -> Render:
        from airflow_provider_jimeng.hooks.render_argument import bare_render, render_from

        payload = pull_own(context["ti"], self.task_id, RENDER)
        if isinstance(payload, Mapping) and payload.get("task_id") == ended.task_id:
            return render_from(payload)
        return bare_render(ended.task_id, req_key=str(ended.req_key), jimeng_conn_id=self.jimeng_conn_id)


class JimengDownloadVideoOperator(BaseOperator):
    """Land the video of a finished render; doing it again is free.

    XCom: ``jimeng_render`` (render payload) and ``return_value`` (the manifest). Outlets get the manifest as the
    extra of their asset event.

    :param render: the submit operator's or the sensor's return value.
    :param render_id: in place of ``render``: a bare vendor ``task_id``.
    :param model: with ``render_id``: short name or ``req_key`` of its model.
    :param output_path: directory URI ending in ``/``, or a full file name, that ``ObjectStoragePath`` opens; or a path
        object.
    :param output_conn_id: Airflow connection of the storage.
    :param overwrite: land over a target that holds another request's file.
    :param aigc_meta: implicit label, as of the submitting operators; default: the connection's.
    :param require_tagged: do not land a video that the API did not label; one that lies there without the label is
        fetched again with it.
    :param jimeng_conn_id: connection for a bare ``render_id``; a render payload names the one that pays.
    """

    template_fields: Sequence[str] = (
        "render",
        "render_id",
        "model",
        "output_path",
        "output_conn_id",
        "overwrite",
        "aigc_meta",
        "require_tagged",
        "jimeng_conn_id",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"render": "json", "aigc_meta": "json"}
    ui_color = "#e8f0fe"
    operator_extra_links = (JimengVideoLink(),)

    def __init__(
        self,
        *,
        output_path: OutputPath,
        render: Any = None,
        render_id: str | None = None,
        model: str | None = None,
        output_conn_id: str | None = None,
        overwrite: bool = False,
        aigc_meta: dict[str, str] | None = None,
        require_tagged: bool = False,
        jimeng_conn_id: str = "jimeng_default",
        retries: int | None = DEFAULT_RETRIES,
        retry_policy: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(retries=retries, **with_default_policy(kwargs, retry_policy))
        self.render = render
        self.render_id = render_id
        self.model = model
        self.output_path = path_as_text(output_path)
        self.output_conn_id = output_conn_id
        self.overwrite = overwrite
        self.aigc_meta = aigc_meta
        self.require_tagged = require_tagged
        self.jimeng_conn_id = jimeng_conn_id
        check_waiting_literals(self)

    def execute(self, context: Context) -> dict[str, Any]:
        """Ask for a fresh link and land the video, unless it is landed already."""
        from airflow_provider_jimeng.core.messages import end_behind, kept, landing_fields
        from airflow_provider_jimeng.core.parameters import check_aigc_meta
        from airflow_provider_jimeng.hooks.jimeng import JimengHook
        from airflow_provider_jimeng.hooks.landing import land_render
        from airflow_provider_jimeng.hooks.render_argument import named_render
        from airflow_provider_jimeng.hooks.waiting import need_connection
        from airflow_provider_jimeng.storage.names import check_names
        from airflow_provider_jimeng.storage.target import Target

        with airflow_errors(self):
            target = Target.of(self.output_path, self.output_conn_id)
            render = named_render(self, JimengHook(jimeng_conn_id=self.jimeng_conn_id))
            push(context["ti"], RENDER, render.to_payload())
            began = pendulum.now("UTC")
            try:
                with kept(render):
                    check_names(target)
                    hook = JimengHook(jimeng_conn_id=render.jimeng_conn_id)
                    need_connection(hook)
                    manifest = land_render(
                        hook,
                        render,
                        target=target,
                        overwrite=as_bool("overwrite", self.overwrite),
                        aigc_meta=check_aigc_meta(as_mapping("aigc_meta", self.aigc_meta)),
                        require_tagged=as_bool("require_tagged", self.require_tagged),
                    )
            except JimengError as error:
                told = {**render.to_payload(), **landing_fields(error, end_behind(error))}
                push(context["ti"], RENDER, told)
                raise
            count_landing(manifest, since=began)
            return publish(self, context, manifest)
