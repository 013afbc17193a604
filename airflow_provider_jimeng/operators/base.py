"""What the submitting operators share: arguments, and waiting for a free slot."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator, conf

from airflow_provider_jimeng.core.arguments import as_bool, read_seconds, read_text
from airflow_provider_jimeng.core.catalogue import DEFAULT_MODEL, REFUSED_ARGUMENTS
from airflow_provider_jimeng.core.errors import RateLimitedError
from airflow_provider_jimeng.core.limits import (
    SETTLE_SECONDS,
    TRY_WHEN_FREE_SECONDS,
    TRY_WHEN_THROTTLED_SECONDS,
    spread,
)
from airflow_provider_jimeng.core.outcomes import Outcome
from airflow_provider_jimeng.core.output_path import folder_of, path_as_text, read_output_path
from airflow_provider_jimeng.core.parameters import refuse_arguments
from airflow_provider_jimeng.core.render import RenderEvent, in_words
from airflow_provider_jimeng.links import JimengVideoLink
from airflow_provider_jimeng.operators.request import POLICIES, REQUEST_FIELDS, check_render_literals
from airflow_provider_jimeng.retry import with_default_policy

if TYPE_CHECKING:
    from decimal import Decimal
    from os import PathLike
    from typing import NoReturn, Unpack

    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath, RetryPolicy, XComArg

    from airflow_provider_jimeng.core.errors import ConcurrencyLimitedError
    from airflow_provider_jimeng.hooks.jimeng import JimengHook
    from airflow_provider_jimeng.operators.arguments import OperatorArguments
    from airflow_provider_jimeng.operators.payment import Paid
    from airflow_provider_jimeng.operators.submission import Submission
    from airflow_provider_jimeng.storage.output import OutputPath

__all__ = ["JimengSubmittingOperator"]

DEFAULT_RETRIES = max(1, conf.getint("core", "default_task_retries", fallback=0))
"""After a crash another try must save what the first one paid for."""
DEFAULT_WAIT_TIMEOUT = 6 * 3600
DEFAULT_MAX_WAIT_FOR_SLOT = 24 * 3600

_SUBMITTING_FIELDS = (
    *REQUEST_FIELDS,
    "aigc_meta",
    "require_tagged",
    "max_cost_cny",
    "jimeng_conn_id",
    *POLICIES,
    "output_path",
    "output_conn_id",
    "max_wait_for_slot",
)


class JimengSubmittingOperator(BaseOperator):
    """Base of the operators that submit a render. Every argument can be a template.

    XCom, before each submit: ``estimated_cost_cny`` (text, null if the price is unknown). ``jimeng_render`` contains the
    task's ``output_path``, if it has one.

    :param prompt: what the video shows, in Chinese or English: at most 800 characters, 150 for S2.0.
    :param model: short name or ``req_key``; see the table of models.
    :param duration: seconds, 5 or 10.
    :param aspect_ratio: for example ``16:9``, for models that take one.
    :param seed: -1 (default) is random; the same seed and arguments give nearly the same video.
    :param first_frame: an image: an http(s) link, which is sent as it is, or a path or URI that ``ObjectStoragePath``
        opens.
    :param last_frame: the last image, for models that take two.
    :param camera_template: camera movement, for ``i2v_recamera_720p``.
    :param camera_strength: ``weak``, ``medium`` or ``strong``, for ``i2v_recamera_720p``.
    :param aigc_meta: implicit label of GB 45438-2025: ``producer_id`` and ``content_propagator``, optionally
        ``content_producer`` and ``propagate_id``. Default: the label of the connection.
    :param require_tagged: save only a video that the API has labelled. A saved video without the label is downloaded
        again with it.
    :param take: version number. Use 2, 3, … to pay for another video of the same request.
    :param extra_body: fields that are added to the request body last and not checked, for new fields of the API.
    :param max_cost_cny: refuse a render if its estimated cost in CNY is higher or unknown.
    :param jimeng_conn_id: Airflow connection of type ``jimeng``.
    :param on_rerun: what a Clear does: ``adopt`` (default) goes on with the recorded render, free; ``render`` pays for
        a new take.
    :param on_unknown_submit: what a new try does if nobody knows whether the API accepted the last submit: ``fail``
        (default) or ``resubmit``.
    :param on_lost: what a new try does if the API no longer knows an accepted render: ``fail`` (default) or
        ``resubmit``.
    :param reuse: ``task`` (default): only the record of this task instance counts. ``output_path``: a record of the same
        request under the output path counts too, from any run.
    :param output_path: directory URI that ends in ``/``, or a full file name, or a path object. The records are kept
        beside the video.
    :param output_conn_id: Airflow connection of the storage.
    :param max_wait_for_slot: seconds to wait while the account renders as many videos as it may.
    :param deferrable: wait in the triggerer instead of on the worker.
    :param retries: as in Airflow; at least 1 by default, so that after a crash another try goes on with the render.
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
        output_path: str | PathLike[str] | ObjectStoragePath | XComArg | None = None,
        output_conn_id: str | XComArg | None = None,
        max_wait_for_slot: float | str | XComArg = DEFAULT_MAX_WAIT_FOR_SLOT,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        retries: int | None = DEFAULT_RETRIES,
        retry_policy: RetryPolicy | None = None,
        **kwargs: Unpack[OperatorArguments],
    ) -> None:
        refuse_arguments({name: value for name, value in kwargs.items() if name in REFUSED_ARGUMENTS})
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

    def submission(self, context: Context) -> Submission:
        """Return this try's way to a paid render and its saved file, to be used in a ``with`` block."""
        from airflow_provider_jimeng.operators.submission import Submission

        self.output_path = read_output_path(self.output_path)  # as a template, or another task, left it
        self.output_conn_id = read_text("output_conn_id", self.output_conn_id)
        return Submission(
            self,
            context,
            hook=self.hook_for(str(self.jimeng_conn_id)),
            target=self.target,
            folder=self.folder,
            overwrite=as_bool("overwrite", getattr(self, "overwrite", False)),
        )

    @property
    def target(self) -> OutputPath | None:
        """Where the video is saved, ``None`` for a task that only submits."""
        return None

    @property
    def folder(self) -> OutputPath | None:
        """The directory of the video and of the records, ``None`` without ``output_path``."""
        from airflow_provider_jimeng.storage.output import OutputPath

        if self.output_path is None:
            return None
        return OutputPath.of(folder_of(self.output_path), self.output_conn_id)

    def hook_for(self, jimeng_conn_id: str) -> JimengHook:
        """Return the hook of a connection."""
        from airflow_provider_jimeng.hooks.jimeng import JimengHook

        return JimengHook(jimeng_conn_id=jimeng_conn_id)

    def pay(self, submission: Submission, waiting_since: float | None = None) -> Paid:
        """Return the render of this task instance, paying for one if none is paid; wait for a slot while none is free.

        :param waiting_since: epoch second at which the wait for a slot began, ``None`` before the first refusal.
        :raises TaskDeferred: in deferrable mode, while no slot is free.
        """
        from airflow_provider_jimeng.operators.payment import Paid

        while True:
            answer = submission.adopt() or submission.submit()
            if isinstance(answer, Paid):
                return answer
            waiting_since = self._wait_for_slot(submission, answer.error, waiting_since)

    def slot_event(self, submission: Submission, event: Mapping[str, Any]) -> float | None:
        """Read how a wait for a slot ended; return when that wait began.

        :raises SlotTimedOutError: no slot came free in time.
        """
        ended = RenderEvent.from_payload(event)
        if ended.outcome is Outcome.SLOT_TIMED_OUT:
            self._give_up(submission, ended)
        return ended.waiting_since

    def _wait_for_slot(
        self,
        submission: Submission,
        error: ConcurrencyLimitedError | RateLimitedError,
        waiting_since: float | None,
    ) -> float:
        """Defer until a slot is likely free, or sleep on the worker; return when the wait began."""
        now, throttled = time.time(), isinstance(error, RateLimitedError)
        longest = read_seconds("max_wait_for_slot", self.max_wait_for_slot)
        if waiting_since is None:
            waiting_since = now
            self.log.info(
                "Waiting%s for a free slot (up to %s): the account %s. The API said: %s",
                "" if self.deferrable else " on the worker",
                in_words(longest),
                "sends as many requests a second as it may"
                if throttled
                else "renders as many videos at a time as it may",
                error.said,
            )
        deadline = waiting_since + longest
        if now >= deadline:
            self._give_up(
                submission,
                RenderEvent(
                    outcome=Outcome.SLOT_TIMED_OUT,
                    code=error.code,
                    message=error.message,
                    request_id=error.request_id,
                ),
            )
        if self.deferrable:
            from airflow_provider_jimeng.triggers.slot import JimengSlotTrigger

            trigger = JimengSlotTrigger(
                req_key=submission.request.spec.req_key,
                jimeng_conn_id=str(self.jimeng_conn_id),
                waiting_since=waiting_since,
                not_before=now + SETTLE_SECONDS,
                deadline=deadline,
                priority_weight=self.priority_weight,
                dag_id=self.dag_id,
                throttled=throttled,
            )
            self.defer(trigger=trigger, method_name="resume_submit")
        pause = TRY_WHEN_THROTTLED_SECONDS if throttled else TRY_WHEN_FREE_SECONDS
        time.sleep(max(0.0, min(spread(pause, random.random()), deadline - now)))
        return waiting_since

    def _give_up(self, submission: Submission, ended: RenderEvent) -> NoReturn:
        from airflow_provider_jimeng.core.messages import slot_error

        submission.no_slot(ended)
        raise slot_error(ended, str(self.model))
