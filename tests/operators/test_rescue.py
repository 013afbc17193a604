# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import time
from typing import Any

import pytest

from airflow_provider_jimeng.core.errors import LandingError, MissingConnectionError, ParameterError
from airflow_provider_jimeng.operators.rescue import JimengRescueOperator
from airflow_provider_jimeng.operators.video import JimengSubmitVideoOperator
from tests.harness.fake_airflow import FakeTask, TaskInstance
from tests.harness.lab import Lab, interruptible, landed_files

HALF_DAY = 12.5 * 3600


class Bystander(FakeTask):
    """A task that reads what others left in XCom, as the API server hands it out."""

    others: tuple[FakeTask, ...] = ()

    def _task_instance(self) -> Any:
        own = super()._task_instance()
        return _Reader(
            task=self,
            id=own.id,
            try_number=own.try_number,
            max_tries=own.max_tries,
            task_id="rescue",
        )


class _Reader(TaskInstance):
    def xcom_pull(
        self, task_ids: Any = None, *, key: str = "return_value", map_indexes: Any = None, **where: Any
    ) -> Any:
        found = []
        for stage in self.task.others:  # type: ignore[attr-defined]
            ti = stage._task_instance()
            if ti.task_id in task_ids and (ti.dag_id, ti.run_id) == (
                where["dag_id"],
                where.get("run_id", self.run_id),
            ):
                value = stage.result if key == "return_value" else stage.xcom(key)
                found.append(value if stage.state == "success" or key != "return_value" else None)
        return found


def rescue(lab: Lab, *others: FakeTask, retries: int = 0, **arguments: Any) -> Bystander:
    defaults: dict[str, Any] = {"task_id": "rescue", "output_path": f"{lab.videos}/", "wait_timeout": 0}
    stage = Bystander(lambda: JimengRescueOperator(**{**defaults, **arguments}), retries=retries)
    stage.others = others
    stage.run()
    return stage


def counts(stage: FakeTask) -> dict[str, int]:
    summary = stage.xcom("jimeng_rescue")
    return {kind: len(found) for kind, found in summary.items() if isinstance(found, list) and found}


def killed(lab: Lab, point: str = "deferred", **options: Any) -> FakeTask:
    stage = lab.task(retries=0, **options)
    stage.interruptions.at(point)
    assert stage.run() == "failed"
    return stage


def finished(lab: Lab) -> None:
    lab.clock.ahead += 100


def test_it_runs_whatever_became_of_the_tasks_before_it() -> None:
    task = JimengRescueOperator(task_id="rescue", output_path="/v/")
    assert task.trigger_rule == "all_done"
    assert (
        JimengRescueOperator(task_id="r", output_path="/v/", trigger_rule="one_failed").trigger_rule
        != "all_done"
    )


def test_a_render_that_its_task_left_behind_is_landed_from_xcom(lab: Lab) -> None:
    left = killed(lab)
    finished(lab)
    stage = rescue(lab, left, task_ids="render")
    assert (stage.state, counts(stage)) == ("success", {"landed": 1})
    assert stage.result["landed"][0]["task_id"] == left.xcom("task_id")
    assert lab.tally().billed == 1
    assert lab.emulator.bill()["submits"] == 1


def test_a_task_that_is_cleared_after_its_rescue_returns_the_landed_file(lab: Lab) -> None:
    left = killed(lab)
    finished(lab)
    rescue(lab, task_ids=["render"])
    left.clear()
    assert left.run() == "success"
    assert lab.emulator.bill()["media_requests"] == 1


def test_a_rescue_without_its_connection_fails_at_once_and_waits_for_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(lab)
    finished(lab)
    monkeypatch.delenv("AIRFLOW_CONN_JIMENG_DEFAULT")
    stage = rescue(lab, retries=3, wait_timeout=100_000)
    assert (stage.state, stage.try_number, counts(stage)) == ("failed", 1, {"problems": 1})
    assert isinstance(stage.errors[0], MissingConnectionError)
    assert "kept until" in str(stage.errors[0])
    assert "airflow connections add jimeng_default" in str(stage.errors[0])


