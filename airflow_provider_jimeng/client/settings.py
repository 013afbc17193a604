# SPDX-License-Identifier: Apache-2.0
"""The settings of a client, and the URL of its API, read from the fields of an Airflow connection.

:data:`CONNECTION_SETTINGS` declares the fields of the extra. Their values are typed (JSON) or text (the UI form, a URI).
Empty text and null mean that a field is empty. The errors name the field, what it takes and, unless it is secret, its
value.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import logging
import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from airflow_provider_jimeng.core.catalogue import MODELS, ModelSpec, merged_catalogue
from airflow_provider_jimeng.core.connection_settings import (
    CONNECTION_SETTINGS,
    DEFAULT_ENDPOINT,
    SETTINGS_BY_NAME,
    ConnectionSetting,
)
from airflow_provider_jimeng.core.errors import ParameterError, SettingsError
from airflow_provider_jimeng.core.parameters import check_aigc_meta

log = logging.getLogger(__name__)

_DEFAULTS = {setting.name: setting.default for setting in CONNECTION_SETTINGS}
BEARER_PATH = "/jimeng/"
"""The path at which gateways of the new-api family serve this protocol. They need the slash at its end."""

_SCHEMES = ("https", "http")
DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9_])?")
_LONGEST_LOCAL, _LONGEST_COMPATIBLE = 0xFFFF, 1 << 32
"""Addresses between them, such as ``::1:8787``, are in use nowhere. They are written for ``[::1]:8787``."""
_PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
_TRUE, _FALSE = frozenset({"true", "yes", "on", "1"}), frozenset({"false", "no", "off", "0"})
_QUOTES = "'\"`\u2018\u2019\u201c\u201d\u300c\u300d\u300e\u300f\u00ab\u00bb"
_BRACKETS = {"<": ">", "[": "]", "{": "}", "(": ")"}
_HEADER = re.compile(r"(?:authorization\s*[:=]|bearer(?:[\s:=]|$)|token[\s:=])", re.IGNORECASE)
_PERCENT = re.compile(r"%[0-9A-F]{2}", re.IGNORECASE)
_TWO_KEYS = re.compile(r"[|:;,\s]|=[^=]")
_GATEWAY_TOKEN = re.compile(r"sk-|eyJ[\w-]+\.[\w-]+\.")
_ACCESS_KEY_ID = re.compile(r"AK[LT][TP]\w{8}")
"""How the ids of the vendor begin. A Secret Access Key is base64 text of letters and digits and never begins so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """The endpoint, the keys and the settings of a client. The ``repr`` shows no secret.

    ``endpoint`` is ``scheme://host[:port]/path``. With ``auth="bearer"`` the secret key is the token of the gateway.
    ``catalogue`` is the model table with the ``models`` and ``prices`` of the connection merged over it.
    """

    endpoint: str = f"{DEFAULT_ENDPOINT}/"
    auth: str = _DEFAULTS["auth"]
    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    session_token: str | None = field(default=_DEFAULTS["session_token"], repr=False)
    region: str = _DEFAULTS["region"]
    service: str = _DEFAULTS["service"]
    timeout_seconds: float = _DEFAULTS["timeout_seconds"]
    verify: bool | str = _DEFAULTS["verify"]
    proxy: str | None = field(default=_DEFAULTS["proxy"], repr=False)
    aigc_meta: Mapping[str, str] | None = _DEFAULTS["aigc_meta"]
    prices: Mapping[str, Any] = field(default_factory=dict)
    models: Mapping[str, Any] = field(default_factory=dict)
    max_requests_per_second: float = _DEFAULTS["max_requests_per_second"]
    media_hosts: tuple[str, ...] = _DEFAULTS["media_hosts"]
    transport: str = _DEFAULTS["transport"]
    catalogue: Mapping[str, ModelSpec] = field(default_factory=lambda: MODELS, repr=False)
    account: str = field(init=False, repr=False, compare=False)
    """A short name of the account that pays: a hash of the endpoint and the access key (or the bearer token)."""
    secrets: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """The texts that must be masked in every log."""

    def __post_init__(self) -> None:
        payer = self.access_key or hashlib.sha256(self.secret_key.encode()).hexdigest()
        account = hashlib.sha256(f"{self.endpoint}\n{payer}".encode()).hexdigest()[:12]
        texts = (self.secret_key, self.session_token, urlsplit(self.proxy).password if self.proxy else None)
        object.__setattr__(self, "account", account)  # The class is frozen.
        object.__setattr__(self, "secrets", tuple(filter(None, texts)))

    @classmethod
    def from_connection_fields(
        cls,
        *,
        login: str | None = None,
        password: str | None = None,
        host: str | None = None,
        schema: str | None = None,
        port: int | None = None,
        extra: Mapping[str, Any] | None = None,
        conn_id: str = "",
    ) -> ClientSettings:
        """Return the settings of a connection. This is the only way from a connection to its settings.

        :raises SettingsError: naming the connection, the field, what it takes and the remedy.
        """
        extra = extra or {}
        for key in extra.keys() - SETTINGS_BY_NAME:
            close = get_close_matches(key, SETTINGS_BY_NAME, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(SETTINGS_BY_NAME)}."
            log.warning("Connection extra: the field %r is unknown and has no effect.%s", key, hint)
        try:
            values = {one.name: _read(one, extra.get(one.name)) for one in CONNECTION_SETTINGS}
            access_key, secret_key = _read_keys(values["auth"], login, password)
            changed = values["models"] or values["prices"]
            if host and not host.strip().startswith("["):  # A host can be an IPv6 address in brackets.
                _refuse_wrapped("host", host.strip())
            return cls(
                endpoint=endpoint_url(host=host, schema=schema, port=port, bearer=values["auth"] == "bearer"),
                access_key=access_key,
                secret_key=secret_key,
                catalogue=merged_catalogue(values["models"], values["prices"]) if changed else MODELS,
                **values,
            )
        except SettingsError as error:
            where = f"Connection {conn_id!r}: " if conn_id else ""
            raise SettingsError(f"{where}{error}") from None

    @property
    def host(self) -> str:
        """The host and port of the endpoint, as error messages and logs name it."""
        return urlsplit(self.endpoint).netloc


