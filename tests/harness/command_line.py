# SPDX-License-Identifier: Apache-2.0
"""Runs `jimeng` as a process, against an emulator in this process that a test controls."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import airflow_provider_jimeng
from airflow_provider_jimeng.emulator import JimengEmulator
from airflow_provider_jimeng.emulator.service import MEDIA_PREFIX
from tests.harness.processes import inherited_environment
from tests.harness.warm_command import LONGEST_SECONDS, WarmCommand

if TYPE_CHECKING:
    from airflow_provider_jimeng.emulator.messages import HttpResult, Request

ACCESS_KEY, SECRET_KEY = "AKLTcommandline", "bWFkZStVcC9zZWNyZXQ+b2YtdGVzdHM=="
PACKAGE_FOLDER = Path(airflow_provider_jimeng.__file__).parents[1]
_PLACES = {"CVSync2AsyncSubmitTask": "submit", "CVSync2AsyncGetResult": "query", "CVCancelTask": "cancel"}


class SteppedEmulator(JimengEmulator):
    """An emulator that calls `on_step` with `before submit`, `after submit`, `before query`, … around each request."""

    on_step: Callable[[str], None] = staticmethod(lambda _: None)

    def handle(self, request: Request) -> HttpResult:
        """Answer a request."""
        place = "media" if request.path.startswith(MEDIA_PREFIX) else ""
        for action, name in _PLACES.items():
            if f"Action={action}" in request.query_string:
                place = name
        if place:
            self.on_step(f"before {place}")
        outcome = super().handle(request)
        if place:
            self.on_step(f"after {place}")
        return outcome


@dataclass(slots=True, kw_only=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def payload(self) -> Any:
        """The JSON document on stdout."""
        return json.loads(self.out)


def ended(code: int, out: str, err: str) -> Ended:
    """Return a command that has ended. No secret stands in anything that it printed."""
    assert SECRET_KEY not in out + err
    return Ended(code=code, out=out, err=err)


def airflow_environment(home: Path) -> dict[str, str]:
    """Return the environment of a process that imports Airflow and the package under test."""
    return {
        **inherited_environment(),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "PYTHONPATH": str(PACKAGE_FOLDER),
        "PYTHONWARNINGS": "ignore",
    }


@dataclass(slots=True, kw_only=True)
class CommandLine:
    """Starts `jimeng` in a home and a working directory of its own, with keys in its environment."""

    home: Path
    url: str
    warm: WarmCommand
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def work(self) -> Path:
        """The working directory."""
        folder = self.home / "work"
        folder.mkdir(exist_ok=True)
        return folder

    def environment(self, changes: Mapping[str, str | None] | None = None) -> dict[str, str]:
        """Return the environment of a command. A value of `None` removes a variable."""
        found = {
            **airflow_environment(self.warm.airflow_home),
            "HOME": str(self.home),
            "VOLC_ACCESSKEY": ACCESS_KEY,
            "VOLC_SECRETKEY": SECRET_KEY,
            "JIMENG_VIDEO_API_URL": self.url,
            "JIMENG_VIDEO_POLL_INTERVAL": "0.2",
            **self.settings,
        }
        for name, value in (changes or {}).items():
            if value is None:
                found.pop(name, None)
            else:
                found[name] = value
        return found

    def command(self, *words: str) -> list[str]:
        """Return the words of the process."""
        return [sys.executable, "-m", "airflow_provider_jimeng.cli", *words]

    def start(self, *words: str, env: Mapping[str, str | None] | None = None) -> subprocess.Popen[str]:
        """Start a command in a session of its own."""
        return subprocess.Popen(
            self.command(*words),
            env=self.environment(env),
            cwd=self.work,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def end(self, process: subprocess.Popen[str]) -> Ended:
        """Wait for the end of a command, and check that it printed no secret."""
        try:
            out, err = process.communicate(timeout=LONGEST_SECONDS)
        except BaseException:
            process.kill()
            process.communicate()
            raise
        return ended(process.returncode, out, err)

    def run(self, *words: str, env: Mapping[str, str | None] | None = None) -> Ended:
        """Run a command to its end, in a process whose imports are done."""
        return ended(*self.warm.run(list(words), self.environment(env), self.work))

    def videos(self, folder: str = "generated_videos") -> list[Path]:
        """Return the saved videos of a directory."""
        return sorted((self.work / folder).glob("*.mp4"))


@dataclass(slots=True, kw_only=True)
class Terminal:
    """A command in a pseudo-terminal, and its output."""

    process: subprocess.Popen[bytes]
    main: int
    printed: bytes = b""

    def read_until(self, text: str) -> None:
        """Read until a text is on the terminal, or the command ends."""
        until = time.monotonic() + LONGEST_SECONDS
        while text.encode() not in self.printed:
            assert time.monotonic() < until, self.printed
            if not self.read():
                break
        assert text.encode() in self.printed, self.printed

    def read(self) -> bytes:
        """Read the next output. It is empty after the end."""
        try:
            chunk = os.read(self.main, 4096)
        except OSError:  # Linux reports the end of the other side as an error.
            return b""
        self.printed += chunk
        return chunk


@contextmanager
def in_terminal(jimeng: CommandLine, *words: str) -> Iterator[Terminal]:
    """Start a command whose standard streams are a terminal."""
    main, other = pty.openpty()
    process = subprocess.Popen(
        jimeng.command(*words),
        env=jimeng.environment({"TERM": "xterm", "COLUMNS": "160", "LINES": "40"}),
        cwd=jimeng.work,
        stdin=other,
        stdout=other,
        stderr=other,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - the terminal sends Ctrl-C
    )
    try:
        yield Terminal(process=process, main=main)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(main)
        os.close(other)
