# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

from airflow_provider_jimeng.core.errors import SlotTimedOutError
from airflow_provider_jimeng.core.outcomes import Outcome
from airflow_provider_jimeng.core.render import RenderEvent
from airflow_provider_jimeng.hooks.jimeng import JimengHook
from airflow_provider_jimeng.operators.payment import ExpectedSlot
from airflow_provider_jimeng.operators.video import JimengSubmitVideoOperator
from airflow_provider_jimeng.triggers.render import JimengRenderTrigger
from airflow_provider_jimeng.triggers.slot import JimengSlotTrigger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.harness.fake_airflow import FakeTask
    from tests.harness.lab import Lab


OVER = (SlotTimedOutError, AirflowFailException)
"""Where Airflow has no retry policies, its final failure says what ours says."""


def refuse(lab: Lab, code: int, http_status: int = 429, *, times: int = 1) -> None:
    lab.emulator.faults.add(
        where="submit", what="error_before", code=code, http_status=http_status, times=times
    )


def begun(stage: FakeTask) -> Any:
    """The context of a first try, as an operator gets it."""
    stage.try_number, stage.max_tries, stage.store.latest = 1, 1, "try-1"
    return stage._context(stage._task_instance())


def deferred(operator: Any, context: Any, event: Mapping[str, Any] | None = None) -> JimengSlotTrigger:
    """Let the operator run, or resume, and return the trigger that it defers to."""
    with pytest.raises(TaskDeferred) as deferral:
        operator.execute(context) if event is None else operator.resume_submit(context, event)
    trigger = deferral.value.trigger
    assert isinstance(trigger, JimengSlotTrigger)
    assert deferral.value.method_name == "resume_submit"
    return trigger


@pytest.mark.parametrize("http_status", [200, 404, 429])
@pytest.mark.parametrize(("code", "throttled"), [(50429, True), (50430, False)])
def test_busy_defers_whatever_the_http_status_and_records_nothing(
    lab: Lab, code: int, http_status: int, *, throttled: bool
) -> None:
    refuse(lab, code, http_status)
    stage = lab.task()
    trigger = deferred(lab.generate(), begun(stage))
    assert trigger.throttled is throttled
    assert stage.record() is None
    assert lab.emulator.bill()["accepted"] == 0


def test_the_wait_takes_the_tasks_weight_along_and_no_secret(lab: Lab) -> None:
    refuse(lab, 50430)
    began = time.time()
    trigger = deferred(lab.generate(priority_weight=7), begun(lab.task()))
    assert (trigger.priority_weight, trigger.req_key) == (7, "jimeng_t2v_v30")
    assert trigger.not_before >= began + 10
    assert trigger.deadline == pytest.approx(trigger.waiting_since + 86400)
    kept = json.dumps(trigger.serialize())
    connection = json.loads(lab.emulator.connection_json())
    assert connection["login"] not in kept
    assert connection["password"] not in kept


@pytest.mark.parametrize("kind", ["generate", "submit"])
def test_a_wait_that_goes_on_keeps_its_beginning_and_its_end(lab: Lab, kind: str) -> None:
    refuse(lab, 50430, times=2)
    operator = (
        lab.generate() if kind == "generate" else JimengSubmitVideoOperator(task_id="s", prompt="a red kite")
    )
    operator.deferrable = True
    context = begun(lab.task())
    first = deferred(operator, context)
    event = RenderEvent(outcome=Outcome.SLOT_FREE, waiting_since=first.waiting_since - 100).to_payload()
    second = deferred(operator, context, event)
    assert second.waiting_since == first.waiting_since - 100
    assert second.deadline == pytest.approx(first.deadline - 100)
    assert second.not_before >= first.not_before


def test_a_wait_that_has_lasted_as_long_as_it_may_ends_on_the_worker(lab: Lab) -> None:
    refuse(lab, 50430)
    event = RenderEvent(outcome=Outcome.SLOT_FREE, waiting_since=time.time() - 61).to_payload()
    with pytest.raises(OVER, match=r"max_wait_for_slot\. Nothing was submitted.*code 50430"):
        lab.generate(max_wait_for_slot=60).resume_submit(begun(lab.task()), event)


def test_a_wait_that_ended_in_the_triggerer_says_so_without_an_answer_to_quote(lab: Lab) -> None:
    event = RenderEvent(outcome=Outcome.SLOT_TIMED_OUT, waiting_since=1.0).to_payload()
    with pytest.raises(OVER, match=r"within max_wait_for_slot\. Nothing was submitted"):
        lab.generate().resume_submit(begun(lab.task()), event)


