from __future__ import annotations

import asyncio
import logging
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pendulum
import pytest
from airflow.sdk.execution_time import task_runner

from airflow_provider_jimeng.core.event import Outcome, RenderEvent
from airflow_provider_jimeng.hooks.connections import shared_client
from airflow_provider_jimeng.hooks.jimeng import JimengHook
from airflow_provider_jimeng.triggers.cancellation import TERMINAL_STATES, cancel, really_ended
from airflow_provider_jimeng.triggers.render import FIRST_POLL_SECONDS, JimengRenderTrigger
from tests.chaos.stage import run_trigger

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.render import Render
    from tests.chaos.lab import Lab


def submitted() -> Render:
    return JimengHook().submit(prompt="a red kite")


def waiting_for(render: Render, **changes: Any) -> JimengRenderTrigger:
    given: dict[str, Any] = {"deadline": time.time() + 60, "poll_interval": 0.03, "now": time.time()}
    return JimengRenderTrigger.after_deferring(render, **{**given, **changes})


def outcome_of(trigger: JimengRenderTrigger) -> RenderEvent:
    return RenderEvent.from_payload(run_trigger(trigger))


class Comms:
    """The socket to Airflow, which knows the state of one task instance."""

    def __init__(self, states: dict[str, Any]) -> None:
        self.states = states
        self.asked: list[Any] = []

    def send(self, message: Any) -> SimpleNamespace:
        self.asked.append(message)
        return SimpleNamespace(task_states=self.states)


@pytest.fixture
def airflow_says(monkeypatch: pytest.MonkeyPatch) -> Any:
    def say(states: dict[str, Any]) -> Comms:
        comms = Comms(states)
        monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", comms, raising=False)
        return comms

    return say


def task_instance(map_index: int = -1) -> SimpleNamespace:
    return SimpleNamespace(dag_id="ads", task_id="render", run_id="manual__1", map_index=map_index)


def test_its_arguments_are_ids_and_times_and_build_the_same_trigger(lab: Lab) -> None:
    trigger = waiting_for(submitted())
    path, arguments = trigger.serialize()
    assert path == "airflow_provider_jimeng.triggers.render.JimengRenderTrigger"
    assert JimengRenderTrigger(**arguments).serialize() == trigger.serialize()
    assert set(arguments) == {
        *("render_id", "req_key", "jimeng_conn_id", "submitted_at"),
        *("deadline", "poll_interval", "first_poll_at"),
    }


def test_without_a_deadline_it_gives_up_before_the_api_forgets_the_render(lab: Lab) -> None:
    lab.emulator.render_seconds = 1e6
    render = submitted()
    old = render.submitted_at.subtract(hours=11, minutes=29, seconds=59)
    trigger = JimengRenderTrigger(
        render_id=render.task_id, req_key=render.req_key, submitted_at=old.isoformat(), poll_interval=0.03
    )
    assert outcome_of(trigger).outcome is Outcome.TIMED_OUT


def test_the_first_poll_comes_late_enough_for_the_scheduler(lab: Lab) -> None:
    now = time.time()
    trigger = waiting_for(submitted(), now=now)
    assert trigger.first_poll_at is not None
    assert FIRST_POLL_SECONDS <= trigger.first_poll_at - now <= 1.2 * FIRST_POLL_SECONDS


def test_a_finished_render_is_one_event_with_ids_and_no_link(lab: Lab) -> None:
    render = submitted()
    payload = run_trigger(waiting_for(render))
    assert (payload["outcome"], payload["task_id"]) == ("succeeded", render.task_id)
    assert "http" not in str(payload)


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ({"where": "render", "what": "fail", "code": 50511}, Outcome.FAILED),
        ({"where": "render", "what": "expire"}, Outcome.EXPIRED),
    ],
)
def test_a_render_that_ends_badly_is_an_event_too(lab: Lab, fault: dict[str, Any], outcome: Outcome) -> None:
    lab.emulator.faults.add(**fault)
    assert outcome_of(waiting_for(submitted())).outcome is outcome


def test_trouble_on_the_way_is_waited_out(lab: Lab) -> None:
    lab.emulator.faults.add(where="query", what="error_before", code=50429, nth=1)
    lab.emulator.faults.add(where="query", what="cut_before", nth=2)
    assert outcome_of(waiting_for(submitted())).outcome is Outcome.SUCCEEDED


