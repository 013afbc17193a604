# SPDX-License-Identifier: Apache-2.0
"""Finish a daily teaser for two channels: visible label, poster, a wide and a tall version. It needs the extra `[media]`.

On Airflow 3.1 and newer, a person approves the video before it is finished. If nobody answers within a day, nothing
is finished. The asset event has the manifests of all files, so a consumer knows what to publish where.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import DAG, Asset

from airflow_provider_jimeng.links import has_views, video_page
from airflow_provider_jimeng.operators.finish import JimengFinishVideoOperator
from airflow_provider_jimeng.operators.video import JimengGenerateVideoOperator

FINISHED = Asset(uri="jimeng-example://finished-teaser")

with DAG(
    "example_jimeng_finish",
    schedule="@daily",
    start_date=pendulum.datetime(2026, 1, 1, tz="Asia/Shanghai"),
    catchup=False,
    max_active_runs=1,
    params={"output": "file:///tmp/jimeng", "label": "AI生成"},
    user_defined_macros={"video_page": video_page},
):
    render = JimengGenerateVideoOperator(
        task_id="render",
        prompt="Morning light moves over a mountain lake, mist lifts, the date {{ ds }} in the sand",
        output_path="{{ params.output }}/{{ ds }}/",
        deferrable=True,
        retries=2,
    )
    finish = JimengFinishVideoOperator(
        task_id="finish",
        video=render.output,
        visible_label="{{ params.label }}",
        poster=True,
        renditions=[
            {"name": "website", "size": 720, "max_bitrate_kbps": 4000},
            {"name": "phone", "aspect_ratio": "9:16", "size": 720, "fit": "blur"},
        ],
        outlets=[FINISHED],
        retries=2,
    )

    if has_views():
        from airflow.providers.standard.operators.hitl import ApprovalOperator

        review = ApprovalOperator(
            task_id="review",
            subject="Finish and publish this video?",
            body="[Watch the video]({{ video_page(dag.dag_id, run_id, 'render') }})",
            defaults=[ApprovalOperator.REJECT],  # used if nobody answers
            response_timeout=timedelta(days=1),
        )
        render >> review >> finish
