# SPDX-License-Identifier: Apache-2.0
"""A connection as the form stores it, in Airflow's database: `dag.test()` runs task and trigger with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from airflow.models import Connection
from airflow.utils.session import create_session

from airflow_provider_jimeng.emulator import JimengEmulator
from airflow_provider_jimeng.provider_info import CONN_FIELDS
from tests.harness.dag_runs import dag_file, run_dag

if TYPE_CHECKING:
    from pathlib import Path

DAG_ID = "stored_connection"
LABEL = {"producer_id": "dag-1", "content_propagator": "us"}
DAG_TEXT = f"""
from airflow.providers.common.compat.sdk import DAG
from airflow_provider_jimeng.operators.video import JimengGenerateVideoOperator

with DAG("{DAG_ID}", schedule=None, catchup=False):
    JimengGenerateVideoOperator(
        task_id="render",
        prompt="a red kite",
        jimeng_conn_id="{DAG_ID}",
        output_path="{{{{ dag_run.conf['output'] }}}}/",
        require_tagged=True,
        deferrable=True,
        poll_interval=0.1,
        wait_timeout=60,
        retries=0,
    )
"""


@pytest.mark.waits
def test_a_deferred_render_finds_the_connection_that_the_form_stored(tmp_path: Path) -> None:
    form = dict.fromkeys(CONN_FIELDS) | {"auth": "volc", "aigc_meta": LABEL, "prices": {"t2v_720p": 0.5}}
    emulator = JimengEmulator(render_seconds=0.2)
    with emulator.serve(), dag_file(f"{DAG_ID}.py", DAG_TEXT):
        fields = json.loads(emulator.connection_json())
        extra = json.dumps({**form, **fields.pop("extra")})
        with create_session() as session:
            session.add(Connection(conn_id=DAG_ID, extra=extra, **fields))  # noqa: AIR311 - the row, not the SDK's value
        run = run_dag(DAG_ID, {"output": tmp_path.as_uri()})
    assert run.state == "success"
    manifest = run.xcom("render")
    assert (manifest["cost_cny"], manifest["aigc_meta_tagged"]) == ("2.50", True)
    assert emulator.bill()["accepted"] == 1
