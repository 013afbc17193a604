# SPDX-License-Identifier: Apache-2.0
"""Measure what a mapped task pays for the list that it is mapped over, with Airflow's own API and client.

    python benchmarks/mapped_rows.py [--rows 200 2000 20000] [--postgres]

Airflow keeps the rows of a plan as one XCom. Each start of a worker fetches the whole list and takes one row of it. A
render starts a worker about three times: to submit, perhaps again to submit, and to save. The script stores the list in a
database and fetches it as a worker does. Not measured: the network, and the start of the worker itself.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

STARTS = 3
PROMPTS = {
    "English, 80 characters": "a paper boat sails down a rainy street at dusk, slow dolly in, warm light. {:05}"
}
PROMPTS["Chinese, 400 characters"] = "一只纸船沿着雨中的街道缓缓漂流。" * 25 + "{:05}"


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[200, 2_000, 20_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--postgres", action="store_true")
    options = parser.parse_args()
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jimeng-rows-")))
        place_database(home, stack, postgres=options.postgres)
        for name, prompt in PROMPTS.items():
            for rows in options.rows:
                measure(name, prompt, rows, options.rounds)
    print(f"load average {os.getloadavg()[0]:.1f}")
    return 0


def place_database(home: Path, stack: ExitStack, *, postgres: bool) -> None:
    """Make Airflow use an empty database. Call this before Airflow is imported."""
    from tests.harness.database import migrate, place_sqlite
    from tests.harness.servers import PostgresServer

    os.environ |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
    }
    if postgres:
        url = stack.enter_context(PostgresServer(home=home / "postgres")).url
        os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = url
        migrate(dict(os.environ))
    else:
        place_sqlite(home / "airflow.db")


def measure(name: str, prompt: str, count: int, rounds: int) -> None:
    """Store the output of a plan, fetch it some times, and print what one fetch and a whole campaign cost."""
    from airflow.sdk.api.client import Client
    from airflow.sdk.execution_time.supervisor import in_process_api_server

    output = [row_of(prompt.format(number)) for number in range(count)]
    run_id = store(output)
    received: list[int] = []
    client = Client(base_url=None, token="", dry_run=True, transport=in_process_api_server().transport)
    client.base_url = "http://in-process.invalid./"
    client.event_hooks["response"].append(lambda response: received.append(len(response.read())))
    wall, cpu = [], []
    for _ in range(rounds):
        began, began_cpu = time.perf_counter(), time.process_time()
        found = client.xcoms.get("ads", run_id, "plan", "return_value", map_index=-1)
        value: Any = found.value
        value = json.loads(value) if isinstance(value, str) else value
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - began_cpu)
        if len(value) != count:
            raise SystemExit(f"{len(value)} of {count} rows came back")
    seconds, megabytes = statistics.median(wall), received[-1] / 1e6
    print(
        f"| {name} | {count:,} | {megabytes:.2f} MB | {seconds:.3f} s | {statistics.median(cpu):.3f} s "
        f"| {STARTS * count * megabytes / 1000:,.2f} GB | {STARTS * count * seconds / 60:,.1f} min |",
        flush=True,
    )


def row_of(prompt: str) -> dict[str, Any]:
    """Return the arguments that a plan gives one render."""
    return {
        "model": "t2v_720p",
        "duration": 5,
        "seed": -1,
        "take": 1,
        "prompt": prompt,
        "output_path": "s3://videos/spring-campaign/2026-03-01/",
        "reuse": "output_path",
        "output_conn_id": "campaign_bucket",
    }


def store(output: list[dict[str, Any]]) -> str:
    """Store the output of a plan as Airflow does; return the id of its run."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    from tests.web.records import Records

    run_id = f"run_{time.time_ns()}"
    with create_session(scoped=False) as session:
        Records(session).add(dag_id="ads", run_id=run_id, task_id="plan")
        XComModel.set("return_value", output, dag_id="ads", run_id=run_id, task_id="plan", session=session)
        session.commit()
    return run_id


if __name__ == "__main__":
    sys.exit(main())
