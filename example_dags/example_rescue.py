# SPDX-License-Identifier: Apache-2.0
"""Save videos that are paid and not saved, in the last task of a DAG, even if the tasks before it failed.

The rescue never submits. If it cannot query or save a render, it fails, and a retry costs nothing.
"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_jimeng.operators.rescue import JimengRescueOperator
from airflow_provider_jimeng.operators.video import JimengGenerateVideoOperator

with DAG("example_jimeng_rescue", schedule=None, catchup=False, params={"output": "file:///tmp/jimeng"}):
    render = JimengGenerateVideoOperator(
        task_id="render",
        prompt="A lamp swings in the wheelhouse of a fishing boat, night, rain on the panes",
        output_path="{{ params.output }}/{{ run_id }}/",
        deferrable=True,
        retries=2,
    )
    rescue = JimengRescueOperator(
        task_id="rescue", task_ids=["render"], output_path="{{ params.output }}/{{ run_id }}/"
    )
    render >> rescue
