# SPDX-License-Identifier: Apache-2.0
"""Task instances that ask for the same video, or for the same file name, at the same moment."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from typing import Any

import pendulum
import pytest

from airflow_provider_jimeng.core.errors import TargetTakenError
from airflow_provider_jimeng.core.parameters import RenderRequest
from airflow_provider_jimeng.core.record import Record, RecordState, TaskKey
from airflow_provider_jimeng.hooks.jimeng import JimengHook
from airflow_provider_jimeng.operators.payment import FRESH_SECONDS, MAX_LOOKS, Payment, Twin
from airflow_provider_jimeng.operators.records import OtherTasks, TaskRecord
from airflow_provider_jimeng.operators.xcom import Announcements
from airflow_provider_jimeng.storage.ledger import Ledger
from airflow_provider_jimeng.storage.output import OutputPath
from airflow_provider_jimeng.storage.record_objects import RecordObjects
from tests.harness.fake_airflow import FakeTask, TaskInstance
from tests.harness.lab import Lab, Tally

MINE = TaskKey(dag_id="chaos", run_id="manual__1", task_id="render")
OTHER = TaskKey(dag_id="chaos", run_id="manual__2", task_id="render")
SAME = "f" * 64


def record(state: RecordState, *, minutes_ago: float = 0, key: TaskKey = OTHER, **changes: Any) -> Record:
    at = pendulum.now("UTC").subtract(seconds=int(60 * minutes_ago)).to_iso8601_string()
    render = {
        "task_id": "7392616336519610409",
        "req_key": "key",
        "model": "t2v_720p",
        "jimeng_conn_id": "jimeng_default",
        "submitted_at": at,
    }
    first = Record(
        state=state,
        key=key,
        requested=SAME,
        fingerprint=SAME,
        take=1,
        max_tries=1,
        intent_at=at,
        render=None if state is RecordState.INTENT else render,
    )
    return replace(first, **changes)


class OthersFolder:
    """A directory of records, and what the task of `manual__1` sees of the others' there."""

    def __init__(self, lab: Lab) -> None:
        self.folder = OutputPath(output_path=f"{lab.videos}/")
        self.objects = RecordObjects(self.folder)
        self.waited = 0.0
        self.answer: Record | None = None

    def other_tasks(self) -> OtherTasks:
        ledger = Ledger(MINE, folder=self.folder)
        return OtherTasks(ledger=ledger, timeout_seconds=30, sleep=self._sleep, clock=lambda: self.waited)

    def _sleep(self, seconds: float) -> None:
        self.waited += seconds
        if self.answer is not None:
            self.objects.write(self.answer)


@pytest.fixture
def folder(lab: Lab) -> OthersFolder:
    return OthersFolder(lab)


def run_together(*stages: FakeTask) -> None:
    with ThreadPoolExecutor(len(stages)) as pool:
        list(pool.map(FakeTask.run, stages))


@pytest.mark.parametrize("below_3_3", [False, True])
def test_runs_of_one_moment_that_reuse_pay_once_and_land_one_file(lab: Lab, *, below_3_3: bool) -> None:
    lab.options["reuse"] = "output_path"
    lab.has_store = not below_3_3
    runs = [lab.task(run_id=f"manual__{number}", retries=5) for number in range(4)]
    run_together(*runs)
    assert [stage.state for stage in runs] == ["success"] * 4
    assert lab.tally() == Tally(accepted=1, billed=1, landed=1, state="success")
    assert len({stage.result["uri"] for stage in runs}) == 1


def test_mapped_tasks_that_ask_for_the_same_pay_and_land_one_each(lab: Lab) -> None:
    mapped = [lab.task(map_index=index) for index in range(3)]
    run_together(*mapped)
    assert len({stage.result["uri"] for stage in mapped}) == 3
    assert lab.tally() == Tally(accepted=3, billed=3, landed=3, state="success")


