# SPDX-License-Identifier: Apache-2.0
"""Waits in the triggerer until the account probably has a free render slot."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_jimeng.core.limits import Waiter
from airflow_provider_jimeng.core.outcomes import Outcome
from airflow_provider_jimeng.core.render import RenderEvent
from airflow_provider_jimeng.triggers.render import load_clients, slot_queue

__all__ = ["JimengSlotTrigger"]


class JimengSlotTrigger(BaseTrigger):
    """Wakes a task whose submit the account was too busy for. It reads a connection and sends no request.

    When a render of the same account and model ends in this triggerer process, one waiting task is woken. If the
    durations of earlier renders say when it ends, the task is woken ahead of the end. From time to time a task is woken
    even if no render ended.

    :param req_key: the model. Each model has its own limit.
    :param jimeng_conn_id: connection of the account.
    :param waiting_since: epoch second of the first refusal. It decides the place in the queue.
    :param not_before: epoch second before which the task is not woken.
    :param deadline: epoch second at which the wait ends without a slot.
    :param priority_weight: Airflow's weight of the task. A task with a higher weight goes first.
    :param dag_id: DAGs of the same weight take turns.
    :param throttled: the request rate was the limit, not the number of slots.
    """

    def __init__(
        self,
        *,
        req_key: str,
        jimeng_conn_id: str,
        waiting_since: float,
        not_before: float,
        deadline: float,
        priority_weight: int = 1,
        dag_id: str = "",
        throttled: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's own is not annotated
        self.req_key = req_key
        self.jimeng_conn_id = jimeng_conn_id
        self.waiting_since = waiting_since
        self.not_before = not_before
        self.deadline = deadline
        self.priority_weight = priority_weight
        self.dag_id = dag_id
        self.throttled = throttled

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments: ids and times, never a secret."""
        return (
            "airflow_provider_jimeng.triggers.slot.JimengSlotTrigger",
            {
                "req_key": self.req_key,
                "jimeng_conn_id": self.jimeng_conn_id,
                "waiting_since": self.waiting_since,
                "not_before": self.not_before,
                "deadline": self.deadline,
                "priority_weight": self.priority_weight,
                "dag_id": self.dag_id,
                "throttled": self.throttled,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event, ``slot_free`` or ``slot_timed_out``."""
        waiter = Waiter(
            since=self.waiting_since,
            not_before=self.not_before,
            priority_weight=self.priority_weight,
            dag_id=self.dag_id,
            throttled=self.throttled,
        )
        queue = slot_queue(await self._account(), self.req_key)
        wake = await queue.wait(waiter, deadline=self.deadline)
        event = RenderEvent(
            outcome=Outcome.SLOT_TIMED_OUT if wake is None else Outcome.SLOT_FREE,
            task_id=None if wake is None else wake.render_id,
            req_key=self.req_key,
            waiting_since=self.waiting_since,
            ready_until=None if wake is None else wake.until,
        )
        yield TriggerEvent(event.to_payload())

    async def _account(self) -> str:
        await load_clients()
        from airflow_provider_jimeng.hooks.connection_cache import look_up

        try:
            return (await look_up(self.jimeng_conn_id)).settings.account
        except Exception as error:  # noqa: BLE001 - a secrets back end can raise any class, and this wait needs no secret
            self.log.warning(
                "The connection %r cannot be read (%s). This task waits in its own queue.",
                self.jimeng_conn_id,
                type(error).__name__,
            )
            return f"connection {self.jimeng_conn_id}"
