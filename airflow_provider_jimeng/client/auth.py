"""Authentication of requests: the one place where the clock enters, for the sync and the async client alike."""

from __future__ import annotations

import logging
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import httpx

from airflow_provider_jimeng.core.codes import lookup
from airflow_provider_jimeng.core.errors import ApiError, JimengError
from airflow_provider_jimeng.core.signing import Credentials, Scope, Signer, signed_host
from airflow_provider_jimeng.core.wire import parse_query

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from airflow_provider_jimeng.client.settings import ClientSettings

log = logging.getLogger(__name__)

_SIGNED = frozenset({b"x-date", b"x-content-sha256", b"x-security-token", b"authorization"})
_CLOCK_REFUSAL = lookup("InvalidTimestamp")


class VolcAuth(httpx.Auth):
    """Signs what is really sent (docs 6369/67269) and corrects this machine's clock when the API objects to it.

    A refused timestamp means that the request was certainly not accepted, so it is signed again, once, with
    the offset to the ``Date`` of the refusal. The offset is remembered for the requests that follow.
    """

    requires_request_body = True
    requires_response_body = True

    def __init__(
        self, credentials: Credentials, scope: Scope, clock: Callable[[], float] = time.time
    ) -> None:
        self._signer = Signer(credentials, scope)
        self._clock = clock
        self._offset_seconds = 0.0

    def __repr__(self) -> str:
        return "VolcAuth(…)"

    @property
    def offset_seconds(self) -> float:
        """How far the API's clock is ahead of ours, as far as we were told."""
        return self._offset_seconds

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign; on a refused timestamp adopt the server's clock and sign again, once."""
        self._sign(request)
        response = yield request
        if response.status_code < 400 or not _refuses_clock(response):
            return
        offset = self._offset_of(response)
        if offset is None:
            return
        self._offset_seconds = offset
        log.warning(
            "This machine's clock is %+.0f s off the API's; requests are signed with the API's time. "
            "Set the clock.",
            -offset,
        )
        self._sign(request)
        yield request

    def _sign(self, request: httpx.Request) -> None:
        kept = [pair for pair in request.headers.raw if pair[0].lower() not in _SIGNED]
        given = {name.lower(): value for name, value in kept}
        host, content_type = given[b"host"].decode("ascii"), given[b"content-type"].decode("ascii")
        if (plain := signed_host(host)) != host:
            kept = [(name, plain.encode() if name.lower() == b"host" else value) for name, value in kept]
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
        # All at once: setting headers one by one costs httpx as much as the signature costs us.
        added = [(name.encode("ascii"), value.encode("ascii")) for name, value in signed.items()]
        request.headers = httpx.Headers(kept + added)

    def _offset_of(self, response: httpx.Response) -> float | None:
        try:
            server = parsedate_to_datetime(response.headers["Date"]).timestamp()
        except (KeyError, ValueError):
            return None
        return server - self._clock()


class BearerAuth(httpx.Auth):
    """Sends a gateway's token."""

    def __init__(self, token: str) -> None:
        self._header = f"Bearer {token}"

    def __repr__(self) -> str:
        return "BearerAuth(…)"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the token."""
        request.headers["Authorization"] = self._header
        yield request


def auth_for(settings: ClientSettings, clock: Callable[[], float] = time.time) -> httpx.Auth:
    """Return the authentication that a connection asks for."""
    if settings.auth == "bearer":
        return BearerAuth(settings.secret_key)
    return VolcAuth(
        Credentials(
            access_key=settings.access_key,
            secret_key=settings.secret_key,
            session_token=settings.session_token,
        ),
        Scope(region=settings.region, service=settings.service),
        clock,
    )


def _refuses_clock(response: httpx.Response) -> bool:
    try:
        parse_query(response.status_code, response.content)
    except ApiError as error:
        return error.entry is not None and error.entry is _CLOCK_REFUSAL
    except JimengError:
        return False
    return False
