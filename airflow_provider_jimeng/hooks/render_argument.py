# SPDX-License-Identifier: Apache-2.0
"""What names a render: in a call of the hook, and in the arguments of a sensor or an operator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

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
"""The text of a list, of a tuple and of a lazy sequence of Airflow begins with one of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRender:
    """A render that is done. The link works for an hour and gives the video to everyone who has it."""

    task_id: str
    req_key: str
    video_url: str = field(repr=False)
    aigc_meta_tagged: bool | None = None
    request_id: str | None = None
    render: Render


RenderOrId: TypeAlias = "Render | FinishedRender | Mapping[str, Any] | str | int"


def read_payload(payload: Any) -> Render:
    """Return the render of a payload that a script gave to the hook."""
    try:
        return Render.from_payload(payload)
    except ValueError as error:
        raise ParameterError(
            "render_or_id", f"expected a render, its payload or its task_id: {error}."
        ) from None


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
            "model", "is missing: the API knows a render_id only together with the model that made it."
        )
    spec = find_model(task.model, hook.settings.catalogue)
    return bare_render(render_id, req_key=spec.req_key, name=spec.name, jimeng_conn_id=task.jimeng_conn_id)


def render_from(payload: Any) -> Render:
    """Return the render of a payload; a template can have turned the payload into text.

    :raises ParameterError: it is not the payload of a render.
    """
    value = payload
    if isinstance(payload, str):
        try:
            value = parse_text(payload)
        except ValueError:
            raise ParameterError(
                "render", "is text that is not a render payload. Pass submit.output, not a rendered string."
            ) from None
    if isinstance(value, int):
        raise ParameterError(
            "render", "expected the payload of one render, got a bare id. Pass render_id and model instead."
        )
    if not isinstance(value, Mapping):
        raise ParameterError("render", f"expected the payload of one render, got {type(value).__name__}.")
    try:
        return Render.from_payload(value)
    except (KeyError, TypeError, ValueError) as error:
        raise ParameterError(
            "render",
            f"is not a render payload ({type(error).__name__}: {error}). Pass submit.output, or the sensor's output.",
        ) from None


def bare_render(
    render_id: Any, *, req_key: str, name: str | None = None, jimeng_conn_id: str = "jimeng_default"
) -> Render:
    """Return a render of which only the id and the model key are known."""
    known = next((spec.name for spec in MODELS.values() if spec.req_key == req_key), req_key)
    return Render(
        task_id=str(render_id),
        req_key=req_key,
        model=name or known,
        jimeng_conn_id=jimeng_conn_id,
        submitted_at=pendulum.now("UTC"),
    )


def _read_id(render_id: Any) -> str:
    """Return a bare id as text; a template in native mode turns it into a number."""
    if isinstance(render_id, Mapping):
        raise ParameterError("render_id", "is the payload of a render. Pass it as render.")
    text = str(render_id) if isinstance(render_id, int) else read_text("render_id", render_id)
    if text is None:
        raise ParameterError(
            "render", "is missing. Pass the return value of the submit task, or render_id and model."
        )
    return text


def _refuse_several(operator: str, argument: str, value: Any) -> None:
    """Refuse several renders, ids or models: a list, or what Airflow makes of a mapped task's output.

    :raises ParameterError: saying how to map the task over them.
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
        more = " Pass the model of the ids with partial(model=…), or next to each id with expand_kwargs."
    raise ParameterError(
        argument,
        f"expected {_ONE[argument]}, got a list ({type(value).__name__}). "
        f"Map the task over it: {operator}.partial(…).expand({mapped}=…).{more}",
    )


def _is_bare_id(item: Any) -> bool:
    return isinstance(item, int) or (isinstance(item, str) and not item.lstrip().startswith("{"))
