# SPDX-License-Identifier: Apache-2.0
"""Airflow connections as settings and clients, which all triggers of a process share.

A look-up in a triggerer takes 0.2 to 3.6 s on the one socket that all triggers share. So its result is kept for five
minutes per event loop and connection id, and tasks that need it at the same moment share one look-up. A connection is
read again earlier only if the API refuses its credentials.
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
from airflow_provider_jimeng.client.auth import Auth, auth_for
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

    from airflow.providers.common.compat.sdk import Connection

KEEP_SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A connection that was read: its settings, and the authentication that all its clients share."""

    settings: ClientSettings
    auth: Auth = field(repr=False)
    read_at: float


@dataclass(slots=True)
class _LookUps:
    known: dict[str, Known] = field(default_factory=dict)
    flights: dict[str, asyncio.Task[Known]] = field(default_factory=dict)


_LOOPS: WeakKeyDictionary[asyncio.AbstractEventLoop, _LookUps] = WeakKeyDictionary()


def look_up_settings(jimeng_conn_id: str, get: Callable[[str], Connection]) -> ClientSettings:
    """Look a connection up, let Airflow mask its secrets in every log, and return its settings.

    :param get: Airflow's look-up.
    :raises JimengError: the errors of :func:`look_up_connection`.
    """
    connection = look_up_connection(jimeng_conn_id, get)
    settings = _settings_of(connection, connection.extra_dejson)
    mask(settings)
    return settings


def _settings_of(connection: Connection, extra: Mapping[str, Any]) -> ClientSettings:
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
    """Let Airflow hide the secrets of a connection in every log."""
    for secret in settings.secrets:
        mask_secret(secret)


async def look_up(jimeng_conn_id: str, *, refused: Known | None = None) -> Known:
    """Return a connection that this event loop has read in the last five minutes; read it otherwise.

    :param refused: the connection whose credentials the API refused. If it is still the known one, it is read again, once
        for all callers.
    """
    loop = asyncio.get_running_loop()
    look_ups = _LOOPS.setdefault(loop, _LookUps())
    known = look_ups.known.get(jimeng_conn_id)
    if known is not None and known is not refused and loop.time() - known.read_at < KEEP_SECONDS:
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
        settings = _settings_of(connection, await get_async_extra_dejson(connection))
        if settings.secrets != (settings.secret_key,):  # Airflow itself masks the password.
            await sync_to_async(mask)(settings)
        # The context is kept for the process, so that clients can be built without blocking the event loop.
        await sync_to_async(tls_context, thread_sensitive=False)(settings.verify)
        known = Known(settings=settings, auth=auth_for(settings), read_at=asyncio.get_running_loop().time())
        look_ups.known[jimeng_conn_id] = known
        return known
    finally:
        look_ups.flights.pop(jimeng_conn_id, None)


async def _connection(jimeng_conn_id: str) -> Connection:
    """Look a connection up. If the asynchronous look-up fails, the synchronous one returns it or explains the failure.

    Only the synchronous look-up works in the triggers that ``dag.test()`` runs.
    """
    try:
        connection = await get_async_connection(jimeng_conn_id)
    except Exception:  # noqa: BLE001 - Airflow and its back ends have classes of their own
        return await sync_to_async(look_up_connection)(jimeng_conn_id)
    return readable(connection)


class Lease:
    """The client of a connection, while a trigger needs it. There is none before the first :meth:`renew`."""

    client: AsyncJimengClient
    """The client. :meth:`renew` replaces it, so read this attribute before each call."""

    def __init__(self, jimeng_conn_id: str) -> None:
        self.jimeng_conn_id = jimeng_conn_id
        self.closing = AsyncExitStack()
        """When this stack closes, the client leaves the shared connections. The last client that leaves closes them."""
        self._known: Known | None = None

    async def renew(self) -> None:
        """Read the connection again after its credentials were refused, and open a client with the new ones."""
        known = await look_up(self.jimeng_conn_id, refused=self._known)
        async with AsyncExitStack() as opening:
            client = await opening.enter_async_context(AsyncJimengClient(known.settings, auth=known.auth))
            former = self.closing.pop_all()
            self.closing.push_async_exit(opening.pop_all())
            self._known, self.client = known, client
        await former.aclose()


@asynccontextmanager
async def shared_client(jimeng_conn_id: str) -> AsyncIterator[Lease]:
    """Lend the client of a connection. Clients of one event loop share HTTP connections, request rate and look-up."""
    lease = Lease(jimeng_conn_id)
    async with lease.closing:
        await lease.renew()
        yield lease


_POSSIBLE_ID = re.compile(r"[\w#!()\-.:/\\]{1,250}")
"""The characters that Airflow allows in the id of a connection."""
_VARIABLE_NAME = re.compile(r"\w+", re.ASCII)
_OPTIONS = "--conn-type jimeng --conn-login ACCESS_KEY_ID --conn-password SECRET_ACCESS_KEY"
_OUR_TYPES = ("", "jimeng", "generic")


