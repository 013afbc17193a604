# SPDX-License-Identifier: Apache-2.0
"""Make the tables of arguments, settings, extras and errors from signatures, docstrings and declarations."""

from __future__ import annotations

import importlib
import inspect
import re
import tomllib
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pendulum

from airflow_provider_jimeng.core import errors
from airflow_provider_jimeng.core.columns import COLUMNS
from airflow_provider_jimeng.core.connection_settings import CONNECTION_SETTINGS, STANDARD_FIELDS
from airflow_provider_jimeng.core.render import RenderManifest

Table = tuple[Sequence[str], Sequence[Sequence[str]]]

ROOT = Path(__file__).resolve().parents[1]
_PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = _PYPROJECT["project"]
PUBLISHER: dict[str, str] = _PYPROJECT["tool"]["hatch"]["metadata"]["hooks"]["custom"]
"""The settings of the publisher: the address of the repository, and contacts."""
CAPS = tomllib.loads((ROOT / "requirements" / "matrix.toml").read_text("utf-8"))["caps"]

OPERATORS = {
    "JimengSubmittingOperator": "operators.base",
    "JimengGenerateVideoOperator": "operators.video",
    "JimengDownloadVideoOperator": "operators.video",
    "JimengPlanOperator": "operators.plan",
    "JimengFinishVideoOperator": "operators.finish",
    "JimengReportOperator": "operators.report",
    "JimengRescueOperator": "operators.rescue",
    "JimengVideoSensor": "sensors.video",
}
# Airflow documents these arguments.
_AIRFLOWS = {"self", "kwargs", "retries", "retry_policy", "trigger_rule"}
_WHAT_FOR = {
    "apache-airflow": "runs the DAGs",
    "apache-airflow-providers-common-compat": "gives the classes of Airflow 2 and 3 the same names",
    "httpx": "sends the requests, also through proxies, and signs them",
    "pendulum": "computes times; Airflow needs it too",
    "pillow": "decodes input images before anything is paid",
}
_BRINGS = {
    "aiohttp": "`transport` = `aiohttp` in the connection: aiohttp sends the polls",
    "emulator": "the videos of the [emulator](emulator.md), its command and its pytest fixture",
    "excel": "`.xlsx` workbooks as [rows of a plan](campaigns.md#the-rows)",
    "media": "the [finish operator](finishing.md), `jimeng finish`, and pictures in the [report](campaigns.md#the-report)",
}
_AS_OF_THE_OPERATOR = "as in `JimengGenerateVideoOperator`"
_COLUMNS = {
    "model": "short name or `req_key`",
    "duration": "`5`, also as `5 s` or `5秒`",
    "aspect_ratio": "`16:9`, also as `16/9`, `16x9`, `16：9`, and as Excel stores it",
    "first_frame": "public link, path or URI; one image",
    "last_frame": "the same",
    "extra_body": "an object, or in a table its JSON text",
    "take": "the plan numbers it if it is blank",
    "output_name": "file name below `output_path`; it can have folders, and the plan adds `.mp4`",
    "output_path": "this row's own directory or full file name",
}
_WITHOUT = {
    "aiohttp": "`SettingsError` when a trigger opens such a connection; the message names the extra",
    "emulator": "the command and the fixture stop with a message that names the extra",
    "excel": "`ParameterError` that names the extra; CSV files, JSON files and data frames work without it",
    "media": "the operator stops with a message that names the extra; the report plays the videos instead",
}


def arguments(name: str) -> Table:
    """Return one row per argument of an operator or sensor: default and meaning."""
    operator = _class_of(name)
    meanings = _meanings(_class_of("JimengSubmittingOperator")) | _meanings(operator)
    rows = [
        (f"`{argument}`", _default(argument, parameter), meanings[argument])
        for argument, parameter in _parameters(operator).items()
        if argument not in _AIRFLOWS
    ]
    return ("argument", "default", "meaning"), rows


def hook_methods() -> Table:
    """Return one row per public method of the hook: what it does."""
    hook = importlib.import_module("airflow_provider_jimeng.hooks.jimeng").JimengHook
    forms = {"get_connection_form_widgets", "get_ui_field_behaviour"}
    rows = [
        (f"`{name}`", _markdown(inspect.getdoc(member) or "").partition("\n\n")[0].replace("\n", " "))
        for part in reversed(hook.__mro__)
        if part.__module__.startswith("airflow_provider_jimeng.")
        for name, member in vars(part).items()
        if callable(member) and not name.startswith("_") and name not in forms
    ]
    return ("method", "what it does"), rows


def connection_fields() -> Table:
    """Return one row per field that every Airflow connection has."""
    rows = [
        (f"`{one.name}`", one.title or one.name.capitalize(), _code_in(one.meaning))
        for one in STANDARD_FIELDS
    ]
    return ("field", "in the form", "meaning"), rows


def connection_extra() -> Table:
    """Return one row per field of a connection's extra."""
    rows = [
        (f"`{one.name}`", one.label if one.in_form else "–", _code_in(one.meaning))
        for one in CONNECTION_SETTINGS
    ]
    return ("field", "in the form", "meaning"), rows


