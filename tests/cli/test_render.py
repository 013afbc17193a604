# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import signal
import subprocess
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_provider_jimeng.core.render import RenderManifest
from tests.harness.command_line import SECRET_KEY, CommandLine, SteppedEmulator, in_terminal

FOX = ("render", "a red fox")


def paid_once(emulator: SteppedEmulator, jimeng: CommandLine, folder: str = "generated_videos") -> None:
    """Check that one render was accepted, billed and saved."""
    bill = emulator.bill()
    assert (bill["accepted"], bill["billed"], len(jimeng.videos(folder))) == (1, 1, 1)
    video = jimeng.videos(folder)[0]
    manifest = RenderManifest.from_payload(json.loads(Path(f"{video}.json").read_text()))
    assert manifest.bytes == video.stat().st_size


def end_now(emulator: SteppedEmulator, task_id: str) -> None:
    """Let a render be done."""
    render = emulator.service.renders.get(task_id)
    assert render is not None
    render.ends_at = time.time()


def test_a_render_is_saved_and_described(jimeng: CommandLine, emulator: SteppedEmulator) -> None:
    done = jimeng.run(*FOX, "--seed", "7")
    assert done.code == 0, done.err
    path = str(jimeng.videos()[0])
    lines = done.out.splitlines()
    assert lines[0] == path
    fields = dict(line.split(":", 1) for line in lines[1:])
    assert {name: value.strip() for name, value in fields.items()} == {
        "Prompt": "a red fox",
        "Duration": "5 s",
        "Mode": "t2v_720p",
        "FPS": "24.0",
        "Save path": path,
        "Cost": "1.40 CNY",
        "Seed": "7",
    }
    for state in ("submitting", "paid", "saved"):
        assert f": {state}\n" in done.err
    paid_once(emulator, jimeng)


def test_the_same_command_adopts_and_a_take_pays_again(
    jimeng: CommandLine, emulator: SteppedEmulator
) -> None:
    first = jimeng.run(*FOX, "--json")
    assert (first.code, first.payload["adopted"]) == (0, False)
    again = jimeng.run(*FOX)
    assert again.code == 0
    assert "same request; `--take 2` pays for another video" in again.err
    paid_once(emulator, jimeng)
    other = jimeng.run(*FOX, "--take", "2", "--json")
    assert (other.code, other.payload["adopted"]) == (0, False)
    assert emulator.bill()["accepted"] == 2


def test_a_file_is_saved_under_the_name_that_is_asked_for(
    jimeng: CommandLine, emulator: SteppedEmulator
) -> None:
    assert jimeng.run(*FOX, "--output", "films/fox.mp4").code == 0
    assert jimeng.run(*FOX, "--output", "films/fox.mp4").code == 0
    paid_once(emulator, jimeng, "films")
    taken = jimeng.run("render", "a cat", "--output", "films/fox.mp4")
    assert taken.code == 2
    assert emulator.bill()["accepted"] == 1


def test_a_submit_without_a_wait_is_saved_by_the_next_command(
    jimeng: CommandLine, emulator: SteppedEmulator
) -> None:
    paid = jimeng.run(*FOX, "--no-wait")
    assert paid.code == 0
    assert "with: jimeng render 'a red fox'\n" in paid.err
    assert jimeng.run(*FOX).code == 0
    paid_once(emulator, jimeng)


def kill_at(emulator: SteppedEmulator, jimeng: CommandLine, step: str, nth: int = 1) -> None:
    """Start the command and end it with SIGKILL when the emulator comes to a step."""
    reached = threading.Event()
    count = 0

    def on_step(name: str) -> None:
        nonlocal count
        count += name == step
        if name == step and count == nth and not reached.is_set():
            process.kill()
            process.wait()
            reached.set()

    emulator.on_step = on_step
    with jimeng.start(*FOX) as process:
        assert reached.wait(120)
    emulator.on_step = lambda _: None