def look_up_connection(
    jimeng_conn_id: str, get: Callable[[str], Connection] = BaseHook.get_connection
) -> Connection:
    """Return a connection whose fields can be read.

    :param get: Airflow's look-up.
    :raises MissingConnectionError: it certainly does not exist. The text says how to add it.
    :raises SettingsError: it exists, but it is unreadable or of another type, or Airflow denies access to it.
    :raises NotSentError: it cannot be read now. A later look-up can succeed.
    """
    try:
        connection = get(jimeng_conn_id)
    except PermissionError:
        raise SettingsError(
            f"Connection {jimeng_conn_id!r}: Airflow denies this task access to it. Get access, or use another connection."
        ) from None
    except Exception as error:  # noqa: BLE001 - Airflow and its back ends have classes of their own
        if is_absent(jimeng_conn_id):
            raise ParameterError(
                "jimeng_conn_id", "is empty. Enter the id of a connection, for example jimeng_default."
            ) from None
        raise _why_not(jimeng_conn_id, error) from None
    return readable(connection)


def readable(connection: Connection) -> Connection:
    """Return a connection after a check of its type and that all of its fields can be read.

    :raises SettingsError: naming the connection, the field and the remedy, never the value of the field.
    """
    where = f"Connection {connection.conn_id!r}: "
    kind = (connection.conn_type or "").strip().lower()
    if kind not in _OUR_TYPES:
        raise SettingsError(
            f"{where}its type is {kind!r}. Choose the type Jimeng AI (conn_type jimeng), or set jimeng_conn_id to "
            "another connection."
        )
    try:
        _, extra = connection.password, connection.extra
    except Exception as error:  # noqa: BLE001 - Airflow 2 decrypts here, with the Fernet key
        raise SettingsError(
            f"{where}it cannot be decrypted ({type(error).__name__}). Check [core] fernet_key."
        ) from None
    if isinstance(extra, str) and extra.strip():
        try:
            value = json.loads(extra)
        except (ValueError, RecursionError) as error:
            what = str(error) if isinstance(error, json.JSONDecodeError) else type(error).__name__
            raise SettingsError(f"{where}extra: it is not valid JSON ({what}).") from None
        if value is not None and not isinstance(value, dict):
            raise SettingsError(
                f'{where}extra: expected a JSON object such as {{"auth": "bearer"}}, got {type(value).__name__}.'
            )
    return connection


def how_to_add(jimeng_conn_id: str) -> str:
    """Return a text which says that a connection is missing, and the ways to add it."""
    if not _POSSIBLE_ID.fullmatch(jimeng_conn_id):
        return (
            f"The connection {jimeng_conn_id!r} does not exist. The id of a connection has at most 250 letters, digits "
            "and characters of _ # ! ( ) - . : / \\. Check jimeng_conn_id."
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
    """Return the error that explains why Airflow returned no connection, after asking each secrets back end again."""
    backend: Any = None
    try:
        for backend in _backends():
            with suppress(AirflowNotFoundException):
                if (connection := backend.get_connection(conn_id=jimeng_conn_id)) is not None:
                    readable(connection)
                    return _outage(jimeng_conn_id, type(error).__name__)
        backend = None
        answer = _answer_of_the_api_server(jimeng_conn_id)
    except SettingsError as unreadable:
        return unreadable
    except Exception as trouble:  # noqa: BLE001 - back ends have classes of their own
        if backend is not None and _holds_a_value(backend, jimeng_conn_id):
            return SettingsError(
                f"Connection {jimeng_conn_id!r}: its value is neither the JSON nor the URI of a connection, or its extra is "
                f"not a JSON object ({type(trouble).__name__}). In a URI, write / as %2F, + as %2B and = as %3D; JSON needs "
                "none of that."
            )
        return _outage(jimeng_conn_id, type(trouble).__name__)
    if answer is None or answer == "CONNECTION_NOT_FOUND":
        return MissingConnectionError(how_to_add(jimeng_conn_id))
    return _outage(jimeng_conn_id, answer or type(error).__name__)


def _outage(jimeng_conn_id: str, why: str) -> NotSentError:
    return NotSentError(f"The connection {jimeng_conn_id!r} cannot be read now ({why}). Nothing was sent.")


def _holds_a_value(backend: Any, jimeng_conn_id: str) -> bool:
    """Return whether a back end has a value for the id. Then the failure was to read that value as a connection."""
    try:
        return bool(backend.get_conn_value(conn_id=jimeng_conn_id))
    except Exception:  # noqa: BLE001 - back ends have classes of their own, and some have no such method
        return False


def _backends() -> list[Any]:
    """Return the secrets back ends of this process.

    The back end of the API server is not among them, because it reports every failure as a missing connection.
    """
    if not AIRFLOW_V_3_0_PLUS:
        return list(import_module("airflow.configuration").ensure_secrets_loaded())
    every = import_module("airflow.sdk.execution_time.supervisor").ensure_secrets_backend_loaded()
    return [backend for backend in every if type(backend).__name__ != "ExecutionAPISecretsBackend"]


def _supervisor() -> Any:
    """Return the channel to the API server inside a task or trigger of Airflow 3, ``None`` elsewhere."""
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
