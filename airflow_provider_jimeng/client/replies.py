"""How much of a reply is taken in: the API's are short and come at once, so whatever else answers is cut off.

A reply without end would otherwise fill the memory of a triggerer, and so would a small one that unpacks to
gigabytes; one that drips would outlast every deadline.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import httpx

from airflow_provider_jimeng.client.codings import READABLE, codings_of, unpacked
from airflow_provider_jimeng.client.time_limit import TimeLimit, whole_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Trace = Callable[[str, dict[str, Any]], None]

MAX_REPLY_BYTES = 2 * 1024 * 1024
"""A reply has a few kilobytes. Reading the JSON of this many takes less than a tenth of a second."""


class ReplyBody:
    """Collects the body of one reply. What goes wrong is raised as httpx does."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._bytes = 0

    def add(self, piece: bytes) -> None:
        """Take in the next piece."""
        self._bytes += len(piece)
        if self._bytes > MAX_REPLY_BYTES:
            raise httpx.ReadError(f"the reply is longer than {MAX_REPLY_BYTES:,} bytes")
        self._pieces.append(piece)

    def response(self, status_code: int, headers: Sequence[tuple[bytes, bytes]]) -> httpx.Response:
        """Return the whole reply, unpacked within the same bound: httpx would unpack it without any."""
        packed = httpx.Headers(list(headers)).get("Content-Encoding")
        plain = [pair for pair in headers if pair[0].lower() not in (b"content-encoding", b"content-length")]
        codings = codings_of(packed)
        body = self
        if codings and READABLE.issuperset(codings):
            body = ReplyBody()
            for piece in unpacked(self._pieces, codings):
                body.add(piece)
        return httpx.Response(status_code, headers=plain, content=b"".join(body._pieces))


class BoundedTransport(httpx.BaseTransport):
    """Reads each reply whole, within bounds.

    :param inner: makes a new connection for each request.
    """

    def __init__(self, inner: httpx.BaseTransport) -> None:
        self._inner = inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and read its reply."""
        with TimeLimit(whole_seconds(request)) as limit, limit.enforced():
            request.extensions = {**request.extensions, "trace": _both(limit.trace, request)}
            response = self._inner.handle_request(request)
            body, stream = ReplyBody(), cast("httpx.SyncByteStream", response.stream)
            try:
                for piece in stream:
                    body.add(piece)
            finally:
                stream.close()
        return body.response(response.status_code, response.headers.raw)

    def close(self) -> None:
        """Close the connections."""
        self._inner.close()


def _both(trace: Trace, request: httpx.Request) -> Trace:
    """Return a trace that tells the request's own, too."""
    own: Trace | None = request.extensions.get("trace")
    if own is None:
        return trace

    def tell(event: str, info: dict[str, Any]) -> None:
        trace(event, info)
        own(event, info)

    return tell


class AsyncBoundedTransport(httpx.AsyncBaseTransport):
    """The same on an event loop."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and read its reply."""
        try:
            async with asyncio.timeout(whole_seconds(request)):
                response = await self._inner.handle_async_request(request)
                body, stream = ReplyBody(), cast("httpx.AsyncByteStream", response.stream)
                try:
                    async for piece in stream:
                        body.add(piece)
                finally:
                    await stream.aclose()
        except TimeoutError:
            raise httpx.ReadTimeout("the reply was not whole in time") from None
        return body.response(response.status_code, response.headers.raw)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()