# ------------------------------------------------------------------------------------------------ values of the extra
def _read(setting: ConnectionSetting, value: Any) -> Any:
    """Return the value of a field of the extra, checked and in its type; the default if the field is empty."""
    name = f"extra.{setting.name}"
    if isinstance(value, str):
        value = value.strip()
    if value is None or value == "":
        return {} if setting.kind == "object" else setting.default
    match setting.kind:
        case "text":
            return _text(name, value, is_secret=setting.is_secret)
        case "choice":
            if not isinstance(value, str) or value.lower() not in setting.options:
                raise SettingsError(f"{name}: expected one of {', '.join(setting.options)}, got {value!r}.")
            return value.lower()
        case "number":
            try:
                number = math.nan if isinstance(value, bool) else float(value)
            except (TypeError, ValueError):
                number = math.nan
            if not setting.least <= number <= setting.most:
                limits = f"{setting.least:g} to {setting.most:g}"
                raise SettingsError(f"{name}: expected a number from {limits}, got {value!r}.")
            return number
    return _READERS[setting.kind](name, value)


def _text(name: str, value: Any, *, is_secret: bool) -> str:
    """Return printable text without white space, as keys, hosts and region names are."""
    if not isinstance(value, str):
        raise SettingsError(f"{name}: expected text, got {type(value).__name__}.")
    _refuse_wrapped(name, value)
    if not value.isascii() or not value.isprintable() or " " in value:
        shown = "" if is_secret else f", got {value!r}"
        raise SettingsError(f"{name}: expected plain ASCII text without spaces{shown}. Copy it again.")
    return value


def _refuse_wrapped(name: str, text: str) -> None:
    """Refuse the text of a field if quotation marks or brackets surround it.

    :raises SettingsError: naming the field, never its text.
    """
    if text and (text[0] in _QUOTES or text[-1] in _QUOTES or _BRACKETS.get(text[0]) == text[-1]):
        raise SettingsError(f"{name}: quotation marks or brackets surround it. Remove them.")


def _switch_or_path(name: str, value: Any) -> bool | str:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value.lower() in _TRUE or (value.lower() not in _FALSE and value)
    raise SettingsError(f"{name}: expected true, false or the path of a CA bundle, got {value!r}.")


def _proxy(name: str, value: Any) -> str:
    url = _text(name, value, is_secret=True)
    try:
        parts = urlsplit(url)
        usable = (
            parts.scheme in _PROXY_SCHEMES and _can_be_looked_up(parts.hostname or "") and parts.port != 0
        )
    except ValueError:  # The brackets do not match, or the port is above 65535.
        usable = False
    if not usable:
        raise SettingsError(f"{name}: expected a URL such as http://proxy.example.com:3128.")
    return url


