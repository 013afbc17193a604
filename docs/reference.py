"""Tables of arguments, settings, extras and errors, read from signatures, docstrings and declarations."""

from __future__ import annotations

import importlib
import inspect
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pendulum

from airflow_provider_jimeng.client.settings import EXTRA_FIELDS
from airflow_provider_jimeng.core import errors
from airflow_provider_jimeng.core.columns import COLUMNS
from airflow_provider_jimeng.core.render import RenderManifest
from airflow_provider_jimeng.provider_info import CONN_FIELDS

Table = tuple[Sequence[str], Sequence[Sequence[str]]]

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
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
# Arguments whose meaning is Airflow's.
_AIRFLOWS = {"self", "kwargs", "retries", "retry_policy", "trigger_rule"}
_WHAT_FOR = {
    "apache-airflow": "runs the DAGs",
    "apache-airflow-providers-common-compat": "one set of names for Airflow 2 and 3",
    "httpx": "speaks HTTP, in tasks and through proxies, and signs",
    "pendulum": "times; Airflow brings it anyway",
    "pillow": "decodes input images before anything is paid",
}
_BRINGS = {
    "aiohttp": "`transport` = `aiohttp` in the connection: polls travel over aiohttp's connections",
    "emulator": "the videos of the [emulator](emulator.md), its command and its pytest fixture",
    "excel": "`.xlsx` workbooks as [rows of a plan](campaigns.md#the-rows)",
    "media": "the [finish operator](finishing.md), and first frames in the [report](campaigns.md#the-report)",
}
_AS_OF_THE_OPERATOR = "as of `JimengGenerateVideoOperator`"
_COLUMNS = {
    "model": "short name or `req_key`",
    "duration": "`5`, also as `5 s` or `5秒`",
    "aspect_ratio": "`16:9`, also as `16/9`, `16x9`, `16：9`, and as Excel keeps it",
    "first_frame": "public link, path or URI; one image",
    "last_frame": "the same",
    "extra_body": "an object; in a table its JSON text",
    "take": "numbered by the plan unless given",
    "output_name": "file name below `output_path`, folders allowed; `.mp4` is added",
    "output_path": "this row's own directory or full file name",
}
_WITHOUT = {
    "aiohttp": "`SettingsError`, naming the extra, when a trigger opens such a connection",
    "emulator": "the command and the fixture stop with a message that names the extra",
    "excel": "`ParameterError`, naming the extra; CSV files, JSON files and data frames are read all the same",
    "media": "the operator names the extra; the report plays the videos instead",
}


def arguments(name: str) -> Table:
    """One row per argument of an operator or sensor: default and meaning."""
    operator = _class_of(name)
    meanings = _meanings(_class_of("JimengSubmittingOperator")) | _meanings(operator)
    rows = [
        (f"`{argument}`", _default(argument, parameter), meanings[argument])
        for argument, parameter in _parameters(operator).items()
        if argument not in _AIRFLOWS
    ]
    return ("argument", "default", "meaning"), rows


def hook_methods() -> Table:
    """One row per public method of the hook: what it does."""
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


def connection_extra() -> Table:
    """One row per field of a connection's extra."""
    declared: Mapping[str, Any] = CONN_FIELDS
    rows = []
    for name in EXTRA_FIELDS:
        if name in declared:
            label, meaning = declared[name]["label"], declared[name]["description"]
        else:
            label, meaning = (
                "–",
                "The library that sends the requests of triggers: `httpx`, or `aiohttp` (extra `[aiohttp]`), which needs less CPU. Empty: httpx.",
            )
        rows.append((f"`{name}`", label, _code_in(meaning)))
    return ("field", "in the form", "meaning"), rows


def dependencies() -> Table:
    """One row per direct dependency of the package: the lowest version and what it is for."""
    rows = []
    for requirement in PROJECT["dependencies"]:
        name, _, floor = requirement.partition(">=")
        rows.append((f"`{name}`", floor, _WHAT_FOR[name]))
    return ("package", "lowest version", "what for"), rows


def caps() -> Table:
    """One row per library that an Airflow accepts and does not work with."""
    rows = []
    for airflow, limits in CAPS.items():
        why = ""
        for cap, reason in limits.items():
            why = why if reason == "same" else reason
            rows.append((airflow, f"`{cap}`", why))
    return ("Airflow", "needs", "because"), rows


def columns() -> Table:
    """One row per column of a campaign's rows: its other names, and what it holds."""
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
    """One row per extra: what it brings, and what happens without it."""
    rows = [
        (f"`[{name}]`", ", ".join(f"`{package}`" for package in packages), _BRINGS[name], _WITHOUT[name])
        for name, packages in PROJECT["optional-dependencies"].items()
    ]
    return ("extra", "packages", "what it brings", "without it"), rows


def error_classes() -> Table:
    """One row per class of the error tree: what it means for a task."""
    rows = [
        (f"{'· ' * depth}`{kind.__name__}`", "yes" if kind.retryable else "no", _summary(kind))
        for kind, depth in _tree(errors.JimengError)
    ]
    return ("class", "a retry may help", "meaning"), rows


def manifest() -> dict[str, Any]:
    """The payload of an example manifest."""
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
    ).to_payload()


def _class_of(name: str) -> type:
    found: type = getattr(importlib.import_module(f"airflow_provider_jimeng.{OPERATORS[name]}"), name)
    return found


def _parameters(operator: type) -> dict[str, inspect.Parameter]:
    """What the class itself declares; what it inherits stands in its base's table."""
    return dict(inspect.signature(vars(operator)["__init__"]).parameters)


def _meanings(operator: type) -> dict[str, str]:
    """What docstrings say of the arguments, the class itself having the last word."""
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
            continue  # it stands below its first base
        yield kind, depth
        yield from _tree(kind, depth + 1)


def _summary(kind: type) -> str:
    text = inspect.getdoc(kind) or ""
    return " ".join(_markdown(text.partition("\n\n")[0]).split())


def _markdown(text: str) -> str:
    plain = re.sub(r":\w+:`~?([^`]+)`", lambda role: f"`{role[1].rpartition('.')[2]}`", text)
    return plain.replace("``", "`").rstrip()


def _code_in(text: str) -> str:
    """Set the JSON in a description as code."""
    return re.sub(r"\{.*?\}", lambda found: f"`{found[0]}`", text)
