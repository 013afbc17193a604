# SPDX-License-Identifier: Apache-2.0
"""The emulator for tests, in another process, or as a server in this process that a test controls."""

from __future__ import annotations

import secrets
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import httpx

from airflow_provider_jimeng.emulator import JimengEmulator
from airflow_provider_jimeng.emulator.service import MEDIA_PREFIX
from tests.harness.processes import (
    LOOPBACK,
    Service,
    free_port,
    inherited_environment,
    stop_all,
    wait_for_port,
)

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_jimeng.emulator.messages import HttpResult, Request


@dataclass(slots=True, kw_only=True)
class EmulatorServer:
    """`python -m airflow_provider_jimeng.emulator` on a free port, from `with` to the end of the block."""

    home: Path
    render_seconds: float = 3.0
    max_concurrent: int = 2
    max_qps: int = 5
    options: tuple[str, ...] = ()
    access_key: str = "AKLTdemo"
    secret_key: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    port: int = field(default_factory=free_port)
    _service: Service | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        """Where the API is."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def connection_fields(self) -> dict[str, Any]:
        """Host, login and password of an Airflow connection to it."""
        return {"host": self.url, "login": self.access_key, "password": self.secret_key}

    def bill(self) -> dict[str, Any]:
        """Return the counts of the emulator: submits, accepted, billed, cost and the others."""
        reply = httpx.get(f"{self.url}/_emulator/bill", trust_env=False, timeout=10)
        reply.raise_for_status()
        return dict(reply.json())

    def __enter__(self) -> Self:
        settings = {
            "--host": LOOPBACK,
            "--port": self.port,
            "--access-key": self.access_key,
            "--secret-key": self.secret_key,
            "--render-seconds": self.render_seconds,
            "--max-concurrent": self.max_concurrent,
            "--max-qps": self.max_qps,
        }
        self._service = Service(
            name="emulator",
            argv=[
                *(sys.executable, "-m", "airflow_provider_jimeng.emulator"),
                *(str(part) for pair in settings.items() for part in pair),
                *self.options,
            ],
            env=inherited_environment(),
            log_file=self.home / "output" / "emulator.log",
        )
        self._service.start()
        try:
            wait_for_port(self.port, self._service)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._service is not None:
            stop_all([self._service])


@dataclass(slots=True)
class Clock:
    """Return the real time plus the seconds that a test has added."""

    ahead: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


class WatchedEmulator(JimengEmulator):
    """An emulator that calls `before_media` once before it answers the next request for a video, `after_media` once after."""

    before_media: Callable[[], None] | None = None
    after_media: Callable[[], None] | None = None

    def handle(self, request: Request) -> HttpResult:
        """Answer a request."""
        if not request.path.startswith(MEDIA_PREFIX):
            return super().handle(request)
        before, self.before_media = self.before_media, None
        if before is not None:
            before()
        outcome = super().handle(request)
        after, self.after_media = self.after_media, None
        if after is not None:
            after()
        return outcome


class HoldingEmulator(JimengEmulator):
    """An emulator that can accept submits and hold back its responses."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._answers = threading.Event()
        self._answers.set()
        self._lock = threading.Lock()
        self.waiting = 0
        """The number of clients that wait for the response to a submit."""

    def hold_answers(self) -> None:
        """Hold back the response to every submit from now on."""
        self._answers.clear()

    def give_answers(self) -> None:
        """Send every response that was held back, and hold back no more."""
        self._answers.set()

    def handle(self, request: Request) -> HttpResult:
        """Answer a request."""
        outcome = super().handle(request)
        if "Action=CVSync2AsyncSubmitTask" in request.query_string and not self._answers.is_set():
            with self._lock:
                self.waiting += 1
            self._answers.wait()
            with self._lock:
                self.waiting -= 1
        return outcome
