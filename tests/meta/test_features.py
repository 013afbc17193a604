# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib
import importlib.util
import inspect
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

from tests.harness.features import TABLE, features, installed_airflow, lack
from tests.harness.matrix import browser_tests, environments, fast_tests
from tests.meta.tree import ROOT

if TYPE_CHECKING:
    import pytest


def has_task_state_store() -> bool:
    return "task_state_store" in _source_of("airflow.sdk.definitions.context")


def has_views() -> bool:
    return "external_views" in _source_of("airflow.plugins_manager")


def has_trigger_on_kill() -> bool:
    from airflow.triggers.base import BaseTrigger

    return hasattr(BaseTrigger, "on_kill")


def has_retry_policies() -> bool:
    from airflow_provider_jimeng.retry import RETRY_POLICIES_EXIST

    return RETRY_POLICIES_EXIST


def has_provider_commands() -> bool:
    return "cli_command_functions" in _source_of("airflow.providers_manager")


# Feature → how to see in an Airflow's own code whether it is there; the rest is seen by the tests that need it.
PROBES = {
    "task state store": has_task_state_store,
    "views of plugins": has_views,
    "commands of providers": has_provider_commands,
    "triggers that learn of a kill": has_trigger_on_kill,
    "retry policies": has_retry_policies,
}


def _source_of(module: str) -> str:
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        return ""
    try:
        return inspect.getsource(importlib.import_module(module))
    except ModuleNotFoundError:
        return ""


def test_the_table_says_of_this_airflow_what_its_code_says(subtests: pytest.Subtests) -> None:
    for name, probe in PROBES.items():
        with subtests.test(name=repr(name)):
            assert features()[name].works_on(installed_airflow()) == probe()


def test_what_an_airflow_lacks_is_said_with_what_happens_then(subtests: pytest.Subtests) -> None:
    for name in features():
        with subtests.test(name=repr(name)):
            feature = features()[name]
            lacking = [version for version in TABLE["airflow"] if not feature.works_on(version)]
            assert bool(lacking) == bool(feature.without_en) == bool(feature.without_zh)


def test_a_reason_for_skipping_names_airflow_and_feature() -> None:
    reasons = {name: lack(name) for name in features()}
    assert reasons["rendering"] is None
    for name, reason in reasons.items():
        assert reason is None or (name in reason and installed_airflow() in reason)


def test_files_that_need_a_feature_exist() -> None:
    homes = [home for feature in features().values() for home in feature.tests]
    assert not [home for home in homes if not (ROOT / home).exists()]


def test_the_matrix_has_every_airflow_of_the_table() -> None:
    minors = {environment.airflow.rpartition(".")[0] for environment in environments()}
    assert minors == set(TABLE["airflow"])
    assert all(environment.lock_file.exists() for environment in environments())


def test_environments_are_named_after_options_as_the_makefile_does() -> None:
    without_a_lock = next(environment.name for environment in environments() if not environment.owns_lock)
    command = [sys.executable, "-m", "tests.harness.matrix", "lock", "--jobs", "2", "--pytest=-x -q"]
    assert subprocess.run([*command, without_a_lock], cwd=ROOT, check=False).returncode == 0
    assert subprocess.run([*command, "9.9"], cwd=ROOT, check=False, capture_output=True).returncode == 2


def test_the_pythons_of_the_classifiers_are_those_of_the_matrix() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {line.rpartition(" :: ")[2] for line in project["classifiers"] if " :: Python :: 3." in line}
    assert named == {environment.python for environment in environments()}


def test_every_airflow_is_run_with_the_oldest_and_with_the_newest_dependencies() -> None:
    resolutions: dict[str, set[str]] = {}
    for environment in environments():
        resolutions.setdefault(environment.airflow.rpartition(".")[0], set()).add(environment.resolution)
    assert all(found == {"lowest-direct", "highest"} for found in resolutions.values()), resolutions


def test_the_short_matrices_run_tests_that_exist() -> None:
    for tests in (fast_tests(), browser_tests()):
        assert tests
        assert not [path for path in tests if not (ROOT / path).exists()]


def test_the_fast_matrix_has_the_lowest_and_the_newest() -> None:
    fast = {environment.airflow for environment in environments() if environment.fast}
    assert fast == {"2.11.0", "3.3.2"}
    lowest = (ROOT / "requirements" / "airflow-2.11-lowest.txt").read_text(encoding="utf-8")
    for pin in ("httpx==0.27.0", "pendulum==3.0.0", "pillow==10.1.0", "apache-airflow==2.11.0"):
        assert f"\n{pin} " in lowest
