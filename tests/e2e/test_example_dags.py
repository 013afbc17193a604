# SPDX-License-Identifier: Apache-2.0
"""Every example DAG runs: on a real Airflow database, against a served emulator, to a file that plays."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import pytest
from airflow.providers.common.compat.module_loading import import_string

from tests.harness.dag_runs import call_test, load_dags
from tests.harness.features import lack
from tests.harness.mail_server import MailServer, mail_server
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
    "example_jimeng_notification": 1,
}
if lack("deadlines") is None:
    VIDEOS["example_jimeng_deadline"] = 1
# DAG id → how many mails one run of it sends.
MAILS = {"example_jimeng_notification": 1}
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


@pytest.fixture
def mails(monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    """The mail server behind the connection `smtp_default`."""
    with mail_server() as server:
        monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", server.connection)
        yield server


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


@pytest.mark.waits
@pytest.mark.usefixtures("_examples_in_the_dags_folder")
@pytest.mark.parametrize("dag_id", VIDEOS)
def test_each_example_dag_runs_to_playable_files_and_pays_once_each(
    dag_id: str, jimeng_emulator: JimengEmulator, mails: MailServer, tmp_path: Path
) -> None:
    conf: dict[str, Any] = {"output": tmp_path.as_uri()}
    if dag_id == "example_jimeng_campaign":
        conf["prompts"] = ["a red kite", "a bowl of noodles", "a fox on a ridge"]
    if dag_id in FINISHED:
        conf["label"] = "AI"  # not every machine has a Chinese font
    dag = example_dags()[dag_id]
    if getattr(dag, "deadline", None):
        dag.deadline = None  # `dag.test()` of Airflow 3.3 cannot end the run of a DAG that has one

    run = call_test(dag, conf, approved="review")

    assert run.state == "success"
    landed = sorted(tmp_path.rglob("*.mp4"))
    assert len(landed) == VIDEOS[dag_id] + FINISHED.get(dag_id, 0)
    for path in landed:
        manifest = json.loads(path.with_name(f"{path.name}.json").read_text())
        assert frames(path) == manifest["frames"] == 121
        assert manifest["bytes"] == path.stat().st_size
    assert jimeng_emulator.bill()["billed"] == VIDEOS[dag_id]
    assert len(mails.mails) == MAILS.get(dag_id, 0)
    for mail in mails.mails:
        assert mail["Subject"] == f"Video saved: {dag_id}.render"
        content = mail.get_body(("html",))
        assert content is not None
        assert "Cost: 1.40 CNY" in content.get_content()


@pytest.mark.needs("deadlines")
def test_the_deadline_of_the_example_is_told_by_each_triggerer_as_one_mail(mails: MailServer) -> None:
    alert = example_dags()["example_jimeng_deadline"].deadline
    callback = (alert[0] if isinstance(alert, list) else alert).callback
    run = {
        "dag_run": {"dag_id": "example_jimeng_deadline", "dag_run_id": "manual__1"},
        "deadline": {"id": "7"},
    }

    async def miss(context: dict[str, Any]) -> None:
        """Do what the triggers of Airflow 3.1 to 3.3 do when a run has missed its deadline."""
        stored = json.loads(json.dumps(callback.kwargs))
        await import_string(callback.path)(**stored, context=context)

    for context in (run, run, {}):
        asyncio.run(miss(json.loads(json.dumps(context))))

    first, second, nameless = mails.mails
    assert first["Subject"] == "The teaser is late. DAG run is late: example_jimeng_deadline manual__1"
    assert first["Message-ID"] == second["Message-ID"] != nameless["Message-ID"]
