# SPDX-License-Identifier: Apache-2.0
"""Use a picture as the first frame. The task reads a path, or any URI that ObjectStoragePath opens, and sends the image.
The API itself downloads an http(s) URL."""

from __future__ import annotations

from pathlib import Path

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_jimeng.operators.video import JimengGenerateVideoOperator

with DAG(
    "example_jimeng_image_to_video",
    schedule=None,
    catchup=False,
    params={"output": "/tmp/jimeng", "picture": str(Path(__file__).with_name("lighthouse.jpg"))},
):
    JimengGenerateVideoOperator(
        task_id="render",
        model="i2v_first_720p",
        first_frame="{{ params.picture }}",
        prompt="The lamp of the lighthouse turns, waves roll in, gulls pass",
        output_path="{{ params.output }}/{{ run_id }}/",
        deferrable=True,
        retries=2,
    )
