# SPDX-License-Identifier: Apache-2.0
"""The emulator as an httpx transport, without a socket. No other module of the emulator imports httpx.

A fault raises the exception that httpx raises on a real connection. If a response is later than the read timeout, the
exception is raised at once, so that tests do not wait.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING

import httpx

from airflow_provider_jimeng.emulator.messages import (
    ConnectionCut,
    HttpResult,
    NoResponse,
    Request,
    Response,
)
from airflow_provider_jimeng.emulator.service import MEDIA_PREFIX

if TYPE_CHECKING:
    from airflow_provider_jimeng.emulator.emulator import JimengEmulator

_CHUNK = 64 * 1024


class _Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that ends after Content-Length bytes, or raises the error of a connection that ended before."""

    def __init__(self, response: Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        body, length = self._response.body, self._response.content_length
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

    :param sleep: waits for a late response of ``httpx.Client``. ``None`` does not wait, for use with a virtual clock.
        ``httpx.AsyncClient`` sleeps on its event loop, or does not wait if this is ``None``.
    """

    def __init__(
        self, emulator: JimengEmulator, *, sleep: Callable[[float], None] | None = time.sleep
    ) -> None:
        self.emulator = emulator
        self._sleep = sleep

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request of ``httpx.Client``."""
        request.read()
        response = _received(self.emulator.handle(_request_of(request)), request)
        if response.delay_seconds and self._sleep is not None:
            self._sleep(response.delay_seconds)
        return _httpx_response(response, request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request of ``httpx.AsyncClient``. A thread makes the video, so that the event loop is not blocked."""
        await request.aread()
        converted = _request_of(request)
        if converted.path.startswith(MEDIA_PREFIX):
            result = await asyncio.to_thread(self.emulator.handle, converted)
        else:
            result = self.emulator.handle(converted)
        response = _received(result, request)
        if response.delay_seconds and self._sleep is not None:
            await asyncio.sleep(response.delay_seconds)
        return _httpx_response(response, request)


def _request_of(request: httpx.Request) -> Request:
    return Request(
        method=request.method,
        target=request.url.raw_path.decode("ascii"),
        headers=tuple(
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw
        ),
        body=request.content,
        scheme=request.url.scheme,
    )


def _received(result: HttpResult, request: httpx.Request) -> Response:
    """Return the response that the client receives.

    :raises httpx.RemoteProtocolError: the connection was closed without a response.
    :raises httpx.ReadError: the connection was reset.
    :raises httpx.ReadTimeout: there is no response, or it is later than the read timeout.
    """
    if isinstance(result, ConnectionCut):
        if result.how == "reset":
            raise httpx.ReadError("[Errno 104] Connection reset by peer", request=request)
        raise httpx.RemoteProtocolError("Server disconnected without sending a response.", request=request)
    read_timeout = request.extensions.get("timeout", {}).get("read")
    if isinstance(result, NoResponse) or (read_timeout is not None and result.delay_seconds > read_timeout):
        raise httpx.ReadTimeout("The read operation timed out", request=request)
    return result


def _httpx_response(response: Response, request: httpx.Request) -> httpx.Response:
    headers = [*response.headers, ("Content-Length", str(response.content_length))]
    if request.method == "HEAD":
        return httpx.Response(response.status, headers=headers, request=request)
    return httpx.Response(response.status, headers=headers, stream=_Body(response), request=request)
