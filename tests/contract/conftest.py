# SPDX-License-Identifier: Apache-2.0
"""One API in five bodies: sync and async client, in process and over a socket, httpx and aiohttp below."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jimeng.client.async_client import AsyncJimengClient
from airflow_provider_jimeng.client.settings import ClientSettings
from airflow_provider_jimeng.client.sync_client import JimengClient
from airflow_provider_jimeng.emulator import JimengEmulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_jimeng.core.parameters import RenderRequest
    from airflow_provider_jimeng.core.wire import CancelReply, QueryReply, SubmitReply


@dataclass(slots=True)
class Clock:
    """The emulator's clock: real time and what a test adds to it."""

    ahead: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@dataclass(slots=True)
class Api:
    """The methods of a client, whichever it is, and the emulator behind it."""

    emulator: JimengEmulator
    clock: Clock
    call: Callable[..., Any]
    url: str
    stack: ExitStack = field(repr=False)

    def submit(self, request: RenderRequest) -> SubmitReply:
        reply: SubmitReply = self.call("submit", request)
        return reply

    def query(self, req_key: str, task_id: str, **options: Any) -> QueryReply:
        reply: QueryReply = self.call("query", req_key, task_id, **options)
        return reply

    def cancel(self, req_key: str, task_id: str) -> CancelReply:
        reply: CancelReply = self.call("cancel", req_key, task_id)
        return reply


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes an API: arguments of the emulator, and changes to the connection that leads to it."""

    kind: str
    carrier: str
    stack: ExitStack

    def __call__(
        self,
        *,
        bearer: str | None = None,
        connection: dict[str, Any] | None = None,
        path: str = "",
        **options: Any,
    ) -> Api:
        clock = Clock()
        emulator = JimengEmulator(**{"render_seconds": 100.0, "clock": clock, "bearer": bearer, **options})
        url = (
            self.stack.enter_context(emulator.serve()).url
            if self.carrier == "socket"
            else "http://emulator.test"
        )
        transport = None if self.carrier == "socket" else emulator.transport()
        keys = {"login": emulator.keyring.access_key, "password": bearer or emulator.keyring.secret_key}
        given = {"host": url + path, **keys, **(connection or {})}
        extra = {"max_requests_per_second": 10_000, "timeout_seconds": 5, **given.pop("extra", {})}
        if self.kind == "aiohttp":
            extra["transport"] = "aiohttp"
        if bearer:
            extra["auth"] = "bearer"
        settings = ClientSettings.from_connection_fields(**given, extra=extra)
        call = self._sync(settings, transport) if self.kind == "sync" else self._async(settings, transport)
        return Api(emulator=emulator, clock=clock, call=call, url=url, stack=self.stack)

    def _sync(self, settings: ClientSettings, transport: Any) -> Callable[..., Any]:
        client = self.stack.enter_context(JimengClient(settings, transport=transport))
        return lambda method, *arguments, **options: getattr(client, method)(*arguments, **options)

    def _async(self, settings: ClientSettings, transport: Any) -> Callable[..., Any]:
        runner = self.stack.enter_context(asyncio.Runner())
        client = AsyncJimengClient(settings, transport=transport)
        runner.run(client.__aenter__())
        self.stack.callback(lambda: runner.run(client.__aexit__()))
        return lambda method, *arguments, **options: runner.run(
            getattr(client, method)(*arguments, **options)
        )


BODIES = ["sync-memory", "sync-socket", "async-memory", "async-socket", "aiohttp-socket"]


@pytest.fixture(params=BODIES)
def make_api(request: pytest.FixtureRequest) -> Iterator[Maker]:
    kind, _, carrier = request.param.partition("-")
    with ExitStack() as stack:
        yield Maker(kind, carrier, stack)


@pytest.fixture
def api(make_api: Maker) -> Api:
    return make_api()


@pytest.fixture
def memory_api() -> Iterator[Api]:
    """The sync client in process: for tables whose every row would say the same of the other three."""
    with ExitStack() as stack:
        yield Maker("sync", "memory", stack)()
