# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.hooks.jimeng import JimengHook
from airflow_provider_jimeng.hooks.render_argument import named_render
from airflow_provider_jimeng.operators.video import JimengDownloadVideoOperator
from airflow_provider_jimeng.sensors.video import JimengVideoSensor

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.render import Render
    from tests.harness.lab import Lab

ID = "7392616336519610409"


class LazySequence(Sequence[Any]):
    """As Airflow's: nothing is known of its items before the metadata database is asked."""

    def __getitem__(self, index: Any) -> Any:
        raise AssertionError("the items were read")

    def __len__(self) -> int:
        raise AssertionError("the items were counted")


def named(task: Any) -> Render:
    return named_render(task, JimengHook())


def download(**arguments: Any) -> JimengDownloadVideoOperator:
    return JimengDownloadVideoOperator(task_id="download", output_path="/data/videos/", **arguments)


def sense(**arguments: Any) -> JimengVideoSensor:
    return JimengVideoSensor(task_id="wait", **arguments)


@pytest.mark.parametrize("make", [download, sense])
@pytest.mark.parametrize(
    "several",
    [
        [{"task_id": ID}],
        ({"task_id": ID}, None),
        [],
        LazySequence(),
        deque([1]),
        ['{"task_id": "7"}'],
        "[{'task_id': '7'}]",
        '[{"task_id": "7"}]',
        "({'task_id': '7'},)",
        "LazyXComSequence(<unevaluated length>)",
        "LazySelectSequence([3 items])",
    ],
)
def test_several_renders_are_refused_with_the_way_to_map_the_task(make: Any, several: Any) -> None:
    with pytest.raises(ParameterError, match=r"\.partial\(…\)\.expand\(render=…\)") as refused:
        named(make(render=several))
    assert refused.value.argument == "render"
    assert make is download or "JimengVideoSensor.partial" in str(refused.value)


@pytest.mark.parametrize("make", [download, sense])
@pytest.mark.parametrize(
    "arguments",
    [
        {"render": [ID]},
        {"render": (7,)},
        {"render": "['7']"},
        {"render_id": [ID]},
        {"render_id": LazySequence()},
    ],
)
def test_several_ids_are_mapped_with_their_model(make: Any, arguments: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match=r"\.expand\(render_id=…\).*partial\(model=…\)"):
        named(make(**arguments))


def test_several_models_are_refused() -> None:
    with pytest.raises(ParameterError, match=r"^model: .*\.expand\(model=…\)"):
        named(sense(render_id=ID, model=["t2v_720p"]))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"render": ID}, "render: expected the payload of one render, got a bare id"),
        ({"render_id": {"task_id": ID}, "model": "t2v_720p"}, "render_id: is the payload of a render"),
        ({"render_id": ID}, "model: is missing"),
        ({"render": "None", "render_id": "None", "model": "t2v_720p"}, "render: is missing"),
        ({"render": "nonsense"}, "render: is text that is not a render payload"),
        ({"render": 0.5}, "render: expected the payload of one render, got float"),
    ],
)
def test_what_names_no_render_is_refused_with_the_remedy(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ParameterError) as refused:
        named(sense(**arguments))
    assert str(refused.value).startswith(says)


def test_an_id_that_a_native_template_turned_into_a_number_is_read(lab: Lab) -> None:
    assert named(sense(render_id=int(ID), model="t2v_720p")).task_id == ID


def fail() -> None:
    raise OSError("the bucket is away")


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_sensor_outlives_an_xcom_back_end_that_is_away(lab: Lab, *, deferrable: bool) -> None:
    render = JimengHook().submit(prompt="a red kite").to_payload()
    lab.clock.ahead += 10
    stage = lab.task(lambda: sense(render=render, deferrable=deferrable, poke_interval=0.05))
    stage.interruptions.at("xcom jimeng_render", fail)
    assert stage.run() == "success"
    assert stage.interruptions.waiting == []
