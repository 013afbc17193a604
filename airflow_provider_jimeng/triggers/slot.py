"""Waits, in the triggerer, until the account is likely to have a render slot free."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_jimeng.core.event import Outcome, RenderEvent


class JimengSlotTrigger(BaseTrigger):
    """Wakes a task that found the account busy. It reads and sends nothing.

    :param req_key: the model, for limits are per capability.
    :param jimeng_conn_id: connection of the account.
    :param waiting_since: epoch second of the first refusal; it rides along.
    :param wake_at: epoch second at which to try again.
    :param deadline: epoch second at which the wait is given up.
    """

    def __init__(
        self, *, req_key: str, jimeng_conn_id: str, waiting_since: float, wake_at: float, deadline: float
    ) -> None:
        super().__init__()
        self.req_key = req_key
        self.jimeng_conn_id = jimeng_conn_id
        self.waiting_since = waiting_since
        self.wake_at = wake_at
        self.deadline = deadline

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments: ids and times, never a secret."""
        return (
            "airflow_provider_jimeng.triggers.slot.JimengSlotTrigger",
            {
                "req_key": self.req_key,
                "jimeng_conn_id": self.jimeng_conn_id,
                "waiting_since": self.waiting_since,
                "wake_at": self.wake_at,
                "deadline": self.deadline,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event, ``slot_free`` or ``slot_timed_out``."""
        await asyncio.sleep(max(0.0, min(self.wake_at, self.deadline) - time.time()))
        outcome = Outcome.SLOT_FREE if time.time() < self.deadline else Outcome.SLOT_TIMED_OUT
        event = RenderEvent(outcome=outcome, req_key=self.req_key, waiting_since=self.waiting_since)
        yield TriggerEvent(event.to_payload())
