# SPDX-License-Identifier: Apache-2.0
"""Processes that end with the process that started them."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

LOOPBACK = "127.0.0.1"
# Below the range from which kernels hand out ports to outgoing connections, so that none of those takes ours.
PORTS = range(20_000, 30_000)


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on."""
    while True:
        port = secrets.choice(PORTS)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((LOOPBACK, port))
                return port


class ServiceDiedError(RuntimeError):
    """A process ended too early. The message contains the end of its log."""


@dataclass(slots=True, kw_only=True)
class Service:
    """One command in a session of its own, with its output in a file.

    Airflow gives its task and trigger processes their own process groups, so a service is signalled by session:
    the leader and everything below it.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    log_file: Path
    user: str | None = None  # run as this user (needs root); PostgreSQL refuses to run as root
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        """Start the command. Its standard input is closed, and its output is appended to `log_file`."""
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                list(self.argv),
                env=dict(self.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=self.user,
            )

    @property
    def pid(self) -> int:
        """The session leader's process id."""
        if self._process is None:
            raise ServiceDiedError(f"{self.name} was never started.")
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the session leader runs."""
        return self._process is not None and self._process.poll() is None

    def check(self) -> None:
        """Raise if the service has ended by itself."""
        if not self.alive:
            code = None if self._process is None else self._process.returncode
            raise ServiceDiedError(f"{self.name} ended with code {code}:\n{self.log_tail()}")

    def log_tail(self, lines: int = 40) -> str:
        """Return the last lines of the output."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])
        return "(no output)"

    def members(self) -> list[psutil.Process]:
        """Every living process of the session, the leader included."""
        return [] if self._process is None else _session_members({self._process.pid})

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every process of the session."""
        for member in self.members():
            with contextlib.suppress(psutil.NoSuchProcess):
                member.send_signal(number)

    def reap(self) -> None:
        """Collect the exit code of an ended leader."""
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=5)


def stop_all(services: Iterable[Service], grace_seconds: float = 15.0) -> None:
    """Ask all of them to end, wait, and kill the others. A Ctrl-C does not interrupt this."""
    with ctrl_c_ignored():
        services = list(services)
        for service in services:
            service.signal(signal.SIGTERM)
            service.signal(signal.SIGCONT)  # a stopped process takes its SIGTERM only when it goes on
        deadline = time.monotonic() + grace_seconds
        while time.monotonic() < deadline:
            for service in services:
                _ = service.alive  # polls, so that ended leaders are no zombies
            if not any(service.members() for service in services):
                break
            time.sleep(0.1)
        for service in services:
            service.signal(signal.SIGKILL)
        for service in services:
            service.reap()


def wait_for_port(port: int, service: Service, timeout_seconds: float = 30.0) -> None:
    """Wait until a service listens. Raise an error if it ends before that, or is too slow."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
            return
        service.check()
        if time.monotonic() > deadline:
            raise TimeoutError(f"{service.name} does not listen:\n{service.log_tail()}")
        time.sleep(0.1)


def _session_members(session_ids: set[int]) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, PermissionError, psutil.Error):
            if os.getsid(process.pid) in session_ids and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@contextlib.contextmanager
def ctrl_c_ignored() -> Iterator[None]:
    """Ignore SIGINT and SIGTERM while a clean-up runs. Outside the main thread, it does nothing."""
    previous = {}
    with contextlib.suppress(ValueError):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            previous[number] = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def inherited_environment() -> dict[str, str]:
    """Return the environment of this process without variables that configure another Airflow or a proxy for 127.0.0.1."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTEST_"))}
    for name in ("NO_PROXY", "no_proxy"):
        env[name] = ",".join(part for part in (env.get(name), LOOPBACK, "localhost") if part)
    return env


def unmeasured_environment() -> dict[str, str]:
    """Return the environment of this process without the variables with which coverage measures a new process.

    It is for processes that run no line of the package that other tests do not run.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
