# SPDX-License-Identifier: Apache-2.0
"""Use frames and a camera movement: a loop with one picture as first and last frame, and a camera that moves in a picture.

The input is a still image. One of the API's templates moves the camera.
"""

from __future__ import annotations

from pathlib import Path

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_jimeng.operators.video import JimengGenerateVideoOperator

with DAG(
    "example_jimeng_camera",
    schedule=None,
    catchup=False,
    params={"output": "/tmp/jimeng", "picture": str(Path(__file__).with_name("lighthouse.jpg"))},
):
    JimengGenerateVideoOperator(
        task_id="loop",
        model="i2v_first_tail_720p",
        first_frame="{{ params.picture }}",
        last_frame="{{ params.picture }}",
        prompt="Waves roll in, the lamp turns once, then everything is as it was",
        output_path="{{ params.output }}/{{ run_id }}/loop.mp4",
        deferrable=True,
        retries=2,
    )
    JimengGenerateVideoOperator(
        task_id="orbit",
        model="i2v_recamera_720p",
        first_frame="{{ params.picture }}",
        camera_template="central_orbit",
        camera_strength="medium",
        prompt="Around the lighthouse at dusk",
        output_path="{{ params.output }}/{{ run_id }}/orbit.mp4",
        deferrable=True,
        retries=2,
    )
