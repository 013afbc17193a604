"""Downloads of finished videos: a bare client that carries no key, no cookie and no header of the signed one.

One token goes along: that of a gateway, to links on the gateway's own origin, which serves nobody without it.

Every hop is checked against the host policy and, where the policy looked addresses up, connected to exactly those
addresses, so that a second look-up cannot lead elsewhere. Behind a proxy the proxy looks names up itself. Errors
name scheme, host and the end of the path, never the query: it holds the link's signature.
"""

from __future__ import annotations

import re
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

from airflow_provider_jimeng.client.codings import READABLE, codings_of, unpacked
from airflow_provider_jimeng.client.endpoint import is_local, origin_of
from airflow_provider_jimeng.client.media_hosts import Origin, admitted_addresses
from airflow_provider_jimeng.client.time_limit import TimeLimit
from airflow_provider_jimeng.client.transport import (
    CONNECT_TIMEOUT_SECONDS,
    NEW_CONNECTIONS,
    USER_AGENT,
    OwnRequest,
    environment_proxy,
    tls_context,
    translated,
)
from airflow_provider_jimeng.core.connection_settings import DEFAULT_ENDPOINT
from airflow_provider_jimeng.core.errors import LandingError, MediaHostRefusedError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow_provider_jimeng.client.settings import ClientSettings

MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,18})-\d{1,18}|\*)/(?:(\d{1,18})|\*)")
_LONGEST_TAIL = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaPolicy:
    """How a connection lets videos be fetched; the fields are those of :class:`ClientSettings`.

    ``token`` is a gateway's, for links on the origin of ``endpoint``.
    """

    endpoint: str = DEFAULT_ENDPOINT
    media_hosts: tuple[str, ...] = ()
    verify: bool | str = True
    proxy: str | None = field(default=None, repr=False)
    timeout_seconds: float = 30.0
    token: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, settings: ClientSettings) -> MediaPolicy:
        """Take over what a connection says."""
        return cls(
            endpoint=settings.endpoint,
            media_hosts=settings.media_hosts,
            verify=settings.verify,
            proxy=settings.proxy,
            timeout_seconds=settings.timeout_seconds,
            token=settings.secret_key if settings.auth == "bearer" else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaStream:
    """An open reply of a media host.

    ``start`` is the offset of the first byte in the file (``None``: a partial reply that does not say), ``total``
    the length of the whole file, where known. ``codings`` says how the body is packed: offsets and lengths are then
    those of the packed file, so it can only be read from its beginning to its end. ``has_end`` is false where the end
    of the connection is all that ends the body. ``where`` names the source in messages.
    """

    status: int
    where: str
    start: int | None
    total: int | None
    etag: str | None
    codings: tuple[str, ...] = ()
    has_end: bool = True
    _response: httpx.Response = field(repr=False)
    _limit: TimeLimit = field(repr=False)
    _piece_seconds: float = field(repr=False)

    def chunks(self) -> Iterator[bytes]:
        """Yield the file as it arrives and is unpacked, in pieces of at most 64 KiB.

        :raises NoReplyError: the body was cut, stalled, or cannot be unpacked.
        """
        try:
            with self._limit.enforced():
                yield from unpacked(self._pieces(), self.codings)
        except httpx.HTTPError as error:
            raise translated(error, self.where) from None

    def _pieces(self) -> Iterator[bytes]:
        self._limit.allow(self._piece_seconds)
        for piece in self._response.iter_raw():
            self._limit.allow(None)
            yield piece
            self._limit.allow(self._piece_seconds)


@contextmanager
def open_media(
    url: str, *, policy: MediaPolicy, start: int = 0, etag: str | None = None
) -> Iterator[MediaStream]:
    """Open a link, from byte ``start`` on if the host can do that and the file is still ``etag``.

    Any final status is yielded; redirects are followed, each hop checked.

    :raises MediaHostRefusedError: a hop leads to a host that the policy does not allow.
    :raises NotSentError: the host cannot be reached.
    :raises NoReplyError: the host did not answer in time, or not in HTTP.
    :raises LandingError: the link is no URL, or leads in circles.
    """
    headers = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if etag and not etag.startswith("W/"):
            headers["If-Range"] = etag
    target = _parsed(url)
    for hop in range(MAX_REDIRECTS + 1):
        if not _at_the_endpoint(target, policy):
            headers.pop("Authorization", None)  # for good: a way back leads through a foreign host
        elif policy.token and hop == 0:
            headers["Authorization"] = f"Bearer {policy.token}"
        with ExitStack() as stack:
            response, limit = _send(target, headers, policy, stack)
            if response.status_code not in _REDIRECTS or "Location" not in response.headers:
                yield _stream(response, limit, _where(target), policy.timeout_seconds)
                return
        target = _parsed(response.headers["Location"], base=target)
    raise LandingError(
        f"The link leads through more than {MAX_REDIRECTS} redirects, at last to {_where(target)}."
    )


def _at_the_endpoint(target: httpx.URL, policy: MediaPolicy) -> bool:
    """Whether scheme, host and port of a link are those of the API calls."""
    try:
        return origin_of(str(target)) == origin_of(policy.endpoint)
    except ValueError:
        return False


def _send(
    target: httpx.URL, headers: dict[str, str], policy: MediaPolicy, stack: ExitStack
) -> tuple[httpx.Response, TimeLimit]:
    """Send one GET; the reply, and the limit of its time, last as long as the stack."""
    host = target.raw_host.decode("ascii")
    proxy = _proxy_for(target, policy)
    addresses = admitted_addresses(
        Origin(scheme=target.scheme, host=host, port=target.port),
        endpoint=policy.endpoint,
        media_hosts=policy.media_hosts,
        resolves_here=proxy is None,
    )
    seconds = policy.timeout_seconds
    connect = min(CONNECT_TIMEOUT_SECONDS, seconds)
    extensions: dict[str, Any] = {"timeout": httpx.Timeout(seconds, connect=connect).as_dict()}
    urls = [target]
    if addresses and proxy is None:
        extensions["sni_hostname"] = host  # the certificate is still checked for the name
        urls = [target.copy_with(host=address) for address in addresses]
    named = {"Host": target.netloc.decode("ascii"), **headers}
    limit = stack.enter_context(TimeLimit(2 * seconds + len(urls) * connect))
    extensions["trace"] = limit.trace
    requests = [httpx.Request("GET", url, headers=named, extensions=extensions) for url in urls]
    transport = stack.enter_context(_transport(policy, proxy, secure=target.scheme == "https"))
    try:
        with OwnRequest(), limit.enforced():
            response = first_reply(transport, requests)
    except httpx.HTTPError as error:
        raise translated(error, _where(target)) from None
    stack.callback(response.close)
    return response, limit


def first_reply(transport: httpx.BaseTransport, requests: Sequence[httpx.Request]) -> httpx.Response:
    """Send the same request to one address of a host after the other until one can be connected to."""
    *others, last = requests
    for request in others:
        with suppress(httpx.ConnectError, httpx.ConnectTimeout):
            return transport.handle_request(request)
    return transport.handle_request(last)


def _transport(policy: MediaPolicy, proxy: str | None, *, secure: bool) -> httpx.HTTPTransport:
    """A transport, not a client: a client would keep cookies."""
    try:
        verify = tls_context(policy.verify) if secure else False
        return httpx.HTTPTransport(verify=verify, proxy=proxy, limits=NEW_CONNECTIONS)
    except ImportError:
        raise SettingsError("extra.proxy: a SOCKS proxy needs `pip install httpx[socks]`.") from None


def _proxy_for(target: httpx.URL, policy: MediaPolicy) -> str | None:
    """Return the connection's proxy, else the environment's (``https_proxy``, ``no_proxy`` …)."""
    if policy.proxy or is_local(target.host):
        return policy.proxy
    return environment_proxy(target.scheme, target.netloc.decode("ascii"))


def _parsed(text: str, base: httpx.URL | None = None) -> httpx.URL:
    try:
        url = base.join(text) if base else httpx.URL(text)
    except (httpx.InvalidURL, ValueError, TypeError):
        raise LandingError("The link to the video is no URL.") from None
    if url.scheme not in ("https", "http") or not url.host:
        raise MediaHostRefusedError("The link to the video is no http(s) URL. Nothing was fetched.")
    if url.userinfo:
        raise MediaHostRefusedError(f"The link to {_where(url)} holds user information. Nothing was fetched.")
    return url


def _where(url: httpx.URL) -> str:
    """Name a URL without its query: scheme, host, port and the end of the path."""
    tail = url.raw_path.decode("ascii").partition("?")[0].rpartition("/")[2]
    return f"{url.scheme}://{url.netloc.decode('ascii')}/…/{tail[-_LONGEST_TAIL:]}"


def _stream(response: httpx.Response, limit: TimeLimit, where: str, piece_seconds: float) -> MediaStream:
    headers = response.headers
    codings = codings_of(headers.get("Content-Encoding"))
    unknown = [coding for coding in codings if coding not in READABLE]
    if response.status_code in (200, 206) and unknown:
        raise LandingError(
            f"{where} sends the video with Content-Encoding {unknown[0][:80]!r}, which was not asked for and cannot be "
            "undone here: the video was asked for as it is, and gzip and deflate are read too. Nothing is lost. Set "
            "the encoding right at the host, or take out the proxy that adds it, and clear the task."
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
        _response=response,
        _limit=limit,
        _piece_seconds=piece_seconds,
    )


def _extent(response: httpx.Response) -> tuple[int | None, int | None]:
    """Return offset and whole length as the headers give them."""
    if response.status_code == 206:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        first, total = match.groups() if match else (None, None)
        return (int(first) if first else None), (int(total) if total else None)
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if re.fullmatch(r"\d{1,18}", length) else None