@pytest.mark.parametrize("kind", ["generate", "submit"])
def test_a_wait_that_ended_in_the_triggerer_leaves_what_was_asked_for_and_what_to_do(
    lab: Lab, kind: str
) -> None:
    operator = (
        lab.generate() if kind == "generate" else JimengSubmitVideoOperator(task_id="s", prompt="a red kite")
    )
    stage = lab.task()
    with pytest.raises(OVER):
        operator.resume_submit(
            begun(stage), RenderEvent(outcome=Outcome.SLOT_TIMED_OUT, waiting_since=1.0).to_payload()
        )
    left = stage.xcom("jimeng_refusal")
    assert (left["outcome"], left["code"]) == ("slot_timed_out", None)
    assert (left["model"], left["prompt"], left["estimated_cost_cny"]) == ("t2v_720p", "a red kite", "1.40")
    assert "raise max_wait_for_slot" in left["advice"]


def test_a_request_that_cannot_be_read_any_more_does_not_hide_that_no_slot_came_free(lab: Lab) -> None:
    event = RenderEvent(outcome=Outcome.SLOT_TIMED_OUT, waiting_since=1.0).to_payload()
    stage = lab.task()
    gone = {"model": "i2v_first_720p", "first_frame": f"{lab.folder}/gone.png"}
    with pytest.raises(OVER, match="max_wait_for_slot"):
        lab.generate(**gone).resume_submit(begun(stage), event)
    assert stage.xcom("jimeng_refusal")["model"] == "i2v_first_720p"


def test_a_busy_account_burns_no_retry_and_the_render_is_paid_once(lab: Lab) -> None:
    refuse(lab, 50429)
    stage = lab.task(retries=0)
    assert stage.run() == "success"
    assert (stage.try_number, stage.errors) == (1, [])
    assert lab.emulator.bill()["accepted"] == 1


def test_the_estimate_of_a_task_that_waits_for_a_slot_is_pushed_once(lab: Lab) -> None:
    refuse(lab, 50429)
    stage, pushes = lab.task(), []
    stage.interruptions.at("xcom estimated_cost_cny", lambda: pushes.append("1.40"), times=2)
    assert stage.run() == "success"
    assert pushes == [stage.xcom("estimated_cost_cny")]
    stage.interruptions.waiting.clear()


def test_a_task_that_waited_pushes_a_changed_estimate_and_not_the_link(lab: Lab) -> None:
    event = RenderEvent(outcome=Outcome.SLOT_FREE, waiting_since=time.time()).to_payload()
    for announced, pushed in (("1.40", None), ("9.99", "1.40"), (None, "1.40")):
        stage, operator = lab.task(run_id=f"manual__{announced}"), lab.generate()
        with pytest.raises(TaskDeferred):
            operator.resume_submit(begun(stage), event, announced)
        assert stage.xcom("estimated_cost_cny") == pushed
        assert operator.operator_extra_links == ()


