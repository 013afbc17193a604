# SPDX-License-Identifier: Apache-2.0
"""Run a campaign: one mapped task per prompt. All tasks wait in the triggerer, and none occupies a worker.

The API renders one or two videos of an account at a time. The other tasks wait for a slot without using retries.
A pool with "include deferred" limits how many renders of this Airflow are in progress at a time.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_jimeng.operators.video import JimengGenerateVideoOperator

PROMPTS = [
    "A red kite climbs over a wheat field in strong wind, low camera looking up",
    "Steam rises from a bowl of noodles on a night market counter, close-up",
    "A fox crosses a snowy ridge at sunrise, long lens, slow pan",
    "Rain drops run down a train window, city lights blur behind it",
    "A potter's hands shape a bowl on a turning wheel, soft side light",
]

with DAG(
    "example_jimeng_campaign",
    schedule=None,
    catchup=False,
    params={"output": "/tmp/jimeng", "prompts": PROMPTS},
):

    @task
    def prompts(params: dict[str, Any]) -> list[str]:
        """Return the prompts of this run: those of the trigger form, or the five above."""
        return list(params["prompts"])

    @task
    def bill(manifests: list[dict[str, Any]]) -> str:
        """Count the saved videos and add up their cost. An unknown price is `None`, never 0."""
        costs = [manifest["cost_cny"] for manifest in manifests]
        known = sum((Decimal(cost) for cost in costs if cost is not None), Decimal(0))
        return f"{len(costs)} videos, CNY {known}, {costs.count(None)} of unknown price"

    renders = JimengGenerateVideoOperator.partial(
        task_id="render",
        model="t2v_720p",
        duration=5,
        output_path="{{ params.output }}/{{ run_id }}/",
        deferrable=True,
        retries=2,
    ).expand(prompt=prompts())
    bill(renders.output)