def _object(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        value = _json(name, value, "object")
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise SettingsError(f"{name}: expected a JSON object, got {type(value).__name__}.")
    return {str(key): item for key, item in value.items()}


def _label(name: str, value: Any) -> Mapping[str, str] | None:
    try:
        return check_aigc_meta(_object(name, value))
    except ParameterError as error:
        raise SettingsError(f"extra.{error}") from None


def _hosts(name: str, value: Any) -> tuple[str, ...]:
    """Return host names from a list, from JSON text, or from text separated by commas or spaces."""
    if isinstance(value, str):
        value = _json(name, value, "list") if value.startswith("[") else value.replace(",", " ").split()
    if not isinstance(value, list | tuple) or not all(
        isinstance(item, str) and item.strip() for item in value
    ):
        raise SettingsError(f"{name}: expected a list of host names, got {value!r}.")
    return tuple(item.strip().lower() for item in value)


def _json(name: str, text: str, expected: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise SettingsError(
            f"{name}: expected a JSON {expected}, but the text is not JSON ({error})."
        ) from None


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "switch or path": _switch_or_path,
    "proxy": _proxy,
    "object": _object,
    "label": _label,
    "hosts": _hosts,
}


# ---------------------------------------------------------------------------------------------------------- the keys
def _read_keys(auth: str, login: str | None, password: str | None) -> tuple[str, str]:
    """Return Access Key ID and Secret Access Key; with ``auth="bearer"`` the second is the token of the gateway.

    :raises SettingsError: naming the field and the remedy, never the value of the field.
    """
    access_key, secret_key = (login or "").strip(), (password or "").strip()
    is_bearer = auth == "bearer"
    for name, text in (("login", access_key), ("password", secret_key)):
        _check_pasted(name, text, is_bearer=is_bearer)
    if not is_bearer:
        _refuse_other_keys(access_key, secret_key)
    for name, text in (("login", access_key), ("password", secret_key)):
        if text:
            _text(name, text, is_secret=True)
    if is_bearer:
        if not secret_key:
            raise SettingsError("password: bearer authentication needs the token of the gateway here.")
        return access_key, secret_key
    if not access_key:
        raise SettingsError(
            "login: the Access Key ID is missing. The Volcengine console lists it under API keys."
        )
    if not secret_key:
        raise SettingsError("password: the Secret Access Key that belongs to the Access Key ID is missing.")
    if "/" in access_key or "," in access_key:
        raise SettingsError("login: an Access Key ID contains no slash and no comma. Copy it again.")
    return access_key, secret_key


def _check_pasted(name: str, text: str, *, is_bearer: bool) -> None:
    """Refuse a key or token that was pasted with something else, or a mask in its place."""
    _refuse_wrapped(name, text)
    if _HEADER.match(text):
        remedy = "" if is_bearer else " and set auth to bearer in the extra"
        raise SettingsError(
            f"{name}: it begins with a word of an HTTP header (Bearer). Enter the token alone, in password{remedy}."
        )
    if text and not text.strip("*•"):
        raise SettingsError(
            f"{name}: this is the mask that a form shows in place of a saved key. Enter the key itself."
        )
    if is_bearer and "|" in text:
        raise SettingsError(
            f"{name}: this looks like both keys of Volcengine. A gateway takes its own token in password. To call "
            "Volcengine itself, set auth to volc, and put the Access Key ID into login and the Secret Access Key into "
            "password."
        )


def _refuse_other_keys(access_key: str, secret_key: str) -> None:
    """Refuse the token of a gateway, both keys in one field, and a key in the field of the other one."""
    if _GATEWAY_TOKEN.match(secret_key) or _GATEWAY_TOKEN.match(access_key):
        raise SettingsError(
            "password: this looks like the token of a gateway (sk-…). For a gateway, set auth to bearer in the extra and "
            "enter its address in host. For Volcengine, enter the Secret Access Key."
        )
    for name, text in (("login", access_key), ("password", secret_key)):
        if _TWO_KEYS.search(text) or (access_key and text.startswith(f"{access_key}/")):
            raise SettingsError(
                f"{name}: this looks like both keys in one field, or like a key with its name. Put the Access Key ID into "
                "login and the Secret Access Key into password, each alone."
            )
        if _PERCENT.search(text):
            raise SettingsError(
                f"{name}: it is percent-encoded, which only a connection URI needs. Enter it as the console shows it."
            )
    if _ACCESS_KEY_ID.match(secret_key):
        raise SettingsError(
            "password: this looks like an Access Key ID. Put it into login and the Secret Access Key into password."
        )


# -------------------------------------------------------------------------------------------------------- the endpoint
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
    suffix = "" if number in (None, DEFAULT_PORTS[scheme]) else f":{number}"
    if not path.strip("/"):
        path = BEARER_PATH if bearer else "/"
    elif path.endswith(BEARER_PATH.rstrip("/")):
        path += "/"
    return f"{scheme}://{name}{suffix}{path}"


def _split(text: str) -> SplitResult:
    """Return the parts of an address. Airflow reads an IPv6 address from a URI without brackets, so they are added.

    :raises SettingsError: it is not an address, or can also be one with a port, such as ``::1:8787``.
    """
    before, separator, rest = text.lstrip("/").rpartition("://")
    name, slash, path = rest.partition("/")
    text = f"{before}{separator}{rest}"
    address = None
    with suppress(ValueError):
        address = ipaddress.IPv6Address(unquote(name))
    if address is not None:
        if _LONGEST_LOCAL < int(address) < _LONGEST_COMPATIBLE and "." not in name:
            raise SettingsError(
                f"host: {name!r} can be an address or an address with a port. Write [::1]:8787 if it has a port."
            )
        text = f"{before}{separator}[{address}]{slash}{path}"
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
    if not (_HOST.fullmatch(name) and _can_be_looked_up(name)):
        in_ascii = ""
        if not name.isascii() and _can_be_looked_up(name):
            in_ascii = f" In ASCII the name is {name.encode('idna').decode()!r}."
        raise SettingsError(
            f"host: {name!r} is not a host name. Leave host empty for {DEFAULT_ENDPOINT}.{in_ascii}"
        )
    return name


def _can_be_looked_up(name: str) -> bool:
    """Return whether DNS can be asked for a name: none of its labels is empty or longer than 63 bytes."""
    try:
        return bool(name.encode("idna"))
    except UnicodeError:
        return False
