"""The emulator as an httpx transport, without a socket: the only module here that imports httpx.

Faults become the exceptions that httpx raises for them on a real connection. A reply that comes later than the read
timeout raises at once: nobody has to wait for what will not be read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING

import httpx

from airflow_provider_jimeng.emulator.links import MEDIA_PREFIX
from airflow_provider_jimeng.emulator.messages import Cut, Outcome, Reply, Request, Silence

if TYPE_CHECKING:
    from airflow_provider_jimeng.emulator.emulator import JimengEmulator

_CHUNK = 64 * 1024


class _Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that ends as its Content-Length has it, or with the error of a connection that ended before."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    def __iter__(self) -> Iterator[bytes]:
        body, length = self._reply.body, self._reply.content_length
        for start in range(0, min(len(body), length), _CHUNK):
            yield body[start : min(start + _CHUNK, length)]
        if length > len(body):
            raise httpx.RemoteProtocolError(
                "peer closed connection without sending complete message body "
                f"(received {len(body)} bytes, expected {length})"
            )

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self:
            yield chunk


class EmulatorTransport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Carries requests of ``httpx.Client`` and ``httpx.AsyncClient`` to an emulator in this process.

    :param sleep: how the synchronous side lets time pass before a late reply; ``None`` does not wait at all, for a
        virtual clock. The asynchronous side sleeps on its loop, or not at all either.
    """

    def __init__(
        self, emulator: JimengEmulator, *, sleep: Callable[[float], None] | None = time.sleep
    ) -> None:
        self.emulator = emulator
        self._sleep = sleep

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer for ``httpx.Client``."""
        request.read()
        reply = _reply_of(self.emulator.handle(_translate(request)), request)
        if reply.delay_seconds and self._sleep is not None:
            self._sleep(reply.delay_seconds)
        return _response(reply, request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer for ``httpx.AsyncClient``; making a video is left to a thread, so that the loop stays free."""
        await request.aread()
        translated = _translate(request)
        if translated.path.startswith(MEDIA_PREFIX):
            outcome = await asyncio.to_thread(self.emulator.handle, translated)
        else:
            outcome = self.emulator.handle(translated)
        reply = _reply_of(outcome, request)
        if reply.delay_seconds and self._sleep is not None:
            await asyncio.sleep(reply.delay_seconds)
        return _response(reply, request)


def _translate(request: httpx.Request) -> Request:
    return Request(
        method=request.method,
        target=request.url.raw_path.decode("ascii"),
        headers=tuple(
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw
        ),
        body=request.content,
        scheme=request.url.scheme,
    )


def _reply_of(outcome: Outcome, request: httpx.Request) -> Reply:
    """Return the reply, or raise what the caller would see of a fault.

    :raises httpx.RemoteProtocolError: closed without a reply.
    :raises httpx.ReadError: reset.
    :raises httpx.ReadTimeout: no reply, or one later than the read timeout.
    """
    if isinstance(outcome, Cut):
        if outcome.how == "reset":
            raise httpx.ReadError("[Errno 104] Connection reset by peer", request=request)
        raise httpx.RemoteProtocolError("Server disconnected without sending a response.", request=request)
    patience = request.extensions.get("timeout", {}).get("read")
    if isinstance(outcome, Silence) or (patience is not None and outcome.delay_seconds > patience):
        raise httpx.ReadTimeout("The read operation timed out", request=request)
    return outcome


def _response(reply: Reply, request: httpx.Request) -> httpx.Response:
    headers = [*reply.headers, ("Content-Length", str(reply.content_length))]
    if request.method == "HEAD":
        return httpx.Response(reply.status, headers=headers, request=request)
    return httpx.Response(reply.status, headers=headers, stream=_Body(reply), request=request)
