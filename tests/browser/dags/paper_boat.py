# SPDX-License-Identifier: Apache-2.0
"""The DAG of the moving picture in the README. Its prompt is typed into Airflow's form."""

from __future__ import annotations

from pathlib import Path

from airflow.providers.common.compat.sdk import DAG
from airflow.sdk import Param

from airflow_provider_jimeng.operators.video import JimengGenerateVideoOperator

VIDEOS = Path(__file__).parents[1] / "videos"

with DAG("paper_boat", schedule=None, catchup=False, params={"prompt": Param("", type="string")}):
    JimengGenerateVideoOperator(
        task_id="render",
        prompt="{{ params.prompt }}",
        output_path=f"{VIDEOS.as_uri()}/{{{{ run_id }}}}/",
        deferrable=True,
    )
