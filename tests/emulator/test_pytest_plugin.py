# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_jimeng import pytest_plugin

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
    with urllib.request.urlopen(connection["host"] + "/_emulator/bill") as response:
        assert json.load(response) == jimeng_emulator.bill()


def test_nothing_is_left_behind():
    assert "AIRFLOW_CONN_JIMENG_DEFAULT" not in os.environ
"""


UNTOUCHED = """
from airflow.configuration import conf


def test_a_database_that_is_there_is_left_alone(jimeng_emulator):
    with open(conf.get("database", "sql_alchemy_conn").removeprefix("sqlite:///")) as content:
        assert content.read() == "not empty"
"""


def users_run(folder: Path, tests: str, *, database: str, **files: str) -> str:
    """Run tests of a user in a folder and return the output of pytest."""
    (folder / "airflow.db").write_text(database)
    (folder / "test_users_dag.py").write_text(tests)
    for name, content in files.items():
        (folder / f"{name}.py").write_text(content)
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(Path.cwd())}
    env["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{folder / 'airflow.db'}"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", PLUGIN, "-p", "no:cacheprovider", str(folder)],
        env=env,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_the_fixture_serves_an_emulator_and_sets_a_connection(tmp_path: Path) -> None:
    output = users_run(tmp_path, USERS_TESTS + UNTOUCHED, database="not empty")
    assert "3 passed" in output, output


def test_without_the_extra_the_fixture_names_what_to_install(tmp_path: Path) -> None:
    without_av = "import sys\nsys.modules['av'] = None\n"
    output = users_run(tmp_path, USERS_TESTS, database="not empty", conftest=without_av)
    assert "pip install 'airflow-provider-jimeng[emulator]'" in output
    assert "1 passed, 1 error" in output


def test_a_database_error_is_reported_with_airflows_message(tmp_path: Path) -> None:
    # The migration of Airflow fails, because the schema does not exist.
    no_schema = 'import os\nos.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_SCHEMA"] = "nowhere"\n'
    output = users_run(tmp_path, USERS_TESTS, database="", conftest=no_schema)
    assert "RuntimeError: airflow db migrate failed for" in output, output


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:////srv/airflow.db", "/srv/airflow.db"),
        ("sqlite:////srv/airflow.db?timeout=30", "/srv/airflow.db"),
        ("sqlite:///:memory:", None),
        ("sqlite://", None),
        ("postgresql+psycopg2://airflow:secret@db/airflow", None),
    ],
)
def test_the_fixture_creates_only_sqlite_files(url: str, file: str | None) -> None:
    assert pytest_plugin._sqlite_file(url) == (None if file is None else Path(file))
