"""Waiting on a worker or in a script, by the same decisions as the trigger."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.cadence import Cadence
from airflow_provider_jimeng.core.catalogue import RETENTION_SECONDS
from airflow_provider_jimeng.core.errors import JimengError, MissingConnectionError, NotSentError
from airflow_provider_jimeng.core.polling import CONFIRMATIONS, Finish, Poller
from airflow_provider_jimeng.core.render import RenderStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_jimeng.client.settings import ClientSettings
    from airflow_provider_jimeng.core.event import RenderEvent
    from airflow_provider_jimeng.core.render import Render
    from airflow_provider_jimeng.core.wire import QueryReply
    from airflow_provider_jimeng.hooks.jimeng import JimengHook


_CADENCES: dict[str, Cadence] = {}


def cadence_of(req_key: str) -> Cadence:
    """Return what this process has learnt of a model's durations."""
    return _CADENCES.setdefault(req_key, Cadence())


def poller_for(render: Render, *, deadline: float, poll_interval: float | None = None) -> Poller:
    """Return the decisions of one wait for a render; ``deadline`` in epoch seconds."""
    return Poller(
        task_id=render.task_id,
        req_key=render.req_key,
        submitted_at=render.submitted_at.timestamp(),
        deadline=deadline,
        poll_interval=poll_interval,
        cadence=cadence_of(render.req_key),
    )


def wait_until_finished(
    ask: Callable[[], QueryReply],
    poller: Poller,
    log: Any,
    *,
    renew: Callable[[], None] = lambda: None,
    now: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[RenderEvent, QueryReply | JimengError]:
    """Ask until the poller finishes; return its event and the answer that ended it.

    :param renew: reads the connection anew, after its credentials were refused.
    """
    while True:
        seen = answer(ask)
        decision = poller.decide(seen, now(), random.random())
        if isinstance(decision, Finish):
            return decision.event, seen
        if decision.note:
            log.info("Render %s: %s", poller.task_id, decision.note)
        if decision.renew_connection:
            renew()
        sleep(decision.seconds)


def ask_now(
    ask: Callable[[], QueryReply],
    poller: Poller,
    *,
    now: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> RenderEvent | None:
    """Ask what became of a render, without waiting for it; ``None`` while it runs, or if the answer settles nothing.

    Only "not found" is asked again until it is certain, which takes about 20 s of a render that the API should keep.
    """
    for _ in range(2 * CONFIRMATIONS):
        seen = answer(ask)
        decision = poller.decide(seen, now(), random.random())
        if isinstance(decision, Finish):
            return decision.event
        if isinstance(seen, JimengError) or seen.status is not RenderStatus.NOT_FOUND:
            return None
        if now() - poller.submitted_at < RETENTION_SECONDS:
            sleep(decision.seconds)
    return None


def read_settings(hook: JimengHook) -> ClientSettings:
    """Return a hook's settings; a connection that cannot be read now is one of our errors, as :func:`unread` says."""
    try:
        return hook.settings
    except Exception as error:
        raise unread(hook.jimeng_conn_id, error) from error


def need_connection(hook: JimengHook) -> None:
    """Fail at once if the connection certainly does not exist; an outage is left to the wait that follows.

    :raises MissingConnectionError: saying how to add it.
    """
    with suppress(NotSentError):
        _ = hook.settings


def ask_for(hook: JimengHook, render: Render, *, aigc_meta: Mapping[str, str] | None = None) -> QueryReply:
    """Ask what became of a render that is paid for."""
    read_settings(hook)
    return hook.query(render, aigc_meta=aigc_meta)


def unread(jimeng_conn_id: str, error: Exception) -> JimengError:
    """Return what a failed look-up of the connection means to a wait: unusable settings, or a reason to ask again.

    Neither an outage of the secrets back end, the database or the API server, nor a connection that was deleted meanwhile,
    must end the wait for a paid render: both can be repaired while it goes on.
    """
    if isinstance(error, MissingConnectionError):
        return NotSentError(f"The connection {jimeng_conn_id!r} cannot be read. {error}")
    if isinstance(error, JimengError):
        return error
    return NotSentError(f"The connection {jimeng_conn_id!r} cannot be read ({type(error).__name__}).")


def answer(ask: Callable[[], QueryReply]) -> QueryReply | JimengError:
    """Return the answer to a query, or the error in its place."""
    try:
        return ask()
    except JimengError as error:
        return error
