# SPDX-License-Identifier: Apache-2.0
"""The client of event loops: the methods of ``client.sync_client``, on connections that clients of a loop share.

All clients with the same endpoint, TLS and proxy settings and timeout share their connections, and all clients of one
account share one rate limiter. A submit or a cancel always uses a new connection, as in a worker.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, cast
from weakref import WeakKeyDictionary

import httpx

from airflow_provider_jimeng.client.sync_client import (
    CLOSED_BY_THE_SERVER,
    MAX_REPLY_BYTES,
    TOO_LONG,
    Exchange,
    Reply,
    Requests,
)
from airflow_provider_jimeng.client.transport import TOO_LATE, open_async_transport, starts_sending
from airflow_provider_jimeng.core.errors import RateLimitedError
from airflow_provider_jimeng.core.wire import (
    QUERY_ACTION,
    Call,
    CancelReply,
    QueryReply,
    SubmitReply,
    cancel_call,
    parse_cancel,
    query_call,
    submit_call,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from airflow_provider_jimeng.client.auth import Auth
    from airflow_provider_jimeng.client.settings import ClientSettings
    from airflow_provider_jimeng.core.parameters import RenderRequest

MAX_POLLS_IN_FLIGHT = 24
"""The limit of simultaneous queries on shared connections. It is more than the API's request rate needs."""
MAX_OTHERS_IN_FLIGHT = 8
"""The limit of simultaneous submits and cancels, which do not wait for queries."""