def test_the_deadline_ends_the_wait_whatever_the_api_says(lab: Lab) -> None:
    lab.emulator.render_seconds = 60
    event = outcome_of(waiting_for(submitted(), deadline=time.time() + 0.3))
    assert event.outcome is Outcome.TIMED_OUT


def test_a_connection_that_cannot_be_read_is_asked_again_and_fails_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    render = submitted()
    monkeypatch.setenv("AIRFLOW_CONN_JIMENG_DEFAULT", '{"conn_type": "jimeng"}')
    event = outcome_of(waiting_for(render, deadline=time.time() + 0.3))
    assert event.outcome is Outcome.TIMED_OUT


def test_without_a_submit_time_and_deadline_it_waits_from_now_on(lab: Lab) -> None:
    render = submitted()
    trigger = JimengRenderTrigger(render_id=render.task_id, req_key=render.req_key, poll_interval=0.03)
    assert pendulum.now("UTC").diff(pendulum.parse(trigger.submitted_at)).in_seconds() < 5  # type: ignore[arg-type]
    assert outcome_of(trigger).outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize("state", sorted(TERMINAL_STATES))
@pytest.mark.parametrize("map_index", [-1, 3])
def test_a_task_in_a_final_state_really_ended(airflow_says: Any, state: str, map_index: int) -> None:
    key = "render" if map_index < 0 else "render_3"
    airflow_says({"manual__1": {key: state}})
    assert asyncio.run(really_ended(task_instance(map_index)))


@pytest.mark.parametrize("states", [{}, {"manual__1": {}}, {"manual__1": {"render": "deferred"}}])
def test_a_task_that_moved_was_cleared_or_is_gone_did_not_end(
    airflow_says: Any, states: dict[str, Any]
) -> None:
    airflow_says(states)
    assert not asyncio.run(really_ended(task_instance()))
    assert not asyncio.run(really_ended(None))


@pytest.mark.parametrize(
    ("state", "cancels"), [("failed", 1), ("success", 1), ("deferred", 0), ("running", 0)]
)
def test_only_a_task_that_ended_has_its_render_cancelled(
    lab: Lab, airflow_says: Any, state: str, cancels: int
) -> None:
    lab.emulator.render_seconds = 60
    trigger = waiting_for(submitted())
    trigger.task_instance = task_instance()  # type: ignore[assignment]
    airflow_says({"manual__1": {"render": state}})
    asyncio.run(trigger.on_kill())
    assert lab.emulator.bill()["cancels"] == cancels


async def said_of(render: Render) -> str:
    async with shared_client("jimeng_default") as lease:
        return await cancel(
            lease, req_key=render.req_key, render_id=render.task_id, kept_until="14:05 UTC on 2026-01-02"
        )


def test_a_queued_render_is_cancelled(lab: Lab) -> None:
    lab.emulator.render_seconds = 60
    assert asyncio.run(said_of(submitted())).endswith("is cancelled.")
    lab.clock.ahead += 100
    assert lab.emulator.bill()["billed"] == 0


def test_a_render_that_has_begun_is_said_to_go_on_and_to_be_billed(lab: Lab) -> None:
    lab.emulator.render_seconds = 60
    render = submitted()
    lab.clock.ahead += 30
    said = asyncio.run(said_of(render))
    assert "refused to cancel" in said
    assert "billed" in said
    assert "until 14:05 UTC" in said


def test_a_cancel_without_an_answer_is_said_to_be_open(lab: Lab) -> None:
    lab.emulator.render_seconds = 60
    lab.emulator.faults.add(where="cancel", what="cut_after")
    assert "did not say" in asyncio.run(said_of(submitted()))


def test_the_end_of_a_cancel_stands_in_the_log(
    lab: Lab, airflow_says: Any, caplog: pytest.LogCaptureFixture
) -> None:
    trigger = waiting_for(submitted())
    trigger.task_instance = task_instance()  # type: ignore[assignment]
    airflow_says({"manual__1": {"render": "failed"}})
    with caplog.at_level(logging.INFO):
        asyncio.run(trigger.on_kill())
    assert lab.emulator.bill()["cancels"] == 1