@pytest.mark.real
@pytest.mark.parametrize(
    ("step", "nth"),
    [
        pytest.param("before query", 1, id="first-query", marks=pytest.mark.nightly),
        pytest.param("before query", 2, id="second-query", marks=pytest.mark.nightly),
        pytest.param("after query", 2, id="after-query"),
        pytest.param("before media", 1, id="before-download", marks=pytest.mark.nightly),
        pytest.param("after media", 1, id="in-download"),
    ],
)
def test_a_paid_render_is_saved_after_a_kill_and_never_paid_again(
    jimeng: CommandLine, emulator: SteppedEmulator, step: str, nth: int
) -> None:
    emulator.render_seconds = 1
    kill_at(emulator, jimeng, step, nth)
    again = jimeng.run(*FOX, "--json")
    assert (again.code, again.payload["adopted"]) == (0, True), again.err
    paid_once(emulator, jimeng)


@pytest.mark.real
@pytest.mark.parametrize("what", [pytest.param("record", marks=pytest.mark.nightly), "file"])
def test_a_kill_between_two_writes_changes_nothing(
    jimeng: CommandLine, emulator: SteppedEmulator, what: str
) -> None:
    folder = jimeng.work / "generated_videos"
    shape = {"record": ".jimeng/tasks/*.json", "file": "*.mp4"}[what]
    with jimeng.start(*FOX) as process:
        while not any('"submitted"' in path.read_text() for path in folder.glob(shape) if what == "record"):
            if what == "file" and any(folder.glob(shape)):
                break
            assert process.poll() is None
        process.kill()
    again = jimeng.run(*FOX, "--json")
    assert (again.code, again.payload["adopted"]) == (0, True), again.err
    paid_once(emulator, jimeng)


@pytest.mark.real
@pytest.mark.parametrize("step", [pytest.param("before submit", marks=pytest.mark.nightly), "after submit"])
def test_a_kill_in_a_submit_leaves_an_unknown_submit_that_is_never_paid_again(
    jimeng: CommandLine, emulator: SteppedEmulator, step: str
) -> None:
    kill_at(emulator, jimeng, step)
    for _ in range(2):
        stopped = jimeng.run(*FOX, "--json")
        assert (stopped.code, stopped.payload["error"]) == (5, "UnknownSubmitError"), stopped.err
        assert "--on-unknown-submit resubmit" in stopped.err
    bill = emulator.bill()
    assert bill["accepted"] == 1  # the emulator accepts what it has received
    (task_id,) = bill["by_task"]
    words = ("download", task_id, "--model", "t2v_720p", "--output", "generated_videos")
    assert jimeng.run(*words).code == 0
    paid_once(emulator, jimeng)
    assert jimeng.run(*FOX, "--on-unknown-submit", "resubmit").code == 0
    assert emulator.bill()["accepted"] == 2


@pytest.mark.real
def test_processes_that_begin_together_pay_once(jimeng: CommandLine, emulator: SteppedEmulator) -> None:
    processes = [jimeng.start(*FOX, "--json") for _ in range(3)]
    ended = [jimeng.end(process) for process in processes]
    assert [done.code for done in ended] == [0, 0, 0], [done.err for done in ended]
    assert sorted(done.payload["adopted"] for done in ended) == [False, True, True]
    assert len({done.payload["sha256"] for done in ended}) == 1
    paid_once(emulator, jimeng)


def test_ctrl_c_says_what_is_paid_and_how_to_go_on(jimeng: CommandLine, emulator: SteppedEmulator) -> None:
    emulator.render_seconds = 600
    with in_terminal(jimeng, *FOX) as terminal:
        before = termios.tcgetattr(terminal.main)
        terminal.read_until("in queue")
        moved = len(terminal.printed)
        while terminal.printed.count(b"\xe2\x94\x81") < 2 or len(terminal.printed) < 2 * moved:
            assert terminal.read()
        os.write(terminal.main, b"\x03")
        terminal.read_until("To continue without paying again: jimeng render 'a red fox'")
        assert terminal.process.wait(60) == 130
        assert termios.tcgetattr(terminal.main) == before
        assert terminal.printed.rfind(b"\x1b[?25h") > terminal.printed.rfind(
            b"\x1b[?25l"
        )  # the cursor is back
    (task_id,) = emulator.bill()["by_task"]
    text = terminal.printed.decode()
    assert f"Interrupted. Paid: render {task_id} (1.40 CNY). The API keeps it until " in text
    assert SECRET_KEY not in text
    end_now(emulator, task_id)
    assert jimeng.run(*FOX).code == 0
    paid_once(emulator, jimeng)


