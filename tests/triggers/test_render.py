# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pendulum
import pytest

from airflow_provider_jimeng.core.outcomes import Outcome
from airflow_provider_jimeng.core.render import RenderEvent
from airflow_provider_jimeng.triggers.render import FIRST_POLL_SECONDS, JimengRenderTrigger
from tests.harness.fake_airflow import run_trigger
from tests.triggers.support import submitted, waiting_for

if TYPE_CHECKING:
    from tests.harness.lab import Lab


def outcome_of(trigger: JimengRenderTrigger) -> RenderEvent:
    return RenderEvent.from_payload(run_trigger(trigger))


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


def test_a_connection_that_cannot_be_read_is_asked_again_and_no_refusal(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a secrets back end is away, which Airflow tells of as of a connection that is not there."""
    render = submitted()
    monkeypatch.delenv("AIRFLOW_CONN_JIMENG_DEFAULT")
    event = outcome_of(waiting_for(render, deadline=time.time() + 0.3))
    assert event.outcome is Outcome.TIMED_OUT
    assert str(event.message).startswith("the last answer was: NotSentError: The connection 'jimeng_default'")


def test_the_first_poll_comes_late_enough_for_the_scheduler_even_after_the_deadline(lab: Lab) -> None:
    trigger = waiting_for(submitted(), deadline=time.time() - 1)
    assert trigger.deadline is not None
    assert trigger.deadline - time.time() > 10


def test_without_a_submit_time_and_deadline_it_waits_from_now_on(lab: Lab) -> None:
    render = submitted()
    trigger = JimengRenderTrigger(render_id=render.task_id, req_key=render.req_key, poll_interval=0.03)
    assert pendulum.now("UTC").diff(pendulum.parse(trigger.submitted_at)).in_seconds() < 5  # type: ignore[arg-type]
    assert outcome_of(trigger).outcome is Outcome.SUCCEEDED
