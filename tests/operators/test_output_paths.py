# SPDX-License-Identifier: Apache-2.0
"""Where videos go: read before anything is paid, in whatever form the author gives it, and never left."""

from __future__ import annotations

import io
import json
import logging
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath
from PIL import Image

from airflow_provider_jimeng.core.catalogue import MODELS
from airflow_provider_jimeng.core.errors import ParameterError, TargetTakenError
from airflow_provider_jimeng.core.output_path import folder_of
from airflow_provider_jimeng.core.record import Record
from airflow_provider_jimeng.core.render import Render
from airflow_provider_jimeng.hooks.jimeng import JimengHook
from airflow_provider_jimeng.operators.plan import JimengPlanOperator
from airflow_provider_jimeng.operators.records import saved_by
from airflow_provider_jimeng.operators.report import JimengReportOperator
from airflow_provider_jimeng.operators.rescue import JimengRescueOperator
from airflow_provider_jimeng.operators.video import JimengDownloadVideoOperator, JimengSubmitVideoOperator
from airflow_provider_jimeng.storage.output import OutputPath
from airflow_provider_jimeng.storage.record_objects import RecordObjects
from tests.harness.dag_runs import dag_file, run_dag
from tests.harness.fake_airflow import FakeTask
from tests.harness.lab import CONNECTION, Lab, interruptible, landed_files, open_lab
from tests.harness.stores import ObjectStore, RemoteStore, attached

if TYPE_CHECKING:
    from airflow_provider_jimeng.emulator import JimengEmulator


def finished_render(lab: Lab) -> dict[str, Any]:
    """The payload of a render that is done and not landed."""
    payload = JimengHook().submit(prompt="a red kite").to_payload()
    lab.clock.ahead += 100
    return payload


def rescue(lab: Lab, **arguments: Any) -> FakeTask:
    given = {"task_id": "rescue", "output_path": f"{lab.videos}/", "wait_timeout": 0, **arguments}
    stage = FakeTask(lambda: JimengRescueOperator(**given), retries=0)
    stage.run()
    return stage


# ------------------------------------------------------------------------------------------------------ before paying
MISSPELLED = (
    "s3:/bucket/x/",
    "gs:/bucket/x.mp4",
    "s3:bucket/x/",
    "S3://bucket/x/",
    "s3://bucket",
    "s3:///x/",
    "nowhere://bucket/x/",
    "sftp://user:pw@host/x/",
    "https://host/x.mp4",
    "file:videos/",
    "file://videos/",
    "C:/videos/",
    "/d/vid\neos/",
    "",
)


@pytest.mark.parametrize("has_store", [True, False])
@pytest.mark.parametrize("output_path", [*MISSPELLED, Path("s3://bucket/x")])
def test_a_path_that_cannot_be_meant_is_refused_before_paying_and_not_retried(
    lab: Lab, output_path: Any, *, has_store: bool
) -> None:
    stage = lab.task(lambda: lab.generate(output_path=output_path), has_store=has_store)
    assert (stage.run(), stage.try_number) == ("failed", 1)
    assert isinstance(stage.errors[0], ParameterError)
    assert stage.errors[0].argument == "output_path"
    assert lab.emulator.bill()["submits"] == 0
    assert not Path("s3:").exists()


@pytest.mark.parametrize(
    ("output_path", "says"),
    [
        ("wasb://container/x/", "Is the storage's provider package installed"),
        ("abfs://container/x/", r"pip install 'apache-airflow-providers-microsoft-azure'"),
        ("sftp:///x/", "and check that output_conn_id fits it"),  # no package, or no host
    ],
)
def test_a_store_that_cannot_be_opened_here_is_refused_with_the_remedy(
    lab: Lab, output_path: str, says: str
) -> None:
    stage = lab.task(lambda: lab.generate(output_path=output_path))
    assert (stage.run(), stage.try_number) == ("failed", 1)
    assert says in str(stage.errors[0])
    assert lab.emulator.bill()["submits"] == 0


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_directory_without_its_slash_is_refused_before_paying(lab: Lab, *, overwrite: bool) -> None:
    stage = lab.task(lambda: lab.generate(output_path=str(lab.videos), overwrite=overwrite))
    assert (stage.run(), stage.try_number) == ("failed", 1)
    assert "is a directory. End it with /" in str(stage.errors[0])
    assert lab.emulator.bill()["submits"] == 0


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_directory_of_a_store_without_its_slash_is_refused_before_paying(
    lab: Lab, *, overwrite: bool
) -> None:
    store = RemoteStore()
    store.pipe_file("/bucket/videos/old.mp4", b"x")
    stage = lab.task(
        lambda: lab.generate(
            output_path="memory://bucket/videos", output_conn_id=attached(store), overwrite=overwrite
        )
    )
    assert (stage.run(), stage.try_number) == ("failed", 1)
    assert isinstance(stage.errors[0], TargetTakenError)
    assert "is a directory. End output_path with /" in str(stage.errors[0])
    assert lab.emulator.bill()["submits"] == 0


