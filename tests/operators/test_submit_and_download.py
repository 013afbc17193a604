# SPDX-License-Identifier: Apache-2.0
"""Submit, sensor and download, together and alone: the same rules as the task that does everything."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from typing import Any

import pendulum
import pytest

from airflow_provider_jimeng.core.errors import (
    JimengError,
    LandingError,
    LostContactError,
    NotSentError,
    ParameterError,
    RenderFailedError,
    RenderNotFoundError,
    SettingsError,
    TargetTakenError,
)
from airflow_provider_jimeng.core.render import Render
from airflow_provider_jimeng.hooks.jimeng import JimengHook
from airflow_provider_jimeng.operators.records import kept
from airflow_provider_jimeng.operators.video import JimengDownloadVideoOperator, JimengSubmitVideoOperator
from airflow_provider_jimeng.sensors.video import JimengVideoSensor
from tests.harness.fake_airflow import FakeTask, Killed
from tests.harness.lab import Lab, interruptible

HALF_DAY = 12.5 * 3600


def submitting(lab: Lab, **changes: Any) -> JimengSubmitVideoOperator:
    given: dict[str, Any] = {"task_id": "submit", "prompt": "a red kite", **lab.options}
    return interruptible(JimengSubmitVideoOperator, lab.interruptions)(**{**given, **changes})


def downloading(lab: Lab, render: Any, **changes: Any) -> JimengDownloadVideoOperator:
    return JimengDownloadVideoOperator(
        **{"task_id": "download", "render": render, "output_path": f"{lab.videos}/", **changes}
    )


def sensing(render: Any, **changes: Any) -> JimengVideoSensor:
    return JimengVideoSensor(
        **{"task_id": "wait", "render": render, "poke_interval": 0.05, "poll_interval": 0.03, **changes}
    )


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize("as_text", [True, False])
def test_three_tasks_pay_once_and_land_one_file(lab: Lab, *, deferrable: bool, as_text: bool) -> None:
    submit = lab.task(lambda: submitting(lab))
    assert submit.run() == "success"
    payload = json.dumps(submit.result) if as_text else submit.result
    wait = lab.task(lambda: sensing(payload, deferrable=deferrable))
    assert wait.run() == "success"
    assert wait.result == submit.result
    download = lab.task(lambda: downloading(lab, wait.result))
    assert download.run() == "success"
    assert download.xcom("jimeng_render")["task_id"] == submit.result["task_id"]
    for stage in (submit, wait, download):
        stage.clear()
        assert stage.run() == "success"
    bill = lab.emulator.bill()
    assert (bill["accepted"], bill["media_requests"], lab.tally().landed) == (1, 1, 1)


@pytest.mark.parametrize(
    ("changes", "argument"),
    [
        ({"render": None, "render_id": "7", "model": "{{ 'jimeng_t2v_v30_pro' }}"}, "model"),
        ({"require_tagged": True}, "require_tagged"),
        ({"aigc_meta": {"producer_id": "{{ 'dag-1' }}"}}, "aigc_meta"),
        ({"overwrite": "{{ 'perhaps' }}"}, "overwrite"),
    ],
)
def test_a_download_refuses_a_bad_argument_before_anything_is_asked(
    lab: Lab, changes: dict[str, Any], argument: str
) -> None:
    render = JimengHook().submit(prompt="a red kite").to_payload()
    download = lab.task(lambda: downloading(lab, **{"render": render, **changes}))
    assert download.run() == "failed"
    assert isinstance(download.errors[0], ParameterError)
    assert download.errors[0].argument == argument
    assert lab.emulator.bill()["queries"] == 0


@pytest.mark.parametrize("point", ["xcom task_id", "xcom jimeng_render"])
def test_a_submit_that_dies_after_its_record_hands_the_same_render_on(lab: Lab, point: str) -> None:
    submit = lab.task(lambda: submitting(lab))
    submit.interruptions.at(point)
    assert submit.run() == "success"
    assert list(lab.emulator.bill()["by_task"]) == [submit.result["task_id"]]


@pytest.mark.parametrize("point", ["before post", "after post"])
def test_a_submit_whose_answer_is_lost_refuses(lab: Lab, point: str) -> None:
    submit = lab.task(lambda: submitting(lab))
    submit.interruptions.at(point)
    assert submit.run() == "failed"
    assert lab.emulator.bill()["accepted"] == (point == "after post")


def test_below_3_3_and_without_output_path_nothing_remembers(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    submit = lab.task(lambda: submitting(lab), has_store=False)
    submit.interruptions.at("xcom task_id")
    with caplog.at_level(logging.WARNING):
        assert submit.run() == "success"
    assert "No ledger" in caplog.text
    assert lab.emulator.bill()["accepted"] == 2


def test_below_3_3_an_output_path_remembers(lab: Lab) -> None:
    submit = lab.task(lambda: submitting(lab, output_path=f"{lab.videos}/"), has_store=False)
    submit.interruptions.at("xcom task_id")
    assert submit.run() == "success"
    assert lab.emulator.bill()["accepted"] == 1


def test_a_cleared_submit_starts_anew_when_its_render_failed_unbilled(lab: Lab) -> None:
    lab.emulator.faults.add(where="render", what="fail", code=50413, nth=1)
    submit = lab.task(lambda: submitting(lab))
    submit.run()
    lab.clock.ahead += 10
    submit.clear()
    assert submit.run() == "success"
    assert lab.emulator.bill()["accepted"] == 2


def test_a_retried_submit_does_not_repeat_what_moderation_refused(lab: Lab) -> None:
    lab.emulator.faults.add(where="render", what="fail", code=50413)

    def age_and_die() -> None:
        lab.clock.ahead += 10
        raise Killed

    submit = lab.task(lambda: submitting(lab))
    submit.interruptions.at("xcom task_id", age_and_die)
    assert submit.run() == "failed"
    assert isinstance(submit.errors[1], RenderFailedError)
    assert lab.emulator.bill()["accepted"] == 1


@pytest.mark.parametrize(("policy", "accepted", "state"), [("fail", 1, "failed"), ("resubmit", 2, "success")])
def test_a_cleared_submit_asks_for_consent_when_its_render_is_gone(
    lab: Lab, policy: str, accepted: int, state: str
) -> None:
    submit = lab.task(lambda: submitting(lab, on_lost=policy))
    submit.run()
    lab.pass_time(HALF_DAY)
    submit.clear()
    assert submit.run() == state
    assert lab.emulator.bill()["accepted"] == accepted


def test_a_submit_reuses_a_saved_video_whose_render_the_api_keeps_no_longer(lab: Lab) -> None:
    saved = lab.task(lambda: lab.generate(output_path=f"{lab.videos}/kite.mp4"))
    assert saved.run() == "success"
    lab.pass_time(13 * 3600)
    submit = lab.task(
        lambda: submitting(lab, output_path=lab.output_path, reuse="output_path"), run_id="manual__2"
    )
    assert submit.run() == "success"
    assert submit.result["task_id"] == saved.result["task_id"]
    assert lab.emulator.bill()["accepted"] == 1


def test_a_submit_goes_on_after_its_wait_for_a_slot(lab: Lab) -> None:
    stage = FakeTask(lambda: submitting(lab))
    stage.try_number, stage.store.latest = 1, "try-1"
    event = {"version": 1, "outcome": "slot_free", "waiting_since": 1.0}
    render = submitting(lab).resume_submit(stage._context(stage._task_instance()), event)
    assert list(lab.emulator.bill()["by_task"]) == [render["task_id"]]


def test_a_bare_id_and_its_model_are_enough_to_wait_and_to_download(lab: Lab) -> None:
    submit = lab.task(lambda: submitting(lab))
    submit.run()
    named = {"render_id": submit.result["task_id"], "model": "{{ 't2v_720p' }}"}
    wait = lab.task(lambda: sensing(None, deferrable=True, **named))
    assert wait.run() == "success"
    download = lab.task(lambda: downloading(lab, None, aigc_meta="None", overwrite="false", **named))
    assert download.run() == "success"


@pytest.mark.parametrize("render", [None, "", "nonsense", 5, {"task_id": "1"}, "[1]"])
def test_what_is_no_render_is_refused_by_name(lab: Lab, render: Any) -> None:
    stage = lab.task(lambda: downloading(lab, render))
    assert stage.run() == "failed"
    assert isinstance(stage.errors[0], ParameterError)
    assert "render" in str(stage.errors[0])


def test_a_bare_id_without_its_model_is_refused(lab: Lab) -> None:
    stage = lab.task(lambda: downloading(lab, None, render_id="7392616336519610409"))
    assert stage.run() == "failed"
    assert str(stage.errors[0]).startswith("model")


def test_a_download_over_somebody_elses_file_fails_without_a_retry(lab: Lab) -> None:
    submit = lab.task(lambda: submitting(lab))
    submit.run()
    lab.clock.ahead += 10
    (lab.videos / "kite.mp4").write_bytes(b"somebody's")
    stage = lab.task(lambda: downloading(lab, submit.result, output_path=f"{lab.videos}/kite.mp4"))
    assert stage.run() == "failed"
    assert isinstance(stage.errors[0], TargetTakenError)
    assert (lab.videos / "kite.mp4").read_bytes() == b"somebody's"


def test_a_render_of_a_model_that_only_the_connection_knows_can_be_named(lab: Lab) -> None:
    stage = lab.task(
        lambda: downloading(lab, None, render_id="7392616336519610409", model="jimeng_t2v_v99"), retries=0
    )
    assert stage.run() == "failed"
    assert "can be described in the connection extra" in str(stage.errors[0])
    connection = json.loads(os.environ["AIRFLOW_CONN_JIMENG_DEFAULT"])
    connection["extra"]["models"] = {"jimeng_t2v_v99": {"like": "t2v_720p"}}
    os.environ["AIRFLOW_CONN_JIMENG_DEFAULT"] = json.dumps(connection)
    stage.clear()
    assert stage.run() == "failed"
    assert not isinstance(stage.errors[-1], ParameterError)
    assert lab.emulator.bill()["queries"]


def test_a_payload_in_python_notation_is_read_too(lab: Lab) -> None:
    submit = lab.task(lambda: submitting(lab))
    submit.run()
    lab.clock.ahead += 10
    assert lab.task(lambda: downloading(lab, repr(submit.result))).run() == "success"


def test_a_download_after_twelve_hours_says_what_it_may_have_cost(lab: Lab) -> None:
    submit = lab.task(lambda: submitting(lab))
    submit.run()
    lab.pass_time(HALF_DAY)
    wait = lab.task(lambda: sensing(submit.xcom("jimeng_render"), deferrable=True))
    assert wait.run() == "failed"
    assert isinstance(wait.errors[0], RenderNotFoundError)
    assert "clear the task that submitted it" in str(wait.errors[0])


def test_a_download_that_fails_says_until_when_the_render_is_kept(lab: Lab) -> None:
    submit = lab.task(lambda: submitting(lab))
    submit.run()
    lab.clock.ahead += 10
    (lab.videos / "kite.mp4").write_bytes(b"somebody's")
    download = lab.task(lambda: downloading(lab, submit.result, output_path=f"{lab.videos}/kite.mp4"))
    assert download.run() == "failed"
    assert isinstance(download.errors[0], TargetTakenError)
    assert "kept until" in str(download.errors[0])
    assert "solve this, then clear the task" in str(download.errors[0])
    bare = lab.task(
        lambda: JimengDownloadVideoOperator(
            task_id="download",
            render_id=submit.result["task_id"],
            model="t2v_720p",
            output_path=f"{lab.videos}/kite.mp4",
        )
    )
    assert bare.run() == "failed"
    assert "kept until 12 hours after its submit" in str(bare.errors[0])


@pytest.mark.parametrize(
    ("error", "then"),
    [
        (LostContactError("Access Denied."), "solve this, then clear the task to save it"),
        (SettingsError("login: the Access Key ID is missing."), "solve this, then clear the task"),
        (NotSentError("Cannot reach the host."), "a retry, or a Clear, saves it"),
        (LandingError("The disk is full."), "a retry, or a Clear, saves it"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_stops_a_landing_is_told_with_what_is_kept(error: JimengError, then: str) -> None:
    render = Render(
        task_id="7392616336519610409",
        req_key="k",
        model="t2v_720p",
        jimeng_conn_id="jimeng_default",
        submitted_at=pendulum.datetime(2026, 1, 2, 3, 4),
        fingerprint="f" * 64,
    )
    said = str(error)
    told = kept(error, render)
    assert type(told) is type(error)
    assert str(told).startswith(f"{said} The render 7392616336519610409 is paid for and kept until 14:34 UTC")
    assert then in str(told)


def taken(lab: Lab) -> None:
    (lab.videos / "kite.mp4").write_bytes(b"somebody's")


def gone(lab: Lab) -> None:
    lab.pass_time(HALF_DAY)


def denied(lab: Lab) -> None:
    lab.emulator.faults.add(where="query", what="error_before", code=50412)


@pytest.mark.parametrize(
    ("trouble", "outcome", "code", "advice"),
    [
        (taken, "succeeded", None, None),
        (gone, "not_found", None, None),
        (
            denied,
            None,
            "50412",
            "Change the prompt.",
        ),
    ],
)
def test_a_download_that_fails_leaves_what_is_known_of_the_render_and_of_the_failure(
    lab: Lab, trouble: Callable[[Lab], None], outcome: str | None, code: str | None, advice: str | None
) -> None:
    submit = lab.task(lambda: submitting(lab))
    submit.run()
    lab.clock.ahead += 10
    trouble(lab)
    download = lab.task(
        lambda: downloading(lab, submit.xcom("jimeng_render"), output_path=f"{lab.videos}/kite.mp4"),
        retries=0,
    )
    assert download.run() == "failed"
    left = download.xcom("jimeng_render")
    assert left["task_id"] == submit.result["task_id"]
    assert (left["outcome"], left["code"], left["advice"]) == (outcome, code, advice)
    assert left["message"] == str(download.errors[0])


@pytest.mark.parametrize("policy", ["fail", "resubmit"])
def test_a_cleared_submit_whose_video_is_landed_has_lost_nothing(lab: Lab, policy: str) -> None:
    submit = lab.task(lambda: submitting(lab, output_path=f"{lab.videos}/", on_lost=policy))
    submit.run()
    lab.clock.ahead += 10
    lab.task(lambda: downloading(lab, submit.result)).run()
    lab.pass_time(HALF_DAY)
    submit.clear()
    assert submit.run() == "success"
    assert lab.emulator.bill()["accepted"] == 1


def test_a_download_of_a_video_that_differs_fails_after_it_is_saved_if_the_author_says_so(lab: Lab) -> None:
    lab.emulator.faults.add(where="render", what="other_video")
    submit = lab.task(lambda: submitting(lab))
    assert submit.run() == "success"
    assert lab.task(lambda: sensing(submit.result)).run() == "success"
    strict = lab.task(lambda: downloading(lab, submit.result, on_difference="fail"), retries=0)
    for _ in range(2):
        assert strict.run() == "failed"
        assert "aspect_ratio 640:480 instead of 16:9" in str(strict.errors[-1])
        strict.clear()
    strict.make_operator = lambda: downloading(lab, submit.result)
    assert strict.run() == "success"
    assert lab.emulator.bill()["media_requests"] == 1
