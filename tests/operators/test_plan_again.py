"""A campaign planned again: what is on its way, what became of it, and what its tasks then pay."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.core.plan import RowState
from airflow_provider_jimeng.hooks.jimeng import JimengHook
from airflow_provider_jimeng.operators.plan import JimengPlanOperator
from airflow_provider_jimeng.operators.rescue import JimengRescueOperator
from airflow_provider_jimeng.operators.standing import ENOUGH_FAILURES, LONGEST_SECONDS, Standing
from tests.chaos.stage import Stage

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.render import Render
    from tests.chaos.lab import Lab

HALF_DAY = 13 * 3600
KITE = {"prompt": "a red kite", "output_name": "kite"}


class Said:
    """What was logged so far: by Airflow's own logging, whichever its version has."""

    def __init__(self, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
        self._capsys = capsys
        self._caplog = caplog

    def __contains__(self, text: str) -> bool:
        printed = self._capsys.readouterr()
        return text in self._caplog.text + printed.out + printed.err


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Said:
    return Said(capsys, caplog)


def plan(lab: Lab, *rows: dict[str, Any], **arguments: Any) -> Stage:
    given = {"task_id": "plan", "rows": list(rows), "output_path": f"{lab.videos}/", **arguments}
    stage = Stage(lambda: JimengPlanOperator(**given), retries=0)
    stage.run()
    return stage


def quoted(stage: Stage) -> dict[str, Any]:
    quote = stage.xcom("quote")
    return {name: quote[name] for name in ("new", "landed", "running", "cost_cny", "at_risk_cny")}


def rendered(
    lab: Lab, planned: Stage, *, run: int = 1, killed_at: str | None = None, **changes: Any
) -> Stage:
    """Run the task that is mapped over the plan's first row."""
    stage = lab.stage(
        lambda: lab.generate(**{**planned.result[0], **changes}), run_id=f"manual__{run}", retries=0
    )
    if killed_at is not None:
        stage.blows.at(killed_at)
    assert stage.run() == ("success" if killed_at is None else "failed")
    return stage


# ------------------------------------------------------------------------------------------------- what is on its way
def test_a_render_that_failed_meanwhile_is_quoted_as_new_and_holds_the_cap(lab: Lab, said: Said) -> None:
    lab.emulator.faults.add(where="render", what="fail", code=50511, nth=1)
    rendered(lab, plan(lab, KITE), killed_at="deferred")
    lab.clock.ahead += 100
    refused = plan(lab, KITE, max_cost_cny=0)
    assert isinstance(refused.errors[0], ParameterError)
    assert quoted(refused) == {
        "new": 1, "landed": 0, "running": 0, "cost_cny": "1.40", "at_risk_cny": "0.00",
    }  # fmt: skip
    assert "its render failed and was not billed" in said
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
    lab: Lab, said: Said, what: str
) -> None:
    rendered(lab, plan(lab, KITE), killed_at="deferred")
    lab.clock.ahead += 100
    lab.emulator.faults.add(where="query", what=what)
    assert quoted(plan(lab, KITE))["cost_cny"] == "1.40"
    assert 'on_lost="resubmit"' in said


def test_an_api_that_cannot_be_reached_leaves_a_render_running_and_a_risk(lab: Lab, said: Said) -> None:
    rendered(lab, plan(lab, KITE), killed_at="deferred")
    lab.clock.ahead += 100
    lab.go_down()
    assert quoted(plan(lab, KITE))["at_risk_cny"] == "1.40"
    assert "cannot be known now" in said
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

    standing = Standing(hook_for=hook_for)
    lost = [standing.of(replace(render, jimeng_conn_id="gone")) for _ in range(ENOUGH_FAILURES + 2)]
    assert {state for state, _ in lost} == {RowState.RUNNING}
    assert asked == ["gone"] * ENOUGH_FAILURES
    assert "no such connection" in str(lost[0][1])
    assert "not asked" in str(lost[-1][1])


def test_renders_are_asked_for_at_the_connection_s_rate_and_not_for_ever(lab: Lab) -> None:
    render, moments = paid(lab), iter([0.0, 1.0, 2.0, LONGEST_SECONDS + 1])
    pauses: list[float] = []
    standing = Standing(hook_for=JimengHook, sleep=pauses.append, clock=lambda: next(moments))
    found = [standing.of(render) for _ in range(3)]
    assert [note is None for _, note in found] == [True, True, False]
    assert pauses == [1 / 1000] * 2
    assert lab.emulator.bill()["queries"] == 2


# ---------------------------------------------------------------------------- what is home though its record does not tell
def test_a_video_that_a_rescue_landed_is_not_quoted_again_a_day_later(lab: Lab) -> None:
    rendered(lab, plan(lab, KITE), killed_at="deferred")
    lab.clock.ahead += 100
    rescue = Stage(
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


def test_a_video_whose_task_was_killed_before_its_record_is_not_quoted_again_a_day_later(lab: Lab) -> None:
    rendered(lab, plan(lab, KITE), killed_at="store before landed")
    lab.pass_time(HALF_DAY)
    again = plan(lab, KITE, max_cost_cny=0)
    assert quoted(again)["landed"] == 1
    rendered(lab, again, run=2)
    assert lab.tally().accepted == 1
