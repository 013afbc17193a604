# SPDX-License-Identifier: Apache-2.0
"""The client of workers and scripts: the API as methods, on connections of its own. One call is an :class:`Exchange`.

Queries use one kept connection. A submit or a cancel always uses a new one: the server can close a kept connection at
the moment of the submit, and nobody would know whether the submit was accepted.

The methods raise the ``ApiError`` family by the code of the reply, ``NotSentError``, ``NoReplyError`` and
``UnreadableReplyError``. No request is repeated, except that ``VolcAuth`` can sign one again. ``client.async_client`` has
the same methods for event loops. The debug log has the action, status, request id and duration of a call, and nothing
else.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, cast
from urllib.parse import urljoin, urlsplit

import httpx

from airflow_provider_jimeng.client.auth import Auth, auth_for
from airflow_provider_jimeng.client.transport import (
    CONNECT_TIMEOUT_SECONDS,
    OWN_REQUEST,
    READABLE,
    USER_AGENT,
    TimeLimit,
    codings_of,
    open_transport,
    origin_of,
    translated,
    unpacked,
)
from airflow_provider_jimeng.core.errors import ApiError, RedirectedError
from airflow_provider_jimeng.core.wire import (
    QUERY_ACTION,
    Call,
    CancelReply,
    QueryReply,
    SubmitReply,
    cancel_call,
    parse_cancel,
    parse_query,
    parse_submit,
    query_call,
    submit_call,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextvars import Token
    from types import TracebackType

    from airflow_provider_jimeng.client.settings import ClientSettings
    from airflow_provider_jimeng.core.parameters import RenderRequest

log = logging.getLogger(__name__)

CLOSED_BY_THE_SERVER = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
"""The errors of a request on a kept connection that the server has closed in the meantime."""
MAX_REPLY_BYTES = 2 * 1024 * 1024
"""A reply has a few kilobytes. Reading the JSON of this many bytes takes less than a tenth of a second."""
SLOWEST_UPLOAD = 20_000
"""Bytes per second. An upload, such as an image of some megabytes, can be as slow as this."""
TOO_LONG = f"the reply is longer than {MAX_REPLY_BYTES:,} bytes"

_HEADERS = httpx.Headers(
    {
        "User-Agent": USER_AGENT,
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "Connection": "keep-alive",
        "Content-Type": "application/json",
    }
).raw
_REDIRECTS = frozenset({301, 302, 307, 308})
"""Redirects of a request that the server did not execute. A 303 names the place of the result of an executed one."""


class _AnyReply(Protocol):
    @property
    def request_id(self) -> str | None: ...


Reply = TypeVar("Reply", bound=_AnyReply)


class JimengClient:
    """The API as methods. Use it in a ``with`` block.

    :param auth: the authentication. Clients of one account can share it, so that they share the corrected time.
    :param transport: replaces the network. It is closed with the client.
    """

    def __init__(
        self,
        settings: ClientSettings,
        *,
        auth: Auth | None = None,
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
            http = self.open()
            if on_sent is not None and self._transport is not None:
                on_sent()  # Another transport does not report when it sends.
            with TimeLimit(seconds, stream=self._stream, on_sent=on_sent) as limit, limit.enforced():
                request.extensions = {**request.extensions, "trace": limit.trace}
                try:
                    response = http.handle_request(request)
                except CLOSED_BY_THE_SERVER:
                    if self._stream is None or limit.is_late:
                        raise
                    self.close()
                    response = self.open().handle_request(request)
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


# --- what the clients of workers and of event loops share --------------------------------------------------------------


class Requests:
    """What all calls of a client share: authentication, time limits, URLs, and how replies are read.

    It keeps the URL of each action, because building one costs more CPU than signing a request.
    """

    def __init__(self, settings: ClientSettings, auth: Auth | None = None) -> None:
        self.settings = settings
        self.auth = auth or auth_for(settings)
        is_gateway = settings.auth == "bearer"
        self.parse_submit = partial(parse_submit, bearer=is_gateway)
        # Relative links of a gateway belong to its origin, others to the endpoint's URL.
        base = urljoin(settings.endpoint, "/") if is_gateway else settings.endpoint
        self.parse_query = partial(parse_query, endpoint=base)
        seconds = settings.timeout_seconds
        connect = min(CONNECT_TIMEOUT_SECONDS, seconds)
        self.timeout = httpx.Timeout(seconds, connect=connect).as_dict()
        self._seconds = connect + 2 * seconds  # to connect, to write and to read
        self._urls: dict[str, httpx.URL] = {}

    def build(self, call: Call) -> httpx.Request:
        """Return the request of a call, with its time limits for httpx, without authentication."""
        url = self._urls.get(call.action)
        if url is None:
            query = {"Action": call.action, "Version": call.version}
            url = self._urls[call.action] = httpx.URL(self.settings.endpoint, params=query)
        return httpx.Request(
            "POST", url, headers=_HEADERS, content=call.body, extensions={"timeout": self.timeout}
        )

    def seconds(self, call: Call) -> float:
        """Return the seconds that a request and its reply can take together."""
        return self._seconds + len(call.body) / SLOWEST_UPLOAD


class Exchange:
    """One call: its signed request, its unpacked reply, the errors of both, and its debug line.

    Send each of :meth:`requests`, give its reply to :meth:`answer`, and read the last one with :meth:`read`.

    :raises NotSentError: the request certainly did not reach the API.
    :raises NoReplyError: the request was sent and no complete reply came.
    """

    __slots__ = (
        "_call",
        "_own_request",
        "_request",
        "_requests",
        "_response",
        "_started",
        "request_id",
        "seconds",
        "status",
    )
    _own_request: Token[bool]
    _request: httpx.Request
    _response: httpx.Response

    def __init__(self, call: Call, requests: Requests) -> None:
        self._call = call
        self._requests = requests
        self.seconds = requests.seconds(call)
        """The seconds that one request and its reply can take together."""
        self.status: int | None = None
        self.request_id: str | None = None

    def __enter__(self) -> Self:
        self._own_request = OWN_REQUEST.set(True)
        self._started = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        OWN_REQUEST.reset(self._own_request)
        if isinstance(error, ApiError):
            self.request_id = error.request_id
        if log.isEnabledFor(logging.DEBUG):
            self._report(kind)
        if isinstance(error, UnicodeError) and self.status is not None:
            return  # The error is in the reply, so the request was sent.
        if isinstance(error, httpx.HTTPError | httpx.InvalidURL | httpx.StreamError | UnicodeError):
            raise translated(error, self._requests.settings.host) from None

    def requests(self) -> Iterator[httpx.Request]:
        """Yield the signed request, and again after an answer for which the authentication signs it anew."""
        auth = self._requests.auth
        request = self._request = self._requests.build(self._call)
        auth.sign(request)
        yield request
        if self._response.status_code >= 400 and auth.sign_again(request, self._response):
            yield request

    def answer(self, response: httpx.Response, pieces: Sequence[bytes]) -> None:
        """Take in the reply to the last request: its head, and its body as it came, at most 2 MiB.

        A packed body is unpacked here, because httpx would unpack it without a limit.

        :raises httpx.ReadError: the unpacked reply is too long.
        """
        headers = response.headers
        if "Content-Encoding" in headers:
            codings = codings_of(headers["Content-Encoding"])
            if codings and READABLE.issuperset(codings):
                pieces = _unpacked_pieces(pieces, codings)
            headers = httpx.Headers(headers)
            del headers["Content-Encoding"]
            headers.pop("Content-Length", None)
        self._response = httpx.Response(
            response.status_code, headers=headers, content=b"".join(pieces), request=self._request
        )

    def read(self, parse: Callable[[int, bytes], Reply]) -> Reply:
        """Return the last reply as a parser of the wire reads it.

        :raises RedirectedError: the endpoint redirects the call.
        """
        response = self._response
        self.status = response.status_code
        if response.status_code in _REDIRECTS and "Location" in response.headers:
            raise _redirected(response)
        reply = parse(response.status_code, response.content)
        self.request_id = reply.request_id
        return reply

    def _report(self, kind: type[BaseException] | None) -> None:
        log.debug(
            "%s: %s after %.3f s (request id %s)",
            self._call.action,
            f"HTTP {self.status}" if self.status is not None else (kind.__name__ if kind else "no answer"),
            time.perf_counter() - self._started,
            self.request_id,
        )


def _unpacked_pieces(pieces: Sequence[bytes], codings: Sequence[str]) -> list[bytes]:
    """Return an unpacked body. A small reply that unpacks to gigabytes would fill the memory of a triggerer."""
    result: list[bytes] = []
    size = 0
    for piece in unpacked(pieces, codings):
        size += len(piece)
        if size > MAX_REPLY_BYTES:
            raise httpx.ReadError(TOO_LONG)
        result.append(piece)
    return result


def _redirected(response: httpx.Response) -> RedirectedError:
    """Return the error of a redirected call. It names both origins, but no path or query, and the remedy.

    No redirect is followed, so no key reaches another host.
    """
    source = str(response.request.url)
    try:
        target = urljoin(source, response.headers["Location"].strip())
        is_same, shown = origin_of(target) == origin_of(source), _shown_origin(target)
    except ValueError:
        is_same, shown = False, "an address that is not a URL"
    what = "another path of the same host" if is_same else shown
    how = (
        "Check the path in host of the connection, for example the slash at its end."
        if is_same
        else "If that is the API, enter that address in host of the connection. Otherwise check host, schema and proxy."
    )
    return RedirectedError(
        f"{_shown_origin(source)} redirects to {what} (HTTP {response.status_code}). Nothing was accepted: no redirect "
        f"is followed. {how}",
        http_status=response.status_code,
    )


def _shown_origin(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        return "an address that is not http(s)"
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{name}" + (f":{parts.port}" if parts.port else "")
