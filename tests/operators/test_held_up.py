# SPDX-License-Identifier: Apache-2.0
"""A try that is held up in its download while a Clear pays anew for the same full file name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.lab import Lab, landed_files, open_lab

if TYPE_CHECKING:
    from tests.harness.fake_airflow import FakeTask


@pytest.fixture(params=["files", "object store"])
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """Records in the output directory only, which is local or an object store."""
    with open_lab(tmp_path, below_3_3=True) as opened:
        if request.param == "files":
            opened.remote = None
        yield opened


def task(lab: Lab, **changes: Any) -> FakeTask:
    stage = lab.task(lambda: lab.generate(output_path=f"{lab.output_path}kite.mp4", **changes), retries=0)
    lab.options["on_rerun"] = "render"
    return stage


def hold_up(lab: Lab, stage: FakeTask, action: Callable[[], object]) -> None:
    """Cut the next download, and let something happen before it goes on."""
    lab.emulator.faults.add(where="media", what="cut", nth=1)

    def held_up() -> None:
        action()

    stage.interruptions.at("log Download interrupted", held_up)


def run_one_try(stage: FakeTask) -> None:
    with stage.interruptions.listening():
        stage.run_one_try()


def paid_anew(stage: FakeTask) -> None:
    stage.clear()
    stage.next_try()


def landed_id(lab: Lab) -> str:
    assert landed_files(lab.files()) == ["kite.mp4"]
    return str(json.loads(lab.files()["kite.mp4.json"])["task_id"])


@pytest.mark.parametrize("overwrite", [True, False])
def test_the_newer_file_stays_when_the_older_try_wakes_up_after_it(lab: Lab, *, overwrite: bool) -> None:
    stage = task(lab, overwrite=overwrite)
    hold_up(lab, stage, lambda: paid_anew(stage))
    run_one_try(stage)
    assert (stage.state, landed_id(lab)) == ("success", stage.result["task_id"])


def test_the_newer_file_stays_where_the_older_try_may_replace_an_earlier_one(lab: Lab) -> None:
    stage = task(lab)
    assert stage.run() == "success"
    stage.clear()
    hold_up(lab, stage, lambda: paid_anew(stage))
    run_one_try(stage)
    assert (stage.state, landed_id(lab)) == ("success", stage.result["task_id"])
    assert len({stage.result["task_id"], landed_id(lab)}) == 1
    assert lab.tally().billed == 3


def test_the_older_try_leaves_the_name_to_a_newer_render_that_still_runs(lab: Lab) -> None:
    stage = task(lab, overwrite=True)

    def pay_anew_and_die() -> None:
        stage.interruptions.at("deferred")
        paid_anew(stage)

    hold_up(lab, stage, pay_anew_and_die)
    run_one_try(stage)
    assert stage.state == "failed"
    assert landed_files(lab.files()) == []
    lab.options["on_rerun"] = "adopt"
    stage.clear()
    assert stage.run() == "success"
    assert landed_id(lab) == stage.result["task_id"]
    assert lab.tally().billed == 2


def test_a_newer_try_that_adopts_the_same_render_keeps_the_older_one_from_nothing(lab: Lab) -> None:
    stage = task(lab)
    lab.options["on_rerun"] = "adopt"

    def adopt_and_die() -> None:
        stage.interruptions.at("query")
        paid_anew(stage)

    hold_up(lab, stage, adopt_and_die)
    run_one_try(stage)
    assert landed_files(lab.files()) == ["kite.mp4"]
    assert lab.tally().billed == 1


def test_a_record_that_cannot_be_read_keeps_no_paid_render_from_landing(lab: Lab) -> None:
    stage = task(lab)
    hold_up(lab, stage, lab.damage_records)
    run_one_try(stage)
    assert (stage.state, landed_files(lab.files())) == ("success", ["kite.mp4"])
