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
    with urllib.request.urlopen(connection["host"] + "/_emulator/bill") as reply:
        assert json.load(reply) == jimeng_emulator.bill()


def test_nothing_is_left_behind():
    assert "AIRFLOW_CONN_JIMENG_DEFAULT" not in os.environ
"""


LEFT_ALONE = """
from airflow.configuration import conf


def test_a_database_that_is_there_is_left_alone(jimeng_emulator):
    with open(conf.get("database", "sql_alchemy_conn").removeprefix("sqlite:///")) as content:
        assert content.read() == "not empty"
"""


def users_run(folder: Path, tests: str, *, database: str, **files: str) -> str:
    """Run somebody's tests in a folder of theirs and return what pytest says."""
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


def test_the_fixture_gives_a_served_emulator_and_a_connection(tmp_path: Path) -> None:
    said = users_run(tmp_path, USERS_TESTS + LEFT_ALONE, database="not empty")
    assert "3 passed" in said, said


def test_without_the_extra_the_fixture_says_what_to_install(tmp_path: Path) -> None:
    lacking = "import sys\nsys.modules['av'] = None\n"
    said = users_run(tmp_path, USERS_TESTS, database="not empty", conftest=lacking)
    assert "pip install 'airflow-provider-jimeng[emulator]'" in said
    assert "1 passed, 1 error" in said


def test_a_database_that_cannot_be_made_is_said_with_airflows_own_words(tmp_path: Path) -> None:
    # This process's Airflow is told, before it is imported, of a folder that no file can be made in.
    nowhere = 'import os\nos.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_SCHEMA"] = "nowhere"\n'
    said = users_run(tmp_path, USERS_TESTS, database="", conftest=nowhere)
    assert "RuntimeError: airflow db migrate failed for" in said, said


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
def test_only_files_of_sqlite_are_made(url: str, file: str | None) -> None:
    assert pytest_plugin._sqlite_file(url) == (None if file is None else Path(file))
