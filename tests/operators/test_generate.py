# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, Asset, AssetAlias, TaskDeferred

from airflow_provider_jimeng.core.errors import (
    ChangedRequestError,
    DifferentVideoError,
    LandingError,
    LedgerError,
    MissingLabelError,
    NoLinkError,
    NotSentError,
    ParameterError,
    RenderExpiredError,
    RenderFailedError,
    RenderNotFoundError,
    SlotTimedOutError,
    TargetTakenError,
    UnknownSubmitError,
    UnreadableReplyError,
)
from airflow_provider_jimeng.core.limits import SETTLE_SECONDS
from airflow_provider_jimeng.core.outcomes import Outcome
from airflow_provider_jimeng.core.render import RenderEvent
from airflow_provider_jimeng.operators.records import ABANDONED_SECONDS
from tests.harness.asset_events import added_by_alias, outlet_events
from tests.harness.fake_airflow import FakeTask, Killed, reason_of
from tests.harness.lab import CONNECTION, Lab, Tally

HALF_DAY = 12.5 * 3600


def landed(count: int = 1, *, accepted: int | None = None, state: str = "success") -> Tally:
    paid = count if accepted is None else accepted
    return Tally(accepted=paid, billed=paid, landed=count, state=state)


def refuse() -> None:
    raise ConnectionResetError("the store hung up")


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_render_is_paid_once_landed_and_described(lab: Lab, *, deferrable: bool) -> None:
    stage = lab.task(lambda: lab.generate(deferrable=deferrable))
    assert stage.run() == "success"
    assert stage.result["uri"].startswith(lab.videos.as_uri())
    assert stage.xcom("task_id") == stage.result["task_id"] == stage.xcom("jimeng_render")["task_id"]
    (record,) = lab.records()
    assert (record["state"], record["manifest"]) == ("landed", stage.result)
    assert "http" not in json.dumps([record, stage.record(), stage.xcoms]).replace(lab.videos.as_uri(), "")
    assert lab.tally() == landed()


def test_outlets_get_the_manifest_as_the_extra_of_their_events(lab: Lab) -> None:
    video, alias = Asset(uri="file://videos/teaser"), AssetAlias(name="any")
    stage = lab.task(lambda: lab.generate(outlets=[video, alias]))
    stage.asset_events = outlet_events()
    assert stage.run() == "success"
    assert stage.asset_events[video].extra == stage.result
    assert added_by_alias(stage.asset_events[alias]) == [(stage.result["uri"], stage.result)]


def test_mapped_tasks_of_one_folder_keep_a_record_each(lab: Lab) -> None:
    stages = [lab.task(map_index=index) for index in range(3)]
    for stage in stages:
        stage.interruptions.at("deferred")
        assert stage.run() == "success"
    assert len({stage.result["task_id"] for stage in stages}) == 3
    assert lab.tally() == landed(3)


@pytest.mark.parametrize("policy", ["on_rerun", "on_unknown_submit", "on_lost", "reuse"])
def test_a_policy_that_does_not_exist_is_refused_before_anything_is_sent(lab: Lab, policy: str) -> None:
    stage = lab.task(lambda: lab.generate(**{policy: "{{ 'maybe' }}"}))
    assert stage.run() == "failed"
    assert policy in str(stage.errors[0])
    assert lab.emulator.bill()["submits"] == 0


@pytest.mark.parametrize(
    "argument", ["poll_interval", "wait_timeout", "max_wait_for_slot", "overwrite", "require_tagged"]
)
def test_what_only_a_later_step_needs_is_refused_before_anything_is_sent(lab: Lab, argument: str) -> None:
    stage = lab.task(lambda: lab.generate(**{argument: "{{ 'perhaps' }}"}))
    assert stage.run() == "failed"
    assert argument in str(stage.errors[0])
    assert lab.emulator.bill()["submits"] == 0


