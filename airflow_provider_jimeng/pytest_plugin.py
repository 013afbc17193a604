# SPDX-License-Identifier: Apache-2.0
"""The fixture ``jimeng_emulator``, for the tests of DAG authors.

pytest loads this module in every run if the package is installed, so it must not import slow modules.
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from airflow_provider_jimeng.emulator import JimengEmulator


@pytest.fixture
def jimeng_emulator_options() -> dict[str, Any]:
    """Return the arguments of the emulator. Override this fixture in a test module or in conftest.py."""
    return {}


@pytest.fixture(scope="session")
def jimeng_airflow_database() -> None:
    """Create the tables that ``dag.test()`` needs, if the metadata database is an SQLite file that is new or empty.

    Another database, or an SQLite file with content, is not touched.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings of Airflow's own imports do not help a test
        from airflow.configuration import conf  # noqa: PLC0415  slow to import

    database = _sqlite_file(conf.get_mandatory_value("database", "sql_alchemy_conn"))
    if database is not None:
        _migrate_if_new(database)


def _sqlite_file(url: str) -> Path | None:
    name = url.partition("?")[0].removeprefix("sqlite:///")
    return None if name == url.partition("?")[0] or name == ":memory:" else Path(name)


def _migrate_if_new(database: Path) -> None:
    """Create the tables in one process of a parallel run. The other processes wait for it."""
    import fcntl  # noqa: PLC0415  absent on Windows, where Airflow does not run

    if _has_content(database):
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with database.with_name(f"{database.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _has_content(database):
            command = [sys.executable, "-m", "airflow", "db", "migrate"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own
            if done.returncode:
                raise RuntimeError(f"airflow db migrate failed for {database}:\n{done.stderr[-2000:]}")


def _has_content(database: Path) -> bool:
    return database.exists() and database.stat().st_size > 0


@pytest.fixture
def jimeng_emulator(
    jimeng_emulator_options: dict[str, Any],
    jimeng_airflow_database: None,  # noqa: ARG001  creates the tables
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[JimengEmulator]:
    """Yield a running emulator whose renders take half a second. ``jimeng_default`` is a connection to it."""
    from airflow_provider_jimeng.emulator import JimengEmulator  # noqa: PLC0415  slow to import

    emulator = JimengEmulator(**{"render_seconds": 0.5, **jimeng_emulator_options})
    with emulator.serve():
        monkeypatch.setenv("AIRFLOW_CONN_JIMENG_DEFAULT", emulator.connection_json())
        yield emulator
