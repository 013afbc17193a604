"""The HTTP of API calls: httpx's transports as the connection sets them, and their errors as errors of this package.

Requests go to httpx's transports without an httpx client. A client would follow redirects, keep cookies, log URLs and
cost a fifth more CPU per poll. The debug log has the action, status, request id and duration of a call, and nothing else.
"""

from __future__ import annotations

import logging
import re
import ssl
import time
from contextlib import contextmanager
from contextvars import ContextVar, Token
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from airflow_provider_jimeng import __version__
from airflow_provider_jimeng.client.endpoint import refuse_redirect
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
HEADERS = httpx.Headers(
    {
        "User-Agent": USER_AGENT,
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "Connection": "keep-alive",
        "Content-Type": "application/json",
    }
).raw
CONNECT_TIMEOUT_SECONDS = 10.0
NEW_CONNECTIONS = httpx.Limits(max_keepalive_connections=0)
"""httpx makes a new connection for each request."""
ONE_KEPT_CONNECTION = httpx.Limits(max_connections=1, keepalive_expiry=20.0)
"""httpx keeps its connection until the next poll. Common servers keep an idle connection for 60 seconds."""

_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
    UnicodeError,  # DNS cannot be asked for the host name.
)
_SPEAKS_PLAIN_HTTP = re.compile(
    r"WRONG[_ ]VERSION[_ ]NUMBER|UNKNOWN[_ ]PROTOCOL|HTTP[_ ]REQUEST|RECORD[_ ]LAYER[_ ]FAILURE"
    r"|PACKET[_ ]LENGTH[_ ]TOO[_ ]LONG",
    re.IGNORECASE,
)
"""The errors of OpenSSL for a server that answers in plain text."""
_SAFE_TO_QUOTE = (
    httpx.ConnectError,
    httpx.ProxyError,
    httpx.ReadError,
    httpx.WriteError,
    httpx.RemoteProtocolError,
    httpx.DecodingError,
)
"""The text of these errors comes from the operating system or the server. Others can quote a request header."""
_NOISY_LOGGERS = (
    "httpx",
    *(f"httpcore.{part}" for part in ("connection", "http11", "http2", "proxy", "socks")),
)


class _AnyReply(Protocol):
    @property
    def request_id(self) -> str | None: ...


Reply = TypeVar("Reply", bound=_AnyReply)


class OwnRequest:
    """Mark the requests in a ``with`` block as ours: the HTTP libraries then log nothing below WARNING.

    At INFO httpx logs each URL, so download links would appear. At DEBUG httpcore logs the headers of replies and the
    password of a SOCKS proxy. Requests of other code are logged as before.
    """

    __slots__ = ("_token",)

    _active: ContextVar[bool] = ContextVar("jimeng_own_request", default=False)
    _token: Token[bool]

    def __enter__(self) -> Self:
        self._token = self._active.set(True)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._active.reset(self._token)

    @classmethod
    def allows(cls, record: logging.LogRecord) -> bool:
        """Return whether a line of an HTTP library may be logged."""
        return record.levelno > logging.INFO or not cls._active.get()


for _name in _NOISY_LOGGERS:
    logging.getLogger(_name).addFilter(OwnRequest.allows)


