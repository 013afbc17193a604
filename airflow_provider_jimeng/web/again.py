# SPDX-License-Identifier: Apache-2.0
"""The operator call and the command that make a render again, from its payload and the arguments of its task.

These are pure functions. A request is trusted if it gives the fingerprint of the render. A request with an image file
cannot be checked, because the file is not opened here. If the arguments are unknown or give another fingerprint, there is
no call: a call that makes another video would be worse than none.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from airflow_provider_jimeng.core.arguments import DEFAULT_CONNECTION, as_mapping, is_link
from airflow_provider_jimeng.core.catalogue import DEFAULT_MODEL
from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.core.frames import bare_link
from airflow_provider_jimeng.core.parameters import RenderRequest, check_aigc_meta
from airflow_provider_jimeng.core.render import format_money
from airflow_provider_jimeng.web.reading import text

_FROM_PAYLOAD = ("prompt", "model", "seed", "duration", "aspect_ratio", "take")
"""Arguments that are in the payload of a render. It is complete, while Airflow shortens long rendered arguments."""
_FROM_ARGUMENTS = ("first_frame", "last_frame", "camera_template", "camera_strength", "extra_body")
_TAKES = range(1, 33)
"""The takes that are tried if the arguments are gone, or if a Clear made a later take."""
_FOLDER = "generated_videos/"
_CALL = """from airflow_provider_jimeng.operators.video import JimengGenerateVideoOperator

JimengGenerateVideoOperator(
{arguments}
)
"""
_HIDDEN = ("***", "Truncated. ")
"""Airflow writes these in place of a secret, and in front of an argument that is too long."""
_OPTIONS = {
    "model": "--model",
    "duration": "--duration",
    "aspect_ratio": "--aspect-ratio",
    "seed": "--seed",
    "first_frame": "--image",
    "last_frame": "--tail-image",
    "camera_template": "--camera-template",
    "camera_strength": "--camera-strength",
    "take": "--take",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """How to make a render again. ``command`` is ``None`` if the command line has no option for an argument.

    ``checked``: the request gives the fingerprint of the render. ``cost_cny`` is what it costs again, as text.
    """

    call: str
    command: str | None
    checked: bool
    cost_cny: str | None


def again(
    render: Mapping[str, Any], arguments: Mapping[str, Any] | None, *, uri: str | None = None
) -> Again | None:
    """Return how to make a render again, ``None`` if its arguments are not known well enough.

    :param render: the payload of the render.
    :param arguments: the rendered arguments of its task, if Airflow still has them.
    :param uri: the saved file; the call saves into its directory if the arguments name no other place.
    """
    request = _request(render, arguments or {})
    if request is None:
        return None
    differing = _differing(request)
    label = _label(arguments or {})
    conn_id = text(render.get("jimeng_conn_id")) or DEFAULT_CONNECTION
    return Again(
        call=_call(differing, label, conn_id, _place(render, arguments or {}, uri)),
        command=None if request.extra_body else _command(differing, label, conn_id),
        checked=not request.frames_to_open,
        cost_cny=format_money(request.estimated_cost),
    )


def _request(render: Mapping[str, Any], arguments: Mapping[str, Any]) -> RenderRequest | None:
    """Return the request of a render: the one with its fingerprint, or one whose images are files."""
    fingerprint = text(render.get("fingerprint"))
    known: dict[str, Any] = {name: arguments.get(name) for name in _FROM_PAYLOAD}
    known |= {name: render[name] for name in _FROM_PAYLOAD if render.get(name) is not None}
    known |= {name: _without_signature(arguments.get(name)) for name in _FROM_ARGUMENTS}
    if fingerprint is None or _is_hidden(known):
        return None
    try:
        known["extra_body"] = as_mapping("extra_body", known["extra_body"])
        request = RenderRequest.build(**known)
    except (ParameterError, TypeError):  # the model of a connection, or arguments that somebody else pushed
        return None
    if request.frames_to_open:
        return request
    takes: Iterator[int] = chain((request.take,), _TAKES)
    candidates = (replace(request, take=take) for take in takes)
    return next((each for each in candidates if each.fingerprint == fingerprint), None)


def _differing(request: RenderRequest) -> dict[str, Any]:
    """Return the arguments of a request that differ from their defaults, in the order of the operator's signature."""
    differing: dict[str, Any] = {"prompt": request.prompt or None}
    differing["model"] = None if request.spec.name == DEFAULT_MODEL else request.spec.name
    images = {name: frame.reference for name, frame in _frames(request)}
    default = RenderRequest.build(
        prompt=request.prompt or None,
        model=request.spec.name,
        camera_template=request.camera_template,
        camera_strength=request.camera_strength,
        **images,
    )
    for name in ("duration", "aspect_ratio", "seed"):
        value = getattr(request, name)
        differing[name] = None if value == getattr(default, name) else value
    differing |= images
    differing["camera_template"] = request.camera_template
    differing["camera_strength"] = request.camera_strength
    differing["take"] = None if request.take == 1 else request.take
    differing["extra_body"] = dict(request.extra_body) or None
    return {name: value for name, value in differing.items() if value is not None}


