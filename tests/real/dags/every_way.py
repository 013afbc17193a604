# SPDX-License-Identifier: Apache-2.0
"""Every way a task may take with a connection that holds secrets: through, over a queue, and against walls."""

from __future__ import annotations

import base64
import logging
from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_jimeng.hooks.jimeng import JimengHook
from airflow_provider_jimeng.operators.video import (
    JimengDownloadVideoOperator,
    JimengGenerateVideoOperator,
    JimengSubmitVideoOperator,
)
from airflow_provider_jimeng.sensors.video import JimengVideoSensor

log = logging.getLogger(__name__)

VIDEOS = "{{ params.output }}/{{ run_id }}/"

with DAG("every_way", schedule=None, params={"output": "videos"}, default_args={"retries": 0}):
    JimengGenerateVideoOperator.partial(task_id="generate", output_path=VIDEOS, deferrable=True).expand(
        prompt=["a red kite", "a green kite"]
    )
    JimengGenerateVideoOperator(
        task_id="on_the_worker",
        prompt="a fox",
        model="t2v_1080p",
        output_path=VIDEOS,
        deferrable=False,
        poll_interval=2,
    )
    submit = JimengSubmitVideoOperator(task_id="submit", prompt="a bowl", model="ti2v_pro", deferrable=True)
    wait = JimengVideoSensor(task_id="wait", render=submit.output, deferrable=True)
    JimengDownloadVideoOperator(task_id="download", render=wait.output, output_path=VIDEOS)
    JimengGenerateVideoOperator(
        task_id="over_a_gateway",
        prompt="a lighthouse",
        model="ti2v_pro",
        jimeng_conn_id="jimeng_gateway",
        output_path=VIDEOS,
        deferrable=True,
    )
    JimengGenerateVideoOperator(
        task_id="fails",
        prompt="a forbidden kite",
        model="t2v_1080p",
        output_path=VIDEOS,
        deferrable=True,
    )
    JimengGenerateVideoOperator(
        task_id="refused",
        prompt="a cat",
        jimeng_conn_id="jimeng_refused",
        output_path=VIDEOS,
        deferrable=True,
    )
    JimengGenerateVideoOperator(
        task_id="unreachable",
        prompt="a dog",
        jimeng_conn_id="jimeng_unreachable",
        output_path=VIDEOS,
        deferrable=True,
    )

    @task(multiple_outputs=True)
    def by_hook(params: dict[str, Any], run_id: str) -> dict[str, Any]:
        """A script's way, with everything printed that a script may print."""
        hook = JimengHook()
        submitted = hook.submit_text_to_video(prompt="a potter", model="t2v_s2_pro", duration=5)
        finished = hook.wait_for_completion(submitted)
        log.info("%s %s %s %s %s", hook, hook.settings, submitted, finished, hook.test_connection())
        return hook.download(finished, f"{params['output']}/{run_id}/").to_payload()

    by_hook()

with DAG("leaks", schedule=None, params={"render": {}}):

    @task(multiple_outputs=True)
    def leak(params: dict[str, Any]) -> dict[str, str]:
        """Write what must never be written, where it must never be: the search has to find it."""
        hook = JimengHook()
        link = str(hook.query(params["render"]["task_id"], model=params["render"]["model"]).video_url)
        settings = hook.settings
        log.info(link)
        log.info(base64.b64encode(f"key:{settings.secret_key}".encode()).decode())
        log.info("%s Credential=AKLT/20260102/cn-north-1/cv/request, Signature=%s", "HMAC-SHA256", "0" * 64)
        return {"key": settings.secret_key, "token": str(settings.session_token), "link": link}

    leak()
