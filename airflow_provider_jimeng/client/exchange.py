# SPDX-License-Identifier: Apache-2.0
"""One call to the API: the signed request, the bounds of its reply, and its errors as errors of this package.

The clients of workers and of event loops share this module. It sends nothing itself. The debug log has the action,
status, request id and duration of a call, and nothing else.
"""

from __future__ import annotations

import logging
import time
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Protocol, Self, TypeVar
from urllib.parse import urljoin, urlsplit

import httpx

from airflow_provider_jimeng.client.endpoint import origin_of
from airflow_provider_jimeng.client.transport import (
    CONNECT_TIMEOUT_SECONDS,
    OWN_REQUEST,
    READABLE,
    USER_AGENT,
    codings_of,
    translated,
    unpacked,
)
from airflow_provider_jimeng.core.codes import lookup
from airflow_provider_jimeng.core.errors import ApiError, JimengError, RedirectedError
from airflow_provider_jimeng.core.signing import Credentials, Scope, Signer, signed_host
from airflow_provider_jimeng.core.wire import parse_query, parse_submit

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from contextvars import Token
    from types import TracebackType

    from airflow_provider_jimeng.client.settings import ClientSettings
    from airflow_provider_jimeng.core.wire import Call

log = logging.getLogger(__name__)

MAX_REPLY_BYTES = 2 * 1024 * 1024
"""A reply has a few kilobytes. Reading the JSON of this many bytes takes less than a tenth of a second."""
SLOWEST_UPLOAD = 20_000
"""Bytes per second. An upload, such as an image of some megabytes, can be as slow as this."""
TOO_LATE = "the reply was not complete in time"
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
_SIGNED = frozenset({b"x-date", b"x-content-sha256", b"x-security-token", b"authorization"})
_CLOCK_REFUSAL = lookup("InvalidTimestamp")
_REDIRECTS = frozenset({301, 302, 307, 308})
"""Redirects of a request that the server did not execute. A 303 names the place of the result of an executed one."""


class _AnyReply(Protocol):
    @property
    def request_id(self) -> str | None: ...


Reply = TypeVar("Reply", bound=_AnyReply)


# ---------------------------------------------------------------------------------------------------------- requests
class Requests:
    """What all calls of a client share: authentication, time limits, URLs, and how replies are read.

    It keeps the URL of each action, because building one costs more CPU than signing a request.
    """

    def __init__(self, settings: ClientSettings, auth: httpx.Auth | None = None) -> None:
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


class VolcAuth(httpx.Auth):
    """Signs a request as it is sent (docs 6369/67269), and corrects the time if the API refuses it.

    A request with a refused time was certainly not accepted. So it is signed again, once, with the time of the ``Date``
    header of the refusal. Later requests use the same correction.
    """

    requires_request_body = True
    requires_response_body = True

    def __init__(self, signer: Signer, clock: Callable[[], float] = time.time) -> None:
        self._signer = signer
        self._clock = clock
        self._offset_seconds = 0.0

    def __repr__(self) -> str:
        return "VolcAuth(…)"

    @property
    def offset_seconds(self) -> float:
        """How far the clock of the API is ahead of the clock of this machine; 0 until the API refuses a time."""
        return self._offset_seconds

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign the request. If the API refuses its time, sign it again with the time of the API, once."""
        self._sign(request)
        response = yield request
        if response.status_code < 400 or not _refuses_clock(response):
            return
        offset = self._offset_of(response)
        if offset is None:
            return
        self._offset_seconds = offset
        log.warning(
            "The clock of this machine differs from the clock of the API by %+.0f s. Requests are signed with the time "
            "of the API. Set the clock.",
            -offset,
        )
        self._sign(request)
        yield request

    def _sign(self, request: httpx.Request) -> None:
        unsigned = [pair for pair in request.headers.raw if pair[0].lower() not in _SIGNED]
        values = {name.lower(): value for name, value in unsigned}
        host, content_type = values[b"host"].decode("ascii"), values[b"content-type"].decode("ascii")
        if (plain := signed_host(host)) != host:
            unsigned = [
                (name, plain.encode() if name.lower() == b"host" else value) for name, value in unsigned
            ]
        path, _, query = request.url.raw_path.decode("ascii").partition("?")
        signed = self._signer.sign(
            method=request.method,
            host=plain,
            path=path,
            query=query,
            content_type=content_type,
            body=request.content,
            x_date=time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._clock() + self._offset_seconds)),
        )
        # All headers are set at once, because setting them one by one costs httpx as much as the signature costs.
        added = [(name.encode("ascii"), value.encode("ascii")) for name, value in signed.items()]
        request.headers = httpx.Headers(unsigned + added)

    def _offset_of(self, response: httpx.Response) -> float | None:
        try:
            server = parsedate_to_datetime(response.headers["Date"]).timestamp()
        except (KeyError, ValueError):
            return None
        return server - self._clock()


class BearerAuth(httpx.Auth):
    """Sends the token of a gateway."""

    def __init__(self, token: str) -> None:
        self._header = f"Bearer {token}"

    def __repr__(self) -> str:
        return "BearerAuth(…)"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the token to the request."""
        request.headers["Authorization"] = self._header
        yield request


def auth_for(settings: ClientSettings, clock: Callable[[], float] = time.time) -> httpx.Auth:
    """Return the authentication that the settings choose."""
    if settings.auth == "bearer":
        return BearerAuth(settings.secret_key)
    credentials = Credentials(
        access_key=settings.access_key,
        secret_key=settings.secret_key,
        session_token=settings.session_token,
    )
    return VolcAuth(Signer(credentials, Scope(region=settings.region, service=settings.service)), clock)


def _refuses_clock(response: httpx.Response) -> bool:
    try:
        parse_query(response.status_code, response.content)
    except ApiError as error:
        return error.entry is not None and error.entry is _CLOCK_REFUSAL
    except JimengError:
        return False
    return False


# ---------------------------------------------------------------------------------------------------------- exchanges
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
        flow = self._requests.auth.auth_flow(self._requests.build(self._call))
        self._request = next(flow)
        while True:
            yield self._request
            try:
                self._request = flow.send(self._response)
            except StopIteration:
                return

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