@pytest.mark.real
def test_ctrl_c_in_a_submit_waits_for_its_answer(jimeng: CommandLine, emulator: SteppedEmulator) -> None:
    seen = threading.Event()

    def on_step(name: str) -> None:
        if name == "after submit":
            process.send_signal(signal.SIGINT)
            seen.set()
            time.sleep(1)  # the answer is late

    emulator.on_step = on_step
    process: subprocess.Popen[str] = jimeng.start(*FOX)
    assert seen.wait(60)
    done = jimeng.end(process)
    assert done.code == 130
    assert "Waiting for its answer" in done.err
    (task_id,) = emulator.bill()["by_task"]
    assert f"Paid: render {task_id}" in done.err
    emulator.on_step = lambda _: None
    assert jimeng.run(*FOX).code == 0
    paid_once(emulator, jimeng)


Fault = Callable[[SteppedEmulator], object]


@pytest.mark.parametrize(
    ("fault", "code", "error"),
    [
        (lambda api: api.faults.add(where="submit", what="moderated"), 3, "InputModeratedError"),
        (lambda api: api.faults.add(where="render", what="fail", code=50412), 4, "RenderFailedError"),
        (lambda api: api.faults.add(where="render", what="expire"), 4, "RenderExpiredError"),
        (lambda api: api.faults.add(where="submit", what="cut_after"), 5, "UnknownSubmitError"),
        (lambda api: setattr(api, "render_seconds", 600), 6, "RenderTimedOutError"),
    ],
    ids=["refused", "failed", "expired", "unknown", "unsaved"],
)
def test_each_bad_end_has_its_exit_code(
    jimeng: CommandLine, emulator: SteppedEmulator, fault: Fault, code: int, error: str
) -> None:
    fault(emulator)
    done = jimeng.run(*FOX, "--json", env={"JIMENG_VIDEO_MAX_POLL_ATTEMPTS": "5"})
    assert (done.code, done.payload["error"], done.payload["exit_code"]) == (code, error, code), done.err


def test_rows_are_quoted_rendered_and_adopted(jimeng: CommandLine, emulator: SteppedEmulator) -> None:
    (jimeng.work / "rows.csv").write_text("prompt,model\na cat,t2v_720p\na dog,t2v_1080p\na cat,t2v_720p\n")
    words = ("render", "--rows", "rows.csv", "--json")
    refused = jimeng.run(*words, "--max-cost", "5")
    assert refused.code == 2
    assert emulator.bill()["submits"] == 0
    done = jimeng.run(*words, "--max-cost", "6")
    assert done.code == 0, done.err
    assert [each["prompt"] for each in done.payload["renders"]] == ["a cat", "a dog", "a cat"]
    assert len(jimeng.videos()) == 3
    again = jimeng.run(*words)
    assert [each["adopted"] for each in again.payload["renders"]] == [True, True, True]
    assert emulator.bill()["accepted"] == 3


def test_a_rescue_saves_what_is_paid_and_not_saved(jimeng: CommandLine, emulator: SteppedEmulator) -> None:
    emulator.render_seconds = 600
    assert jimeng.run(*FOX, "--no-wait").code == 0
    running = jimeng.run("rescue", "generated_videos", "--json")
    assert (running.code, len(running.payload["running"])) == (6, 1)
    (task_id,) = emulator.bill()["by_task"]
    end_now(emulator, task_id)
    saved = jimeng.run("rescue", "generated_videos", "--json")
    assert (saved.code, len(saved.payload["landed"])) == (0, 1), saved.err
    again = jimeng.run("rescue", "generated_videos")
    assert again.code == 0
    assert again.out == f"saved already: {jimeng.videos()[0]}\n"
    paid_once(emulator, jimeng)
