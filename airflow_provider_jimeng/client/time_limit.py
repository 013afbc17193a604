"""Limit the time of one request, from the connection to the end of the reply.

httpx limits each single read, so a server that sends one byte now and then never runs into a timeout. On an event
loop ``asyncio.timeout`` ends such a request. In a worker the thread waits in the read, so a second thread shuts the
connection down.
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

_LONGEST_NAP = 0.25
TOO_LATE = "the reply was not complete in time"


class TimeLimit:
    """Shut the connection of a request down if the ``with`` block takes too long.

    Put :meth:`trace` into the request's extensions: httpcore then reports each connection that it makes.

    :param stream: the connection that the request can use without making one.
    """

    def __init__(self, seconds: float, *, stream: Any = None) -> None:
        self.stream = stream
        self._until = _end_of(seconds)
        self._over = threading.Event()
        self.is_late = self._is_traced = self._is_sent = False
        self._thread = threading.Thread(target=self._watch, name="jimeng-time-limit", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        self._thread.join()

    def allow(self, seconds: float | None) -> None:
        """Replace the limit: the request may go on for so many seconds from now."""
        self._until = _end_of(seconds)

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """Note each connection that is made, to the proxy or to the host, and whether the request was sent."""
        self._is_traced = True
        if event.endswith(".send_request_headers.started"):
            self._is_sent = info["request"].method != b"CONNECT"
        if not event.endswith(
            (".connect_tcp.complete", ".connect_unix_socket.complete", ".start_tls.complete")
        ):
            return
        self.stream = info["return_value"]
        if self.is_late:
            self.stream.close()
            raise httpx.ConnectTimeout("connecting took too long")

    @contextmanager
    def enforced(self) -> Iterator[None]:
        """Raise a timeout for the error that the shut connection causes.

        :raises httpx.ReadTimeout: the reply was not complete in time.
        :raises httpx.ConnectTimeout: there was no connection in time, so nothing was sent.
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
        if not self.is_late:
            return
        if self._is_traced and not self._is_sent:
            raise httpx.ConnectTimeout("connecting took too long") from None
        raise httpx.ReadTimeout(TOO_LATE) from None

    def _watch(self) -> None:
        while (left := self._until - time.monotonic()) > 0:
            if self._over.wait(min(left, _LONGEST_NAP)):
                return
        self.is_late = True
        if self.stream is not None and not self._over.is_set():
            with suppress(OSError):
                # The shutdown method of a TLS socket would change an object that the other thread is using.
                socket.socket.shutdown(self.stream.get_extra_info("socket"), socket.SHUT_RDWR)


def _end_of(seconds: float | None) -> float:
    return float("inf") if seconds is None else time.monotonic() + seconds
