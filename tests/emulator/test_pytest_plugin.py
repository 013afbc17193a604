from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PLUGIN = "airflow_provider_jimeng.pytest_plugin"
USERS_TESTS = """
import json
import os
import urllib.request

import pytest


@pytest.fixture
def jimeng_emulator_options():
    return {"max_concurrent": 1}


def test_the_connection_leads_to_the_emulator(jimeng_emulator):
    connection = json.loads(os.environ["AIRFLOW_CONN_JIMENG_DEFAULT"])
    assert connection["host"] == jimeng_emulator.url
    assert jimeng_emulator.max_concurrent == 1
    assert jimeng_emulator.render_seconds == 0.5
    with urllib.request.urlopen(connection["host"] + "/_emulator/bill") as reply:
        assert json.load(reply) == jimeng_emulator.bill()


def test_nothing_is_left_behind():
    assert "AIRFLOW_CONN_JIMENG_DEFAULT" not in os.environ
"""


def test_the_fixture_gives_a_served_emulator_and_a_connection(tmp_path: Path) -> None:
    (tmp_path / "test_users_dag.py").write_text(USERS_TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", PLUGIN, "-p", "no:cacheprovider", str(tmp_path)],
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(Path.cwd())},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_the_plugin_loads_nothing_heavy_before_it_is_used() -> None:
    program = f"import sys, {PLUGIN}; print(*sorted(n for n in ('av', 'PIL', 'httpx', 'airflow') if n in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