@pytest.mark.parametrize("same_prompt", [True, False])
def test_mapped_tasks_that_share_a_file_name_pay_for_one_render_only(lab: Lab, *, same_prompt: bool) -> None:
    def make(index: int) -> Any:
        prompt = "a kite" if same_prompt else f"kite {index}"
        return lambda: lab.generate(prompt=prompt, output_path=f"{lab.videos}/kite.mp4")

    mapped = [lab.task(make(index), map_index=index) for index in range(3)]
    for stage in mapped:
        stage.run()
    assert [stage.state for stage in mapped] == ["success", "failed", "failed"]
    assert all(isinstance(stage.errors[0], TargetTakenError) for stage in mapped[1:])
    assert "chaos.render[0]" in str(mapped[1].errors[0])
    assert "Nothing was submitted" in str(mapped[1].errors[0])
    assert lab.tally() == Tally(accepted=1, billed=1, landed=1, state="success")
    mapped[0].clear()
    assert mapped[0].run() == "success"


def test_mapped_tasks_that_share_a_file_name_at_the_same_moment_never_pay_for_two(lab: Lab) -> None:
    def make(index: int) -> Any:
        return lambda: lab.generate(prompt=f"kite {index}", output_path=f"{lab.videos}/kite.mp4")

    mapped = [lab.task(make(index), map_index=index) for index in range(4)]
    run_together(*mapped)
    won = [stage.state for stage in mapped].count("success")
    tally = lab.tally()
    assert won <= 1
    assert (tally.accepted, tally.landed) == (won, won)


def test_a_file_name_that_a_deferred_task_will_land_in_is_refused_before_paying(lab: Lab) -> None:
    first = lab.task(lambda: lab.generate(output_path=f"{lab.videos}/kite.mp4"))
    second = lab.task(
        lambda: lab.generate(prompt="blue", output_path=f"{lab.videos}/kite.mp4"), run_id="manual__2"
    )
    first.interruptions.at("deferred", second.next_try)
    assert first.run() == "success", first.errors
    assert isinstance(second.errors[0], TargetTakenError)
    assert lab.tally() == Tally(accepted=1, billed=1, landed=1, state="success")


def test_overwrite_lands_over_the_file_of_another_task_of_the_same_run(lab: Lab) -> None:
    runs = [
        lab.task(lambda: lab.generate(output_path=f"{lab.videos}/kite.mp4", overwrite=True), map_index=i)
        for i in range(2)
    ]
    assert [stage.run() for stage in runs] == ["success"] * 2
    assert lab.tally() == Tally(accepted=2, billed=2, landed=1, state="success")


@pytest.mark.parametrize(
    ("other", "refused"),
    [
        (record(RecordState.INTENT), True),
        (record(RecordState.SUBMITTED, minutes_ago=600), True),
        (record(RecordState.SUBMITTED, minutes_ago=60 * 12), False),
        (record(RecordState.LOST), False),
        (record(RecordState.FAILED), False),
        (record(RecordState.LANDED), False),
        (record(RecordState.LANDED, key=replace(MINE, map_index=4)), True),
    ],
)
def test_a_file_name_is_taken_by_who_is_yet_to_land_or_has_landed_in_this_run(
    folder: OthersFolder, other: Record, *, refused: bool
) -> None:
    path = f"{folder.folder.output_path}kite.mp4"
    folder.objects.write(replace(other, output_path=path))
    folder.objects.write(record(RecordState.SUBMITTED, output_path=path, key=MINE))
    target = OutputPath(output_path=path)
    if refused:
        with pytest.raises(TargetTakenError, match="is taken"):
            folder.other_tasks().refuse_rival(target)
    else:
        folder.other_tasks().refuse_rival(target)


def test_a_task_that_moved_to_another_file_name_leaves_the_first_one_free(folder: OthersFolder) -> None:
    path = f"{folder.folder.output_path}kite.mp4"
    folder.objects.write(record(RecordState.SUBMITTED, output_path=path))
    folder.objects.write(record(RecordState.SUBMITTED, output_path=f"{folder.folder.output_path}blue.mp4"))
    folder.other_tasks().refuse_rival(OutputPath(output_path=path))


@pytest.mark.parametrize("clock_differs_by_minutes", [0, 10, -10, -600])
def test_a_submit_under_way_elsewhere_is_waited_for(
    folder: OthersFolder, clock_differs_by_minutes: float
) -> None:
    folder.objects.write(record(RecordState.INTENT, minutes_ago=clock_differs_by_minutes))
    folder.answer = record(RecordState.SUBMITTED)
    assert folder.other_tasks().of_request(SAME, except_ids=()) == [folder.answer]
    assert 0 < folder.waited < 2


