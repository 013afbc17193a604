# SPDX-License-Identifier: Apache-2.0
"""The progress of renders: a bar each in a terminal, a line for each change elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import pendulum

from airflow_provider_jimeng.cli.console import LogLines, is_terminal, note, redact
from airflow_provider_jimeng.core.catalogue import TYPICAL_RENDER_SECONDS
from airflow_provider_jimeng.core.render import Render, RenderStatus

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.wire import QueryReply

CHECKING = "looking for a paid render"
SUBMITTING = "submitting"
NO_SLOT = "waiting for a free slot"
PAID = "paid"
SAVING = "saving"
SAVED = "saved"
FAILED = "failed"
_WORDS = {
    RenderStatus.IN_QUEUE: "in queue",
    RenderStatus.GENERATING: "generating",
    RenderStatus.DONE: SAVING,
}
_LONGEST_TITLE = 24
_EXPECTED_SECONDS = TYPICAL_RENDER_SECONDS[1]
_REFRESH_SECONDS = 0.25


@dataclass(slots=True, kw_only=True)
class Line:
    """The state of one render, as the bar shows it. Threads write it, the main thread reads it."""

    board: Board
    title: str
    state: str = CHECKING
    render: Render | None = None
    adopted: bool = False
    began: float = field(default_factory=time.time)

    def set(self, state: str) -> None:
        """Change the state."""
        if state != self.state:
            self.state = state
            self.board.changed(self)

    def paid(self, render: Render, *, adopted: bool) -> None:
        """Note the render that is paid for."""
        self.render, self.adopted = render, adopted
        self.set(f"{PAID} by an earlier run" if adopted else PAID)

    def on_reply(self, reply: QueryReply) -> None:
        """Take the state from an answer of the API."""
        self.set(_WORDS.get(reply.status, reply.status_word or reply.status.value))

    @property
    def age(self) -> float:
        """Seconds since the submit, or since the work began."""
        since = self.began if self.render is None else self.render.submitted_at.timestamp()
        return max(0.0, time.time() - since)

    @property
    def share(self) -> float:
        """How much of the work is likely done, from 0 to 1. It is 1 only for a saved video."""
        if self.state in (SAVED, FAILED):
            return 1.0
        return 0.0 if self.render is None else min(0.95, self.age / _EXPECTED_SECONDS)

    @property
    def expected(self) -> str:
        """When the render is usually done at the latest, as local time; empty before the submit."""
        if self.render is None or self.state in (SAVED, FAILED, SAVING):
            return ""
        end = self.render.submitted_at.add(seconds=int(_EXPECTED_SECONDS)).in_timezone("local")
        return f"usually done by {end:HH:mm:ss}"


class Board:
    """All renders of a command.

    :param quiet: print nothing, for ``--json``.
    """

    def __init__(self, *, quiet: bool, log_lines: LogLines | None = None) -> None:
        self.lines: list[Line] = []
        self._quiet = quiet
        self._log_lines = log_lines
        self._lock = threading.Lock()
        self._bars: Any = None
        self._tasks: dict[int, Any] = {}

    def add(self, title: str) -> Line:
        """Add a render."""
        short = " ".join(title.split())
        short = short if len(short) <= _LONGEST_TITLE else f"{short[: _LONGEST_TITLE - 1]}…"
        line = Line(board=self, title=redact(short))
        with self._lock:
            self.lines.append(line)
        return line

    def changed(self, line: Line) -> None:
        """Print the new state of a render, if no bar shows it."""
        if self._quiet or self._bars is not None:
            return
        name = "" if line.render is None else f" {line.render.task_id}"
        with self._lock:
            note(f"{pendulum.now():HH:mm:ss} {line.title}{name}: {line.state}")

    def __enter__(self) -> Self:
        if not self._quiet and is_terminal(sys.stderr):
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            console = Console(stderr=True)
            self._bars = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[state]}", markup=False),
                TextColumn("{task.fields[age]}", markup=False),
                TextColumn("{task.fields[expected]}", markup=False),
                console=console,
                auto_refresh=False,
                transient=True,
            )
            self._bars.start()
            if self._log_lines is not None:
                self._log_lines.printer = lambda text: console.print(
                    redact(text), markup=False, highlight=False
                )
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._bars is not None:
            self.draw()
            self._bars.stop()
            self._bars = None
        if self._log_lines is not None:
            self._log_lines.printer = note

    def mute(self) -> None:
        """Print nothing more: the process is about to end while its threads still work."""
        self._quiet = True

    def draw(self) -> None:
        """Move the bars."""
        if self._bars is None:
            return
        for index, line in enumerate(list(self.lines)):
            if index not in self._tasks:
                self._tasks[index] = self._bars.add_task(line.title, total=1.0, state="", age="", expected="")
            self._bars.update(
                self._tasks[index],
                completed=line.share,
                state=line.state,
                age=f"{line.age:.0f} s",
                expected=line.expected,
            )
        self._bars.refresh()

    def watch(self, threads: list[threading.Thread]) -> None:
        """Move the bars until all threads have ended."""
        while any(thread.is_alive() for thread in threads):
            self.draw()
            for thread in threads:
                if thread.is_alive():
                    thread.join(_REFRESH_SECONDS)
                    break
