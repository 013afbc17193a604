# SPDX-License-Identifier: Apache-2.0
"""Let a person look at the video before it is published. The question to a person needs Airflow 3.1.

The question is shown below the video, with its options and a note. If nobody answers within a day, the take counts as
rejected, and nothing is published. The DAG renders and pays for a new take only if the reviewer asks for it and confirms
its price. The render costs no more than that, or it fails before it is paid. The second take is the last.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import DAG, Param, task

from airflow_provider_jimeng.links import has_views, video_page
from airflow_provider_jimeng.operators.video import JimengGenerateVideoOperator

PUBLISH, REJECT, NEW_TAKE = "Publish", "Reject", "Reject and pay for a new take"
PRICE = "1.40"  # CNY, the most that a new take can cost
LOOK = "**{{ params.prompt }}**\n\n[Watch the video]({{ video_page(dag.dag_id, run_id, '%s') }})"

if has_views():
    from airflow.providers.standard.operators.hitl import ApprovalOperator, HITLOperator

    with DAG(
        "example_jimeng_review",
        schedule=None,
        catchup=False,
        params={
            "prompt": "A paper boat sails down a rainy street at dusk, slow dolly in",
            "output": "file:///tmp/jimeng",
        },
        user_defined_macros={"video_page": video_page},
    ):
        request: dict[str, Any] = {
            "prompt": "{{ params.prompt }}",
            "output_path": "{{ params.output }}/{{ run_id }}/",
            "deferrable": True,
            "retries": 2,
        }

        @task(trigger_rule="none_failed_min_one_success")
        def publish(first: dict[str, Any] | None = None, second: dict[str, Any] | None = None) -> str:
            """Publish the approved take. This example only returns its file."""
            return str((second or first or {})["uri"])

        render = JimengGenerateVideoOperator(task_id="render", **request)
        review = HITLOperator(
            task_id="review",
            subject="Publish this video?",
            body=LOOK % "render",
            options=[PUBLISH, REJECT, NEW_TAKE],
            params={
                "note": Param("", type="string", title="Note", maxLength=500),
                "pay": Param(
                    default=False,
                    type="boolean",
                    title=f"Pay up to ¥{PRICE} for a new take",
                    confirms=NEW_TAKE,  # the page asks for this before it sends that option
                ),
            },
            defaults=[REJECT],  # used if nobody answers
            response_timeout=timedelta(days=1),
        )

        @task.branch
        def decide(answer: dict[str, Any]) -> str:
            """Follow the answer. A new take is rendered only if the reviewer confirmed its price."""
            (chosen,) = answer["chosen_options"]
            if chosen == NEW_TAKE and answer["params_input"].get("pay"):
                return "render_again"
            return "publish" if chosen == PUBLISH else "rejected"

        @task
        def rejected(answer: dict[str, Any]) -> str:
            """End the run without a video. Return the reviewer's note."""
            return str(answer["params_input"].get("note", ""))

        # Another take of the same request is another video, and it is paid again.
        render_again = JimengGenerateVideoOperator(
            task_id="render_again", take=2, max_cost_cny=PRICE, **request
        )
        review_again = ApprovalOperator(
            task_id="review_again",
            subject="Publish the second take?",
            body=LOOK % "render_again",
            defaults=[ApprovalOperator.REJECT],
            response_timeout=timedelta(days=1),
        )

        published = publish(render.output, render_again.output)
        decision = decide(review.output)
        render >> review >> decision >> [published, rejected(review.output), render_again]
        render_again >> review_again >> published