def test_a_submit_that_nobody_answers_while_it_is_watched_is_handed_over(folder: OthersFolder) -> None:
    left = record(RecordState.INTENT)
    folder.objects.write(left)
    others = folder.other_tasks()
    assert others.of_request(SAME, except_ids=()) == [left]
    assert 90 <= folder.waited < 93
    assert others.twin(SAME, except_ids=()) is None


def test_an_intent_of_long_ago_is_handed_over_at_once(folder: OthersFolder) -> None:
    left = record(RecordState.INTENT, minutes_ago=20)
    folder.objects.write(left)
    others = folder.other_tasks()
    assert others.of_request(SAME, except_ids=()) == [left]
    assert folder.waited == 0
    assert others.twin(SAME, except_ids=()) is None


def test_a_paid_render_counts_more_than_an_intent(folder: OthersFolder) -> None:
    folder.objects.write(record(RecordState.INTENT, minutes_ago=9))
    paid = record(RecordState.SUBMITTED, key=replace(OTHER, map_index=1))
    folder.objects.write(paid)
    assert folder.other_tasks().of_request(SAME, except_ids=()) == [paid]
    assert folder.other_tasks().of_request(SAME, except_ids={"7392616336519610409"}) != [paid]


@pytest.mark.parametrize("minutes_ago", [0, 2, 60, 60 * 24 * 7, -600])
@pytest.mark.parametrize("state", [RecordState.INTENT, RecordState.SUBMITTED])
def test_a_twin_that_began_meanwhile_counts_whatever_time_it_names(
    folder: OthersFolder, state: RecordState, minutes_ago: float
) -> None:
    others = folder.other_tasks()
    assert others.of_request(SAME, except_ids=()) == []
    twin = record(state, minutes_ago=minutes_ago)
    folder.objects.write(twin)
    assert others.twin(SAME, except_ids=()) == twin


@pytest.mark.parametrize("seen_at_look", [1, 2, MAX_LOOKS])
def test_a_look_that_took_long_is_repeated_and_what_it_finds_counts(
    lab: Lab, folder: OthersFolder, seen_at_look: int
) -> None:
    seen, looks, clock = folder.other_tasks(), count(1), count(0.0, FRESH_SECONDS)
    twin = record(RecordState.INTENT)

    def others() -> OtherTasks:
        if next(looks) == seen_at_look:
            folder.objects.write(twin)
        return seen

    ti = TaskInstance(task=lab.task(), id="", try_number=1, max_tries=1)
    payment = Payment(
        hook=JimengHook(),
        record=TaskRecord(Ledger(MINE, folder=folder.folder), ti),
        others=others,
        requested=SAME,
        reuses=True,
        target=None,
        overwrite=False,
        on_unknown_submit="fail",
        announcements=Announcements(ti=ti, task_id="render", output_path=None),
        clock=lambda: next(clock),
    )
    assert payment.make(RenderRequest.build(prompt="a red kite")) == Twin(record=twin)
    assert lab.emulator.bill()["accepted"] == 0
    assert folder.objects.read(MINE) is None


def test_a_twin_that_began_between_look_and_intent_is_waited_for_and_adopted(lab: Lab) -> None:
    lab.options["reuse"] = "output_path"
    first, second = (lab.task(run_id=f"manual__{number}", retries=0) for number in range(2))
    is_about_to_pay, may_pay = threading.Event(), threading.Event()

    def hold() -> None:
        is_about_to_pay.set()
        assert may_pay.wait(60)

    def begin_beside() -> None:
        first.interruptions.at("before post", hold)
        thread.start()
        assert is_about_to_pay.wait(60)
        first.interruptions.at("log chaos.render, run manual__1 submits", may_pay.set)

    thread = threading.Thread(target=second.run)
    first.interruptions.at("xcom estimated_cost_cny", begin_beside)
    assert first.run() == "success", first.errors
    thread.join()
    assert second.state == "success"
    assert lab.tally() == Tally(accepted=1, billed=1, landed=1, state="success")


def test_six_twins_of_one_moment_all_succeed_within_one_retry(lab: Lab) -> None:
    lab.options["reuse"] = "output_path"
    runs = [lab.task(run_id=f"manual__{number}", retries=1) for number in range(6)]
    run_together(*runs)
    assert [stage.state for stage in runs] == ["success"] * 6, [stage.errors for stage in runs]
    assert lab.tally() == Tally(accepted=1, billed=1, landed=1, state="success")
