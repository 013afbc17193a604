# SPDX-License-Identifier: Apache-2.0
"""Measure a look-up in the ledger after 100, 1,000 or 10,000 tasks with the same request, on files and on S3.

A task looks up the ledger before it pays: by its request with ``reuse="output_path"``, and by a full file name. The S3
server (moto) runs on this machine. With ``--by-0-1-0``, the records have the pointers of version 0.1.0. The first look-ups
after an upgrade remove these, 500 at a time.

The script fails if the median look-up with the most records takes more than 1.3 times as long as with the fewest.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from airflow_provider_jimeng.core.record import Record, RecordState, TaskKey
from airflow_provider_jimeng.storage.ledger import Ledger
from airflow_provider_jimeng.storage.output import OutputPath
from airflow_provider_jimeng.storage.record_objects import MAX_REMOVALS, RecordObjects
from tests.harness.store_servers import S3Server

ASKED = "a" * 64
LIMIT = 1.3
WRITTEN_WHOLE = 50
"""The number of records that are written with their pointers. Older records have none, as after their removal."""
ME = TaskKey(dag_id="ads", run_id="now", task_id="render")


def record(number: int, output_path: str) -> Record:
    """Return the record of an hourly run whose task has saved its own render."""
    at = f"2026-{number // 24 // 28 % 12 + 1:02}-{number // 24 % 28 + 1:02}T{number % 24:02}:00:00Z"
    return Record(
        state=RecordState.LANDED,
        key=TaskKey(dag_id="ads", run_id=f"scheduled__{number}", task_id="render"),
        asked=ASKED,
        fingerprint=ASKED,
        take=1,
        max_tries=1,
        intent_at=at,
        output_path=output_path,
        render={
            "task_id": str(7_000_000_000 + number),
            "req_key": "key",
            "model": "t2v_720p",
            "jimeng_conn_id": "jimeng_default",
            "submitted_at": at,
        },
    )


def look_ups(folder: OutputPath) -> dict[str, Callable[[], object]]:
    """Return the look-ups of a task, by name."""
    ledger = Ledger(ME, folder=folder)
    path = f"{folder.output_path}kite.mp4"
    return {"by request": lambda: ledger.others(ASKED), "by file name": lambda: ledger.rivals(path)}


def seconds(action: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def write(folder: OutputPath, numbers: range, *, by_0_1_0: bool) -> None:
    """Write records as a task does, or with all pointers, as version 0.1.0 does."""
    objects = RecordObjects(folder)
    for number in numbers:
        made = record(number, f"{folder.output_path}kite.mp4")
        if not by_0_1_0 and number < numbers.stop - WRITTEN_WHOLE:
            objects._write(made.to_payload(), "tasks", f"{number:032}.json")  # noqa: SLF001 - a record without pointers
            continue
        if not by_0_1_0:
            objects.write(made)
            continue
        name = f"{number:032}.json"
        owner = json.dumps({"task_instance": made.key.to_payload()}).encode()
        parts = [("tasks", name, json.dumps(made.to_payload()).encode())]
        parts += [(*pointer, name, owner) for pointer, _ in objects._pointers(made)]  # noqa: SLF001 - 0.1.0 writes these pointers
        for *place, content in parts:
            file = folder.file("/".join((".jimeng", *place)))
            if file.is_local:
                Path(file.folder).mkdir(parents=True, exist_ok=True)
            file.write_plainly(content)


def stores(folder: Path) -> Iterator[tuple[str, Callable[[str], OutputPath]]]:
    """Yield the name of each store and a function that returns an empty directory in it."""
    yield "files", lambda name: OutputPath(output_path=f"{folder / name}/")
    with ExitStack() as stack:
        server = stack.enter_context(S3Server(home=folder / "s3"))
        os.environ["AIRFLOW_CONN_GROWTH"] = json.dumps(server.connection())
        yield (
            "S3",
            lambda name: OutputPath(output_path=f"s3://{server.bucket}/{name}/", output_conn_id="growth"),
        )


def main() -> int:
    """Measure, print a table, and return 1 if a look-up becomes too slow."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--by-0-1-0", action="store_true", help="write the records as version 0.1.0 does")
    options = parser.parse_args()
    grown = False
    with tempfile.TemporaryDirectory() as folder:
        for store, open_folder in stores(Path(folder)):
            medians: dict[str, list[float]] = {}
            place, written = open_folder("videos"), 0
            for count in options.counts:
                write(place, range(written, count), by_0_1_0=options.by_0_1_0)
                written = count
                for name, look_up in look_ups(place).items():
                    first = seconds(look_up)
                    for _ in range(count // MAX_REMOVALS if options.by_0_1_0 else 0):
                        look_up()
                    median = statistics.median(seconds(look_up) for _ in range(options.rounds))
                    medians.setdefault(name, []).append(median)
                    print(
                        f"{store:6} {name:13} {count:7,} records: {1000 * median:8.2f} ms, the first {1000 * first:9.0f} ms",
                        flush=True,
                    )
            for name, values in medians.items():
                ratio = values[-1] / values[0]
                grown |= ratio > LIMIT
                print(f"{store:6} {name:13} {options.counts[0]:,} to {options.counts[-1]:,}: {ratio:.2f}x")
    return int(grown)


if __name__ == "__main__":
    sys.exit(main())
