"""What the operators that submit share: their arguments, and the way from those to a paid render."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import pendulum
from airflow.providers.common.compat.sdk import BaseOperator, conf

from airflow_provider_jimeng.core.arguments import (
    as_bool,
    as_mapping,
    read_seconds,
    read_text,
    refuse_arguments,
)
from airflow_provider_jimeng.core.catalogue import DEFAULT_MODEL, REFUSED_ARGUMENTS
from airflow_provider_jimeng.core.deadlines import landable_until
from airflow_provider_jimeng.core.errors import (
    ApiError,
    ConcurrencyLimitedError,
    JimengError,
    ParameterError,
    RateLimitedError,
    SlotTimedOutError,
    UnknownSubmitError,
)
from airflow_provider_jimeng.core.event import PAYLOAD_VERSION, UNKNOWN_SUBMIT, Outcome, RenderEvent
from airflow_provider_jimeng.core.output_path import folder_of, path_as_text, read_output_path, warning_of
from airflow_provider_jimeng.core.render import cost_in_words
from airflow_provider_jimeng.metrics import count, count_end
from airflow_provider_jimeng.operators.literals import REQUEST_FIELDS, check_render_literals
from airflow_provider_jimeng.operators.xcom import EARLIER, INTENT, REFUSAL, RENDER, TASK_ID, push
from airflow_provider_jimeng.retry import with_default_policy
from airflow_provider_jimeng.web.links import JimengVideoLink

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_jimeng.client.settings import ClientSettings
    from airflow_provider_jimeng.core.parameters import RenderRequest
    from airflow_provider_jimeng.core.render import Render
    from airflow_provider_jimeng.hooks.jimeng import JimengHook
    from airflow_provider_jimeng.operators.checkout import Checkout
    from airflow_provider_jimeng.operators.purchase import Purchase
    from airflow_provider_jimeng.storage.target import OutputPath, Target

DEFAULT_RETRIES = max(1, conf.getint("core", "default_task_retries", fallback=0))
"""A crashed try must be followed by another one that lands what it paid for."""
DEFAULT_WAIT_TIMEOUT = 6 * 3600
DEFAULT_MAX_WAIT_FOR_SLOT = 24 * 3600

_SUBMITTING_FIELDS = (
    *REQUEST_FIELDS,
    "aigc_meta",
    "require_tagged",
    "max_cost_cny",
    "jimeng_conn_id",
    "on_rerun",
    "on_unknown_submit",
    "on_lost",
    "reuse",
    "output_path",
    "output_conn_id",
    "max_wait_for_slot",
)


class JimengSubmittingOperator(BaseOperator):
    """Base of the operators that submit a render; every argument may be a template.

    XCom, before each submit: ``estimated_cost_cny`` (text, null if the price is unknown). ``jimeng_render`` names the
    task's ``output_path`` too, if it has one.

    :param prompt: what to show, in Chinese or English: at most 800 characters, 150 for S2.0.
    :param model: short name or ``req_key``; see the table of models.
    :param duration: seconds, 5 or 10.
    :param aspect_ratio: e.g. ``16:9``, for models that take one.
    :param seed: -1 (default) draws one; the same seed and arguments give nearly the same video.
    :param first_frame: http(s) link, sent as it is; or a path or URI that ``ObjectStoragePath`` opens.
    :param last_frame: the same, for models that take two frames.
    :param camera_template: camera movement, for ``i2v_recamera_720p``.
    :param camera_strength: ``weak``, ``medium`` or ``strong``, for ``i2v_recamera_720p``.
    :param aigc_meta: implicit label of GB 45438-2025: ``producer_id`` and ``content_propagator``, optionally
        ``content_producer`` and ``propagate_id``. Default: the connection's.
    :param require_tagged: do not land a video that the API did not label; one that lies there without the label is
        fetched again with it.
    :param take: number that tells identical requests apart which are meant to be different videos.
    :param extra_body: body fields merged last and sent unchecked, for what the vendor adds.
    :param max_cost_cny: refuse a render whose estimated cost in CNY is higher, or unknown.
    :param jimeng_conn_id: Airflow connection of type ``jimeng``.
    :param on_rerun: ``adopt`` (default): a Clear goes on with the recorded render, free. ``render``: a Clear pays
        for a new take.
    :param on_unknown_submit: after a submit whose outcome nobody can know: ``fail`` (default) or ``resubmit``.
    :param on_lost: when the API no longer knows a render that it accepted: ``fail`` (default) or ``resubmit``.
    :param reuse: ``task`` (default): only this task instance's own record counts. ``output_path``: a record of
        the same request under the output path counts too, from any run.
    :param output_path: directory URI ending in ``/``, or a full file name, or a path object; the records lie beside it.
    :param output_conn_id: Airflow connection of the storage.
    :param max_wait_for_slot: seconds to wait while the account renders as much as it may.
    :param deferrable: wait in the triggerer instead of on the worker.
    :param retries: as Airflow's; at least 1 by default, so that a crash is followed by an adopting try.
    """

    template_fields: Sequence[str] = _SUBMITTING_FIELDS
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "prompt": "md",
        "aigc_meta": "json",
        "extra_body": "json",
    }
    ui_color = "#e8f0fe"
    operator_extra_links = (JimengVideoLink(),)

    def __init__(
        self,
        *,
        prompt: str | None = None,
        model: str = DEFAULT_MODEL,
        duration: int | str | None = None,
        aspect_ratio: str | None = None,
        seed: int | str | None = None,
        first_frame: str | None = None,
        last_frame: str | None = None,
        camera_template: str | None = None,
        camera_strength: str | None = None,
        aigc_meta: dict[str, str] | None = None,
        require_tagged: bool = False,
        take: int | str = 1,
        extra_body: dict[str, Any] | None = None,
        max_cost_cny: float | str | None = None,
        jimeng_conn_id: str = "jimeng_default",
        on_rerun: str = "adopt",
        on_unknown_submit: str = "fail",
        on_lost: str = "fail",
        reuse: str = "task",
        output_path: OutputPath | None = None,
        output_conn_id: str | None = None,
        max_wait_for_slot: float | str = DEFAULT_MAX_WAIT_FOR_SLOT,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        retries: int | None = DEFAULT_RETRIES,
        retry_policy: Any = None,
        **kwargs: Any,
    ) -> None:
        refuse_arguments({name: kwargs[name] for name in REFUSED_ARGUMENTS if name in kwargs})
        super().__init__(retries=retries, **with_default_policy(kwargs, retry_policy))
        self.prompt = prompt
        self.model = model
        self.duration = duration
        self.aspect_ratio = aspect_ratio
        self.seed = seed
        self.first_frame = first_frame
        self.last_frame = last_frame
        self.camera_template = camera_template
        self.camera_strength = camera_strength
        self.aigc_meta = aigc_meta
        self.require_tagged = require_tagged
        self.take = take
        self.extra_body = extra_body
        self.max_cost_cny = max_cost_cny
        self.jimeng_conn_id = jimeng_conn_id
        self.on_rerun = on_rerun
        self.on_unknown_submit = on_unknown_submit
        self.on_lost = on_lost
        self.reuse = reuse
        self.output_path = path_as_text(output_path)
        self.output_conn_id = output_conn_id
        self.max_wait_for_slot = max_wait_for_slot
        self.deferrable = deferrable
        check_render_literals(self)

    def purchase(self, context: Context, checkout: Checkout, waiting_since: float | None) -> Purchase:
        """Return the paid render of this task instance; while no slot is free, wait for one first.

        :param waiting_since: epoch second at which the wait for a slot began, ``None`` before the first refusal.
        :raises TaskDeferred: in deferrable mode, while no slot is free.
        """
        while True:
            try:
                purchase = self._open(context, checkout)
            except (ConcurrencyLimitedError, RateLimitedError) as error:
                count("busy", checkout.request.spec.name)
                waiting_since = self._wait_for_slot(context, checkout, error, waiting_since)
            except UnknownSubmitError as error:
                count("failed", checkout.request.spec.name, code=UNKNOWN_SUBMIT)
                self._announce_unknown(context, checkout, error)
                raise
            except ApiError as error:
                from airflow_provider_jimeng.core.submit_messages import refusal_of

                refusal = refusal_of(checkout.request, error, pendulum.now("UTC"))
                count("failed", checkout.request.spec.name, code=error.code or Outcome.FAILED.value)
                push(context["ti"], REFUSAL, refusal)
                raise
            else:
                count("adopted" if purchase.adopted else "submitted", purchase.render.model)
                if not purchase.adopted:
                    self.log.info(
                        "The render %s is paid for (%s). It usually takes 1 to 5 minutes. The API keeps it until %s.",
                        purchase.render.task_id,
                        cost_in_words(purchase.render.estimated_cost_cny),
                        landable_until(purchase.render),
                    )
                self.announce(context, purchase.render)
                self._announce_earlier(context, checkout, purchase.render)
                return purchase

    def announce(self, context: Context, render: Render, **more: Any) -> None:
        """Push ``task_id`` and ``jimeng_render`` to XCom; with the place of the video, so that a rescue knows it."""
        place = {"output_path": self.output_path} if self.output_path else {}
        push(context["ti"], TASK_ID, render.task_id)
        push(context["ti"], RENDER, {**render.to_payload(), **place, **more})

    def conclude(
        self,
        context: Context,
        checkout: Checkout,
        render: Render,
        ended: RenderEvent,
        *,
        adopted: bool,
    ) -> None:
        """Record and announce a render that did not succeed; return if a new one may be submitted in this try.

        It may when an adopted render failed unbilled and a retry or a Clear stands for a new one anyway, and when it
        is lost and the author allows to pay again.

        :raises RenderError: saying what happened, what it may have cost and what comes next.
        """
        from airflow_provider_jimeng.core.messages import outcome_fields, render_error
        from airflow_provider_jimeng.core.record import RecordState

        self.announce(context, render, **outcome_fields(ended))
        count_end(render, ended)
        error = render_error(ended, render, on_lost=self.on_lost)
        if ended.outcome is Outcome.FAILED:
            if adopted and (checkout.cleared or error.retryable):
                checkout.close(render, RecordState.FAILED)
                self.log.info("The adopted render %s failed unbilled; starting a new one.", render.task_id)
                return
            checkout.note(render, RecordState.FAILED)
        elif ended.outcome.ending.over:
            if self.on_lost == "resubmit" and not checkout.resubmitted_in_this_try:
                checkout.close(render, RecordState.LOST)
                self.log.warning("%s Submitting in this try already.", error)
                return
            checkout.note(render, RecordState.LOST)
        raise error

    def checkout(
        self, context: Context, *, target: Target | None = None, overwrite: bool = False
    ) -> Checkout:
        """Return this task instance's ledger, hook and policies as one.

        :param target: where the video goes, for an operator that lands it.
        """
        from airflow_provider_jimeng.operators.checkout import Checkout
        from airflow_provider_jimeng.operators.policies import Policies
        from airflow_provider_jimeng.storage.ledger import Ledger

        self.output_path = read_output_path(self.output_path)  # as a template, or another task, left it
        self.output_conn_id = read_text("output_conn_id", self.output_conn_id)
        hook = self.hook_for(self.jimeng_conn_id)
        return Checkout(
            ti=context["ti"],
            ledger=Ledger.open(context, self.output_folder()),
            hook=hook,
            build_request=lambda: self.build_request(hook.settings),
            policies=Policies(
                on_rerun=self.on_rerun,
                on_unknown_submit=self.on_unknown_submit,
                on_lost=self.on_lost,
                reuse=self.reuse,
            ),
            target=target,
            output_path=self.output_path,
            output_conn_id=self.output_conn_id,
            overwrite=overwrite,
        )

    def build_request(self, settings: ClientSettings) -> RenderRequest:
        """Check every argument, open the images, and return the request; nothing is sent.

        :param settings: the connection's.
        :raises ParameterError: naming the argument, the limit and the remedy.
        """
        from airflow_provider_jimeng.core.link_hosts import check_links
        from airflow_provider_jimeng.core.parameters import RenderRequest, check_cost
        from airflow_provider_jimeng.images import open_images

        arguments = {name: getattr(self, name) for name in REQUEST_FIELDS}
        arguments["extra_body"] = as_mapping("extra_body", arguments["extra_body"])
        request = RenderRequest.build(**arguments, catalogue=settings.catalogue)
        self.check_waiting()
        label = self.aigc_label()
        if as_bool("require_tagged", self.require_tagged) and not label and not settings.aigc_meta:
            raise ParameterError("require_tagged", "needs aigc_meta, here or in the connection's extra.")
        check_cost(request, self.max_cost_cny)
        check_links(request, settings.endpoint)
        request = open_images(request)
        for warning in (*request.warnings, warning_of(self.output_path)):
            if warning:
                self.log.warning("%s", warning)
        return request

    def check_waiting(self) -> None:
        """Refuse, before anything is paid, what a wait after the submit would stumble over."""
        read_seconds("max_wait_for_slot", self.max_wait_for_slot)

    def aigc_label(self) -> dict[str, str] | None:
        """Return the checked ``aigc_meta`` of this task, ``None`` to use the connection's."""
        from airflow_provider_jimeng.core.parameters import check_aigc_meta

        return check_aigc_meta(as_mapping("aigc_meta", self.aigc_meta))

    def output_folder(self) -> Target | None:
        """Return the directory that the video goes to, ``None`` without ``output_path``."""
        from airflow_provider_jimeng.storage.target import Target

        output_path = read_output_path(self.output_path)
        return None if output_path is None else Target.of(folder_of(output_path), self.output_conn_id)

    def hook_for(self, jimeng_conn_id: str) -> JimengHook:
        """Return the hook of a connection: the one that paid, when a recorded render is adopted."""
        from airflow_provider_jimeng.hooks.jimeng import JimengHook

        return JimengHook(jimeng_conn_id=jimeng_conn_id)

    def slot_event(self, context: Context, checkout: Checkout, event: Mapping[str, Any]) -> float | None:
        """Read the end of a wait for a slot; return when that wait began."""
        ended = RenderEvent.from_payload(event)
        if ended.outcome is Outcome.SLOT_TIMED_OUT:
            from airflow_provider_jimeng.core.messages import slot_error

            self._announce_no_slot(context, checkout, ended)
            raise slot_error(ended, self.model)
        return ended.waiting_since

    def _open(self, context: Context, checkout: Checkout) -> Purchase:
        try:
            return checkout.open()
        except JimengError:
            self._announce_earlier(context, checkout, None)
            raise

    def _announce_earlier(self, context: Context, checkout: Checkout, render: Render | None) -> None:
        """Push ``jimeng_earlier``: what this task paid for before, in other tries or before a Clear."""
        earlier = checkout.earlier(render)
        if earlier:
            ti = context["ti"]
            payload = {"version": PAYLOAD_VERSION, "map_index": ti.map_index, "renders": earlier}
            push(ti, EARLIER, payload)

    def _announce_unknown(self, context: Context, checkout: Checkout, error: UnknownSubmitError) -> None:
        """Push ``jimeng_intent``: what may have been paid without anybody knowing its id."""
        intent = checkout.unknown_intent
        if intent is not None:
            push(context["ti"], INTENT, {**intent.to_payload(), "message": str(error)})

    def _announce_no_slot(self, context: Context, checkout: Checkout, ended: RenderEvent) -> None:
        from airflow_provider_jimeng.operators.slots import slot_refusal

        refusal = slot_refusal(checkout, self.model, ended)
        count("failed", refusal["model"], code=ended.outcome.value)
        push(context["ti"], REFUSAL, refusal)

    def _wait_for_slot(
        self, context: Context, checkout: Checkout, error: ApiError, waiting_since: float | None
    ) -> float:
        from airflow_provider_jimeng.operators.slots import defer_for_slot, sleep_for_slot

        limit = read_seconds("max_wait_for_slot", self.max_wait_for_slot)
        req_key = checkout.request.spec.req_key
        try:
            if self.deferrable:
                defer_for_slot(self, error, req_key=req_key, waiting_since=waiting_since, max_wait=limit)
            return sleep_for_slot(self, error, waiting_since=waiting_since, max_wait=limit)
        except SlotTimedOutError as over:
            if over.event is not None:
                self._announce_no_slot(context, checkout, over.event)
            raise
