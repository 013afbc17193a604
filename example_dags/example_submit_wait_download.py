# SPDX-License-Identifier: Apache-2.0
"""Use three tasks: submit, wait, save. You can retry and clear each task by itself."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_jimeng.operators.video import JimengDownloadVideoOperator, JimengSubmitVideoOperator
from airflow_provider_jimeng.sensors.video import JimengVideoSensor

with DAG(
    "example_jimeng_submit_wait_download",
    schedule=None,
    catchup=False,
    params={"output": "/tmp/jimeng"},
    default_args={"retries": 2},
):
    submit = JimengSubmitVideoOperator(
        task_id="submit",
        prompt="Time-lapse of a city square from dawn to night, tripod shot",
        model="t2v_720p",
        aspect_ratio="16:9",
        seed=42,
        deferrable=True,
    )
    wait = JimengVideoSensor(task_id="wait", render=submit.output, deferrable=True)
    JimengDownloadVideoOperator(
        task_id="download", render=wait.output, output_path="{{ params.output }}/{{ run_id }}/"
    )
