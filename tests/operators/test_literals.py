# SPDX-License-Identifier: Apache-2.0
"""What is plainly wrong fails when the DAG file is parsed; what may still change does not."""

from __future__ import annotations

import copy
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import DAG, TaskGroup

from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.operators.plan import JimengPlanOperator
from airflow_provider_jimeng.operators.video import (
    JimengDownloadVideoOperator,
    JimengGenerateVideoOperator,
    JimengSubmitVideoOperator,
)
from airflow_provider_jimeng.sensors.video import JimengVideoSensor

if TYPE_CHECKING:
    from tests.harness.lab import Lab

LABEL = {"producer_id": "dag-1", "content_propagator": "company"}
ANY_TASK: dict[type[Any], dict[str, Any]] = {
    JimengGenerateVideoOperator: {"prompt": "a red kite", "output_path": "/data/videos/"},
    JimengSubmitVideoOperator: {"prompt": "a red kite"},
    JimengDownloadVideoOperator: {"render_id": "7", "model": "t2v_720p", "output_path": "/data/videos/"},
    JimengVideoSensor: {"render_id": "7", "model": "t2v_720p"},
    JimengPlanOperator: {"rows": []},
}
SUBMITTING = (JimengGenerateVideoOperator, JimengSubmitVideoOperator)
RENDERING = (*SUBMITTING, JimengPlanOperator)
WRONG: list[tuple[tuple[type[Any], ...], str, Any]] = [
    (RENDERING, "model", "nope"),
    (RENDERING, "model", "jimeng_t2v_v30_pro"),
    (RENDERING, "duration", 7),
    (RENDERING, "duration", True),
    (RENDERING, "aspect_ratio", "2:1"),
    (RENDERING, "seed", -2),
    (RENDERING, "seed", 2**31),
    (RENDERING, "camera_template", "spin"),
    (RENDERING, "camera_strength", "huge"),
    (RENDERING, "max_cost_cny", "cheap"),
    (RENDERING, "max_cost_cny", -1),
    (RENDERING, "extra_body", {"fps": 30}),
    (SUBMITTING, "first_frame", "/data/a.png"),
    (SUBMITTING, "last_frame", "/data/a.png"),
    (SUBMITTING, "take", 0),
    (SUBMITTING, "on_rerun", "bogus"),
    (SUBMITTING, "on_unknown_submit", "bogus"),
    (SUBMITTING, "on_lost", "bogus"),
    (SUBMITTING, "reuse", "bogus"),
    (SUBMITTING, "max_wait_for_slot", "soon"),
    (SUBMITTING, "aigc_meta", {"producer_id": "dag-1"}),
    ((JimengGenerateVideoOperator,), "wait_timeout", -1),
    ((JimengGenerateVideoOperator, JimengVideoSensor), "poll_interval", "soon"),
    ((JimengDownloadVideoOperator, JimengVideoSensor), "model", "jimeng_t2v_v30_pro"),
    ((JimengDownloadVideoOperator, JimengGenerateVideoOperator), "overwrite", "perhaps"),
    ((JimengDownloadVideoOperator, JimengGenerateVideoOperator), "on_difference", "ignore"),
    ((JimengDownloadVideoOperator, *SUBMITTING), "require_tagged", "perhaps"),
]
CASES = [(kind, argument, value) for kinds, argument, value in WRONG for kind in kinds]


def build(kind: type[Any], **changes: Any) -> Any:
    return kind(**{"task_id": "made", **ANY_TASK[kind], **changes})


def rest(kind: type[Any], argument: str) -> dict[str, Any]:
    return {name: value for name, value in ANY_TASK[kind].items() if name != argument}


def is_refused(kind: type[Any], argument: str, **given: Any) -> bool:
    """Whether a task is refused when it is built, with an error that names the argument."""
    try:
        kind(task_id="made", **given)
    except ParameterError as error:
        return error.argument == argument
    return False


def test_a_wrong_literal_is_refused_by_name_when_the_file_is_parsed() -> None:
    passed = [case for case in CASES if not is_refused(*case[:2], **{**ANY_TASK[case[0]], case[1]: case[2]})]
    assert not passed


def test_a_wrong_default_of_the_dag_is_refused_too() -> None:
    passed = []
    for kind, argument, value in CASES:
        with DAG("defaults", schedule=None, default_args={argument: value}):
            if not is_refused(kind, argument, **rest(kind, argument)):
                passed.append((kind, argument, value))
    assert not passed


