# SPDX-License-Identifier: Apache-2.0
"""Volcengine V4 request signing (HMAC-SHA256) as pure functions (docs 6369/67268, 6369/67269).

The caller passes the time as ``x_date``. The signature covers the sorted headers
``content-type;host;x-content-sha256;x-date`` and, with a session token, ``;x-security-token``.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import parse_qsl, quote

ALGORITHM = "HMAC-SHA256"
TERMINATOR = "request"
SIGNED_HEADERS = "content-type;host;x-content-sha256;x-date"


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