class Exchange:
    """Translate the errors of one call and write its debug line.

    :raises NotSentError: the request certainly did not reach the API.
    :raises NoReplyError: the request was sent and no complete reply came.
    """

    __slots__ = ("_action", "_host", "_own_request", "_started", "request_id", "status")

    def __init__(self, action: str, host: str) -> None:
        self._action = action
        self._host = host
        self._own_request = OwnRequest()
        self.status: int | None = None
        self.request_id: str | None = None

    def __enter__(self) -> Self:
        self._own_request.__enter__()
        self._started = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._own_request.__exit__()
        if isinstance(error, ApiError):
            self.request_id = error.request_id
        if log.isEnabledFor(logging.DEBUG):
            self._report(kind)
        if isinstance(error, UnicodeError) and self.status is not None:
            return  # The error is in the reply, so the request was sent.
        if isinstance(error, httpx.HTTPError | httpx.InvalidURL | httpx.StreamError | UnicodeError):
            raise translated(error, self._host) from None

    def read(self, response: httpx.Response, parse: Callable[[int, bytes], Reply]) -> Reply:
        """Return a reply as one of the wire's parsers reads it.

        :raises RedirectedError: the endpoint redirects the call.
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
    """Return our error for an error of httpx. Its text never holds a header, a body or a key."""
    name = type(error).__name__
    why = f"{name}: {error}" if isinstance(error, _SAFE_TO_QUOTE) and str(error) else name
    if isinstance(error, _NOT_SENT):
        if _SPEAKS_PLAIN_HTTP.search(why):
            why = f"{name}: it does not speak https. If it speaks http, set schema to http in the connection"
        return NotSentError(f"Cannot reach {host} ({why}). Nothing was sent.")
    return NoReplyError(f"The request to {host} was sent, but no complete reply came ({why}).")


def open_transport(settings: ClientSettings, *, keep_connection: bool = False) -> httpx.BaseTransport:
    """Return the httpx transport of a worker.

    :param keep_connection: the next request can use the connection of the last one.
    :raises SettingsError: a field of the connection cannot be used.
    """
    with _naming_the_field():
        return httpx.HTTPTransport(
            verify=tls_context(settings.verify), proxy=proxy_for(settings), limits=_limits(keep_connection)
        )


def open_async_transport(
    settings: ClientSettings, *, keep_connection: bool = False
) -> httpx.AsyncBaseTransport:
    """Return the httpx transport of an event loop; see :func:`open_transport`."""
    with _naming_the_field():
        if settings.transport == "aiohttp":
            return _aiohttp_transport(settings)
        return httpx.AsyncHTTPTransport(
            verify=tls_context(settings.verify), proxy=proxy_for(settings), limits=_limits(keep_connection)
        )


def timeout_of(settings: ClientSettings) -> httpx.Timeout:
    """Return the seconds that each phase of a request may take."""
    seconds = settings.timeout_seconds
    return httpx.Timeout(seconds, connect=min(CONNECT_TIMEOUT_SECONDS, seconds))


def proxy_for(settings: ClientSettings) -> str | None:
    """Return the connection's proxy, else that of the environment. An endpoint on this machine needs no proxy."""
    if settings.proxy or settings.is_local:
        return settings.proxy
    parts = urlsplit(settings.endpoint)
    return environment_proxy(parts.scheme, parts.netloc)


def environment_proxy(scheme: str, netloc: str) -> str | None:
    """Return the proxy that ``https_proxy``, ``all_proxy`` and ``no_proxy`` set for a host."""
    proxies = getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    if not proxy or proxy_bypass(netloc):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


@lru_cache(maxsize=8)
def tls_context(verify: bool | str) -> ssl.SSLContext:  # noqa: FBT001 - the value of a connection's field
    """Return the TLS context for a ``verify`` value. It is built once, because that costs about 24 ms of CPU.

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


def _aiohttp_transport(settings: ClientSettings) -> httpx.AsyncBaseTransport:
    """Return the transport of the extra. Its session starts with the first request, on the loop of that request."""
    try:
        import aiohttp  # noqa: PLC0415 - an extra
        from httpx_aiohttp import AiohttpTransport  # noqa: PLC0415 - an extra
    except ImportError:
        raise SettingsError(
            "extra.transport: aiohttp is not installed. Run: pip install 'airflow-provider-jimeng[aiohttp]'"
        ) from None
    tls, proxy = tls_context(settings.verify), proxy_for(settings)

    def session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(keepalive_timeout=ONE_KEPT_CONNECTION.keepalive_expiry, ssl=tls)
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    return AiohttpTransport(verify=tls, client=session, proxy=httpx.Proxy(proxy) if proxy else None)


def _limits(keep_connection: bool) -> httpx.Limits:  # noqa: FBT001 - the value of an argument
    return ONE_KEPT_CONNECTION if keep_connection else NEW_CONNECTIONS


@contextmanager
def _naming_the_field() -> Iterator[None]:
    """Name the connection's field if httpx refuses its value."""
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
