"""The Airflow connection that leads to an emulator, ready for ``AIRFLOW_CONN_JIMENG_DEFAULT``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from airflow_provider_jimeng.emulator.gateway import GATEWAY_PATH

if TYPE_CHECKING:
    from airflow_provider_jimeng.emulator.emulator import JimengEmulator

CONNECTION_TYPE = "jimeng"


def connection_json(emulator: JimengEmulator, *, url: str, auth: str, extra: Mapping[str, Any]) -> str:
    """Return the connection as JSON, with the endpoint as a full URL in ``host``."""
    login, password, options = _parts(emulator, auth, extra)
    path = GATEWAY_PATH if auth == "bearer" else ""
    fields = {
        "conn_type": CONNECTION_TYPE,
        "host": url.rstrip("/") + path,
        "login": login,
        "password": password,
    }
    return json.dumps({**fields, "extra": options}, ensure_ascii=False)


def connection_uri(emulator: JimengEmulator, *, url: str, auth: str, extra: Mapping[str, Any]) -> str:
    """Return the connection as a URI: host and port, and the scheme as Airflow's ``schema``; a gateway's URL as host."""
    login, password, options = _parts(emulator, auth, extra)
    parts = urlsplit(url)
    query = "?__extra__=" + quote(json.dumps(options), safe="") if options else ""
    place = f"{parts.netloc}/{parts.scheme}"
    if auth == "bearer":
        place = quote(url.rstrip("/") + GATEWAY_PATH, safe="") + "/"
    return f"{CONNECTION_TYPE}://{quote(login, safe='')}:{quote(password, safe='')}@{place}{query}"


def _parts(emulator: JimengEmulator, auth: str, extra: Mapping[str, Any]) -> tuple[str, str, dict[str, Any]]:
    options = dict(extra)
    if auth == "bearer":
        if emulator.gateway is None:
            raise ValueError("This emulator has no gateway: give it bearer=….")
        return "", emulator.gateway.token, {"auth": "bearer", **options}
    if auth != "volc":
        raise ValueError(f"auth is 'volc' or 'bearer', not {auth!r}.")
    if emulator.keyring.session_token:
        options.setdefault("session_token", emulator.keyring.session_token)
    return emulator.keyring.access_key, emulator.keyring.secret_key, options
