"""The request of a task: its arguments are checked when the DAG file is parsed, and read when the task runs.

When the DAG file is parsed, a literal is checked. The value of a template, of another task or of a mapping is known only
when the task runs. It is checked then, before anything is paid.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.arguments import as_bool, as_mapping, is_absent, read_amount, read_seconds
from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.core.literals import (
    DEFAULT_CONNECTION,
    check_defaults,
    check_known_wrong,
    check_request,
    is_final,
)
from airflow_provider_jimeng.core.output_path import warning_of
from airflow_provider_jimeng.core.parameters import check_aigc_meta, read_extra_body

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator

    from airflow_provider_jimeng.client.settings import ClientSettings
    from airflow_provider_jimeng.core.parameters import RenderRequest
    from airflow_provider_jimeng.operators.base import JimengSubmittingOperator

log = logging.getLogger(__name__)

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
_WAITS = ("poll_interval", "wait_timeout", "max_wait_for_slot")


def check_policy(argument: str, value: Any) -> None:
    """Refuse a value that a policy does not take.

    :raises ParameterError: naming the argument and the values that it takes.
    """
    takes = POLICIES[argument]
    if value not in takes:
        raise ParameterError(argument, f"{value!r} is refused; it takes {' or '.join(map(repr, takes))}.")


def read_policies(task: Any) -> dict[str, str]:
    """Return the policies of a task, checked."""
    policies = {name: getattr(task, name) for name in POLICIES}
    for name, value in policies.items():
        check_policy(name, value)
    return policies


_CHECKS: Mapping[str, Callable[[str, Any], object]] = {
    "max_cost_cny": read_amount,
    **dict.fromkeys(_WAITS, read_seconds),
    **dict.fromkeys(("overwrite", "require_tagged"), as_bool),
    **dict.fromkeys(POLICIES, check_policy),
    "aigc_meta": lambda _, value: check_aigc_meta(value) if isinstance(value, Mapping) else None,
    "extra_body": lambda _, value: read_extra_body(value) if isinstance(value, Mapping) else None,
}


def check_render_literals(task: BaseOperator) -> None:
    """Check the arguments of a task that submits one render.

    :raises ParameterError: naming the argument, the limit and the remedy.
    """
    known = _final_arguments(task)
    _check_options(known)
    check_request(known, default_connection=_uses_catalogue(known.get("jimeng_conn_id")))


def check_plan_literals(task: BaseOperator) -> None:
    """Check the arguments of a task that plans a campaign.

    :raises ParameterError: naming the argument, the limit and the remedy.
    """
    known = _final_arguments(task)
    _check_options(known)
    check_defaults(known, default_connection=_uses_catalogue(known.get("jimeng_conn_id")))


def check_waiting_literals(task: BaseOperator) -> None:
    """Check the arguments of a task that waits for a render, or downloads one.

    :raises ParameterError: naming the argument, the limit and the remedy.
    """
    known = _final_arguments(task)
    _check_options(known)
    if "render_id" in known:
        check_known_wrong(known.get("model"))


def build_request(task: JimengSubmittingOperator, settings: ClientSettings) -> RenderRequest:
    """Check every argument of a task, open its images, and return its request. Nothing is sent.

    :param settings: the settings of the task's connection.
    :raises ParameterError: naming the argument, the limit and the remedy.
    """
    from airflow_provider_jimeng.core.links import check_links
    from airflow_provider_jimeng.core.parameters import RenderRequest, check_cost
    from airflow_provider_jimeng.images import open_images

    arguments = {name: getattr(task, name) for name in REQUEST_FIELDS}
    arguments["extra_body"] = as_mapping("extra_body", arguments["extra_body"])
    request = RenderRequest.build(**arguments, catalogue=settings.catalogue)
    for name in _WAITS:
        if not is_absent(value := getattr(task, name, None)):
            read_seconds(name, value)
    label = aigc_label(task) or settings.aigc_meta
    if as_bool("require_tagged", task.require_tagged) and not label:
        raise ParameterError("require_tagged", "needs aigc_meta, here or in the connection's extra.")
    check_cost(request, task.max_cost_cny)
    check_links(request, settings.endpoint)
    request = open_images(request)
    for warning in (*request.warnings, warning_of(task.output_path)):
        if warning:
            log.warning("%s", warning)
    return request


def aigc_label(task: Any) -> dict[str, str] | None:
    """Return the checked ``aigc_meta`` of a task, ``None`` to use the connection's."""
    return check_aigc_meta(as_mapping("aigc_meta", task.aigc_meta))


def _uses_catalogue(jimeng_conn_id: Any) -> bool:
    """Return whether the models of a connection are those of the catalogue, as far as that is known without a look-up.

    The variable of the environment is at hand, and may describe models. A secrets back end or database is not asked.
    """
    if jimeng_conn_id != DEFAULT_CONNECTION:
        return False
    return "models" not in os.environ.get(f"AIRFLOW_CONN_{DEFAULT_CONNECTION.upper()}", "")


def _final_arguments(task: BaseOperator) -> dict[str, Any]:
    """Return the arguments that are known when the DAG file is parsed.

    A mapped task is built when it runs, where it reports its errors as any other task does.
    """
    if getattr(task, "_BaseOperator__from_mapped", False):
        return {}
    dag = task.get_dag()
    templates_differ = dag is not None and bool(dag.jinja_environment_kwargs)
    known = {
        name: getattr(task, name, None) for name in (*REQUEST_FIELDS, *_CHECKS, "jimeng_conn_id", "render_id")
    }
    return {
        name: value
        for name, value in known.items()
        if value is not None
        and is_final(value)
        and not (isinstance(value, str) and (templates_differ or value.endswith(tuple(task.template_ext))))
    }


def _check_options(known: Mapping[str, Any]) -> None:
    for name, check in _CHECKS.items():
        if name in known:
            check(name, known[name])
