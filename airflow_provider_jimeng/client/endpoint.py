# SPDX-License-Identifier: Apache-2.0
"""The URL of the API, in one form, from the host, schema and port of a connection."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, unquote, urlsplit

from airflow_provider_jimeng.core.connection_settings import DEFAULT_ENDPOINT
from airflow_provider_jimeng.core.errors import SettingsError

BEARER_PATH = "/jimeng/"
"""The path at which gateways of the new-api family serve this protocol. They need the slash at its end."""

_SCHEMES = ("https", "http")
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9_])?")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LONGEST_LOCAL, _LONGEST_COMPATIBLE = 0xFFFF, 1 << 32
"""Addresses between them, such as ``::1:8787``, are in use nowhere. They are written for ``[::1]:8787``."""


def endpoint_url(*, host: str | None, schema: str | None, port: int | None, bearer: bool = False) -> str:
    """Return ``scheme://host[:port]/path`` with the default port left out.

    ``host`` can be empty (the endpoint of the vendor), a name, ``name:port``, or a full URL with a path. A path is
    kept. An empty path becomes ``/``, or ``/jimeng/`` with bearer authentication. If the host of a connection URI is a
    full URL, Airflow puts the path of that URL into ``schema``; then ``schema`` is used as the path.

    :raises SettingsError: naming the field and the remedy.
    """
    schema = (schema or "").strip()
    address = (host or "").strip()
    if not address:
        if bearer:
            raise SettingsError(
                "host: bearer authentication needs the address of the gateway, e.g. https://gateway.example.com."
            )
        address = DEFAULT_ENDPOINT.partition("://")[2]
    parts = _split(address)
    scheme, path = _scheme_and_path(parts, schema)
    number = _port(parts, port)
    name = _host_name(parts)
    suffix = "" if number in (None, _DEFAULT_PORTS[scheme]) else f":{number}"
    return f"{scheme}://{name}{suffix}{_path(path, bearer=bearer)}"


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
    return parts.scheme, host, parts.port or _DEFAULT_PORTS.get(parts.scheme)


def _bracketed(text: str) -> str:
    """Return an IPv6 address, which Airflow reads from a URI without brackets, in the brackets that a URL needs.

    :raises SettingsError: it can also be an address with a port, such as ``::1:8787``.
    """
    scheme, separator, rest = text.rpartition("://")
    name, slash, path = rest.partition("/")
    try:
        address = ipaddress.IPv6Address(unquote(name))
    except ValueError:
        return text
    if _LONGEST_LOCAL < int(address) < _LONGEST_COMPATIBLE and "." not in name:
        raise SettingsError(
            f"host: {name!r} can be an address or an address with a port. Write [::1]:8787 if it has a port."
        )
    return f"{scheme}{separator}[{address}]{slash}{path}"


def _split(text: str) -> SplitResult:
    text = _bracketed(text.lstrip("/"))
    if any(char.isspace() or not char.isprintable() for char in text):
        raise SettingsError("host: expected a host name or a URL without spaces.")
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
    except ValueError:
        raise SettingsError("host: expected a host name or a URL, but the brackets do not match.") from None
    if "@" in parts.netloc:
        raise SettingsError(
            "host: a URL with user information is not allowed. Put the keys into login and password."
        )
    if parts.query or parts.fragment:
        raise SettingsError(
            "host: a URL with a query or a fragment is not allowed. Enter scheme, host, port and path."
        )
    return parts


def _scheme_and_path(parts: SplitResult, schema: str) -> tuple[str, str]:
    plain = schema.lower().rstrip(":/ ")
    if not parts.scheme:
        if plain and plain not in _SCHEMES:
            raise SettingsError(f"schema: expected https or http, got {schema!r}.")
        return plain or "https", parts.path
    if parts.scheme not in _SCHEMES:
        raise SettingsError(f"host: expected an https or http URL, got scheme {parts.scheme!r}.")
    if plain in _SCHEMES:
        if plain != parts.scheme:
            raise SettingsError(
                f"schema: {schema!r} contradicts the URL in host, which begins with {parts.scheme!r}. Leave schema empty."
            )
        return parts.scheme, parts.path
    if schema and parts.path.strip("/"):
        raise SettingsError(
            f"schema: expected https or http, got {schema!r}. The URL in host already has a path."
        )
    return parts.scheme, f"/{schema.lstrip('/')}" if schema else parts.path


def _port(parts: SplitResult, port: int | None) -> int | None:
    try:
        inside = parts.port
    except ValueError:
        hint = " Write an IPv6 address in brackets: [::1]:8787." if parts.netloc.count(":") > 1 else ""
        raise SettingsError(f"host: its port is not a number from 1 to 65535.{hint}") from None
    if port and not 1 <= port <= 65535:
        raise SettingsError(f"port: expected a number from 1 to 65535, got {port}.")
    if inside and port and inside != port:
        raise SettingsError(f"port: {port} contradicts the port {inside} in host. Enter one of them.")
    return inside or port or None


def _host_name(parts: SplitResult) -> str:
    name = parts.hostname or ""
    if "[" in parts.netloc or ":" in name:
        try:
            return f"[{ipaddress.IPv6Address(unquote(name))}]"
        except ValueError:
            raise SettingsError(f"host: {name!r} is not an IPv6 address.") from None
    name = name.removesuffix(".")
    if name in _SCHEMES:
        raise SettingsError("host: a URL begins with https:// or http:// once, with both slashes.")
    if not (_HOST.fullmatch(name) and can_be_looked_up(name)):
        raise SettingsError(
            f"host: {name!r} is not a host name. Leave host empty for {DEFAULT_ENDPOINT}.{_ascii_form(name)}"
        )
    return name


def _ascii_form(name: str) -> str:
    """Return a sentence with the ASCII form of a name that has other letters; ``""`` if there is none."""
    if name.isascii() or not can_be_looked_up(name):
        return ""
    return f" In ASCII the name is {name.encode('idna').decode()!r}."


def can_be_looked_up(name: str) -> bool:
    """Return whether DNS can be asked for a name: none of its labels is empty or longer than 63 bytes."""
    try:
        return bool(name.encode("idna"))
    except UnicodeError:
        return False


def _path(path: str, *, bearer: bool) -> str:
    if not path.strip("/"):
        return BEARER_PATH if bearer else "/"
    return f"{path}/" if path.endswith(BEARER_PATH.rstrip("/")) else path
