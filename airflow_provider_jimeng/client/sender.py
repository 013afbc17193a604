"""Send one request at a time and read each reply whole and within bounds, in a worker or on an event loop.

The replies of the API are small and come at once. A reply without end would fill the memory of a triggerer, and so
would a small reply that unpacks to gigabytes. A reply that arrives byte by byte would outlast every deadline.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import httpx

from airflow_provider_jimeng.client.codings import READABLE, codings_of, unpacked
from airflow_provider_jimeng.client.time_limit import TOO_LATE, TimeLimit
from airflow_provider_jimeng.client.transport import open_async_transport, open_transport, timeout_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_jimeng.client.settings import ClientSettings

MAX_REPLY_BYTES = 2 * 1024 * 1024
"""A reply has a few kilobytes. Reading the JSON of this many bytes takes less than a tenth of a second."""
SLOWEST_UPLOAD = 20_000
"""Bytes per second. An upload, such as an image of some megabytes, may be as slow as this."""
_CLOSED_BY_THE_SERVER = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
"""The errors of a request on a kept connection that the server has closed in the meantime."""


class Limits:
    """The time limits of a request: ``phases`` for httpx, and one for the whole."""

    def __init__(self, settings: ClientSettings) -> None:
        self.phases = timeout_of(settings).as_dict()
        self._seconds = sum(self.phases[phase] or 0.0 for phase in ("connect", "write", "read"))

    def whole(self, request: httpx.Request) -> float:
        """Return the seconds that a request and its reply may take together."""
        return self._seconds + len(request.content) / SLOWEST_UPLOAD


class ReplyBody:
    """Collect the body of one reply."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._bytes = 0

    def add(self, piece: bytes) -> None:
        """Add the next piece.

        :raises httpx.ReadError: the reply is too long.
        """
        self._bytes += len(piece)
        if self._bytes > MAX_REPLY_BYTES:
            raise httpx.ReadError(f"the reply is longer than {MAX_REPLY_BYTES:,} bytes")
        self._pieces.append(piece)

    def whole(self, request: httpx.Request, response: httpx.Response) -> httpx.Response:
        """Return the reply with its body, unpacked. httpx would unpack it without a limit."""
        headers = response.headers
        codings = codings_of(headers.get("Content-Encoding"))
        body = self
        if codings and READABLE.issuperset(codings):
            body = ReplyBody()
            for piece in unpacked(self._pieces, codings):
                body.add(piece)
        plain = [
            pair for pair in headers.raw if pair[0].lower() not in (b"content-encoding", b"content-length")
        ]
        return httpx.Response(
            response.status_code, headers=plain, content=b"".join(body._pieces), request=request
        )


