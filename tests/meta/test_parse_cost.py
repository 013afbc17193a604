from __future__ import annotations

import subprocess
import sys

import pytest

PUBLIC = [
    "airflow_provider_jimeng.operators.video",
    "airflow_provider_jimeng.sensors.video",
    "airflow_provider_jimeng.triggers.render",
    "airflow_provider_jimeng.hooks.jimeng",
]
# Slow to import, and needed only once a task runs.
HEAVY = ("PIL", "av", "airflow_provider_jimeng.emulator")


def imported_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", PUBLIC[:2])
def test_parsing_a_dag_does_not_load_the_http_client(module: str) -> None:
    ours = {name for name in imported_by(f"import {module}") if name.startswith("airflow_provider_jimeng")}
    assert module in ours
    assert not {name for name in ours if name.startswith("airflow_provider_jimeng.client")}


@pytest.mark.parametrize("module", PUBLIC)
def test_importing_what_authors_import_loads_no_media_library(module: str) -> None:
    loaded = imported_by(f"import {module}")
    assert not {name for name in loaded if name.startswith(HEAVY)}


def test_provider_info_loads_neither_airflow_nor_anything_of_ours() -> None:
    loaded = imported_by("import airflow_provider_jimeng.provider_info")
    assert "airflow" not in loaded
    ours = {name for name in loaded if name.startswith("airflow_provider_jimeng")}
    assert ours == {"airflow_provider_jimeng", "airflow_provider_jimeng.provider_info"}


def test_the_pytest_plugin_costs_users_next_to_nothing() -> None:
    loaded = imported_by("import airflow_provider_jimeng.emulator.pytest_plugin")
    assert not loaded & {"airflow", "av", "PIL", "httpx", "pendulum"}
