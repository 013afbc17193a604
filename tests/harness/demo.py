# SPDX-License-Identifier: Apache-2.0
"""`make demo` runs a campaign on a real Airflow against the emulator, without an account and without cost.

With KEEP=1, Airflow and the emulator run until Ctrl-C. The demo opens the page Renders in the browser of the desktop, and
prints its address and the login.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
import sys
import time
import webbrowser
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tests.harness.demo_report import (
    Landed,
    Progress,
    bill_lines,
    inspect,
    landed_table,
    next_commands,
    next_commands_while_kept,
)
from tests.harness.emulator import EmulatorServer
from tests.harness.processes import ctrl_c_ignored
from tests.harness.settings import User
from tests.harness.stack import AirflowStack

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
HOME = Path(os.environ.get("DEMO_HOME") or ROOT / ".jimeng-demo")
DAG_ID = "example_jimeng_campaign"
RENDER_SECONDS = 15
CAMPAIGN_TIMEOUT_SECONDS = 900
RENDERS_PAGE = "/plugin/jimeng-renders"


def main() -> int:
    """Run the demo. Return 0 if every prompt became a playable file and the bill agrees."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    HOME.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        lock = stack.enter_context((HOME / "lock").open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another demo is running in this folder; end it first.", file=sys.stderr)
            return 1
        try:
            return _demo(stack)
        finally:
            with ctrl_c_ignored():
                stack.close()


def _leave(number: int, _frame: object) -> NoReturn:
    print("\ndemo: stopping", flush=True)
    raise SystemExit(128 + number)


def _demo(stack: ExitStack) -> int:
    started = time.monotonic()
    for old in ("airflow", "videos"):
        shutil.rmtree(HOME / old, ignore_errors=True)
    _say("starting the emulator: two renders at a time, as a paid account has")
    emulator = stack.enter_context(
        EmulatorServer(home=HOME / "airflow", render_seconds=RENDER_SECONDS, max_concurrent=2)
    )
    login = User(name="admin", password=secrets.token_urlsafe(9))
    airflow = stack.enter_context(
        AirflowStack(HOME / "airflow", ROOT / "example_dags", users=[login], parallelism=4, say=_say)
    )
    airflow.add_connection("jimeng_default", "jimeng", **emulator.connection_fields)
    _say(f"Airflow is up after {time.monotonic() - started:.0f} s: {airflow.url}")

    videos = HOME / "videos"
    run_id = airflow.trigger(DAG_ID, {"output": videos.as_uri()}, run_id="campaign")
    state = airflow.wait(
        DAG_ID, run_id, timeout=CAMPAIGN_TIMEOUT_SECONDS, progress=Progress(task_id="render").show
    )
    rows = [row for row in airflow.task_instances(DAG_ID, run_id) if row["task_id"] == "render"]
    landed = [
        inspect(manifest)
        for row in rows
        if (manifest := airflow.xcom(DAG_ID, run_id, "render", map_index=row["map_index"])) is not None
    ]
    bill = emulator.bill()
    print("\n".join(["", *landed_table(landed, ROOT), "", *bill_lines(bill), ""]), flush=True)
    problems = _problems(state, rows, landed, bill)
    if problems:
        _explain(airflow, run_id, rows, problems)
    else:
        _say(f"{len(landed)} prompts, {len(landed)} playable files, each paid for once; {_elapsed(started)}")
    if os.environ.get("KEEP") == "1":
        _keep(airflow.url + RENDERS_PAGE, login, emulator)
    if not problems:
        print("\n".join(["", "Type one of these next:", *next_commands()]), flush=True)
    return 1 if problems else 0


def _keep(page: str, login: User, emulator: EmulatorServer) -> NoReturn:
    """Show the page of renders, and wait for Ctrl-C."""
    _say(f"Airflow stays up. The videos are at {page}  user: {login.name}  password: {login.password}")
    print("\nType one of these in another terminal, in this folder:")
    print("\n".join([*next_commands_while_kept(emulator.connection_fields), ""]))
    _say(f"the emulator listens at {emulator.url}; Ctrl-C stops both")
    if sys.stdout.isatty() and (sys.platform == "darwin" or _has_desktop()):
        webbrowser.open(page)
    while True:
        signal.pause()


def _has_desktop() -> bool:
    """Return whether a browser can open a window. Otherwise, it would use this terminal."""
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _problems(
    state: str, rows: list[dict[str, Any]], landed: list[Landed], bill: Mapping[str, Any]
) -> list[str]:
    found = [f"the run ended as {state}"] if state != "success" else []
    if not rows or len(landed) != len(rows):
        found.append(f"{len(landed)} of {len(rows)} videos were saved")
    found += [f"{video.path} does not play: {video.problem}" for video in landed if video.problem]
    if bill["billed"] != len(landed):
        found.append(f"{bill['billed']} renders were billed for {len(landed)} videos")
    return found


def _explain(airflow: AirflowStack, run_id: str, rows: list[dict[str, Any]], problems: list[str]) -> None:
    for row in rows:
        if row["state"] != "success":
            tail = airflow.logs(DAG_ID, run_id, "render", row["try_number"], row["map_index"]).splitlines()[
                -15:
            ]
            print(f"--- render[{row['map_index']}] {row['state']}", *tail, sep="\n")
    for problem in problems:
        print(f"demo: {problem}", file=sys.stderr)
    print(f"demo: logs are in {HOME / 'airflow'}", file=sys.stderr)


def _elapsed(started: float) -> str:
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    return f"{minutes} min {seconds:02d} s in all"


def _say(text: str) -> None:
    print(f"demo: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
