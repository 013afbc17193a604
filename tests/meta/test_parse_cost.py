from __future__ import annotations

import subprocess
import sys
from functools import cache
from typing import TYPE_CHECKING

from tests.meta.tree import ROOT

if TYPE_CHECKING:
    import pytest

# What a DAG file imports at its top, and what the triggerer and a task import later.
AUTHORED = ["airflow_provider_jimeng.operators.video", "airflow_provider_jimeng.sensors.video"]
PUBLIC = [*AUTHORED, "airflow_provider_jimeng.triggers.render", "airflow_provider_jimeng.hooks.jimeng"]
# Slow to import, and needed only once a task runs.
HEAVY = ("PIL", "av", "airflow_provider_jimeng.emulator")


@cache
def imported_by(statement: str) -> frozenset[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return frozenset(done.stdout.split())


def test_parsing_a_dag_loads_neither_http_client_nor_media_library(subtests: pytest.Subtests) -> None:
    for module in PUBLIC:
        with subtests.test(module=repr(module)):
            loaded = imported_by(f"import {module}")
            assert module in loaded
            assert not {name for name in loaded if name.startswith(HEAVY)}
            if module in AUTHORED:
                assert not {name for name in loaded if name.startswith("airflow_provider_jimeng.client")}


def test_parsing_the_examples_loads_neither_http_client_nor_media_library() -> None:
    folder = ROOT / "example_dags"
    airflows_own = imported_by(
        "from airflow.providers.common.compat.sdk import Asset; Asset(uri='other://a')"
    )
    loaded = imported_by(
        f"import pathlib, runpy\nfor f in pathlib.Path({str(folder)!r}).glob('*.py'): runpy.run_path(f)"
    )
    assert "airflow_provider_jimeng.operators.plan" in loaded
    # An asset with a scheme makes Airflow 2.11 load the forms of its own connections.
    ours = loaded - airflows_own
    assert not {name for name in ours if name.startswith((*HEAVY, "airflow_provider_jimeng.client"))}


def test_provider_info_loads_neither_airflow_nor_more_of_ours_than_the_table_of_settings() -> None:
    loaded = imported_by("import airflow_provider_jimeng.provider_info")
    assert "airflow" not in loaded
    ours = {name for name in loaded if name.startswith("airflow_provider_jimeng")}
    table = {"airflow_provider_jimeng.core", "airflow_provider_jimeng.core.connection_settings"}
    assert ours == {"airflow_provider_jimeng", "airflow_provider_jimeng.provider_info", *table}


def test_the_pytest_plugin_costs_users_next_to_nothing() -> None:
    loaded = imported_by("import airflow_provider_jimeng.pytest_plugin")
    assert not loaded & {"airflow", "av", "PIL", "httpx", "pendulum", "http.server"}
    ours = {name for name in loaded if name.startswith("airflow_provider_jimeng")}
    assert ours == {"airflow_provider_jimeng", "airflow_provider_jimeng.pytest_plugin"}
