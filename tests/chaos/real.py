# SPDX-License-Identifier: Apache-2.0
"""The chaos rows that need processes: one real Airflow on PostgreSQL, and everything that may end a task from outside.

All rows take place at once. The emulator's clock belongs to this process: renders run for hours of it, and end when
everything has happened that had to happen while they ran.
"""

from __future__ import annotations

import contextlib
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.harness.api import run_path
from tests.harness.emulator import Clock, HoldingEmulator
from tests.harness.lab import Tally, landed_files
from tests.harness.servers import PostgresServer
from tests.harness.stack import AirflowStack

LONG, SHORT = 9000.0, 12.0
"""Seconds of a render; the emulator keeps it in its queue for a fifth of them."""
ANSWER_SECONDS = 300
"""Seconds to wait for an answer of the API: a slow machine takes some to start all tasks whose answers are kept."""
ASKED = re.compile(r"refused to cancel|did not say whether|is cancelled\.")
"""What a trigger logs when it has asked the API to cancel its render."""
PATIENCE = 300.0
"""Seconds to wait for anything of Airflow's; far more than it takes on an idle machine."""
DAGS = """
from __future__ import annotations

import os
from datetime import timedelta

from airflow.sdk import DAG
from airflow_provider_jimeng.operators.rescue import JimengRescueOperator
from airflow_provider_jimeng.operators.video import JimengGenerateVideoOperator

COMMON = {"retries": 4, "retry_delay": timedelta(seconds=1), "poll_interval": 2}


class ExitsBeforeRecord(JimengGenerateVideoOperator):
    def hook_for(self, jimeng_conn_id):
        hook = super().hook_for(jimeng_conn_id)
        submit = hook.submit

        def submit_and_exit(*arguments):
            submit(*arguments)
            os._exit(9)

        hook.submit = submit_and_exit
        return hook


class ExitsAfterRecord(JimengGenerateVideoOperator):
    def announce(self, context, render, **more):
        if context["ti"].try_number == 1:
            os._exit(9)
        super().announce(context, render, **more)


for name, (kind, options) in __SINGLE__.items():
    with DAG(f"chaos_{name}", schedule=None):
        globals()[kind](
            task_id="render", prompt=f"{name}: a kite", output_path=f"file://__HOME__/videos/{name}/",
            **{"deferrable": True, **COMMON, **options},
        )

for name, count in __MAPPED__.items():
    with DAG(f"chaos_{name}", schedule=None, max_active_tasks=500):
        JimengGenerateVideoOperator.partial(
            task_id="render", output_path=f"file://__HOME__/videos/{name}/", deferrable=True, **COMMON
        ).expand(prompt=[f"{name}: a kite, number {i}" for i in range(count)])

with DAG("chaos_rescue", schedule=None):
    JimengRescueOperator(
        task_id="rescue", output_path="{{ dag_run.conf['folder'] }}", dag_id="{{ dag_run.conf['dag_id'] }}",
        wait_timeout=60,
    )
"""
MARKED = {"marked_failed": "failed", "marked_success": "success", "marked_queued": "failed"}
GENERATE = "JimengGenerateVideoOperator"
SINGLE: dict[str, tuple[str, dict[str, Any]]] = {
    "marked_failed": (GENERATE, {}),
    "marked_success": (GENERATE, {}),
    "marked_queued": (GENERATE, {}),
    "cleared": (GENERATE, {}),
    "run_deleted": (GENERATE, {}),
    "worker_killed": (GENERATE, {"deferrable": False}),
    "exit_before_record": ("ExitsBeforeRecord", {}),
    "exit_after_record": ("ExitsAfterRecord", {}),
}
DEFERRED = (*MARKED, "cleared", "run_deleted", "exit_after_record")
MOVED = ("triggerer_terminated", "triggerer_killed", "triggerer_stopped")
MAPPED = dict.fromkeys(MOVED, 4)
QUICK = {
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
    "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "15",
}
"""Settings of Airflow with which it notices sooner what has ended."""


