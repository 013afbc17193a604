"""The settings of a client, read from the plain fields of an Airflow connection of type ``jimeng``."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_jimeng.client import fields
from airflow_provider_jimeng.client.endpoint import can_be_looked_up, endpoint_url, is_local
from airflow_provider_jimeng.client.keys import read_keys
from airflow_provider_jimeng.core.catalogue import (
    DEFAULT_ENDPOINT,
    MODELS,
    ModelSpec,
    merged_catalogue,
)
from airflow_provider_jimeng.core.errors import ParameterError, SettingsError
from airflow_provider_jimeng.core.limits import MAX_REQUESTS_PER_SECOND
from airflow_provider_jimeng.core.parameters import check_aigc_meta

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)
_PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")

AUTH_METHODS = ("volc", "bearer")
TRANSPORTS = ("httpx", "aiohttp")
DEFAULT_REGION = "cn-north-1"
DEFAULT_SERVICE = "cv"
DEFAULT_TIMEOUT_SECONDS = 30.0
DEFAULT_MAX_REQUESTS_PER_SECOND = MAX_REQUESTS_PER_SECOND
EXTRA_FIELDS = (
    "auth",
    "session_token",
    "region",
    "service",
    "timeout_seconds",
    "verify",
    "proxy",
    "aigc_meta",
    "prices",
    "models",
    "max_requests_per_second",
    "media_hosts",
    "transport",
)
"""What a connection's extra may hold. The form offers all but ``transport``, which needs an installed extra."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """Everything a client needs to know. Secrets and what may hold one stay out of the ``repr``.

    ``endpoint`` is ``scheme://host[:port]/path``. With ``auth="bearer"`` the secret key is the gateway's token.
    ``transport`` is what carries the requests of event loops: ``httpx`` itself or ``aiohttp`` (an extra).
    ``catalogue`` is the model table with the connection's ``models`` and ``prices`` merged over it.
    """

    endpoint: str = f"{DEFAULT_ENDPOINT}/"
    auth: str = "volc"
    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    session_token: str | None = field(default=None, repr=False)
    region: str = DEFAULT_REGION
    service: str = DEFAULT_SERVICE
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    verify: bool | str = True
    proxy: str | None = field(default=None, repr=False)
    aigc_meta: Mapping[str, str] | None = None
    prices: Mapping[str, Any] = field(default_factory=dict)
    models: Mapping[str, Any] = field(default_factory=dict)
    max_requests_per_second: float = DEFAULT_MAX_REQUESTS_PER_SECOND
    media_hosts: tuple[str, ...] = ()
    transport: str = "httpx"
    catalogue: Mapping[str, ModelSpec] = field(default_factory=lambda: MODELS, repr=False)

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
        """Read a connection's fields; ``extra`` values may be typed (JSON) or text (UI form, URI).

        :raises SettingsError: naming the connection, the field, what it takes and the remedy.
        """
        try:
            return cls._read(login, password, endpoint=(host, schema, port), extra=dict(extra or {}))
        except SettingsError as error:
            where = f"Connection {conn_id!r}: " if conn_id else ""
            raise SettingsError(f"{where}{error}") from None

    @classmethod
    def _read(
        cls,
        login: str | None,
        password: str | None,
        *,
        endpoint: tuple[str | None, str | None, int | None],
        extra: dict[str, Any],
    ) -> ClientSettings:
        _warn_of_unknown(extra)
        auth = fields.choice("extra.auth", extra.get("auth"), AUTH_METHODS)
        host, schema, port = endpoint
        models = fields.mapping("extra.models", extra.get("models"))
        prices = fields.mapping("extra.prices", extra.get("prices"))
        access_key, secret_key = read_keys(auth, login, password)
        return cls(
            endpoint=endpoint_url(host=host, schema=schema, port=port, bearer=auth == "bearer"),
            auth=auth,
            access_key=access_key,
            secret_key=secret_key,
            session_token=fields.text("extra.session_token", extra.get("session_token"), secret=True),
            region=fields.text("extra.region", extra.get("region")) or DEFAULT_REGION,
            service=fields.text("extra.service", extra.get("service")) or DEFAULT_SERVICE,
            timeout_seconds=fields.number(
                "extra.timeout_seconds",
                extra.get("timeout_seconds"),
                default=DEFAULT_TIMEOUT_SECONDS,
                least=1,
                most=600,
            ),
            verify=fields.switch_or_path("extra.verify", extra.get("verify")),
            proxy=_proxy(extra.get("proxy")),
            aigc_meta=_aigc_meta(extra.get("aigc_meta")),
            prices=prices,
            models=models,
            max_requests_per_second=fields.number(
                "extra.max_requests_per_second",
                extra.get("max_requests_per_second"),
                default=DEFAULT_MAX_REQUESTS_PER_SECOND,
                least=0.1,
                most=10_000,
            ),
            media_hosts=fields.names("extra.media_hosts", extra.get("media_hosts")),
            transport=fields.choice("extra.transport", extra.get("transport"), TRANSPORTS),
            catalogue=merged_catalogue(models, prices),
        )

    @property
    def host(self) -> str:
        """The endpoint's host and port, as error messages and logs name it."""
        return urlsplit(self.endpoint).netloc

    @property
    def is_local(self) -> bool:
        """Whether the endpoint is on this machine, which no proxy of the environment should stand before."""
        return is_local(urlsplit(self.endpoint).hostname or "")

    @property
    def account(self) -> str:
        """Short name of who pays: a hash of the endpoint and the access key (or the bearer token)."""
        payer = self.access_key or hashlib.sha256(self.secret_key.encode()).hexdigest()
        return hashlib.sha256(f"{self.endpoint}\n{payer}".encode()).hexdigest()[:12]

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must be masked wherever text is logged."""
        password = urlsplit(self.proxy).password if self.proxy else None
        return tuple(text for text in (self.secret_key, self.session_token, password) if text)


def _proxy(value: Any) -> str | None:
    found = fields.text("extra.proxy", value, secret=True)
    if found is None:
        return None
    try:
        parts = urlsplit(found)
        usable = parts.scheme in _PROXY_SCHEMES and can_be_looked_up(parts.hostname or "") and parts.port != 0
    except ValueError:  # a bracket without its pair, a port beyond 65535
        usable = False
    if not usable:
        raise SettingsError("extra.proxy: expected a URL such as http://proxy.example.com:3128.")
    return found


def _aigc_meta(value: Any) -> Mapping[str, str] | None:
    try:
        return check_aigc_meta(fields.mapping("extra.aigc_meta", value))
    except ParameterError as error:
        raise SettingsError(f"extra.{error}") from None


def _warn_of_unknown(extra: Mapping[str, Any]) -> None:
    for key in extra:
        if key not in EXTRA_FIELDS:
            close = get_close_matches(key, EXTRA_FIELDS, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(EXTRA_FIELDS)}."
            log.warning("Connection extra: the field %r is unknown and has no effect.%s", key, hint)