class Sender:
    """Send the requests of a worker.

    :param transport: replaces the network. The sender does not close it.
    :param keep_connection: the next request can use the connection of the last one. If the server has closed it, the
        request is sent a second time, so use this only for requests that may arrive twice.
    """

    def __init__(
        self,
        settings: ClientSettings,
        transport: httpx.BaseTransport | None = None,
        *,
        keep_connection: bool = False,
    ) -> None:
        self._settings = settings
        self._transport = transport
        self._keep_connection = keep_connection and transport is None
        self._limits = Limits(settings)
        self._http: httpx.BaseTransport | None = transport
        self._stream: Any = None
        """The kept connection, which the time limit has to know."""

    def open(self) -> httpx.BaseTransport:
        """Return the httpx transport, built if necessary. Nothing is sent.

        :raises SettingsError: a field of the connection cannot be used.
        """
        if self._http is None:
            self._http = open_transport(self._settings, keep_connection=self._keep_connection)
        return self._http

    def close(self) -> None:
        """Close the connection. The next request makes a new one."""
        if self._transport is None and self._http is not None:
            http, self._http, self._stream = self._http, None, None
            http.close()

    def send(self, request: httpx.Request, *, on_sent: Callable[[], None] | None = None) -> httpx.Response:
        """Send a request and return its whole reply.

        :param on_sent: called before the first byte of the request is sent, after the connection is made.
        """
        body = ReplyBody()
        try:
            with TimeLimit(self._limits.whole(request), stream=self._stream) as limit, limit.enforced():
                request.extensions = {"timeout": self._limits.phases, "trace": self._trace(limit, on_sent)}
                response = self._head(request, limit)
                stream = cast("httpx.SyncByteStream", response.stream)
                try:
                    for piece in stream:
                        body.add(piece)
                finally:
                    stream.close()
        except BaseException:
            self.close()  # Half a reply can be left on the connection, so no other request may use it.
            raise
        if self._keep_connection:
            self._stream = limit.stream
        return body.whole(request, response)

    def _head(self, request: httpx.Request, limit: TimeLimit) -> httpx.Response:
        try:
            return self.open().handle_request(request)
        except _CLOSED_BY_THE_SERVER:
            if self._stream is None or limit.is_late:
                raise
        self.close()
        return self.open().handle_request(request)

    def _trace(
        self, limit: TimeLimit, on_sent: Callable[[], None] | None
    ) -> Callable[[str, dict[str, Any]], None]:
        if on_sent is None:
            return limit.trace
        if self._transport is not None:
            on_sent()  # Another transport does not report when it sends.
            return limit.trace

        def trace(event: str, info: dict[str, Any]) -> None:
            limit.trace(event, info)
            if _starts_sending(event, info):
                on_sent()

        return trace


class AsyncSender:
    """Send the requests of an event loop; see :class:`Sender`."""

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
        self._limits = Limits(settings)
        self._http: httpx.AsyncBaseTransport | None = transport
        self._has_connection = False
        self._uses_aiohttp = transport is None and settings.transport == "aiohttp"
        # httpx-aiohttp reports a connection that the server has closed as one that could not be made.
        self._closed = (*_CLOSED_BY_THE_SERVER, *[httpx.ConnectTimeout] * self._uses_aiohttp)

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
        self, request: httpx.Request, *, on_sent: Callable[[], None] | None = None
    ) -> httpx.Response:
        """Send a request and return its whole reply.

        :param on_sent: called before the first byte of the request is sent, after the connection is made.
        """
        body = ReplyBody()
        request.extensions = {"timeout": self._limits.phases}
        if on_sent is not None:
            self._trace(request, on_sent)
        try:
            async with asyncio.timeout(self._limits.whole(request)):
                response = await self._head(request)
                stream = cast("httpx.AsyncByteStream", response.stream)
                try:
                    async for piece in stream:
                        body.add(piece)
                finally:
                    await stream.aclose()
        except BaseException as error:
            await self.aclose()  # Half a reply can be left on the connection, so no other request may use it.
            if isinstance(error, TimeoutError):
                raise httpx.ReadTimeout(TOO_LATE) from None
            if self._uses_aiohttp and _leaves_open(error):
                raise httpx.ReadError(type(error).__name__) from None
            raise
        self._has_connection = self._keep_connection
        return body.whole(request, response)

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
            if _starts_sending(event, info):
                on_sent()

        request.extensions = {**request.extensions, "trace": trace}


def _starts_sending(event: str, info: dict[str, Any]) -> bool:
    """Return whether httpcore begins to send the request itself. The CONNECT to a proxy comes before it."""
    return event.endswith(".send_request_headers.started") and info["request"].method != b"CONNECT"


def _leaves_open(error: BaseException) -> bool:
    """Return whether an error leaves open what became of a request that aiohttp carried.

    ``httpx-aiohttp`` reports a connection that broke during a request as one that was never made. So no error of it
    shows that nothing was sent.
    """
    import aiohttp  # noqa: PLC0415 - an extra

    if isinstance(error, httpx.ReadTimeout):
        return False
    return isinstance(error, httpx.TransportError | aiohttp.ClientError | OSError)
