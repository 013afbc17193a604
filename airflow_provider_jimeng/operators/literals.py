"""Checks the arguments of a task when its DAG file is parsed, as far as they are known by then.

What a template, another task or a mapping decides is checked when the task runs. So is the rest, before anything is paid.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.arguments import as_bool, is_absent, read_amount, read_seconds
from airflow_provider_jimeng.core.literals import (
    DEFAULT_CONNECTION,
    check_defaults,
    check_known_wrong,
    check_request,
    is_final,
)
from airflow_provider_jimeng.core.parameters import check_aigc_meta, read_extra_body
from airflow_provider_jimeng.operators.policies import POLICIES, check_policy

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator

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
_CHECKS: Mapping[str, Callable[[str, Any], object]] = {
    "max_cost_cny": read_amount,
    **dict.fromkeys(("poll_interval", "wait_timeout", "max_wait_for_slot"), read_seconds),
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
        if not is_absent(value)
        and is_final(value)
        and not (isinstance(value, str) and (templates_differ or value.endswith(tuple(task.template_ext))))
    }


def _check_options(known: Mapping[str, Any]) -> None:
    for name, check in _CHECKS.items():
        if name in known:
            check(name, known[name])