@pytest.mark.parametrize("below", ["kite.mp4/", "kite.mp4/shots/", "kite.mp4/shots/a.mp4"])
def test_a_file_in_the_way_is_refused_before_paying(lab: Lab, below: str) -> None:
    (lab.videos / "kite.mp4").write_bytes(b"x")
    stage = lab.task(lambda: lab.generate(output_path=f"{lab.videos}/{below}"))
    assert (stage.run(), stage.try_number) == ("failed", 1)
    assert "is a file, so nothing can be saved below it" in str(stage.errors[0])
    assert lab.emulator.bill()["submits"] == 0


def test_a_file_without_an_ending_is_landed_with_a_warning(
    lab: Lab, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = lab.task(lambda: lab.generate(output_path=f"{lab.videos}/teaser"))
    with caplog.at_level(logging.WARNING):
        assert stage.run() == "success"
    assert "ends neither in / nor in .mp4" in caplog.text + capsys.readouterr().out
    assert (lab.videos / "teaser").is_file()


@pytest.mark.parametrize("bytes_of_name", [250, 251, 253, 255, 256, 300])
@pytest.mark.parametrize("letter", ["x", "风"])
def test_a_long_name_lands_whole_or_is_refused_before_paying(
    lab: Lab, bytes_of_name: int, letter: str
) -> None:
    count, rest = divmod(bytes_of_name - len(".mp4"), len(letter.encode()))
    name = f"{letter * count}{'x' * rest}.mp4"
    stage = lab.task(lambda: lab.generate(output_path=f"{lab.videos}/{name}"))
    if bytes_of_name == 250:
        assert stage.run() == "success"
        assert landed_files(lab.files()) == [name]
    else:
        assert (stage.run(), stage.try_number) == ("failed", 1)
        assert f"has {bytes_of_name} bytes. It can have at most 250" in str(stage.errors[0])
        assert lab.emulator.bill()["submits"] == 0


def test_a_long_name_of_an_object_store_has_the_room_of_a_key(lab: Lab) -> None:
    store, name = ObjectStore(), f"{'x' * 600}.mp4"
    conn_id = attached(store)
    stage = lab.task(lambda: lab.generate(output_path=f"s3://bucket/{name}", output_conn_id=conn_id))
    assert stage.run() == "success"
    assert {f"/bucket/{name}", f"/bucket/{name}.json"} <= set(store.files())
    stage = lab.task(
        lambda: lab.generate(output_path=f"s3://bucket/{'x' * 1020}.mp4", output_conn_id=conn_id)
    )
    assert (stage.run(), stage.try_number) == ("failed", 1)
    assert "a key of this store can have at most 1024" in str(stage.errors[0])
    assert lab.emulator.bill()["submits"] == 1


def test_white_space_round_arguments_of_the_place_is_no_part_of_them(lab: Lab) -> None:
    stage = lab.task(
        lambda: lab.generate(
            output_path=f" {lab.videos}/kite.mp4\n", output_conn_id=" \n", jimeng_conn_id=" jimeng_default\n"
        )
    )
    assert stage.run() == "success"
    assert landed_files(lab.files()) == ["kite.mp4"]
    record = stage.record()
    assert record is not None
    assert record["output_path"] == f"{lab.videos}/kite.mp4"


# ------------------------------------------------------------------------------------------------------- path objects
def test_a_path_object_is_taken_by_every_operator_and_the_hook(lab: Lab) -> None:
    generated = lab.task(lambda: lab.generate(output_path=lab.videos / "a"))
    assert generated.run() == "success"
    named = lab.task(
        lambda: lab.generate(prompt="a fox", output_path=ObjectStoragePath(lab.videos.as_uri()) / "b.mp4"),
        run_id="manual__2",
    )
    assert named.run() == "success"
    submit = lab.task(
        lambda: interruptible(JimengSubmitVideoOperator, lab.interruptions)(
            task_id="submit", prompt="a lake", output_path=lab.videos / "c", deferrable=True
        ),
        run_id="manual__3",
    )
    assert submit.run() == "success"
    lab.clock.ahead += 100
    download = FakeTask(
        lambda: JimengDownloadVideoOperator(
            task_id="download", render=submit.result, output_path=lab.videos / "c"
        )
    )
    assert download.run() == "success"
    manifest = JimengHook().download(submit.result, lab.videos / "d" / "e.mp4")
    assert manifest.uri == f"{lab.videos.as_uri()}/d/e.mp4"
    rescued = rescue(lab, output_path=lab.videos)
    assert (rescued.state, len(rescued.result["already_landed"])) == ("success", 3)
    folders = [name.rpartition("/")[0] or name for name in landed_files(lab.files())]
    assert folders == ["a", "b.mp4", "c", "d"]


def test_a_path_object_keeps_its_connection(lab: Lab) -> None:
    store = ObjectStore()
    conn_id = attached(store)
    folder = ObjectStoragePath(f"s3://{conn_id}@bucket/videos")
    stage = lab.task(lambda: lab.generate(output_path=folder))
    assert stage.run() == "success"
    assert stage.result["uri"].startswith("s3://bucket/videos/t2v_720p-")
    assert len([path for path in store.files() if path.endswith(".mp4")]) == 1
    named = lab.task(
        lambda: lab.generate(output_path=ObjectStoragePath("s3://bucket/one.mp4", conn_id=conn_id)),
        run_id="manual__2",
    )
    assert named.run() == "success"
    assert "/bucket/one.mp4" in store.files()


DAG_FILE = """
from __future__ import annotations

from pathlib import Path

from airflow.providers.common.compat.sdk import DAG, ObjectStoragePath, task

from airflow_provider_jimeng.operators.plan import JimengPlanOperator
from airflow_provider_jimeng.operators.report import JimengReportOperator
from airflow_provider_jimeng.operators.rescue import JimengRescueOperator
from airflow_provider_jimeng.operators.video import JimengGenerateVideoOperator

with DAG("paths", schedule=None, params={"output": ""}):
    given = {"prompt": "a kite", "deferrable": False, "poll_interval": 0.2, "retries": 0}
    below = Path("{{ params.output }}")

    @task
    def folder(**context):
        return ObjectStoragePath(context["params"]["output"]) / "xcom"

    report = JimengReportOperator(task_id="report", output_path=below / "report")
    JimengGenerateVideoOperator(task_id="rendered", output_path=below / "{{ task.task_id }}", **given) >> report
    JimengGenerateVideoOperator(task_id="pulled", output_path=folder(), **given) >> report
    JimengGenerateVideoOperator.partial(task_id="mapped", output_path=below / "mapped", **given).expand(
        seed=[1, 2]
    ) >> report
    JimengPlanOperator(task_id="plan", rows=[{"prompt": "a fox"}], output_path=below / "plan", retries=0)
    JimengRescueOperator(task_id="rescue", output_path=below, retries=0)
"""


def test_path_objects_survive_templates_xcom_and_serialization(
    tmp_path: Path, jimeng_emulator: JimengEmulator
) -> None:
    with dag_file("paths.py", DAG_FILE):
        run = run_dag("paths", {"output": str(tmp_path)})
    assert run.state == "success"
    landed = landed_files(
        {
            str(path.relative_to(tmp_path)): path.read_bytes()
            for path in tmp_path.rglob("*.*")
            if path.is_file() and path.parent.name != "report"
        }
    )
    assert [name.partition("/")[0] for name in landed] == ["mapped", "mapped", "rendered", "xcom"]
    assert run.xcom("plan")[0]["output_path"] == f"{tmp_path}/plan/"
    assert (tmp_path / "report" / "jimeng-report.html").is_file()


# ------------------------------------------------------------------------------------- what others say leads nowhere
OUTSIDE = (
    "../../x",
    "/abs/x",
    "..",
    "a/../../x",
    "..\\..\\x",
    "%2e%2e/%2e%2e/x",
    "%2fabs%2fx",
    "C:\\x",
    "C:/x",
    "s3://bucket/x",
    "x\x00y",
    "x\ny",
    "",
    ".jimeng/x",
    "m" * 5_000,
    "模" * 300,
)


@pytest.mark.parametrize("field", ["model", "task_id"])
@pytest.mark.parametrize("value", OUTSIDE)
def test_a_payload_does_not_lead_out_of_the_directory(lab: Lab, field: str, value: str) -> None:
    payload = JimengHook().submit(prompt="a red kite").to_payload()
    if (field, value) == ("task_id", ""):
        with pytest.raises(ValueError, match="has no task_id"):
            Render.from_payload({**payload, field: value})
        return
    render = Render.from_payload({**payload, field: value})
    file = OutputPath(output_path=f"{lab.videos}/").file_for(render)
    assert file.folder == str(lab.videos)
    assert Path(file.path).resolve().parent == lab.videos.resolve()
    assert len(file.name.encode()) <= 250


@pytest.mark.parametrize("model", OUTSIDE)
def test_a_download_lands_in_its_directory_whatever_the_payload_calls_the_model(lab: Lab, model: str) -> None:
    payload = {**finished_render(lab), "model": model}
    stage = FakeTask(
        lambda: JimengDownloadVideoOperator(
            task_id="download", render=payload, output_path=f"{lab.videos}/in/"
        )
    )
    assert stage.run() == "success"
    (name,) = landed_files(lab.files())
    assert name.startswith("in/")
    assert name.count("/") == 1
    outside = {path for path in lab.folder.rglob("*") if path.is_file()} - set((lab.videos / "in").iterdir())
    assert not outside


@pytest.mark.parametrize(
    "changes",
    [{"model": None}, {"model": 5}, {"model": ["t2v_720p"]}, {"req_key": {}}, {"jimeng_conn_id": 1}],
)
def test_a_payload_of_other_kinds_is_refused(lab: Lab, changes: dict[str, Any]) -> None:
    payload = {**finished_render(lab), **changes}
    stage = FakeTask(
        lambda: JimengDownloadVideoOperator(task_id="download", render=payload, output_path=f"{lab.videos}/"),
        retries=0,
    )
    assert stage.run() == "failed"
    assert "is not a text" in str(stage.errors[0])


@pytest.mark.parametrize("name", ["own/../../model", "/abs/model", "厂商/模型", "own model"])
def test_a_model_that_a_connection_adds_may_have_any_name(tmp_path: Path, name: str) -> None:
    spec = replace(MODELS["t2v_720p"], name=name, req_key=name)
    with open_lab(tmp_path, catalogue={**MODELS, name: spec}) as lab:
        os.environ[CONNECTION] = lab.emulator.connection_json(
            models={name: {"like": "t2v_720p"}}, max_requests_per_second=1000
        )
        stage = lab.task(lambda: lab.generate(model=name))
        assert stage.run() == "success"
        (video,) = landed_files(lab.files())
    assert "/" not in video


@pytest.mark.parametrize(
    "place",
    [
        "../outside.mp4",
        "../outside/",
        "a/../../outside.mp4",
        "%2e%2e/outside.mp4",
        ".jimeng/tasks/x.json",
        "..\\outside.mp4",
        "x\x00.mp4",
        "风" * 83 + ".mp4",
        "y" * 247 + ".mp4",
    ],
)
def test_a_record_does_not_lead_a_rescue_out_of_its_directory(lab: Lab, place: str) -> None:
    stage = lab.task(retries=0)
    stage.interruptions.at("deferred")
    assert stage.run() == "failed"
    lab.clock.ahead += 100
    (path,) = (lab.videos / ".jimeng" / "tasks").iterdir()
    record = {**json.loads(path.read_text()), "output_path": f"{lab.videos}/{place}"}
    path.write_text(json.dumps(record))
    before = {found for found in lab.folder.rglob("*") if found.is_file()}
    rescued = rescue(lab)
    assert (rescued.state, len(rescued.result["landed"])) == ("success", 1)
    new = {found for found in lab.folder.rglob("*") if found.is_file()} - before
    assert {found.parent for found in new} == {lab.videos}
    assert len(landed_files(lab.files())) == 1


def test_a_file_outside_that_a_record_names_is_nobodys_landing(lab: Lab) -> None:
    outside = lab.task(lambda: lab.generate(output_path=f"{lab.folder}/outside.mp4"), retries=0)
    assert outside.run() == "success"
    (path,) = (lab.folder / ".jimeng" / "tasks").iterdir()
    told = {**json.loads(path.read_text()), "manifest": None}
    inside = f"{lab.videos}/kite.mp4"
    for place, found in ((f"{lab.folder}/outside.mp4", True), (f"{lab.videos}/../outside.mp4", False)):
        record = Record.from_payload({**told, "output_path": place})
        folder = OutputPath.of(folder_of(place if found else inside))
        manifest = saved_by(record, folder)
        assert (manifest is not None) is found


@pytest.mark.parametrize("requested", ["../../../outside", "/abs", "a/b", "", "x" * 500])
def test_a_record_does_not_lead_its_pointers_out_of_the_directory(lab: Lab, requested: str) -> None:
    stage = lab.task(retries=0)
    assert stage.run() == "success"
    (path,) = (lab.videos / ".jimeng" / "tasks").iterdir()
    path.write_text(json.dumps({**json.loads(path.read_text()), "asked": requested}))
    records, problems = RecordObjects(OutputPath(output_path=f"{lab.videos}/")).all()
    assert (records, len(problems)) == ([], 1)
    assert "asked is not a fingerprint" in str(problems[0])


# ------------------------------------------------------------------------------------------------- the other operators
@pytest.mark.parametrize("output_path", [path for path in MISSPELLED if path])
def test_the_others_refuse_the_same_paths(lab: Lab, output_path: str) -> None:
    render = finished_render(lab)
    tasks: list[Any] = [
        lambda: JimengDownloadVideoOperator(task_id="t", render=render, output_path=output_path),
        lambda: JimengRescueOperator(task_id="t", output_path=output_path),
        lambda: JimengPlanOperator(task_id="t", rows=[{"prompt": "a"}], output_path=output_path),
        lambda: JimengReportOperator(task_id="t", output_path=output_path),
        lambda: JimengSubmitVideoOperator(task_id="t", prompt="a", output_path=output_path),
    ]
    for make in tasks:
        stage = FakeTask(make)
        assert (stage.run(), stage.try_number) == ("failed", 1)
        assert str(stage.errors[0]).removeprefix("ParameterError: ").startswith("output_path: ")
    with pytest.raises(ParameterError, match=r"^output_path: "):
        JimengHook().download(render, output_path)
    assert lab.emulator.bill()["submits"] == 1


def test_a_plan_names_every_row_whose_place_is_wrong(lab: Lab) -> None:
    (lab.videos / "taken").mkdir()
    rows = [
        {"prompt": "a", "output_path": "s3:/bucket/x/"},
        {"prompt": "b", "output_path": f"{lab.videos}/taken"},
        {"prompt": "c", "output_name": "风" * 83},
        {"prompt": "d", "output_path": "nowhere://bucket/x/"},
        {"prompt": "e", "output_name": "fine"},
    ]
    stage = FakeTask(lambda: JimengPlanOperator(task_id="plan", rows=rows, output_path=f"{lab.videos}/"))
    assert (stage.run(), stage.try_number) == ("failed", 1)
    told = str(stage.errors[0])
    assert "4 rows are refused, of 5" in told
    for says in (
        "row 1, output_path: 's3:/bucket/x/' is misspelled",
        "row 2, output_path: '",
        "row 3, output_name: the name",
        "row 4, output_path: nowhere://bucket/x/",
    ):
        assert says in told


def test_a_plan_names_every_row_whose_image_is_not_whole(lab: Lab) -> None:
    image = io.BytesIO()
    Image.effect_noise((640, 360), 90).save(image, "JPEG")
    for name, content in (
        ("whole.jpg", image.getvalue()),
        ("half.jpg", image.getvalue()[: len(image.getvalue()) // 2]),
        ("phone.jpg", b"\x00\x00\x00\x18ftypheic" + bytes(100)),
        ("empty.jpg", b""),
    ):
        (lab.folder / name).write_bytes(content)
    rows: list[dict[str, Any]] = [
        {"prompt": "a", "model": "i2v_first_720p", "first_frame": str(lab.folder / name)}
        for name in ("whole.jpg", "half.jpg", "phone.jpg", "empty.jpg")
    ]
    rows.append({"prompt": "a", "model": "i2v_first_720p", "first_frame": "/9j/" + "A" * 5_000_000})
    stage = FakeTask(lambda: JimengPlanOperator(task_id="plan", rows=rows))
    assert (stage.run(), stage.try_number) == ("failed", 1)
    told = str(stage.errors[0])
    assert "4 rows are refused, of 5" in told
    for says in (
        r"row 2, first_frame: '.*half\.jpg' is a damaged or incomplete JPEG",
        "row 3, first_frame: the image is HEIC; the API takes JPEG or PNG",
        "row 4, first_frame: .* is empty",
        "row 5, first_frame: is an image in base64",
    ):
        assert re.search(says, told)
    assert len(told) < 4_000
