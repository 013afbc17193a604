# SPDX-License-Identifier: Apache-2.0
"""Measure what grows with the months: claims, plans, reports and rescues, at 1, 10 and 100 times the work.

    python -m benchmarks.growth [--only claim plan report rescue] [--stores files S3] [--sizes 1 10 100]

The S3 server (moto) runs on this machine, so the times on S3 are mostly its own. The script prints a table and exits
with 1 if a figure is beyond its limit. The limits are in ``LIMITS``.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("AIRFLOW__LOGGING__LOGGING_LEVEL", "CRITICAL")
os.environ["AIRFLOW__CORE__MAX_MAP_LENGTH"] = "1000000"

from airflow_provider_jimeng.storage.output import OutputPath
from benchmarks.growth_data import (
    PAID,
    Instance,
    MappedTask,
    Place,
    Run,
    kinds_of_rows,
    record,
    running_renders,
    stores,
    write_paid,
    write_records,
)

CLAIMS, ROWS, INSTANCES = 100, 200, 200
SAVED = {"files": 100, "S3": 20}
RUNNING = 20
"""How many saved renders the first rescue finds. The S3 server needs most of the time to get them."""
LIMITS = {
    "claim": 1.3,
    "claim CPU": 2.0,
    "S3 plan": 30.0,
    "plan": 1.0,
    "lines": 1_100.0,
    "calls": 14.0,
    "xcom": 1_000_000.0,
    "reads": 0.0,
    "requests": 2.0,
    "look-ups": 1.0,
}
"""Claim: requests, and CPU time, with the most records over those with the fewest; half a millisecond of CPU varies. Plan: ms of CPU a row, on S3 more for a
row that was paid before, because it takes requests; lines of its log. Report: calls
to Airflow for one task. Rescue: bytes of one push; bytes of videos read; requests to the store a render; look-ups of the
connection."""


@dataclass
class Table:
    """What was measured, and whether a figure is beyond its limit."""

    beyond: bool = False

    def add(self, what: str, store: str, values: list[float], unit: str, limit: str, value: float) -> None:
        """Print a line. ``value`` is what the limit is for."""
        bad = value > LIMITS[limit]
        self.beyond |= bad
        figures = " | ".join(f"{each:,.2f}" if each < 100 else f"{each:,.0f}" for each in values)
        print(
            f"| {what} | {store} | {figures} | {unit} | {value:,.2f} of {LIMITS[limit]:,g}{' BEYOND' if bad else ''} |",
            flush=True,
        )


def cpu_seconds(action: Callable[[], object]) -> float:
    """Return the CPU seconds that a call takes. Other work on the machine changes them less than the time."""
    began = time.process_time()
    action()
    return time.process_time() - began


def claims(table: Table, store: str, place: Place, sizes: list[int], rounds: int) -> None:
    """Measure the look-ups of a task before it pays, and its whole record, beside records of the same request."""
    from airflow_provider_jimeng.core.record import RecordState, TaskKey
    from airflow_provider_jimeng.storage.ledger import Ledger

    written = 0
    folder = place("claims")
    path = f"{folder.output_path}kite.mp4"
    times: defaultdict[str, list[float]] = defaultdict(list)
    requests: defaultdict[str, list[float]] = defaultdict(list)

    def whole(number: int) -> None:
        key = TaskKey(dag_id="ads", run_id=f"whole__{number}", task_id="render")
        ledger = Ledger(key, folder=folder)
        ledger.read()
        ledger.begin(record(number, path, key=key, state=RecordState.INTENT), None)
        ledger.others(record(number, path).requested)
        ledger.settle(record(number, path, key=key, state=RecordState.SUBMITTED))
        ledger.write(record(number, path, key=key))

    for size in sizes:
        write_records(folder, range(written, CLAIMS * size))
        written = CLAIMS * size
        ledger = Ledger(TaskKey(dag_id="ads", run_id="now", task_id="render"), folder=folder)
        actions: dict[str, Callable[[int], object]] = {
            "look-up by request": lambda _, ledger=ledger: ledger.others(record(0, path).requested),  # type: ignore[misc]
            "look-up by file name": lambda _, ledger=ledger: ledger.rivals(path),  # type: ignore[misc]
            "record of one task, from intent to saved": whole,
        }
        for name, action in actions.items():
            action(10_000_000 * size)
            numbers = range(10_000_000 * size + 1, 10_000_000 * size + 1 + rounds)
            times[name].append(1000 * min(cpu_seconds(partial(action, number)) for number in numbers))
            with counted(folder) as calls:
                action(20_000_000 * size)
            requests[name].append(float(sum(calls.values()) - calls["video"]))
    for name, values in times.items():
        label = f"claim: {name}, {' / '.join(f'{CLAIMS * size:,}' for size in sizes)} records"
        table.add(label, store, values, "ms of CPU", "claim CPU", values[-1] / values[0])
        table.add(
            f"claim: {name}",
            store,
            requests[name],
            "requests",
            "claim",
            requests[name][-1] / requests[name][0],
        )


def plans(table: Table, store: str, place: Place, sizes: list[int]) -> None:
    """Measure plans of rows of each kind."""
    kinds = kinds_of_rows(place)
    for kind, (rows_of, into_store) in kinds.items():
        if store != "files" and not into_store:
            continue
        values, counts, lines = [], [], 0
        for size in sizes:
            count = ROWS * size
            folder = place(f"plan-{kind.replace(' ', '-')}-{size}")
            if kind == PAID:
                count = count if store == "files" else SAVED[store] * size
                write_paid(folder, count)
            cpu, lines = plan(rows_of(count), folder if into_store else None)
            values.append(1000 * cpu / count)
            counts.append(f"{count:,}")
        limit = "S3 plan" if kind == PAID and store == "S3" else "plan"
        label = f"plan: {kind}, {' / '.join(counts)} rows"
        table.add(label, store, values, "ms of CPU a row", limit, values[-1])
        table.add(f"plan: {kind}, lines of log", store, [float(lines)], "lines", "lines", lines)


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def emit(self, entry: logging.LogRecord) -> None:
        self.count += 1


def plan(rows: Any, folder: Any) -> tuple[float, int]:
    """Return the CPU seconds of a plan and its lines of log."""
    from airflow_provider_jimeng.operators.plan import JimengPlanOperator

    lines = _Lines()
    logger = logging.getLogger("growth")
    logger.handlers, logger.propagate = [lines], False
    logger.setLevel(logging.INFO)

    class Quiet(JimengPlanOperator):
        @property
        def log(self) -> Any:
            return logger

    options = (
        {} if folder is None else {"output_path": folder.output_path, "output_conn_id": folder.output_conn_id}
    )
    operator = Quiet(task_id="plan", rows=rows, **options)
    began = time.process_time()
    with suppress(Exception):  # a plan of bad rows fails; its time and its log count
        operator.execute({"ti": Instance()})  # type: ignore[typeddict-item]
    return time.process_time() - began, lines.count


def reports(table: Table, sizes: list[int]) -> None:
    """Count the calls to Airflow of a report on one mapped task, of which a part has failed."""
    from airflow_provider_jimeng.operators.report import read_ends

    for name, fails in {
        "one failure": lambda n, _: n == 1,
        "half refused": lambda n, _: n % 2 == 1,
        "all but one failed": lambda n, count: n != count - 1,
    }.items():
        calls, times = [], []
        for size in sizes:
            run = Run(INSTANCES * size, fails)
            times.append(
                1000 * cpu_seconds(lambda run=run: read_ends([MappedTask()], run.context())) / run.count
            )  # type: ignore[misc]
            calls.append(float(sum(run.calls.values())))
        label = f"report: {name} of {' / '.join(f'{INSTANCES * size:,}' for size in sizes)} renders"
        table.add(label, "–", calls, "calls to Airflow", "calls", calls[-1])
        print(f"|   the same | – | {' | '.join(f'{t:.3f}' for t in times)} | ms of CPU a render | |")


def rescues(table: Table, store: str, place: Place, sizes: list[int]) -> None:
    """Measure a rescue of a directory whose videos are all saved, and one of renders that run."""
    from airflow_provider_jimeng.operators.rescue import bounded
    from airflow_provider_jimeng.operators.unsaved_renders import UnsavedRenders
    from airflow_provider_jimeng.storage.paid import all_records

    requests, read, pushed, per_render = [], 0, 0, []
    for size in sizes:
        folder = place(f"rescue-{size}")
        count = SAVED[store] * size
        write_paid(folder, count)
        with counted(folder) as calls:
            unsaved = UnsavedRenders(folder=folder, hook_for=_no_hook)
            began = time.process_time()
            records, problems = all_records(folder, visit=unsaved.visit)
            unsaved.add_records(records)
            summary = unsaved.run(deadline=0)
            per_render.append(1000 * (time.process_time() - began) / count)
        if len(summary["already_landed"]) != count:
            raise SystemExit(
                f"The rescue finds {len(summary['already_landed'])} of {count} videos. {problems[:2]} {summary['problems'][:2]}"
            )
        requests.append((sum(calls.values()) - calls["video"]) / count)
        read += calls["video"]
        pushed = len(json.dumps(bounded(summary)))
    label = f"rescue of {' / '.join(f'{SAVED[store] * size:,}' for size in sizes)} saved renders"
    table.add(f"{label}: requests to the store", store, requests, "a render", "requests", requests[-1])
    table.add(f"{label}: reads of videos", store, [float(read)], "reads", "reads", read)
    table.add(f"{label}: bytes of a push", store, [float(pushed)], "bytes", "xcom", pushed)
    print(f"|   the same | {store} | {' | '.join(f'{t:.2f}' for t in per_render)} | ms of CPU a render | |")


def _no_hook(jimeng_conn_id: str) -> Any:
    raise SystemExit(f"A saved render needs no connection, but {jimeng_conn_id} was opened.")


@contextmanager
def counted(folder: Any) -> Iterator[Counter[str]]:
    """Count the calls to the file system of a directory; reads of videos also as ``video``."""
    fs = folder.file("any").fs
    names = ("ls", "info", "cat_file", "open", "exists", "modified", "pipe_file", "put_file", "rm_file", "mv")
    calls: Counter[str] = Counter()
    inside = threading.local()  # A call of the file system to itself is not a request.

    def wrapped(name: str, method: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            if getattr(inside, "a_call", False):
                return method(*arguments, **options)
            calls[name] += 1
            calls["video"] += name in ("cat_file", "open") and str(arguments[:1]).endswith(".mp4',)")
            inside.a_call = True
            try:
                return method(*arguments, **options)
            finally:
                inside.a_call = False

        return call

    before = {name: vars(fs)[name] for name in names if name in vars(fs)}
    for name in names:
        setattr(fs, name, wrapped(name, getattr(fs, name)))
    try:
        yield calls
    finally:
        for name in names:
            delattr(fs, name)
        vars(fs).update(before)


def look_ups(table: Table, home: Path, sizes: list[int]) -> None:
    """Count the look-ups of the connection while renders run for several rounds."""
    from airflow_provider_jimeng.emulator import JimengEmulator
    from airflow_provider_jimeng.hooks.jimeng import JimengHook

    counts = []
    emulator = JimengEmulator(render_seconds=3600, max_concurrent=100_000, max_qps=1_000_000)
    with emulator.serve() as server:
        os.environ["AIRFLOW_CONN_JIMENG_DEFAULT"] = emulator.connection_json(
            url=server.url, max_requests_per_second=10_000
        )
        with JimengHook() as hook:
            renders = [hook.submit(prompt=f"a kite {number}") for number in range(RUNNING * sizes[:2][-1])]
        for size in sizes[:2]:
            folder = OutputPath(output_path=f"{home / f'running-{size}'}/")
            counts.append(float(running_renders(renders[: RUNNING * size], 3, folder)))
    label = f"rescue of {' / '.join(f'{RUNNING * size:,}' for size in sizes[:2])} running renders, 3 rounds"
    table.add(label, "–", counts, "look-ups of the connection", "look-ups", counts[-1])


def main() -> int:
    """Measure, print a table, and return 1 if a figure is beyond its limit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = ["claim", "plan", "report", "rescue"]
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--stores", nargs="+", choices=["files", "S3"], default=["files", "S3"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--rounds", type=int, default=50, help="measurements of each look-up")
    options = parser.parse_args()
    table = Table()
    connection = {"conn_type": "jimeng", "login": "AK", "password": "SECRETKEY"}
    os.environ["AIRFLOW_CONN_JIMENG_DEFAULT"] = json.dumps(connection)
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jimeng-growth-")))
        for store, place in stores(home, options.stores):
            if "claim" in options.only:
                claims(table, store, place, options.sizes, options.rounds)
            if "plan" in options.only:
                plans(table, store, place, options.sizes)
            if "rescue" in options.only:
                rescues(table, store, place, options.sizes)
        if "report" in options.only:
            reports(table, options.sizes)
        if "rescue" in options.only:
            look_ups(table, home, options.sizes)
    print(f"load average {os.getloadavg()[0]:.1f}")
    return int(table.beyond)


if __name__ == "__main__":
    sys.exit(main())
