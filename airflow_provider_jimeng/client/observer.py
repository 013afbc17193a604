# SPDX-License-Identifier: Apache-2.0
"""A transport that notes what came back beside the JSON: HTTP status, the server's date, TLS, and how long it took."""

from __future__ import annotations

import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

from airflow_provider_jimeng.client.transport import open_transport, proxy_for

if TYPE_CHECKING:
    from airflow_provider_jimeng.client.settings import ClientSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One reply. ``ahead_seconds`` is how far the server's clock is ahead of ours; ``tls`` the version of TLS."""

    http_status: int
    seconds: float
    ahead_seconds: float | None
    tls: str | None


class Observer(httpx.BaseTransport):
    """Sends as a client with the same settings does, on one kept connection, and notes each reply."""

    def __init__(self, settings: ClientSettings) -> None:
        self._transport = open_transport(settings, keep_connection=True)
        self.observations: list[Observation] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and note its reply."""
        began = time.perf_counter()
        response = self._transport.handle_request(request)
        self.observations.append(
            Observation(
                http_status=response.status_code,
                seconds=time.perf_counter() - began,
                ahead_seconds=_ahead(response.headers.get("Date")),
                tls=_tls(response),
            )
        )
        return response

    @property
    def last(self) -> Observation | None:
        """The last reply; ``None`` if none came."""
        return self.observations[-1] if self.observations else None

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()


def proxy_shown(settings: ClientSettings) -> str | None:
    """Return scheme, host and port of the proxy that requests go through, without its keys; ``None`` without one."""
    proxy = proxy_for(settings, settings.endpoint)
    if proxy is None:
        return None
    parts = urlsplit(str(proxy))
    return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")


def _ahead(date: str | None) -> float | None:
    try:
        return parsedate_to_datetime(date or "").timestamp() - time.time()
    except ValueError:
        return None


def _tls(response: httpx.Response) -> str | None:
    stream = response.extensions.get("network_stream")
    tls = None if stream is None else stream.get_extra_info("ssl_object")
    return None if tls is None else str(tls.version())
