# SPDX-License-Identifier: Apache-2.0
"""Measure the CPU time per poll and per finished render, beside a bare httpx client and four other providers.

    make bench-triggers [BENCH_ARGS="--rounds 1 --seconds 4"]

The make target installs the other providers into a separate environment. Each contender runs 200 triggers at once, and
each trigger polls once per second. All contenders poll the same local server, each in its own process. A measurement
begins when every trigger has sent a request. It is the CPU time of the process, divided by the requests that the server
counted. Rounds go A B C … A B C …, and a ratio is the median of the ratios of each round. The URL of the dbt hook is
changed from https to http, because the others do not use TLS either.

Polls per render, and the delay until an end is noticed, come from ``queries.py``: our cadence with two renders at a time,
and the default intervals of the other providers. The last columns compare all at equal delay: each of the others gets
the interval that notices an end as late as ours does.

The script fails if one of our figures is beyond its limit.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.poll_server import measure, serve
from benchmarks.queries import (
    MOST_DELAY,
    MOST_QUERIES,
    ROUNDS,
    adaptive,
    fixed,
    mean_of_rounds,
    uniform_durations,
)

TRIGGERS = 200
POLL_SECONDS = 1.0
REFERENCE = "bare shared httpx.AsyncClient"
OURS, OURS_AIOHTTP = "JimengRenderTrigger", "JimengRenderTrigger, httpx-aiohttp"
MOST_OF_REFERENCE = {OURS: 0.8, OURS_AIOHTTP: 0.6}
DEFAULT_INTERVALS = {
    "DbtCloudRunJobTrigger": 60.0,
    "DatabricksExecutionTrigger": 30.0,
    "OpenAIBatchTrigger": 60.0,
    "AirbyteSyncTrigger": 60.0,
}
"""The default seconds between two polls, in the operators that start these triggers."""
DEARER = ("DbtCloudRunJobTrigger", "OpenAIBatchTrigger")
"""At equal delay, these must use more CPU per render than ours."""


async def first_event(trigger: object) -> None:
    async for _ in trigger.run():
        return


def environment(port: int) -> dict[str, str]:
    base = f"http://127.0.0.1:{port}"
    connections = {
        "JIMENG_DEFAULT": {"conn_type": "jimeng", "host": f"{base}/jimeng/", "login": "AK", "password": "SECRET",
                           "extra": {"max_requests_per_second": 10000}},
        "DBT": {"conn_type": "dbt_cloud", "host": f"127.0.0.1:{port}", "login": "1", "password": "token"},
        "DATABRICKS": {"conn_type": "databricks", "host": "127.0.0.1", "schema": "http", "port": port,
                       "password": "token"},
        "AIRBYTE": {"conn_type": "airbyte", "host": f"{base}/airbyte"},
        "OPENAI": {"conn_type": "openai", "host": f"{base}/v1", "password": "token"},
    }  # fmt: skip
    return {f"AIRFLOW_CONN_{name}": json.dumps(fields) for name, fields in connections.items()}


def jimeng_triggers(port: int) -> list:
    # The others import their hooks at the start, too, so this import must not count as a poll.
    import airflow_provider_jimeng.hooks.connection_cache  # noqa: F401
    from airflow_provider_jimeng.triggers.render import JimengRenderTrigger

    return [
        first_event(
            JimengRenderTrigger(
                render_id=str(7_000_000_000_000_000_000 + i),
                req_key="jimeng_t2v_v30",
                deadline=time.time() + 3600,
                poll_interval=POLL_SECONDS,
            )
        )
        for i in range(TRIGGERS)
    ]


def dbt_triggers(port: int) -> list:
    from airflow.providers.dbt.cloud.hooks.dbt import DbtCloudHook
    from airflow.providers.dbt.cloud.triggers.dbt import DbtCloudRunJobTrigger

    original = DbtCloudHook.get_request_url_params

    def plain(*args: object, **kwargs: object) -> tuple:
        url, params = original(*args, **kwargs)
        return url.replace("https://", "http://", 1), params

    DbtCloudHook.get_request_url_params = staticmethod(plain)
    return [
        first_event(
            DbtCloudRunJobTrigger(
                conn_id="dbt", run_id=i, end_time=time.time() + 3600, poll_interval=POLL_SECONDS, account_id=1
            )
        )
        for i in range(TRIGGERS)
    ]


def databricks_triggers(port: int) -> list:
    from airflow.providers.databricks.triggers.databricks import DatabricksExecutionTrigger

    return [
        first_event(
            DatabricksExecutionTrigger(run_id=i, databricks_conn_id="databricks", polling_period_seconds=1)
        )
        for i in range(TRIGGERS)
    ]


def openai_triggers(port: int) -> list:
    from airflow.providers.openai.triggers.openai import OpenAIBatchTrigger

    return [
        first_event(
            OpenAIBatchTrigger(conn_id="openai", batch_id=f"b{i}", poll_interval=POLL_SECONDS, timeout=3600)
        )
        for i in range(TRIGGERS)
    ]


def airbyte_triggers(port: int) -> list:
    from airflow.providers.airbyte.triggers.airbyte import AirbyteSyncTrigger

    return [
        first_event(
            AirbyteSyncTrigger(
                job_id=i, conn_id="airbyte", end_time=time.time() + 3600, poll_interval=POLL_SECONDS
            )
        )
        for i in range(TRIGGERS)
    ]


def bare_httpx(port: int) -> list:
    import httpx

    client = httpx.AsyncClient(
        limits=httpx.Limits(max_connections=10, max_keepalive_connections=10), trust_env=False
    )
    url = f"http://127.0.0.1:{port}/jimeng/?Action=CVSync2AsyncGetResult&Version=2022-08-31"
    gate = asyncio.Semaphore(8)

    async def loop(i: int) -> None:
        body = b'{"req_key":"jimeng_t2v_v30","task_id":"%d"}' % (7_000_000_000_000_000_000 + i)
        while True:
            async with gate:
                reply = await client.post(url, content=body, headers={"Content-Type": "application/json"})
            json.loads(reply.content)
            await asyncio.sleep(POLL_SECONDS)

    return [loop(i) for i in range(TRIGGERS)]


def bare_socket(port: int) -> list:
    async def loop(i: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = b'{"req_key":"jimeng_t2v_v30","task_id":"%d"}' % (7_000_000_000_000_000_000 + i)
        request = (
            b"POST /jimeng/?Action=CVSync2AsyncGetResult&Version=2022-08-31 HTTP/1.1\r\nHost: x\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        while True:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.split(b"Content-Length: ", 1)[1].split(b"\r\n", 1)[0])
            json.loads(await reader.readexactly(length))
            await asyncio.sleep(POLL_SECONDS)

    return [loop(i) for i in range(TRIGGERS)]


CONTENDERS = {
    "bare asyncio sockets": bare_socket,
    REFERENCE: bare_httpx,
    OURS: jimeng_triggers,
    OURS_AIOHTTP: jimeng_triggers,
    "DbtCloudRunJobTrigger": dbt_triggers,
    "DatabricksExecutionTrigger": databricks_triggers,
    "OpenAIBatchTrigger": openai_triggers,
    "AirbyteSyncTrigger": airbyte_triggers,
}


async def contend(name: str, port: int, seconds: float) -> None:
    print(json.dumps(await measure(CONTENDERS[name](port), port, seconds)), flush=True)


def run(name: str, port: int, seconds: float) -> dict[str, float]:
    env = {**os.environ, **environment(port), "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"}
    if name == OURS_AIOHTTP:
        fields = json.loads(env["AIRFLOW_CONN_JIMENG_DEFAULT"])
        fields["extra"]["transport"] = "aiohttp"
        env["AIRFLOW_CONN_JIMENG_DEFAULT"] = json.dumps(fields)
    command = [sys.executable, __file__, "--contend", name, "--port", str(port), "--seconds", str(seconds)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise SystemExit(f"{name} failed:\n{done.stdout[-500:]}{done.stderr[-2000:]}")
    return json.loads(lines[-1])


@dataclass(frozen=True, slots=True)
class Cpu:
    """The figures of one contender, over all rounds."""

    milliseconds: list[float]
    requests_per_second: float
    of_reference: float | None

    @property
    def median(self) -> float:
        return statistics.median(self.milliseconds)


def compare(rounds: int, seconds: float, names: list[str]) -> dict[str, Cpu]:
    """Measure the contenders in turns, print the CPU time of a poll, and return the figures."""
    server = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    try:
        port = int(server.stdout.readline())
        figures: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for _ in range(rounds):
            for name in names:
                figures[name].append(run(name, port, seconds))
    finally:
        server.terminate()
        server.wait()
    milliseconds = {name: [each["ms"] for each in turns] for name, turns in figures.items()}
    found = {
        name: Cpu(
            milliseconds=milliseconds[name],
            requests_per_second=statistics.median(each["requests_per_second"] for each in turns),
            of_reference=statistics.median(
                mine / its for mine, its in zip(milliseconds[name], milliseconds[REFERENCE], strict=True)
            )
            if REFERENCE in names
            else None,
        )
        for name, turns in figures.items()
    }
    print(f"{TRIGGERS} triggers, {rounds} rounds of {seconds:g} s: CPU per poll")
    print(f"{'':34} {'median':>8} {'min':>7} {'max':>7} {'× httpx':>8} {'polls/s':>8}")
    for name, cpu in found.items():
        low, high = min(cpu.milliseconds), max(cpu.milliseconds)
        ratio = "" if cpu.of_reference is None else f"{cpu.of_reference:.2f}"
        print(
            f"{name:34} {cpu.median:5.2f} ms {low:7.2f} {high:7.2f} {ratio:>8} {cpu.requests_per_second:8.0f}"
        )
    return found


def per_render(contenders: dict[str, Cpu]) -> list[str]:
    """Print the CPU time of a finished render, by default and at equal delay. Return the missed limits."""
    series = [uniform_durations(seed) for seed in range(ROUNDS)]
    polls, delay = mean_of_rounds(lambda durations: adaptive(durations, 2), series)
    equal = 2 * delay  # On average, a fixed interval notices an end after half the interval.
    equal_polls, _ = mean_of_rounds(lambda durations: fixed(durations, equal), series)
    print(
        f"\nRenders of 60 to 240 s: CPU per finished render; equal delay: {delay:.1f} s, an interval of {equal:.1f} s"
    )
    print(
        f"{'':34} {'interval':>9} {'polls':>6} {'delay':>8} {'CPU':>9}   {'polls':>6} {'CPU at equal delay':>18}"
    )
    at_equal: dict[str, float] = {}
    for name, cpu in contenders.items():
        if name in MOST_OF_REFERENCE:
            at_equal[name] = polls * cpu.median
            print(
                f"{name:34} {'by age':>9} {polls:6.1f} {delay:6.1f} s {at_equal[name]:6.1f} ms   "
                f"{polls:6.1f} {at_equal[name]:15.1f} ms"
            )
        elif interval := DEFAULT_INTERVALS.get(name):
            its, late = mean_of_rounds(lambda durations, every=interval: fixed(durations, every), series)
            at_equal[name] = equal_polls * cpu.median
            print(
                f"{name:34} {interval:7.0f} s {its:6.1f} {late:6.1f} s {its * cpu.median:6.1f} ms   "
                f"{equal_polls:6.1f} {at_equal[name]:15.1f} ms"
            )
    missed = [f"polls per render: {polls:.1f}"] if polls > MOST_QUERIES else []
    missed += [f"mean delay: {delay:.1f} s"] if delay > MOST_DELAY else []
    for name, most in MOST_OF_REFERENCE.items():
        if name in contenders and (ratio := contenders[name].of_reference) is not None and ratio > most:
            missed.append(f"{name}: {ratio:.2f} of {REFERENCE}, at most {most}")
    for name in DEARER:
        if name in at_equal and OURS in at_equal and at_equal[OURS] >= at_equal[name]:
            missed.append(f"{OURS} costs as much per render as {name} at equal delay")
    return missed


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=8.0)
    options.add_argument("--only", nargs="*", choices=[*CONTENDERS], metavar="NAME")
    options.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options.add_argument("--contend", help=argparse.SUPPRESS)
    options.add_argument("--port", type=int, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.serve:
        asyncio.run(serve())
    elif given.contend:
        asyncio.run(contend(given.contend, given.port, given.seconds))
    else:
        missed = per_render(compare(given.rounds, given.seconds, given.only or list(CONTENDERS)))
        print("\n".join(["", *(f"MISSED: {each}" for each in missed)]) if missed else "\nwithin the limits")
        raise SystemExit(1 if missed else 0)


if __name__ == "__main__":
    main()
