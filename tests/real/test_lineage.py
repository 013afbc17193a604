# SPDX-License-Identifier: Apache-2.0
"""What Airflow's provider of OpenLineage emits about the example DAGs, written to a file by its own transport."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.meta.tree import ROOT

if TYPE_CHECKING:
    from airflow_provider_jimeng.emulator import JimengEmulator

pytestmark = pytest.mark.real

IMAGE, FINISH = "example_jimeng_image_to_video", "example_jimeng_finish"


# What `airflow dags test` does, once for each DAG. To start Airflow takes longer than that.
PROGRAM = """
import json, sys
from airflow.__main__ import main

for dag_id, conf in json.loads(sys.argv[1]).items():
    words = ("dags", "test", dag_id, "--conf", json.dumps(conf), "--mark-success-pattern", "review")
    sys.argv = ["airflow", *words]
    main()
"""


def run_dags(folder: Path, confs: dict[str, dict[str, str]]) -> tuple[str, list[dict[str, Any]]]:
    """Run example DAGs in a process of their own. Return all that was emitted, and the events of tasks that are over."""
    log = folder / "events.json"
    environment = {
        **os.environ,
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "example_dags"),
        "AIRFLOW__OPENLINEAGE__NAMESPACE": "films",
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(
            {"type": "file", "log_file_path": str(log), "append": True}
        ),
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(confs)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    emitted = log.read_text()
    events = [json.loads(line) for line in emitted.splitlines()]
    return emitted, [
        event
        for event in events
        if event["eventType"] == "COMPLETE" and event["job"]["name"].rpartition(".")[0] in confs
    ]


def names(datasets: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(each["namespace"], each["name"]) for each in datasets]


def test_the_examples_tell_what_they_used_what_they_made_and_what_it_cost(
    jimeng_emulator: JimengEmulator, tmp_path: Path
) -> None:
    films, finished = tmp_path / "films", tmp_path / "finished"
    confs = {IMAGE: {"output": films.as_uri()}, FINISH: {"output": finished.as_uri(), "label": "AI"}}
    emitted, events = run_dags(tmp_path, confs)

    (event,) = [event for event in events if event["job"]["name"].startswith(f"{IMAGE}.")]
    manifest = check_the_render(event, films)
    assert manifest["prompt"] not in emitted
    assert json.loads(jimeng_emulator.connection_json())["password"] not in emitted
    check_what_was_finished([event for event in events if event["job"]["name"].startswith(f"{FINISH}.")])


def check_the_render(event: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Check the image, the video and the facet of a render, and return its manifest."""
    (video,) = folder.rglob("*.mp4")
    manifest = json.loads(video.with_name(f"{video.name}.json").read_text())
    assert names(event["outputs"]) == [("file", str(video))]
    assert event["outputs"][0]["outputFacets"]["outputStatistics"]["size"] == video.stat().st_size
    assert names(event["inputs"]) == [("file", str(ROOT / "example_dags" / "lighthouse.jpg"))]
    facet = event["run"]["facets"]["jimeng_render"]
    assert {name: value for name, value in facet.items() if not name.startswith("_")} == {
        "renderId": manifest["task_id"],
        "model": manifest["model"],
        "reqKey": manifest["req_key"],
        "promptSha256": hashlib.sha256(manifest["prompt"].encode()).hexdigest(),
        "durationSeconds": manifest["duration"],
        "costCny": manifest["cost_cny"],
    }
    return dict(manifest)


def check_what_was_finished(found: list[dict[str, Any]]) -> None:
    """Check the video that was used, and every file that was made of it."""
    events = {event["job"]["name"].rpartition(".")[2]: event for event in found}
    (rendered,) = [task for task, event in events.items() if "jimeng_render" in event["run"]["facets"]]
    (finished,) = [task for task, event in events.items() if event["outputs"] and task != rendered]
    assert names(events[finished]["inputs"]) == names(events[rendered]["outputs"])
    made = {Path(name) for _, name in names(events[finished]["outputs"])}
    assert len(made) >= 3
    assert all(path.is_file() for path in made)


def test_files_are_named_as_openlineage_and_airflows_providers_do(subtests: pytest.Subtests) -> None:
    from openlineage.client.generated.base import InputDataset

    from airflow_provider_jimeng.lineage import dataset

    expected = {
        "/films/kite.jpg": ("file", "/films/kite.jpg"),
        "file:///films/kite.mp4": ("file", "/films/kite.mp4"),
        "s3://bucket/films/kite.mp4": ("s3://bucket", "films/kite.mp4"),
        "s3://conn@bucket/films/kite.mp4": ("s3://bucket", "films/kite.mp4"),
        "gs://bucket/films/kite.mp4": ("gs://bucket", "films/kite.mp4"),
        "file:///films/风筝.mp4": ("file", "/films/风筝.mp4"),
        "https://user:secret@cdn.example.com/kite.jpg?X-Tos-Signature=secret#secret": (
            "https://cdn.example.com",
            "kite.jpg",
        ),
    }
    for uri, name in expected.items():
        with subtests.test(uri=uri):
            found = dataset(InputDataset, uri)
            assert (found.namespace, found.name) == name


def test_the_facet_has_the_label_of_the_file_and_an_operator_that_failed_has_no_output() -> None:
    from airflow_provider_jimeng.lineage import lineage_of
    from airflow_provider_jimeng.operators.video import JimengGenerateVideoOperator

    operator = JimengGenerateVideoOperator(
        task_id="render",
        model="i2v_first_tail_720p",
        first_frame="https://cdn.example.com/a.jpg?sign=secret",
        last_frame="https://cdn.example.com/b.jpg?sign=secret",
        output_path="s3://bucket/films/",
    )
    failed = operator.get_openlineage_facets_on_complete(None)
    assert names([vars_of(each) for each in failed.inputs]) == [
        ("https://cdn.example.com", "a.jpg"),
        ("https://cdn.example.com", "b.jpg"),
    ]
    assert (failed.outputs, failed.run_facets) == ([], {})

    label = {"Label": "1", "ContentProducer": "films"}
    operator.made_files = [manifest(aigc_label=label, uri="s3://bucket/films/a.mp4")]
    facet = lineage_of(operator).run_facets["jimeng_render"]
    assert facet.aigcLabel == label
    assert facet.costCny is None  # an unknown price is not 0


def vars_of(dataset: Any) -> dict[str, Any]:
    return {"namespace": dataset.namespace, "name": dataset.name}


def manifest(**fields: Any) -> dict[str, Any]:
    return {
        "task_id": "7",
        "req_key": "jimeng_i2v_first_tail_v30",
        "model": "i2v_first_tail_720p",
        "jimeng_conn_id": "jimeng_default",
        "submitted_at": "2026-01-02T03:04:05Z",
        "landed_at": "2026-01-02T03:05:05Z",
        "bytes": 7,
        "sha256": "0" * 64,
        **fields,
    }
