# SPDX-License-Identifier: Apache-2.0
"""The arguments of the operators: declared, checked when the DAG file is parsed, and read when the task runs.

When the DAG file is parsed, a literal is checked. The value of a template, of another task or of a mapping is known only
when the task runs. It is checked then, before anything is paid.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import AirflowFailException, BaseOperator, conf

from airflow_provider_jimeng.core.arguments import (
    DEFAULT_CONNECTION,
    as_bool,
    check_defaults,
    check_known_wrong,
    check_request,
    is_absent,
    is_final,
    read_amount,
    read_seconds,
)
from airflow_provider_jimeng.core.catalogue import DEFAULT_MODEL, REFUSED_ARGUMENTS
from airflow_provider_jimeng.core.errors import (
    DifferentVideoError,
    JimengError,
    ParameterError,
    SettingsError,
)
from airflow_provider_jimeng.core.output_path import path_as_text
from airflow_provider_jimeng.core.parameters import check_aigc_meta, read_extra_body, refuse_arguments
from airflow_provider_jimeng.core.render import difference_in_words
from airflow_provider_jimeng.links import JimengVideoLink
from airflow_provider_jimeng.retry import RETRY_POLICIES_EXIST, JimengRetryPolicy

if TYPE_CHECKING:
    from decimal import Decimal
    from os import PathLike
    from typing import Unpack

    from airflow.providers.common.compat.sdk import (
        BaseOperatorLink,
        Context,
        ObjectStoragePath,
        RetryPolicy,
        XComArg,
    )

    from airflow_provider_jimeng.core.render import RenderManifest
    from airflow_provider_jimeng.hooks.jimeng import JimengHook
    from airflow_provider_jimeng.operators.arguments import OperatorArguments
    from airflow_provider_jimeng.operators.records import Paid
    from airflow_provider_jimeng.operators.submission import Submission

__all__ = ["JimengSubmittingOperator"]

log = logging.getLogger(__name__)

DEFAULT_RETRIES = max(1, conf.getint("core", "default_task_retries", fallback=0))
"""After a crash another try must save what the first one paid for."""
DEFAULT_MAX_WAIT_FOR_SLOT = 24 * 3600

REQUEST_FIELDS = (
    "prompt",
    "model",
    "duration",
    "aspect_ratio",
    "seed",
    "first_frame",
    "last_frame",
    "camera_template",
    "camera_strength",
    "take",
    "extra_body",
)
POLICIES: Mapping[str, tuple[str, ...]] = {
    "on_rerun": ("adopt", "render"),
    "on_unknown_submit": ("fail", "resubmit"),
    "on_lost": ("fail", "resubmit"),
    "reuse": ("task", "output_path"),
}
"""The arguments by which the author allows another payment, and the values that each of them takes."""
ON_DIFFERENCE = ("warn", "fail")
"""What a task does if the saved video differs from its request."""
_TAKES = {**POLICIES, "on_difference": ON_DIFFERENCE}
WAITS = ("poll_interval", "wait_timeout", "max_wait_for_slot")
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
    :param aspect_ratio: for example ``16:9``. Only some models accept it.
    :param seed: -1 (default) is random; the same seed and arguments give nearly the same video.
    :param first_frame: an image: an http(s) link, which is sent as it is, or a path or URI that ``ObjectStoragePath``
        opens.
    :param last_frame: the last image. Only models with two images accept it.
    :param camera_template: camera movement, for ``i2v_recamera_720p``.
    :param camera_strength: ``weak``, ``medium`` or ``strong``, for ``i2v_recamera_720p``.
    :param aigc_meta: implicit label of GB 45438-2025: ``producer_id`` and ``content_propagator``, optionally
        ``content_producer`` and ``propagate_id``. Default: the label of the connection.
    :param require_tagged: save only a video that has the implicit label. A saved video without it is downloaded again.
    :param take: version number. Use 2, 3, … to pay for another video of the same request.
    :param extra_body: fields to add to the request body, for new fields of the API. They replace fields of the same name and are not checked.
    :param max_cost_cny: refuse a render if its estimated cost in CNY is higher or unknown.
    :param jimeng_conn_id: Airflow connection of type ``jimeng``.
    :param on_rerun: what the task does after a Clear: ``adopt`` (default) continues with the recorded render at no cost;
        ``render`` pays for a new take.
    :param on_unknown_submit: what a new try does if nobody knows whether the API accepted the last submit: ``fail``
        (default) or ``resubmit``.
    :param on_lost: what a new try does if the API no longer knows an accepted render: ``fail`` (default) or
        ``resubmit``.
    :param reuse: ``task`` (default): only the record of this task instance counts. ``output_path``: a record of the same
        request under the output path counts too, from any run.
    :param output_path: directory URI that ends in ``/``, or a full file name, or a path object. The records are kept
        beside the video.
    :param output_conn_id: Airflow connection of the storage.
    :param max_wait_for_slot: seconds to wait at most for a free slot of the account.
    :param deferrable: wait in the triggerer instead of on the worker.
    :param retries: as in Airflow; at least 1 by default, so that another try continues with the render after a crash.
    """

    template_fields: Sequence[str] = _SUBMITTING_FIELDS
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "prompt": "md",
        "aigc_meta": "json",
        "extra_body": "json",
    }
    ui_color = "#e8f0fe"
    operator_extra_links: Collection[BaseOperatorLink] = (JimengVideoLink(),)
    _saves_video: ClassVar[bool] = False

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
        if refused := {name: value for name, value in kwargs.items() if name in REFUSED_ARGUMENTS}:
            refuse_arguments(refused)
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
        if not self._saves_video:  # A class that does has more arguments, and checks all of them together.
            check_render_literals(self)

    @contextmanager
    def submission(self, context: Context) -> Iterator[Submission]:
        """Yield this try's way to a paid render and its saved file. In the block, one client of the connection is shared."""
        from airflow_provider_jimeng.operators.submission import Submission
        from airflow_provider_jimeng.operators.xcom import push_refusal
        from airflow_provider_jimeng.storage.output import OutputPath

        place = folder = None
        with ExitStack() as clients:
            try:
                policies = read_policies(self)
                hook = clients.enter_context(self.hook_for(str(self.jimeng_conn_id)))
                if self._saves_video or not is_absent(self.output_path):
                    place = OutputPath.of(self.output_path, self.output_conn_id)
                    folder = place.folder
                # a template or another task can give it
                self.output_path = None if place is None else place.output_path
                submission = Submission(
                    self,
                    context,
                    hook=hook,
                    clients=clients,
                    policies=policies,
                    target=place if self._saves_video else None,
                    folder=folder,
                )
            except JimengError as error:  # It comes before the submit.
                push_refusal(self, context["ti"], error)
                raise
            yield submission

    def hook_for(self, jimeng_conn_id: str) -> JimengHook:
        """Return the hook of a connection."""
        from airflow_provider_jimeng.hooks.jimeng import JimengHook

        return JimengHook(jimeng_conn_id=jimeng_conn_id)

    def pay(self, submission: Submission, waiting_since: float | None = None) -> Paid:
        """Return the render of this task instance, paying for one if none is paid; wait for a slot while none is free.

        :param waiting_since: epoch second at which the wait for a slot began, ``None`` before the first refusal.
        :raises TaskDeferred: in deferrable mode, while no slot is free.
        """
        from airflow_provider_jimeng.operators.payment import wait_for_slot
        from airflow_provider_jimeng.operators.records import Paid

        while True:
            answer = submission.adopt() or submission.submit()
            if isinstance(answer, Paid):
                return answer
            waiting_since = wait_for_slot(self, submission, answer.error, waiting_since)

    def slot_event(
        self, submission: Submission, event: Mapping[str, Any], announced_cost: str | None = None
    ) -> float | None:
        """Read how a wait for a slot ended; return when that wait began."""
        from airflow_provider_jimeng.operators.payment import read_slot_event

        self.operator_extra_links = ()  # Airflow pushed the link to XCom when the task deferred.
        return read_slot_event(submission, event, announced_cost)


