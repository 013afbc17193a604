"""The look-up of a connection on a worker: a connection that is not there is told from one that cannot be asked for now.

Airflow says "isn't defined" of both, because it passes over every secrets back end that fails. A task must fail at once for
the first and try again for the second, so the back ends are asked once more, one by one.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

from airflow_provider_jimeng.core.errors import MissingConnectionError, NotSentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.providers.common.compat.sdk import Connection


def look_up_connection(
    jimeng_conn_id: str, get: Callable[[str], Connection] = BaseHook.get_connection
) -> Connection:
    """Return a connection.

    :param get: Airflow's look-up.
    :raises MissingConnectionError: it certainly does not exist; the text says how to add it.
    :raises NotSentError: it cannot be read now; a later look-up may find it.
    """
    try:
        return get(jimeng_conn_id)
    except AirflowNotFoundException:
        outage = _outage(jimeng_conn_id)
    if outage is None:
        raise MissingConnectionError(how_to_add(jimeng_conn_id)) from None
    raise NotSentError(
        f"The connection {jimeng_conn_id!r} cannot be read now ({outage}). Nothing was sent."
    ) from None


def how_to_add(jimeng_conn_id: str) -> str:
    """Say that a connection is missing, and the ways to add it."""
    return (
        f"The connection {jimeng_conn_id!r} does not exist. Add it in Airflow's UI (Admin, Connections, type Jimeng AI), or "
        f"by `airflow connections add {jimeng_conn_id} --conn-type jimeng --conn-login ACCESS_KEY_ID --conn-password "
        f"SECRET_ACCESS_KEY`, or as the environment variable AIRFLOW_CONN_{jimeng_conn_id.upper()}."
    )


def _outage(jimeng_conn_id: str) -> str | None:
    """Return why a back end could not answer, ``None`` if each of them says that there is no such connection."""
    try:
        if AIRFLOW_V_3_0_PLUS:
            backends = import_module("airflow.sdk.execution_time.supervisor").ensure_secrets_backend_loaded()
        else:
            backends = import_module("airflow.configuration").ensure_secrets_loaded()
        for backend in backends:
            backend.get_connection(conn_id=jimeng_conn_id)
        return _outage_of_the_api_server(jimeng_conn_id)
    except AirflowNotFoundException:
        return None
    except Exception as error:  # noqa: BLE001 - back ends have classes of their own
        return type(error).__name__


def _outage_of_the_api_server(jimeng_conn_id: str) -> str | None:
    """Ask the API server itself: its back end on a worker answers "no" for whatever went wrong."""
    if not AIRFLOW_V_3_0_PLUS:
        return None
    runner = import_module("airflow.sdk.execution_time.task_runner")
    comms: Any = getattr(runner, "SUPERVISOR_COMMS", None)
    if comms is None:
        return None  # outside of a task nobody stands between us and the back ends
    messages = import_module("airflow.sdk.execution_time.comms")
    answer = comms.send(messages.GetConnection(conn_id=jimeng_conn_id))
    error = getattr(answer, "error", None)
    return None if error is None or error.name == "CONNECTION_NOT_FOUND" else str(error.name)
