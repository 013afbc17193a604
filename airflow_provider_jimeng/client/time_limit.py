"""How long one request may take on a worker, from the connection to the end of the reply.

httpx limits each single read, so a server that sends one byte now and then is never late. On an event loop
``asyncio.timeout`` ends such a request. A worker thread sits in the read; a second thread closes the connection for it.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator

SLOWEST_UPLOAD = 20_000
"""Bytes per second that sending a request may be as slow as: an image can have megabytes."""
_LONGEST_NAP = 0.25


def whole_seconds(request: httpx.Request) -> float | None:
    """Return the seconds that a request and its reply may take together, ``None`` without a limit."""
    timeout = request.extensions.get("timeout", {})
    phases = [timeout.get(phase) for phase in ("connect", "write", "read")]
    if None in phases:
        return None
    return float(sum(phases)) + int(request.headers.get("Content-Length", 0)) / SLOWEST_UPLOAD


class TimeLimit:
    """Closes the connection of a request that takes too long; use it as a context.

    ``trace`` belongs into the request's extensions: it learns from httpcore which connection was made for it. A
    connection that was made for an earlier request would be unknown, so the transport must not keep any.
    """

    def __init__(self, seconds: float | None) -> None:
        self._until = _end_of(seconds)
        self._over = threading.Event()
        self._late = self._sent = False
        self._stream: Any = None
        self._thread = threading.Thread(target=self._watch, name="jimeng-time-limit", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        self._thread.join()

    def allow(self, seconds: float | None) -> None:
        """Let the request go on for so many seconds from now; this replaces the limit there was."""
        self._until = _end_of(seconds)

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """Take note of each connection that is made, to the proxy or to the host, and of when the request is sent."""
        if event.endswith(".send_request_headers.started"):
            self._sent = info["request"].method != b"CONNECT"
        if not event.endswith(
            (".connect_tcp.complete", ".connect_unix_socket.complete", ".start_tls.complete")
        ):
            return
        self._stream = info["return_value"]
        if self._late:
            self._stream.close()
            raise httpx.ConnectTimeout("connecting took too long")

    @contextmanager
    def enforced(self) -> Iterator[None]:
        """Raise what the limit did to the connection as the timeout that it is.

        :raises httpx.ReadTimeout: the reply was not whole in time.
        :raises httpx.ConnectTimeout: there was no connection in time, so that nothing was sent.
        """
        try:
            yield
        except httpx.ConnectTimeout:
            raise
        except (httpx.TransportError, OSError):
            self._check()
            raise
        self._check()

    def _check(self) -> None:
        if not self._late:
            return
        if self._stream is not None and not self._sent:
            raise httpx.ConnectTimeout("connecting took too long") from None
        raise httpx.ReadTimeout("the reply was not whole in time") from None

    def _watch(self) -> None:
        while (left := self._until - time.monotonic()) > 0:
            if self._over.wait(min(left, _LONGEST_NAP)):
                return
        self._late = True
        if self._stream is not None and not self._over.is_set():
            with suppress(OSError):
                # Not the method of a TLS socket, which would change what the other thread is using.
                socket.socket.shutdown(self._stream.get_extra_info("socket"), socket.SHUT_RDWR)


def _end_of(seconds: float | None) -> float:
    return float("inf") if seconds is None else time.monotonic() + seconds