@contextmanager
def airflow_errors(operator: Any) -> Iterator[None]:
    """Raise our errors as the operator's Airflow needs them.

    With a retry policy, an error passes unchanged: an ``AirflowFailException`` would bypass the policy. Without one, an
    error that no retry can solve becomes an ``AirflowFailException``, which fails the task at once.
    """
    try:
        yield
    except JimengError as error:
        cause = error
        if isinstance(error, SettingsError):
            cause = copy(error)  # The traceback adds nothing: the message says what to do.
        if getattr(operator, "retry_policy", None) is None and not error.retryable:
            raise AirflowFailException(f"{type(error).__name__}: {error}") from cause
        if cause is error:
            raise
        raise cause from None


def with_default_policy(arguments: Mapping[str, Any], retry_policy: Any) -> dict[str, Any]:
    """Return an operator's arguments with its retry policy, which is ours unless the author gives another one."""
    if not RETRY_POLICIES_EXIST:
        return dict(arguments)
    return {**arguments, "retry_policy": JimengRetryPolicy() if retry_policy is None else retry_policy}


def check_policy(argument: str, value: Any) -> None:
    """Refuse a value that a policy does not take.

    :raises ParameterError: naming the argument and the values that it takes.
    """
    takes = _TAKES[argument]
    if value not in takes:
        raise ParameterError(argument, f"{value!r} is refused; it takes {' or '.join(map(repr, takes))}.")