def test_records_are_enough_where_the_run_and_its_xcom_are_gone(lab: Lab) -> None:
    killed(lab)
    finished(lab)
    assert counts(rescue(lab)) == {"landed": 1}
    assert counts(rescue(lab)) == {"already_landed": 1}
    assert lab.tally().landed == 1


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, 2),
        ({"dag_id": "chaos"}, 2),
        ({"dag_id": "other"}, 0),
        ({"run_id": "manual__2"}, 1),
        ({"task_ids": ["render"]}, 1),
        ({"task_ids": ["render"], "run_id": "manual__2"}, 1),
        ({"task_ids": ["other"]}, 0),
    ],
)
def test_records_can_be_limited_to_a_dag_a_run_or_tasks(
    lab: Lab, limits: dict[str, Any], expected: int
) -> None:
    killed(lab)
    killed(lab, run_id="manual__2")
    finished(lab)
    assert counts(rescue(lab, **limits)).get("landed", 0) == expected


def test_a_landed_render_is_listed_and_asked_for_nothing(lab: Lab) -> None:
    done = lab.task()
    done.run()
    queries = lab.emulator.bill()["queries"]
    stage = rescue(lab, done, task_ids="render")
    assert counts(stage) == {"already_landed": 1}
    assert lab.emulator.bill()["queries"] == queries


def test_a_landed_file_that_is_missing_is_landed_again(lab: Lab) -> None:
    done = lab.task(lambda: lab.generate(output_path=f"{lab.videos}/kite.mp4"))
    done.run()
    lab.lose_videos()
    assert counts(rescue(lab)) == {"landed": 1}
    assert landed_files(lab.files()) == ["kite.mp4"]


@pytest.mark.parametrize(
    ("options", "expected"), [({}, "already_landed"), ({"compare_bytes": "true"}, "landed")]
)
@pytest.mark.parametrize("place", ["videos", "elsewhere"])
def test_the_size_of_a_landed_file_must_do_unless_its_bytes_are_asked_for(
    lab: Lab, options: dict[str, Any], expected: str, place: str
) -> None:
    done = lab.task(lambda: lab.generate(output_path=f"{lab.folder}/{place}/"))
    done.run()
    (video,) = (lab.folder / place).glob("*.mp4")
    content = video.read_bytes()
    video.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert counts(rescue(lab, done, task_ids="render", **options)) == {expected: 1}


def test_a_landed_file_of_another_size_is_landed_again(lab: Lab) -> None:
    lab.task().run()
    (video,) = lab.videos.glob("*.mp4")
    whole = video.read_bytes()
    video.write_bytes(whole[:-1])
    assert counts(rescue(lab)) == {"landed": 1}
    assert video.read_bytes() == whole


def test_a_landing_that_was_killed_before_its_manifest_is_completed(lab: Lab) -> None:
    lab.task().run()
    (manifest,) = lab.videos.glob("*.mp4.json")
    manifest.rename(lab.videos / f".{manifest.name}.part")
    assert counts(rescue(lab)) == {"already_landed": 1}
    assert lab.tally().landed == 1


def test_a_connection_is_looked_up_once_for_all_its_renders(lab: Lab) -> None:
    asked: list[str] = []

    class Counted(JimengRescueOperator):
        def hook_for(self, jimeng_conn_id: str) -> Any:
            asked.append(jimeng_conn_id)
            return super().hook_for(jimeng_conn_id)

    for number in range(3):
        killed(lab, map_index=number)
    finished(lab)
    stage = Bystander(lambda: Counted(task_id="rescue", output_path=f"{lab.videos}/", wait_timeout=0))
    assert stage.run() == "success"
    assert counts(stage) == {"landed": 3}
    assert asked == ["jimeng_default"]


def test_old_temporary_files_of_killed_landings_are_removed(lab: Lab) -> None:
    below = lab.videos / "shots"
    below.mkdir()
    token = ".a.mp4.0123456789abcdef.part"
    dead = [lab.videos / token, below / token, lab.videos / ".a.mp4.json.0123456789abcdef.part"]
    dead += [lab.videos / ".a.mp4.claim.part", lab.videos / ".a.mp4.beat.part"]
    kept = [below / ".b.mp4.0123456789abcdef.part"]  # of today
    kept += [
        lab.videos / name for name in (".a.mp4.json.part", ".a.mp4.previous.part", "a.part", "b.0123.part")
    ]
    for path in (*dead, *kept):
        path.write_bytes(b"half")
        if path != kept[0]:
            os.utime(path, (time.time() - 25 * 3600,) * 2)
    assert rescue(lab).state == "success"
    assert [path for path in dead if path.exists()] == []
    assert [path for path in kept if not path.exists()] == []


