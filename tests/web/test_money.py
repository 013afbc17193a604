# SPDX-License-Identifier: Apache-2.0
"""The totals of the gallery agree with the campaign report and with the emulator's bill, however a render ended."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pendulum
import pytest

from airflow_provider_jimeng.core.outcomes import Money, Outcome, money_of
from tests.harness.lab import open_lab
from tests.operators.test_bill import HALF_DAY, cleared, reported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.harness.fake_airflow import FakeTask
    from tests.harness.lab import Lab
    from tests.web.conftest import Reader
    from tests.web.records import Records


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """An emulator and a directory for videos, behind `jimeng_default`."""
    with open_lab(tmp_path) as opened:
        yield opened


def saved(lab: Lab) -> FakeTask:
    return _ran(lab.task())


def replaced_by_a_new_take(lab: Lab) -> FakeTask:
    stage = _ran(lab.task())
    cleared(stage, lab, on_rerun="render")
    return stage


def lost_and_paid_again(lab: Lab) -> FakeTask:
    stage = lab.task(lambda: lab.generate(on_lost="resubmit"), retries=0)
    stage.interruptions.at("resumed", lambda: lab.pass_time(HALF_DAY))
    return _ran(stage)


def replaced_while_it_ran(lab: Lab) -> FakeTask:
    stage = lab.task(retries=0)
    stage.interruptions.at("deferred")
    stage.run()
    cleared(stage, lab, prompt="a blue kite")
    return stage


def failed_unbilled(lab: Lab) -> FakeTask:
    lab.emulator.faults.add(where="render", what="fail", code=50511)
    return _ran(lab.task(retries=0))


def moderated(lab: Lab) -> FakeTask:
    lab.emulator.faults.add(where="submit", what="moderated")
    return _ran(lab.task(retries=0))


def answer_lost(lab: Lab) -> FakeTask:
    lab.emulator.faults.add(where="submit", what="cut_after")
    return _ran(lab.task(retries=0))


def timed_out(lab: Lab) -> FakeTask:
    lab.options["deferrable"] = False
    lab.emulator.render_seconds = 600
    return _ran(lab.task(lambda: lab.generate(wait_timeout=0.05), retries=0))


def killed_while_it_ran(lab: Lab) -> FakeTask:
    stage = lab.task(retries=0)
    stage.interruptions.at("deferred")
    return _ran(stage)


def too_long_a_prompt(lab: Lab) -> FakeTask:
    return _ran(lab.task(lambda: _changed(lab, prompt="x" * 2000), retries=0))


def over_the_cap(lab: Lab) -> FakeTask:
    return _ran(lab.task(lambda: _changed(lab, max_cost_cny="0.10"), retries=0))


def no_connection(lab: Lab) -> FakeTask:
    return _ran(lab.task(lambda: _changed(lab, jimeng_conn_id="nowhere"), retries=0))


def bad_image(lab: Lab) -> FakeTask:
    changes = {
        "model": "i2v_first_720p",
        "first_frame": str(lab.folder / "missing.png"),
        "aspect_ratio": None,
    }
    return _ran(lab.task(lambda: _changed(lab, **changes), retries=0))


def bad_policy(lab: Lab) -> FakeTask:
    return _ran(lab.task(lambda: _changed(lab, on_lost="pray"), retries=0))


def _changed(lab: Lab, **values: Any) -> Any:
    """Return an operator whose arguments come from templates, so that they are checked when the task runs."""
    operator = lab.generate()
    for name, value in values.items():
        setattr(operator, name, value)
    return operator


def _ran(stage: FakeTask) -> FakeTask:
    stage.run()
    return stage


PAID, MAY, NOT = "paid", "may_be_billed", "not_billed"
CASES: dict[Callable[[Lab], FakeTask], str] = {
    saved: PAID, replaced_by_a_new_take: PAID, lost_and_paid_again: PAID, replaced_while_it_ran: PAID,
    failed_unbilled: NOT, moderated: NOT, answer_lost: MAY, timed_out: MAY, killed_while_it_ran: MAY,
    too_long_a_prompt: NOT, over_the_cap: NOT, no_connection: NOT, bad_image: NOT, bad_policy: NOT,
}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.__name__))
def test_totals_agree_with_the_report_and_the_bill(
    case: Callable[[Lab], FakeTask], lab: Lab, admin: Reader, records: Records
) -> None:
    stage = case(lab)
    done = stage.state == "success"
    records.add(
        dag_id="chaos",
        run_id="manual__1",
        state="success" if done else "failed",
        at=pendulum.now("UTC"),
        render=stage.xcom("jimeng_render"),
        refusal=stage.xcom("jimeng_refusal"),
        intent=stage.xcom("jimeng_intent"),
        earlier=stage.xcom("jimeng_earlier"),
        manifest=stage.result if done else None,
    )

    page = admin.renders()

    totals, (card,) = page["totals"], page["cards"]
    paid, may = Decimal(totals["cost_cny"]), Decimal(totals["may_be_billed_cny"])
    assert card["money"] == CASES[case]
    report = reported(lab, stage)
    assert (paid, may) == (report.actual, report.open)
    assert (totals["expected_cny"], totals["unpriced"]) == ("0.00", 0)
    lab.clock.ahead += 3600
    assert paid <= Decimal(lab.emulator.bill()["cost_cny"]) <= paid + may
    if case in (too_long_a_prompt, over_the_cap, no_connection, bad_image, bad_policy):
        assert (card["outcome"], card["state"]) == ("not_submitted", "failed")
        assert card["failure"]["meaning"] != card["failure"]["meaning_zh"]
        assert card["failure"]["advice"]
        assert card["message"]
        assert card["prompt"]
        assert report.summary()["counts"]["no_render"] == 1


def test_every_outcome_has_the_money_that_its_table_says() -> None:
    for outcome in Outcome:
        said = money_of(done=outcome is Outcome.SUCCEEDED, over=True, outcome=outcome.value)
        billed = {Money.PAID: "yes", Money.NOT_BILLED: "no", Money.MAY_BE_BILLED: "unknown"}[said]
        assert billed == outcome.ending.billed.value
    assert money_of(done=False, over=False, outcome="") is Money.EXPECTED
    assert money_of(done=True, over=False, outcome="", paid_here=False) is Money.PAID_ELSEWHERE
    assert money_of(done=False, over=True, outcome="failed", refused=True) is Money.NOT_BILLED
