# SPDX-License-Identifier: Apache-2.0
"""Measure 1,000 tasks that wait for a slot and 50 that wait for a render in one triggerer, against Airflow's triggers.

    python benchmarks/waiting_triggers.py [--waiting 1000] [--polling 50] [--seconds 60]

The script fills two databases with the same deferred task instances of one DAG run. One has ``JimengSlotTrigger`` and
``JimengRenderTrigger``, the other has the same number of ``DateTimeTrigger``. ``airflow triggerer --capacity 1200`` runs
first the one, then the other, with its supervisor, runner process, database, and one log file per trigger. When all
triggers run, the script measures CPU and memory (PSS) of these processes. The renders run on the emulator, and the
trigger itself chooses when to query them.

Meanwhile every callback of the runner's event loop is timed. The time is CPU time of its thread, so that other work on
the machine does not count. The script shows the longest callback for each kind of task. Python's garbage collector can
run inside any callback, and its time on Airflow's own heap is the same with any trigger. So it is shown separately.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.harness.database import place_sqlite
from tests.harness.emulator import EmulatorServer
from tests.harness.processes import Service, free_port, stop_all
from tests.harness.settings import component_environment

CAPACITY = 1200
OPEN_FILES = 4096
MOST_CPU = 0.10
MOST_MEGABYTES = 100
LONGEST_CALLBACK = 0.050
OURS, AIRFLOWS = "ours", "DateTimeTrigger"
REQ_KEY = "jimeng_t2v_v30"

DAG = """
from __future__ import annotations
from airflow.sdk import DAG
from airflow.providers.standard.operators.empty import EmptyOperator

with DAG("waiting", schedule=None):
    EmptyOperator(task_id="wait")
"""

WATCH = '''
"""Record, for each kind of task, each callback of an event loop that took longer than all before it."""
import asyncio.events, gc, json, os, time

_longest, _run = {}, asyncio.events.Handle._run
_collected = [0.0, 0.0]

def collecting(phase, info):
    if phase == "start":
        _collected[0] = time.thread_time()
    else:
        took = time.thread_time() - _collected[0]
        _collected[1] += took
        note("garbage collection", took)

def timed(handle):
    began, collected = time.thread_time(), _collected[1]
    _run(handle)
    took = time.thread_time() - began - (_collected[1] - collected)
    if took > 0.002:
        owner = getattr(handle._callback, "__self__", None)
        name = getattr(owner, "get_name", lambda: "")().rpartition(" (ID")[0]
        task = getattr(owner, "get_coro", lambda: None)()
        label = "trigger" if "/wait/" in name else getattr(task, "__qualname__", type(owner).__name__)
        note(label, took)

def note(label, took):
    if took > max(0.002, _longest.get(label, 0)):
        _longest[label] = took
        with open(os.environ["CALLBACKS_FILE"], "a") as file:
            file.write(json.dumps({"pid": os.getpid(), "label": label, "cpu": took}) + "\\n")

gc.callbacks.append(collecting)
asyncio.events.Handle._run = timed
'''


def fill(kind: str, waiting: int, polling: int, tasks: list[str]) -> None:
    """Write a DAG run whose task instances are all deferred. This runs in a separate process."""
    from airflow._shared.timezones import timezone
    from airflow.models.dag_version import DagVersion
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.trigger import Trigger
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState, TaskInstanceState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    with create_session() as session:
        stored = SerializedDagModel.get("waiting", session=session)
        version = DagVersion.get_latest_version("waiting", session=session)
        assert stored is not None
        assert version is not None
        run = stored.dag.create_dagrun(
            run_id="bench",
            run_after=timezone.utcnow(),
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST,
            state=DagRunState.RUNNING,
            session=session,
        )
        task = stored.dag.get_task("wait")
        for index, trigger in enumerate(triggers(kind, waiting, polling, tasks)):
            row = Trigger.from_object(trigger)
            session.add(row)
            session.flush()
            instance = TaskInstance(
                task,
                dag_version_id=version.id,
                run_id=run.run_id,
                state=TaskInstanceState.DEFERRED,
                map_index=index,
            )
            instance.trigger_id = row.id
            session.add(instance)


def triggers(kind: str, waiting: int, polling: int, tasks: list[str]) -> list[Any]:
    """Return the triggers of one side. None of them ends while they are measured."""
    import pendulum
    from airflow.providers.standard.triggers.temporal import DateTimeTrigger

    from airflow_provider_jimeng.core.limits import SETTLE_SECONDS
    from airflow_provider_jimeng.triggers.render import JimengRenderTrigger
    from airflow_provider_jimeng.triggers.slot import JimengSlotTrigger

    now = time.time()
    if kind == AIRFLOWS:
        moment = pendulum.now("UTC").add(hours=6)
        return [DateTimeTrigger(moment=moment) for _ in range(waiting + polling)]
    renders = [
        JimengRenderTrigger(render_id=task, req_key=REQ_KEY, deadline=now + 6 * 3600) for task in tasks
    ]
    slots = [
        JimengSlotTrigger(
            req_key=REQ_KEY,
            jimeng_conn_id="jimeng_default",
            waiting_since=now + index / 1000,
            not_before=now + SETTLE_SECONDS,
            deadline=now + 24 * 3600,
            dag_id="waiting",
        )
        for index in range(waiting)
    ]
    return [*renders, *slots]


def measured(kind: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run one side and return its figures."""
    home = folder / kind
    dags = home / "dags"
    dags.mkdir(parents=True)
    (dags / "waiting.py").write_text(DAG)
    (home / "watch").mkdir()
    (home / "watch" / "sitecustomize.py").write_text(WATCH)
    database = home / "airflow.db"
    place_sqlite(database)
    with EmulatorServer(
        home=home, render_seconds=6 * 3600, max_concurrent=options.polling, max_qps=50
    ) as emulator:
        env = component_environment(
            home=home,
            dags_folder=dags,
            database_url=f"sqlite:///{database}",
            executor="LocalExecutor",
            parallelism=1,
            api_port=free_port(),
            users=(),
            extra={"CALLBACKS_FILE": str(home / "callbacks.jsonl")},
        )
        fields = json.dumps({"conn_type": "jimeng", **emulator.connection_fields})
        airflow = (sys.executable, "-m", "airflow")
        silently(env, *airflow, "connections", "add", "jimeng_default", "--conn-json", fields)
        silently(env, *airflow, "dags", "reserialize")
        tasks = submitted(emulator, options.polling) if kind == OURS else []
        size = ("--waiting", str(options.waiting), "--polling", str(options.polling))
        silently(env, sys.executable, __file__, "--fill", kind, *size, "--tasks", *tasks)
        return watched(kind, options, home, env, emulator)


