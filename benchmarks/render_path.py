# SPDX-License-Identifier: Apache-2.0
"""Measure what one render passes through (modules, connection look-ups, TCP connections, writes), and the project's size.

    make bench-path
    .venv/bin/python benchmarks/render_path.py [--details] [--no-tests]

The script runs real operators, triggers, hooks, sockets and files. The emulator runs in a separate process, and the test
harness does the work of Airflow's task runner. Every scenario runs twice, and only the second run is measured, so that
imports and first uses do not count.

The script fails if a figure is beyond its limit.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import inspect
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.harness.emulator import EmulatorServer

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "airflow_provider_jimeng"
RENDER_SECONDS = 2.0
"""The duration of the renders that a worker waits for."""
QUERIES = 18
"""The number of queries in that time."""
LONG_LIST = 250


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table: what was measured, and its limits."""

    name: str
    measured: int
    at_most: int | None = None
    at_least: int | None = None

    @property
    def missed(self) -> bool:
        return (self.at_most is not None and self.measured > self.at_most) or (
            self.at_least is not None and self.measured < self.at_least
        )

    def __str__(self) -> str:
        limits = [self.at_least, self.at_most]
        limit = " to ".join(dict.fromkeys(f"{one:,}" for one in limits if one is not None))
        return f"{self.name:62} {self.measured:8,} {limit:>8}{'  MISSED' if self.missed else ''}"


@dataclass(slots=True, eq=False)
class Trace:
    """What the process does in a traced block, in every thread that the block starts."""

    modules: set[str] = field(default_factory=set)
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    worker_lookups: int = 0
    triggerer_lookups: int = 0
    ports: Counter[int] = field(default_factory=Counter)
    _here: threading.local = field(default_factory=threading.local)
    _written: list[str] = field(default_factory=list)
    _renamed: list[tuple[str, str]] = field(default_factory=list)

    def profile(self, frame: FrameType, event: str, _: object) -> None:
        """Count a change if a call or a return leads into another module."""
        if event not in ("call", "return"):
            return
        module, function = frame.f_globals.get("__name__", ""), frame.f_code.co_name
        if event == "call" and function == "get_conn_value":  # Airflow's secrets backends have this method.
            self._look_up()
        if not module.startswith(PACKAGE) or function == "<module>":
            return
        if event == "call":
            self.modules.add(module)
            self.calls[function] += 1
        last = getattr(self._here, "module", module)
        if last != module:
            self.changes[last, module] += 1
        self._here.module = module

    def _look_up(self) -> None:
        """Count a look-up: for the worker in the main thread without an event loop, otherwise for the triggerer."""
        in_loop = False
        with suppress(RuntimeError):
            in_loop = asyncio.get_running_loop() is not None
        if threading.current_thread() is threading.main_thread() and not in_loop:
            self.worker_lookups += 1
        else:
            self.triggerer_lookups += 1

    def audit(self, event: str, details: tuple[Any, ...]) -> None:
        """Record connections and written files from Python's audit events."""
        if event == "socket.connect" and isinstance(details[1], tuple):
            self.ports[details[1][1]] += 1
        elif event == "open" and isinstance(details[0], str) and details[2] & (os.O_WRONLY | os.O_RDWR):
            self._written.append(details[0])
        elif event == "os.rename":
            self._renamed.append((str(details[0]), str(details[1])))

    @property
    def record_writes(self) -> int:
        """The number of objects that were written below ``.jimeng/``, directly or by a rename."""
        temporary = {source for source, _ in self._renamed}
        final = [name for name in self._written if name not in temporary]
        final += [name for _, name in self._renamed]
        return sum("/.jimeng/" in name for name in final)


_active: list[Trace] = []


def _audit(event: str, details: tuple[Any, ...]) -> None:
    for trace in _active:
        trace.audit(event, details)


@contextmanager
def traced() -> Iterator[Trace]:
    """Trace what happens in the block."""
    trace = Trace()
    _active.append(trace)
    threading.setprofile(trace.profile)
    sys.setprofile(trace.profile)
    try:
        yield trace
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
        _active.clear()


