"""The chaos rows that need processes: one real Airflow on PostgreSQL, and everything that may end a task from outside.

All rows take place at once. The emulator's clock belongs to this process: renders run for hours of it, and end when
everything has happened that had to happen while they ran.
"""

from __future__ import annotations

import contextlib
import signal
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from airflow_provider_jimeng.emulator import JimengEmulator
from tests.chaos.lab import Clock, Tally, landed_files
from tests.harness.api import run_path
from tests.harness.servers import PostgresServer
from tests.harness.stack import AirflowStack

RENDER_SECONDS = {"short": 12.0, "long": 3600.0, "queued": 36_000.0}
PATIENCE = 300.0
"""Seconds to wait for anything of Airflow's; far more than it takes on an idle machine."""
DAGS = """
from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG
from airflow_provider_jimeng.operators.rescue import JimengRescueOperator
from airflow_provider_jimeng.operators.video import JimengGenerateVideoOperator

COMMON = {"retries": 4, "retry_delay": timedelta(seconds=1), "poll_interval": 2}

for name, (length, options) in __SINGLE__.items():
    with DAG(f"chaos_{name}", schedule=None):
        JimengGenerateVideoOperator(
            task_id="render", prompt=f"{name}: a {length} kite", output_path=f"__VIDEOS__/{name}/",
            **{"deferrable": True, **COMMON, **options},
        )

for name, (length, count) in __MAPPED__.items():
    with DAG(f"chaos_{name}", schedule=None, max_active_tasks=500):
        JimengGenerateVideoOperator.partial(
            task_id="render", output_path=f"__VIDEOS__/{name}/", deferrable=True, **COMMON
        ).expand(prompt=[f"{name}: a {length} kite, number {i}" for i in range(count)])

with DAG("chaos_rescue", schedule=None):
    JimengRescueOperator(
        task_id="rescue", output_path="{{ dag_run.conf['folder'] }}", dag_id="{{ dag_run.conf['dag_id'] }}",
        wait_timeout=60,
    )
"""
MARKED = {"marked_failed": "failed", "marked_success": "success", "marked_queued": "failed"}
SINGLE: dict[str, tuple[str, dict[str, Any]]] = {
    "marked_failed": ("long", {}),
    "marked_success": ("long", {}),
    "marked_queued": ("queued", {}),
    "cleared": ("long", {}),
    "run_deleted": ("long", {}),
    "worker_killed": ("long", {"deferrable": False}),
}
DEFERRED = tuple(name for name, (_, options) in SINGLE.items() if not options)
MOVED = ("triggerer_terminated", "triggerer_killed", "triggerer_stopped")
MAPPED = dict.fromkeys(MOVED, ("long", 4))


