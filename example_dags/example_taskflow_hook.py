"""The hook in a Python task, for what the operators do not cover.

This holds a worker while it waits, and nothing remembers the render: a retry of this task pays again, hence
`retries=0`. The operators keep a record and adopt what was paid for.
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

    @task(retries=0, multiple_outputs=False)  # one XCom, not one per key
    def render(params: dict[str, Any], run_id: str) -> dict[str, Any]:
        """Submit, wait and download in one go."""
        # Imported here: parsing this file needs no HTTP client.
        from airflow_provider_jimeng.hooks.jimeng import JimengHook

        hook = JimengHook()
        submitted = hook.submit_text_to_video(
            prompt="A glass marble rolls along a wooden track, macro shot", model="t2v_720p", duration=5
        )
        finished = hook.wait_for_completion(submitted)
        return hook.download(finished, f"{params['output']}/{run_id}/").to_payload()

    render()