def wait_until(ready: Callable[[], Any], what: str, seconds: float = PATIENCE, *, pause: float = 0.5) -> Any:
    """Wait for a true answer and return it."""
    deadline = time.monotonic() + seconds
    while not (found := ready()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(pause)
    return found


@dataclass(slots=True)
class Site:
    """A running Airflow, the emulator it pays, and where the videos go."""

    home: Path
    airflow: AirflowStack
    postgres: PostgresServer
    emulator: HoldingEmulator
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

    def files(self, name: str) -> dict[str, bytes]:
        """Return every file of a row on this machine's disk that has its final name."""
        folder = self.home / "videos" / name
        found = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".part"))
        return {str(path.relative_to(folder)): path.read_bytes() for path in found}

    def tally(self, name: str, state: str, everything: dict[str, bytes] | None = None) -> Tally:
        """Count what one DAG was accepted, billed and landed; none of its renders may still run.

        `everything` is what lies in the store that the row writes to, if that is not this machine's disk.
        """
        mine = self.bill_of(name)
        assert not any(line["status"] in ("in_queue", "generating") for line in mine)
        everything = self.files(name) if everything is None else everything
        files = {path: data for path, data in everything.items() if not path.endswith(".part")}
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

    def trigger_logs(self, name: str, job: int | str = "*") -> list[str]:
        """Return what triggerers, or the one of a job, logged of each trigger of a row."""
        logs = (self.home / "airflow" / "logs" / f"dag_id=chaos_{name}").rglob(f"*.trigger.{job}.log")
        return [log.read_text() for log in logs]

    def said(self, name: str) -> str:
        """Return all that was logged of a row's triggers."""
        return "\n".join(self.trigger_logs(name))

    def kill_worker(self, name: str) -> None:
        """Kill the process that runs a task, and the one that supervises it."""
        wait_until(lambda: self.bill_of(name), f"{name} has paid")
        time.sleep(2)
        process = psutil.Process(self.tasks(name)[0]["pid"])
        for victim in (process.parent(), process):
            if victim is not None:
                with contextlib.suppress(psutil.NoSuchProcess):
                    victim.send_signal(signal.SIGKILL)


def chaos_dags(mapped: dict[str, int]) -> str:
    """Return the file with the DAGs of the chaos rows."""
    return DAGS.replace("__SINGLE__", repr(SINGLE)).replace("__MAPPED__", repr(mapped))


@contextmanager
def open_site(
    home: Path, *dag_files: str, triggerers: int, settings: dict[str, str] = QUICK, parallelism: int = 8
) -> Iterator[Site]:
    """Start PostgreSQL, the emulator and Airflow with DAG files, in whose text `__HOME__` stands for `home`."""
    dags = home / "dags"
    dags.mkdir(parents=True)
    for number, text in enumerate(dag_files):
        (dags / f"chaos_{number}.py").write_text(text.replace("__HOME__", str(home)))
    clock = Clock()
    emulator = HoldingEmulator(render_seconds=LONG, clock=clock, max_skew_seconds=None)
    env = {
        "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "500",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_POOL_SIZE": "15",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_MAX_OVERFLOW": "15",
        **{f"AIRFLOW__{name}": value for name, value in settings.items()},
    }
    with (
        PostgresServer(home=home) as postgres,
        emulator.serve() as server,
        AirflowStack(
            home / "airflow", dags, db=postgres.url, triggerers=triggerers, env=env, parallelism=parallelism
        ) as airflow,
    ):
        airflow.add_connection(
            "jimeng_default",
            "jimeng",
            {"timeout_seconds": ANSWER_SECONDS},
            host=server.url,
            login=emulator.keyring.access_key,
            password=emulator.keyring.secret_key,
        )
        yield Site(home=home, airflow=airflow, postgres=postgres, emulator=emulator, clock=clock)


