# SPDX-License-Identifier: Apache-2.0
"""A process may end at any line, not only where the table's rows strike: a sample of the lines that a task runs."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import airflow_provider_jimeng
from airflow_provider_jimeng.core.errors import UnknownSubmitError
from tests.harness.fake_airflow import FakeTask, Killed
from tests.harness.lab import Lab, open_lab

PACKAGE = Path(airflow_provider_jimeng.__file__).parent
WATCHED = tuple(f"{PACKAGE / folder}/" for folder in ("operators", "storage", "hooks"))
DAG_PARSING = ("__init__", "<module>", "<listcomp>", "<dictcomp>")
SAMPLE = 24

Line = tuple[str, int]


def is_below_a_constructor(frame: FrameType) -> bool:
    """A task is constructed when its DAG file is parsed, which pays nothing."""
    caller = frame.f_back
    while caller is not None and caller.f_code.co_filename.startswith(f"{PACKAGE}/"):
        if caller.f_code.co_name == "__init__" and caller.f_code.co_filename.startswith(WATCHED[0]):
            return True
        caller = caller.f_back
    return False


@contextmanager
def traced(on_line: Callable[[Line], None]) -> Iterator[None]:
    """Call `on_line` before each line of ours that a running task comes to."""

    def enter(frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        ours = code.co_filename.startswith(WATCHED) and code.co_name not in DAG_PARSING
        return step if ours and not is_below_a_constructor(frame) else None

    def step(frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            on_line((frame.f_code.co_filename, frame.f_lineno))
        return step

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        yield
    finally:
        sys.settrace(before)


def live(lab: Lab, on_line: Callable[[Line], None]) -> FakeTask:
    """Let a task run: its first try is traced, a retry and, if need be, a Clear follow."""
    stage = lab.task()
    with traced(on_line):
        stage.run_one_try()
    if stage.state == "up_for_retry":
        stage.run()
    if stage.state == "failed":
        stage.clear()
        stage.run()
    return stage


def lines_of_a_life(folder: Path, *, below_3_3: bool) -> list[Line]:
    """Return every line that an undisturbed task comes to, in order, once."""
    seen: dict[Line, None] = {}
    for run in ("first", "second"):  # what is imported and cached in the first is not run again
        seen.clear()
        with open_lab(folder / run, below_3_3=below_3_3, render_seconds=0.05) as lab:
            live(lab, seen.setdefault)
    return list(seen)


@pytest.fixture(autouse=True)
def _what_the_dead_leave_open() -> Iterator[None]:
    """A kill may come between the opening of a thing and the block that closes it; no later test is told of it."""
    yield
    gc.collect()


@pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning")
@pytest.mark.parametrize("below_3_3", [False, True])
def test_a_task_killed_anywhere_pays_once_and_lands_or_says_what_nobody_can_know(
    tmp_path: Path, *, below_3_3: bool
) -> None:
    lines = lines_of_a_life(tmp_path, below_3_3=below_3_3)
    assert len(lines) > 10 * SAMPLE
    offset = len(lines) // SAMPLE // 2 if below_3_3 else 0
    for number, chosen in enumerate(lines[offset :: len(lines) // SAMPLE]):
        waiting = [chosen]

        def kill(line: Line, waiting: list[Line] = waiting) -> None:
            if line in waiting:
                waiting.clear()
                raise Killed

        with open_lab(tmp_path / str(number), below_3_3=below_3_3, render_seconds=0.05) as lab:
            stage = live(lab, kill)
            tally = lab.tally()
            assert not waiting, f"{chosen} was not reached"
            nobody_knows = any(isinstance(error, UnknownSubmitError) for error in stage.errors)
            end = (tally.state, tally.landed)
            assert tally.billed <= 1, chosen
            assert end == (("failed", 0) if nobody_knows else ("success", 1)), chosen
