"""One kept connection to the API on an event loop: HTTP/1.1 as h11 speaks it, over asyncio's own transports.

A poll is a few hundred bytes each way. httpcore's connection takes ten turns of the loop and two writes for it, most
of them locks and checkpoints for what never happens here; this one takes three turns and one write.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import h11
import httpx

from airflow_provider_jimeng.client.replies import ReplyBody

if TYPE_CHECKING:
    import ssl

MAX_HEAD_BYTES = 100 * 1024
_HAPPY_EYEBALLS_SECONDS = 0.25  # RFC 8305
_NO_ANSWER = "Server disconnected without sending a response."


class KeptConnection(httpx.AsyncBaseTransport):
    """Answers one request at a time, each reply read whole and decoded; it connects anew when it has to.

    What goes wrong is raised as httpx does. ``connect`` and ``write`` of a request's timeout mean what they mean
    there; ``read`` is for the whole reply, from the moment the request is written.

    :param endpoint: the origin is taken from it; there is no proxy before it.
    """

    def __init__(self, endpoint: str, *, tls: ssl.SSLContext, keepalive_seconds: float) -> None:
        url = httpx.URL(endpoint)
        self._host = url.raw_host.decode("ascii")
        self._port = url.port or (443 if url.scheme == "https" else 80)
        self._tls = tls if url.scheme == "https" else None
        self._keepalive_seconds = keepalive_seconds
        self._wire: _Wire | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and read its reply."""
        seconds: dict[str, float | None] = request.extensions.get("timeout", {})
        wire = self._wire
        if wire is None or not wire.can_go_on(self._keepalive_seconds):
            await self.aclose()
            wire = self._wire = await self._connect(seconds.get("connect"))
        return await wire.exchange(
            request, write_seconds=seconds.get("write"), read_seconds=seconds.get("read")
        )

    async def aclose(self) -> None:
        """Close the connection."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    async def _connect(self, seconds: float | None) -> _Wire:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds):
                _, wire = await loop.create_connection(
                    lambda: _Wire(loop),
                    self._host,
                    self._port,
                    ssl=self._tls,
                    happy_eyeballs_delay=_HAPPY_EYEBALLS_SECONDS,
                )
        except TimeoutError:
            raise httpx.ConnectTimeout("") from None
        except (OSError, UnicodeError) as error:  # UnicodeError: a name that no name can be
            raise httpx.ConnectError(str(error)) from None
        return wire


class _Wire(asyncio.Protocol):
    """A connection while it lasts."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._idle_since = loop.time()
        self._writing = False
        self._timer: asyncio.TimerHandle | None = None
        self._read_seconds: float | None = None
        self._answer: asyncio.Future[None] | None = None
        self._head: h11.Response | None = None
        self._body = ReplyBody()

    def can_go_on(self, keepalive_seconds: float) -> bool:
        """Whether another request may be sent."""
        fresh = self._loop.time() - self._idle_since < keepalive_seconds
        return fresh and self._http.our_state is h11.IDLE and not self._transport.is_closing()

    def close(self) -> None:
        """End the connection."""
        self._transport.abort()

    async def exchange(
        self, request: httpx.Request, *, write_seconds: float | None, read_seconds: float | None
    ) -> httpx.Response:
        """Send a request and read its reply."""
        self._head, self._body = None, ReplyBody()
        self._answer = self._loop.create_future()
        self._read_seconds = read_seconds
        try:
            self._transport.write(self._encoded(request))
            if self._writing:
                self._limit(write_seconds, httpx.WriteTimeout)
            else:
                self._limit(read_seconds, httpx.ReadTimeout)
            await self._answer
            return self._response()
        finally:
            self._limit(None)
            self._answer = None
            ended = self._http.our_state is self._http.their_state is h11.DONE
            left_over = self._transport.get_write_buffer_size() or self._http.trailing_data[0]
            if ended and not left_over:
                self._http.start_next_cycle()
                self._idle_since = self._loop.time()
            else:
                self.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def pause_writing(self) -> None:
        self._writing = True

    def resume_writing(self) -> None:
        self._writing = False
        if self._answer is not None:
            self._limit(self._read_seconds, httpx.ReadTimeout)

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():  # nobody asked for more
            self.close()
            return
        self._http.receive_data(data)
        self._read_on()

    def eof_received(self) -> None:
        if self._answer is None or self._answer.done():
            return
        if self._head is None:
            self._end(httpx.RemoteProtocolError(_NO_ANSWER))
        else:
            self._http.receive_data(b"")
            self._read_on()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self._end(httpx.ReadError(str(exc)))
        else:
            self._end(httpx.RemoteProtocolError(_NO_ANSWER))

    def _encoded(self, request: httpx.Request) -> bytes:
        try:
            head = h11.Request(
                method=request.method, target=request.url.raw_path, headers=request.headers.raw
            )
        except h11.LocalProtocolError:  # its text quotes the header
            raise httpx.LocalProtocolError("") from None
        pieces = [self._http.send(event) for event in (head, h11.Data(request.content), h11.EndOfMessage())]
        return b"".join(piece for piece in pieces if piece)

    def _read_on(self) -> None:
        """Take what has come; the answer is there when the message has ended."""
        try:
            while True:
                event: Any = self._http.next_event()
                if isinstance(event, h11.Response):
                    self._head = event
                elif isinstance(event, h11.Data):
                    self._body.add(bytes(event.data))
                elif not isinstance(event, h11.InformationalResponse):
                    if isinstance(event, h11.EndOfMessage):
                        self._end(None)
                    return
        except h11.RemoteProtocolError as error:
            self._end(httpx.RemoteProtocolError(str(error)))
        except httpx.ReadError as error:
            self._end(error)

    def _response(self) -> httpx.Response:
        head = cast("h11.Response", self._head)
        return self._body.response(head.status_code, head.headers.raw_items())

    def _limit(self, seconds: float | None, late: type[httpx.TimeoutException] = httpx.ReadTimeout) -> None:
        """Let the exchange end after so many seconds; this replaces the limit there was."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self._loop.call_later(seconds, self._end_late, late)

    def _end_late(self, late: type[httpx.TimeoutException]) -> None:
        self._end(late("the reply was not whole in time" if late is httpx.ReadTimeout else ""))

    def _end(self, error: Exception | None) -> None:
        if self._answer is None or self._answer.done():
            return
        if error is None:
            self._answer.set_result(None)
        else:
            self._answer.set_exception(error)
