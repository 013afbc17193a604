# SPDX-License-Identifier: Apache-2.0
"""Every argument of every public class and method, as a literal."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pendulum
from airflow.sdk import DAG, Asset, ObjectStoragePath

from airflow_provider_jimeng.finishing import Poster, Rendition, VisibleLabel
from airflow_provider_jimeng.hooks.jimeng import JimengHook
from airflow_provider_jimeng.operators.finish import JimengFinishVideoOperator
from airflow_provider_jimeng.operators.plan import JimengPlanOperator
from airflow_provider_jimeng.operators.report import JimengReportOperator
from airflow_provider_jimeng.operators.rescue import JimengRescueOperator
from airflow_provider_jimeng.operators.video import (
    JimengDownloadVideoOperator,
    JimengGenerateVideoOperator,
    JimengSubmitVideoOperator,
)
from airflow_provider_jimeng.retry import JimengRetryPolicy
from airflow_provider_jimeng.sensors.video import JimengVideoSensor

LABEL = {"producer_id": "p-1", "content_propagator": "studio"}

with DAG(dag_id="literals", start_date=pendulum.datetime(2026, 1, 1), schedule=None):
    submit = JimengSubmitVideoOperator(
        task_id="submit",
        prompt="a red kite",
        model="i2v_recamera_720p",
        duration=5,
        aspect_ratio="16:9",
        seed=-1,
        first_frame=Path("/images/first.png"),
        last_frame="https://example.com/last.png",
        camera_template="dynamic_orbit",
        camera_strength="medium",
        aigc_meta=LABEL,
        require_tagged=True,
        take=2,
        extra_body={"new_field": 1},
        max_cost_cny=Decimal("1.50"),
        jimeng_conn_id="jimeng_default",
        on_rerun="render",
        on_unknown_submit="resubmit",
        on_lost="resubmit",
        reuse="output_path",
        output_path=ObjectStoragePath("s3://bucket/videos/"),
        output_conn_id="aws_default",
        max_wait_for_slot=600,
        deferrable=True,
        retries=2,
        retry_policy=JimengRetryPolicy(),
        retry_delay=timedelta(seconds=5),
    )
    sensor = JimengVideoSensor(
        task_id="wait",
        render={"task_id": "1"},
        render_id=7392616336519610409,
        model="t2v_720p",
        jimeng_conn_id="jimeng_default",
        poll_interval=5.0,
        poke_interval=timedelta(seconds=15),
        deferrable=True,
        retries=2,
        retry_policy=JimengRetryPolicy(),
        mode="reschedule",
        timeout=3600,
        soft_fail=True,
    )
    download = JimengDownloadVideoOperator(
        task_id="download",
        output_path=Path("/videos"),
        render={"task_id": "1"},
        render_id="7392616336519610409",
        model="t2v_720p",
        output_conn_id="fs_default",
        overwrite=True,
        on_difference="fail",
        aigc_meta=LABEL,
        require_tagged=True,
        jimeng_conn_id="jimeng_default",
        retries=2,
        retry_policy=JimengRetryPolicy(),
        pool="default_pool",
    )
    generate = JimengGenerateVideoOperator(
        task_id="generate",
        output_path="s3://bucket/videos/kite.mp4",
        prompt="a red kite",
        model="i2v_first_tail_720p",
        duration=10,
        aspect_ratio="9:16",
        seed=7,
        first_frame="s3://bucket/first.png",
        last_frame=Path("/images/last.png"),
        camera_template="dynamic_orbit",
        camera_strength="weak",
        aigc_meta=LABEL,
        require_tagged=False,
        take=1,
        extra_body={"new_field": True},
        max_cost_cny=2.8,
        jimeng_conn_id="jimeng_default",
        on_rerun="adopt",
        on_unknown_submit="fail",
        on_lost="fail",
        reuse="task",
        output_conn_id="aws_default",
        max_wait_for_slot=600,
        poll_interval=5,
        wait_timeout=3600,
        overwrite=True,
        on_difference="fail",
        deferrable=True,
        retries=2,
        retry_policy=JimengRetryPolicy(),
        outlets=[Asset("s3://bucket/videos/")],
        execution_timeout=timedelta(hours=1),
    )
    plan = JimengPlanOperator(
        task_id="plan",
        rows=[{"prompt": "a red kite"}],
        rows_sheet="Sheet1",
        ignore_columns=["note"],
        max_cost_cny=100,
        output_path="s3://bucket/videos/",
        output_conn_id="aws_default",
        rows_conn_id="aws_default",
        overwrite=True,
        jimeng_conn_id="jimeng_default",
        model="t2v_720p",
        duration=5,
        aspect_ratio="16:9",
        seed=7,
        first_frame=Path("/images/first.png"),
        last_frame="/images/last.png",
        camera_template="dynamic_orbit",
        camera_strength="strong",
        extra_body={"new_field": None},
        retries=2,
        retry_policy=JimengRetryPolicy(),
    )
    rescue = JimengRescueOperator(
        task_id="rescue",
        output_path="s3://bucket/videos/",
        task_ids=["generate"],
        dag_id="literals",
        run_id="manual__1",
        output_conn_id="aws_default",
        wait_timeout=600,
        aigc_meta=LABEL,
        require_tagged=True,
        compare_bytes=True,
        trigger_rule="all_done",
        retries=2,
        retry_policy=JimengRetryPolicy(),
    )
    finish = JimengFinishVideoOperator(
        task_id="finish",
        video=generate.output,
        visible_label=VisibleLabel(text="AI生成", show="throughout"),
        poster=Poster(at=1),
        preview=True,
        renditions=[Rendition(aspect_ratio="9:16", size=720), {"size": 480, "focus": [0.5, 0.3]}],
        concat={"name": "spot", "cross_fade": 0.5},
        audio="s3://bucket/music.mp3",
        require_implicit=True,
        output_conn_id="aws_default",
        threads=4,
        retries=2,
        retry_policy=JimengRetryPolicy(),
    )
    report = JimengReportOperator(
        task_id="report",
        task_ids="generate",
        output_path=ObjectStoragePath("s3://bucket/videos/"),
        output_conn_id="aws_default",
        contact_sheet=False,
        fail_if_incomplete=True,
        trigger_rule="all_done",
        retries=2,
        retry_policy=JimengRetryPolicy(),
    )
    submit >> sensor >> download
    plan >> generate >> rescue >> finish >> report


def call() -> str:
    with JimengHook(jimeng_conn_id="jimeng_default") as hook:
        render = hook.submit(
            prompt="a red kite",
            model="t2v_720p",
            duration=5,
            aspect_ratio="16:9",
            seed=7,
            first_frame=Path("/images/first.png"),
            last_frame="/images/last.png",
            camera_template="dynamic_orbit",
            camera_strength="weak",
            take=2,
            extra_body={"new_field": 1},
            max_cost_cny=2,
        )
        hook.submit_text_to_video(
            prompt="a red kite",
            duration=5,
            model="t2v_720p",
            aspect_ratio="16:9",
            seed=7,
            take=1,
            extra_body={},
            max_cost_cny="1.4",
        )
        hook.submit_image_to_video(
            image_url="https://example.com/first.png",
            first_frame="https://example.com/first.png",
            last_frame="https://example.com/last.png",
            prompt="a red kite",
            duration=5,
            model="i2v_first_tail_720p",
            aspect_ratio="16:9",
            seed=7,
            camera_template="dynamic_orbit",
            camera_strength="weak",
            take=1,
            extra_body={},
            max_cost_cny=2,
        )
        reply = hook.query(render.task_id, "t2v_720p", aigc_meta=LABEL)
        finished = hook.wait_for_completion(render, "t2v_720p", wait_timeout=60, timeout=60, poll_interval=1)
        manifest = hook.download(
            finished,
            Path("/videos"),
            "t2v_720p",
            output_conn_id="fs_default",
            overwrite=True,
            aigc_meta=LABEL,
            require_tagged=True,
        )
        hook.cancel(render, "t2v_720p")
    return f"{reply.status} {manifest.uri}"


async def acall() -> str:
    async with JimengHook() as hook:
        render = await hook.asubmit(
            prompt="a red kite",
            model="t2v_720p",
            duration="5",
            aspect_ratio="16:9",
            seed="7",
            first_frame="/images/first.png",
            last_frame=Path("/images/last.png"),
            camera_template="dynamic_orbit",
            camera_strength="weak",
            take="2",
            extra_body={"new_field": 1},
            max_cost_cny=Decimal(2),
        )
        reply = await hook.aquery(render, "t2v_720p", aigc_meta=LABEL)
        finished = await hook.await_for_completion(
            render.to_payload(), "t2v_720p", wait_timeout=60, timeout=60, poll_interval=1
        )
        manifest = await hook.adownload(
            finished.render,
            "/videos/",
            "t2v_720p",
            output_conn_id="fs_default",
            overwrite=True,
            aigc_meta=LABEL,
            require_tagged=True,
        )
        await hook.acancel(render, "t2v_720p")
    return f"{reply.status} {manifest.uri}"