def wait_until(ready: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Wait for a true answer and return it."""
    deadline = time.monotonic() + seconds
    while not (found := ready()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.5)
    return found


@dataclass(slots=True)
class Site:
    """A running Airflow, the emulator it pays, and where the videos go."""

    home: Path
    airflow: AirflowStack
    emulator: JimengEmulator
    clock: Clock
    runs: dict[str, str] = field(default_factory=dict)

    def start(self, name: str) -> None:
        """Start a run of `chaos_<name>`."""
        self.runs[name] = self.airflow.trigger(f"chaos_{name}")

    def tasks(self, name: str) -> list[dict[str, Any]]:
        """Return the task instances of a row."""
        return self.airflow.task_instances(f"chaos_{name}", self.runs[name])

    def finish(self, name: str, seconds: float = PATIENCE) -> Tally:
        """Wait for a run's end and count."""
        return self.tally(name, self.airflow.wait(f"chaos_{name}", self.runs[name], timeout=seconds))

    def bill_of(self, name: str) -> list[dict[str, Any]]:
        """Return what the emulator knows of a row's renders."""
        lines = self.emulator.bill()["by_task"].values()
        return [line for line in lines if line["prompt"].startswith(f"{name}:")]

    def tally(self, name: str, state: str) -> Tally:
        """Count what one DAG was accepted, billed and landed; none of its renders may still run."""
        mine = self.bill_of(name)
        assert not any(line["status"] in ("in_queue", "generating") for line in mine)
        folder = self.home / "videos" / name
        files = {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and not path.name.endswith(".part")
        }
        billed = sum(line["billed"] for line in mine)
        return Tally(accepted=len(mine), billed=billed, landed=len(landed_files(files)), state=state)

    def wait_deferred(self, name: str) -> None:
        """Wait until every render of a row is paid for and its task deferred."""

        def deferred() -> bool:
            return all(row["state"] == "deferred" for row in self.tasks(name)) and bool(self.bill_of(name))

        wait_until(deferred, f"every task of {name} is deferred")

    def holders(self, name: str) -> list[dict[str, Any]]:
        """Return the jobs of the triggerers that hold a row's triggers, as far as any does."""
        return [row["triggerer_job"] for row in self.tasks(name) if row["triggerer_job"]]

    def strike(self, name: str, number: signal.Signals, spared: set[str]) -> dict[str, Any]:
        """Signal a triggerer that holds triggers of a row; return its job. Those spared are ended already."""

        def held() -> list[dict[str, Any]]:
            return [job for job in self.holders(name) if job["unixname"] not in spared]

        job = dict(wait_until(held, f"a living triggerer holds triggers of {name}")[0])
        self.signal(job, number)
        spared.add(job["unixname"])
        return job

    def signal(self, job: dict[str, Any], number: signal.Signals) -> None:
        """Send a signal to the triggerer of a job."""
        self.airflow.kill_triggerer(int(job["unixname"].rpartition("-")[2]), number)

    def wait_moved(self, name: str, job: dict[str, Any]) -> None:
        """Wait until every trigger of a row is with another triggerer."""

        def moved() -> bool:
            holders = [holder["id"] for holder in self.holders(name)]
            return len(holders) == len(self.tasks(name)) and job["id"] not in holders

        wait_until(moved, f"the triggers of {name} are taken over")

    def kill_worker(self, name: str) -> None:
        """Kill the process that runs a task, and the one that supervises it."""
        wait_until(lambda: self.bill_of(name), f"{name} has paid")
        time.sleep(2)
        process = psutil.Process(self.tasks(name)[0]["pid"])
        for victim in (process.parent(), process):
            if victim is not None:
                with contextlib.suppress(psutil.NoSuchProcess):
                    victim.send_signal(signal.SIGKILL)


@contextmanager
def open_site(home: Path, mapped: dict[str, tuple[str, int]], *, triggerers: int) -> Iterator[Site]:
    """Start PostgreSQL, the emulator and Airflow with the chaos DAGs."""
    dags = home / "dags"
    dags.mkdir(parents=True)
    text = DAGS.replace("__VIDEOS__", (home / "videos").as_uri()).replace("__SINGLE__", repr(SINGLE))
    (dags / "chaos.py").write_text(textwrap.dedent(text.replace("__MAPPED__", repr(mapped))))
    clock = Clock()
    emulator = JimengEmulator(
        render_seconds=0.5,
        clock=clock,
        max_skew_seconds=None,
        faults=[
            {"where": "render", "what": "slow", "seconds": seconds, "prompt_contains": f"a {length} kite"}
            for length, seconds in RENDER_SECONDS.items()
        ],
    )
    env = {
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "15",
        "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "500",
    }
    with (
        PostgresServer(home=home) as postgres,
        emulator.serve() as server,
        AirflowStack(
            home / "airflow", dags, db=postgres.url, triggerers=triggerers, env=env, parallelism=8
        ) as airflow,
    ):
        keys = {"login": emulator.keyring.access_key, "password": emulator.keyring.secret_key}
        airflow.add_connection("jimeng_default", "jimeng", host=server.url, **keys)
        yield Site(home=home, airflow=airflow, emulator=emulator, clock=clock)


def perform(site: Site) -> dict[str, Tally]:
    """Do everything at once that can be; return a tally by the slug of the row."""
    for name in (*SINGLE, *MOVED):
        site.start(name)
    site.kill_worker("worker_killed")
    for name in (*DEFERRED, *MOVED):
        site.wait_deferred(name)
    site.clock.ahead += (
        RENDER_SECONDS["long"] / 2
    )  # from here on they are generated; the longest one is queued
    _wait_for_polls(site)
    _end_tasks(site)
    _end_triggerers(site)
    site.clock.ahead += RENDER_SECONDS["long"]
    return _count(site)


def _wait_for_polls(site: Site) -> None:
    """Wait until a trigger has asked for each of the single renders, since it can only cancel what it holds."""

    def polled() -> bool:
        return all(line["queries"] for name in DEFERRED for line in site.bill_of(name))

    wait_until(polled, "every render is polled")


def _end_tasks(site: Site) -> None:
    """End tasks as people do, and see what the triggers make of it: one render of three can still be cancelled."""
    for name, state in MARKED.items():
        site.airflow.set_state(f"chaos_{name}", site.runs[name], "render", state)
    site.airflow.clear("chaos_cleared", site.runs["cleared"])
    wait_until(
        lambda: site.emulator.bill()["cancels"] == len(MARKED), "the renders of marked tasks are cancelled"
    )
    doomed = run_path("chaos_run_deleted", site.runs["run_deleted"])
    site.airflow.api.call("PATCH", doomed, json={"state": "failed"})  # Airflow deletes no run that is running
    site.airflow.api.call("DELETE", doomed)


def _end_triggerers(site: Site) -> None:
    """End three of four triggerers that hold triggers; each time others take them over, at last all by one."""
    ended: set[str] = set()
    terminated = site.strike("triggerer_terminated", signal.SIGTERM, ended)
    killed = site.strike("triggerer_killed", signal.SIGKILL, ended)
    stopped = site.strike("triggerer_stopped", signal.SIGSTOP, ended)
    for name, job in zip(MOVED, (terminated, killed, stopped), strict=True):
        site.wait_moved(name, job)
    cancels = site.emulator.bill()["cancels"]
    site.signal(stopped, signal.SIGCONT)
    wait_until(
        lambda: _believes_in_kill(site, stopped), "the triggerer that came back lets go of its triggers"
    )
    if site.emulator.bill()["cancels"] != cancels:
        raise AssertionError("a triggerer that came back cancelled renders that another one had taken over")


def _believes_in_kill(site: Site, job: dict[str, Any]) -> bool:
    """Has a triggerer taken the loss of its triggers for a kill, and done with them?"""
    logs = (site.home / "airflow" / "logs" / "dag_id=chaos_triggerer_stopped").rglob(
        f"*.trigger.{job['id']}.log"
    )
    texts = [log.read_text() for log in logs]
    return bool(texts) and all("invoking on_kill" in text and "trigger completed" in text for text in texts)


def _count(site: Site) -> dict[str, Tally]:
    """Bring every row to its end; those that a person ended are counted, and then cleared or rescued."""
    airflow = site.airflow
    folder = (site.home / "videos" / "run_deleted").as_uri() + "/"
    tallies = {"run_deleted": site.tally("run_deleted", "–")}
    rescue = airflow.trigger("chaos_rescue", {"folder": folder, "dag_id": "chaos_run_deleted"})
    for name in MARKED:
        tallies[name] = site.finish(name)
        airflow.clear(f"chaos_{name}", site.runs[name])
    for name in ("cleared", "worker_killed", *MOVED):
        tallies[name] = site.finish(name)
    for name in MARKED:
        tallies[f"{name}_cleared"] = site.finish(name)
    tallies["run_deleted_rescued"] = site.tally("run_deleted", airflow.wait("chaos_rescue", rescue))
    return tallies


def many(site: Site, count: int) -> dict[str, Any]:
    """Run `count` mapped renders of 12 s and kill a triggerer that holds some, when half of them are deferred or done."""
    started = time.monotonic()
    site.start("many")
    killed = None

    def strike(rows: list[dict[str, Any]]) -> None:
        nonlocal killed
        away = sum(row["state"] in ("deferred", "success") for row in rows)
        held = [row["triggerer_job"]["unixname"] for row in rows if row["triggerer_job"]]
        if killed is None and held and away >= count / 2:
            killed = max(set(held), key=held.count)
            site.airflow.kill_triggerer(int(killed.rpartition("-")[2]), signal.SIGKILL)

    state = site.airflow.wait("chaos_many", site.runs["many"], timeout=PATIENCE + 30 * count, progress=strike)
    seconds = time.monotonic() - started
    rows = site.tasks("many")
    return {
        "killed": killed,
        "tally": site.tally("many", state),
        "failed": sum(row["state"] != "success" for row in rows),
        "tries": sum(row["try_number"] for row in rows),
        "seconds": round(seconds),
    }
