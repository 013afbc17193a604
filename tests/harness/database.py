# SPDX-License-Identifier: Apache-2.0
"""Metadata databases. A migrated SQLite file is kept for each version of Airflow, so that a start only copies it."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from tests.harness.processes import inherited_environment

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / "build" / "airflow-db"


class MigrationError(RuntimeError):
    """`airflow db migrate` failed. The message contains its output."""


def migrate(env: dict[str, str]) -> None:
    """Migrate the database that `env` configures to the schema of this Airflow (about 6 s for an empty one)."""
    done = subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"],
        env={name: value for name, value in env.items() if not name.startswith("COVERAGE_")},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise MigrationError(f"airflow db migrate failed:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")


def place_sqlite(target: Path) -> None:
    """Put an empty, migrated database at `target` if there is none. The first call for a version makes the template."""
    if target.exists():
        return
    TEMPLATES.mkdir(parents=True, exist_ok=True)
    template = TEMPLATES / f"{version('apache-airflow')}.db"
    with (TEMPLATES / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not template.exists():
            _make_template(template)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(template, target)


def _make_template(template: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="airflow-db-") as scratch:
        fresh = Path(scratch) / "airflow.db"
        env = inherited_environment()
        env |= {
            "AIRFLOW_HOME": scratch,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{fresh}",
        }
        migrate(env)
        partial = template.with_suffix(f".{os.getpid()}")
        shutil.copyfile(fresh, partial)
        partial.replace(template)
