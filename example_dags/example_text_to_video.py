# SPDX-License-Identifier: Apache-2.0
"""Make a video from a prompt. This is the smallest example. It needs the connection `jimeng_default`."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_jimeng.operators.video import JimengGenerateVideoOperator

with DAG("example_jimeng_text_to_video", schedule=None, catchup=False, params={"output": "/tmp/jimeng"}):
    JimengGenerateVideoOperator(
        task_id="render",
        prompt="A paper boat sails down a rainy street at dusk, slow dolly in",
        output_path="{{ params.output }}/{{ run_id }}/",
        deferrable=True,
    )