def perform(site: Site) -> dict[str, Tally]:
    """Do everything at once that can be; return a tally by the slug of the row."""
    for name in (*SINGLE, *MOVED):
        site.start(name)
    site.kill_worker("worker_killed")
    for name in (*DEFERRED, *MOVED):
        site.wait_deferred(name)
    _wait_for_polls(site)
    _mark(site, "marked_queued")
    site.clock.ahead += LONG / 2  # from here on the others are generated
    _end_tasks(site)
    _end_triggerers(site)
    site.clock.ahead += LONG
    return _count(site)


def _wait_for_polls(site: Site) -> None:
    """Wait until a trigger has asked for each of the single renders, since it can only cancel what it holds."""

    def polled() -> bool:
        return all(line["queries"] for name in DEFERRED for line in site.bill_of(name))

    wait_until(polled, "every render is polled")


def _mark(site: Site, name: str) -> None:
    """Mark a task as a person does, and wait until its trigger has said what became of the render."""
    site.airflow.set_state(f"chaos_{name}", site.runs[name], "render", MARKED[name])
    wait_until(lambda: ASKED.search(site.said(name)), f"the render of {name} is to be cancelled")


def _end_tasks(site: Site) -> None:
    """End tasks as people do; the API refuses to cancel what it has begun."""
    _mark(site, "marked_failed")
    _mark(site, "marked_success")
    site.airflow.clear("chaos_cleared", site.runs["cleared"])
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
    site.signal(stopped, signal.SIGCONT)

    def let_go() -> bool:
        """Has the triggerer that came back taken the loss of its triggers for a kill, and done with them?"""
        texts = site.trigger_logs("triggerer_stopped", stopped["id"])
        return bool(texts) and all(
            "invoking on_kill" in text and "trigger completed" in text for text in texts
        )

    wait_until(let_go, "the triggerer that came back lets go of its triggers")
    if ASKED.search(site.said("triggerer_stopped")):
        raise AssertionError("a triggerer that came back cancelled renders that another one had taken over")


def _count(site: Site) -> dict[str, Tally]:
    """Bring every row to its end; those that a person ended are counted, and then cleared or rescued."""
    airflow = site.airflow
    folder = (site.home / "videos" / "run_deleted").as_uri() + "/"
    tallies = {"run_deleted": site.tally("run_deleted", "–")}
    rescue = airflow.trigger("chaos_rescue", {"folder": folder, "dag_id": "chaos_run_deleted"})
    for name in MARKED:
        tallies[name] = site.finish(name)
        airflow.clear(f"chaos_{name}", site.runs[name])
    for name in ("cleared", "worker_killed", "exit_before_record", "exit_after_record", *MOVED):
        tallies[name] = site.finish(name)
    for name in MARKED:
        tallies[f"{name}_cleared"] = site.finish(name)
    tallies["run_deleted_rescued"] = site.tally("run_deleted", airflow.wait("chaos_rescue", rescue))
    return tallies


def many(site: Site, count: int) -> dict[str, Any]:
    """Run `count` mapped renders of 12 s and kill a triggerer that holds some, when half of them are deferred or done."""
    site.emulator.render_seconds = SHORT
    started = time.monotonic()
    site.start("many")

    def busiest() -> str | None:
        """Name the triggerer that holds most triggers, once half of the renders are paid for."""
        held = [job["unixname"] for job in site.holders("many")]
        return max(set(held), key=held.count) if held and len(site.bill_of("many")) >= count / 2 else None

    killed = wait_until(busiest, "half of the renders are paid for", PATIENCE + 30 * count, pause=2.0)
    site.airflow.kill_triggerer(int(killed.rpartition("-")[2]), signal.SIGKILL)
    state = site.airflow.wait("chaos_many", site.runs["many"], timeout=PATIENCE + 30 * count)
    seconds = time.monotonic() - started
    rows = site.tasks("many")
    return {
        "killed": killed,
        "tally": site.tally("many", state),
        "failed": sum(row["state"] != "success" for row in rows),
        "tries": sum(row["try_number"] for row in rows),
        "seconds": round(seconds),
    }