def test_a_file_landed_elsewhere_counts_as_landed(lab: Lab) -> None:
    done = lab.task(lambda: lab.generate(output_path=f"{lab.folder}/elsewhere/"))
    done.run()
    assert counts(rescue(lab, done, task_ids="render")) == {"already_landed": 1}


def test_a_taken_file_name_does_not_keep_a_render_from_landing(lab: Lab) -> None:
    left = lab.task(lambda: lab.generate(output_path=f"{lab.videos}/kite.mp4"), retries=0)
    left.interruptions.at("deferred")
    left.run()
    finished(lab)
    (lab.videos / "kite.mp4").write_bytes(b"somebody's")
    stage = rescue(lab, left, task_ids="render")
    assert counts(stage) == {"landed": 1}
    assert (lab.videos / "kite.mp4").read_bytes() == b"somebody's"
    assert counts(rescue(lab)) == {"already_landed": 1}


def in_a_folder(lab: Lab, **options: Any) -> FakeTask:
    return lab.task(lambda: lab.generate(output_path=f"{lab.videos}/shots/day 1/kite.mp4"), **options)


@pytest.mark.parametrize("source", ["records", "xcom", "both"])
@pytest.mark.parametrize("hours_later", [0, 13])
def test_a_render_whose_name_has_folders_is_landed_where_its_own_task_looks(
    lab: Lab, source: str, hours_later: float
) -> None:
    left = in_a_folder(lab, retries=0)
    left.interruptions.at("deferred")
    left.run()
    finished(lab)
    if source == "xcom":
        for path in lab.videos.rglob("tasks/*.json"):
            path.unlink()
    stage = rescue(
        lab, *([] if source == "records" else [left]), task_ids=None if source == "records" else "render"
    )
    assert (stage.state, counts(stage)) == ("success", {"landed": 1})
    lab.pass_time(hours_later * 3600)
    left.clear()
    assert left.run() == "success"
    assert [path for path in lab.files() if path.endswith(".mp4")] == ["shots/day 1/kite.mp4"]
    assert lab.tally().billed == 1


@pytest.mark.parametrize("arguments", [{}, {"task_ids": "render"}])
def test_an_intent_without_an_answer_is_listed_from_a_folder_below(
    lab: Lab, arguments: dict[str, Any]
) -> None:
    left = in_a_folder(lab, retries=0)
    left.interruptions.at("after post")
    assert left.run() == "failed"
    assert counts(rescue(lab, left, **arguments)) == {"unknown": 1}


def test_a_render_that_another_directory_awaits_is_landed_in_the_one_of_the_rescue(lab: Lab) -> None:
    left = lab.task(lambda: lab.generate(output_path=f"{lab.folder}/elsewhere/kite.mp4"), retries=0)
    left.interruptions.at("deferred")
    left.run()
    finished(lab)
    assert counts(rescue(lab, left, task_ids="render")) == {"landed": 1}
    assert landed_files(lab.files()) == [f"t2v_720p-{left.xcom('task_id')}.mp4"]


def test_a_submit_task_without_records_is_rescued_from_its_xcom(lab: Lab) -> None:
    submit = lab.task(
        lambda: interruptible(JimengSubmitVideoOperator, lab.interruptions)(
            task_id="submit", prompt="a red kite"
        ),
        task_id="submit",
    )
    submit.run()
    finished(lab)
    assert counts(rescue(lab, submit, task_ids=["submit", "missing"])) == {"landed": 1}


def test_a_running_render_is_listed_with_the_time_until_which_it_is_kept(lab: Lab) -> None:
    lab.emulator.render_seconds = 500
    killed(lab)
    stage = rescue(lab)
    assert (stage.state, counts(stage)) == ("success", {"running": 1})
    assert "until" in stage.result["running"][0]["message"]


