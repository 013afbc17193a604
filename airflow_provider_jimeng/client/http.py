"""How requests leave: httpx clients as we build them, and its errors in our terms.

No redirect is followed, so a signature or token never reaches another host. Replies are read whole; nothing of
a request or reply is logged but action, status, request id and duration, at debug level.
"""

from __future__ import annotations

import logging
import re
import ssl
import time
from contextlib import contextmanager
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from airflow_provider_jimeng import __version__
from airflow_provider_jimeng.client.aiohttp_transport import aiohttp_transport
from airflow_provider_jimeng.client.endpoint import refuse_redirect
from airflow_provider_jimeng.client.kept_connection import KeptConnection
from airflow_provider_jimeng.client.lanes import LaneTransport
from airflow_provider_jimeng.client.quiet import OwnRequest
from airflow_provider_jimeng.client.replies import AsyncBoundedTransport, BoundedTransport
from airflow_provider_jimeng.core.errors import (
    ApiError,
    NoReplyError,
    NotSentError,
    SettingsError,
    TransportError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from airflow_provider_jimeng.client.settings import ClientSettings

log = logging.getLogger(__name__)

USER_AGENT = f"airflow-provider-jimeng/{__version__}"
HEADERS = {
    "User-Agent": USER_AGENT,
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "Connection": "keep-alive",
    "Content-Type": "application/json",
}
CONNECT_TIMEOUT_SECONDS = 10.0
NEW_CONNECTIONS = httpx.Limits(max_keepalive_connections=0)
"""A connection for each request of a worker, which sends few of them: see :class:`TimeLimit`."""
KEEPALIVE_SECONDS = 20.0
"""Idle connections are kept this long: long enough for the next poll, shorter than common servers' 60 s."""

_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
    UnicodeError,  # a host name that cannot be written for DNS
)
_SPEAKS_PLAIN_HTTP = re.compile(
    r"WRONG[_ ]VERSION[_ ]NUMBER|UNKNOWN[_ ]PROTOCOL|HTTP[_ ]REQUEST|RECORD[_ ]LAYER[_ ]FAILURE"
    r"|PACKET[_ ]LENGTH[_ ]TOO[_ ]LONG",
    re.IGNORECASE,
)
"""What OpenSSL says of a server that answers in plain text."""
_SPEAKING = (
    httpx.ConnectError,
    httpx.ProxyError,
    httpx.ReadError,
    httpx.WriteError,
    httpx.RemoteProtocolError,
    httpx.DecodingError,
)
"""Errors whose own text is the operating system's or the peer's; the others may quote a header."""


class _AnyReply(Protocol):
    @property
    def request_id(self) -> str | None: ...


Reply = TypeVar("Reply", bound=_AnyReply)


class Exchange:
    """One request and its reply, as a context: foreign errors are translated, the debug line is written.

    :raises NotSentError: the request certainly never reached the API.
    :raises NoReplyError: it went out and no whole answer came.
    """

    __slots__ = ("_action", "_host", "_quiet", "_started", "request_id", "status")

    def __init__(self, action: str, host: str) -> None:
        self._action = action
        self._host = host
        self._quiet = OwnRequest()
        self.status: int | None = None
        self.request_id: str | None = None

    def __enter__(self) -> Self:
        self._quiet.__enter__()
        self._started = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._quiet.__exit__()
        if isinstance(error, ApiError):
            self.request_id = error.request_id
        if log.isEnabledFor(logging.DEBUG):
            self._report(kind)
        if isinstance(error, UnicodeError) and self.status is not None:
            return  # of a reply, which was sent for
        if isinstance(error, httpx.HTTPError | httpx.InvalidURL | httpx.StreamError | UnicodeError):
            raise translated(error, self._host) from None

    def read(self, response: httpx.Response, parse: Callable[[int, bytes], Reply]) -> Reply:
        """Read a reply through one of the wire's parsers.

        :raises RedirectedError: the endpoint sends the call elsewhere.
        """
        self.status = response.status_code
        refuse_redirect(response)
        reply = parse(response.status_code, response.content)
        self.request_id = reply.request_id
        return reply

    def _report(self, kind: type[BaseException] | None) -> None:
        log.debug(
            "%s: %s after %.3f s (request id %s)",
            self._action,
            f"HTTP {self.status}" if self.status is not None else (kind.__name__ if kind else "no answer"),
            time.perf_counter() - self._started,
            self.request_id,
        )


