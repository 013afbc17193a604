# SPDX-License-Identifier: Apache-2.0
"""A campaign on a cluster that loses a triggerer, a worker and its scheduler on the way.

`COUNT` in the environment is the number of renders; `make cluster-test` runs this.
"""

from __future__ import annotations

import hashlib
import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.harness.cluster import ProcessEnder, open_cluster
from tests.harness.emulator import EmulatorServer
from tests.harness.leaks import MEDIA_LINK, SIGNED_HEADER, document, files, findings, secret, tables
from tests.meta.tree import ROOT

pytestmark = [pytest.mark.real, pytest.mark.cluster]

DAG_ID = "example_jimeng_campaign"
RUN_ID = "campaign"
COUNT = int(os.environ.get("COUNT") or 60)
AT_A_TIME = 4
SECONDS = 600 + 20 * COUNT  # several times what a quiet machine needs


def test_a_campaign_outlives_a_triggerer_a_worker_and_the_scheduler(tmp_path: Path) -> None:
    emulator = EmulatorServer(home=tmp_path, render_seconds=8, max_concurrent=AT_A_TIME, max_qps=20)
    with open_cluster(tmp_path, ROOT / "example_dags", emulator) as cluster:
        airflow = cluster.airflow
        prompts = [f"A red kite over field number {number}" for number in range(COUNT)]
        airflow.trigger(DAG_ID, {"output": cluster.output, "prompts": prompts}, run_id=RUN_ID)
        ender = ProcessEnder(airflow, DAG_ID, RUN_ID, "render")
        state = airflow.wait(DAG_ID, RUN_ID, timeout=SECONDS, progress=ender)

        rows = airflow.task_instances(DAG_ID, RUN_ID)
        ends = {(row["task_id"], row["map_index"]): row["state"] for row in rows}
        assert set(ends.values()) == {"success"}, ends
        assert (state, set(ender.ended)) == ("success", {"triggerer", "worker", "scheduler"})
        assert sum(task_id == "render" for task_id, _ in ends) == COUNT
        bill = emulator.bill()
        assert (bill["accepted"], bill["billed"]) == (COUNT, COUNT)
        assert bill["peak_in_flight"]["total"] == AT_A_TIME

        objects = cluster.store.objects()
        landed = manifests(objects)
        assert {manifest["task_id"] for manifest in landed} == set(bill["by_task"])
        for manifest in landed:
            assert Decimal(manifest["cost_cny"]) == Decimal(bill["by_task"][manifest["task_id"]]["cost_cny"])
        assert sum(Decimal(manifest["cost_cny"]) for manifest in landed) == Decimal(bill["cost_cny"])
        xcoms = [airflow.xcom(DAG_ID, RUN_ID, "render", map_index=index) for index in range(COUNT)]
        assert sorted(xcoms, key=by_task_id) == sorted(landed, key=by_task_id)
        assert cluster.store.unfinished() == []

        needles = [
            secret("the secret key", emulator.secret_key),
            secret("the store's key", cluster.store.secret_key),
            MEDIA_LINK,
            SIGNED_HEADER,
        ]
        # The search sees logs and tables: both name what may be named.
        assert findings(files(airflow.home / "logs"), [secret("a video", landed[-1]["task_id"])])
        assert findings(tables(cluster.database_url), [secret("a prompt", prompts[-1])])
        assert findings(files(airflow.home), needles) == []
        assert findings(tables(cluster.database_url), needles) == []
        assert findings([(key, data) for key, data in objects.items()], needles) == []
        assert findings([document("task instances", rows)], needles) == []


def by_task_id(manifest: dict[str, Any]) -> str:
    return str(manifest["task_id"])


def manifests(objects: dict[str, bytes]) -> list[dict[str, Any]]:
    """The manifests, one beside each video, each true to the bytes beside it; and nothing else but the ledger."""
    videos = {key: data for key, data in objects.items() if key.endswith(".mp4")}
    beside = {key: json.loads(objects[f"{key}.json"]) for key in videos}
    others = objects.keys() - videos.keys() - {f"{key}.json" for key in videos}
    assert len(videos) == COUNT
    assert all("/.jimeng/" in key for key in others), others
    for key, manifest in beside.items():
        assert manifest["uri"].endswith(key)
        assert (manifest["bytes"], manifest["sha256"]) == (
            len(videos[key]),
            hashlib.sha256(videos[key]).hexdigest(),
        )
    return list(beside.values())
