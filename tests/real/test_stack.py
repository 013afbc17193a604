"""The harness on PostgreSQL with two triggerers: what the failover tests stand on."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.harness.emulator import EmulatorServer
from tests.harness.servers import PostgresServer
from tests.harness.stack import AirflowStack
from tests.meta.tree import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.real

DAG_ID = "example_jimeng_campaign"


def test_a_campaign_outlives_the_death_of_one_of_two_triggerers(tmp_path: Path) -> None:
    prompts = ["a red kite", "a bowl of noodles", "a fox on a ridge", "rain on a window"]
    with (
        PostgresServer(home=tmp_path) as postgres,
        EmulatorServer(home=tmp_path, render_seconds=40, max_concurrent=4) as emulator,
        AirflowStack(
            tmp_path / "airflow", ROOT / "example_dags", db=postgres.url, triggerers=2, parallelism=4
        ) as airflow,
    ):
        airflow.add_connection("jimeng_default", "jimeng", **emulator.connection_fields)
        conf = {"output": (tmp_path / "videos").as_uri(), "prompts": prompts}
        run_id = airflow.trigger(DAG_ID, conf)
        for index in range(len(prompts)):
            airflow.wait_for_task(DAG_ID, run_id, "render", {"deferred"}, map_index=index)

        airflow.kill_triggerer(0, signal.SIGKILL)

        assert airflow.wait(DAG_ID, run_id, timeout=300) == "success"
        bill = emulator.bill()
        manifests = [airflow.xcom(DAG_ID, run_id, "render", map_index=index) for index in range(len(prompts))]
    assert (bill["submits"], bill["billed"]) == (4, 4)
    assert len({manifest["task_id"] for manifest in manifests}) == 4
    assert len(list((tmp_path / "videos").rglob("*.mp4"))) == 4
