# SPDX-License-Identifier: Apache-2.0
"""What a DAG author's type checker says about DAG files that use every argument."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_jimeng.hooks.jimeng import JimengHook
from airflow_provider_jimeng.operators.finish import JimengFinishVideoOperator
from airflow_provider_jimeng.operators.plan import JimengPlanOperator
from airflow_provider_jimeng.operators.report import JimengReportOperator
from airflow_provider_jimeng.operators.rescue import JimengRescueOperator
from airflow_provider_jimeng.operators.video import (
    JimengDownloadVideoOperator,
    JimengGenerateVideoOperator,
    JimengSubmitVideoOperator,
)
from airflow_provider_jimeng.sensors.video import JimengVideoSensor

DAGS = Path(__file__).with_name("dags")
OPERATORS: dict[str, Any] = {
    operator.__name__: operator
    for operator in (
        JimengSubmitVideoOperator,
        JimengGenerateVideoOperator,
        JimengDownloadVideoOperator,
        JimengFinishVideoOperator,
        JimengPlanOperator,
        JimengRescueOperator,
        JimengReportOperator,
        JimengVideoSensor,
    )
}
RENAMED = {"dag_id": "source_dag_id", "run_id": "source_run_id"}
"""Arguments whose attribute has another name, because Airflow uses the argument's name for an attribute of its own."""


def arguments_in(name: str) -> dict[str, set[str]]:
    """Return the keyword arguments that a DAG file gives, by what it calls."""
    calls: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse((DAGS / f"{name}.py").read_text())):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
            calls.setdefault(called, set()).update(keyword.arg for keyword in node.keywords if keyword.arg)
    return calls


def parameters_of(function: Any) -> set[str]:
    kinds = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return {
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind in kinds and name not in ("self", "request", "render_or_id", "jimeng_conn_id")
    }


def test_the_dag_files_give_every_argument() -> None:
    given, templated = arguments_in("literals"), arguments_in("templates")
    missing: dict[str, set[str]] = {}
    for name, operator in OPERATORS.items():
        missing[name] = parameters_of(operator) - given[name]
        fields = set(operator.template_fields)
        as_template = {
            argument for argument in parameters_of(operator) if RENAMED.get(argument, argument) in fields
        }
        missing[f"{name} as templates"] = as_template - templated[name]
    for name, method in inspect.getmembers(JimengHook, inspect.isfunction):
        if not name.startswith("_") and name in given:
            missing[name] = {p for p in parameters_of(method) if p not in ("model", "output_path")} - given[
                name
            ]
    assert not {name: names for name, names in missing.items() if names}
    public = {"submit", "query", "wait_for_completion", "download", "cancel"}
    twins = {"asubmit", "aquery", "await_for_completion", "adownload", "acancel"}
    assert public | twins | {"submit_text_to_video", "submit_image_to_video"} <= set(given)


def mypy(tmp_path: Path) -> dict[str, int]:
    """Return the number of errors that mypy finds in each DAG file."""
    (tmp_path / "mypy.ini").write_text("[mypy]\nstrict = true\n")
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--config-file", str(tmp_path / "mypy.ini"), "--output=json"),
            *(f"--cache-dir={tmp_path / 'cache'}", str(DAGS)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode in (0, 1), ran.stderr
    return count([json.loads(line) for line in ran.stdout.splitlines()], "file")


def pyright(tmp_path: Path) -> dict[str, int]:
    """Return the number of errors that pyright finds in each DAG file."""
    settings = {"typeCheckingMode": "standard", "include": [str(DAGS)]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "basedpyright", "--project", str(tmp_path), "--outputjson"),
            *("--pythonpath", sys.executable),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return count(json.loads(ran.stdout)["generalDiagnostics"], "file")


def count(reports: list[dict[str, Any]], key: str) -> dict[str, int]:
    errors = dict.fromkeys((path.stem for path in DAGS.glob("*.py")), 0)
    for report in reports:
        errors[Path(report[key]).stem] += report["severity"] == "error"
    return errors


@pytest.mark.real
@pytest.mark.parametrize("checker", [mypy, pyright])
def test_type_checkers_accept_every_argument_and_find_every_misspelt_one(
    checker: Any, tmp_path: Path
) -> None:
    lines = ast.parse((DAGS / "misspelt.py").read_text()).body
    misspelt = sum(isinstance(line, ast.Expr) and isinstance(line.value, ast.Call) for line in lines)
    assert misspelt == len(OPERATORS) + 1
    assert checker(tmp_path) == {"literals": 0, "templates": 0, "misspelt": misspelt}