class Runs:
    """Make and run task instances whose renders end after ``render_seconds``."""

    def __init__(self, home: Path, stack: ExitStack, render_seconds: float) -> None:
        from tests.harness.emulator import EmulatorServer

        self.home, self.render_seconds, self._count = home, render_seconds, 0
        self.server: EmulatorServer = stack.enter_context(
            EmulatorServer(home=home, render_seconds=render_seconds, max_qps=1000, max_concurrent=100)
        )
        fields = {"conn_type": "jimeng", **self.server.connection_fields}
        extra = {"max_requests_per_second": 1000}
        os.environ["AIRFLOW_CONN_JIMENG_DEFAULT"] = json.dumps({**fields, "extra": extra})

    def task(self, operator: type, **arguments: Any) -> Any:
        """Return a task instance that has not run yet."""
        from tests.harness.fake_airflow import FakeTask

        self._count += 1
        run_id = f"manual__{self.render_seconds}_{self._count}"
        return FakeTask(lambda: operator(task_id="render", **arguments), run_id=run_id)

    def generate(self, **arguments: Any) -> Any:
        """Return a task instance that requests a new video."""
        from airflow_provider_jimeng.operators.video import JimengGenerateVideoOperator

        return self.task(
            JimengGenerateVideoOperator,
            prompt=f"Kite {self._count}",
            output_path=f"{self.home}/videos/{self.render_seconds}/",
            **arguments,
        )

    def finish(self, task: Any) -> Trace:
        """Run a task instance until it succeeds, and return the trace. Exit if it fails."""
        with traced() as trace:
            state = task.run()
        if state != "success":
            raise SystemExit(f"the task ended as {state}: {task.errors}")
        return trace

    def deferred(self) -> Trace:
        """Run the happy path (execute, one query by the trigger, execute_complete), and return the trace."""
        return self.finish(self.generate(deferrable=True, poll_interval=1.0))

    def adopted(self) -> Trace:
        """Run a retry that finds the finished render of a killed try, and return the trace."""
        task = self.generate(deferrable=True, poll_interval=1.0)
        task.interruptions.at("deferred")
        if task.run_one_try() != "up_for_retry":
            raise SystemExit(f"the first try ended as {task.state}: {task.errors}")
        return self.finish(task)

    def on_the_worker(self) -> tuple[Trace, int]:
        """Run a task that waits on its worker. Return the trace and the number of queries."""
        before = self.server.bill()["queries"]
        trace = self.finish(self.generate(deferrable=False, poll_interval=self.render_seconds / QUERIES))
        return trace, self.server.bill()["queries"] - before

    def poked(self) -> tuple[Trace, int]:
        """Run a sensor that waits in poke mode for a new render. Return the trace and the number of queries."""
        from airflow_provider_jimeng.hooks.jimeng import JimengHook
        from airflow_provider_jimeng.sensors.video import JimengVideoSensor

        render = JimengHook().submit_text_to_video(prompt="Kite at the sea").to_payload()
        before = self.server.bill()["queries"]
        sensor = self.task(
            JimengVideoSensor, render=render, poke_interval=self.render_seconds / QUERIES, deferrable=False
        )
        return self.finish(sensor), self.server.bill()["queries"] - before


def measured_twice(scenario: Callable[[], Any]) -> Any:
    """Run a scenario twice, so that first uses do not count, and return the result of its second run."""
    scenario()
    return scenario()


def paths(home: Path, *, show_details: bool) -> list[Figure]:
    """Run every scenario and return its figures."""
    with ExitStack() as stack:
        runs = Runs(home, stack, render_seconds=0.0)
        happy, adopted = measured_twice(runs.deferred), measured_twice(runs.adopted)
    with ExitStack() as stack:
        runs = Runs(home, stack, render_seconds=RENDER_SECONDS)
        waited, queries = runs.on_the_worker()
        poked, pokes = runs.poked()
        port = runs.server.port
    if show_details:
        details(happy)
    return [
        Figure("modules that the happy path with deferral runs through", len(happy.modules), at_most=35),
        Figure("modules that an adopting retry runs through", len(adopted.modules), at_most=28),
        Figure("changes of module in the happy path", happy.changes.total(), at_most=350),
        Figure("changes of module in an adopting retry", adopted.changes.total()),
        Figure("connection look-ups of a task that waits on its worker", waited.worker_lookups, at_most=1),
        Figure("connection look-ups of a deferred render, on workers", happy.worker_lookups, at_most=2),
        Figure(
            "connection look-ups of the triggerer for its second render", happy.triggerer_lookups, at_most=0
        ),
        Figure(
            f"connection look-ups of a poke-mode wait of {pokes} queries", poked.worker_lookups, at_most=1
        ),
        Figure(
            f"TCP connections of a submit, {queries} queries and a download", waited.ports[port], at_most=3
        ),
        Figure("objects written to the ledger per render", happy.record_writes, at_most=4),
        Figure("computed fingerprints per submit", happy.calls["fingerprint"], at_most=1, at_least=1),
    ]


