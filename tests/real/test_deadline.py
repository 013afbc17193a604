# SPDX-License-Identifier: Apache-2.0
"""A deadline that passes on a real scheduler with two triggerers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.harness.emulator import EmulatorServer
from tests.harness.mail_server import mail_server
from tests.harness.stack import AirflowStack
from tests.meta.tree import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.real, pytest.mark.nightly]

DAG_ID = "example_jimeng_deadline"
EXAMPLE = ROOT / "example_dags" / "example_deadline.py"
HOUR, MOMENT = "interval=timedelta(hours=1)", "interval=timedelta(seconds=1)"


def test_a_late_run_is_told_once_and_its_render_is_paid_once_and_saved(tmp_path: Path) -> None:
    example = EXAMPLE.read_text(encoding="utf-8")
    assert example.count(HOUR) == 1
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / EXAMPLE.name).write_text(example.replace(HOUR, MOMENT), encoding="utf-8")
    with mail_server() as mails, EmulatorServer(home=tmp_path, render_seconds=20) as emulator:
        connections = {
            "AIRFLOW_CONN_SMTP_DEFAULT": mails.connection,
            "AIRFLOW_CONN_JIMENG_DEFAULT": json.dumps({"conn_type": "jimeng", **emulator.connection_fields}),
        }
        with AirflowStack(tmp_path / "airflow", dags, triggerers=2, env=connections) as airflow:
            run = airflow.trigger(DAG_ID, conf={"output": (tmp_path / "videos").as_uri()})
            assert airflow.wait(DAG_ID, run) == "success"
            airflow.wait_until(lambda: bool(mails.mails), 120, "No mail arrived")
        bill = emulator.bill()

    assert len({mail["Message-ID"] for mail in mails.mails}) == 1
    assert {mail["Subject"] for mail in mails.mails} == {
        f"The teaser is late. DAG run is late: {DAG_ID} {run}"
    }
    assert (bill["accepted"], bill["billed"]) == (1, 1)
    assert len(list((tmp_path / "videos").rglob("*.mp4"))) == 1
