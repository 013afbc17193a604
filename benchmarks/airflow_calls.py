# SPDX-License-Identifier: Apache-2.0
"""Count the calls of one render to Airflow's API server and to the storage, on a real Airflow with the emulator.

    python benchmarks/airflow_calls.py [--keep DIRECTORY]

The emulator refuses the first submit, because no slot is free. So the task runs three times:

* start: the API refuses the submit, and the task defers until a slot is free;
* submit: the task submits, and defers until the render is done;
* landing: the task saves the video.

The connection is in Airflow's database, as in production. A recorder runs in Airflow's own processes. It wraps the HTTP
client of the supervisor, the channel from a task to its supervisor, and the methods of the file system. For each request
to the API server it knows the message of the task that caused it, and the line of code that sent the message. A request
without such a message, or whose message was sent by Airflow alone, is Airflow's: every deferrable task has it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.harness.emulator import EmulatorServer
from tests.harness.stack import AirflowStack

PHASES = ("start", "submit", "landing")
AT_MOST = {"API server": 21, "ours": 10, "connection": 3, "storage": 33}
"""The limits of one render: requests to the API server, those of them that are ours, those for the connection, and calls to
the file system. Heartbeats do not count: there are more of them on a slow machine."""
PATIENT = {"AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "120"}
"""On a busy machine, the first request of all takes long. A task that gives it up would begin a second try."""
PASSING = {
    "push",
    "<lambda>",
    "_call",
    "_insist",
    "run",
    "write",
    "_guarded",
    "_bytes",
    "_names",
    "_remove",
    "__exit__",
}
"""Functions that only pass a call on."""

DAG = """
from airflow.sdk import DAG
from airflow_provider_jimeng.operators.video import JimengGenerateVideoOperator

with DAG("calls", schedule=None, catchup=False):
    JimengGenerateVideoOperator(task_id="render", prompt="A kite over the sea", output_path={output!r}, deferrable=True)