def test_a_running_render_is_waited_for_as_long_as_is_asked(lab: Lab) -> None:
    lab.emulator.render_seconds = 2
    killed(lab)
    assert counts(rescue(lab, wait_timeout="2.5")) == {"landed": 1}


def test_failed_and_lost_renders_are_listed_with_what_they_cost(lab: Lab) -> None:
    lab.emulator.faults.add(where="render", what="fail", code=50413, nth=2)
    killed(lab)
    lab.pass_time(HALF_DAY)
    killed(lab, run_id="manual__2")
    finished(lab)
    stage = rescue(lab)
    assert (stage.state, counts(stage)) == ("success", {"failed": 1, "lost": 1})
    assert "not billed" in stage.result["failed"][0]["message"]
    assert stage.result["failed"][0]["code"] == "50413"
    assert "1.40 CNY" in stage.result["lost"][0]["message"]


@pytest.mark.parametrize("source", ["xcom", "records", "both"])
def test_an_intent_without_an_answer_is_listed_with_cost_and_what_to_check(lab: Lab, source: str) -> None:
    lab.emulator.faults.add(where="submit", what="cut_after")
    left = lab.task()
    left.run()
    if source == "xcom":
        for path in lab.videos.rglob("tasks/*.json"):
            path.unlink()
    stage = rescue(lab, *([] if source == "records" else [left]), task_ids="render")
    (unknown,) = stage.result["unknown"]
    assert counts(stage) == {"unknown": 1}
    assert (unknown["estimated_cost_cny"], unknown["model"]) == ("1.40", "t2v_720p")
    assert unknown["task_instance"]["task_id"] == "render"
    assert "console" in unknown["message"]
    assert lab.emulator.bill()["submits"] == 1


def replaced_by_an_unknown_submit(lab: Lab) -> FakeTask:
    """A task that adopts a failed render, and whose new submit is cut after the API took it."""
    lab.emulator.faults.add(where="render", what="fail", code=50511, nth=1)
    lab.emulator.faults.add(where="submit", what="cut_after", nth=2)
    left = lab.task(retries=1)
    left.interruptions.at("deferred")
    left.run_one_try()
    finished(lab)
    assert left.run() == "failed"
    return left


@pytest.mark.parametrize("records", [True, False])
def test_an_older_render_answers_no_newer_intent_of_the_same_try(lab: Lab, *, records: bool) -> None:
    left = replaced_by_an_unknown_submit(lab)
    if not records:
        for path in lab.videos.rglob("tasks/*.json"):
            path.unlink()
    assert counts(rescue(lab, left, task_ids="render")) == {"failed": 1, "unknown": 1}


@pytest.mark.parametrize("records", [True, False])
@pytest.mark.parametrize("unknown_first", [True, False])
def test_a_landed_twin_answers_no_intent_of_a_mapped_task(
    lab: Lab, *, records: bool, unknown_first: bool
) -> None:
    lab.emulator.faults.add(where="submit", what="cut_after", nth=1 if unknown_first else 2)
    mapped = [lab.task(map_index=index) for index in range(2)]
    for stage in mapped:
        stage.run()
    if not records:
        for path in lab.videos.rglob("tasks/*.json"):
            path.unlink()
    stage = rescue(lab, *mapped, task_ids="render")
    assert counts(stage) == {"already_landed": 1, "unknown": 1}
    assert stage.result["unknown"][0]["task_instance"]["map_index"] == (0 if unknown_first else 1)


@pytest.mark.parametrize("twins", [1, 2])
def test_a_render_that_only_xcom_knows_answers_one_intent(lab: Lab, twins: int) -> None:
    mapped = [lab.task(map_index=index, retries=0) for index in range(twins)]
    for stage in mapped:
        stage.interruptions.at("after post" if stage is mapped[-1] and twins > 1 else "deferred")
        stage.run()
    for path in lab.videos.rglob("tasks/*.json"):
        record = json.loads(path.read_text())
        path.write_text(json.dumps({**record, "state": "intent", "render": None}))
    finished(lab)
    stage = rescue(lab, *mapped, task_ids="render")
    assert counts(stage) == ({"landed": 1} if twins == 1 else {"landed": 1, "unknown": 1})