def submitted(emulator: EmulatorServer, count: int) -> list[str]:
    """Submit the renders that are polled, and return their ids."""
    from airflow_provider_jimeng.client.settings import ClientSettings
    from airflow_provider_jimeng.client.sync_client import JimengClient
    from airflow_provider_jimeng.core.parameters import RenderRequest

    settings = ClientSettings.from_connection_fields(**emulator.connection_fields)
    with JimengClient(settings) as client:
        return [client.submit(RenderRequest.build(prompt=f"film {n}")).task_id for n in range(count)]


def watched(
    kind: str, options: argparse.Namespace, home: Path, env: dict[str, str], emulator: EmulatorServer
) -> dict[str, Any]:
    paths = [str(home / "watch"), *filter(None, [env.get("PYTHONPATH")])]
    service = Service(
        name="triggerer",
        argv=[sys.executable, "-m", "airflow", "triggerer", "--skip-serve-logs", "--capacity", str(CAPACITY)],
        env={**env, "PYTHONPATH": os.pathsep.join(paths)},
        log_file=home / "output" / "triggerer.log",
    )
    service.start()
    try:
        wanted = options.waiting + options.polling
        while (running := len(list((home / "logs").rglob("*.trigger.*.log")))) < wanted:
            service.check()
            time.sleep(1)
        time.sleep(15)
        before, queries = cpu_of(service), emulator.bill()["queries"]
        time.sleep(options.seconds)
        spent = {pid: seconds - before.get(pid, 0.0) for pid, seconds in cpu_of(service).items()}
        family = service.members()
        return {
            "triggers": running,
            "cpu": sum(spent.values()) / options.seconds,
            "megabytes": sum(process.memory_full_info().pss for process in family) / 2**20,
            "open_files": max(process.num_fds() for process in family),
            "polls_per_second": (emulator.bill()["queries"] - queries) / options.seconds,
            "callbacks": longest_callbacks(home / "callbacks.jsonl"),
        }
    finally:
        stop_all([service])


def cpu_of(service: Service) -> dict[int, float]:
    found = {process.pid: process.cpu_times() for process in service.members()}
    return {pid: times.user + times.system for pid, times in found.items()}


def longest_callbacks(path: Path) -> dict[str, float]:
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    runners = {line["pid"] for line in lines if line["label"] == "TriggerRunner.arun"}
    longest: dict[str, float] = {}
    for line in lines:
        # The supervisor has an event loop too, because an API server runs in it. It does not count.
        if line["pid"] in runners:
            longest[line["label"]] = max(longest.get(line["label"], 0.0), line["cpu"])
    return longest


def silently(env: dict[str, str], *command: str) -> None:
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--waiting", type=int, default=1000)
    options.add_argument("--polling", type=int, default=50)
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--only", choices=[OURS, AIRFLOWS])
    options.add_argument("--fill", choices=[OURS, AIRFLOWS], help=argparse.SUPPRESS)
    options.add_argument("--tasks", nargs="*", default=[], help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.fill:
        fill(given.fill, given.waiting, given.polling, given.tasks)
        return
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, hard), hard))
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="jimeng-waiting-") as folder:
        for kind in (OURS, AIRFLOWS):
            if given.only in (None, kind):
                found[kind] = measured(kind, given, Path(folder))
                print(line(kind, found[kind]), flush=True)
    if len(found) == 2:
        judge(found[OURS], found[AIRFLOWS])


def line(kind: str, one: dict[str, Any]) -> str:
    callbacks = ", ".join(f"{name} {1000 * cpu:.0f} ms" for name, cpu in sorted(one["callbacks"].items()))
    return (
        f"{kind:16} {one['triggers']} triggers: {100 * one['cpu']:.1f} % of a core, {one['megabytes']:.0f} MB, "
        f"{one['open_files']} open files, {one['polls_per_second']:.1f} polls/s; longest callbacks: {callbacks}"
    )


def judge(ours: dict[str, Any], airflows: dict[str, Any]) -> None:
    cpu, memory = ours["cpu"] - airflows["cpu"], ours["megabytes"] - airflows["megabytes"]
    longest = ours["callbacks"].get("trigger", 0.0)
    print(f"more CPU         {100 * cpu:6.1f} % of a core (at most {100 * MOST_CPU:.0f})")
    print(f"more memory      {memory:6.0f} MB (at most {MOST_MEGABYTES})")
    print(f"longest callback {1000 * longest:6.0f} ms (at most {1000 * LONGEST_CALLBACK:.0f})")
    assert cpu <= MOST_CPU
    assert memory <= MOST_MEGABYTES
    assert longest <= LONGEST_CALLBACK


if __name__ == "__main__":
    main()
