"""Connections as clients: read once per process, event loop and connection id, and shared by all triggers.

A look-up in a triggerer costs 0.2 to 3.6 s of the one socket that all triggers share. So it is kept for five
minutes, concurrent callers share one flight, and only refused credentials read it again before that.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson
from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook, mask_secret
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS
from asgiref.sync import sync_to_async

from airflow_provider_jimeng.client.async_client import AsyncJimengClient
from airflow_provider_jimeng.client.exchange import auth_for
from airflow_provider_jimeng.client.settings import ClientSettings
from airflow_provider_jimeng.client.transport import tls_context
from airflow_provider_jimeng.core.arguments import is_absent
from airflow_provider_jimeng.core.errors import (
    JimengError,
    MissingConnectionError,
    NotSentError,
    ParameterError,
    SettingsError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

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


_POSSIBLE_ID = re.compile(r"[\w#!()\-.:/\\]{1,250}")
"""What Airflow takes as the id of a connection."""
_VARIABLE_NAME = re.compile(r"\w+", re.ASCII)
_OPTIONS = "--conn-type jimeng --conn-login ACCESS_KEY_ID --conn-password SECRET_ACCESS_KEY"
_OUR_TYPES = ("", "jimeng", "generic")


def look_up_connection(
    jimeng_conn_id: str, get: Callable[[str], Connection] = BaseHook.get_connection
) -> Connection:
    """Return a connection whose fields can be read.

    :param get: Airflow's look-up.
    :raises MissingConnectionError: it certainly does not exist; the text says how to add it.
    :raises SettingsError: it exists and is unreadable, of another type, or Airflow denies access to it.
    :raises NotSentError: it cannot be read now; a later look-up may find it.
    """
    if is_absent(jimeng_conn_id):
        raise ParameterError("jimeng_conn_id", "is empty. Name a connection, for example jimeng_default.")
    try:
        connection = get(jimeng_conn_id)
    except PermissionError:
        raise SettingsError(
            f"Connection {jimeng_conn_id!r}: Airflow denies this task access to it. Ask for access, or name another."
        ) from None
    except Exception as error:  # noqa: BLE001 - Airflow and its back ends have classes of their own
        raise _why_not(jimeng_conn_id, error) from None
    return readable(connection)


def readable(connection: Connection) -> Connection:
    """Return a connection after checking that it is one of ours and that all of its fields can be read.

    :raises SettingsError: naming the connection, the field and the remedy, never what the field holds.
    """
    where = f"Connection {connection.conn_id!r}: "
    kind = (connection.conn_type or "").strip().lower()
    if kind not in _OUR_TYPES:
        raise SettingsError(
            f"{where}its type is {kind!r}. Choose the type Jimeng AI (conn_type jimeng), or name another connection "
            "in jimeng_conn_id."
        )
    try:
        _, extra = connection.password, connection.extra
    except Exception as error:  # noqa: BLE001 - a wrong Fernet key shows here on Airflow 2
        raise SettingsError(
            f"{where}it cannot be decrypted ({type(error).__name__}). Check [core] fernet_key."
        ) from None
    if isinstance(extra, str) and extra.strip():
        try:
            found = json.loads(extra)
        except (ValueError, RecursionError) as error:
            what = str(error) if isinstance(error, json.JSONDecodeError) else type(error).__name__
            raise SettingsError(f"{where}extra: it is not valid JSON ({what}).") from None
        if found is not None and not isinstance(found, dict):
            raise SettingsError(
                f'{where}extra: expected a JSON object such as {{"auth": "bearer"}}, got {type(found).__name__}.'
            )
    return connection


def how_to_add(jimeng_conn_id: str) -> str:
    """Say that a connection is missing, and the ways to add it."""
    if not _POSSIBLE_ID.fullmatch(jimeng_conn_id):
        return (
            f"The connection {jimeng_conn_id!r} does not exist, and an id of a connection has at most 250 letters, "
            "digits and characters of _ # ! ( ) - . : / \\. Check jimeng_conn_id."
        )
    ways = [
        "in Airflow's UI (Admin, Connections, type Jimeng AI)",
        f"by `airflow connections add {_quoted(jimeng_conn_id)} {_OPTIONS}`",
    ]
    if _VARIABLE_NAME.fullmatch(jimeng_conn_id):
        ways.append(f"as the environment variable AIRFLOW_CONN_{jimeng_conn_id.upper()}")
    text = f"The connection {jimeng_conn_id!r} does not exist. Add it {', or '.join(ways)}."
    if _outside_of_airflow():
        text += " Outside of a task, Airflow 3 reads environment variables and secrets back ends only, not its database."
    return text


def _quoted(jimeng_conn_id: str) -> str:
    return jimeng_conn_id if re.fullmatch(r"[\w.:/-]+", jimeng_conn_id) else f"'{jimeng_conn_id}'"


def _why_not(jimeng_conn_id: str, error: Exception) -> JimengError:
    """Return why Airflow gave no connection, after asking each back end again."""
    asking: Any = None
    try:
        for asking in _backends():
            with suppress(AirflowNotFoundException):
                if (found := asking.get_connection(conn_id=jimeng_conn_id)) is not None:
                    readable(found)
                    return _outage(jimeng_conn_id, type(error).__name__)
        asking = None
        answer = _answer_of_the_api_server(jimeng_conn_id)
    except SettingsError as unreadable:
        return unreadable
    except Exception as trouble:  # noqa: BLE001 - back ends have classes of their own
        if asking is not None and _holds_a_value(asking, jimeng_conn_id):
            return SettingsError(
                f"Connection {jimeng_conn_id!r}: its value is neither the JSON nor the URI of a connection "
                f"({type(trouble).__name__}). In a URI, write / as %2F, + as %2B and = as %3D; JSON needs none of that."
            )
        return _outage(jimeng_conn_id, type(trouble).__name__)
    if answer is None or answer == "CONNECTION_NOT_FOUND":
        return MissingConnectionError(how_to_add(jimeng_conn_id))
    return _outage(jimeng_conn_id, answer or type(error).__name__)


def _outage(jimeng_conn_id: str, why: str) -> NotSentError:
    return NotSentError(f"The connection {jimeng_conn_id!r} cannot be read now ({why}). Nothing was sent.")


def _holds_a_value(backend: Any, jimeng_conn_id: str) -> bool:
    """Return whether a back end answers, so that what failed was to read its answer as a connection."""
    try:
        return bool(backend.get_conn_value(conn_id=jimeng_conn_id))
    except Exception:  # noqa: BLE001 - back ends have classes of their own, and some have no such method
        return False


def _backends() -> list[Any]:
    """Return the back ends that this process asks, but for the API server's: that one answers "no" to every failure."""
    if not AIRFLOW_V_3_0_PLUS:
        return list(import_module("airflow.configuration").ensure_secrets_loaded())
    every = import_module("airflow.sdk.execution_time.supervisor").ensure_secrets_backend_loaded()
    return [backend for backend in every if type(backend).__name__ != "ExecutionAPISecretsBackend"]


def _supervisor() -> Any:
    """Return the way to the API server inside a task or trigger of Airflow 3, ``None`` elsewhere."""
    return getattr(sys.modules.get("airflow.sdk.execution_time.task_runner"), "SUPERVISOR_COMMS", None)


def _answer_of_the_api_server(jimeng_conn_id: str) -> str | None:
    """Return the error that the API server answers, empty if it has none, ``None`` if there is no server to ask."""
    comms = _supervisor() if AIRFLOW_V_3_0_PLUS else None
    if comms is None:
        return None
    question = import_module("airflow.sdk.execution_time.comms").GetConnection(conn_id=jimeng_conn_id)
    error = getattr(comms.send(question), "error", None)
    return "" if error is None else str(getattr(error, "name", error))


def _outside_of_airflow() -> bool:
    served = os.environ.get("_AIRFLOW_PROCESS_CONTEXT") == "server"
    return bool(AIRFLOW_V_3_0_PLUS) and _supervisor() is None and not served
