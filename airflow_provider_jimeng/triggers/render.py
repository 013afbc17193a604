# SPDX-License-Identifier: Apache-2.0
"""Waits for a render in the triggerer. A trigger can run twice, so it only reads and never pays.

Each process has one queue for the render slots of each account and model. A render that ends here wakes a task that
waits for a slot, or a task was woken ahead of that end. The queues belong to an event loop, because ``dag.test()`` runs each trigger on its own loop.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakKeyDictionary

import pendulum
from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from airflow_provider_jimeng.core.errors import (
    ApiError,
    AuthenticationError,
    JimengError,
    NotSentError,
    PermissionDeniedError,
    RateLimitedError,
)
from airflow_provider_jimeng.core.limits import (
    CREDIT_SECONDS,
    LEAD_SECONDS,
    READY_SECONDS,
    Waiter,
    Wake,
    choose,
    ends_soon,
    longest_query_pause,
    pause_between_tries,
    running_at_once,
    spread,
)
from airflow_provider_jimeng.core.outcomes import Outcome
from airflow_provider_jimeng.core.polling import Cadence, Finish, Poller
from airflow_provider_jimeng.core.render import SAFE_RETENTION_SECONDS, Render, format_time, parse_time
from airflow_provider_jimeng.hooks.waiting import unread, until_next_tick

if TYPE_CHECKING:
    from airflow_provider_jimeng.client.async_client import AsyncJimengClient
    from airflow_provider_jimeng.client.settings import ClientSettings
    from airflow_provider_jimeng.core.render import RenderEvent
    from airflow_provider_jimeng.core.wire import QueryReply
    from airflow_provider_jimeng.hooks.connection_cache import Lease

__all__ = ["JimengRenderTrigger"]

FIRST_POLL_SECONDS = 11.0
"""The first poll is not earlier: the scheduler can fail a task that resumes within about 6 s."""
MOVED_SECONDS = 5.0
"""After another triggerer takes a trigger over, it asks within this time."""

_CLIENTS = "airflow_provider_jimeng.hooks.connection_cache"
_loaded: set[str] = set()
_SLOT_IS_FREE = frozenset(
    {Outcome.SUCCEEDED, Outcome.FAILED, Outcome.EXPIRED, Outcome.NOT_FOUND, Outcome.NO_LINK}
)

_NOT_OF_THE_RENDER = (AuthenticationError, PermissionDeniedError, RateLimitedError, NotSentError)
_GOES_ON = "If it continues, it can be billed, and a task can adopt it within 11.5 hours after its submit."
TERMINAL_STATES = frozenset({"failed", "success", "skipped", "upstream_failed", "removed"})


class JimengRenderTrigger(BaseTrigger):
    """Polls one render until it ends, its access is refused, or the deadline passes.

    Every time is absolute, so that another triggerer can take over at any moment.

    :param render_id: the vendor's ``task_id``.
    :param req_key: the model key it was submitted with.
    :param jimeng_conn_id: connection that pays for it.
    :param submitted_at: RFC 3339 time of the submit.
    :param deadline: epoch second at which the wait ends; ``None`` is 11.5 hours after the submit.
    :param poll_interval: seconds between two queries; with ``None`` they depend on the age of the render.
    :param first_poll_at: epoch second of the first query.
    """

    def __init__(
        self,
        *,
        render_id: str,
        req_key: str,
        jimeng_conn_id: str = "jimeng_default",
        submitted_at: str | None = None,
        deadline: float | None = None,
        poll_interval: float | None = None,
        first_poll_at: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's own is not annotated
        self.render_id = render_id
        self.req_key = req_key
        self.jimeng_conn_id = jimeng_conn_id
        self.submitted_at = submitted_at or format_time(pendulum.now("UTC"))
        self.deadline = deadline
        self.poll_interval = poll_interval
        self.first_poll_at = first_poll_at

    @classmethod
    def after_deferring(
        cls, render: Render, *, deadline: float, poll_interval: float | None, now: float
    ) -> Self:
        """Return the trigger for a task that defers now. It asks once even if the deadline is sooner than that."""
        first_poll_at = now + FIRST_POLL_SECONDS * (1 + 0.2 * random.random())
        return cls(
            render_id=render.task_id,
            req_key=render.req_key,
            jimeng_conn_id=render.jimeng_conn_id,
            submitted_at=format_time(render.submitted_at),
            deadline=max(deadline, first_poll_at),
            poll_interval=poll_interval,
            first_poll_at=first_poll_at,
        )

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments: ids and times, never a secret or a link."""
        return (
            "airflow_provider_jimeng.triggers.render.JimengRenderTrigger",
            {
                "render_id": self.render_id,
                "req_key": self.req_key,
                "jimeng_conn_id": self.jimeng_conn_id,
                "submitted_at": self.submitted_at,
                "deadline": self.deadline,
                "poll_interval": self.poll_interval,
                "first_poll_at": self.first_poll_at,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event: the payload of a :class:`~airflow_provider_jimeng.core.render.RenderEvent`."""
        event = await self._wait()
        yield TriggerEvent(event.to_payload())

    async def on_kill(self) -> None:
        """Cancel the render if a person ended the task, and log the result (Airflow 3.3 and newer)."""
        await load_clients()
        from airflow_provider_jimeng.hooks.connection_cache import shared_client

        if not await really_ended(self.task_instance):
            return
        try:
            async with shared_client(self.jimeng_conn_id) as lease:
                result = await cancel(lease, req_key=self.req_key, render_id=self.render_id)
        except Exception as error:  # noqa: BLE001  a connection that cannot be read: the render goes on all the same
            result = not_cancelled(self.render_id, str(unread(self.jimeng_conn_id, error)))
        self.log.info("%s", result)

    async def _wait(self) -> RenderEvent:
        submitted_at = parse_time(self.submitted_at).timestamp()
        poller = Poller(
            task_id=self.render_id,
            req_key=self.req_key,
            submitted_at=submitted_at,
            deadline=submitted_at + SAFE_RETENTION_SECONDS if self.deadline is None else self.deadline,
            poll_interval=self.poll_interval,
            cadence=Cadence.of_model(self.req_key),
        )
        slot_is_free = False
        async with AsyncExitStack() as stack:

            def count_render(settings: ClientSettings) -> None:
                queue = slot_queue(settings.account, self.req_key)
                queue.render_began(poller)
                stack.callback(lambda: queue.render_left(poller, ended=slot_is_free))

            queries = SharedQueries(self.jimeng_conn_id, stack, joined=count_render)
            with suppress(JimengError):  # The wait goes on, and each query tries again.
                await queries.client()
            await asyncio.sleep(self._first_pause(poller))
            event = await queries.poll(poller, self.log)
            slot_is_free = event.outcome in _SLOT_IS_FREE
            return event

    def _first_pause(self, poller: Poller) -> float:
        """Return the seconds until the first query. Triggers that move together do not ask together."""
        now = time.time()
        not_before = self.first_poll_at or 0.0
        if not_before <= now:
            not_before = now + MOVED_SECONDS * random.random()
        return poller.first_wait(now, random.random(), not_before=not_before)


# --- the shared client -------------------------------------------------------------------------------------------------


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
        self._is_refused = False

    async def poll(self, poller: Poller, log: Any) -> RenderEvent:
        """Ask until the poller finishes; return its event."""
        while True:
            try:
                reply: QueryReply | JimengError = await self._ask(poller)
            except JimengError as error:
                reply = error
            decision = poller.decide(reply, time.time(), random.random())
            if isinstance(decision, Finish):
                return decision.event
            if decision.note:
                log.info("Render %s: %s", poller.task_id, decision.note)
            self._is_refused |= decision.renew_connection
            await asyncio.sleep(until_next_tick(decision.seconds, time.time()))

    async def client(self) -> AsyncJimengClient:
        """Return the shared client. It is joined first, or its connection is read again, if that is necessary.

        :raises JimengError: the connection cannot be read now.
        """
        if self._lease is None or self._is_refused:
            await load_clients()
            from airflow_provider_jimeng.hooks.connection_cache import Lease

            lease = self._lease or Lease(self._jimeng_conn_id)
            try:
                await lease.renew()
            except Exception as error:  # Whatever a secrets back end raises must not fail a paid render.
                raise unread(self._jimeng_conn_id, error) from error
            self._is_refused = False
            if self._lease is None:
                self._lease = lease
                self._stack.push_async_exit(lease.closing)
                self._joined(lease.client.settings)
        return self._lease.client

    async def _ask(self, poller: Poller) -> QueryReply:
        client = await self.client()
        return await client.query(poller.req_key, poller.task_id)


async def load_clients() -> None:
    """Import the clients in a thread, once a process: with httpx that takes longer than a callback may."""
    if _CLIENTS not in _loaded:
        await sync_to_async(import_module, thread_sensitive=False)(_CLIENTS)
        _loaded.add(_CLIENTS)


# --- cancelled by a person -----------------------------------------------------------------------------------------------


async def really_ended(task_instance: Any) -> bool:
    """Return whether the task instance is in a terminal state. It is not if it was moved, or cleared and runs again.

    Airflow calls ``on_kill`` also if another triggerer takes the trigger over. Then the render must not be cancelled.
    """
    if task_instance is None:
        return False
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    states = await sync_to_async(RuntimeTaskInstance.get_task_states)(
        dag_id=task_instance.dag_id,
        task_ids=[task_instance.task_id],
        run_ids=[task_instance.run_id],
        map_index=task_instance.map_index,
    )
    mapped = task_instance.map_index is not None and task_instance.map_index >= 0
    key = f"{task_instance.task_id}_{task_instance.map_index}" if mapped else task_instance.task_id
    return states.get(task_instance.run_id, {}).get(key) in TERMINAL_STATES


async def cancel(lease: Any, *, req_key: str, render_id: str) -> str:
    """Ask the API to cancel a render; return the result in words."""
    try:
        await lease.client.cancel(req_key, render_id)
    except _NOT_OF_THE_RENDER as error:
        return not_cancelled(render_id, str(error))
    except ApiError as error:
        return f"The API refused to cancel the render {render_id} ({error.said}). A render that has begun cannot be stopped. {_GOES_ON}"
    except JimengError as error:
        return f"The API did not say whether the render {render_id} is cancelled ({error}). {_GOES_ON}"
    return f"The render {render_id} is cancelled."


def not_cancelled(render_id: str, why: str) -> str:
    """Return the message that a render was not cancelled, and what that means."""
    return f"The render {render_id} was not cancelled: {why} {_GOES_ON}"


# --- render slots -----------------------------------------------------------------------------------------------------


@dataclass(eq=False, slots=True)
class SlotQueue:
    """What one process knows about the slots of one account and model.

    A waiting trigger costs one future. One task per queue wakes a waiter ahead of the end of a render, and from time to
    time; it runs only while there are waiters. The running renders are kept with the epoch second until which a task
    stands ready for the end of each.

    ``pause`` returns the seconds between two tries; its arguments are those of :func:`pause_between_tries`.
    """

    pause: Callable[..., float] = pause_between_tries
    peak: int = 0
    _running: dict[Poller, float] = field(default_factory=dict)
    _waiting: dict[Waiter, asyncio.Future[None]] = field(default_factory=dict)
    _woken: dict[Waiter, Wake] = field(default_factory=dict)
    _turns: dict[str, int] = field(default_factory=dict)
    _credits: list[float] = field(default_factory=list)
    _last_wake: float = 0.0
    _jitter: float = 0.5
    _tries: asyncio.Task[None] | None = None

    def render_began(self, poller: Poller) -> None:
        """Count a render that this process polls. It is queried more often while tasks wait for its slot."""
        self._running[poller] = 0.0
        poller.longest_pause = lambda: longest_query_pause(
            running=len(self._running), waiting=len(self._waiting)
        )

    def render_left(self, poller: Poller, *, ended: bool) -> None:
        """Count the render no longer. If it ended, one waiter is woken, unless a task stands ready for the slot."""
        ready_until = self._running.pop(poller)
        if ended and time.time() > ready_until:
            self.wake_one()

    async def wait(self, waiter: Waiter, *, deadline: float) -> Wake | None:
        """Wait for the turn of this waiter; return ``None`` if the deadline passes first.

        If a waiter is cancelled after it was woken, the next one is woken instead.
        """
        turn = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = turn
        self._take_credit(waiter)
        self._keep_trying()
        in_time = False
        try:
            await asyncio.wait([turn], timeout=max(0.0, max(deadline, waiter.not_before) - time.time()))
            await asyncio.sleep(max(0.0, waiter.not_before - time.time()))
            in_time = time.time() < deadline
        finally:
            del self._waiting[waiter]
            wake = self._woken.pop(waiter, None)
            if wake is not None and not in_time:
                self._pass_on(wake)
        return wake if in_time else None

    def wake_one(self) -> None:
        """Wake the next waiter. If there is none, keep the free slot for the next one."""
        if not (self._waiting and self._wake(Wake(), settled_by=float("inf"))):
            self._credits.append(time.time())

    def wake_ahead(self) -> None:
        """Wake one waiter for each render that probably ends soon, if no task stands ready for its slot."""
        now = time.time()
        for poller, ready_until in self._running.items():
            if ready_until < now and ends_soon(poller.cadence.durations, now - poller.submitted_at):
                wake = Wake(render_id=poller.task_id, until=now + LEAD_SECONDS + READY_SECONDS)
                if self._wake(wake, settled_by=now):
                    self._running[poller] = now + LEAD_SECONDS + READY_SECONDS

    def _wake(self, wake: Wake, *, settled_by: float) -> bool:
        """Wake the next waiter of those that can go at a time; return whether there is one."""
        asleep = [
            waiter
            for waiter, turn in self._waiting.items()
            if not turn.done() and waiter.not_before <= settled_by
        ]
        chosen = choose(asleep, now=time.time(), turns=self._turns)
        if chosen is None:
            return False
        self._pause_begins()
        self._turns[chosen.dag_id] = max(self._turns.values(), default=-1) + 1
        self._woken[chosen] = wake
        self._waiting[chosen].set_result(None)
        return True

    def _pass_on(self, wake: Wake) -> None:
        """Let another waiter have what a woken one cannot use."""
        for poller in self._running:
            if poller.task_id == wake.render_id:
                self._running[poller] = 0.0
                return
        self.wake_one()

    def _take_credit(self, waiter: Waiter) -> None:
        now = time.time()
        self._credits = [at for at in self._credits if now - at < CREDIT_SECONDS]
        usable = next((at for at in self._credits if at >= waiter.refused_at), None)
        if usable is not None:
            self._credits.remove(usable)
            self.wake_one()

    def _keep_trying(self) -> None:
        if self._tries is None or self._tries.done():
            self._pause_begins()
            self._tries = asyncio.get_running_loop().create_task(
                self._try_now_and_then(), name="jimeng slots"
            )

    def _pause_begins(self) -> None:
        self._last_wake, self._jitter = time.time(), random.random()

    async def _try_now_and_then(self) -> None:
        while self._waiting:
            self.wake_ahead()
            times = (
                (each.submitted_at, each.submitted_at + (each.pending_at or 0.0)) for each in self._running
            )
            self.peak = max(self.peak, running_at_once(times))
            throttled = any(waiter.throttled for waiter in self._waiting)
            pause = self.pause(running=len(self._running), peak=self.peak, throttled=throttled)
            due = self._last_wake + spread(pause, self._jitter)
            if (left := due - time.time()) > 0:
                await asyncio.sleep(min(left, 1.0))
            elif any(not turn.done() for turn in self._waiting.values()):
                self.wake_one()
            else:
                await asyncio.sleep(1.0)


_LOOPS: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, str], SlotQueue]] = WeakKeyDictionary()


def slot_queue(account: str, req_key: str) -> SlotQueue:
    """Return the running loop's queue of an account and model."""
    queues = _LOOPS.setdefault(asyncio.get_running_loop(), {})
    return queues.setdefault((account, req_key), SlotQueue())
