# SPDX-License-Identifier: Apache-2.0
"""A campaign with a plan and a report, as the page of a run shows it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_jimeng.operators.plan import JimengPlanOperator
from airflow_provider_jimeng.operators.report import JimengReportOperator
from airflow_provider_jimeng.operators.video import JimengGenerateVideoOperator

OUTPUT = f"{(Path(__file__).parents[1] / 'videos').as_uri()}/{{{{ dag.dag_id }}}}/{{{{ run_id }}}}/"
ROWS = [
    {"prompt": "一只红色风筝飞过麦田", "seed": 1},
    {"prompt": "一只红色风筝飞过麦田", "seed": 2, "model": "t2v_1080p"},
    {"prompt": "Paper boats on a rainy street", "seed": 3},
    {"prompt": "A dragon that the emulator refuses", "seed": 4},
]

with DAG("planned_campaign", schedule=None, catchup=False):
    plan = JimengPlanOperator(task_id="plan", rows=ROWS, output_path=OUTPUT)
    render = JimengGenerateVideoOperator.partial(
        task_id="render", deferrable=True, retries=3, retry_delay=timedelta(seconds=2)
    ).expand_kwargs(plan.output)
    render >> JimengReportOperator(task_id="report", output_path=OUTPUT)
