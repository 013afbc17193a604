"""The chaos rows that need processes: one real Airflow on PostgreSQL, and everything that may end a task from outside."""

from __future__ import annotations

import contextlib
import json
import signal
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.chaos.lab import Tally, landed_files
from tests.chaos.rows import PROCESS_ROWS, Row
from tests.harness.api import run_path
from tests.harness.emulator import EmulatorServer
from tests.harness.servers import PostgresServer
from tests.harness.stack import AirflowStack

RENDER_SECONDS = {"short": 12.0, "medium": 45.0, "long": 140.0}
DAGS = """
from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG
from airflow_provider_jimeng.operators.rescue import JimengRescueOperator
from airflow_provider_jimeng.operators.video import JimengGenerateVideoOperator

COMMON = {"retries": 2, "retry_delay": timedelta(seconds=1), "poll_interval": 2}

def render(name, length, **options):
    with DAG(f"chaos_{name}", schedule=None):
        JimengGenerateVideoOperator(
            task_id="render", prompt=f"{name}: a {length} kite", output_path=f"__VIDEOS__/{name}/",
            **{"deferrable": True, **COMMON, **options},
        )

for name, length in __SINGLE__.items():
    render(name, length)
render("worker_killed", "medium", deferrable=False)

for name, (length, count) in __MAPPED__.items():
    with DAG(f"chaos_{name}", schedule=None, max_active_tasks=500):
        JimengGenerateVideoOperator.partial(
            task_id="render", output_path=f"__VIDEOS__/{name}/", deferrable=True, **COMMON
        ).expand(prompt=[f"{name}: a {length} kite, number {i}" for i in range(count)])

with DAG("chaos_rescue", schedule=None):
    JimengRescueOperator(
        task_id="rescue", output_path="{{ dag_run.conf['folder'] }}", dag_id="{{ dag_run.conf.get('dag_id') }}",
        wait_timeout=300,
    )
"""
SINGLE = dict.fromkeys(("marked_failed", "marked_success", "cleared", "run_deleted"), "long")


@dataclass(slots=True)
class Site:
    """A running Airflow, the emulator it pays, and where the videos go."""

    home: Path
    airflow: AirflowStack
    emulator: EmulatorServer
    runs: dict[str, str] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    jobs: list[int] = field(default_factory=list)

    def start(self, name: str) -> None:
        """Start a run of `chaos_<name>`."""
        self.runs[name] = self.airflow.trigger(f"chaos_{name}")

    def wait_deferred(self, name: str, count: int = 1) -> None:
        """Wait until so many of its renders are paid for and deferred."""
        deadline = time.monotonic() + 240
        while True:
            rows = self.airflow.task_instances(f"chaos_{name}", self.runs[name])
            if sum(row["state"] == "deferred" for row in rows) >= count:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"chaos_{name}: {[row['state'] for row in rows]}")
            time.sleep(0.5)

    def finish(self, name: str, timeout: float = 300) -> str:
        """Wait for the run's end; return its state."""
        self.states[name] = self.airflow.wait(f"chaos_{name}", self.runs[name], timeout=timeout)
        return self.states[name]

    def tally(self, name: str, state: str) -> Tally:
        """Count what one DAG was accepted, billed and landed, once none of its renders runs any more."""
        deadline = time.monotonic() + 200
        while True:
            mine = [
                line
                for line in self.emulator.bill()["by_task"].values()
                if line["prompt"].startswith(f"{name}:")
            ]
            if not any(line["status"] in ("in_queue", "generating") for line in mine):
                break
            if time.monotonic() > deadline:
                raise TimeoutError(f"{name} still renders")
            time.sleep(1)
        folder = self.home / "videos" / name
        files = {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and not path.name.endswith(".part")
        }
        billed = sum(line["billed"] for line in mine)
        return Tally(accepted=len(mine), billed=billed, landed=len(landed_files(files)), state=state)

    def start_triggerer(self) -> None:
        """Start one more triggerer and learn the id of its job."""
        known = {job["id"] for job in self._triggerer_jobs()}
        if self.airflow.triggerers and not self.jobs:
            self.jobs = sorted(known)
        self.airflow.start_triggerer()
        deadline = time.monotonic() + 90
        while not (new := {job["id"] for job in self._triggerer_jobs()} - known):
            if time.monotonic() > deadline:
                raise TimeoutError("the new triggerer has no job")
            time.sleep(0.5)
        self.jobs.append(new.pop())

    def _triggerer_jobs(self) -> list[dict[str, Any]]:
        return self.airflow.api.get_all("/jobs", "jobs", job_type="TriggererJob")

    def holders(self, name: str) -> list[int]:
        """Return the job ids of the triggerers that hold a DAG's triggers."""
        rows = self.airflow.task_instances(f"chaos_{name}", self.runs[name])
        return [row["triggerer_job"]["id"] for row in rows if row["triggerer_job"]]

    def strike(self, name: str, number: signal.Signals) -> int:
        """Start a run of four renders and signal a triggerer that holds some of them; return its index."""
        self.start(name)
        self.wait_deferred(name, 4)
        while not (held := self.holders(name)):
            time.sleep(0.5)
        index = self.jobs.index(held[0])
        self.airflow.kill_triggerer(index, number)
        return index

    def wait_moved(self, name: str, index: int) -> None:
        """Wait until no trigger of a DAG is with that triggerer any more."""
        deadline = time.monotonic() + 90
        while self.jobs[index] in self.holders(name) or not self.holders(name):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the triggers of {name} were not taken over")
            time.sleep(1)

    def kill_worker(self, name: str) -> None:
        """Kill the process that runs a task, and the one that supervises it."""
        row = self.airflow.wait_for_task(f"chaos_{name}", self.runs[name], "render", {"running"})
        self._wait_for_submit(name)
        row = self.airflow.task_instances(f"chaos_{name}", self.runs[name])[0]
        process = psutil.Process(row["pid"])
        for victim in (process.parent(), process):
            if victim is not None:
                with contextlib.suppress(psutil.NoSuchProcess):
                    victim.send_signal(signal.SIGKILL)

    def _wait_for_submit(self, name: str) -> None:
        while not any(
            line["prompt"].startswith(f"{name}:") for line in self.emulator.bill()["by_task"].values()
        ):
            time.sleep(0.3)
        time.sleep(2)


