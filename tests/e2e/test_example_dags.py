# SPDX-License-Identifier: Apache-2.0
"""Every example DAG runs: on a real Airflow database, against a served emulator, to a file that plays."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import pytest

from tests.harness.dag_runs import call_test, load_dags
from tests.meta.tree import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_jimeng.emulator import JimengEmulator

# DAG id → how many videos one run of it lands.
VIDEOS = {
    "example_jimeng_text_to_video": 1,
    "example_jimeng_image_to_video": 1,
    "example_jimeng_submit_wait_download": 1,
    "example_jimeng_campaign": 3,
    "example_jimeng_daily_teaser": 1,
    "example_jimeng_publish_teaser": 0,
    "example_jimeng_taskflow_hook": 1,
    "example_jimeng_planned_campaign": 3,
    "example_jimeng_camera": 2,
    "example_jimeng_rescue": 1,
    "example_jimeng_finish": 1,
}
# DAG id → how many videos one run of it makes of those that it lands.
FINISHED = {"example_jimeng_finish": 2}
# Waits for somebody to answer, on Airflow 3.1 and newer; tests/browser answers it.
ANSWERED = {"example_jimeng_review"}
WAITING = {"JimengSubmitVideoOperator", "JimengGenerateVideoOperator", "JimengVideoSensor"}


def example_dags() -> dict[str, Any]:
    """Every DAG that a file of example_dags/ declares, by id."""
    return load_dags(ROOT / "example_dags")


@pytest.fixture(scope="module")
def _examples_in_the_dags_folder() -> Iterator[None]:
    """`dag.test()` stores only what it finds in Airflow's DAG folder."""
    link = Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"]) / "examples"
    link.symlink_to(ROOT / "example_dags")
    yield
    link.unlink()


def frames(path: Path) -> int:
    with av.open(str(path)) as media:
        return sum(1 for _ in media.decode(media.streams.video[0]))


def test_every_example_is_expected_to_land_something_or_nothing() -> None:
    assert set(example_dags()) - ANSWERED == set(VIDEOS)


def test_the_folders_readme_lists_every_example() -> None:
    text = (ROOT / "example_dags" / "README.md").read_text(encoding="utf-8")
    assert sorted(set(re.findall(r"\]\((example_\w+\.py)\)", text))) == sorted(
        path.name for path in (ROOT / "example_dags").glob("example_*.py")
    )


def test_every_example_defers_and_never_catches_up() -> None:
    for dag in example_dags().values():
        assert dag.catchup is False
        for task in dag.tasks:
            if task.task_type in WAITING:
                arguments = getattr(task, "partial_kwargs", None) or vars(task)
                assert arguments["deferrable"] is True, f"{dag.dag_id}.{task.task_id}"


@pytest.mark.usefixtures("_examples_in_the_dags_folder")
@pytest.mark.parametrize("dag_id", VIDEOS)
def test_each_example_dag_runs_to_playable_files_and_pays_once_each(
    dag_id: str, jimeng_emulator: JimengEmulator, tmp_path: Path
) -> None:
    conf: dict[str, Any] = {"output": tmp_path.as_uri()}
    if dag_id == "example_jimeng_campaign":
        conf["prompts"] = ["a red kite", "a bowl of noodles", "a fox on a ridge"]
    if dag_id in FINISHED:
        conf["label"] = "AI"  # not every machine has a Chinese font
    dag = example_dags()[dag_id]

    run = call_test(dag, conf, approved="review")

    assert run.state == "success"
    landed = sorted(tmp_path.rglob("*.mp4"))
    assert len(landed) == VIDEOS[dag_id] + FINISHED.get(dag_id, 0)
    for path in landed:
        manifest = json.loads(path.with_name(f"{path.name}.json").read_text())
        assert frames(path) == manifest["frames"] == 121
        assert manifest["bytes"] == path.stat().st_size
    assert jimeng_emulator.bill()["billed"] == VIDEOS[dag_id]
