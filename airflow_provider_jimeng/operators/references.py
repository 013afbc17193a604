"""A render as a DAG author names it: the payload of another task, or a bare id with its model."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Mapping
from typing import Any

import pendulum

from airflow_provider_jimeng.core.catalogue import MODELS, ModelSpec, find_model
from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.core.render import Render


def named_render(task: Any) -> Render:
    """Return the render that a sensor's or operator's ``render``, or ``render_id`` and ``model``, stand for.

    :raises ParameterError: naming the argument and what it takes.
    """
    from airflow_provider_jimeng.hooks.jimeng import JimengHook

    return render_from(
        task.render,
        render_id=task.render_id,
        model=task.model,
        jimeng_conn_id=task.jimeng_conn_id,
        catalogue=lambda: JimengHook(jimeng_conn_id=task.jimeng_conn_id).settings.catalogue,
    )


def render_from(
    payload: Any,
    *,
    render_id: str | None = None,
    model: str | None = None,
    jimeng_conn_id: str = "jimeng_default",
    catalogue: Callable[[], Mapping[str, ModelSpec]] = lambda: MODELS,
) -> Render:
    """Return the render that a payload, or a bare id and model, stand for.

    A template may turn a payload into text; JSON and Python notation are read back. Of a bare id the submit time is
    unknown; its waits count from now.

    :param catalogue: the models of the connection, called for a bare id only.
    :raises ParameterError: naming the argument and what it takes.
    """
    if payload is not None and payload != "":
        return _from_payload(payload)
    if not render_id:
        raise ParameterError(
            "render", "is missing. Give the return value of the submit task, or render_id and model."
        )
    if not model:
        raise ParameterError(
            "model", "is missing: the API answers for a render_id only with the model it was made by."
        )
    spec = find_model(model, catalogue())
    return bare_render(render_id, req_key=spec.req_key, name=spec.name, jimeng_conn_id=jimeng_conn_id)


def bare_render(
    render_id: Any, *, req_key: str, name: str | None = None, jimeng_conn_id: str = "jimeng_default"
) -> Render:
    """Return a render of which id and model key are known, whatever the key."""
    known = next((spec.name for spec in MODELS.values() if spec.req_key == req_key), req_key)
    return Render(
        task_id=str(render_id),
        req_key=req_key,
        model=name or known,
        jimeng_conn_id=jimeng_conn_id,
        submitted_at=pendulum.now("UTC"),
    )


def _from_payload(payload: Any) -> Render:
    if isinstance(payload, str):
        payload = _parse(payload)
    if not isinstance(payload, Mapping):
        raise ParameterError("render", f"expected the payload of one render, got {type(payload).__name__}.")
    try:
        return Render.from_payload(payload)
    except (KeyError, TypeError, ValueError) as error:
        raise ParameterError(
            "render",
            f"is no render payload ({type(error).__name__}: {error}). Pass submit.output, or the sensor's output.",
        ) from None


def _parse(text: str) -> Any:
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError):
            continue
    raise ParameterError(
        "render", "is text that is no render payload. Pass submit.output, not a rendered string."
    )