def test_policies_and_numbers_may_come_from_templates(lab: Lab) -> None:
    stage = lab.task(
        lambda: lab.generate(
            on_lost="{{ 'fail' }}",
            poll_interval="{{ 0.03 }}",
            wait_timeout="{{ 60 }}",
            overwrite="{{ False }}",
        )
    )
    assert stage.run() == "success"


def test_a_bad_argument_fails_for_good_before_anything_is_recorded(lab: Lab) -> None:
    stage = lab.task(lambda: lab.generate(prompt=""))
    assert stage.run() == "failed"
    assert isinstance(stage.errors[0], ParameterError)
    assert (stage.try_number, stage.record(), lab.emulator.bill()["submits"]) == (1, None, 0)


def test_a_failure_is_explained_in_xcom_before_it_is_raised(lab: Lab) -> None:
    lab.emulator.faults.add(where="render", what="fail", code=50413)
    stage = lab.task()
    assert stage.run() == "failed"
    said = stage.xcom("jimeng_render")
    assert (said["outcome"], said["code"]) == ("failed", "50413")
    assert said["advice"]
    assert isinstance(stage.errors[0], RenderFailedError)
    assert "not billed" in str(stage.errors[0])


def test_an_unknown_submit_says_what_it_may_cost_and_the_way_out(lab: Lab) -> None:
    lab.emulator.faults.add(where="submit", what="cut_after")
    stage = lab.task()
    assert stage.run() == "failed"
    text = str(stage.errors[0])
    assert isinstance(stage.errors[0], UnknownSubmitError)
    assert "1.40 CNY" in text
    assert 'on_unknown_submit="resubmit"' in text
    assert "console" in text
    assert "JimengDownloadVideoOperator(render_id=…, model=…) saves its" in text
    assert stage.xcom("jimeng_intent")["request"]["estimated_cost_cny"] == "1.40"
    assert (stage.record() or {})["jimeng_conn_id"] == "jimeng_default"
    stage.clear()
    assert stage.run() == "failed"
    assert "Nothing was submitted now" in str(stage.errors[1])
    assert lab.emulator.bill()["submits"] == 1


def test_an_unknown_submit_that_may_be_repeated_says_that_the_next_try_pays(lab: Lab) -> None:
    lab.emulator.faults.add(where="submit", what="cut_after", nth=1)
    stage = lab.task(lambda: lab.generate(on_unknown_submit="resubmit"))
    assert stage.run() == "success"
    assert "can pay, again" in str(stage.errors[0])


def test_a_request_that_changes_between_tries_names_the_paid_render(lab: Lab) -> None:
    stage = lab.task(lambda: lab.generate(prompt="{{ ti.try_number }} kites"))
    stage.interruptions.at("deferred")
    assert stage.run() == "failed"
    assert isinstance(stage.errors[1], ChangedRequestError)
    assert next(iter(lab.emulator.bill()["by_task"])) in str(stage.errors[1])
    assert "until" in str(stage.errors[1])


def test_a_request_that_changes_after_an_unknown_submit_is_not_sent_either(lab: Lab) -> None:
    lab.emulator.faults.add(where="submit", what="cut_after", nth=1)
    stage = lab.task(lambda: lab.generate(prompt="{{ ti.try_number }} kites", on_unknown_submit="resubmit"))
    assert stage.run() == "failed"
    assert "whose outcome is unknown" in str(stage.errors[1])
    assert lab.emulator.bill()["submits"] == 1


def test_a_render_that_went_missing_says_what_it_may_have_cost(lab: Lab) -> None:
    stage = lab.task()

    def sleep_and_die() -> None:
        lab.pass_time(HALF_DAY)
        raise Killed

    stage.interruptions.at("deferred", sleep_and_die)
    assert stage.run() == "failed"
    assert isinstance(stage.errors[1], RenderNotFoundError)
    assert "1.40 CNY" in str(stage.errors[1])
    assert stage.xcom("jimeng_render")["outcome"] == "not_found"
    record = stage.record()
    assert record is not None
    assert record["state"] == "lost"