@contextmanager
def open_site(home: Path, mapped: dict[str, tuple[str, int]], *, triggerers: int = 2) -> Iterator[Site]:
    """Start PostgreSQL, the emulator and Airflow with the chaos DAGs."""
    dags = home / "dags"
    dags.mkdir(parents=True)
    text = DAGS.replace("__VIDEOS__", (home / "videos").as_uri()).replace("__SINGLE__", repr(SINGLE))
    (dags / "chaos.py").write_text(textwrap.dedent(text.replace("__MAPPED__", repr(mapped))))
    faults = home / "faults.json"
    faults.write_text(
        json.dumps(
            [
                {"where": "render", "what": "slow", "seconds": seconds, "prompt_contains": f"a {length} kite"}
                for length, seconds in RENDER_SECONDS.items()
            ]
        )
    )
    emulator = EmulatorServer(
        home=home, render_seconds=0.5, max_concurrent=0, max_qps=0, options=("--faults", str(faults))
    )
    env = {
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "25",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "15",
        "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "500",
    }
    with (
        PostgresServer(home=home) as postgres,
        emulator,
        AirflowStack(
            home / "airflow", dags, db=postgres.url, triggerers=1, env=env, parallelism=8
        ) as airflow,
    ):
        airflow.add_connection("jimeng_default", "jimeng", **emulator.connection_fields)
        site = Site(home=home, airflow=airflow, emulator=emulator)
        for _ in range(triggerers - 1):
            site.start_triggerer()
        yield site