def dependencies() -> Table:
    """Return one row per direct dependency of the package: the lowest version, and what it does."""
    rows = []
    for requirement in PROJECT["dependencies"]:
        name, _, floor = requirement.partition(">=")
        rows.append((f"`{name}`", floor, _WHAT_FOR[name]))
    return ("package", "lowest version", "what it does"), rows


def caps() -> Table:
    """Return one row per library that a version of Airflow accepts and does not work with."""
    rows = []
    for airflow, limits in CAPS.items():
        why = ""
        for cap, reason in limits.items():
            why = why if reason == "same" else reason
            rows.append((airflow, f"`{cap}`", why))
    return ("Airflow", "needs", "because"), rows


def columns() -> Table:
    """Return one row per column of a campaign's rows: its other names, and its content."""
    rows = [
        (
            f"`{column}`",
            ", ".join(f"`{alias}`" for alias in aliases),
            _COLUMNS.get(column, _AS_OF_THE_OPERATOR),
        )
        for column, aliases in COLUMNS.items()
    ]
    return ("column", "also called", ""), rows


def extras() -> Table:
    """Return one row per extra: what it adds, and what happens without it."""
    rows = [
        (f"`[{name}]`", ", ".join(f"`{package}`" for package in packages), _BRINGS[name], _WITHOUT[name])
        for name, packages in PROJECT["optional-dependencies"].items()
    ]
    return ("extra", "packages", "what it adds", "without it"), rows


def error_classes() -> Table:
    """Return one row per error class: what it means for a task."""
    rows = [
        (f"{'· ' * depth}`{kind.__name__}`", "yes" if kind.retryable else "no", _summary(kind))
        for kind, depth in _tree(errors.JimengError)
    ]
    return ("class", "a retry can help", "meaning"), rows


def manifest() -> dict[str, Any]:
    """Return the payload of an example manifest."""
    return RenderManifest(
        task_id="7392616336519610409",
        req_key="jimeng_t2v_v30",
        model="t2v_720p",
        jimeng_conn_id="jimeng_default",
        submitted_at=pendulum.datetime(2026, 3, 1, 8, 0, 0),
        fingerprint="6c1f…",
        prompt="A paper boat sails down a rainy street at dusk, slow dolly in",
        seed=-1,
        duration=5,
        aspect_ratio="16:9",
        estimated_cost_cny=Decimal("1.40"),
        uri="s3://films/2026-03-01/t2v_720p-7392616336519610409.mp4",
        bytes=3481907,
        sha256="9b74…",
        width=1248,
        height=704,
        fps=24.0,
        frames=121,
        duration_seconds=5.042,
        landed_at=pendulum.datetime(2026, 3, 1, 8, 2, 9),
        request_id="20260301080205A1B2C3",
        aigc_meta_tagged=True,
        cost_cny=Decimal("1.40"),
        polls=6,
        queued_seconds=14.2,
        render_seconds=96.0,
        queued_seconds_min=3.1,
        render_seconds_min=88.0,
    ).to_payload()


def _class_of(name: str) -> type:
    found: type = getattr(importlib.import_module(f"airflow_provider_jimeng.{OPERATORS[name]}"), name)
    return found


def _parameters(operator: type) -> dict[str, inspect.Parameter]:
    """Return the parameters that the class itself declares. Those that it inherits are in the table of its base class."""
    return dict(inspect.signature(vars(operator)["__init__"]).parameters)


def _meanings(operator: type) -> dict[str, str]:
    """Return the meaning of each argument from the docstrings. The class itself overrides its base classes."""
    found: dict[str, str] = {}
    for kind in reversed(operator.__mro__):
        if kind.__module__.startswith("airflow_provider_jimeng"):
            text = inspect.cleandoc(kind.__doc__ or "")
            for name, meaning in re.findall(r"^:param (\w+): (.*(?:\n    .*)*)", text, re.MULTILINE):
                found[name] = _markdown(" ".join(meaning.split()))
    return found


def _default(name: str, parameter: inspect.Parameter) -> str:
    if name == "deferrable":
        return "`[operators] default_deferrable`"
    if parameter.default is inspect.Parameter.empty:
        return "required"
    return f"`{parameter.default!r}`".replace("'", '"')


def _tree(root: type[errors.JimengError], depth: int = 0) -> Iterator[tuple[type[errors.JimengError], int]]:
    for kind in root.__subclasses__():
        if kind.__base__ is not root:
            continue  # The table shows it below its first base class.
        yield kind, depth
        yield from _tree(kind, depth + 1)


def _summary(kind: type) -> str:
    text = inspect.getdoc(kind) or ""
    return " ".join(_markdown(text.partition("\n\n")[0]).split())


def _markdown(text: str) -> str:
    plain = re.sub(r":\w+:`~?([^`]+)`", lambda role: f"`{role[1].rpartition('.')[2]}`", text)
    return plain.replace("``", "`").rstrip()


def _code_in(text: str) -> str:
    """Return a description with JSON, links and extras marked as code."""
    return re.sub(r"\{.*?\}|https://[\w./]*\w|\[\w+\]", lambda found: f"`{found[0]}`", text)