def _frames(request: RenderRequest) -> Iterator[tuple[str, Any]]:
    for name in ("first_frame", "last_frame"):
        if (frame := getattr(request, name)) is not None:
            yield name, frame


def _call(
    differing: Mapping[str, Any], label: Mapping[str, str] | None, conn_id: str, place: Mapping[str, str]
) -> str:
    arguments: dict[str, Any] = {"task_id": "render", **differing}
    if label:
        arguments["aigc_meta"] = dict(label)
    if conn_id != DEFAULT_CONNECTION:
        arguments["jimeng_conn_id"] = conn_id
    arguments |= place
    lines = (f"    {name}={_not_a_template(value)!r}," for name, value in arguments.items())
    return _CALL.format(arguments="\n".join(lines))


def _command(differing: Mapping[str, Any], label: Mapping[str, str] | None, conn_id: str) -> str:
    words = ["jimeng", "render"]
    for name, flag in _OPTIONS.items():
        if name in differing:
            words += _option(flag, str(differing[name]))
    if label:
        words += _option("--aigc-meta", json.dumps(label, ensure_ascii=False))
    if conn_id != DEFAULT_CONNECTION:
        words += _option("--conn", conn_id)
    if prompt := differing.get("prompt"):
        words += ["--", prompt] if prompt.startswith("-") else [prompt]
    return shlex.join(words)


def _option(flag: str, value: str) -> list[str]:
    """Return a flag and its value. One that begins with a dash must not look like a flag."""
    return [f"{flag}={value}"] if value.startswith("-") else [flag, value]


def _place(render: Mapping[str, Any], arguments: Mapping[str, Any], uri: str | None) -> dict[str, str]:
    path = text(arguments.get("output_path")) or text(render.get("output_path"))
    if path is None or _is_hidden(path):
        path = f"{uri.rpartition('/')[0]}/" if uri and "/" in uri else _FOLDER
    place = {"output_path": path}
    conn_id = text(arguments.get("output_conn_id"))
    return place | ({} if conn_id is None or _is_hidden(conn_id) else {"output_conn_id": conn_id})


def _label(arguments: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the implicit label of the task, if it is a usable one."""
    label = arguments.get("aigc_meta")
    if not isinstance(label, Mapping) or _is_hidden(label):
        return None
    try:
        return check_aigc_meta(label)
    except ParameterError:
        return None


def _without_signature(value: Any) -> Any:
    """Return an image without the query of its link, which can be a signature. It is not a part of the fingerprint."""
    if not isinstance(value, str) or not is_link(value):
        return value
    try:
        return bare_link(value)
    except ValueError:
        return value


def _is_hidden(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_is_hidden, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_is_hidden, value))
    return isinstance(value, str) and (value == _HIDDEN[0] or value.startswith(_HIDDEN[1]))


def _not_a_template(value: Any) -> Any:
    """Return a value that Jinja leaves as it is, because the operator renders its arguments."""
    if isinstance(value, Mapping):
        return {name: _not_a_template(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_not_a_template(item) for item in value]
    if isinstance(value, str) and any(mark in value for mark in ("{{", "{%", "{#")):
        return "{% raw %}" + value + "{% endraw %}"
    return value
