"""The last task brings home what was paid for and not landed, whatever became of the tasks before it.

It never submits. While something could not be asked for or landed it fails, and may be retried free.
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
