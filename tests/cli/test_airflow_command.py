# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from airflow_provider_jimeng.cli.commands import COMMANDS
from airflow_provider_jimeng.core.catalogue import MODELS
from tests.harness.command_line import CommandLine, Ended
from tests.harness.database import place_sqlite
from tests.meta.tree import ROOT

NO_KEYS = {"VOLC_ACCESSKEY": None, "VOLC_SECRETKEY": None}


def airflow(jimeng: CommandLine, *words: str) -> Ended:
    """Run `airflow …` without keys in the environment."""
    done = subprocess.run(
        [sys.executable, "-m", "airflow", *words],
        env=jimeng.environment(NO_KEYS),
        cwd=jimeng.work,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Ended(code=done.returncode, out=done.stdout, err=done.stderr)


def test_the_script_of_the_package_is_the_command_line() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, name = scripts["jimeng"].partition(":")
    assert getattr(importlib.import_module(module), name)(["models", "--json"]) == 0


@pytest.mark.needs("commands of providers")
def test_airflow_has_the_commands_too(jimeng: CommandLine) -> None:
    done = airflow(jimeng, "jimeng", "models", "--json")
    assert done.code == 0, done.err
    assert [model["name"] for model in json.loads(done.out[done.out.index("[") :])] == list(MODELS)
    overview = airflow(jimeng, "jimeng", "--help").out
    names = {command.name for command in COMMANDS} - {"completion"}
    assert all(f"    {name} " in overview for name in (*names, "emulator"))


@pytest.mark.needs("commands of providers")
def test_airflows_command_reads_a_connection_of_the_database(jimeng: CommandLine, tmp_path: Path) -> None:
    jimeng.settings["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{tmp_path}/airflow.db"
    place_sqlite(tmp_path / "airflow.db")
    saved = ("--conn-login", "AKLTcommandline", "--conn-password", jimeng.environment()["VOLC_SECRETKEY"])
    added = airflow(
        jimeng, "connections", "add", "saved", "--conn-type", "jimeng", "--conn-host", jimeng.url, *saved
    )
    assert added.code == 0, added.err
    words = ("query", "1", "--model", "t2v_720p", "--conn", "saved", "--json")
    done = airflow(jimeng, "jimeng", *words)
    found = json.loads(done.out[done.out.index("{\n") :])  # Airflow may log to the same stream before it
    assert found["status"] == "not_found", done.err
    assert (done.code, jimeng.run(*words, env=NO_KEYS).code) == (4, 2)
