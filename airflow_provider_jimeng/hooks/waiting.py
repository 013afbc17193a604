# SPDX-License-Identifier: Apache-2.0
"""The loops of workers and scripts that ask what became of a render: with pauses, on an event loop, and in one poke.

All of them, and the loop of the trigger, execute the decisions of one :class:`~airflow_provider_jimeng.core.polling.Poller`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.catalogue import RETENTION_SECONDS
from airflow_provider_jimeng.core.errors import (
    JimengError,
    MissingConnectionError,
    NotSentError,
)
from airflow_provider_jimeng.core.polling import (
    REFUSED_SPAN,
    Cadence,
    Finish,
    Poller,
)
from airflow_provider_jimeng.core.render import RenderStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from airflow_provider_jimeng.core.render import Render, RenderEvent
    from airflow_provider_jimeng.core.wire import QueryReply

log = logging.getLogger(__name__)

TICK_SECONDS = 0.1
SHORTEST_ROUNDED_SECONDS = 0.5


def poller_for(
    render: Render,
    *,
    deadline: float = float("inf"),
    poll_interval: float | None = None,
    no_link_since: float | None = None,
) -> Poller:
    """Return the decisions of one wait for a render; times are epoch seconds."""
    return Poller(
        task_id=render.task_id,
        req_key=render.req_key,
        submitted_at=render.submitted_at.timestamp(),
        deadline=deadline,
        poll_interval=poll_interval,
        no_link_since=no_link_since,
        cadence=Cadence.of_model(render.req_key),
    )


def poll(
    ask: Callable[[], QueryReply],
    poller: Poller,
    log: Any,
    *,
    renew: Callable[[], None],
    now: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[RenderEvent, QueryReply | JimengError]:
    """Ask until the poller finishes; return its event and the answer that ended the wait.

    :param renew: reads the connection again; called after its credentials were refused.
    """
    while True:
        reply = answer(ask)
        decision = poller.decide(reply, now(), random.random())
        if isinstance(decision, Finish):
            return decision.event, reply
        if decision.note:
            log.info("Render %s: %s", poller.task_id, decision.note)
        if decision.renew_connection:
            renew()
        sleep(decision.seconds)


async def apoll(
    ask: Callable[[], Awaitable[QueryReply]],
    poller: Poller,
    log: Any,
    *,
    renew: Callable[[], Awaitable[None]],
    now: Callable[[], float] = time.time,
) -> tuple[RenderEvent, QueryReply | JimengError]:
    """Ask from an event loop until the poller finishes; see :func:`poll`."""
    while True:
        reply = await aanswer(ask)
        decision = poller.decide(reply, now(), random.random())
        if isinstance(decision, Finish):
            return decision.event, reply
        if decision.note:
            log.info("Render %s: %s", poller.task_id, decision.note)
        if decision.renew_connection:
            await renew()
        await asyncio.sleep(until_next_tick(decision.seconds, now()))


def until_next_tick(seconds: float, now: float) -> float:
    """Return a pause of at least ``seconds`` that ends on a full tenth of a second; a short pause as it is.

    Polls that start together cost the event loop less than polls that start one by one.
    """
    if seconds < SHORTEST_ROUNDED_SECONDS:
        return seconds
    return math.ceil((now + seconds) / TICK_SECONDS) * TICK_SECONDS - now


def poke(
    ask: Callable[[], QueryReply],
    poller: Poller,
    *,
    renew: Callable[[], None] | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> RenderEvent | None:
    """Ask what became of a render without waiting for it; return ``None`` while it runs.

    "Not found" is asked again until it is certain, which takes about 20 s for a render that the API should still keep.

    :param renew: if given, refused access is asked again until it is certain, too, with the connection read again.
    :param note: receives what changed.
    """
    give_up = time.time() + 1.5 * REFUSED_SPAN
    while True:
        reply = answer(ask)
        decision = poller.decide(reply, time.time(), random.random())
        if isinstance(decision, Finish):
            return decision.event
        if decision.note:
            note(decision.note)
        is_missing = not isinstance(reply, JimengError) and reply.status is RenderStatus.NOT_FOUND
        is_refused = renew is not None and decision.renew_connection
        if not (is_missing or is_refused) or time.time() > give_up:
            return None
        if renew is not None and is_refused:
            renew()
        if is_refused or time.time() - poller.submitted_at < RETENTION_SECONDS:
            time.sleep(decision.seconds)


def unread(jimeng_conn_id: str, error: Exception) -> JimengError:
    """Return the error that a failed look-up of the connection means for a wait: unusable settings, or "ask again".

    An outage of the secrets back end, the database or the API server must not end the wait for a paid render. The same
    holds for a connection that was deleted. Both can be repaired while the wait goes on.
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


async def aanswer(ask: Callable[[], Awaitable[QueryReply]]) -> QueryReply | JimengError:
    """Return the answer to a query from an event loop, or the error in its place."""
    try:
        return await ask()
    except JimengError as error:
        return error
