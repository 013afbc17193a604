# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import subprocess
import sys
from functools import cache

from tests.harness.processes import unmeasured_environment
from tests.meta.tree import PACKAGE, ROOT

# What a DAG file imports at its top, and what the triggerer and a task import later.
AUTHORED = [
    f"{PACKAGE}.operators.video",
    f"{PACKAGE}.operators.finish",
    f"{PACKAGE}.finishing",
    f"{PACKAGE}.sensors.video",
]
LATER = [f"{PACKAGE}.triggers.render", f"{PACKAGE}.hooks.jimeng"]
# Slow to import, and needed only once a task runs.
HEAVY = ("PIL", "av", f"{PACKAGE}.emulator")
STEPS = {
    "provider info": f"import {PACKAGE}.provider_info",
    "pytest plugin": f"import {PACKAGE}.pytest_plugin",
    "authored": f"import {', '.join(AUTHORED)}",
    # An asset with a scheme makes Airflow 2.11 load the forms of its own connections.
    "an asset": "from airflow.providers.common.compat.sdk import Asset; Asset(uri='other://a')",
    "examples": (
        f"import pathlib, runpy\nfor f in pathlib.Path({str(ROOT / 'example_dags')!r}).glob('*.py'): "
        "runpy.run_path(str(f))"
    ),
    "later": f"import {', '.join(LATER)}",
}
PROGRAM = """
import json, sys
before = set(sys.modules)
for name, step in json.loads(sys.argv[1]).items():
    exec(step, {})
    print("LOADED", json.dumps([name, sorted(set(sys.modules) - before)]))
    before |= set(sys.modules)
"""


@cache
def loaded_by() -> dict[str, frozenset[str]]:
    """Return what each step loads in one process that no step before it has loaded."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(STEPS)],
        env=unmeasured_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.removeprefix("LOADED ") for line in done.stdout.splitlines() if line.startswith("LOADED ")]
    return {name: frozenset(modules) for name, modules in map(json.loads, lines)}


def ours(modules: frozenset[str]) -> set[str]:
    return {name for name in modules if name.startswith(PACKAGE)}


def test_parsing_a_dag_loads_neither_http_client_nor_media_library() -> None:
    loaded = loaded_by()["authored"]
    assert loaded.issuperset(AUTHORED)
    assert not {name for name in loaded if name.startswith((*HEAVY, f"{PACKAGE}.client"))}


def test_hook_and_trigger_load_no_media_library() -> None:
    loaded = loaded_by()["later"]
    assert loaded.issuperset(LATER)
    assert not {name for name in loaded if name.startswith(HEAVY)}


def test_parsing_the_examples_loads_neither_http_client_nor_media_library() -> None:
    loaded = loaded_by()["examples"]
    assert f"{PACKAGE}.operators.plan" in loaded
    assert not {name for name in loaded if name.startswith((*HEAVY, f"{PACKAGE}.client"))}


def test_provider_info_loads_neither_airflow_nor_more_of_ours_than_the_table_of_settings() -> None:
    loaded = loaded_by()["provider info"]
    assert "airflow" not in loaded
    table = {f"{PACKAGE}.core", f"{PACKAGE}.core.connection_settings"}
    assert ours(loaded) == {PACKAGE, f"{PACKAGE}.provider_info", *table}


def test_the_pytest_plugin_costs_users_next_to_nothing() -> None:
    loaded = loaded_by()["pytest plugin"]
    assert not loaded & {"airflow", "av", "PIL", "httpx", "pendulum", "http.server"}
    assert ours(loaded) == {f"{PACKAGE}.pytest_plugin"}