def details(trace: Trace) -> None:
    print("The happy path runs through:")
    print("  " + "\n  ".join(sorted(module.removeprefix(f"{PACKAGE}.") for module in trace.modules)))
    print("Most frequent changes of module:")
    for (left, entered), count in trace.changes.most_common(LONG_LIST):
        print(f"{count:6}  {left.removeprefix(PACKAGE)} → {entered.removeprefix(PACKAGE)}")


def visible_arguments() -> Figure:
    """Return how many arguments an editor shows, of all that the classes of the operator accept."""
    from airflow_provider_jimeng.operators.video import JimengGenerateVideoOperator

    def keywords(function: Callable[..., Any]) -> set[str]:
        parameters = inspect.signature(function).parameters.values()
        return {one.name for one in parameters if one.kind is one.KEYWORD_ONLY}

    ours = [each for each in JimengGenerateVideoOperator.__mro__ if each.__module__.startswith(PACKAGE)]
    every = set().union(*(keywords(vars(each)["__init__"]) for each in ours if "__init__" in vars(each)))
    every |= {*JimengGenerateVideoOperator.template_fields, "deferrable", "retries", "retry_policy"}
    seen = keywords(JimengGenerateVideoOperator) & every
    return Figure(
        f"visible arguments of the generate operator, of {len(every)}", len(seen), at_least=len(every)
    )


def sizes(*, count_tests: bool) -> list[Figure]:
    """Return the numbers of modules, lines and tests. A limit is a tenth above a target that says "about"."""
    package = importlib.import_module(PACKAGE)
    modules = [one for one in pkgutil.walk_packages(package.__path__, f"{PACKAGE}.") if not one.ispkg]
    lines = sum(len(source_of(one.name).splitlines()) for one in modules)
    figures = [
        Figure("modules of the package", len(modules), at_most=110),
        Figure("lines of the package", lines),
    ]
    if count_tests:
        texts = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")]
        figures += [
            Figure("lines of the tests", sum(len(text.splitlines()) for text in texts)),
            Figure("tests", collected_tests(), at_most=4950),
        ]
    return figures


def source_of(module: str) -> str:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    return str(spec.loader.get_source(module) or "")  # type: ignore[union-attr]  # The loaders of files and wheels have this method.


def collected_tests() -> int:
    """Return how many tests pytest collects, including those of ``make test-real``."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "--quiet", "--override-ini", "addopts="]
    command += ["--import-mode=importlib"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    found = re.search(r"^(\d+) tests collected", done.stdout, re.MULTILINE)
    if found is None:
        raise SystemExit(f"pytest collected nothing:\n{done.stdout[-1000:]}{done.stderr[-1000:]}")
    return int(found[1])


def prepare_airflow(home: Path) -> None:
    """Make Airflow use a new home directory. Call this before Airflow is imported."""
    for name in [name for name in os.environ if name.startswith(("AIRFLOW__", "AIRFLOW_CONN_"))]:
        del os.environ[name]
    os.environ |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--details", action="store_true", help="list modules and the most frequent changes")
    options.add_argument(
        "--no-tests", action="store_true", help="do not count the tests; counting takes half a minute"
    )
    given = options.parse_args()
    sys.path.append(str(ROOT))
    home = Path(tempfile.mkdtemp(prefix="jimeng-path-"))
    prepare_airflow(home)
    sys.addaudithook(_audit)
    began = time.monotonic()
    try:
        figures = [*paths(home, show_details=given.details), visible_arguments()]
        figures += sizes(count_tests=not given.no_tests)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print(f"{'':62} measured    limit")
    print("\n".join(map(str, figures)))
    missed = [figure.name for figure in figures if figure.missed]
    print(f"{len(missed)} beyond the limits, in {time.monotonic() - began:.0f} s")
    raise SystemExit(1 if missed else 0)


if __name__ == "__main__":
    main()
