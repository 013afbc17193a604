"""Connections as clients: read once per process, event loop and connection id, and shared by all triggers.

A look-up in a triggerer costs 0.2 to 3.6 s of the one socket that all triggers share. So it is kept for five
minutes, concurrent callers share one flight, and only refused credentials read it again before that.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson
from airflow.providers.common.compat.sdk import mask_secret
from asgiref.sync import sync_to_async

from airflow_provider_jimeng.client.auth import auth_for
from airflow_provider_jimeng.client.clients import AsyncJimengClient
from airflow_provider_jimeng.client.settings import ClientSettings
from airflow_provider_jimeng.client.transport import tls_context
from airflow_provider_jimeng.hooks.connection_lookup import look_up_connection, readable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    import httpx
    from airflow.providers.common.compat.sdk import Connection

KEEP_SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A connection as it was read: its settings, and the authentication that all its clients share."""

    settings: ClientSettings
    auth: httpx.Auth = field(repr=False)
    read_at: float


@dataclass(slots=True)
class _LookUps:
    known: dict[str, Known] = field(default_factory=dict)
    flights: dict[str, asyncio.Task[Known]] = field(default_factory=dict)


_LOOPS: WeakKeyDictionary[asyncio.AbstractEventLoop, _LookUps] = WeakKeyDictionary()


def settings_of(connection: Connection, extra: Mapping[str, Any]) -> ClientSettings:
    """Read the settings of an Airflow connection; ``SettingsError`` names the connection and the field."""
    return ClientSettings.from_connection_fields(
        login=connection.login,
        password=connection.password,
        host=connection.host,
        schema=connection.schema,
        port=connection.port,
        extra=extra,
        conn_id=connection.conn_id or "",
    )


def mask(settings: ClientSettings) -> None:
    """Have Airflow hide a connection's secrets in every log."""
    for secret in settings.secrets:
        mask_secret(secret)


async def look_up(jimeng_conn_id: str, *, unlike: Known | None = None) -> Known:
    """Return a connection as it is known on this loop, reading it when it is not, or no longer.

    :param unlike: what was known when the API refused it; it is then read again, once for all who ask.
    """
    loop = asyncio.get_running_loop()
    look_ups = _LOOPS.setdefault(loop, _LookUps())
    known = look_ups.known.get(jimeng_conn_id)
    if known is not None and known is not unlike and loop.time() - known.read_at < KEEP_SECONDS:
        return known
    flight = look_ups.flights.get(jimeng_conn_id)
    if flight is None:
        flight = loop.create_task(_read(jimeng_conn_id, look_ups), name=f"jimeng connection {jimeng_conn_id}")
        look_ups.flights[jimeng_conn_id] = flight
        flight.add_done_callback(lambda done: done.cancelled() or done.exception())
    return await asyncio.shield(flight)


async def _read(jimeng_conn_id: str, look_ups: _LookUps) -> Known:
    try:
        connection = await _connection(jimeng_conn_id)
        settings = settings_of(connection, await get_async_extra_dejson(connection))
        if settings.secrets != (settings.secret_key,):
            await sync_to_async(mask)(settings)
        # Kept for the process: the client is then built at once.
        await sync_to_async(tls_context, thread_sensitive=False)(settings.verify)
        known = Known(settings=settings, auth=auth_for(settings), read_at=asyncio.get_running_loop().time())
        look_ups.known[jimeng_conn_id] = known
        return known
    finally:
        look_ups.flights.pop(jimeng_conn_id, None)


async def _connection(jimeng_conn_id: str) -> Connection:
    """Look a connection up; what the first look-up does not give, the synchronous one gives or explains.

    The triggers that ``dag.test()`` runs are answered only when they ask synchronously.
    """
    try:
        connection = await get_async_connection(jimeng_conn_id)
    except Exception:  # noqa: BLE001 - Airflow and its back ends have classes of their own
        return await sync_to_async(look_up_connection)(jimeng_conn_id)
    return readable(connection)


class Lease:
    """A connection's client for as long as a trigger needs it."""

    def __init__(self, jimeng_conn_id: str) -> None:
        self.jimeng_conn_id = jimeng_conn_id
        self._open = AsyncExitStack()
        self._known: Known | None = None
        self._client: AsyncJimengClient | None = None

    @property
    def client(self) -> AsyncJimengClient:
        """The client; :meth:`renew` may replace it, so ask for it anew before each call."""
        if self._client is None:
            raise RuntimeError("The lease is not open: use shared_client().")
        return self._client

    async def renew(self) -> None:
        """Read the connection again after its credentials were refused, and change clients."""
        known = await look_up(self.jimeng_conn_id, unlike=self._known)
        async with AsyncExitStack() as opening:
            client = await opening.enter_async_context(AsyncJimengClient(known.settings, auth=known.auth))
            former, self._open = self._open, opening.pop_all()
            self._known, self._client = known, client
        await former.aclose()

    async def close(self) -> None:
        """Leave the client to the others, or close it as the last."""
        await self._open.aclose()


@asynccontextmanager
async def shared_client(jimeng_conn_id: str) -> AsyncIterator[Lease]:
    """Lend the client of a connection: HTTP connections, pace and look-up are shared on the event loop."""
    lease = Lease(jimeng_conn_id)
    await lease.renew()
    try:
        yield lease
    finally:
        await lease.close()
