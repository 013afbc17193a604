# SPDX-License-Identifier: Apache-2.0
"""The HTTP that API calls and downloads share: transports of httpx, quiet logs, errors, time limits, unpacking.

Requests go to transports of httpx without an httpx client. A client would follow redirects, keep cookies, log URLs and
cost a fifth more CPU per poll.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import socket
import ssl
import threading
import time
import zlib
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from airflow_provider_jimeng import __version__
from airflow_provider_jimeng.client.settings import DEFAULT_PORTS
from airflow_provider_jimeng.core.errors import NoReplyError, NotSentError, SettingsError, TransportError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from airflow_provider_jimeng.client.settings import ClientSettings

USER_AGENT = f"airflow-provider-jimeng/{__version__}"
CONNECT_TIMEOUT_SECONDS = 10.0
TOO_LATE = "the reply was not complete in time"
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


# --------------------------------------------------------------------------------------------------- logs and errors
OWN_REQUEST: ContextVar[bool] = ContextVar("jimeng_own_request", default=False)
"""True while the HTTP libraries carry a request of ours. They then log nothing below WARNING.

At INFO httpx logs each URL, so download links would appear. At DEBUG httpcore logs the headers of replies and the password
of a SOCKS proxy. Requests of other code are logged as before.
"""


def _is_logged(record: logging.LogRecord) -> bool:
    return record.levelno > logging.INFO or not OWN_REQUEST.get()


for _name in _NOISY_LOGGERS:
    logging.getLogger(_name).addFilter(_is_logged)


@contextmanager
def own_request() -> Iterator[None]:
    """Keep the links of the requests in the ``with`` block out of the logs of the HTTP libraries."""
    token = OWN_REQUEST.set(True)
    try:
        yield
    finally:
        OWN_REQUEST.reset(token)


def translated(error: Exception, host: str) -> TransportError:
    """Return our error for an error of httpx. Its text never holds a header, a body or a key."""
    name = type(error).__name__
    why = f"{name}: {error}" if isinstance(error, _SAFE_TO_QUOTE) and str(error) else name
    if isinstance(error, _NOT_SENT):
        if _SPEAKS_PLAIN_HTTP.search(why):
            why = f"{name}: it does not speak https. If it speaks http, set schema to http in the connection"
        return NotSentError(f"Cannot reach {host} ({why}). Nothing was sent.")
    return NoReplyError(f"The request to {host} was sent, but no complete reply came ({why}).")


# -------------------------------------------------------------------------------------------------------- transports
def open_transport(settings: ClientSettings, *, keep_connection: bool = False) -> httpx.BaseTransport:
    """Return the httpx transport of a worker.

    :param keep_connection: the next request can use the connection of the last one.
    :raises SettingsError: a field of the connection cannot be used.
    """
    with naming_the_field():
        return httpx.HTTPTransport(
            verify=tls_context(settings.verify),
            proxy=proxy_for(settings, settings.endpoint),
            limits=ONE_KEPT_CONNECTION if keep_connection else NEW_CONNECTIONS,
        )


def open_async_transport(
    settings: ClientSettings, *, keep_connection: bool = False
) -> httpx.AsyncBaseTransport:
    """Return the httpx transport of an event loop; see :func:`open_transport`."""
    with naming_the_field():
        if settings.transport == "aiohttp":
            return _aiohttp_transport(settings)
        return httpx.AsyncHTTPTransport(
            verify=tls_context(settings.verify),
            proxy=proxy_for(settings, settings.endpoint),
            limits=ONE_KEPT_CONNECTION if keep_connection else NEW_CONNECTIONS,
        )


def proxy_for(settings: ClientSettings, url: str) -> str | None:
    """Return the proxy of the connection, else that of the environment. A URL on this machine needs none."""
    parts = urlsplit(url)
    if settings.proxy or is_local(parts.hostname or ""):
        return settings.proxy
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def origin_of(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port of a URL, in one form: lower case, no brackets, always with the port.

    :raises ValueError: the text does not have these parts.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    try:
        host = str(ipaddress.ip_address(host))
    except ValueError:
        host = host.encode("idna").decode().lower() if host else ""
    return parts.scheme, host, parts.port or DEFAULT_PORTS.get(parts.scheme)


def is_local(host: str) -> bool:
    """Return whether a host name or address means this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


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
    tls, proxy = tls_context(settings.verify), proxy_for(settings, settings.endpoint)

    def session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(keepalive_timeout=ONE_KEPT_CONNECTION.keepalive_expiry, ssl=tls)
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    return AiohttpTransport(verify=tls, client=session, proxy=httpx.Proxy(proxy) if proxy else None)


@contextmanager
def naming_the_field() -> Iterator[None]:
    """Name the connection's field if httpx refuses its value."""
    try:
        yield
    except SettingsError:
        raise
    except ImportError:
        raise SettingsError("extra.proxy: a SOCKS proxy needs `pip install httpx[socks]`.") from None
    except ValueError:
        raise SettingsError(
            "extra.proxy, or the proxy of the environment: expected a URL such as http://proxy.example.com:3128."
        ) from None


def first_reply(transport: httpx.BaseTransport, requests: Sequence[httpx.Request]) -> httpx.Response:
    """Send the same request to the addresses of a host, one after the other, until one can be connected to."""
    *others, last = requests
    for request in others:
        with suppress(httpx.ConnectError, httpx.ConnectTimeout):
            return transport.handle_request(request)
    return transport.handle_request(last)


# ------------------------------------------------------------------------------------------------------- time limits
_LONGEST_NAP = 0.25


