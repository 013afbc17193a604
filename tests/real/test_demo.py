# SPDX-License-Identifier: Apache-2.0
"""`make demo` as a user runs it, in a folder of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.meta.tree import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.real


def start_demo(home: Path, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["make", "demo"],
        cwd=ROOT,
        env=os.environ | {"DEMO_HOME": str(home)} | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def typed(command: str) -> str:
    """Return what a command prints that somebody types in the folder of the repository."""
    return subprocess.run(
        ["bash", "-c", command], cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE
    ).stdout


def left_running(home: Path) -> list[str]:
    """Processes that carry the demo's folder in their environment or on their command line."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(word.startswith(str(home)) for word in words):
            found.append(f"{process.pid} {' '.join(process.cmdline())}")
    return found


def read_until(process: subprocess.Popen[str], text: str, timeout: float = 180) -> str:
    assert process.stdout is not None
    seen, deadline = "", time.monotonic() + timeout
    while text not in seen:
        line = process.stdout.readline()
        assert line, f"ended before saying {text!r}:\n{seen}"
        assert time.monotonic() < deadline, seen
        seen += line
    return seen


def test_a_kept_demo_lands_five_playable_files_for_the_bill_and_stays_until_ctrl_c(tmp_path: Path) -> None:
    process = start_demo(tmp_path / "demo", KEEP="1")
    seen = read_until(process, "Ctrl-C stops both", timeout=600)
    try:
        assert len(re.findall(r"\.mp4 .* 1248x704 .* 5\.04 s .* CNY 1\.40", seen)) == 5, seen
        assert re.search(r"the manifests add up to CNY 7\.00", seen)
        assert re.search(r"the emulator's bill .*CNY 7\.00 .*5 accepted, 5 billed", seen)
        assert "5 prompts, 5 playable files, each paid for once" in seen
        assert re.search(
            r"videos are at http://127\.0\.0\.1:\d+/plugin/jimeng-renders  user: admin  password: \S+", seen
        )
        render, models, _ = re.findall(
            r"^  ([^#\s].*)$", seen.partition("in another terminal")[2], re.MULTILINE
        )
        assert "t2v_720p" in typed(models)
        assert "Cost:      1.40 CNY" in typed(f"{render} --output '{tmp_path}/'")
        assert left_running(tmp_path / "demo")
    finally:
        os.killpg(process.pid, signal.SIGINT)  # to everything in the terminal's foreground, as Ctrl-C does
        process.communicate(timeout=60)
    assert left_running(tmp_path / "demo") == []


@pytest.mark.nightly
def test_a_terminated_demo_leaves_nothing_running(tmp_path: Path) -> None:
    process = start_demo(tmp_path / "demo")
    read_until(process, "rendering")
    process.send_signal(signal.SIGTERM)  # to make alone, as `kill` does
    output, _ = process.communicate(timeout=60)

    assert process.returncode != 0
    assert "stopping" in output
    assert left_running(tmp_path / "demo") == []