def test_another_task_s_intent_is_settled_by_that_task_s_later_record(lab: Lab) -> None:
    lab.options["reuse"] = "output_path"
    lab.emulator.faults.add(where="submit", what="cut_after", nth=1)
    first = lab.task()
    first.run()
    second = lab.task(task_id="second")
    second.xcoms["jimeng_intent"] = first.xcoms["jimeng_intent"]  # a task pushes the intent that stops it
    assert second.xcom("jimeng_intent")["task_instance"]["task_id"] == "render"
    first.make_operator = lambda: lab.generate(on_unknown_submit="resubmit")
    first.clear()
    assert first.run() == "success"
    assert counts(rescue(lab, first, second, task_ids=["render", "second"])) == {"already_landed": 1}


def test_an_older_render_that_a_newer_one_replaced_is_landed_too(lab: Lab) -> None:
    left = killed(lab)
    left.make_operator = lambda: lab.generate(prompt="a blue kite")
    left.clear()
    assert left.run() == "success"
    finished(lab)
    assert counts(rescue(lab)) == {"landed": 1, "already_landed": 1}
    assert lab.tally().landed == 2


def test_one_damaged_record_fails_the_rescue_after_the_others_are_landed(lab: Lab) -> None:
    killed(lab)
    finished(lab)
    (lab.videos / ".jimeng" / "tasks" / "strange.json").write_text("{")
    stage = rescue(lab)
    assert (stage.state, counts(stage)) == ("failed", {"landed": 1, "problems": 1})
    assert isinstance(stage.errors[0], LandingError)


def test_payloads_that_are_none_are_problems_and_stop_nothing(lab: Lab) -> None:
    left, other = killed(lab), killed(lab, map_index=1)
    left.xcoms["jimeng_intent"] = json.dumps({"state": "intent"})
    other.xcoms["jimeng_render"] = json.dumps({"task_id": ""})
    finished(lab)
    assert counts(rescue(lab, left, other, task_ids="render"))["problems"] == 2


def test_a_render_whose_connection_is_missing_does_not_strand_the_others(lab: Lab) -> None:
    left, other = killed(lab), killed(lab, map_index=1)
    payload = {**left.xcom("jimeng_render"), "task_id": "7000000000000000000", "jimeng_conn_id": "gone"}
    other.xcoms["jimeng_render"] = json.dumps(payload)
    finished(lab)
    stage = rescue(lab, left, other, task_ids="render")
    assert counts(stage)["problems"] == 1
    assert counts(stage)["landed"] == 2


def test_an_api_that_cannot_be_reached_is_a_problem_and_no_loss(lab: Lab) -> None:
    killed(lab)
    finished(lab)
    lab.go_down()
    stage = rescue(lab)
    assert (stage.state, counts(stage)) == ("failed", {"problems": 1})
    lab.come_up()
    assert counts(rescue(lab)) == {"landed": 1}


def test_a_video_that_cannot_be_landed_now_is_a_problem(lab: Lab) -> None:
    killed(lab)
    finished(lab)
    stage = rescue(lab, aigc_meta=None, require_tagged=True)
    assert (stage.state, counts(stage)) == ("failed", {"problems": 1})


def test_a_rescue_that_requires_the_label_fetches_an_unlabelled_video_again_while_that_is_possible(
    lab: Lab,
) -> None:
    label: dict[str, Any] = {
        "require_tagged": True,
        "aigc_meta": {"producer_id": "p", "content_propagator": "c"},
    }
    assert lab.task().run() == "success"
    stage = rescue(lab, **label)
    assert counts(stage) == {"landed": 1}
    assert stage.result["landed"][0]["aigc_meta_tagged"] is True
    assert counts(rescue(lab, **label)) == {"already_landed": 1}

    assert lab.task(run_id="manual__2").run() == "success"
    lab.pass_time(HALF_DAY)
    stage = rescue(lab, **label)
    assert counts(stage) == {"already_landed": 1, "lost": 1}
    assert "was saved without the implicit AIGC label" in stage.result["lost"][0]["message"]


def test_a_file_name_is_no_place_for_a_rescue(lab: Lab) -> None:
    stage = Bystander(lambda: JimengRescueOperator(task_id="rescue", output_path=f"{lab.videos}/kite.mp4"))
    assert stage.run() == "failed"
    assert isinstance(stage.errors[0], ParameterError)