def translated(error: Exception, host: str) -> TransportError:
    """Return our error for one of httpx's. Its text never holds a header, a body or a key."""
    name = type(error).__name__
    why = f"{name}: {error}" if isinstance(error, _SPEAKING) and str(error) else name
    if isinstance(error, _NOT_SENT):
        if _SPEAKS_PLAIN_HTTP.search(why):
            why = f"{name}: it does not speak https. If it speaks http, set schema to http in the connection"
        return NotSentError(f"Cannot reach {host} ({why}). Nothing was sent.")
    return NoReplyError(f"The request to {host} went out and no whole answer came ({why}).")


def open_client(settings: ClientSettings, transport: httpx.BaseTransport | None = None) -> httpx.Client:
    """Build the client of a worker; ``transport`` replaces the network."""
    with _refused_options():
        if transport is None:
            transport = httpx.HTTPTransport(
                verify=tls_context(settings.verify), proxy=proxy_for(settings), limits=NEW_CONNECTIONS
            )
        # httpx reads the target of a redirect even if it does not follow it, and fails if that is not a URL.
        hooks = {"response": [refuse_redirect]}
        return httpx.Client(transport=BoundedTransport(transport), event_hooks=hooks, **_options(settings))


def open_async_transport(settings: ClientSettings) -> httpx.AsyncBaseTransport:
    """Build what carries the requests of all triggers of an event loop.

    There is no ``httpx.AsyncClient`` around it: for what a poll needs, it costs more CPU than all the rest.
    """
    with _refused_options():
        return _aiohttp(settings) if settings.transport == "aiohttp" else _lanes(settings)


def timeout_of(settings: ClientSettings) -> httpx.Timeout:
    """Return the seconds that each phase of a request may take."""
    seconds = settings.timeout_seconds
    return httpx.Timeout(seconds, connect=min(CONNECT_TIMEOUT_SECONDS, seconds))


def proxy_for(settings: ClientSettings) -> str | None:
    """Return the connection's proxy, else the environment's; none stands before an endpoint on this machine."""
    if settings.proxy or settings.is_local:
        return settings.proxy
    parts = urlsplit(settings.endpoint)
    return environment_proxy(parts.scheme, parts.netloc)


def environment_proxy(scheme: str, netloc: str) -> str | None:
    """Return what ``https_proxy``, ``all_proxy`` and ``no_proxy`` say of a host."""
    found = getproxies()
    proxy = found.get(scheme) or found.get("all")
    if not proxy or proxy_bypass(netloc):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


@lru_cache(maxsize=8)
def tls_context(verify: bool | str) -> ssl.SSLContext:  # noqa: FBT001 - the value of a connection's field
    """Return the TLS context of a process for a ``verify`` value: building one costs about 24 ms of CPU.

    :raises SettingsError: the CA bundle cannot be read.
    """
    if not isinstance(verify, str):
        return httpx.create_ssl_context(verify=verify)
    is_directory = Path(verify).is_dir()
    try:
        return ssl.create_default_context(
            cafile=None if is_directory else verify, capath=verify if is_directory else None
        )
    except OSError as error:
        raise SettingsError(
            f"extra.verify: the CA bundle {verify!r} cannot be read ({error.strerror})."
        ) from None


def _lanes(settings: ClientSettings) -> httpx.AsyncBaseTransport:
    tls, proxy = tls_context(settings.verify), proxy_for(settings)
    if proxy is None:
        return LaneTransport(
            lambda: KeptConnection(settings.endpoint, tls=tls, keepalive_seconds=KEEPALIVE_SECONDS)
        )
    limits = httpx.Limits(max_connections=1, keepalive_expiry=KEEPALIVE_SECONDS)
    return LaneTransport(
        lambda: AsyncBoundedTransport(httpx.AsyncHTTPTransport(verify=tls, proxy=proxy, limits=limits))
    )


def _aiohttp(settings: ClientSettings) -> httpx.AsyncBaseTransport:
    return aiohttp_transport(
        tls=tls_context(settings.verify), proxy=proxy_for(settings), keepalive_seconds=KEEPALIVE_SECONDS
    )


def _options(settings: ClientSettings) -> dict[str, Any]:
    return {
        "trust_env": False,
        "timeout": timeout_of(settings),
        "follow_redirects": False,
        "cookies": CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        "headers": HEADERS,
    }


@contextmanager
def _refused_options() -> Iterator[None]:
    """Name the connection's field when httpx cannot be built with it."""
    try:
        yield
    except SettingsError:
        raise
    except ImportError:
        raise SettingsError("extra.proxy: a SOCKS proxy needs `pip install httpx[socks]`.") from None
    except ValueError:
        raise SettingsError(
            "extra.proxy, or the environment's proxy: expected a URL such as http://proxy.example.com:3128."
        ) from None
