# SPDX-License-Identifier: Apache-2.0
"""A campaign planned again: what is on its way, what became of it, and what its tasks then pay."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.core.plan import RowState
from airflow_provider_jimeng.hooks.jimeng import JimengHook
from airflow_provider_jimeng.hooks.render_status import ENOUGH_FAILURES, LONGEST_SECONDS, RenderStatusLookUp
from airflow_provider_jimeng.operators.plan import JimengPlanOperator
from airflow_provider_jimeng.operators.rescue import JimengRescueOperator
from tests.harness.fake_airflow import FakeTask

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.render import Render
    from tests.harness.lab import Lab

HALF_DAY = 13 * 3600
KITE = {"prompt": "a red kite", "output_name": "kite"}


class Output:
    """What was logged so far: by Airflow's own logging, whichever its version has."""

    def __init__(self, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
        self._capsys = capsys
        self._caplog = caplog

    def __contains__(self, text: str) -> bool:
        printed = self._capsys.readouterr()
        return text in self._caplog.text + printed.out + printed.err


@pytest.fixture
def output(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Output:
    return Output(capsys, caplog)


def plan(lab: Lab, *rows: dict[str, Any], **arguments: Any) -> FakeTask:
    options = {"task_id": "plan", "rows": list(rows), "output_path": f"{lab.videos}/", **arguments}
    stage = FakeTask(lambda: JimengPlanOperator(**options), retries=0)
    stage.run()
    return stage


def quoted(stage: FakeTask) -> dict[str, Any]:
    quote = stage.xcom("quote")
    return {name: quote[name] for name in ("new", "landed", "running", "cost_cny", "at_risk_cny")}


def rendered(
    lab: Lab, planned: FakeTask, *, run: int = 1, killed_at: str | None = None, **changes: Any
) -> FakeTask:
    """Run the task that is mapped over the plan's first row."""
    stage = lab.task(
        lambda: lab.generate(**{**planned.result[0], **changes}), run_id=f"manual__{run}", retries=0
    )
    if killed_at is not None:
        stage.interruptions.at(killed_at)
    assert stage.run() == ("success" if killed_at is None else "failed")
    return stage


# ------------------------------------------------------------------------------------------------- what is on its way
def test_a_render_that_failed_meanwhile_is_quoted_as_new_and_holds_the_cap(lab: Lab, output: Output) -> None:
    lab.emulator.faults.add(where="render", what="fail", code=50511, nth=1)
    rendered(lab, plan(lab, KITE), killed_at="deferred")
    lab.clock.ahead += 100
    refused = plan(lab, KITE, max_cost_cny=0)
    assert isinstance(refused.errors[0], ParameterError)
    assert quoted(refused) == {
        "new": 1, "landed": 0, "running": 0, "cost_cny": "1.40", "at_risk_cny": "0.00",
    }  # fmt: skip
    assert "its render failed and was not billed" in output
    rendered(lab, plan(lab, KITE, max_cost_cny="1.4"), run=2)
    assert lab.emulator.bill()["cost_cny"] == "1.40"


def test_a_render_that_still_runs_may_fail_and_so_counts_against_the_cap(lab: Lab) -> None:
    lab.emulator.render_seconds = 500
    lab.emulator.faults.add(where="render", what="fail", code=50511, nth=1)
    rendered(lab, plan(lab, KITE), killed_at="deferred")
    assert plan(lab, KITE, max_cost_cny="1.39").state == "failed"
    allowed = plan(lab, KITE, max_cost_cny="1.40")
    assert quoted(allowed) == {
        "new": 0, "landed": 0, "running": 1, "cost_cny": "0.00", "at_risk_cny": "1.40",
    }  # fmt: skip
    lab.clock.ahead += 600
    lab.emulator.render_seconds = 0.2
    rendered(lab, allowed, run=2)
    assert lab.emulator.bill()["cost_cny"] == "1.40"


def test_a_render_that_is_done_costs_nothing_any_more(lab: Lab) -> None:
    rendered(lab, plan(lab, KITE), killed_at="deferred")
    lab.clock.ahead += 100
    again = plan(lab, KITE, max_cost_cny=0)
    assert quoted(again) == {
        "new": 0, "landed": 0, "running": 1, "cost_cny": "0.00", "at_risk_cny": "0.00",
    }  # fmt: skip
    rendered(lab, again, run=2)
    assert lab.tally().billed == 1


@pytest.mark.parametrize("what", ["expired", "not_found"])
def test_a_render_that_the_api_lost_is_quoted_as_new_with_a_word_of_warning(
    lab: Lab, output: Output, what: str
) -> None:
    rendered(lab, plan(lab, KITE), killed_at="deferred")
    lab.clock.ahead += 100
    lab.emulator.faults.add(where="query", what=what)
    assert quoted(plan(lab, KITE))["cost_cny"] == "1.40"
    assert 'on_lost="resubmit"' in output


def test_an_api_that_cannot_be_reached_leaves_a_render_running_and_a_risk(lab: Lab, output: Output) -> None:
    rendered(lab, plan(lab, KITE), killed_at="deferred")
    lab.clock.ahead += 100
    lab.go_down()
    assert quoted(plan(lab, KITE))["at_risk_cny"] == "1.40"
    assert "cannot be known now" in output
    assert plan(lab, KITE, max_cost_cny=1).state == "failed"
    lab.come_up()
    assert plan(lab, KITE, max_cost_cny=0).state == "success"


def paid(lab: Lab) -> Render:
    lab.emulator.render_seconds = 500
    return JimengHook().submit(prompt="a red kite")


def test_a_connection_that_does_not_answer_is_asked_a_few_times_only(lab: Lab) -> None:
    render = paid(lab)
    asked: list[str] = []

    def hook_for(conn_id: str) -> JimengHook:
        asked.append(conn_id)
        raise ConnectionError("no such connection")

    statuses = RenderStatusLookUp(hook_for=hook_for)
    lost = [statuses.of(replace(render, jimeng_conn_id="gone")) for _ in range(ENOUGH_FAILURES + 2)]
    assert {state for state, _ in lost} == {RowState.RUNNING}
    assert asked == ["gone"] * ENOUGH_FAILURES
    assert "no such connection" in str(lost[0][1])
    assert "not asked" in str(lost[-1][1])


def test_renders_are_asked_for_at_the_connection_s_rate_and_not_for_ever(lab: Lab) -> None:
    render, moments = paid(lab), iter([0.0, 1.0, 2.0, LONGEST_SECONDS + 1])
    pauses: list[float] = []
    statuses = RenderStatusLookUp(hook_for=JimengHook, sleep=pauses.append, clock=lambda: next(moments))
    answers = [statuses.of(render) for _ in range(3)]
    assert [note is None for _, note in answers] == [True, True, False]
    assert pauses == [1 / 1000] * 2
    assert lab.emulator.bill()["queries"] == 2


# ---------------------------------------------------------------------------- what is home though its record does not tell
def test_a_video_that_a_rescue_landed_is_not_quoted_again_a_day_later(lab: Lab) -> None:
    rendered(lab, plan(lab, KITE), killed_at="deferred")
    lab.clock.ahead += 100
    rescue = FakeTask(
        lambda: JimengRescueOperator(task_id="rescue", output_path=f"{lab.videos}/", wait_timeout=0)
    )
    assert rescue.run() == "success"
    lab.pass_time(HALF_DAY)
    again = plan(lab, KITE, max_cost_cny=0)
    assert quoted(again) == {
        "new": 0, "landed": 1, "running": 0, "cost_cny": "0.00", "at_risk_cny": "0.00",
    }  # fmt: skip
    rendered(lab, again, run=2)
    assert lab.tally().accepted == 1


def test_a_video_that_a_rescue_landed_under_its_old_name_is_not_paid_for_under_a_new_one(lab: Lab) -> None:
    left = rendered(lab, plan(lab, KITE), killed_at="deferred")
    lab.clock.ahead += 100
    rescue = FakeTask(
        lambda: JimengRescueOperator(task_id="rescue", output_path=f"{lab.videos}/", wait_timeout=0)
    )
    assert rescue.run() == "success"
    lab.pass_time(HALF_DAY)
    again = plan(lab, {**KITE, "output_name": "red kite"}, max_cost_cny=0)
    assert quoted(again)["landed"] == 1
    result = rendered(lab, again, run=2).result
    assert (result["task_id"], result["uri"]) == (left.xcom("task_id"), (lab.videos / "kite.mp4").as_uri())
    assert lab.tally().accepted == 1


def test_a_video_whose_task_was_killed_before_its_record_is_not_quoted_again_a_day_later(lab: Lab) -> None:
    planned, before = plan(lab, KITE), {}
    stage = lab.task(lambda: lab.generate(**planned.result[0]), retries=0)
    stage.interruptions.at("resumed", lambda: before.update(lab.files()))
    assert stage.run() == "success"
    for name, content in before.items():  # as a kill right after the video is saved leaves it
        lab.put(name, content)
    lab.pass_time(HALF_DAY)
    again = plan(lab, KITE, max_cost_cny=0)
    assert quoted(again)["landed"] == 1
    rendered(lab, again, run=2)
    assert lab.tally().accepted == 1


# ------------------------------------------------------------------------------------- what a Clear made of the row's video
def re_rendered(stage: FakeTask, **changes: Any) -> FakeTask:
    """Clear a task, which then pays for a new take, or for a changed request."""
    before = stage.make_operator

    def changed() -> Any:
        operator = before()
        for name, value in (changes or {"on_rerun": "render"}).items():
            setattr(operator, name, value)
        return operator

    stage.make_operator = changed
    stage.clear()
    assert stage.run() == "success"
    return stage


@pytest.mark.parametrize("row", [KITE, {"prompt": "a red kite"}])
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("hours_later", [0, 13])
def test_a_row_that_was_rendered_anew_after_a_clear_is_paid_for(
    lab: Lab, row: dict[str, Any], overwrite: bool, hours_later: float
) -> None:
    anew = re_rendered(rendered(lab, plan(lab, row)))
    lab.pass_time(hours_later * 3600)
    again = plan(lab, row, max_cost_cny=0, overwrite=overwrite)
    assert quoted(again)["landed"] == 1
    assert rendered(lab, again, run=2).result["task_id"] == anew.result["task_id"]
    assert lab.tally().accepted == 2


def test_a_row_rendered_anew_whose_file_was_altered_is_landed_again_and_no_stranger_s(lab: Lab) -> None:
    re_rendered(rendered(lab, plan(lab, KITE)))
    (lab.videos / "kite.mp4").write_bytes(b"altered")
    again = plan(lab, KITE, max_cost_cny=0)
    assert quoted(again)["running"] == 1
    rendered(lab, again, run=2)
    assert (lab.tally().accepted, lab.tally().landed) == (2, 1)


def test_each_run_goes_on_from_the_latest_take_and_a_clear_pays_for_the_next_one(lab: Lab) -> None:
    first = re_rendered(rendered(lab, plan(lab, KITE)))
    second = re_rendered(rendered(lab, plan(lab, KITE), run=2))
    third = rendered(lab, plan(lab, KITE, max_cost_cny=0), run=3)
    assert second.result["task_id"] not in (None, first.result["task_id"])
    assert third.result["task_id"] == second.result["task_id"]
    assert lab.tally().accepted == 3


def test_rows_that_are_takes_of_each_other_stay_apart_when_one_is_rendered_anew(lab: Lab) -> None:
    twins = [{"prompt": "a red kite"}] * 2
    planned = plan(lab, *twins)
    one = re_rendered(rendered(lab, planned))
    lab.clock.ahead += 100
    again = plan(lab, *twins, max_cost_cny="1.40")
    assert quoted(again) == {
        "new": 1, "landed": 1, "running": 0, "cost_cny": "1.40", "at_risk_cny": "0.00",
    }  # fmt: skip
    other = lab.task(lambda: lab.generate(**again.result[1]), run_id="manual__2", map_index=1)
    assert other.run() == "success"
    assert other.result["task_id"] != one.result["task_id"]
    re_rendered(one)
    assert lab.tally().accepted == 4


def test_a_row_whose_prompt_was_changed_for_a_while_is_paid_for(lab: Lab) -> None:
    row = {"prompt": "a red kite"}
    stage = rendered(lab, plan(lab, row))
    first = stage.result["task_id"]
    re_rendered(stage, prompt="a blue kite")
    lab.pass_time(HALF_DAY)
    again = plan(lab, row, max_cost_cny=0)
    assert quoted(again)["landed"] == 1
    assert rendered(lab, again, run=2).result["task_id"] == first
    assert re_rendered(stage, prompt="a red kite").result["task_id"] == first
    assert lab.tally().accepted == 2
