# SPDX-License-Identifier: Apache-2.0
"""Who sends a request: Volcengine V4 signatures (HMAC-SHA256; docs 6369/67268, 6369/67269), or the token of a gateway.

The signature is a pure function: the caller passes the time as ``x_date``. It covers the sorted headers
``content-type;host;x-content-sha256;x-date`` and, with a session token, ``;x-security-token``. :class:`VolcAuth` gives it
the time.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote

import httpx

from airflow_provider_jimeng.core.codes import lookup
from airflow_provider_jimeng.core.errors import ApiError, JimengError
from airflow_provider_jimeng.core.wire import parse_query

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from airflow_provider_jimeng.client.settings import ClientSettings

log = logging.getLogger(__name__)

ALGORITHM = "HMAC-SHA256"
TERMINATOR = "request"
SIGNED_HEADERS = "content-type;host;x-content-sha256;x-date"
_SIGNED = frozenset({b"x-date", b"x-content-sha256", b"x-security-token", b"authorization"})
_CLOCK_REFUSAL = lookup("InvalidTimestamp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """An account's key pair, with the session token of temporary (STS) credentials.

    The secret key is used literally, even if it looks like Base64.
    """

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Region and service that a signature is valid for."""

    region: str
    service: str


def signing_key(secret_key: str, date: str, scope: Scope) -> bytes:
    """Return the 32-byte key of one day (``date`` is ``YYYYMMDD``) and scope."""
    key = secret_key.encode()
    for part in (date, scope.region, scope.service, TERMINATOR):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


@lru_cache(maxsize=64)
def canonical_query(query: str) -> str:
    """Return a raw query string sorted and percent-encoded by RFC 3986 (``-_.~`` stay, a space is ``%20``).

    A query contains an action and a version and no secrets, so it can be cached.
    """
    pairs = sorted(parse_qsl(query, keep_blank_values=True))
    return "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in pairs)


def signed_host(host: str) -> str:
    """Return the ``Host`` value that a signature covers: without the ports ``:80`` and ``:443``."""
    name, colon, port = host.rpartition(":")
    return name if colon and port in ("80", "443") else host


@dataclass(frozen=True, slots=True)
class _Day:
    """The parts that all signatures of a day share."""

    date: str
    key: bytes = field(repr=False)
    scope: str
    authorization: str


class Signer:
    """Signs for one key pair and scope, and keeps the derived key of the day of its last signature.

    No module-level cache keeps a derived key, so it is gone when the signer is. The output depends on the arguments alone.
    """

    __slots__ = ("_credentials", "_day", "_scope", "_signed", "_token_line")

    def __init__(self, credentials: Credentials, scope: Scope) -> None:
        self._credentials = credentials
        self._scope = scope
        token = credentials.session_token
        self._signed = f"{SIGNED_HEADERS};x-security-token" if token else SIGNED_HEADERS
        self._token_line = f"x-security-token:{token}\n" if token else ""
        self._day: _Day | None = None

    def sign(
        self, *, method: str, host: str, path: str, query: str, content_type: str, body: bytes, x_date: str
    ) -> dict[str, str]:
        """Return the headers to add to a request.

        :param host: the ``Host`` header as it is sent, port included
        :param path: the raw path as it is sent; empty counts as ``/``
        :param query: the raw query string as it is sent, in any order
        :param content_type: the ``Content-Type`` header, byte for byte as it is sent
        :param x_date: UTC time as ``YYYYMMDDTHHMMSSZ``
        :returns: ``X-Date``, ``X-Content-Sha256``, ``Authorization`` and, for temporary credentials,
            ``X-Security-Token``
        """
        day = self._day
        if day is None or day.date != x_date[:8]:
            day = self._day = self._start(x_date[:8])
        digest = hashlib.sha256(body).hexdigest()
        canonical = (
            f"{method}\n{path or '/'}\n{canonical_query(query)}\n"
            f"content-type:{content_type}\nhost:{signed_host(host)}\n"
            f"x-content-sha256:{digest}\nx-date:{x_date}\n{self._token_line}\n{self._signed}\n{digest}"
        )
        text = f"{ALGORITHM}\n{x_date}\n{day.scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        headers = {
            "X-Date": x_date,
            "X-Content-Sha256": digest,
            "Authorization": day.authorization + hmac.digest(day.key, text.encode(), "sha256").hex(),
        }
        if self._credentials.session_token:
            headers["X-Security-Token"] = self._credentials.session_token
        return headers

    def _start(self, date: str) -> _Day:
        scope = f"{date}/{self._scope.region}/{self._scope.service}/{TERMINATOR}"
        return _Day(
            date=date,
            key=signing_key(self._credentials.secret_key, date, self._scope),
            scope=scope,
            authorization=f"{ALGORITHM} Credential={self._credentials.access_key}/{scope}, "
            f"SignedHeaders={self._signed}, Signature=",
        )


def sign(
    *,
    method: str,
    host: str,
    path: str,
    query: str,
    content_type: str,
    body: bytes,
    credentials: Credentials,
    scope: Scope,
    x_date: str,
) -> dict[str, str]:
    """Return the headers that sign one request; see :meth:`Signer.sign`."""
    return Signer(credentials, scope).sign(
        method=method,
        host=host,
        path=path,
        query=query,
        content_type=content_type,
        body=body,
        x_date=x_date,
    )


# --- as httpx sends it -------------------------------------------------------------------------------------------------


class Auth(httpx.Auth):
    """Signs requests. It is an authentication of httpx, too."""

    requires_request_body = True
    requires_response_body = True

    def sign(self, request: httpx.Request) -> None:
        """Add what says who sends a request."""
        raise NotImplementedError

    def sign_again(self, request: httpx.Request, response: httpx.Response) -> bool:  # noqa: ARG002
        """Sign a refused request again, if that can help; return whether it is to be sent again."""
        return False

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign a request, and once more if that can help, as httpx asks for it."""
        self.sign(request)
        response = yield request
        if response.status_code >= 400 and self.sign_again(request, response):
            yield request


class VolcAuth(Auth):
    """Signs a request as it is sent (docs 6369/67269), and corrects the time if the API refuses it.

    A request with a refused time was certainly not accepted. So it is signed again, once, with the time of the ``Date``
    header of the refusal. Later requests use the same correction.
    """

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

    def sign_again(self, request: httpx.Request, response: httpx.Response) -> bool:
        """Sign a request again, with the time of the API, if its refusal says that the time was wrong; say whether."""
        offset = self._offset_of(response) if _refuses_clock(response) else None
        if offset is None:
            return False
        self._offset_seconds = offset
        log.warning(
            "The clock of this machine differs from the clock of the API by %+.0f s. Requests are signed with the time "
            "of the API. Set the clock.",
            -offset,
        )
        self.sign(request)
        return True

    def sign(self, request: httpx.Request) -> None:
        """Add the signature, or replace an older one."""
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


class BearerAuth(Auth):
    """Sends the token of a gateway."""

    def __init__(self, token: str) -> None:
        self._header = f"Bearer {token}"

    def __repr__(self) -> str:
        return "BearerAuth(…)"

    def sign(self, request: httpx.Request) -> None:
        """Add the token to the request."""
        request.headers["Authorization"] = self._header


def auth_for(settings: ClientSettings, clock: Callable[[], float] = time.time) -> Auth:
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
