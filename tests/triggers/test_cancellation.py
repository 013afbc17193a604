# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.execution_time import task_runner

from airflow_provider_jimeng.hooks.connection_cache import shared_client
from airflow_provider_jimeng.triggers.render import TERMINAL_STATES, cancel, really_ended
from tests.triggers.support import submitted, waiting_for

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.render import Render
    from tests.harness.lab import Lab


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


def test_a_task_in_a_final_state_really_ended(airflow_says: Any, subtests: pytest.Subtests) -> None:
    map_indexs: list[int] = [-1, 3]
    for state in sorted(TERMINAL_STATES):
        for map_index in map_indexs:
            with subtests.test(state=repr(state), map_index=repr(map_index)):
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
        return await cancel(lease, req_key=render.req_key, render_id=render.task_id)


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
    assert "within 11.5 hours after its submit" in said


def test_a_cancel_without_an_answer_is_said_to_be_open(lab: Lab) -> None:
    lab.emulator.render_seconds = 60
    lab.emulator.faults.add(where="cancel", what="cut_after")
    assert "did not say" in asyncio.run(said_of(submitted()))


@pytest.mark.parametrize("code", [50400, 50429, 100010])
def test_a_refusal_that_is_not_about_the_render_is_not_said_to_be(lab: Lab, code: int) -> None:
    lab.emulator.render_seconds = 60
    lab.emulator.faults.add(where="cancel", what="error_before", code=code)
    said = asyncio.run(said_of(submitted()))
    assert "was not cancelled" in said
    assert "code " in said
    assert "begun" not in said


def test_a_connection_that_cannot_be_read_is_said_to_leave_the_render_running(
    lab: Lab, airflow_says: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    trigger = waiting_for(replace(submitted(), jimeng_conn_id="not_there"))
    trigger.task_instance = task_instance()  # type: ignore[assignment]
    airflow_says({"manual__1": {"render": "failed"}})
    asyncio.run(trigger.on_kill())
    assert f"The render {trigger.render_id} was not cancelled: The connection" in capsys.readouterr().out
    assert lab.emulator.bill()["cancels"] == 0


def test_the_end_of_a_cancel_stands_in_the_log(
    lab: Lab, airflow_says: Any, caplog: pytest.LogCaptureFixture
) -> None:
    trigger = waiting_for(submitted())
    trigger.task_instance = task_instance()  # type: ignore[assignment]
    airflow_says({"manual__1": {"render": "failed"}})
    with caplog.at_level(logging.INFO):
        asyncio.run(trigger.on_kill())
    assert lab.emulator.bill()["cancels"] == 1
