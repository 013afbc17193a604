# SPDX-License-Identifier: Apache-2.0
"""The client of workers and scripts: the API as methods, on connections of its own.

Queries use one kept connection. A submit or a cancel always uses a new one: the server can close a kept connection at
the moment of the submit, and nobody would know whether the submit was accepted.

The methods raise the ``ApiError`` family by the code of the reply, ``NotSentError``, ``NoReplyError`` and
``UnreadableReplyError``. No request is repeated, except that ``VolcAuth`` can sign one again. ``client.async_client`` has
the same methods for event loops.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self, cast

import httpx

from airflow_provider_jimeng.client.exchange import (
    MAX_REPLY_BYTES,
    TOO_LATE,
    TOO_LONG,
    Exchange,
    Reply,
    Requests,
)
from airflow_provider_jimeng.client.transport import open_transport
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
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from airflow_provider_jimeng.client.settings import ClientSettings
    from airflow_provider_jimeng.core.parameters import RenderRequest

CLOSED_BY_THE_SERVER = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
"""The errors of a request on a kept connection that the server has closed in the meantime."""
_LONGEST_NAP = 0.25


class JimengClient:
    """The API as methods. Use it in a ``with`` block.

    :param auth: the authentication. Clients of one account can share it, so that they share the corrected time.
    :param transport: replaces the network. It is closed with the client.
    """

    def __init__(
        self,
        settings: ClientSettings,
        *,
        auth: httpx.Auth | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.settings = settings
        self._requests = Requests(settings, auth)
        self.auth = self._requests.auth
        self._transport = transport
        self._queries: _Sender | None = None

    def __enter__(self) -> Self:
        """Build the transport of the queries. Nothing is sent."""
        queries = _Sender(self.settings, self._transport, keep_connection=True)
        queries.open()
        self._queries = queries
        return self

    def __exit__(self, *exc_info: object) -> None:
        queries, self._queries = self._queries, None
        if queries is not None:
            queries.close()
            if self._transport is not None:
                self._transport.close()

    def submit(self, request: RenderRequest, *, on_sent: Callable[[], None] | None = None) -> SubmitReply:
        """Submit a render. This is the call that costs money.

        :param on_sent: called before the first byte of the request is sent, after the connection is made.
        """
        return self._exchange(submit_call(request), self._requests.parse_submit, on_sent=on_sent)

    def query(self, req_key: str, task_id: str, *, aigc_meta: Mapping[str, str] | None = None) -> QueryReply:
        """Return the status of a render; with ``aigc_meta``, the video behind the link of the reply is labelled."""
        call = query_call(req_key=req_key, task_id=task_id, aigc_meta=aigc_meta)
        return self._exchange(call, self._requests.parse_query)

    def cancel(self, req_key: str, task_id: str) -> CancelReply:
        """Cancel a render. The API cancels queued renders only."""
        return self._exchange(cancel_call(req_key=req_key, task_id=task_id), parse_cancel)

    def _exchange(
        self,
        call: Call,
        parse: Callable[[int, bytes], Reply],
        *,
        on_sent: Callable[[], None] | None = None,
    ) -> Reply:
        """Send a call and return its reply as the parser reads it."""
        if self._queries is None:
            raise RuntimeError("The client is not open: use it in a with block.")
        is_query = call.action == QUERY_ACTION
        sender = self._queries if is_query else _Sender(self.settings, self._transport)
        try:
            with Exchange(call, self._requests) as exchange:
                for request in exchange.requests():
                    exchange.answer(*sender.send(request, exchange.seconds, on_sent=on_sent))
                return exchange.read(parse)
        finally:
            if not is_query:
                sender.close()


class _Sender:
    """Sends one request at a time and reads its reply whole and within bounds.

    :param transport: replaces the network. The sender does not close it.
    :param keep_connection: the next request can use the connection of the last one. If the server has closed it, the
        request is sent a second time, so use this only for requests that can arrive twice.
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

    def send(
        self, request: httpx.Request, seconds: float, *, on_sent: Callable[[], None] | None = None
    ) -> tuple[httpx.Response, list[bytes]]:
        """Send a request. Return the head of the reply, and its body as it came.

        :param seconds: how long request and reply can take together.
        """
        pieces: list[bytes] = []
        size = 0
        try:
            with TimeLimit(seconds, stream=self._stream) as limit, limit.enforced():
                request.extensions = {**request.extensions, "trace": self._trace(limit, on_sent)}
                response = self._head(request, limit)
                stream = cast("httpx.SyncByteStream", response.stream)
                try:
                    for piece in stream:
                        size += len(piece)
                        if size > MAX_REPLY_BYTES:
                            raise httpx.ReadError(TOO_LONG)
                        pieces.append(piece)
                finally:
                    stream.close()
        except BaseException:
            self.close()  # Half a reply can be left on the connection, so no other request can use it.
            raise
        if self._keep_connection:
            self._stream = limit.stream
        return response, pieces

    def _head(self, request: httpx.Request, limit: TimeLimit) -> httpx.Response:
        try:
            return self.open().handle_request(request)
        except CLOSED_BY_THE_SERVER:
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
            if starts_sending(event, info):
                on_sent()

        return trace


def starts_sending(event: str, info: dict[str, Any]) -> bool:
    """Return whether httpcore begins to send the request itself. The CONNECT to a proxy comes before it."""
    return event.endswith(".send_request_headers.started") and info["request"].method != b"CONNECT"


class TimeLimit:
    """Shuts the connection of a request down if the ``with`` block takes too long.

    httpx limits each single read, so a server that sends one byte now and then never causes a timeout. This thread
    waits in the read, so a second thread shuts the connection down. Put :meth:`trace` into the extensions of the
    request: httpcore then reports each connection that it makes.

    :param stream: the connection that the request can use without making one.
    """

    def __init__(self, seconds: float, *, stream: Any = None) -> None:
        self.stream = stream
        self._until = time.monotonic() + seconds
        self._over = threading.Event()
        self.is_late = self._is_traced = self._is_sent = False
        self._thread = threading.Thread(target=self._watch, name="jimeng-time-limit", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        self._thread.join()

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """Note each connection that is made, to the proxy or to the host, and whether the request was sent."""
        self._is_traced = True
        if event.endswith(".send_request_headers.started"):
            self._is_sent = starts_sending(event, info)
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
        """Raise a timeout instead of the error that the shut connection causes.

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

    def pieces(self, body: Iterable[bytes], seconds: float) -> Iterator[bytes]:
        """Yield the pieces of a body, each of which has so many seconds to arrive, in place of the limit for the whole.

        :raises httpx.ReadTimeout: a piece did not arrive in time.
        """
        with self.enforced():
            self._until = time.monotonic() + seconds
            for piece in body:
                self._until = float("inf")
                yield piece
                self._until = time.monotonic() + seconds

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