def test_a_lost_render_is_paid_again_once_per_try_where_that_is_allowed(lab: Lab) -> None:
    lab.emulator.faults.add(where="render", what="expire")
    stage = lab.task(lambda: lab.generate(on_lost="resubmit"))
    assert stage.run() == "failed"
    assert [type(error) for error in stage.errors] == [RenderExpiredError] * 2
    assert lab.emulator.bill()["accepted"] == 3  # the first, its replacement, and the one of the second try


def test_a_file_name_that_holds_another_video_is_refused_before_paying(lab: Lab) -> None:
    (lab.videos / "kite.mp4").write_bytes(b"somebody's")
    stage = lab.task(lambda: lab.generate(output_path=f"{lab.videos}/kite.mp4"))
    assert stage.run() == "failed"
    assert isinstance(stage.errors[0], TargetTakenError)
    assert lab.emulator.bill()["submits"] == 0


def test_overwrite_lands_over_another_video(lab: Lab) -> None:
    (lab.videos / "kite.mp4").write_bytes(b"somebody's")
    stage = lab.task(lambda: lab.generate(output_path=f"{lab.videos}/kite.mp4", overwrite=True))
    assert stage.run() == "success"
    assert lab.tally() == landed()


def test_overwrite_in_a_directory_refuses_nothing(lab: Lab) -> None:
    assert lab.task(lambda: lab.generate(overwrite=True)).run() == "success"
    assert lab.tally() == landed()


def test_a_new_take_replaces_the_tasks_own_older_file(lab: Lab) -> None:
    stage = lab.task(lambda: lab.generate(output_path=f"{lab.videos}/kite.mp4", on_rerun="render"))
    stage.run()
    first = stage.result["task_id"]
    stage.clear()
    assert stage.run() == "success"
    assert stage.result["task_id"] != first
    assert lab.tally() == landed(1, accepted=2)


def test_a_file_name_taken_while_it_rendered_can_be_changed_and_lands_free(lab: Lab) -> None:
    stage = lab.task(lambda: lab.generate(output_path=f"{lab.videos}/kite.mp4"))

    def take_the_name() -> None:
        (lab.videos / "kite.mp4").write_bytes(b"somebody's")

    stage.interruptions.at("resumed", take_the_name)
    assert stage.run() == "failed"
    (lab.videos / "kite.mp4").unlink()
    stage.make_operator = lambda: lab.generate(output_path=f"{lab.videos}/other.mp4")
    stage.clear()
    assert stage.run() == "success"
    assert lab.tally() == landed()


