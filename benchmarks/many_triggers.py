# SPDX-License-Identifier: Apache-2.0
"""Measure how the CPU time of one poll grows from 200 to 5,000 triggers in one process.

    python benchmarks/many_triggers.py [--rounds 3] [--seconds 15] [--rate 250]

Each turn runs ``JimengRenderTrigger`` in a new process. The triggers poll a local server in another process, which counts
the requests. Both sizes send the same number of requests per second, so each of the 5,000 triggers polls 25 times less
often. The connection allows more requests per second than the triggers send, so the limiter never waits. The figure is
the CPU time of the process divided by the counted requests, after every trigger has polled once. The sizes take turns,
and the ratio is that of the medians.
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
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.poll_server import measure, serve
from benchmarks.trigger_cpu import environment, first_event

FEW, MANY = 200, 5000
MOST_GROWTH = 1.2


def triggers(count: int, rate: float) -> list[Any]:
    """Return the runs of ``count`` triggers, which together poll ``rate`` times per second from the start."""
    from airflow_provider_jimeng.triggers.render import JimengRenderTrigger

    now, interval = time.time(), count / rate
    return [
        first_event(
            JimengRenderTrigger(
                render_id=str(7_000_000_000_000_000_000 + number),
                req_key="jimeng_t2v_v30",
                deadline=now + 6 * 3600,
                poll_interval=interval,
                first_poll_at=now + 1 + interval * number / count,
            )
        )
        for number in range(count)
    ]


async def one_turn(count: int, port: int, seconds: float, rate: float) -> None:
    # After this time, every trigger has polled once and has logged the answer.
    warm_up = count / rate + 5
    print(json.dumps(await measure(triggers(count, rate), port, seconds, warm_up)), flush=True)


def turn(count: int, port: int, options: argparse.Namespace) -> dict[str, float]:
    """Measure one size in a separate process, and return its figures."""
    env = {**os.environ, **environment(port), "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"}
    command = [sys.executable, __file__, "--turn", str(count), "--port", str(port)]
    command += ["--seconds", str(options.seconds), "--rate", str(options.rate)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise SystemExit(f"{count} triggers failed:\n{done.stdout[-500:]}{done.stderr[-2000:]}")
    return dict(json.loads(lines[-1]))


def compare(options: argparse.Namespace) -> None:
    server = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        port = int(server.stdout.readline())
        found: dict[int, list[dict[str, float]]] = {FEW: [], MANY: []}
        for _ in range(options.rounds):
            for count, turns in found.items():
                turns.append(turn(count, port, options))
    finally:
        server.terminate()
        server.wait()
    medians = {count: statistics.median(each["ms"] for each in turns) for count, turns in found.items()}
    for count, turns in found.items():
        each = [one["ms"] for one in turns]
        rate = statistics.median(one["requests_per_second"] for one in turns)
        print(
            f"{count:5} triggers  {medians[count]:.3f} ms CPU per poll ({min(each):.3f} to {max(each):.3f}), {rate:.0f} polls/s"
        )
    growth = medians[MANY] / medians[FEW]
    print(f"growth          {growth:.2f} (at most {MOST_GROWTH})")
    assert growth <= MOST_GROWTH


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=15.0)
    options.add_argument(
        "--rate", type=float, default=250.0, help="polls per second of all triggers together"
    )
    options.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options.add_argument("--turn", type=int, help=argparse.SUPPRESS)
    options.add_argument("--port", type=int, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.serve:
        asyncio.run(serve())
    elif given.turn:
        asyncio.run(one_turn(given.turn, given.port, given.seconds, given.rate))
    else:
        compare(given)


if __name__ == "__main__":
    main()