def test_without_deferring_the_worker_waits_by_the_same_rule_and_says_so_once(
    lab: Lab, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse(lab, 50429, times=2)
    stage = lab.task(lambda: lab.generate(deferrable=False, max_wait_for_slot=0.5), retries=0)
    with caplog.at_level(logging.INFO):
        assert stage.run() == "failed"
    assert isinstance(stage.errors[0], SlotTimedOutError)
    said = "Waiting on the worker for a free slot"  # Airflow 3 prints what a task logs, Airflow 2 hands it to logging
    assert max(caplog.text.count(said), capsys.readouterr().out.count(said)) == 1
    assert lab.emulator.bill()["submits"] == 2


def test_the_estimate_stands_in_xcom_and_log_before_each_post(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    lab.go_down()
    stage = lab.task(retries=0)
    with caplog.at_level(logging.INFO):
        assert stage.run() == "failed"
    assert stage.xcom("estimated_cost_cny") == "1.40"
    assert "estimated cost 1.40 CNY" in caplog.text


def soon_free(render_id: str, *, seconds: float, waiting_since: float = 5.0) -> dict[str, Any]:
    """The event that wakes a task ahead of the end of a render."""
    return RenderEvent(
        outcome=Outcome.SLOT_FREE,
        task_id=render_id,
        req_key="jimeng_t2v_v30",
        waiting_since=time.time() - waiting_since,
        ready_until=time.time() + seconds,
    ).to_payload()


def submits(operator: Any, context: Any, event: Mapping[str, Any]) -> JimengRenderTrigger:
    """Let the operator resume and submit; return the trigger that waits for its render."""
    with pytest.raises(TaskDeferred) as deferral:
        operator.resume_submit(context, event)
    assert isinstance(deferral.value.trigger, JimengRenderTrigger)
    return deferral.value.trigger


def test_a_task_that_stands_ready_submits_when_the_render_ends_and_not_before(lab: Lab) -> None:
    lab.emulator.max_concurrent = 1
    running = JimengHook().submit(prompt="a render of another task")
    lab.interruptions.at("query", lambda: None)
    lab.interruptions.at("query", lambda: setattr(lab.clock, "ahead", lab.clock.ahead + 60))
    stage = lab.task()

    submits(lab.generate(), begun(stage), soon_free(running.task_id, seconds=60))

    bill = lab.emulator.bill()
    assert (bill["submits"], bill["accepted"]) == (2, 2)
    assert (stage.record() or {})["state"] == "submitted"


def test_nothing_is_recorded_while_a_task_stands_ready(lab: Lab) -> None:
    stage = lab.task()
    seen: list[Any] = []
    lab.interruptions.at("query", lambda: seen.append(stage.record()))

    submits(lab.generate(), begun(stage), soon_free("7", seconds=60))

    assert seen == [None]


def test_a_task_that_stood_ready_in_vain_waits_on_without_a_submit(lab: Lab) -> None:
    lab.emulator.faults.add(where="query", what="error_before", code=50500, http_status=500, times=2)
    stage = lab.task()
    event = soon_free("7", seconds=0.1)

    trigger = deferred(lab.generate(), begun(stage), event)

    assert (trigger.waiting_since, trigger.throttled) == (event["waiting_since"], False)
    assert stage.record() is None
    assert lab.emulator.bill()["submits"] == 0


def test_a_wait_that_has_lasted_too_long_when_the_task_stood_ready_ends(lab: Lab) -> None:
    lab.emulator.faults.add(where="query", what="error_before", code=50500, http_status=500)
    event = soon_free("7", seconds=0, waiting_since=61)

    with pytest.raises(OVER, match=r"within max_wait_for_slot\. Nothing was submitted"):
        lab.generate(max_wait_for_slot=60).resume_submit(begun(lab.task()), event)


def test_only_a_query_that_is_refused_for_its_rate_makes_the_next_one_rarer(lab: Lab) -> None:
    lab.emulator.faults.add(where="query", what="error_before", code=50429, http_status=429, times=2)
    lab.emulator.faults.add(where="query", what="error_before", code=50500, http_status=500, times=1)
    slept: list[float] = []
    slot = ExpectedSlot(render_id="7", req_key="jimeng_t2v_v30", until=time.time() + 60)

    with JimengHook() as hook:
        assert slot.comes_free(hook, sleep=slept.append)

    assert slept == [2.0, 4.0, 4.0]


def test_a_refusal_right_after_the_end_of_a_render_is_tried_twice_more(lab: Lab) -> None:
    refuse(lab, 50430, times=2)
    stage = lab.task()

    submits(lab.generate(), begun(stage), soon_free("7", seconds=60))

    assert lab.emulator.bill()["submits"] == 3


def test_a_refusal_for_the_request_rate_is_not_tried_again_at_once(lab: Lab) -> None:
    refuse(lab, 50429)

    assert deferred(lab.generate(), begun(lab.task()), soon_free("7", seconds=60)).throttled
    assert lab.emulator.bill()["submits"] == 1


def test_of_two_tasks_that_stand_ready_for_one_slot_one_pays_and_the_other_waits_on(lab: Lab) -> None:
    """Two triggerers can do this, if one has just taken the render over from the other."""
    lab.emulator.max_concurrent = 1
    lab.emulator.faults.add(where="render", what="slow", seconds=3600, nth=1)
    event = soon_free("7", seconds=60)
    first, second = lab.task(), lab.task(run_id="manual__2")

    submits(lab.generate(), begun(first), event)
    trigger = deferred(lab.generate(prompt="a blue kite"), begun(second), event)

    assert trigger.waiting_since == event["waiting_since"]
    assert second.record() is None
    bill = lab.emulator.bill()
    assert (bill["submits"], bill["accepted"]) == (4, 1)
