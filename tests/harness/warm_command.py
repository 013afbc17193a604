# SPDX-License-Identifier: Apache-2.0
"""A process that has imported `jimeng` and Airflow, and forks itself for each command.

Each command has a process, an environment, a working directory and standard streams of its own, as any command has. It
only saves the seconds that the imports take.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

LONGEST_SECONDS = 120.0
IMPORTED = (
    "airflow_provider_jimeng.cli.main",
    *(f"airflow_provider_jimeng.cli.{name}" for name in ("doctor", "free", "render")),
    "airflow_provider_jimeng.storage.landing",
    "airflow_provider_jimeng.triggers.render",
)
_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class WarmCommand:
    """The process, as a test sees it."""

    airflow_home: Path
    _channel: socket.socket

    def run(self, words: list[str], env: Mapping[str, str], folder: Path) -> tuple[int, str, str]:
        """Run a command to its end; return its exit code and what it has printed to both streams."""
        with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
            asked = json.dumps({"words": words, "env": dict(env), "folder": str(folder)}).encode()
            socket.send_fds(self._channel, [asked], [out.fileno(), err.fileno()])
            code = int(self._channel.recv(_MOST_BYTES))
            return code, _read(out), _read(err)


def _read(stream: IO[str]) -> str:
    stream.seek(0)
    return stream.read()


@contextmanager
def warm_command(env: Mapping[str, str]) -> Iterator[WarmCommand]:
    """Start the process, and end it after the block."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with subprocess.Popen([sys.executable, __file__], env=dict(env), stdin=theirs.fileno()), ours:
        theirs.close()
        yield WarmCommand(Path(env["AIRFLOW_HOME"]), ours)


def serve(channel: socket.socket) -> None:
    """Run one command after the other until the other side closes the channel."""
    while True:
        asked, streams, _, _ = socket.recv_fds(channel, _MOST_BYTES, 2)
        if not asked:
            return
        child = os.fork()
        if child == 0:
            channel.close()
            _become(streams, **json.loads(asked))
            return
        for stream in streams:
            os.close(stream)
        status = _status_of(child)
        channel.send(str(os.waitstatus_to_exitcode(status)).encode())


def _status_of(child: int) -> int:
    """Wait for the end of a command, which is killed when it takes too long."""
    signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
    signal.alarm(int(LONGEST_SECONDS))
    _, status = os.waitpid(child, 0)
    signal.alarm(0)
    return status


def _become(streams: list[int], words: list[str], env: dict[str, str], folder: str) -> None:
    """Turn this process into that of a command, run it and end."""
    os.setsid()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for number, stream in enumerate([os.open(os.devnull, os.O_RDONLY), *streams]):
        os.dup2(stream, number)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    sys.argv = ["jimeng", *words]
    sys.exit(importlib.import_module("airflow_provider_jimeng.cli.main").main())


if __name__ == "__main__":
    sys.path[0] = os.environ["PYTHONPATH"]  # not the folder of this file
    os.environ.setdefault(
        "AIRFLOW__LOGGING__LOGGING_LEVEL", "WARNING"
    )  # as the command does before it imports Airflow
    for name in IMPORTED:
        importlib.import_module(name)
    gc.freeze()  # otherwise the end of each command takes half a second to free what is imported
    serve(socket.socket(fileno=0))