def test_a_template_is_left_to_the_run() -> None:
    for kind, argument, value in CASES:
        build(kind, **{argument: f"{{{{ {value!r} }}}}"})
        build(kind, **{argument: f"{{% if True %}}{value}{{% endif %}}"})


def test_the_output_of_another_task_is_left_to_the_run() -> None:
    for kind, argument, _ in CASES:
        with DAG("outputs", schedule=None):
            submit = JimengSubmitVideoOperator(task_id="submit", prompt="a red kite")
            task = build(kind, **{argument: submit.output})
        assert task.upstream_task_ids == {"submit"}


def test_a_mapped_task_is_checked_when_it_runs() -> None:
    for kind, argument, value in CASES:
        given = rest(kind, argument)
        with DAG("mapped", schedule=None):
            mapped = kind.partial(task_id="mapped", **given).expand(**{argument: [value]})
            shared = kind.partial(task_id="shared", **{argument: value}).expand_kwargs([given])
        assert getattr(mapped.unmap({argument: value}), argument) == value
        assert getattr(shared.unmap(given), argument) == value


def test_other_marks_of_templates_are_known() -> None:
    with DAG("marks", schedule=None, jinja_environment_kwargs={"variable_start_string": "[["}):
        build(JimengGenerateVideoOperator, model="[[ params.model ]]", duration="[[ params.seconds ]]")
        with pytest.raises(ParameterError, match="max_cost_cny"):
            build(JimengGenerateVideoOperator, task_id="number", max_cost_cny=-1)


def test_a_text_that_a_file_holds_is_left_to_the_run() -> None:
    class FromFile(JimengSubmitVideoOperator):
        template_ext = (".txt",)

    FromFile(task_id="made", prompt="a red kite", model="model.txt")


@pytest.mark.parametrize("kind", RENDERING)
def test_another_connection_may_have_models_and_limits_of_its_own(kind: type[Any]) -> None:
    build(kind, model="house_style", duration=7, jimeng_conn_id="films")
    build(kind, duration=7, jimeng_conn_id="{{ params.account }}")
    build(kind, model="jimeng_t2v_v99", duration="10")
    with pytest.raises(ParameterError, match="camera_template"):
        build(kind, model="house_style", camera_template="spin", jimeng_conn_id="films")


@pytest.mark.parametrize("kind", RENDERING)
def test_a_default_connection_of_the_environment_may_have_models_of_its_own(
    kind: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = {"models": {"house_style": {"like": "t2v_720p", "durations": [7]}}}
    monkeypatch.setenv("AIRFLOW_CONN_JIMENG_DEFAULT", json.dumps({"conn_type": "jimeng", "extra": extra}))
    build(kind, model="house_style", duration=7)
    with pytest.raises(ParameterError, match="camera_template"):
        build(kind, task_id="wrong", camera_template="spin")


def test_a_default_of_the_dag_that_is_of_no_use_to_a_task_is_not_checked() -> None:
    defaults = {"model": "gpt", "duration": timedelta(hours=1), "resolution": "4k", "take": "left"}
    with DAG("mixed", schedule=None, default_args=defaults), TaskGroup("group"):
        JimengVideoSensor(task_id="wait", render="{{ x }}")
        JimengDownloadVideoOperator(task_id="download", render="{{ x }}", output_path="/data/videos/")


@pytest.mark.parametrize("kind", ANY_TASK)
def test_a_checked_task_can_be_copied(kind: type[Any]) -> None:
    with DAG("copied", schedule=None):
        task = build(kind)
    assert copy.deepcopy(task).task_id == copy.copy(task).task_id == "made"


@pytest.mark.parametrize("text", [repr(LABEL), str({"producer_id": "it's", "content_propagator": "公司"})])
def test_a_label_may_be_a_dict_that_a_template_wrote_out(lab: Lab, text: str) -> None:
    stage = lab.task(
        lambda: lab.generate(aigc_meta="{{ " + text + " }}", extra_body="{{ {'watermark': False} }}")
    )
    assert stage.run() == "success"
    assert stage.result["aigc_meta_tagged"] is True


def test_a_text_that_is_no_label_is_refused_before_anything_is_sent(lab: Lab) -> None:
    stage = lab.task(lambda: lab.generate(aigc_meta="{{ 'producer' }}"))
    assert stage.run() == "failed"
    assert "aigc_meta: expected a dict" in str(stage.errors[0])
    assert lab.emulator.bill()["submits"] == 0
