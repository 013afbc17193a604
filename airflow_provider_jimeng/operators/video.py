# SPDX-License-Identifier: Apache-2.0
"""The operators that a DAG author uses: submit, generate (submit, wait and save), download."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import pendulum
from airflow.providers.common.compat.sdk import BaseOperator, conf

from airflow_provider_jimeng.core.arguments import as_bool, is_absent, read_seconds
from airflow_provider_jimeng.core.catalogue import DEFAULT_MODEL
from airflow_provider_jimeng.core.errors import JimengError
from airflow_provider_jimeng.core.output_path import path_as_text
from airflow_provider_jimeng.links import JimengVideoLink
from airflow_provider_jimeng.operators.base import (
    DEFAULT_MAX_WAIT_FOR_SLOT,
    DEFAULT_RETRIES,
    JimengSubmittingOperator,
    airflow_errors,
    check_render_literals,
    check_waiting_literals,
    refuse_difference,
    with_default_policy,
)
from airflow_provider_jimeng.operators.lineage import LineageOperator
from airflow_provider_jimeng.operators.xcom import RENDER, add_to_outlets, count_landing, push_own

if TYPE_CHECKING:
    from decimal import Decimal
    from os import PathLike
    from typing import Unpack

    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath, RetryPolicy, XComArg

    from airflow_provider_jimeng.core.render import Render, RenderEvent
    from airflow_provider_jimeng.operators.arguments import OperatorArguments
    from airflow_provider_jimeng.operators.submission import Submission

__all__ = ["JimengDownloadVideoOperator", "JimengGenerateVideoOperator", "JimengSubmitVideoOperator"]

DEFAULT_WAIT_TIMEOUT = 6 * 3600


class JimengSubmitVideoOperator(JimengSubmittingOperator):
    """Submit a render and return its payload, without waiting for the video.

    XCom: ``task_id`` (text), ``jimeng_render`` and ``return_value`` (the render payload). Use it before
    :class:`~airflow_provider_jimeng.sensors.video.JimengVideoSensor` and :class:`JimengDownloadVideoOperator`.
    Arguments: see :class:`~airflow_provider_jimeng.operators.base.JimengSubmittingOperator`. ``output_path`` is optional:
    the record of the payment is kept there.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        """Submit, or adopt the render that an earlier try paid for."""
        with airflow_errors(self), self.submission(context) as submission:
            return self.pay(submission).render.to_payload()

    def resume_submit(
        self, context: Context, event: Mapping[str, Any], announced_cost: str | None = None
    ) -> dict[str, Any]:
        """Continue after a wait for a slot."""
        with airflow_errors(self), self.submission(context) as submission:
            return self.pay(
                submission, self.slot_event(submission, event, announced_cost)
            ).render.to_payload()


