# SPDX-License-Identifier: Apache-2.0
"""Run a campaign with a budget: check and quote every row, render the new rows, and report the result.

The plan pays nothing. A bad row, or a quote above the cap, stops the run before the first submit. If you run the same
rows again, also in a later run, you pay only for rows that are new, changed or failed. The others return their video.
The plan gives each row its arguments (model, prompt, output_path, …). `partial` contains the other arguments.
"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_jimeng.operators.plan import JimengPlanOperator
from airflow_provider_jimeng.operators.report import JimengReportOperator
from airflow_provider_jimeng.operators.video import JimengGenerateVideoOperator

ROWS = [
    {"prompt": "A red kite climbs over a wheat field in strong wind", "output_name": "kite"},
    {"prompt": "Steam rises from a bowl of noodles, close-up", "output_name": "noodles", "ratio": "9:16"},
    {"prompt": "A fox crosses a snowy ridge at sunrise, long lens", "output_name": "fox", "seed": 7},
]

with DAG(
    "example_jimeng_planned_campaign",
    schedule=None,
    catchup=False,
    params={"output": "file:///tmp/jimeng", "rows": ROWS, "max_cost_cny": 50},
):
    plan = JimengPlanOperator(
        task_id="plan",
        rows="{{ params.rows }}",  # or the path or URI of a CSV or JSONL file
        model="t2v_720p",
        output_path="{{ params.output }}/campaign/",
        max_cost_cny="{{ params.max_cost_cny }}",
    )
    render = JimengGenerateVideoOperator.partial(task_id="render", deferrable=True, retries=2).expand_kwargs(
        plan.output
    )
    report = JimengReportOperator(
        task_id="report", output_path="{{ params.output }}/campaign/", fail_if_incomplete=True
    )
    render >> report
