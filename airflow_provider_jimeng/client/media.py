# SPDX-License-Identifier: Apache-2.0
"""Downloads: the videos behind the links of the API, and small files behind links that a user trusts.

No key, cookie or header of the API calls goes along. The only exception is the token of a gateway, which goes to links
on the gateway's own origin, because the gateway requires it there.

A link to a video can name any public https host, unless ``media_hosts`` of the connection lists hosts: then only those.
The host of the endpoint is always allowed, over http too. A listed host can be private and can speak http. Each redirect
is checked in the same way, and the connection goes to the addresses that were checked, because a second look-up could
give others. Behind a proxy the proxy looks names up.

Errors name scheme, host and the end of the path of a link, never the query: it holds the signature.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from airflow_provider_jimeng.client.transport import (
    CONNECT_TIMEOUT_SECONDS,
    NEW_CONNECTIONS,
    READABLE,
    USER_AGENT,
    TimeLimit,
    codings_of,
    first_reply,
    naming_the_field,
    origin_of,
    own_request,
    proxy_for,
    tls_context,
    translated,
)
from airflow_provider_jimeng.core.errors import (
    LandingError,
    MediaHostRefusedError,
    NoReplyError,
    NotSentError,
)
from airflow_provider_jimeng.core.frames import host_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_jimeng.client.settings import ClientSettings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_REDIRECTS = 5
ANY_PUBLIC = "*"
"""An entry of ``media_hosts`` that allows any public https host, beside the others in the list."""
FILE_TIMEOUT_SECONDS = 30.0
LONGEST_FILE_SECONDS = 300.0
"""The limit for a whole small file."""

_HEADERS = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,18})-\d{1,18}|\*)/(?:(\d{1,18})|\*)")
_LONGEST_TAIL = 60
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaStream:
    """An open reply of a media host.

    ``start`` is the offset of the first byte in the file (``None``: a partial reply does not say it). ``total`` is the
    length of the whole file, if it is known. ``codings`` says how the body is packed: offsets and lengths are then those
    of the packed file, so it can only be read from its beginning to its end. ``has_end`` is false if only the end of the
    connection ends the body. ``where`` names the source in messages.
    """

    status: int
    where: str
    start: int | None
    total: int | None
    etag: str | None
    codings: tuple[str, ...] = ()
    has_end: bool = True
    chunks: Iterator[bytes] = field(repr=False)
    """The pieces of the file, of at most 64 KiB, as it arrives and is unpacked. To read one can raise ``NoReplyError``."""


@contextmanager
def open_media(
    url: str, *, settings: ClientSettings, start: int = 0, etag: str | None = None
) -> Iterator[MediaStream]:
    """Open a link, from byte ``start`` on if the host can do that and the file is still ``etag``.

    Any final status is yielded. Redirects are followed, each one checked.

    :raises MediaHostRefusedError: the link or a redirect leads to a host that the settings do not allow.
    :raises NotSentError: the host cannot be reached.
    :raises NoReplyError: the host did not answer in time, or not in HTTP.
    :raises LandingError: the link is not a URL, or leads through too many redirects.
    """
    headers = dict(_HEADERS)
    if start:
        headers["Range"] = f"bytes={start}-"
        if etag and not etag.startswith("W/"):
            headers["If-Range"] = etag
    target = _parsed(url)
    for redirects in range(MAX_REDIRECTS + 1):
        is_endpoint = False
        with suppress(ValueError):  # Scheme, host and port of a link can be those of the API calls.
            is_endpoint = origin_of(str(target)) == origin_of(settings.endpoint)
        proxy = proxy_for(settings, str(target))
        if not is_endpoint:
            # The token is not added again later: a way back to the gateway leads through a foreign host.
            headers.pop("Authorization", None)
        elif settings.auth == "bearer" and redirects == 0:
            headers["Authorization"] = f"Bearer {settings.secret_key}"
        with ExitStack() as stack:
            response, limit = _send(target, headers, settings, proxy, stack)
            if response.status_code not in _REDIRECTS or "Location" not in response.headers:
                yield _stream(response, limit, _where(target), settings.timeout_seconds)
                return
        target = _parsed(response.headers["Location"], base=target)
    raise LandingError(
        f"The link leads through more than {MAX_REDIRECTS} redirects, at last to {_where(target)}."
    )


def _parsed(text: str, base: httpx.URL | None = None) -> httpx.URL:
    try:
        url = base.join(text) if base else httpx.URL(text)
    except (httpx.InvalidURL, ValueError, TypeError):
        raise LandingError("The link to the video is not a URL.") from None
    if url.scheme not in ("https", "http") or not url.host:
        raise MediaHostRefusedError("The link to the video is not an http(s) URL. Nothing was fetched.")
    if url.userinfo:
        raise MediaHostRefusedError(f"The link to {_where(url)} holds user information. Nothing was fetched.")
    return url


def _send(
    target: httpx.URL, headers: dict[str, str], settings: ClientSettings, proxy: str | None, stack: ExitStack
) -> tuple[httpx.Response, TimeLimit]:
    """Send one GET. The reply, and the limit of its time, last as long as the stack."""
    addresses = admitted_addresses(target, settings, resolves_here=proxy is None)
    seconds = settings.timeout_seconds
    connect = min(CONNECT_TIMEOUT_SECONDS, seconds)
    extensions: dict[str, Any] = {"timeout": httpx.Timeout(seconds, connect=connect).as_dict()}
    if addresses and proxy is None:
        extensions["sni_hostname"] = target.raw_host.decode("ascii")  # TLS still checks the name.
    limit = stack.enter_context(TimeLimit(2 * seconds + max(1, len(addresses)) * connect))
    extensions["trace"] = limit.trace
    with_host, requests = {"Host": target.netloc.decode("ascii"), **headers}, []
    for address in addresses if proxy is None and addresses else [None]:
        url = target if address is None else target.copy_with(host=address)
        requests.append(httpx.Request("GET", url, headers=with_host, extensions=extensions))
    with naming_the_field():
        verify = tls_context(settings.verify) if target.scheme == "https" else False
        # A client would keep cookies, a transport does not.
        transport = httpx.HTTPTransport(verify=verify, proxy=proxy, limits=NEW_CONNECTIONS)
    stack.enter_context(transport)
    try:
        with own_request(), limit.enforced():
            response = first_reply(transport, requests)
    except httpx.HTTPError as error:
        raise translated(error, _where(target)) from None
    stack.callback(response.close)
    return response, limit


def _where(url: httpx.URL) -> str:
    """Return scheme, host, port and the end of the path of a URL, without its query."""
    tail = url.raw_path.decode("ascii").partition("?")[0].rpartition("/")[2]
    return f"{url.scheme}://{url.netloc.decode('ascii')}/…/{tail[-_LONGEST_TAIL:]}"


def _stream(response: httpx.Response, limit: TimeLimit, where: str, piece_seconds: float) -> MediaStream:
    headers = response.headers
    codings = codings_of(headers["Content-Encoding"]) if "Content-Encoding" in headers else []
    unknown = [coding for coding in codings if coding not in READABLE]
    if response.status_code in (200, 206) and unknown:
        raise LandingError(
            f"{where} sends the video with Content-Encoding {unknown[0][:80]!r}. No encoding was requested, and only gzip "
            "and deflate can be read. Nothing is lost. Correct the encoding at the host, or remove the proxy that adds "
            "it, and clear the task."
        )
    start, total = _extent(response)
    return MediaStream(
        status=response.status_code,
        where=where,
        start=start,
        total=None if codings else total,
        etag=headers.get("ETag"),
        codings=tuple(codings),
        has_end="Content-Length" in headers or "Transfer-Encoding" in headers,
        chunks=limit.pieces(response.iter_raw(), piece_seconds, codings=codings, where=where),
    )


def _extent(response: httpx.Response) -> tuple[int | None, int | None]:
    """Return offset and whole length, as the headers say them."""
    if response.status_code == 206:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        first, total = match.groups() if match else (None, None)
        return (int(first) if first else None), (int(total) if total else None)
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if re.fullmatch(r"\d{1,18}", length) else None


# ------------------------------------------------------------------------------------------------------ allowed hosts
def admitted_addresses(
    url: httpx.URL, settings: ClientSettings, *, resolves_here: bool = True
) -> tuple[str, ...]:
    """Return the addresses that the host of a link can be connected to; none if the host is trusted by its name.

    :param resolves_here: false behind a proxy, which looks names up. A name that is unknown here then passes.
    :raises MediaHostRefusedError: naming the host and the remedy.
    :raises NotSentError: the name of the host cannot be looked up.
    """
    host, endpoint_host = url.raw_host.decode("ascii"), urlsplit(settings.endpoint).hostname or ""
    if host == endpoint_host or any(_is_listed(entry, host, url) for entry in settings.media_hosts):
        return ()
    addresses = _look_up(host, required=resolves_here)
    texts = tuple(str(address) for address in addresses)
    if _are_listed(addresses, settings.media_hosts):
        return texts
    if not (url.scheme == "https" and all(_is_public(address) for address in addresses)):
        if _are_of_endpoint(addresses, endpoint_host):
            return texts
        raise MediaHostRefusedError(
            f"The link points at {url.scheme}://{host}, which is not a public https host. Nothing was fetched. "
            f"If it is right, add {host!r} to media_hosts of the connection."
        )
    if settings.media_hosts and ANY_PUBLIC not in settings.media_hosts:
        raise MediaHostRefusedError(
            f"The link points at {url.scheme}://{host}, which media_hosts of the connection does not list. Nothing was "
            f"fetched. Add the host there; {ANY_PUBLIC!r} allows any public https host."
        )
    return texts


def _is_listed(entry: str, host: str, url: httpx.URL) -> bool:
    """Return whether an entry of the list (``host``, ``host:port``, ``*.domain``) names the host of a link."""
    if entry.startswith("*."):
        return host.endswith(entry[1:])
    shown = f"[{host}]" if ":" in host else host
    port = url.port or (443 if url.scheme == "https" else 80)
    return entry in (host, shown, f"{shown}:{port}")


def _are_listed(addresses: tuple[Address, ...], media_hosts: tuple[str, ...]) -> bool:
    """Return whether the networks in the list, such as ``10.1.0.0/16``, hold every address."""
    networks = []
    for entry in media_hosts:
        with suppress(ValueError):
            networks.append(ipaddress.ip_network(entry, strict=False))
    return bool(addresses) and all(any(address in network for network in networks) for address in addresses)


def _are_of_endpoint(addresses: tuple[Address, ...], endpoint_host: str) -> bool:
    """Return whether the addresses are those of the endpoint, as ``127.0.0.1`` is one of ``localhost``."""
    return bool(addresses) and set(addresses) <= set(_look_up(endpoint_host, required=False))


def _look_up(host: str, *, required: bool) -> tuple[Address, ...]:
    try:
        results = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        if required:
            raise NotSentError(
                f"The media host {host} cannot be looked up ({type(error).__name__})."
            ) from None
        return ()
    texts = dict.fromkeys(str(sockaddr[0]).partition("%")[0] for *_, sockaddr in results)
    return tuple(ipaddress.ip_address(text) for text in texts)


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:  # The IPv6 address stands for this IPv4 address.
            return _is_public(inner)
        if address.is_site_local:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


# -------------------------------------------------------------------------------------------------------- small files
def fetch_file(link: str, max_bytes: int) -> tuple[int, bytes]:
    """Return the HTTP status and the content behind a link, at most one byte more than ``max_bytes``.

    The link, for example a presigned one, can be a secret, so no log and no error shows it. Redirects are followed. The
    content is not read if the status is not 2xx.

    :raises NotSentError: the host cannot be reached.
    :raises NoReplyError: no complete reply came in time.
    """
    until = time.monotonic() + LONGEST_FILE_SECONDS
    content = bytearray()
    timeout = httpx.Timeout(FILE_TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS)
    try:
        with (
            own_request(),
            httpx.Client(
                headers=_HEADERS, timeout=timeout, follow_redirects=True, max_redirects=MAX_REDIRECTS
            ) as client,
            client.stream("GET", link) as response,
        ):
            if response.is_success:
                for chunk in response.iter_bytes():
                    content += chunk
                    if time.monotonic() > until:
                        raise NoReplyError(
                            f"The file on {host_of(link)} did not arrive in {LONGEST_FILE_SECONDS:.0f} s."
                        )
                    if len(content) > max_bytes:
                        break
            return response.status_code, bytes(content[: max_bytes + 1])
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        failed = translated(error, host_of(link))
    raise failed