def read_policies(task: Any) -> dict[str, str]:
    """Return the policies of a task, checked."""
    policies = {name: getattr(task, name) for name in POLICIES}
    for name, value in policies.items():
        check_policy(name, value)
    return policies


def refuse_difference(task: Any, manifest: RenderManifest) -> None:
    """Fail a task whose saved video differs from its request, if its author wants that.

    :raises DifferentVideoError: saying in what it differs.
    """
    check_policy("on_difference", task.on_difference)
    if task.on_difference == "fail" and manifest.differs:
        differences = "; ".join(map(difference_in_words, manifest.differs))
        raise DifferentVideoError(
            f"{manifest.uri} differs from its request: {differences}. The video is saved and paid for. To accept it, set "
            'on_difference="warn" and clear the task, which costs nothing.'
        )


_CHECKS: Mapping[str, Callable[[str, Any], object]] = {
    "max_cost_cny": read_amount,
    **dict.fromkeys(WAITS, read_seconds),
    **dict.fromkeys(("overwrite", "require_tagged"), as_bool),
    "aigc_meta": lambda _, value: check_aigc_meta(value) if isinstance(value, Mapping) else None,
    "extra_body": lambda _, value: read_extra_body(value) if isinstance(value, Mapping) else None,
}


_KNOWN_EARLY = (*REQUEST_FIELDS, *_CHECKS, *_TAKES, "render_id")


def check_render_literals(task: BaseOperator) -> None:
    """Check the arguments of a task that submits one render.

    :raises ParameterError: naming the argument, the limit and the remedy.
    """
    _check_literals(task, check_request)


def check_plan_literals(task: BaseOperator) -> None:
    """Check the arguments of a task that plans a campaign.

    :raises ParameterError: naming the argument, the limit and the remedy.
    """
    _check_literals(task, check_defaults)


def check_waiting_literals(task: BaseOperator) -> None:
    """Check the arguments of a task that waits for a render, or downloads one.

    :raises ParameterError: naming the argument, the limit and the remedy.
    """
    _check_literals(task, _check_render_id)


def _uses_catalogue(jimeng_conn_id: Any) -> bool:
    """Return whether the models of a connection are those of the catalogue, as far as that is known without a look-up.

    The variable of the environment is at hand, and can describe models. A secrets back end or database is not asked.
    """
    if jimeng_conn_id != DEFAULT_CONNECTION:
        return False
    return "models" not in os.environ.get(f"AIRFLOW_CONN_{DEFAULT_CONNECTION.upper()}", "")


def _check_literals(task: BaseOperator, check_others: Callable[..., None]) -> None:
    """Check the arguments that are known when the DAG file is parsed: one by one, then those that belong together.

    A mapped task is built when it runs, where it reports its errors as any other task does.
    """
    if getattr(task, "_BaseOperator__from_mapped", False):
        return
    dag, known = task.get_dag(), {}
    templates_differ, endings = (
        dag is not None and bool(dag.jinja_environment_kwargs),
        tuple(task.template_ext),
    )
    default_connection = _uses_catalogue(getattr(task, "jimeng_conn_id", None))
    for name in _KNOWN_EARLY:
        value = getattr(task, name, None)
        is_template = isinstance(value, str) and (templates_differ or value.endswith(endings))
        if value is not None and not is_template and is_final(value):
            known[name] = value
    for name, takes in _TAKES.items():
        if name in known and known[name] not in takes:
            check_policy(name, known[name])
    for name, check in _CHECKS.items():
        if name in known:
            check(name, known[name])
    check_others(known, default_connection=default_connection)


def _check_render_id(known: Mapping[str, Any], *, default_connection: bool) -> None:  # noqa: ARG001 - as the others
    if "render_id" in known:
        check_known_wrong(known.get("model"))
