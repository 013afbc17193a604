"""The optional transport over aiohttp for event loops, for those who install the extra.

``httpx-aiohttp`` reports a connection that broke under way as one that was never made. On this transport nothing
that goes wrong is therefore taken for unsent: every failure becomes one of reading the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from airflow_provider_jimeng.client.replies import AsyncBoundedTransport
from airflow_provider_jimeng.core.errors import SettingsError

if TYPE_CHECKING:
    import ssl

    import aiohttp


def aiohttp_transport(
    *, tls: ssl.SSLContext, proxy: str | None, keepalive_seconds: float
) -> httpx.AsyncBaseTransport:
    """Build the transport; its session begins with the first request, on the loop of that.

    It sets no limit to its connections: its callers limit their requests.

    :raises SettingsError: the extra is not installed.
    """
    try:
        import aiohttp  # noqa: PLC0415 - an extra
        from httpx_aiohttp import AiohttpTransport  # noqa: PLC0415 - an extra
    except ImportError:
        raise SettingsError(
            "extra.transport: aiohttp is not installed. Run: pip install 'airflow-provider-jimeng[aiohttp]'"
        ) from None

    def session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=keepalive_seconds, ssl=tls)
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    inner = AiohttpTransport(verify=tls, client=session, proxy=httpx.Proxy(proxy) if proxy else None)
    return Unsure(AsyncBoundedTransport(inner), (aiohttp.ClientError, OSError))


class Unsure(httpx.AsyncBaseTransport):
    """Turns every failure into one that leaves open what became of the request.

    :param inner: reads each reply whole.
    :param failures: errors of the transport beside httpx's own.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, failures: tuple[type[Exception], ...] = ()) -> None:
        self._inner = inner
        self._failures: tuple[type[Exception], ...] = (httpx.TransportError, *failures)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and read its reply, still encoded."""
        try:
            response = await self._inner.handle_async_request(request)
        except httpx.ReadTimeout:
            raise
        except self._failures as error:
            raise httpx.ReadError(type(error).__name__) from None
        return httpx.Response(response.status_code, headers=response.headers.raw, stream=response.stream)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()
