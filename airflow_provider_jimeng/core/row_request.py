"""One row of a campaign as a request: defaults filled in, every refusal collected, nothing opened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_jimeng.core.arguments import as_mapping, is_absent, read_text, shown
from airflow_provider_jimeng.core.catalogue import (
    CAMERA_STRENGTHS,
    CAMERA_TEMPLATES,
    DEFAULT_MODEL,
    ModelSpec,
    find_model,
)
from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.core.literals import TEMPLATE_MARKS
from airflow_provider_jimeng.core.output_path import check_lengths, is_inside, read_output_path, split_uri
from airflow_provider_jimeng.core.parameters import RenderRequest
from airflow_provider_jimeng.core.rows import COLUMNS, Row

_TARGET_COLUMNS = ("output_name", "output_path")
_RENDER_COLUMNS = tuple(column for column in COLUMNS if column not in _TARGET_COLUMNS)
_PLACEHOLDER_LINK = "https://placeholder.invalid/"


def target_of(row: Row, output_path: str | None) -> str | None:
    """Return where a row's video goes: the directory, or the directory and the row's own name."""
    given = {name: _settle(name, row.values.get(name)) for name in _TARGET_COLUMNS}
    folder = read_output_path(given["output_path"]) or output_path
    name = read_text("output_name", given["output_name"])
    if name is None:
        return folder
    if folder is None or not folder.endswith("/"):
        raise ParameterError(
            "output_name", f"{shown(name)} needs an output_path that is a directory and ends in /."
        )
    if not is_inside(name):
        raise ParameterError(
            "output_name", f"{shown(name)} is not a name below output_path, such as shots/kite.mp4."
        )
    path = folder + (name if name.lower().endswith(".mp4") else f"{name}.mp4")
    check_lengths("output_name", *split_uri(path))
    return path


def request_of(
    values: Mapping[str, Any], defaults: Mapping[str, Any], catalogue: Mapping[str, ModelSpec]
) -> tuple[RenderRequest | None, list[ParameterError]]:
    """Build the request; after a refusal go on with a harmless value, so that every bad argument is named."""
    arguments = {name: value for name, value in values.items() if name in _RENDER_COLUMNS}
    try:
        given = (values.get("model"), defaults.get("model"), DEFAULT_MODEL)
        spec = find_model(next(model for model in given if not is_absent(model)), catalogue)
    except ParameterError as error:
        return None, [error]
    arguments = {**_fitting(spec, arguments, defaults), **arguments, "model": spec.name}
    refused: dict[str, ParameterError] = {}
    for name, value in [*arguments.items()]:
        try:
            arguments[name] = _settle(name, value)
        except ParameterError as error:
            refused[name] = error
            arguments.update(_harmless(spec, name))
    while True:
        try:
            arguments["extra_body"] = as_mapping("extra_body", arguments.get("extra_body"))
            request = RenderRequest.build(**arguments, catalogue=catalogue)
        except ParameterError as error:
            if error.argument in refused:
                return None, [*refused.values()]
            refused[error.argument] = error
            arguments.update(_harmless(spec, error.argument))
        else:
            return (None if refused else request), [*refused.values()]


def _fitting(spec: ModelSpec, arguments: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults that a row's model takes."""
    frame = "first_frame" in arguments or not is_absent(defaults.get("first_frame"))
    follows_frame = frame and spec.max_images >= 1 and spec.min_images == 0
    takes = {
        "aspect_ratio": bool(spec.aspect_ratios) and not follows_frame,
        "first_frame": spec.max_images >= 1,
        "last_frame": spec.max_images >= 2,
        "camera_template": spec.camera,
        "camera_strength": spec.camera,
    }
    return {name: value for name, value in defaults.items() if takes.get(name, True) and not is_absent(value)}


def _harmless(spec: ModelSpec, argument: str) -> dict[str, Any]:
    """Return values in place of a refused argument that the model certainly takes."""
    if argument in ("first_frame", "last_frame"):
        links = (
            _PLACEHOLDER_LINK if spec.min_images >= 1 else None,
            _PLACEHOLDER_LINK if spec.min_images >= 2 else None,
        )
        return {"first_frame": links[0], "last_frame": links[1]}
    if argument == "prompt":
        return {"prompt": "placeholder"}
    if argument in ("camera_template", "camera_strength") and spec.camera:
        return {argument: (CAMERA_TEMPLATES if argument == "camera_template" else CAMERA_STRENGTHS)[0]}
    return {argument: None}


def _settle(argument: str, value: Any) -> Any:
    r"""Return a value that Airflow hands on unchanged: it renders the arguments of mapped tasks as templates.

    So what looks like a template would run in the worker, with all its connections; and line ends become ``\n``.
    """
    if isinstance(value, str):
        mark = next((mark for mark in TEMPLATE_MARKS if mark in value), None)
        if mark is not None:
            raise ParameterError(
                argument,
                f"holds {mark!r}, which Airflow would run as a template in the mapped task. Remove it.",
            )
        return value.replace("\r\n", "\n").replace("\r", "\n")
    if isinstance(value, Mapping):
        return {_settle(argument, key): _settle(argument, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_settle(argument, item) for item in value]
    return value