class JimengGenerateVideoOperator(LineageOperator, JimengSubmittingOperator):
    """Submit a render, wait for it without holding a worker, and save the video.

    XCom: ``task_id`` (text), ``jimeng_render`` (render payload, with outcome, code, message and advice after a
    failure) and ``return_value`` (the manifest). Outlets get the manifest as the extra of their asset event.

    :param output_path: directory URI that ends in ``/``, or a full file name, that ``ObjectStoragePath`` opens; or a
        path object.
    :param poll_interval: seconds between two queries; by default they depend on the age of the render.
    :param wait_timeout: seconds to wait at most. A retry continues the wait at no cost.
    :param overwrite: replace a file that holds the video of another request.
    :param on_difference: what the task does if the saved video differs from its request in length, picture or frame rate:
        ``warn`` (default) logs it, ``fail`` fails the task. The file is kept, and nothing is paid again.

    Other arguments: see :class:`~airflow_provider_jimeng.operators.base.JimengSubmittingOperator`.
    """

    template_fields: Sequence[str] = (
        *JimengSubmittingOperator.template_fields,
        "poll_interval",
        "wait_timeout",
        "overwrite",
        "on_difference",
    )
    _saves_video = True

    def __init__(
        self,
        *,
        output_path: str | PathLike[str] | ObjectStoragePath | XComArg,
        prompt: str | XComArg | None = None,
        model: str | XComArg = DEFAULT_MODEL,
        duration: int | str | XComArg | None = None,
        aspect_ratio: str | XComArg | None = None,
        seed: int | str | XComArg | None = None,
        first_frame: str | PathLike[str] | XComArg | None = None,
        last_frame: str | PathLike[str] | XComArg | None = None,
        camera_template: str | XComArg | None = None,
        camera_strength: str | XComArg | None = None,
        aigc_meta: Mapping[str, str] | str | XComArg | None = None,
        require_tagged: bool | str | XComArg = False,
        take: int | str | XComArg = 1,
        extra_body: Mapping[str, Any] | str | XComArg | None = None,
        max_cost_cny: float | Decimal | str | XComArg | None = None,
        jimeng_conn_id: str | XComArg = "jimeng_default",
        on_rerun: str | XComArg = "adopt",
        on_unknown_submit: str | XComArg = "fail",
        on_lost: str | XComArg = "fail",
        reuse: str | XComArg = "task",
        output_conn_id: str | XComArg | None = None,
        max_wait_for_slot: float | str | XComArg = DEFAULT_MAX_WAIT_FOR_SLOT,
        poll_interval: float | str | XComArg | None = None,
        wait_timeout: float | str | XComArg = DEFAULT_WAIT_TIMEOUT,
        overwrite: bool | str | XComArg = False,
        on_difference: str | XComArg = "warn",
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        retries: int | None = DEFAULT_RETRIES,
        retry_policy: RetryPolicy | None = None,
        **kwargs: Unpack[OperatorArguments],
    ) -> None:
        super().__init__(
            output_path=output_path,
            prompt=prompt,
            model=model,
            duration=duration,
            aspect_ratio=aspect_ratio,
            seed=seed,
            first_frame=first_frame,
            last_frame=last_frame,
            camera_template=camera_template,
            camera_strength=camera_strength,
            aigc_meta=aigc_meta,
            require_tagged=require_tagged,
            take=take,
            extra_body=extra_body,
            max_cost_cny=max_cost_cny,
            jimeng_conn_id=jimeng_conn_id,
            on_rerun=on_rerun,
            on_unknown_submit=on_unknown_submit,
            on_lost=on_lost,
            reuse=reuse,
            output_conn_id=output_conn_id,
            max_wait_for_slot=max_wait_for_slot,
            deferrable=deferrable,
            retries=retries,
            retry_policy=retry_policy,
            **kwargs,
        )
        self.poll_interval = poll_interval
        self.wait_timeout = wait_timeout
        self.overwrite = overwrite
        self.on_difference = on_difference
        check_render_literals(self)

    def execute(self, context: Context) -> dict[str, Any]:
        """Adopt or pay, wait, and save."""
        with airflow_errors(self), self.submission(context) as submission:
            return self._generate(submission)

    def resume_submit(
        self, context: Context, event: Mapping[str, Any], announced_cost: str | None = None
    ) -> dict[str, Any]:
        """Continue after a wait for a slot."""
        with airflow_errors(self), self.submission(context) as submission:
            return self._generate(submission, self.slot_event(submission, event, announced_cost))

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Continue after the wait for the render: save the video, or say how the render ended."""
        from airflow_provider_jimeng.tracing import trace_wait

        self.operator_extra_links = ()  # Airflow pushed the link to XCom when the task deferred.
        with airflow_errors(self), self.submission(context) as submission:
            paid, ended = submission.resume(event)
            trace_wait(paid.render, ended)
            return submission.land(paid, ended) or self._generate(submission)

    def _generate(self, submission: Submission, waiting_since: float | None = None) -> dict[str, Any]:
        """Return the manifest of the saved video. A lost render is paid for again if the author allows it."""
        while True:
            paid = self.pay(submission, waiting_since)
            ended = paid.ended or self._wait(submission, paid.render)
            manifest = submission.land(paid, ended)
            if manifest is not None:
                return manifest
            waiting_since = None

    def _wait(self, submission: Submission, render: Render) -> RenderEvent:
        """Defer until the render is done, or poll on the worker; return how the wait ended."""
        from airflow_provider_jimeng.core.render import deadline_for, in_words
        from airflow_provider_jimeng.tracing import trace_wait

        now = time.time()
        wait_timeout = read_seconds("wait_timeout", self.wait_timeout)
        poll_interval = (
            None if is_absent(self.poll_interval) else read_seconds("poll_interval", self.poll_interval)
        )
        deadline = deadline_for(
            now=now, wait_timeout=wait_timeout, submitted_at=render.submitted_at.timestamp()
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
        ended = submission.poll(render, deadline=deadline, poll_interval=poll_interval)
        trace_wait(render, ended)
        return ended


class JimengDownloadVideoOperator(LineageOperator, BaseOperator):
    """Save the video of a finished render. To do it again is free.

    XCom: ``jimeng_render`` (render payload) and ``return_value`` (the manifest). Outlets get the manifest as the
    extra of their asset event.

    :param render: the return value of the submit operator or of the sensor.
    :param render_id: in place of ``render``: the vendor's ``task_id``.
    :param model: with ``render_id``: short name or ``req_key`` of its model.
    :param output_path: directory URI that ends in ``/``, or a full file name, that ``ObjectStoragePath`` opens; or a
        path object.
    :param output_conn_id: Airflow connection of the storage.
    :param overwrite: replace a file that holds the video of another request.
    :param aigc_meta: implicit label, as for the submitting operators; default: the label of the connection.
    :param require_tagged: save only a video that has the implicit label. A saved video without it is downloaded again.
    :param on_difference: what the task does if the saved video differs from its request: ``warn`` (default) or ``fail``.
    :param jimeng_conn_id: connection for a ``render_id``; a render payload names the connection that pays.
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
        "on_difference",
        "jimeng_conn_id",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"render": "json", "aigc_meta": "json"}
    ui_color = "#e8f0fe"
    operator_extra_links = (JimengVideoLink(),)

    def __init__(
        self,
        *,
        output_path: str | PathLike[str] | ObjectStoragePath | XComArg,
        render: Mapping[str, Any] | str | XComArg | None = None,
        render_id: str | int | XComArg | None = None,
        model: str | XComArg | None = None,
        output_conn_id: str | XComArg | None = None,
        overwrite: bool | str | XComArg = False,
        aigc_meta: Mapping[str, str] | str | XComArg | None = None,
        require_tagged: bool | str | XComArg = False,
        on_difference: str | XComArg = "warn",
        jimeng_conn_id: str | XComArg = "jimeng_default",
        retries: int | None = DEFAULT_RETRIES,
        retry_policy: RetryPolicy | None = None,
        **kwargs: Unpack[OperatorArguments],
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
        self.on_difference = on_difference
        self.jimeng_conn_id = jimeng_conn_id
        check_waiting_literals(self)

    def execute(self, context: Context) -> dict[str, Any]:
        """Ask for a fresh link and save the video, unless it is saved already."""
        from airflow_provider_jimeng.core.messages import end_behind, landing_fields
        from airflow_provider_jimeng.hooks.base import links_to, need_connection
        from airflow_provider_jimeng.hooks.jimeng import JimengHook
        from airflow_provider_jimeng.hooks.render_argument import named_render
        from airflow_provider_jimeng.operators.records import kept
        from airflow_provider_jimeng.storage.landing import land
        from airflow_provider_jimeng.storage.output import OutputPath, check_names

        with airflow_errors(self):
            target = OutputPath.of(self.output_path, self.output_conn_id)
            hook = JimengHook(jimeng_conn_id=str(self.jimeng_conn_id))
            render = named_render(self, hook)
            push_own(context["ti"], RENDER, render.to_payload())
            began = pendulum.now("UTC")
            try:
                require_tagged = as_bool("require_tagged", self.require_tagged)
                try:
                    with hook.for_render(render) as paying:
                        check_names(target)
                        need_connection(paying)
                        links = links_to(
                            paying, render, aigc_meta=self.aigc_meta, require_tagged=require_tagged
                        )
                        manifest = land(
                            render,
                            links,
                            target=target,
                            overwrite=as_bool("overwrite", self.overwrite),
                            require_tagged=require_tagged,
                        )
                except JimengError as error:
                    extended = kept(error, render)
                    raise extended from extended.__cause__
                refuse_difference(self, manifest)
            except JimengError as error:
                failure = {**render.to_payload(), **landing_fields(error, end_behind(error))}
                push_own(context["ti"], RENDER, failure)
                raise
            count_landing(manifest, since=began)
            payload = manifest.to_payload()
            add_to_outlets(self, context, manifest.uri, payload)
            return payload
