# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import time
from typing import Any

import pytest

from airflow_provider_jimeng.core.outcomes import Outcome
from airflow_provider_jimeng.core.polling import Poller
from airflow_provider_jimeng.core.render import RenderEvent
from airflow_provider_jimeng.triggers.render import slot_queue
from airflow_provider_jimeng.triggers.slot import JimengSlotTrigger

pytestmark = pytest.mark.asyncio

CONNECTION = {"conn_type": "jimeng", "login": "AKTESTTEST", "password": "SKTESTTEST"}


def trigger(**values: Any) -> JimengSlotTrigger:
    arguments = {
        "req_key": "jimeng_t2v_v30",
        "jimeng_conn_id": "jimeng_default",
        "waiting_since": 5.0,
        "not_before": 0.0,
        "deadline": time.time() + 60,
    }
    return JimengSlotTrigger(**{**arguments, **values})


async def event_of(waiting: JimengSlotTrigger) -> RenderEvent:
    return RenderEvent.from_payload((await anext(waiting.run())).payload)


async def test_a_slot_that_is_free_wakes_the_task_and_the_start_of_the_wait_rides_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from airflow_provider_jimeng.client.settings import ClientSettings

    monkeypatch.setenv("AIRFLOW_CONN_JIMENG_DEFAULT", json.dumps(CONNECTION))
    account = ClientSettings.from_connection_fields(login="AKTESTTEST", password="SKTESTTEST").account
    slot_queue(account, "jimeng_t2v_v30").wake_one()

    event = await event_of(trigger())

    assert (event.outcome, event.waiting_since, event.req_key) == (Outcome.SLOT_FREE, 5.0, "jimeng_t2v_v30")


async def test_a_slot_that_comes_free_soon_takes_its_render_and_its_time_along() -> None:
    queue = slot_queue("connection nowhere", "jimeng_t2v_v30")
    running = Poller(
        task_id="42", req_key="jimeng_t2v_v30", submitted_at=time.time() - 26, deadline=time.time() + 60
    )
    running.cadence.durations.append((29.0, 30.0))
    queue.render_began(running)

    event = await event_of(trigger(jimeng_conn_id="nowhere"))

    assert (event.outcome, event.task_id) == (Outcome.SLOT_FREE, "42")
    assert event.ready_until is not None
    assert event.ready_until > time.time() + 5
    assert RenderEvent.from_payload(event.to_payload()) == event


async def test_the_deadline_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_JIMENG_DEFAULT", json.dumps(CONNECTION))

    event = await event_of(trigger(deadline=time.time() + 0.1))

    assert event.outcome is Outcome.SLOT_TIMED_OUT


async def test_a_connection_that_cannot_be_read_does_not_end_the_wait() -> None:
    slot_queue("connection nowhere", "jimeng_t2v_v30").wake_one()

    event = await event_of(trigger(jimeng_conn_id="nowhere"))

    assert event.outcome is Outcome.SLOT_FREE


async def test_a_moved_trigger_is_built_again_from_plain_values() -> None:
    waiting = trigger(priority_weight=3, dag_id="campaign", throttled=True)

    path, arguments = waiting.serialize()

    assert path == "airflow_provider_jimeng.triggers.slot.JimengSlotTrigger"
    assert JimengSlotTrigger(**json.loads(json.dumps(arguments))).serialize() == (path, arguments)
