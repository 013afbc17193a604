# SPDX-License-Identifier: Apache-2.0
"""The finish operator: literals are checked in the DAG file, templates at run time; outlets get the manifests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import DAG, Asset, AssetAlias

from airflow_provider_jimeng.core.errors import MissingLabelError, ParameterError
from airflow_provider_jimeng.finishing import Rendition, VisibleLabel
from airflow_provider_jimeng.operators.finish import JimengFinishVideoOperator
from tests.finishing.clips import clip, sha256
from tests.harness.asset_events import added_by_alias, outlet_events
from tests.harness.dag_runs import dag_file, run_dag
from tests.harness.fake_airflow import FakeTask

if TYPE_CHECKING:
    from pathlib import Path

FAST = {"preset": "ultrafast"}
WRONG: list[tuple[str, Any]] = [
    ("visible_label", {"size": 0.01}),
    ("visible_label", {"seconds": 1}),
    ("poster", {"at": -1}),
    ("preview", {"width": 1}),
    ("renditions", [{"aspect_ratio": "wide"}]),
    ("concat", {"cross_fade": -1}),
    ("audio", {"uri": ""}),
    ("require_implicit", "perhaps"),
    ("threads", 0),
    ("threads", "many"),
]
DAG_FILE = """
from __future__ import annotations

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_jimeng.operators.finish import JimengFinishVideoOperator

PARAMS = {"videos": [], "text": "AI", "size": 64, "joins": True, "threads": 1}

with DAG("finished", schedule=None, params=PARAMS):

    @task
    def uris(**context):
        return context["params"]["videos"]

    @task
    def manifest(uri):
        return {"uri": uri}

    videos = manifest.expand(uri=uris())
    JimengFinishVideoOperator.partial(
        task_id="each",
        visible_label={"text": "{{ params.text }}"},
        poster="{{ params.joins }}",
        renditions=[{"name": "small", "size": "{{ params.size }}", "preset": "ultrafast"}],
        threads="{{ params.threads }}",
        retries=0,
    ).expand(video=videos)
    JimengFinishVideoOperator(
        task_id="spot",
        video=videos,
        concat="{{ params.joins }}",
        renditions=[{"preset": "ultrafast"}],
        retries=0,
    )
    videos >> JimengFinishVideoOperator(
        task_id="text", video="{{ ti.xcom_pull('uris') }}", preview="{{ params.joins }}", retries=0
    )
"""


def operator(**arguments: Any) -> JimengFinishVideoOperator:
    with DAG("finish", schedule=None):
        return JimengFinishVideoOperator(**{"task_id": "finish", "video": "/videos/kite.mp4", **arguments})


def test_a_wrong_literal_fails_when_the_dag_is_parsed(subtests: pytest.Subtests) -> None:
    for name, value in WRONG:
        with subtests.test(name=repr(name), value=repr(value)):
            with pytest.raises(ParameterError, match=name):
                operator(**{"poster": True, name: value})
    with pytest.raises(ParameterError, match="nothing is requested"):
        operator()
    with pytest.raises(ParameterError, match="visible_label"):
        operator(visible_label={"size": 0.01}, renditions="{{ params.renditions }}")


def test_what_a_template_can_change_passes_when_the_dag_is_parsed() -> None:
    operator(visible_label="{{ params.label }}")
    operator(poster={"at": "{{ params.at }}"}, threads="{{ params.threads }}")
    operator(visible_label=VisibleLabel(text="AI"), renditions=[Rendition(size=720)])


def saved(folder: Path, name: str = "kite.mp4", **changes: Any) -> Path:
    path = folder / name
    path.write_bytes(clip(**changes))
    return path


def test_a_task_returns_the_manifests_and_its_outlets_get_them(tmp_path: Path) -> None:
    source = saved(tmp_path)
    asset, alias = Asset("jimeng-test://teaser"), AssetAlias("teasers")
    events = outlet_events()
    task = FakeTask(
        make_operator=lambda: operator(
            video={"uri": source.as_uri(), "sha256": sha256(source)},
            renditions=[{"name": "wide", **FAST}, {"name": "tall", "aspect_ratio": "9:16", **FAST}],
            outlets=[asset, alias],
        ),
        asset_events=events,
    )
    assert task.run() == "success"
    assert [manifest["uri"].rpartition("/")[2] for manifest in task.result] == [
        "kite.wide.mp4",
        "kite.tall.mp4",
    ]
    assert events[asset].extra == {**task.result[0], "derivatives": task.result}
    assert added_by_alias(events[alias]) == [(task.result[0]["uri"], events[asset].extra)]
    json.dumps(task.result)
    before = source.stat().st_mtime_ns
    task.clear()
    first = task.result
    assert task.run() == "success"
    assert task.result == first
    assert source.stat().st_mtime_ns == before


def test_a_refusal_fails_the_task_without_a_retry(tmp_path: Path) -> None:
    saved(tmp_path)
    task = FakeTask(make_operator=lambda: operator(video=str(tmp_path / "kite.mp4"), poster={"at": "9"}))
    assert task.run() == "failed"
    assert task.try_number == 1
    assert "poster.at" in str(task.errors[0])
    strict = FakeTask(
        make_operator=lambda: operator(
            video=str(tmp_path / "kite.mp4"), poster=True, require_implicit="{{ 1 == 1 }}"
        )
    )
    strict.run()
    assert isinstance(strict.errors[0], MissingLabelError)
    assert [path.name for path in tmp_path.iterdir()] == ["kite.mp4"]


def test_a_task_killed_while_it_encodes_is_done_by_its_next_try(tmp_path: Path) -> None:
    source = saved(tmp_path, frames=24)
    task = FakeTask(make_operator=lambda: operator(video=str(source), renditions=[FAST]))
    task.interruptions.at("log kite.finished.mp4: 5")
    assert task.run() == "success"
    assert task.try_number == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "kite.finished.mp4",
        "kite.finished.mp4.json",
        "kite.mp4",
    ]


def test_mapped_tasks_and_templates_finish_each_video_and_join_all(tmp_path: Path) -> None:
    sources = [saved(tmp_path, f"{name}.mp4") for name in "ab"]
    with dag_file("finished.py", DAG_FILE):
        finished = run_dag("finished", {"videos": [source.as_uri() for source in sources]})
    assert set(finished.states.values()) == {"success"}
    names = {path.name for path in tmp_path.iterdir() if path.suffix != ".json"}
    made = {
        f"{name}.{ending}"
        for name in "ab"
        for ending in ("small.mp4", "poster.jpg", "preview.jpg", "preview.vtt")
    }
    assert names == {"a.mp4", "b.mp4", "concat.finished.mp4", *made}
    assert finished.xcom("spot")[0]["frames"] == 16
