# SPDX-License-Identifier: Apache-2.0
"""Use the hook in a Python task, if the operators do not do what you need.

This task occupies a worker while it waits, and nothing remembers the render. A retry would pay again, so the task has
`retries=0`. The operators keep a record and adopt a paid render.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import DAG, task

with DAG(
    "example_jimeng_taskflow_hook",
    schedule=None,
    catchup=False,
    params={"output": "/tmp/jimeng"},
):

    @task(retries=0, multiple_outputs=False)  # push one XCom, not one per key
    def render(params: dict[str, Any], run_id: str) -> dict[str, Any]:
        """Submit, wait and download in one task."""
        # The import is here because parsing this file needs no HTTP client.
        from airflow_provider_jimeng.hooks.jimeng import JimengHook

        hook = JimengHook()
        submitted = hook.submit_text_to_video(
            prompt="A glass marble rolls along a wooden track, macro shot", model="t2v_720p", duration=5
        )
        finished = hook.wait_for_completion(submitted)
        return hook.download(finished, f"{params['output']}/{run_id}/").to_payload()

    render()