class AsyncJimengClient:
    """The API as methods. Use it in an ``async with`` block.

    :param auth: the authentication. Clients of one account can share it, so that they share the corrected time.
    :param transport: replaces the network. It is closed with the last client that uses it.
    """

    def __init__(
        self,
        settings: ClientSettings,
        *,
        auth: Auth | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.settings = settings
        self._requests = Requests(settings, auth)
        self.auth = self._requests.auth
        self._transport = transport
        self._connections: _Connections | None = None
        self._pace: Pace | None = None

    async def __aenter__(self) -> Self:
        """Join the connections and the pace of the event loop. Nothing is sent."""
        shared = _LOOPS.setdefault(asyncio.get_running_loop(), _Shared())
        self._connections = shared.join(self.settings, self._transport)
        self._pace = shared.pace(self.settings)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Leave the connections. The last client that leaves closes them."""
        connections, self._connections = self._connections, None
        loop = asyncio.get_running_loop()
        if connections is not None and (shared := _LOOPS.get(loop)) is not None:
            is_last = shared.leave(connections)
            if not shared.connections:
                _LOOPS.pop(loop, None)
            if is_last:
                await connections.aclose()

    async def submit(
        self, request: RenderRequest, *, on_sent: Callable[[], None] | None = None
    ) -> SubmitReply:
        """Submit a render. This is the call that costs money.

        :param on_sent: called before the first byte of the request is sent, after the connection is made.
        """
        return await self._exchange(submit_call(request), self._requests.parse_submit, on_sent=on_sent)

    async def query(
        self, req_key: str, task_id: str, *, aigc_meta: Mapping[str, str] | None = None
    ) -> QueryReply:
        """Return the status of a render; with ``aigc_meta``, the video behind the link of the reply is labelled."""
        call = query_call(req_key=req_key, task_id=task_id, aigc_meta=aigc_meta)
        return await self._exchange(call, self._requests.parse_query)

    async def cancel(self, req_key: str, task_id: str) -> CancelReply:
        """Cancel a render. The API cancels queued renders only."""
        return await self._exchange(cancel_call(req_key=req_key, task_id=task_id), parse_cancel)

    async def _exchange(
        self,
        call: Call,
        parse: Callable[[int, bytes], Reply],
        *,
        on_sent: Callable[[], None] | None = None,
    ) -> Reply:
        """Wait until a request can start, send a call and return its reply as the parser reads it."""
        connections, pace = self._connections, self._pace
        if connections is None or pace is None:
            raise RuntimeError("The client is not open: use it in an async with block.")
        is_routine = call.action == QUERY_ACTION
        async with connections.sender(is_routine=is_routine) as sender:
            started = await pace.turn(is_routine=is_routine)
            try:
                with Exchange(call, self._requests) as exchange:
                    for request in exchange.requests():
                        exchange.answer(*await sender.send(request, exchange.seconds, on_sent=on_sent))
                    reply = exchange.read(parse)
            except RateLimitedError:
                pace.refused(started)
                raise
        pace.accepted()
        return reply


class _AsyncSender:
    """Sends one request at a time and reads its reply whole and within bounds.

    :param transport: replaces the network. The sender does not close it.
    :param keep_connection: the next request can use the connection of the last one. If the server has closed it, the
        request is sent a second time, so use this only for requests that can arrive twice.
    """

    def __init__(
        self,
        settings: ClientSettings,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        keep_connection: bool = False,
    ) -> None:
        self._settings = settings
        self._transport = transport
        self._keep_connection = keep_connection and transport is None
        self._http: httpx.AsyncBaseTransport | None = transport
        self._has_connection = False
        self._uses_aiohttp = transport is None and settings.transport == "aiohttp"
        # httpx-aiohttp reports a connection that the server has closed as one that could not be made.
        self._closed = (*CLOSED_BY_THE_SERVER, *[httpx.ConnectTimeout] * self._uses_aiohttp)

    def open(self) -> httpx.AsyncBaseTransport:
        """Return the httpx transport, built if necessary. Nothing is sent.

        :raises SettingsError: a field of the connection cannot be used.
        """
        if self._http is None:
            self._http = open_async_transport(self._settings, keep_connection=self._keep_connection)
        return self._http

    async def aclose(self) -> None:
        """Close the connection. The next request makes a new one."""
        if self._transport is None and self._http is not None:
            http, self._http, self._has_connection = self._http, None, False
            await http.aclose()

    async def send(
        self, request: httpx.Request, seconds: float, *, on_sent: Callable[[], None] | None = None
    ) -> tuple[httpx.Response, list[bytes]]:
        """Send a request. Return the head of the reply, and its body as it came.

        :param seconds: how long request and reply can take together.
        """
        pieces: list[bytes] = []
        size = 0
        if on_sent is not None:
            self._trace(request, on_sent)
        try:
            async with asyncio.timeout(seconds):
                response = await self._head(request)
                stream = cast("httpx.AsyncByteStream", response.stream)
                try:
                    async for piece in stream:
                        size += len(piece)
                        if size > MAX_REPLY_BYTES:
                            raise httpx.ReadError(TOO_LONG)
                        pieces.append(piece)
                finally:
                    await stream.aclose()
        except BaseException as error:
            await self.aclose()  # Half a reply can be left on the connection, so no other request can use it.
            if isinstance(error, TimeoutError):
                raise httpx.ReadTimeout(TOO_LATE) from None
            if self._uses_aiohttp and _leaves_open(error):
                raise httpx.ReadError(type(error).__name__) from None
            raise
        self._has_connection = self._keep_connection
        return response, pieces

    async def _head(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self.open().handle_async_request(request)
        except self._closed:
            if not self._has_connection:
                raise
        await self.aclose()
        return await self.open().handle_async_request(request)

    def _trace(self, request: httpx.Request, on_sent: Callable[[], None]) -> None:
        if self._transport is not None or self._uses_aiohttp:
            on_sent()  # Another transport does not report when it sends.
            return

        async def trace(event: str, info: dict[str, Any]) -> None:
            if starts_sending(event, info):
                on_sent()

        request.extensions = {**request.extensions, "trace": trace}


def _leaves_open(error: BaseException) -> bool:
    """Return whether an error leaves open what became of a request that aiohttp carried.

    ``httpx-aiohttp`` reports a connection that broke during a request as one that was never made. So none of its errors
    shows that nothing was sent.
    """
    import aiohttp  # noqa: PLC0415 - an extra

    if isinstance(error, httpx.ReadTimeout):
        return False
    return isinstance(error, httpx.TransportError | aiohttp.ClientError | OSError)


ROUTINE_SHARE = 0.8
"""The part of the rate that routine polls can use."""
SLOWEST_SHARE = 1 / 50
"""The rate never falls below this part of the configured one."""
RECOVERY_STEPS = 50
"""Number of accepted requests that bring the rate from zero back to the configured one."""
BURST_SECONDS = 0.05
"""Requests that are due within this time start together, because so short a sleep costs more than it helps."""


class RateLimiter:
    """Spaces the starts of requests. Every ``now`` is in seconds of one monotonic clock.

    The vendor does not publish its request rate, so this starts at the configured rate, halves when the API answers
    50429, and recovers step by step. Routine polls use at most a share of the rate, so that a submit or a cancel never
    waits behind hundreds of polls.

    At most one caller of each kind (routine or not) can wait at a time, so :meth:`delay` does not need a queue.
    """

    __slots__ = ("_last_cut", "_max_rate", "_next_routine", "_next_start", "_rate")

    def __init__(self, max_requests_per_second: float) -> None:
        self._max_rate = max_requests_per_second
        self._rate = max_requests_per_second
        self._next_start = float("-inf")
        self._next_routine = float("-inf")
        self._last_cut = float("-inf")

    def cap(self, max_requests_per_second: float) -> None:
        """Change the highest rate, because the connection was changed."""
        self._max_rate = max_requests_per_second
        self._rate = min(self._rate, max_requests_per_second)

    @property
    def rate(self) -> float:
        """Requests a second at present."""
        return self._rate

    def delay(self, now: float, *, routine: bool) -> float:
        """Return the seconds after which to call this again; 0 if the request can start now, and then it counts."""
        due = max(self._next_start, self._next_routine) if routine else self._next_start
        if due - now > BURST_SECONDS:
            return due - now
        self._next_start = max(now, self._next_start) + 1 / self._rate
        if routine:
            self._next_routine = max(now, self._next_routine) + 1 / (self._rate * ROUTINE_SHARE)
        return 0.0

    def accepted(self) -> None:
        """Raise the rate a little, because a request was not refused for its rate."""
        if self._rate < self._max_rate:
            self._rate = min(self._max_rate, self._rate + self._max_rate / RECOVERY_STEPS)

    def refused(self, started: float, now: float) -> None:
        """Halve the rate, because a request that started at ``started`` was refused for its rate.

        Requests that were sent before the rate was last halved say nothing about the new rate.
        """
        if started < self._last_cut:
            return
        self._last_cut = now
        self._rate = max(self._rate / 2, self._max_rate * SLOWEST_SHARE)
        pause = now + 1 / self._rate
        self._next_start = max(self._next_start, pause)
        self._next_routine = max(self._next_routine, pause)


class Pace:
    """Lets requests start as the rate limiter decides. One request of each kind asks and sleeps, the others queue."""

    def __init__(self, limiter: RateLimiter) -> None:
        self._limiter = limiter
        self._queues = {True: asyncio.Lock(), False: asyncio.Lock()}
        self._loop = asyncio.get_running_loop()

    async def turn(self, *, is_routine: bool) -> float:
        """Wait until a request can start and return the time of its start."""
        async with self._queues[is_routine]:
            while True:
                now = self._loop.time()
                seconds = self._limiter.delay(now, routine=is_routine)
                if not seconds:
                    return now
                await asyncio.sleep(seconds)

    def cap(self, max_requests_per_second: float) -> None:
        """Use the highest rate of the client that joined last: the connection can have been changed."""
        self._limiter.cap(max_requests_per_second)

    def accepted(self) -> None:
        """Tell the limiter that a request was not refused for its rate."""
        self._limiter.accepted()

    def refused(self, started: float) -> None:
        """Tell the limiter that a request was refused for its rate."""
        self._limiter.refused(started, self._loop.time())


class _Connections:
    """Shared connections of an event loop.

    Each query borrows a sender with one connection, the one used last if several are free. Requests that queue in the
    pool of one httpx client cost more CPU than all the rest of a poll.
    """

    def __init__(
        self, key: object, settings: ClientSettings, transport: httpx.AsyncBaseTransport | None
    ) -> None:
        self.key = key
        self.users = 0
        self._settings = settings
        self._transport = transport
        self._others = asyncio.Semaphore(MAX_OTHERS_IN_FLIGHT)
        self._free: asyncio.LifoQueue[_AsyncSender] = asyncio.LifoQueue()
        self._queries = [
            _AsyncSender(settings, transport, keep_connection=True) for _ in range(MAX_POLLS_IN_FLIGHT)
        ]
        self._queries[-1].open()  # A field of the connection that cannot be used raises here.
        for sender in self._queries:
            self._free.put_nowait(sender)

    @asynccontextmanager
    async def sender(self, *, is_routine: bool) -> AsyncIterator[_AsyncSender]:
        """Lend a sender for one call. A query waits until one is free."""
        if is_routine:
            sender = await self._free.get()
            try:
                yield sender
            finally:
                self._free.put_nowait(sender)
            return
        async with self._others:
            sender = _AsyncSender(self._settings, self._transport)
            try:
                yield sender
            finally:
                await sender.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        for sender in self._queries:
            await sender.aclose()
        if self._transport is not None:
            await self._transport.aclose()


@dataclass(slots=True)
class _Shared:
    """The connections and paces that the clients of one event loop share."""

    connections: dict[object, _Connections] = field(default_factory=dict)
    paces: dict[str, Pace] = field(default_factory=dict)

    def join(self, settings: ClientSettings, transport: httpx.AsyncBaseTransport | None) -> _Connections:
        key = (
            settings.endpoint,
            settings.verify,
            settings.proxy,
            settings.timeout_seconds,
            settings.transport,
            transport,
        )
        connections = self.connections.get(key)
        if connections is None:
            connections = self.connections[key] = _Connections(key, settings, transport)
        connections.users += 1
        return connections

    def leave(self, connections: _Connections) -> bool:
        connections.users -= 1
        if connections.users == 0:
            del self.connections[connections.key]
        return connections.users == 0

    def pace(self, settings: ClientSettings) -> Pace:
        account, rate = settings.account, settings.max_requests_per_second
        pace = self.paces.get(account)
        if pace is None:
            pace = self.paces[account] = Pace(RateLimiter(rate))
        else:
            pace.cap(rate)
        return pace


_LOOPS: WeakKeyDictionary[asyncio.AbstractEventLoop, _Shared] = WeakKeyDictionary()
