# SPDX-License-Identifier: Apache-2.0
"""What every test gets: an Airflow home of its own with a migrated database, and a guarded event loop."""

from __future__ import annotations

import gc
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.database import place_sqlite
from tests.harness.features import mark_what_is_lacking, skipped_module, warnings_to_ignore
from tests.harness.guard import loop_guard

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = Path(__file__).parent
UNMEASURED = {"chaos", "e2e", "meta"}
"""The folders of tests whose coverage is not measured in their own process."""

# Airflow reads its home when it is first imported, so it is set before any test module is.
AIRFLOW_HOME = Path(tempfile.mkdtemp(prefix="jimeng-tests-"))
(AIRFLOW_HOME / "dags").mkdir()
for name in [name for name in os.environ if name.startswith(("AIRFLOW__", "AIRFLOW_CONN_"))]:
    del os.environ[name]
os.environ |= {
    "AIRFLOW_HOME": str(AIRFLOW_HOME),
    "AIRFLOW__CORE__DAGS_FOLDER": str(AIRFLOW_HOME / "dags"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{AIRFLOW_HOME / 'airflow.db'}",
    "AIRFLOW__METRICS__TIMER_UNIT_CONSISTENCY": "True",  # what Airflow 2.11 warns about when it is not set
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    "NO_PROXY": "127.0.0.1,localhost",
    "no_proxy": "127.0.0.1,localhost",
}

# A shell script starts what it runs in the background with SIGINT ignored, and every child inherits that. Some tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Check which package is under test, and let older Airflows warn about themselves."""
    package = package_under_test()
    for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep):
        wheel = Path(folder) / "airflow_provider_jimeng"
        if folder and wheel.is_dir() and not package.samefile(wheel):
            raise pytest.UsageError(
                f"{package} would be tested, not {wheel}: run `pytest`, not `python -m pytest`"
            )
    for line in warnings_to_ignore():
        config.addinivalue_line("filterwarnings", line)
    if worker := getattr(config, "workerinput", None):
        begin_elsewhere(config, int(worker["workerid"].removeprefix("gw")) / worker["workercount"])


def begin_elsewhere(config: pytest.Config, share: float) -> None:
    """Let this process of a parallel run begin its collection of all tests after a share of the files.

    pytest compiles each file and keeps the result for the other processes. If all began with the same file, each
    would compile every file.
    """
    if config.args == config.getini("testpaths"):
        ignored = [config.rootpath / folder for folder in config.getoption("ignore") or ()]
        files = sorted((config.rootpath / "tests").rglob("test_*.py"))
        files = [path for path in files if not any(map(path.is_relative_to, ignored))]
        begin = int(share * len(files))
        config.args[:] = [str(path) for path in files[begin:] + files[:begin]]


def pytest_report_header() -> str:
    """Say which package is under test: the wheel of `make test`, or the source tree."""
    return f"package under test: {package_under_test()}"


def package_under_test() -> Path:
    """Return the folder that the package is imported from."""
    spec = importlib.util.find_spec("airflow_provider_jimeng")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def pytest_collection_finish() -> None:
    """Let the garbage collector leave out all that is imported now. It stays until the process ends."""
    gc.freeze()


def coverage() -> Any:
    """Return the measurement of this process, if there is one."""
    return sys.modules["coverage"].Coverage.current() if "coverage" in sys.modules else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Measure nothing in tests that run what others run too. On Python 3.11, to measure doubles the CPU time of Airflow."""
    measuring = coverage() if item.path.relative_to(TESTS).parts[0] in UNMEASURED else None
    if measuring:
        measuring.stop()
    try:
        return (yield)
    finally:
        if measuring:
            measuring.start()


def pytest_sessionfinish() -> None:
    """Save what coverage measured: a process that is slow to end after this is killed, and that would be lost."""
    if measuring := coverage():
        measuring.save()


def pytest_unconfigure() -> None:
    """Remove the Airflow home of this process."""
    shutil.rmtree(AIRFLOW_HOME, ignore_errors=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Skip, without importing them, the test files that as a whole need what this Airflow lacks."""
    return skipped_module(module_path, parent)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests that need what this Airflow lacks; the reason names it. Spread the tests that wait."""
    items.sort(key=lambda item: item.path)  # each process of a parallel run begins elsewhere
    mark_what_is_lacking(items)
    spread(items, [item for item in items if item.get_closest_marker("waits")])


def spread(items: list[pytest.Item], waiting: list[pytest.Item]) -> None:
    """Move tests to equal distances from each other, so that each process of a parallel run gets some of them."""
    others = [item for item in items if item not in set(waiting)]
    places = {item: (number + 0.5) * len(others) / len(waiting) for number, item in enumerate(waiting)}
    places |= {item: float(number) for number, item in enumerate(others)}
    items.sort(key=places.__getitem__)


@pytest.fixture(autouse=True)
def _no_blocking_calls_in_event_loops() -> Iterator[None]:
    with loop_guard() as offences:
        yield
    assert not offences, f"blocked a running event loop: {offences}"


@pytest.fixture(scope="session", autouse=True)
def airflow_database() -> Path:
    """A migrated SQLite database behind this process's Airflow.

    It is there before any test: Airflow 2 reads connections and XCom from it everywhere, and a first look at a
    database that is not there leaves an empty one in its place.
    """
    database = AIRFLOW_HOME / "airflow.db"
    place_sqlite(database)
    return database


@pytest.fixture(scope="session")
def jimeng_airflow_database(airflow_database: Path) -> None:
    """For the plugin's own fixture: here a copy of a migrated file takes its place."""