def perform(site: Site) -> dict[str, Tally]:
    """Do everything at once that can be; return a tally by the slug of the row."""
    airflow = site.airflow
    for name in (*SINGLE, "worker_killed"):
        site.start(name)
    site.kill_worker("worker_killed")
    for name in SINGLE:
        site.wait_deferred(name)
    _wait_for_polls(site)
    for name, state in (("marked_failed", "failed"), ("marked_success", "success")):
        airflow.set_state(f"chaos_{name}", site.runs[name], "render", state)
    airflow.clear("chaos_cleared", site.runs["cleared"])
    _wait_for_cancels(site, 2)
    doomed = run_path("chaos_run_deleted", site.runs["run_deleted"])
    airflow.api.call("PATCH", doomed, json={"state": "failed"})  # Airflow deletes no run that is running
    airflow.api.call("DELETE", doomed)

    _end_triggerers(site)

    tallies = {}
    for name in ("marked_failed", "marked_success"):
        tallies[name] = site.tally(name, site.finish(name))
        airflow.clear(f"chaos_{name}", site.runs[name])
    tallies["run_deleted"] = site.tally("run_deleted", "–")
    folder = (site.home / "videos" / "run_deleted").as_uri() + "/"
    rescue = airflow.trigger("chaos_rescue", {"folder": folder, "dag_id": "chaos_run_deleted"})
    for name in ("marked_failed", "marked_success"):
        tallies[f"{name}_cleared"] = site.tally(name, site.finish(name))
    tallies["run_deleted_rescued"] = site.tally("run_deleted", airflow.wait("chaos_rescue", rescue))
    for name in (
        "cleared",
        "worker_killed",
        "triggerer_terminated",
        "triggerer_killed",
        "triggerer_stopped",
    ):
        tallies[name] = site.tally(name, site.finish(name))
    return tallies


def _wait_for_polls(site: Site) -> None:
    """Wait until a trigger has asked for each of the single renders, and none is queued, so cancelled, any more."""
    deadline = time.monotonic() + 120
    while True:
        lines = [
            line
            for line in site.emulator.bill()["by_task"].values()
            if line["prompt"].partition(":")[0] in SINGLE
        ]
        if len(lines) == len(SINGLE) and all(
            line["queries"] and line["status"] == "generating" for line in lines
        ):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"not every render is polled: {lines}")
        time.sleep(0.5)


def _wait_for_cancels(site: Site, count: int) -> None:
    """Wait until the renders of tasks that a person ended were asked to be cancelled; the API refuses it."""
    deadline = time.monotonic() + 60
    while site.emulator.bill()["cancels"] < count:
        if time.monotonic() > deadline:
            raise TimeoutError("nobody tried to cancel the renders of the tasks that were marked")
        time.sleep(0.5)


def _end_triggerers(site: Site) -> None:
    """End one triggerer after the other that holds triggers; each time others take them over."""
    ended = site.strike("triggerer_terminated", signal.SIGTERM)
    site.start_triggerer()
    site.wait_moved("triggerer_terminated", ended)
    killed = site.strike("triggerer_killed", signal.SIGKILL)
    site.start_triggerer()
    site.wait_moved("triggerer_killed", killed)
    stopped = site.strike("triggerer_stopped", signal.SIGSTOP)
    site.wait_moved("triggerer_stopped", stopped)
    cancels = site.emulator.bill()["cancels"]
    site.airflow.kill_triggerer(stopped, signal.SIGCONT)
    time.sleep(15)
    if site.emulator.bill()["cancels"] != cancels:
        raise AssertionError("a triggerer that came back cancelled renders that another one had taken over")


def expected(row: Row) -> Tally:
    """What a row says."""
    return Tally(accepted=row.accepted, billed=row.billed, landed=row.landed, state=row.state)


def differences(tallies: dict[str, Tally]) -> list[str]:
    """Compare what was counted with the table."""
    return [
        f"{row.slug}: {tallies.get(row.slug)}, but the table says {expected(row)}"
        for row in PROCESS_ROWS
        if tallies.get(row.slug) != expected(row)
    ]


def many(site: Site, count: int) -> dict[str, Any]:
    """Run `count` mapped renders of 12 s and kill a triggerer when half of them are deferred or done."""
    started = time.monotonic()
    site.start("many")
    killed = False
    while True:
        rows = site.airflow.task_instances("chaos_many", site.runs["many"])
        away = sum(row["state"] in ("deferred", "success") for row in rows)
        if not killed and away >= count / 2 and any(row["state"] == "deferred" for row in rows):
            site.airflow.kill_triggerer(0, signal.SIGKILL)
            killed = True
        if site.airflow.run_state("chaos_many", site.runs["many"]) in ("success", "failed"):
            break
        time.sleep(1)
    seconds = time.monotonic() - started
    rows = site.airflow.task_instances("chaos_many", site.runs["many"])
    tally = site.tally("many", site.airflow.run_state("chaos_many", site.runs["many"]))
    return {
        "killed": killed,
        "tally": tally,
        "failed": sum(row["state"] != "success" for row in rows),
        "tries": sum(row["try_number"] for row in rows),
        "seconds": round(seconds),
    }
