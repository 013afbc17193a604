"""From which hosts a video may be fetched: links come from replies, and replies are not to be trusted blindly.

A link may name any public https host, unless the connection's ``media_hosts`` lists hosts: then only those. The
endpoint's own host is always allowed, over http too. A listed host may be private and may speak http.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from airflow_provider_jimeng.core.errors import MediaHostRefusedError, NotSentError

ANY_PUBLIC = "*"
"""In ``media_hosts``: any public https host, beside the others in the list."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Scheme, host (lower case, no brackets) and port of one link or redirect."""

    scheme: str
    host: str
    port: int | None = None


def admitted_addresses(
    origin: Origin, *, endpoint: str, media_hosts: tuple[str, ...], resolves_here: bool = True
) -> tuple[str, ...]:
    """Return the addresses that may be connected to; empty: the host is trusted by name, connect as usual.

    ``resolves_here`` is false behind a proxy, which looks names up itself: a name that is unknown here passes then.

    :raises MediaHostRefusedError: naming the host and the remedy.
    :raises NotSentError: the host's name cannot be looked up.
    """
    endpoint_host = urlsplit(endpoint).hostname or ""
    if origin.host == endpoint_host or any(_names(entry, origin) for entry in media_hosts):
        return ()
    addresses = _look_up(origin.host, required=resolves_here)
    if _covered(addresses, media_hosts):
        return _texts(addresses)
    public = all(_is_public(address) for address in addresses)
    if not (public and origin.scheme == "https"):
        if _same_machine(addresses, endpoint_host):
            return _texts(addresses)
        raise MediaHostRefusedError(
            f"The link points at {_shown(origin)}, which is not a public https host. Nothing was fetched. "
            f"If it is right, add {origin.host!r} to media_hosts of the connection."
        )
    if media_hosts and ANY_PUBLIC not in media_hosts:
        raise MediaHostRefusedError(
            f"The link points at {_shown(origin)}, which media_hosts of the connection does not list. Nothing was "
            f"fetched. Add the host there; {ANY_PUBLIC!r} stands for any public https host."
        )
    return _texts(addresses)


def _names(entry: str, origin: Origin) -> bool:
    """Whether a list entry (``host``, ``host:port``, ``*.domain``) means the host."""
    if entry.startswith("*."):
        return origin.host.endswith(entry[1:])
    shown = f"[{origin.host}]" if ":" in origin.host else origin.host
    port = origin.port or (443 if origin.scheme == "https" else 80)
    return entry in (origin.host, shown, f"{shown}:{port}")


def _covered(addresses: tuple[Address, ...], media_hosts: tuple[str, ...]) -> bool:
    """Whether the networks in the list, such as ``10.1.0.0/16``, hold every address."""
    networks = [network for entry in media_hosts if (network := _network(entry))]
    return bool(addresses) and all(any(address in network for network in networks) for address in addresses)


def _network(entry: str) -> Network | None:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None


def _look_up(host: str, *, required: bool) -> tuple[Address, ...]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        if required:
            raise NotSentError(
                f"The media host {host} cannot be looked up ({type(error).__name__})."
            ) from None
        return ()
    texts = dict.fromkeys(str(sockaddr[0]).partition("%")[0] for *_, sockaddr in found)
    return tuple(ipaddress.ip_address(text) for text in texts)


def _same_machine(addresses: tuple[Address, ...], endpoint_host: str) -> bool:
    """Whether the link names the endpoint's machine in another way, as ``127.0.0.1`` does ``localhost``."""
    return bool(addresses) and set(addresses) <= set(_look_up(endpoint_host, required=False))


def _is_public(address: Address) -> bool:
    inner = _carried(address) if isinstance(address, ipaddress.IPv6Address) else None
    if inner is not None:
        return _is_public(inner)
    local = isinstance(address, ipaddress.IPv6Address) and address.is_site_local
    return address.is_global and not (address.is_multicast or address.is_reserved or local)


def _carried(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 address stands for."""
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _texts(addresses: tuple[Address, ...]) -> tuple[str, ...]:
    return tuple(str(address) for address in addresses)


def _shown(origin: Origin) -> str:
    return f"{origin.scheme}://{origin.host}"
