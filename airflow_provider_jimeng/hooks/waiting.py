# SPDX-License-Identifier: Apache-2.0
"""The loops that ask what became of a render: on a worker, on an event loop, and in one poke.

All of them execute the decisions of one :class:`~airflow_provider_jimeng.core.polling.Poller`.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import defaultdict
from importlib import import_module
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from airflow_provider_jimeng.core.catalogue import RETENTION_SECONDS
from airflow_provider_jimeng.core.errors import JimengError, MissingConnectionError, NotSentError
from airflow_provider_jimeng.core.polling import REFUSED_SPAN, Cadence, Finish, Poller
from airflow_provider_jimeng.core.render import RenderStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AsyncExitStack

    from airflow_provider_jimeng.client.settings import ClientSettings
    from airflow_provider_jimeng.core.render import Render, RenderEvent
    from airflow_provider_jimeng.core.wire import QueryReply
    from airflow_provider_jimeng.hooks.connection_cache import Lease

TICK_SECONDS = 0.1
SHORTEST_ROUNDED_SECONDS = 0.5

_CLIENTS = "airflow_provider_jimeng.hooks.connection_cache"
_loaded: set[str] = set()
_CADENCES: defaultdict[str, Cadence] = defaultdict(Cadence)


def cadence_of(req_key: str) -> Cadence:
    """Return what this process has learnt of a model's durations."""
    return _CADENCES[req_key]


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
        cadence=cadence_of(render.req_key),
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


class SharedQueries:
    """Asks from an event loop over the client that all triggers of the process share.

    An error of the connection, at any time, is an answer like an error of the API: the wait goes on.

    :param stack: the client is shared until it closes.
    :param joined: called once, when the connection has been read.
    """

    def __init__(
        self, jimeng_conn_id: str, stack: AsyncExitStack, *, joined: Callable[[ClientSettings], None]
    ) -> None:
        self._jimeng_conn_id = jimeng_conn_id
        self._stack = stack
        self._joined = joined
        self._lease: Lease | None = None
        self._renew = False

    async def poll(self, poller: Poller, log: Any) -> RenderEvent:
        """Ask until the poller finishes; return its event."""
        event, _ = await apoll(lambda: self._ask(poller), poller, log, renew=self._renew_next_time)
        return event

    async def prepare(self) -> JimengError | None:
        """Join the shared client; return the error if that fails."""
        await load_clients()
        from airflow_provider_jimeng.hooks.connection_cache import shared_client  # noqa: PLC0415  it brings httpx

        try:
            if self._lease is None:
                lease = await self._stack.enter_async_context(shared_client(self._jimeng_conn_id))
                self._joined(lease.client.settings)
                self._lease = lease
            elif self._renew:
                await self._lease.renew()
        except Exception as error:  # noqa: BLE001 - whatever a secrets back end raises must not fail a paid render
            return unread(self._jimeng_conn_id, error)
        self._renew = False
        return None

    async def _ask(self, poller: Poller) -> QueryReply:
        problem = await self.prepare()
        if problem is not None or self._lease is None:
            raise problem or NotSentError("The connection was not read.")
        return await self._lease.client.query(poller.req_key, poller.task_id)

    async def _renew_next_time(self) -> None:
        self._renew = True


async def load_clients() -> None:
    """Import the clients in a thread, once a process: with httpx that takes longer than a callback may."""
    if _CLIENTS not in _loaded:
        await sync_to_async(import_module, thread_sensitive=False)(_CLIENTS)
        _loaded.add(_CLIENTS)


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

    An outage of the secrets back end, the database or the API server must not end the wait for a paid render, nor must
    a connection that was deleted meanwhile: both can be repaired while the wait goes on.
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