def test_a_retry_asks_the_connection_that_has_paid(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, port = lab.task(), str(lab.emulator.url).rpartition(":")[2]
    monkeypatch.setenv("AIRFLOW_CONN_JIMENG_FILMS", os.environ[CONNECTION])
    lab.options["jimeng_conn_id"] = "jimeng_films"

    def change_the_connection() -> None:
        lab.options["jimeng_conn_id"] = "jimeng_default"
        monkeypatch.setenv(CONNECTION, os.environ[CONNECTION].replace(port, "9"))
        raise Killed

    stage.interruptions.at("deferred", change_the_connection)
    assert stage.run() == "success"
    assert lab.tally() == landed()


def test_a_video_that_was_moved_with_its_directory_is_adopted_in_its_new_place(lab: Lab) -> None:
    stage, moved = lab.task(retries=0), lab.folder / "moved"
    assert stage.run() == "success"
    lab.videos.rename(moved)
    lab.pass_time(13 * 3600)
    lab.options["output_path"] = f"{moved}/"
    stage.clear()
    assert stage.run() == "success"
    assert stage.result["uri"].startswith(moved.as_uri())
    assert lab.emulator.bill()["accepted"] == 1


def test_a_render_of_another_run_is_reused_where_the_author_wants_that(lab: Lab) -> None:
    lab.options["reuse"] = "output_path"
    first, second = lab.task(), lab.task(run_id="manual__2")
    first.run()
    assert second.run() == "success"
    assert second.result == first.result
    assert lab.tally() == landed()


def test_a_reused_render_that_is_lost_is_paid_again_only_with_consent(lab: Lab) -> None:
    lab.options["reuse"] = "output_path"
    first = lab.task()
    first.run()
    lab.lose_videos()
    lab.pass_time(HALF_DAY)
    second = lab.task(run_id="manual__2")
    assert second.run() == "failed"
    lab.options["on_lost"] = "resubmit"
    second.clear()
    assert second.run() == "success"
    assert lab.tally() == landed(1, accepted=2)


def test_a_reused_render_that_failed_unbilled_is_replaced_at_once(lab: Lab) -> None:
    lab.emulator.faults.add(where="render", what="fail", code=50511, nth=1)
    lab.options["reuse"] = "output_path"
    first = lab.task(retries=0)
    first.interruptions.at("deferred")
    first.run()
    second = lab.task(run_id="manual__2", retries=0)
    lab.clock.ahead += 10
    assert second.run() == "success"
    assert lab.emulator.bill()["accepted"] == 2


def test_an_unknown_submit_of_another_run_stops_a_task_that_would_reuse_it(lab: Lab) -> None:
    lab.options["reuse"] = "output_path"
    first, second = lab.task(), lab.task(run_id="manual__2")
    first.interruptions.at("before post")
    first.run()
    lab.pass_time(ABANDONED_SECONDS)
    assert second.run() == "failed"
    assert "manual__1" in str(second.errors[0])
    assert second.xcom("jimeng_intent")["task_instance"]["run_id"] == "manual__1"


def test_an_intent_that_one_place_keeps_is_not_taken_for_an_unknown_submit(lab: Lab) -> None:
    stage = lab.task(retries=0)
    lab.go_down()
    stage.interruptions.at("store delete", refuse, times=3)
    assert stage.run() == "failed"
    assert isinstance(stage.errors[0], NotSentError)
    assert (stage.record() or {})["state"] == "intent"
    lab.come_up()
    stage.clear()
    assert stage.run() == "success"
    assert lab.tally().accepted == 1


def test_a_page_in_place_of_an_answer_leaves_no_intent_if_its_status_refuses(lab: Lab) -> None:
    stage = lab.task(retries=0)
    lab.emulator.faults.add(where="submit", what="garbage", http_status=403)
    assert stage.run() == "failed"
    assert isinstance(stage.errors[0], UnreadableReplyError)
    assert (stage.record(), lab.records()) == (None, [])


def test_an_id_that_no_place_took_is_recorded_when_the_wait_is_over(lab: Lab) -> None:
    stage = lab.task(lab.generate)

    def block() -> None:
        stage.interruptions.at("store before submitted", refuse, times=3)
        folder = lab.videos / ".jimeng" / "tasks"
        folder.rename(folder.with_name("away"))
        folder.write_text("in the way")
        stage.interruptions.at("deferred", unblock)

    def unblock() -> None:
        folder = lab.videos / ".jimeng" / "tasks"
        folder.unlink()
        folder.with_name("away").rename(folder)

    stage.interruptions.at("after post", block)
    assert stage.run() == "success"
    assert [record["state"] for record in lab.records()] == ["landed"]
    assert lab.tally() == landed()


def test_a_record_that_cannot_be_closed_does_not_fail_a_landed_task(lab: Lab) -> None:
    stage, folder = lab.task(), lab.videos / ".jimeng" / "tasks"

    def block() -> None:
        stage.interruptions.at("store before landed", refuse, times=3)
        folder.rename(folder.with_name("away"))
        folder.write_text("in the way")

    stage.interruptions.at("resumed", block)
    assert stage.run() == "success"
    folder.unlink()
    folder.with_name("away").rename(folder)
    stage.clear()
    assert stage.run() == "success"
    assert lab.tally() == landed()


def test_a_task_without_a_record_goes_on_with_what_its_event_says(lab: Lab) -> None:
    stage = lab.task()

    def forget() -> None:
        stage.store.values.clear()
        for path in lab.videos.rglob(".jimeng/tasks/*.json"):
            path.unlink()
        stage.xcoms["jimeng_render"] = json.dumps({"task_id": "another"})

    stage.interruptions.at("resumed", forget)
    assert stage.run() == "success"
    assert stage.result["model"] == "t2v_720p"
    assert lab.tally() == landed()


@pytest.mark.parametrize("only_in_the_state_store", [False, True])
def test_a_task_whose_render_in_xcom_is_damaged_goes_on_with_its_record(
    lab: Lab, *, only_in_the_state_store: bool
) -> None:
    stage = lab.task()

    def damage() -> None:
        stage.xcoms["jimeng_render"] = json.dumps({"task_id": stage.xcom("task_id")})
        if only_in_the_state_store:
            lab.damage_records()

    stage.interruptions.at("resumed", damage)
    assert stage.run() == "success"
    assert stage.result["prompt"] is not None
    assert lab.tally() == landed()


def test_a_video_that_cannot_be_landed_now_says_until_when_it_is_kept(lab: Lab) -> None:
    stage = lab.task(
        lambda: lab.generate(require_tagged=True, aigc_meta={"producer_id": "p", "content_propagator": "c"})
    )
    lab.emulator.faults.add(where="query", what="untagged")
    assert stage.run() == "failed"
    text = str(stage.errors[-1])
    assert isinstance(stage.errors[-1], MissingLabelError)
    assert f"The render {stage.xcom('task_id')} is paid for and kept until" in text
    assert "without paying again" in text
    assert stage.xcom("jimeng_render")["message"] == text


def test_a_video_that_differs_fails_its_task_after_it_is_saved_if_the_author_says_so(lab: Lab) -> None:
    lab.emulator.faults.add(where="render", what="other_video")
    task = lab.task(lambda: lab.generate(on_difference="fail"), retries=0)
    for _ in range(2):
        assert task.run() == "failed"
        error = task.errors[-1]
        assert isinstance(error, DifferentVideoError)
        assert "duration 3.041667 instead of 5" in str(error)
        assert "aspect_ratio 640:480 instead of 16:9" in str(error)
        assert task.xcom("jimeng_render")["message"] == str(error)
        task.clear()
    task.make_operator = lab.generate
    assert task.run() == "success"
    assert [each["field"] for each in task.result["differs"]] == ["duration", "aspect_ratio"]
    bill = lab.emulator.bill()
    assert (bill["accepted"], bill["media_requests"], lab.tally().landed) == (1, 1, 1)


def test_a_video_that_has_no_label_though_the_api_says_so_is_not_taken_for_labelled(lab: Lab) -> None:
    stage = lab.task(lambda: lab.generate(**LABELLED), retries=0)
    lab.emulator.faults.add(where="query", what="mislabelled")
    assert stage.run() == "failed"
    assert isinstance(stage.errors[-1], MissingLabelError)
    assert "the API says aigc_meta_tagged True" in str(stage.errors[-1])


def test_a_landing_that_the_api_refuses_leaves_its_code_and_what_to_do(lab: Lab) -> None:
    stage = lab.task(retries=0)

    def deny() -> None:
        lab.emulator.faults.add(where="query", what="error_before", code=50412)

    stage.interruptions.at("resumed", deny)
    assert stage.run() == "failed"
    left = stage.xcom("jimeng_render")
    assert (left["outcome"], left["code"]) == ("succeeded", "50412")
    assert left["message"] == str(stage.errors[0])
    assert left["advice"] == "Change the prompt."


def test_a_store_that_cannot_say_whether_the_video_is_there_is_told_with_the_render(lab: Lab) -> None:
    stage = lab.task(retries=0)
    assert stage.run() == "success"
    (sidecar,) = lab.videos.glob("*.mp4.json")
    sidecar.unlink()
    sidecar.mkdir()
    stage.clear()
    assert stage.run() == "failed"
    (error,) = stage.errors
    assert isinstance(error, LandingError)
    left = stage.xcom("jimeng_render")
    assert (left["outcome"], left["message"]) == (None, str(error))
    assert lab.emulator.bill()["accepted"] == 1


LABELLED = {"require_tagged": True, "aigc_meta": {"producer_id": "p", "content_propagator": "c"}}


@pytest.mark.parametrize("again", ["clear", "another run"])
def test_a_video_that_was_landed_unlabelled_is_fetched_again_where_the_label_is_required(
    lab: Lab, again: str
) -> None:
    stage = lab.task(lambda: lab.generate(reuse="output_path"))
    assert stage.run() == "success"
    assert stage.result["aigc_meta_tagged"] is not True
    if again == "clear":
        stage.make_operator = lambda: lab.generate(reuse="output_path", **LABELLED)
        stage.clear()
    else:
        stage = lab.task(lambda: lab.generate(reuse="output_path", **LABELLED), run_id="manual__2")
    for _ in range(2):
        assert stage.run() == "success"
        assert stage.result["aigc_meta_tagged"] is True
        assert stage.result["polls"] is not None
        record = stage.record()
        assert record is not None
        assert record["manifest"] == stage.result
        stage.clear()
    assert lab.tally().landed == 1
    assert (lab.emulator.bill()["accepted"], lab.emulator.bill()["media_requests"]) == (1, 2)


@pytest.mark.parametrize("on_lost", ["fail", "resubmit"])
def test_an_unlabelled_video_that_the_api_no_longer_keeps_is_neither_taken_nor_paid_again(
    lab: Lab, on_lost: str
) -> None:
    stage = lab.task(lambda: lab.generate(on_lost=on_lost))
    stage.run()
    lab.pass_time(HALF_DAY)
    stage.make_operator = lambda: lab.generate(on_lost=on_lost, **LABELLED)
    stage.clear()
    assert stage.run() == "failed"
    (error,) = stage.errors
    assert isinstance(error, RenderNotFoundError)
    assert "was saved without the implicit AIGC label" in str(error)
    left = stage.xcom("jimeng_render")
    assert (left["outcome"], left["message"]) == ("succeeded", str(error))
    assert left["advice"] in str(error)

    stage.make_operator = lambda: lab.generate(on_lost=on_lost)
    stage.clear()
    assert stage.run() == "success"
    assert stage.result["aigc_meta_tagged"] is not True
    assert lab.emulator.bill()["accepted"] == 1


def test_an_unreadable_record_does_not_keep_a_finished_render_from_landing(lab: Lab) -> None:
    stage = lab.task(retries=0)

    def damage() -> None:
        lab.damage_records()
        stage.interruptions.at("store get", refuse)

    stage.interruptions.at("resumed", damage)
    assert stage.run() == "success"
    assert lab.tally() == landed()


def test_an_unreadable_record_forbids_to_pay_for_a_lost_render_again(lab: Lab) -> None:
    lab.emulator.faults.add(where="render", what="expire", nth=1)
    stage = lab.task(lambda: lab.generate(on_lost="resubmit"), retries=0)
    stage.interruptions.at("resumed", lambda: stage.interruptions.at("store get", refuse, times=3))
    assert stage.run() == "failed"
    assert isinstance(stage.errors[0], LedgerError)
    assert lab.emulator.bill()["accepted"] == 1


def test_a_video_that_vanishes_between_event_and_landing_is_lost_not_landed(lab: Lab) -> None:
    stage = lab.task(retries=0)
    stage.interruptions.at("resumed", lambda: lab.pass_time(HALF_DAY))
    assert stage.run() == "failed"
    assert isinstance(stage.errors[0], RenderNotFoundError)


def test_a_clear_with_a_broken_argument_says_that_the_paid_render_is_kept(lab: Lab) -> None:
    stage = lab.task(retries=0)
    stage.interruptions.at("deferred")
    stage.run()
    stage.make_operator = lambda: lab.generate(prompt="")
    stage.clear()
    assert stage.run() == "failed"
    assert "JimengRescueOperator" in str(stage.errors[1])


def test_a_task_that_finds_no_slot_waits_and_gives_up_after_its_limit(lab: Lab) -> None:
    lab.emulator.max_concurrent = 1
    lab.emulator.render_seconds = 60
    first = lab.task(retries=0)
    first.interruptions.at("deferred")
    first.run()
    second = lab.task(
        lambda: lab.generate(prompt="blue", deferrable=False, max_wait_for_slot=0), run_id="manual__2"
    )
    assert second.run() == "failed"
    assert isinstance(second.errors[0], SlotTimedOutError)
    assert second.record() is None


@pytest.mark.parametrize("outcome", [Outcome.SLOT_FREE, Outcome.SLOT_TIMED_OUT])
def test_a_wait_for_a_slot_goes_on_where_its_event_says(lab: Lab, outcome: Outcome) -> None:
    stage = FakeTask(lab.generate)
    stage.try_number, stage.store.latest = 1, "try-1"
    context = stage._context(stage._task_instance())
    event = RenderEvent(outcome=outcome, waiting_since=1.0).to_payload()
    expected = TaskDeferred if outcome is Outcome.SLOT_FREE else SlotTimedOutError
    with pytest.raises((TaskDeferred, SlotTimedOutError, AirflowFailException)) as raised:
        lab.generate().resume_submit(context, event)
    assert isinstance(reason_of(raised.value), expected)


def test_the_busy_account_defers_the_task_to_the_slot_trigger(lab: Lab) -> None:
    lab.emulator.max_concurrent = 0
    stage = FakeTask(lab.generate)
    stage.try_number, stage.store.latest = 1, "try-1"
    began = time.time()
    with pytest.raises(TaskDeferred) as deferral:
        lab.generate().resume_submit(
            stage._context(stage._task_instance()),
            RenderEvent(outcome=Outcome.SLOT_FREE, waiting_since=time.time() - 100).to_payload(),
        )
    assert deferral.value.method_name == "resume_submit"
    assert deferral.value.trigger.serialize()[1]["not_before"] >= began + SETTLE_SECONDS
    assert stage.record() is None


def test_a_relative_file_name_keeps_its_records_beside_it(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stage = lab.task(lambda: lab.generate(output_path="kite.mp4"))
    assert stage.run() == "success"
    assert list((tmp_path / ".jimeng" / "tasks").glob("*.json"))


def test_a_render_without_a_link_is_kept_and_a_retry_lands_it_free(lab: Lab) -> None:
    stage = lab.task(retries=0)
    stage.interruptions.at("deferred")
    stage.run()
    paid = stage.xcom("task_id")
    ended = RenderEvent(
        outcome=Outcome.NO_LINK, task_id=paid, req_key="jimeng_t2v_v30", message="nothing in data.video_url"
    )
    context = stage._context(stage._task_instance())
    with pytest.raises(NoLinkError, match="might have been billed"):
        lab.generate(on_lost="resubmit").execute_complete(context, ended.to_payload())
    left, record = stage.xcom("jimeng_render"), stage.record()
    assert (left["outcome"], left["message"]) == ("no_link", "nothing in data.video_url")
    assert record is not None
    assert record["state"] == "submitted"
    stage.clear()
    assert stage.run() == "success"
    assert stage.result["task_id"] == paid
    assert lab.tally() == landed()
