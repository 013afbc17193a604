# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.finishing.clips import clip
from tests.harness.dag_runs import FinishedRun, dag_file, run_dag
from tests.harness.stores import RemoteStore, attached

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow_provider_jimeng.emulator import JimengEmulator

DAG_FILE = """
from __future__ import annotations

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_jimeng.operators.finish import JimengFinishVideoOperator
from airflow_provider_jimeng.operators.plan import JimengPlanOperator
from airflow_provider_jimeng.operators.report import JimengReportOperator
from airflow_provider_jimeng.operators.video import (
    JimengDownloadVideoOperator,
    JimengGenerateVideoOperator,
    JimengSubmitVideoOperator,
)
from airflow_provider_jimeng.sensors.video import JimengVideoSensor

WAY = {"deferrable": False, "poll_interval": 0.2, "retries": 0}
PARAMS = {"rows": "", "output": "", "strict": False}

with DAG("planned", schedule=None, params=PARAMS):
    plan = JimengPlanOperator(task_id="plan", rows="{{ params.rows }}", output_path="{{ params.output }}", retries=0)
    render = JimengGenerateVideoOperator.partial(task_id="render", **WAY).expand_kwargs(plan.output)
    render >> JimengReportOperator(
        task_id="report",
        output_path="{{ params.output }}",
        fail_if_incomplete="{{ params.strict }}",
        retries=0,
    )

with DAG("steps", schedule=None, params=PARAMS):
    submit = JimengSubmitVideoOperator(task_id="submit", prompt="a kite", deferrable=False, retries=0)
    wait = JimengVideoSensor(task_id="wait", render=submit.output, deferrable=False, poke_interval=0.2, retries=0)
    download = JimengDownloadVideoOperator(
        task_id="download", render=wait.output, output_path="{{ params.output }}", retries=0
    )

    @task
    def unrelated():
        return {"uri": "no manifest"}

    [download, unrelated()] >> JimengReportOperator(
        task_id="report", output_path="{{ params.output }}all.html", contact_sheet=False, retries=0
    )

with DAG("named", schedule=None, params=PARAMS):
    one = JimengGenerateVideoOperator(task_id="one", prompt="one", output_path="{{ params.output }}", **WAY)
    two = JimengGenerateVideoOperator(task_id="two", prompt="two", output_path="{{ params.output }}", **WAY)
    [one, two] >> JimengReportOperator(task_id="report", task_ids="two", retries=0)

with DAG("finished", schedule=None, params=PARAMS):
    render = JimengGenerateVideoOperator(
        task_id="render", prompt="a kite", output_path="{{ params.output }}kite.mp4", **WAY
    )
    finish = JimengFinishVideoOperator(task_id="finish", video=render.output, poster={"at": 4}, retries=0)
    finish >> JimengReportOperator(task_id="report", output_path="{{ params.output }}", retries=0)

with DAG("busy", schedule=None, params=PARAMS):
    render = JimengGenerateVideoOperator(
        task_id="render", prompt="a kite", output_path="{{ params.output }}", max_wait_for_slot=0, **WAY
    )
    render >> JimengReportOperator(task_id="report", retries=0)
"""


@pytest.fixture(scope="module", autouse=True)
def _dags() -> Iterator[None]:
    with dag_file("reports.py", DAG_FILE):
        yield


def run(dag_id: str, output: Path, *, day: int = 1, **conf: Any) -> FinishedRun:
    return run_dag(dag_id, {"output": f"{output.as_uri()}/", **conf}, day=day)


