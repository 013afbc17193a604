# SPDX-License-Identifier: Apache-2.0
"""What the report adds up of a task that paid more than once is what the emulator billed, or may have."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pendulum
import pytest

from airflow_provider_jimeng.core.report import Report
from airflow_provider_jimeng.operators.report import read_ends

if TYPE_CHECKING:
    from tests.harness.fake_airflow import FakeTask
    from tests.harness.lab import Lab

HALF_DAY = 12.5 * 3600


class Reader:
    """A report's task instance, which reads what the instances of one task left, as the API server hands it out."""

    dag_id = "chaos"
    run_id = "manual__1"

    def __init__(self, *stages: FakeTask) -> None:
        self._stages = stages

    def get_ti_count(self, **_: Any) -> int:
        return len(self._stages)

    def xcom_pull(self, task_ids: Any, key: str, map_indexes: Any = None) -> Any:
        found = [
            (stage.result if stage.state == "success" else None) if key == "return_value" else stage.xcom(key)
            for stage in self._stages
        ]
        if isinstance(task_ids, list):
            return [value for value in found if value is not None]
        return found[max(0, map_indexes)]


def reported(lab: Lab, *stages: FakeTask) -> Report:
    context: Any = {"ti": Reader(*stages)}
    return Report(
        dag_id="chaos",
        run_id="manual__1",
        generated_at=pendulum.now("UTC"),
        since=pendulum.now("UTC").subtract(days=2),
        planned=None,
        quoted=False,
        ends=tuple(read_ends([lab.generate()], context)),
    )


def money(report: Report) -> tuple[Decimal | None, Decimal | None]:
    return report.actual, report.open


def cleared(stage: FakeTask, lab: Lab, **changes: Any) -> str:
    stage.make_operator = lambda: lab.generate(**changes)
    stage.clear()
    return stage.run()


ONE, NONE = Decimal("1.40"), Decimal(0)


def test_a_take_that_a_clear_replaced_is_on_the_bill(lab: Lab) -> None:
    stage, other = lab.task(map_index=0), lab.task(map_index=1)
    stage.run()
    other.run()
    assert cleared(other, lab, on_rerun="render") == "success"
    report = reported(lab, stage, other)
    assert money(report) == (Decimal("4.20"), NONE)
    assert lab.emulator.bill()["cost_cny"] == "4.20"
    assert [len(row["earlier"]) for row in report.to_payload()["renders"]] == [0, 1]


def test_a_lost_render_that_a_new_one_replaced_may_be_billed(lab: Lab) -> None:
    stage = lab.task(lambda: lab.generate(on_lost="resubmit"), retries=0)
    stage.interruptions.at("resumed", lambda: lab.pass_time(HALF_DAY))
    assert stage.run() == "success"
    assert money(reported(lab, stage)) == (ONE, ONE)
    assert lab.tally().billed == 2


def test_a_running_render_that_a_changed_request_replaced_may_be_billed(lab: Lab) -> None:
    stage = lab.task(retries=0)
    stage.interruptions.at("deferred")
    stage.run()
    assert cleared(stage, lab, prompt="a blue kite") == "success"
    assert money(reported(lab, stage)) == (ONE, ONE)
    assert lab.tally().billed == 2


def test_a_render_that_failed_unbilled_is_on_no_bill(lab: Lab) -> None:
    lab.emulator.faults.add(where="render", what="fail", code=50511, nth=1)
    stage = lab.task(retries=1)
    assert stage.run() == "success"
    assert money(reported(lab, stage)) == (ONE, NONE)
    assert lab.emulator.bill()["cost_cny"] == "1.40"


def test_a_render_that_another_run_paid_for_is_not_on_the_bill_of_who_replaced_it(lab: Lab) -> None:
    lab.options["reuse"] = "output_path"
    lab.task(run_id="manual__0").run()
    stage = lab.task()
    assert stage.run() == "success"
    assert cleared(stage, lab, on_rerun="render") == "success"
    assert money(reported(lab, stage)) == (ONE, NONE)


def test_what_was_paid_before_a_clear_that_was_refused_is_on_the_bill(lab: Lab) -> None:
    stage = lab.task(retries=0)
    stage.run()
    lab.emulator.faults.add(where="submit", what="moderated")
    assert cleared(stage, lab, prompt="a bank") == "failed"
    report = reported(lab, stage)
    assert money(report) == (ONE, NONE)
    assert report.summary()["counts"]["failed"] == 1


def test_what_was_paid_before_a_try_that_asks_for_something_else_is_on_the_bill(lab: Lab) -> None:
    stage = lab.task(retries=1)
    stage.interruptions.at("deferred")
    stage.run_one_try()
    stage.make_operator = lambda: lab.generate(prompt="a blue kite")
    assert stage.run() == "failed"
    assert money(reported(lab, stage)) == (NONE, ONE)


@pytest.mark.parametrize("what", ["cut_after", "moderated"])
def test_what_was_asked_for_last_is_what_a_task_is_reported_by(lab: Lab, what: str) -> None:
    lab.emulator.faults.add(where="render", what="fail", code=50511, nth=1)
    stage = lab.task(retries=1)
    stage.interruptions.at("deferred")
    stage.run_one_try()
    lab.clock.ahead += 100
    lab.emulator.faults.add(where="submit", what=what, nth=1)
    assert stage.run() == "failed"
    report = reported(lab, stage)
    (failure,) = report.summary()["failures"]
    if what == "cut_after":
        assert (failure["outcome"], report.open) == ("unknown_submit", ONE)
    else:
        assert (failure["meaning"], report.open) == ("Moderation refused the prompt.", NONE)