def starts_sending(event: str, info: dict[str, Any]) -> bool:
    """Return whether httpcore begins to send the request itself. The CONNECT to a proxy comes before it."""
    return event.endswith(".send_request_headers.started") and info["request"].method != b"CONNECT"


class TimeLimit:
    """Shuts the connection of a request down if the ``with`` block takes too long.

    httpx limits each single read, so a server that sends one byte now and then never causes a timeout. This thread
    waits in the read, so a second thread shuts the connection down. Put :meth:`trace` into the extensions of the
    request: httpcore then reports each connection that it makes.

    :param stream: the connection that the request can use without making one.
    :param on_sent: called before the first byte of the request is sent.
    """

    def __init__(
        self, seconds: float, *, stream: Any = None, on_sent: Callable[[], None] | None = None
    ) -> None:
        self.stream = stream
        self._on_sent = on_sent
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
            if self._is_sent and self._on_sent is not None:
                self._on_sent()
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

    def pieces(
        self, body: Iterable[bytes], seconds: float, *, codings: Sequence[str], where: str
    ) -> Iterator[bytes]:
        """Yield a body unpacked. Each piece of it has so many seconds to arrive, in place of the limit for the whole.

        :param where: the source, for messages.
        :raises NoReplyError: a piece did not arrive in time, or the body was cut, or cannot be unpacked.
        """
        received = self._received(body, seconds)
        try:
            yield from unpacked(received, codings) if codings else received
        except httpx.HTTPError as error:
            raise translated(error, where) from None

    def _received(self, body: Iterable[bytes], seconds: float) -> Iterator[bytes]:
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


# ---------------------------------------------------------------------------------------------------- packed bodies
# No request asks for a coding. But stores send the Content-Encoding of the upload, and proxies can add their own.
PIECE_BYTES = 64 * 1024
MAX_LAYERS = 3
MAX_RATIO = 100
"""A body that grows by more than this is made to fill a memory or a disk. Videos and short answers hardly shrink."""
SUSPICIOUS_BYTES = 16 * 1024 * 1024
"""The ratio does not matter up to this size."""
READABLE = frozenset({"gzip", "x-gzip", "deflate"})
_NEUTRAL = frozenset(
    {"", "identity", "none", "binary", "8bit", "7bit", "utf-8", "utf8", "aws-chunked", "chunked"}
)
"""Words that change no byte. The standard has ``identity``; stores send the others as the upload named them."""
_GZIP_MAGIC = b"\x1f\x8b"


def codings_of(content_encoding: str | None) -> list[str]:
    """Return the codings of a Content-Encoding that change bytes, in the order in which they were applied."""
    words = (part.partition(";")[0].strip(" \t\"'").lower() for part in (content_encoding or "").split(","))
    return [word for word in words if word not in _NEUTRAL]


def unpacked(pieces: Iterable[bytes], codings: Sequence[str]) -> Iterator[bytes]:
    """Yield a body as it was before ``codings``, each of which must be one of :data:`READABLE`.

    The memory that this needs is bounded. A body that is not packed, although its header says so, passes unchanged: its
    reader checks it.

    :raises httpx.DecodingError: the body is broken, cut, packed too often, or grows without limit.
    """
    if len(codings) > MAX_LAYERS:
        raise httpx.DecodingError(f"the body is packed {len(codings)} times")
    packed_bytes = unpacked_bytes = 0

    def counted() -> Iterator[bytes]:
        nonlocal packed_bytes
        for piece in pieces:
            packed_bytes += len(piece)
            yield piece

    body: Iterator[bytes] = counted()
    for coding in reversed(codings):
        body = _unpacked_once(body, coding)
    for piece in body:
        unpacked_bytes += len(piece)
        if unpacked_bytes > SUSPICIOUS_BYTES and unpacked_bytes > MAX_RATIO * packed_bytes:
            raise httpx.DecodingError(f"the body grows to more than {MAX_RATIO} times its size")
        yield piece


def _unpacked_once(pieces: Iterator[bytes], coding: str) -> Iterator[bytes]:
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= 8:
            break
    window = _window_of(head, coding)
    body = chain([head], pieces)
    return iter(body) if window is None else _inflated(body, window)


def _window_of(head: bytes, coding: str) -> int | None:
    """Return the window size for zlib, by the first bytes of a body; ``None`` for a body that is not packed."""
    if head.startswith(_GZIP_MAGIC):
        return 16 + zlib.MAX_WBITS
    if coding != "deflate" or not head or head[4:8] == b"ftyp" or head.lstrip()[:1] in (b"{", b"["):
        return None
    has_header = head[0] & 0x0F == zlib.DEFLATED and int.from_bytes(head[:2], "big") % 31 == 0
    return zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS


def _inflated(pieces: Iterable[bytes], window: int) -> Iterator[bytes]:
    inflate = zlib.decompressobj(window)
    try:
        for piece in pieces:
            rest = piece
            while rest:
                if inflate.eof:
                    if not _GZIP_MAGIC.startswith(rest[:2]) or window < zlib.MAX_WBITS + 1:
                        return  # What follows the end is padding and does not belong to the body.
                    inflate = zlib.decompressobj(window)
                if out := inflate.decompress(rest, PIECE_BYTES):
                    yield out
                rest = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
        while not inflate.eof and (out := inflate.decompress(b"", PIECE_BYTES)):
            yield out
    except zlib.error:
        raise httpx.DecodingError("the packed body is broken") from None
    if not inflate.eof:
        raise httpx.DecodingError("the packed body is cut")
