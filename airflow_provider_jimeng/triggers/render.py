"""Waits for a render in the triggerer. A trigger can run twice, so it only reads and never pays."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self

import pendulum
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_jimeng.core.errors import JimengError, NotSentError
from airflow_provider_jimeng.core.outcomes import Outcome
from airflow_provider_jimeng.core.polling import Poller
from airflow_provider_jimeng.core.render import SAFE_RETENTION_SECONDS, Render, format_time, parse_time
from airflow_provider_jimeng.hooks.waiting import apoll, cadence_of, unread
from airflow_provider_jimeng.triggers.queues import load_clients, slot_queue

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.render import RenderEvent
    from airflow_provider_jimeng.core.wire import QueryReply
    from airflow_provider_jimeng.hooks.connection_cache import Lease

__all__ = ["JimengRenderTrigger"]

FIRST_POLL_SECONDS = 11.0
"""The first poll is not earlier: the scheduler can fail a task that resumes within about 6 s."""
MOVED_SECONDS = 5.0
"""After another triggerer takes a trigger over, it asks within this time."""

_SLOT_IS_FREE = frozenset(
    {Outcome.SUCCEEDED, Outcome.FAILED, Outcome.EXPIRED, Outcome.NOT_FOUND, Outcome.NO_LINK}
)


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
        from airflow_provider_jimeng.triggers.cancellation import cancel, not_cancelled, really_ended

        if not await really_ended(self.task_instance):
            return
        try:
            async with shared_client(self.jimeng_conn_id) as lease:
                said = await cancel(lease, req_key=self.req_key, render_id=self.render_id)
        except Exception as error:  # noqa: BLE001  a connection that cannot be read: the render goes on all the same
            said = not_cancelled(self.render_id, str(unread(self.jimeng_conn_id, error)))
        self.log.info("%s", said)

    async def _wait(self) -> RenderEvent:
        submitted_at = parse_time(self.submitted_at).timestamp()
        poller = Poller(
            task_id=self.render_id,
            req_key=self.req_key,
            submitted_at=submitted_at,
            deadline=submitted_at + SAFE_RETENTION_SECONDS if self.deadline is None else self.deadline,
            poll_interval=self.poll_interval,
            cadence=cadence_of(self.req_key),
        )
        async with AsyncExitStack() as stack:
            asking = _Asking(self, stack)
            await asking.prepare()
            await asyncio.sleep(self._first_pause(poller))
            event, _ = await apoll(asking.ask, poller, self.log, renew=asking.renew_next_time)
            asking.ended = event.outcome in _SLOT_IS_FREE
            return event

    def _first_pause(self, poller: Poller) -> float:
        """Return the seconds until the first query. Triggers that move together do not ask together."""
        now = time.time()
        not_before = self.first_poll_at or 0.0
        if not_before <= now:
            not_before = now + MOVED_SECONDS * random.random()
        return poller.first_wait(now, random.random(), not_before=not_before)


class _Asking:
    """Asks over the client that all triggers of the process share.

    Until it closes, it counts the render as running. ``ended`` says whether its slot is free then.
    """

    def __init__(self, trigger: JimengRenderTrigger, stack: AsyncExitStack) -> None:
        self._trigger = trigger
        self._stack = stack
        self._lease: Lease | None = None
        self._renew = False
        self.ended = False

    async def renew_next_time(self) -> None:
        self._renew = True

    async def prepare(self) -> JimengError | None:
        """Join the shared client; return the error if that fails."""
        await load_clients()
        from airflow_provider_jimeng.hooks.connection_cache import shared_client

        try:
            if self._lease is None:
                lease = await self._stack.enter_async_context(shared_client(self._trigger.jimeng_conn_id))
                queue = slot_queue(lease.client.settings.account, self._trigger.req_key)
                queue.render_began()
                self._stack.callback(lambda: queue.render_left(ended=self.ended))
                self._lease = lease
            elif self._renew:
                await self._lease.renew()
        except Exception as error:  # noqa: BLE001 - whatever a secrets back end raises must not fail a paid render
            return unread(self._trigger.jimeng_conn_id, error)
        self._renew = False
        return None

    async def ask(self) -> QueryReply:
        """Ask once."""
        problem = await self.prepare()
        if problem is not None or self._lease is None:
            raise problem or NotSentError("The connection was not read.")
        return await self._lease.client.query(self._trigger.req_key, self._trigger.render_id)
