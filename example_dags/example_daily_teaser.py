# SPDX-License-Identifier: Apache-2.0
"""Make a video a day. A second DAG starts when the video is saved.

The manifest is the extra of the asset event, so the second DAG knows where the file is and what it cost.
`catchup=False` is set because a backfill would pay for every day.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, Asset, task

from airflow_provider_jimeng.operators.video import JimengGenerateVideoOperator

TEASER = Asset(uri="jimeng-example://daily-teaser")

with DAG(
    "example_jimeng_daily_teaser",
    schedule="@daily",
    start_date=pendulum.datetime(2026, 1, 1, tz="Asia/Shanghai"),
    catchup=False,
    max_active_runs=1,
    params={"output": "/tmp/jimeng"},
):
    JimengGenerateVideoOperator(
        task_id="render",
        prompt="Morning light moves over a mountain lake, mist lifts, the date {{ ds }} in the sand",
        model="t2v_720p",
        output_path="{{ params.output }}/{{ ds }}/",
        outlets=[TEASER],
        deferrable=True,
        retries=2,
    )

with DAG(
    "example_jimeng_publish_teaser",
    schedule=[TEASER],
    start_date=pendulum.datetime(2026, 1, 1, tz="Asia/Shanghai"),  # Airflow 2 requires it
    catchup=False,
):

    @task
    def publish(**context: Any) -> list[str]:
        """Return every video that was saved since the last run of this DAG."""
        events = context.get("triggering_asset_events") or context.get("triggering_dataset_events") or {}
        return [str(event.extra["uri"]) for event in chain.from_iterable(events.values())]

    publish()
