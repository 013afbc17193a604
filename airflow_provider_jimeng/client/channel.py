"""The way of a call to the API and of its reply back: a channel of its own for a worker, shared ones on a loop.

On an event loop, everything with the same endpoint, TLS and proxy settings and timeout shares one
transport, and every account is paced by one limiter. The last one to leave closes the connections.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

import httpx

from airflow_provider_jimeng.client.http import (
    HEADERS,
    Exchange,
    Reply,
    open_async_transport,
    open_client,
    timeout_of,
)
from airflow_provider_jimeng.client.replies import AsyncBoundedTransport
from airflow_provider_jimeng.core.errors import RateLimitedError
from airflow_provider_jimeng.core.limits import RateLimiter
from airflow_provider_jimeng.core.wire import QUERY_ACTION, Call

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_jimeng.client.settings import ClientSettings

T = TypeVar("T")

_RAW_HEADERS = httpx.Headers(HEADERS).raw

MAX_POLLS_IN_FLIGHT = 24
"""Routine requests that shared connections have under way at most: more than enough for the API's request rate."""
MAX_OTHERS_IN_FLIGHT = 8
"""The same for submits and cancels, which do not wait for polls."""


class Channel:
    """A worker's channel: one connection pool, closed with the channel."""

    def __init__(
        self, settings: ClientSettings, auth: httpx.Auth, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._settings = settings
        self._auth = auth
        self._transport = transport
        self._targets = _Targets(settings)
        self._http: httpx.Client | None = None

    def open(self) -> None:
        """Build the HTTP client; nothing is sent."""
        self._http = open_client(self._settings, self._transport)

    def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            self._http.close()
            self._http = None

    def exchange(
        self,
        call: Call,
        parse: Callable[[int, bytes], Reply],
        *,
        on_sent: Callable[[], None] | None = None,
    ) -> Reply:
        """Send a call and return its reply as the parser reads it.

        :param on_sent: called before the first byte of the request leaves, after the connection is made.
        """
        http = _opened(self._http)
        with Exchange(call.action, self._targets.host) as exchange:
            request = http.build_request("POST", self._targets.url(call), content=call.body)
            if on_sent is not None and self._transport is None:
                request.extensions["trace"] = _before_the_first_byte(on_sent)
            elif on_sent is not None:  # another transport does not tell when it sends
                on_sent()
            response = http.send(request, auth=self._auth)
            if on_sent is not None:
                on_sent()  # also if the trace did not tell
            return exchange.read(response, parse)


class AsyncChannel:
    """A channel on an event loop: the connections and the pace are shared with all others of the loop."""

    def __init__(
        self, settings: ClientSettings, auth: httpx.Auth, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._settings = settings
        self._auth = auth
        self._transport = transport
        self._targets = _Targets(settings)
        self._timeout = timeout_of(settings).as_dict()
        self._line: _Line | None = None
        self._pace: Pace | None = None

    async def open(self) -> None:
        """Join those of the loop; nothing is sent."""
        shared = _LOOPS.setdefault(asyncio.get_running_loop(), _Shared())
        self._line = shared.join(self._settings, self._transport)
        self._pace = shared.pace(self._settings)

    async def close(self) -> None:
        """Leave them; the last one to leave closes the connections."""
        line, self._line = self._line, None
        loop = asyncio.get_running_loop()
        if line is not None and (shared := _LOOPS.get(loop)) is not None:
            last = shared.leave(line)
            if not shared.lines:
                _LOOPS.pop(loop, None)
            if last:
                await line.transport.aclose()

    async def exchange(
        self,
        call: Call,
        parse: Callable[[int, bytes], Reply],
        *,
        on_sent: Callable[[], None] | None = None,
    ) -> Reply:
        """Wait for a turn, send a call and return its reply as the parser reads it.

        :param on_sent: called before the first byte of the request leaves.
        """
        line, pace = _opened(self._line), _opened(self._pace)
        routine = call.action == QUERY_ACTION
        async with line.gates[routine]:
            started = await pace.turn(routine=routine)
            try:
                with Exchange(call.action, self._targets.host) as exchange:
                    if on_sent is not None:
                        on_sent()
                    response = await self._send(line.transport, call)
                    reply = exchange.read(response, parse)
            except RateLimitedError:
                pace.refused(started)
                raise
        pace.accepted()
        return reply

    async def _send(self, transport: httpx.AsyncBaseTransport, call: Call) -> httpx.Response:
        """Do what ``httpx.AsyncClient`` does with a request that follows no redirect and keeps no cookie."""
        request = httpx.Request(
            "POST",
            self._targets.url(call),
            headers=_RAW_HEADERS,
            content=call.body,
            extensions={"timeout": self._timeout},
        )
        flow = self._auth.async_auth_flow(request)
        try:
            request = await anext(flow)
            while True:
                response = await transport.handle_async_request(request)
                response.request = request
                await response.aread()
                try:
                    request = await flow.asend(response)
                except StopAsyncIteration:
                    return response
        finally:
            await flow.aclose()


class Pace:
    """The loop around the limiter's decisions: one caller of each kind asks and sleeps, the others queue."""

    def __init__(self, limiter: RateLimiter) -> None:
        self._limiter = limiter
        self._lanes = {True: asyncio.Lock(), False: asyncio.Lock()}
        self._loop = asyncio.get_running_loop()

    async def turn(self, *, routine: bool) -> float:
        """Return, when the request may start, the time it starts at."""
        async with self._lanes[routine]:
            while True:
                now = self._loop.time()
                seconds = self._limiter.delay(now, routine=routine)
                if not seconds:
                    return now
                await asyncio.sleep(seconds)

    def cap(self, max_requests_per_second: float) -> None:
        """Take the ceiling of who joined last: the account is one, and its connection may have been changed."""
        self._limiter.cap(max_requests_per_second)

    def accepted(self) -> None:
        """Tell the limiter that a request was not refused for its rate."""
        self._limiter.accepted()

    def refused(self, started: float) -> None:
        """Tell the limiter that a request was refused for its rate."""
        self._limiter.refused(started, self._loop.time())


class _Targets:
    """The URLs of the endpoint, by action: building one costs more than signing it."""

    def __init__(self, settings: ClientSettings) -> None:
        self._endpoint = settings.endpoint
        self.host = settings.host
        self._urls: dict[str, httpx.URL] = {}

    def url(self, call: Call) -> httpx.URL:
        url = self._urls.get(call.action)
        if url is None:
            url = self._urls[call.action] = httpx.URL(self._endpoint, params=call.query)
        return url


@dataclass(eq=False, slots=True)
class _Line:
    """Shared connections. Routine requests and others pass a gate each, which limits how many there are."""

    key: object = field(repr=False)
    transport: httpx.AsyncBaseTransport
    gates: dict[bool, asyncio.Semaphore] = field(
        default_factory=lambda: {
            True: asyncio.Semaphore(MAX_POLLS_IN_FLIGHT),
            False: asyncio.Semaphore(MAX_OTHERS_IN_FLIGHT),
        }
    )
    users: int = 0


@dataclass(slots=True)
class _Shared:
    """What the channels of one event loop share."""

    lines: dict[object, _Line] = field(default_factory=dict)
    paces: dict[str, Pace] = field(default_factory=dict)

    def join(self, settings: ClientSettings, transport: httpx.AsyncBaseTransport | None) -> _Line:
        key = (
            settings.endpoint,
            settings.verify,
            settings.proxy,
            settings.timeout_seconds,
            settings.transport,
            transport,
        )
        line = self.lines.get(key)
        if line is None:
            line = self.lines[key] = _Line(
                key, AsyncBoundedTransport(transport) if transport else open_async_transport(settings)
            )
        line.users += 1
        return line

    def leave(self, line: _Line) -> bool:
        line.users -= 1
        if line.users == 0:
            del self.lines[line.key]
        return line.users == 0

    def pace(self, settings: ClientSettings) -> Pace:
        pace = self.paces.get(settings.account)
        if pace is None:
            pace = self.paces[settings.account] = Pace(RateLimiter(settings.max_requests_per_second))
        pace.cap(settings.max_requests_per_second)
        return pace


_LOOPS: WeakKeyDictionary[asyncio.AbstractEventLoop, _Shared] = WeakKeyDictionary()


def _before_the_first_byte(on_sent: Callable[[], None]) -> Callable[[str, dict[str, Any]], None]:
    """Return a trace of httpcore that tells when a POST begins to leave; the CONNECT to a proxy is not one."""

    def trace(event: str, info: dict[str, Any]) -> None:
        if event.endswith(".send_request_headers.started") and info["request"].method == b"POST":
            on_sent()

    return trace


def _opened(value: T | None) -> T:
    if value is None:
        raise RuntimeError("The client is not open: use it in a with block.")
    return value
