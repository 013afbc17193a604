"""The channel of a client: which connection carries a call, and when the call may start.

A worker has a channel of its own. On an event loop all channels with the same endpoint, TLS and proxy settings and
timeout share their connections, and all channels of one account share one rate limiter.

Queries use kept connections. A submit or a cancel always uses a new one: the server can close a kept connection at
the moment of the submit, and nobody would know whether the submit was accepted.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

import httpx

from airflow_provider_jimeng.client.sender import AsyncSender, Sender
from airflow_provider_jimeng.client.transport import HEADERS, Exchange, Reply
from airflow_provider_jimeng.core.errors import RateLimitedError
from airflow_provider_jimeng.core.limits import RateLimiter
from airflow_provider_jimeng.core.wire import QUERY_ACTION, Call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from airflow_provider_jimeng.client.settings import ClientSettings

T = TypeVar("T")

MAX_POLLS_IN_FLIGHT = 24
"""The limit of simultaneous queries on shared connections. It is more than the API's request rate needs."""
MAX_OTHERS_IN_FLIGHT = 8
"""The limit of simultaneous submits and cancels, which do not wait for queries."""


class Channel:
    """The channel of a worker. It is closed with its client."""

    def __init__(
        self, settings: ClientSettings, auth: httpx.Auth, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._settings = settings
        self._auth = auth
        self._transport = transport
        self._targets = _Targets(settings)
        self._queries: Sender | None = None

    def open(self) -> None:
        """Build the transport of the queries. Nothing is sent."""
        queries = Sender(self._settings, self._transport, keep_connection=True)
        queries.open()
        self._queries = queries

    def close(self) -> None:
        """Close the connections."""
        queries, self._queries = self._queries, None
        if queries is not None:
            queries.close()
            if self._transport is not None:
                self._transport.close()

    def exchange(
        self,
        call: Call,
        parse: Callable[[int, bytes], Reply],
        *,
        on_sent: Callable[[], None] | None = None,
    ) -> Reply:
        """Send a call and return its reply as the parser reads it.

        :param on_sent: called before the first byte of the request is sent, after the connection is made.
        """
        queries = _opened(self._queries)
        with self._sender_of(call, queries) as sender, Exchange(call.action, self._targets.host) as exchange:
            return exchange.read(self._send(sender, call, on_sent), parse)

    @contextmanager
    def _sender_of(self, call: Call, queries: Sender) -> Iterator[Sender]:
        if call.action == QUERY_ACTION:
            yield queries
            return
        sender = Sender(self._settings, self._transport)
        try:
            yield sender
        finally:
            sender.close()

    def _send(self, sender: Sender, call: Call, on_sent: Callable[[], None] | None) -> httpx.Response:
        flow = self._auth.auth_flow(self._targets.request(call))
        request = next(flow)
        while True:
            response = sender.send(request, on_sent=on_sent)
            try:
                request = flow.send(response)
            except StopIteration:
                return response


class AsyncChannel:
    """The channel of a client on an event loop."""

    def __init__(
        self, settings: ClientSettings, auth: httpx.Auth, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._settings = settings
        self._auth = auth
        self._transport = transport
        self._targets = _Targets(settings)
        self._connections: _Connections | None = None
        self._pace: Pace | None = None

    async def open(self) -> None:
        """Join the connections and the pace of the event loop. Nothing is sent."""
        shared = _LOOPS.setdefault(asyncio.get_running_loop(), _Shared())
        self._connections = shared.join(self._settings, self._transport)
        self._pace = shared.pace(self._settings)

    async def close(self) -> None:
        """Leave the connections. The last channel that leaves closes them."""
        connections, self._connections = self._connections, None
        loop = asyncio.get_running_loop()
        if connections is not None and (shared := _LOOPS.get(loop)) is not None:
            is_last = shared.leave(connections)
            if not shared.connections:
                _LOOPS.pop(loop, None)
            if is_last:
                await connections.aclose()

    async def exchange(
        self,
        call: Call,
        parse: Callable[[int, bytes], Reply],
        *,
        on_sent: Callable[[], None] | None = None,
    ) -> Reply:
        """Wait until a request may start, send a call and return its reply as the parser reads it.

        :param on_sent: called before the first byte of the request is sent, after the connection is made.
        """
        connections, pace = _opened(self._connections), _opened(self._pace)
        routine = call.action == QUERY_ACTION
        async with connections.sender(routine=routine) as sender:
            started = await pace.turn(routine=routine)
            try:
                with Exchange(call.action, self._targets.host) as exchange:
                    reply = exchange.read(await self._send(sender, call, on_sent), parse)
            except RateLimitedError:
                pace.refused(started)
                raise
        pace.accepted()
        return reply

    async def _send(
        self, sender: AsyncSender, call: Call, on_sent: Callable[[], None] | None
    ) -> httpx.Response:
        flow = self._auth.auth_flow(self._targets.request(call))
        request = next(flow)
        while True:
            response = await sender.send(request, on_sent=on_sent)
            try:
                request = flow.send(response)
            except StopIteration:
                return response


class Pace:
    """Let requests start as the rate limiter decides. One request of each kind asks and sleeps, the others queue."""

    def __init__(self, limiter: RateLimiter) -> None:
        self._limiter = limiter
        self._queues = {True: asyncio.Lock(), False: asyncio.Lock()}
        self._loop = asyncio.get_running_loop()

    async def turn(self, *, routine: bool) -> float:
        """Wait until a request may start and return the time of its start."""
        async with self._queues[routine]:
            while True:
                now = self._loop.time()
                seconds = self._limiter.delay(now, routine=routine)
                if not seconds:
                    return now
                await asyncio.sleep(seconds)

    def cap(self, max_requests_per_second: float) -> None:
        """Use the highest rate of the channel that joined last: the account's connection may have been changed."""
        self._limiter.cap(max_requests_per_second)

    def accepted(self) -> None:
        """Tell the limiter that a request was not refused for its rate."""
        self._limiter.accepted()

    def refused(self, started: float) -> None:
        """Tell the limiter that a request was refused for its rate."""
        self._limiter.refused(started, self._loop.time())


class _Targets:
    """The requests of an endpoint. The URLs are kept by action: building one costs more CPU than signing it."""

    def __init__(self, settings: ClientSettings) -> None:
        self._endpoint = settings.endpoint
        self.host = settings.host
        self._urls: dict[str, httpx.URL] = {}

    def request(self, call: Call) -> httpx.Request:
        url = self._urls.get(call.action)
        if url is None:
            url = self._urls[call.action] = httpx.URL(self._endpoint, params=call.query)
        return httpx.Request("POST", url, headers=HEADERS, content=call.body)


class _Connections:
    """Shared connections of an event loop.

    Each query borrows a sender with one connection, the one used last if several are free. Requests that
    queue in the pool of one httpx client cost more CPU than all the rest of a poll.
    """

    def __init__(
        self, key: object, settings: ClientSettings, transport: httpx.AsyncBaseTransport | None
    ) -> None:
        self.key = key
        self.users = 0
        self._settings = settings
        self._transport = transport
        self._others = asyncio.Semaphore(MAX_OTHERS_IN_FLIGHT)
        self._free: asyncio.LifoQueue[AsyncSender] = asyncio.LifoQueue()
        self._queries = [
            AsyncSender(settings, transport, keep_connection=True) for _ in range(MAX_POLLS_IN_FLIGHT)
        ]
        self._queries[-1].open()  # A field of the connection that cannot be used raises here.
        for sender in self._queries:
            self._free.put_nowait(sender)

    @asynccontextmanager
    async def sender(self, *, routine: bool) -> AsyncIterator[AsyncSender]:
        """Lend a sender for one call. A query waits until one is free."""
        if routine:
            sender = await self._free.get()
            try:
                yield sender
            finally:
                self._free.put_nowait(sender)
            return
        async with self._others:
            sender = AsyncSender(self._settings, self._transport)
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
    """The connections and paces that the channels of one event loop share."""

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
        pace = self.paces.get(settings.account)
        if pace is None:
            pace = self.paces[settings.account] = Pace(RateLimiter(settings.max_requests_per_second))
        pace.cap(settings.max_requests_per_second)
        return pace


_LOOPS: WeakKeyDictionary[asyncio.AbstractEventLoop, _Shared] = WeakKeyDictionary()


def _opened(value: T | None) -> T:
    if value is None:
        raise RuntimeError("The sender is not open: use it in a with block.")
    return value
