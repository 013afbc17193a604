"""A render as a DAG author names it: the payload of another task, or a bare id with its model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pendulum

from airflow_provider_jimeng.core.arguments import is_absent, parse_text, read_text
from airflow_provider_jimeng.core.catalogue import MODELS, find_model
from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.core.render import Render

if TYPE_CHECKING:
    from airflow_provider_jimeng.hooks.jimeng import JimengHook

_ONE = {
    "render": "the payload of one render",
    "render_id": "the id of one render",
    "model": "the name of one model",
}
_LIST_MARKS = ("[", "(", "Lazy", "<Lazy")
"""How the text of a list, a tuple or a lazy sequence of Airflow begins."""


def named_render(task: Any, hook: JimengHook) -> Render:
    """Return the render that a sensor's or operator's ``render``, or ``render_id`` and ``model``, stand for.

    :param hook: the hook of the task's connection, whose settings can name more models.
    :raises ParameterError: naming the argument, what it takes and the remedy.
    """
    for argument in ("render", "render_id", "model"):
        _refuse_several(type(task).__name__, argument, getattr(task, argument))
    if not is_absent(task.render):
        return render_from(task.render)
    render_id = _read_id(task.render_id)
    if is_absent(task.model):
        raise ParameterError(
            "model", "is missing: the API answers for a render_id only with the model it was made by."
        )
    spec = find_model(task.model, hook.settings.catalogue)
    return bare_render(render_id, req_key=spec.req_key, name=spec.name, jimeng_conn_id=task.jimeng_conn_id)


def render_from(payload: Any) -> Render:
    """Return the render that a payload stands for; a template may have turned it into text.

    :raises ParameterError: it is not the payload of a render.
    """
    found = payload
    if isinstance(payload, str):
        try:
            found = parse_text(payload)
        except ValueError:
            raise ParameterError(
                "render", "is text that is no render payload. Pass submit.output, not a rendered string."
            ) from None
    if isinstance(found, int):
        raise ParameterError(
            "render", "expected the payload of one render, got a bare id. Give render_id and model instead."
        )
    if not isinstance(found, Mapping):
        raise ParameterError("render", f"expected the payload of one render, got {type(found).__name__}.")
    try:
        return Render.from_payload(found)
    except (KeyError, TypeError, ValueError) as error:
        raise ParameterError(
            "render",
            f"is no render payload ({type(error).__name__}: {error}). Pass submit.output, or the sensor's output.",
        ) from None


def _read_id(render_id: Any) -> str:
    """Return a bare id as text; a template in native mode turns it into a number."""
    if isinstance(render_id, Mapping):
        raise ParameterError("render_id", "is the payload of a render. Give it as render.")
    found = str(render_id) if isinstance(render_id, int) else read_text("render_id", render_id)
    if found is None:
        raise ParameterError(
            "render", "is missing. Give the return value of the submit task, or render_id and model."
        )
    return found


def _refuse_several(operator: str, argument: str, value: Any) -> None:
    """Refuse several renders, ids or models: a list, or what Airflow makes of a mapped task's output.

    :raises ParameterError: saying how a task is mapped over them.
    """
    several = value
    if isinstance(value, str):
        if not value.lstrip().startswith(_LIST_MARKS):
            return
        with suppress(ValueError):
            several = parse_text(value)
    elif isinstance(value, Mapping | bytes | bytearray) or not isinstance(value, Iterable):
        return
    mapped, more = argument, ""
    if argument == "render" and isinstance(several, list | tuple) and any(map(_is_bare_id, several)):
        mapped = "render_id"
    if mapped == "render_id":
        more = " The model of the ids goes into partial(model=…), or beside each id with expand_kwargs."
    raise ParameterError(
        argument,
        f"expected {_ONE[argument]}, got a list ({type(value).__name__}). "
        f"Map the task over it: {operator}.partial(…).expand({mapped}=…).{more}",
    )


def _is_bare_id(item: Any) -> bool:
    return isinstance(item, int) or (isinstance(item, str) and not item.lstrip().startswith("{"))


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
