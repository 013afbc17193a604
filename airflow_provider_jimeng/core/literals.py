# SPDX-License-Identifier: Apache-2.0
"""Checks the arguments of a render that are known when a DAG file is parsed, without reading a connection."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from airflow_provider_jimeng.core.arguments import (
    CAMERA_WORDS,
    LONGEST_DURATION,
    check_camera_model,
    check_camera_word,
    check_frames,
    is_absent,
    read_aspect_ratio,
    read_duration,
    read_seed,
    read_take,
    read_whole,
    shown,
)
from airflow_provider_jimeng.core.catalogue import (
    MODELS,
    OTHER_PRODUCTS,
    VENDOR_PREFIX,
    WRONG_KEYS,
    ModelSpec,
    find_model,
    is_ratio,
)
from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.core.frames import Frame

DEFAULT_CONNECTION = "jimeng_default"
TEMPLATE_MARKS = ("{{", "{%", "{#")
_PLAIN_WORD = re.compile(r"[A-Za-z0-9_.-]*")
"""A name of the catalogue, or a misspelled one, has only these characters."""
_OWN_LIMIT = f"If your connection allows it, give that connection another id than {DEFAULT_CONNECTION!r}."


def is_final(value: Any) -> bool:
    """Return whether a value is the same when the task runs: plain data without a template in it."""
    if isinstance(value, str):
        return not any(mark in value for mark in TEMPLATE_MARKS)
    if isinstance(value, Mapping):
        return all(map(is_final, value.values()))
    if isinstance(value, list | tuple):
        return all(map(is_final, value))
    return value is None or isinstance(value, int | float)


def check_request(arguments: Mapping[str, Any], *, default_connection: bool) -> None:
    """Check the arguments of a render that are known already. The others can be absent.

    Another connection than the default one can have models and limits of its own. The default one can have them for a
    key that only it knows.

    :raises ParameterError: an argument is wrong. The message names it, the limit and the remedy.
    """
    known = _present(arguments)
    _check_always(known)
    if default_connection and "model" in known:
        spec = _find_announced(known["model"])
        if spec is not None:
            _check_limits(spec, known)


def check_defaults(arguments: Mapping[str, Any], *, default_connection: bool) -> None:
    """Check the defaults of a campaign. Each has to suit at least one model, because each row can name its own model.

    :raises ParameterError: an argument is wrong. The message names it, the limit and the remedy.
    """
    known = _present(arguments)
    _check_always(known)
    if not default_connection:
        return
    if "model" in known:
        _find_announced(known["model"])
    for name, value in known.items():
        refusals = [_refusal(spec, {name: value}) for spec in MODELS.values()]
        if all(refusals) and refusals[0] is not None:
            raise refusals[0]


def check_known_wrong(model: Any) -> None:
    """Refuse a model key that the API certainly does not have. Any other can be one of the connection.

    :raises ParameterError: it is such a key. The message names the right one.
    """
    if isinstance(model, str) and model.strip() in (*WRONG_KEYS, *OTHER_PRODUCTS):
        find_model(model)


def _present(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if not is_absent(value)}


def _check_always(known: Mapping[str, Any]) -> None:
    """Check what no connection changes."""
    read_seed(known.get("seed"))
    read_take(known.get("take"))
    read_whole(
        "duration",
        known.get("duration"),
        1,
        lowest=1,
        highest=LONGEST_DURATION,
        remedy="most models take 5 or 10 seconds",
    )
    if "aspect_ratio" in known and not is_ratio(str(known["aspect_ratio"]).strip().replace("：", ":")):
        raise ParameterError(
            "aspect_ratio", f"expected a ratio such as 16:9, got {shown(known['aspect_ratio'])}."
        )
    for name in CAMERA_WORDS:
        if name in known:
            check_camera_word(name, str(known[name]).strip())


def _find_announced(model: Any) -> ModelSpec | None:
    """Return the catalogue's record of a model, ``None`` for a key that the connection can describe.

    :raises ParameterError: it is neither.
    """
    name = model.strip() if isinstance(model, str) else ""
    for spec in MODELS.values():
        if name in (spec.name, spec.req_key):
            return spec
    check_known_wrong(name)
    if name.startswith(VENDOR_PREFIX) or not _PLAIN_WORD.fullmatch(name):
        return None
    raise ParameterError(
        "model",
        f"{shown(model)} is unknown. Known models: {', '.join(MODELS)}. If your connection describes it, give that "
        f"connection another id than {DEFAULT_CONNECTION!r}, or name the model by a key that begins with "
        f"{VENDOR_PREFIX!r}.",
    )


def _check_limits(spec: ModelSpec, known: Mapping[str, Any]) -> None:
    refusal = _refusal(spec, known)
    if refusal is not None:
        raise refusal


def _refusal(spec: ModelSpec, known: Mapping[str, Any]) -> ParameterError | None:
    """Return why the catalogue's record of a model refuses one of these arguments."""
    first, last = (
        Frame(reference=str(known[name]).strip()) if name in known else None
        for name in ("first_frame", "last_frame")
    )
    try:
        check_frames(spec, first, last)
        read_duration(spec, known.get("duration"))
        read_aspect_ratio(spec, known.get("aspect_ratio"), first)
        for name in CAMERA_WORDS:
            if name in known:
                check_camera_model(spec, name)
    except ParameterError as error:
        return ParameterError(error.argument, f"{error.reason} {_OWN_LIMIT}")
    return None
