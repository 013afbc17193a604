"""How much of a reply is taken in: the API's are short and come at once, so whatever else answers is cut off.

A reply without end would otherwise fill the memory of a triggerer, and one that drips would outlast every deadline.
"""

from __future__ import annotations

import asyncio
import time
from typing import cast

import httpx

MAX_REPLY_BYTES = 4 * 1024 * 1024
"""A reply has a few kilobytes."""


class ReplyBody:
    """Collects the body of one reply, still encoded; it may take as long as the request waits for an answer.

    What goes wrong is raised as httpx does.
    """

    def __init__(self, request: httpx.Request) -> None:
        seconds = request.extensions.get("timeout", {}).get("read")
        self._until = None if seconds is None else time.monotonic() + seconds
        self._chunks: list[bytes] = []
        self._bytes = 0

    def add(self, chunk: bytes) -> None:
        """Take in the next piece."""
        self._bytes += len(chunk)
        if self._bytes > MAX_REPLY_BYTES:
            raise httpx.ReadError(f"the reply is longer than {MAX_REPLY_BYTES:,} bytes")
        if self._until is not None and time.monotonic() > self._until:
            raise httpx.ReadTimeout("the reply was not whole in time")
        self._chunks.append(chunk)

    def stream(self) -> httpx.ByteStream:
        """Return the whole body."""
        return httpx.ByteStream(b"".join(self._chunks))


class BoundedTransport(httpx.BaseTransport):
    """Reads each reply whole, within bounds."""

    def __init__(self, inner: httpx.BaseTransport) -> None:
        self._inner = inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and read its reply."""
        response = self._inner.handle_request(request)
        body = ReplyBody(request)
        stream = cast("httpx.SyncByteStream", response.stream)
        try:
            for chunk in stream:
                body.add(chunk)
        finally:
            stream.close()
        response.stream = body.stream()
        return response

    def close(self) -> None:
        """Close the connections."""
        self._inner.close()


class AsyncBoundedTransport(httpx.AsyncBaseTransport):
    """The same on an event loop."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and read its reply."""
        phases = request.extensions.get("timeout", {}).values()
        try:
            async with asyncio.timeout(None if None in phases else sum(phases) or None):
                return await self._read(request)
        except TimeoutError:
            raise httpx.ReadTimeout("the reply was not whole in time") from None

    async def _read(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        body = ReplyBody(request)
        stream = cast("httpx.AsyncByteStream", response.stream)
        try:
            async for chunk in stream:
                body.add(chunk)
        finally:
            await stream.aclose()
        response.stream = body.stream()
        return response

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()