"""

RECORDER = '''
"""Airflow imports this module into each of its processes before it runs anything."""
import json, os, sys, threading, time

CALLS = {calls!r}
OURS = "airflow_provider_jimeng."
VIDEOS = {videos!r}


def note(**what):
    line = json.dumps({{"at": time.time(), "pid": os.getpid(), "parent": os.getppid(), **what}})
    with open(CALLS, "a") as file:
        file.write(line + "\\n")


def callers():
    """Return the functions of the package that are running, the innermost first."""
    frame, found = sys._getframe(2), []
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith(OURS):
            found.append(module.removeprefix(OURS) + "." + frame.f_code.co_name)
        frame = frame.f_back
    return found


def wrap(owner, name, before, after=lambda *_: None):
    original = getattr(owner, name)

    def wrapped(self, *args, **kwargs):
        token = before(self, *args, **kwargs)
        try:
            return original(self, *args, **kwargs)
        finally:
            after(token)

    setattr(owner, name, wrapped)


def record_requests():
    from airflow.sdk.api.client import Client

    wrap(Client, "request", lambda _, method, url, **__: note(kind="http", method=method, path=str(url)))


def record_messages():
    from airflow.sdk.execution_time.comms import CommsDecoder

    wrap(
        CommsDecoder,
        "send",
        lambda _, msg: note(kind="asks", message=type(msg).__name__, key=getattr(msg, "key", None), callers=callers()),
        lambda _: note(kind="answered"),
    )


def record_storage():
    from fsspec.implementations.local import LocalFileSystem

    running = threading.local()

    def enter(name):
        def before(_, path="", *args, **__):
            depth = running.depth = getattr(running, "depth", 0) + 1
            if depth == 1 and (found := callers()):
                note(kind="storage", what=name, path=str(path), callers=found)
        return before

    def leave(_):
        running.depth -= 1

    for name in ("info", "ls", "open", "cat_file", "pipe_file", "put_file", "mv", "rm_file", "makedirs", "modified"):
        wrap(LocalFileSystem, name, enter(name), leave)

    def audit(event, details):  # The package writes local files without fsspec.
        if event != "open" or not isinstance(details[0], str) or not details[0].startswith(VIDEOS):
            return
        if details[2] & (os.O_WRONLY | os.O_RDWR) and not getattr(running, "depth", 0):
            note(kind="storage", what="write", path=details[0], callers=callers())

    sys.addaudithook(audit)


record_requests()
record_messages()
record_storage()
'''


@dataclass(slots=True)
class Call:
    """One request to the API server, or one call to the file system."""

    what: str
    caller: str
    is_ours: bool


@dataclass(slots=True)
class Phase:
    """One run of the task on a worker."""

    server: list[Call] = field(default_factory=list)
    storage: list[Call] = field(default_factory=list)


@contextmanager
def folder_for(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True)
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="jimeng-calls-") as folder:
        yield Path(folder)


def record(home: Path) -> list[dict[str, Any]]:
    """Run one render on a real Airflow, and return what the recorder noted."""
    calls, dags, config = home / "calls.jsonl", home / "dags", home / "airflow" / "config"
    faults = home / "faults.json"
    faults.write_text(json.dumps([{"where": "submit", "what": "error_before", "code": 50430, "times": 1}]))
    dags.mkdir()
    config.mkdir(parents=True)
    (dags / "calls.py").write_text(DAG.format(output=f"{home}/videos/"))
    (config / "airflow_local_settings.py").write_text(
        RECORDER.format(calls=str(calls), videos=f"{home}/videos/")
    )
    with (
        EmulatorServer(home=home, render_seconds=12, options=("--faults", str(faults))) as emulator,
        AirflowStack(home / "airflow", dags, parallelism=2, env=PATIENT) as stack,
    ):
        stack.add_connection("jimeng_default", "jimeng", **emulator.connection_fields)
        run_id = stack.trigger("calls")
        state = stack.wait("calls", run_id, timeout=300)
        if state != "success":
            raise SystemExit(f"the run ended as {state}:\n{stack.logs('calls', run_id, 'render')}")
    return sorted(map(json.loads, calls.read_text().splitlines()), key=lambda line: line["at"])


def phases_of(lines: list[dict[str, Any]]) -> list[Phase]:
    """Return what each run of the task did. The supervisor of a run begins it with a request of its own."""
    phases: list[Phase] = []
    supervisor, asked = 0, None
    for line in lines:
        if line["kind"] == "http" and line["path"].endswith("/run"):
            phases.append(Phase())
            supervisor, asked = line["pid"], None
        if not phases or supervisor not in (line["pid"], line["parent"]):
            continue
        if line["kind"] == "asks":
            asked = line
        elif line["kind"] == "answered":
            asked = None
        elif line["kind"] == "storage":
            phases[-1].storage.append(Call(line["what"], chain(line["callers"]), is_ours=True))
        elif line["kind"] == "http":
            cause = None if line["path"].endswith("/heartbeat") else asked
            phases[-1].server.append(server_call(line, cause))
    return phases


def server_call(line: dict[str, Any], cause: dict[str, Any] | None) -> Call:
    what = f"{line['method']} {shortened(line['path'])}"
    if cause is None:
        return Call(what, "Airflow's supervisor", is_ours=False)
    if not cause["callers"]:
        return Call(what, f"Airflow's task runner ({cause['message']})", is_ours=False)
    return Call(what, chain(cause["callers"]), is_ours=True)


def chain(callers: list[str]) -> str:
    """Return the functions that lead to a call, without those that only pass it on."""
    telling = [caller for caller in callers if caller.rpartition(".")[2] not in PASSING]
    return " < ".join(telling[:4])


def shortened(path: str) -> str:
    """Return the path of a request without ids."""
    parts = path.split("/")
    if parts[0] == "xcoms":
        return f"xcoms/{parts[-1]}"
    return "/".join(
        "…" if len(part) == len("00000000-0000-0000-0000-000000000000") else part for part in parts
    )


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument(
        "--keep", type=Path, help="keep logs, database and recorded calls in this new directory"
    )
    with folder_for(options.parse_args().keep) as home:
        phases = phases_of(record(home))
    if len(phases) != len(PHASES):
        raise SystemExit(f"the task ran {len(phases)} times, not {len(PHASES)}")
    for name, phase in zip(PHASES, phases, strict=True):
        ours = sum(call.is_ours for call in phase.server)
        print(f"\n{name}: {len(phase.server)} requests to the API server, {ours} of them ours")
        for call in phase.server:
            print(f"  {call.what:58} {call.caller}")
        print(f"{name}: {len(phase.storage)} calls to the storage")
        for (what, caller), count in Counter((call.what, call.caller) for call in phase.storage).items():
            print(f"  {count:2} {what:10} {caller}")
    requests = [call for phase in phases for call in phase.server if not call.what.endswith("/heartbeat")]
    found = {
        "API server": len(requests),
        "ours": sum(call.is_ours for call in requests),
        "connection": sum("connections/" in call.what for call in requests),
        "storage": sum(len(phase.storage) for phase in phases),
    }
    print(f"\nin all, without heartbeats: {found}, limits {AT_MOST}")
    missed = [name for name, most in AT_MOST.items() if found[name] > most]
    print(f"beyond the limits: {missed or 'nothing'}")
    raise SystemExit(1 if missed else 0)


if __name__ == "__main__":
    main()