def test_a_campaign_with_failures_is_reported_with_what_to_do_and_what_it_cost(
    tmp_path: Path, jimeng_emulator: JimengEmulator
) -> None:
    jimeng_emulator.faults.add(where="render", what="fail", prompt_contains="ghost")
    jimeng_emulator.faults.add(where="submit", what="moderated", prompt_contains="bank")
    jimeng_emulator.faults.add(where="submit", what="cut_after", prompt_contains="wire")
    rows = [
        {"prompt": "a kite <script>", "output_name": "kite"},
        {"prompt": "a ghost"},
        {"prompt": "a bank"},
        {"prompt": "a fox", "model": "t2v_1080p"},
        {"prompt": "a wire"},
    ]
    finished = run("planned", tmp_path, rows=json.dumps(rows))
    assert finished.states["report"] == "success"
    summary = finished.xcom("report")
    counts = summary["counts"]
    assert (counts["tasks"], counts["landed"], counts["reused"]) == (5, 2, 0)
    assert (counts["failed"], counts["unfinished"], counts["no_render"]) == (2, 1, 0)
    assert summary["cost"] == {
        "planned_cny": "8.75",
        "actual_cny": "4.55",
        "earlier_cny": "0.00",
        "open_cny": "1.40",
    }
    by_task = {task: group for group in summary["failures"] for task in group["tasks"]}
    assert by_task["render[1]"]["code"] == "50511"
    assert "seed or prompt" in by_task["render[1]"]["advice"]
    assert by_task["render[2]"]["advice"] == "Change the prompt."
    assert by_task["render[4]"]["outcome"] == "unknown_submit"
    assert summary["uris"]["html"] == (tmp_path / "jimeng-report.html").as_uri()

    page = (tmp_path / "jimeng-report.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2
    assert "a kite &lt;script&gt;" in page
    assert "a bank" in page
    assert 'href="./kite.mp4"' in page
    whole = json.loads((tmp_path / "jimeng-report.json").read_text())
    assert whole["counts"] == counts
    assert [row["end"] for row in whole["renders"]].count("landed") == 2

    jimeng_emulator.faults.clear()
    again = run("planned", tmp_path, rows=json.dumps(rows[:4]), day=2, strict=True)
    assert again.state == "success"
    counts = again.xcom("report")["counts"]
    assert (counts["landed"], counts["reused"]) == (2, 2)
    assert again.xcom("report")["cost"]["earlier_cny"] == "4.55"


def test_a_strict_report_is_written_and_then_fails(tmp_path: Path, jimeng_emulator: JimengEmulator) -> None:
    jimeng_emulator.faults.add(where="render", what="fail")
    finished = run("planned", tmp_path, rows='[{"prompt": "a kite"}]', strict=True)
    assert finished.states["report"] == "failed"
    assert finished.xcom("report")["counts"]["failed"] == 1
    assert (tmp_path / "jimeng-report.html").is_file()


def test_a_plan_that_was_refused_is_reported_too(tmp_path: Path, jimeng_emulator: JimengEmulator) -> None:
    finished = run("planned", tmp_path, rows='[{"prompt": ""}]')
    assert finished.states == {"plan": "failed", "render": "upstream_failed", "report": "success"}
    summary = finished.xcom("report")
    assert summary["counts"]["no_render"] == summary["counts"]["tasks"] == 1
    assert summary["cost"]["planned_cny"] is None
    assert jimeng_emulator.bill()["submits"] == 0


def test_a_campaign_without_rows_is_reported_as_that_and_no_error_is_logged(
    tmp_path: Path,
    jimeng_emulator: JimengEmulator,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    finished = run("planned", tmp_path, rows="[]", strict=True)
    assert finished.states == {"plan": "success", "render": "skipped", "report": "success"}
    summary = finished.xcom("report")
    assert set(summary["counts"].values()) == {0}
    assert summary["cost"]["planned_cny"] == "0.00"
    assert summary["failures"] == []
    assert "XCom not found" not in capfd.readouterr().out + caplog.text
    assert (tmp_path / "jimeng-report.html").is_file()
    assert jimeng_emulator.bill()["submits"] == 0


def test_a_wait_for_a_slot_that_was_in_vain_is_reported_as_that(
    tmp_path: Path, jimeng_emulator: JimengEmulator
) -> None:
    jimeng_emulator.faults.add(where="submit", what="error_before", code=50430)
    finished = run("busy", tmp_path)
    assert finished.states == {"render": "failed", "report": "success"}
    left = finished.xcom("render", "jimeng_refusal")
    assert (left["outcome"], left["code"], left["prompt"]) == ("slot_timed_out", "50430", "a kite")
    summary = finished.xcom("report")
    (group,) = summary["failures"]
    assert group["meaning"] == "No render slot came free in time. Nothing was billed."
    assert "Clear the task to wait again" in group["advice"]
    assert summary["counts"]["no_render"] == 1
    assert summary["cost"]["open_cny"] == "0.00"


@pytest.mark.usefixtures("jimeng_emulator")
def test_submit_wait_and_download_are_one_render_in_the_report(tmp_path: Path) -> None:
    finished = run("steps", tmp_path)
    assert finished.state == "success"
    summary = finished.xcom("report")
    assert summary["counts"]["tasks"] == summary["counts"]["landed"] == 1
    assert summary["cost"]["actual_cny"] == "1.40"
    assert (tmp_path / "all.json").is_file()
    assert "no picture" in (tmp_path / "all.html").read_text()


@pytest.mark.usefixtures("jimeng_emulator")
def test_named_tasks_are_reported_and_nothing_is_written_without_a_place(tmp_path: Path) -> None:
    summary = run("named", tmp_path).xcom("report")
    assert summary["counts"]["tasks"] == 1
    assert summary["uris"] == {"html": None, "json": None}


@pytest.mark.usefixtures("jimeng_emulator")
def test_the_report_refuses_tasks_and_places_that_are_none() -> None:
    from airflow.providers.common.compat.sdk import DAG, AirflowFailException

    from airflow_provider_jimeng.operators.report import JimengReportOperator

    with DAG("refused", schedule=None):
        unknown = JimengReportOperator(task_id="unknown", task_ids=["render", "x"])
        alone = JimengReportOperator(task_id="alone")
        nowhere = JimengReportOperator(task_id="nowhere", output_path="file:///tmp/report.txt")
    for operator, says in (
        (unknown, "no task 'render', 'x'"),
        (alone, "no render task"),
        (nowhere, "neither a directory"),
    ):
        with pytest.raises(AirflowFailException, match=says):
            operator.execute({})
    with pytest.raises(AirflowFailException, match="does not belong to a DAG"):
        JimengReportOperator(task_id="stray").execute({})


def embedded(page: Path) -> list[bytes]:
    """The pictures inside a report."""
    return [
        base64.b64decode(found) for found in re.findall(r"data:image/jpeg;base64,([^\"]+)", page.read_text())
    ]


@pytest.mark.usefixtures("jimeng_emulator")
def test_the_picture_of_a_video_is_the_poster_beside_it(tmp_path: Path) -> None:
    from airflow_provider_jimeng.finishing.pictures import first_frame, saved_poster
    from airflow_provider_jimeng.storage.output import OutputPath

    finished = run("finished", tmp_path)
    assert finished.state == "success"
    (picture,) = embedded(tmp_path / "jimeng-report.html")
    file = OutputPath(output_path=f"{tmp_path}/kite.mp4").file()
    assert picture == saved_poster(file, finished.xcom("render")["sha256"])
    assert picture != first_frame(file)
    assert max(Image.open(io.BytesIO(picture)).size) == 360


def test_a_poster_of_another_video_or_one_that_cannot_be_read_is_not_used(tmp_path: Path) -> None:
    from airflow_provider_jimeng.finishing import finish
    from airflow_provider_jimeng.finishing.pictures import saved_poster
    from airflow_provider_jimeng.storage.output import OutputPath

    video = tmp_path / "kite.mp4"
    video.write_bytes(clip())
    made = finish(str(video), poster={"format": "webp"})[0]
    sha256, file = made["source"][0]["sha256"], OutputPath(output_path=str(video)).file()
    assert saved_poster(file, sha256) is not None
    assert saved_poster(file, "a" * 64) is None
    (tmp_path / "kite.poster.webp").write_bytes(b"changed")
    assert saved_poster(file, sha256) is None
    (tmp_path / "kite.poster.webp.json").write_text(
        json.dumps(made | {"sha256": hashlib.sha256(b"changed").hexdigest()})
    )
    assert saved_poster(file, sha256) is None


def test_a_file_that_is_no_video_gives_no_picture_and_no_error(tmp_path: Path) -> None:
    from airflow_provider_jimeng.finishing.pictures import first_frame
    from airflow_provider_jimeng.storage.output import OutputPath

    (tmp_path / "broken.mp4").write_bytes(b"no video")
    for name in ("broken.mp4", "missing.mp4"):
        assert first_frame(OutputPath(output_path=f"{tmp_path}/{name}").file()) is None


def test_a_store_that_fails_in_its_own_way_gives_no_picture_and_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    from airflow_provider_jimeng.finishing.pictures import first_frame
    from airflow_provider_jimeng.storage.output import OutputPath

    class AwayError(Exception):
        """What no other store raises."""

    class Away(RemoteStore):
        def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
            raise AwayError(path)

    file = OutputPath(output_path="memory://bucket/kite.mp4", output_conn_id=attached(Away())).file()
    assert first_frame(file) is None
    assert "No first frame of memory://bucket/kite.mp4 (AwayError" in caplog.text


def test_without_the_extra_nothing_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_jimeng.finishing.pictures import can_decode

    assert can_decode()
    monkeypatch.setitem(sys.modules, "av", None)
    assert not can_decode()
