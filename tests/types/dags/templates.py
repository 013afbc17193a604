# SPDX-License-Identifier: Apache-2.0
"""Every templated argument as a template, and as the output of another task."""

from __future__ import annotations

import pendulum
from airflow.sdk import DAG, XComArg, task

from airflow_provider_jimeng.operators.finish import JimengFinishVideoOperator
from airflow_provider_jimeng.operators.plan import JimengPlanOperator
from airflow_provider_jimeng.operators.report import JimengReportOperator
from airflow_provider_jimeng.operators.rescue import JimengRescueOperator
from airflow_provider_jimeng.operators.video import (
    JimengDownloadVideoOperator,
    JimengGenerateVideoOperator,
    JimengSubmitVideoOperator,
)
from airflow_provider_jimeng.sensors.video import JimengVideoSensor

with DAG(dag_id="templates", start_date=pendulum.datetime(2026, 1, 1), schedule=None):

    @task(multiple_outputs=False)
    def row() -> dict[str, str]:
        return {"prompt": "a red kite"}

    @task
    def word() -> str:
        return "a red kite"

    VALUES: XComArg = row()
    ONE: XComArg = word()

    submit = JimengSubmitVideoOperator(
        task_id="submit",
        prompt=ONE,
        model=ONE,
        duration=ONE,
        aspect_ratio=ONE,
        seed=ONE,
        first_frame=ONE,
        last_frame=ONE,
        camera_template=ONE,
        camera_strength=ONE,
        aigc_meta=VALUES,
        require_tagged=ONE,
        take=ONE,
        extra_body=VALUES,
        max_cost_cny=ONE,
        jimeng_conn_id=ONE,
        on_rerun=ONE,
        on_unknown_submit=ONE,
        on_lost=ONE,
        reuse=ONE,
        output_path=ONE,
        output_conn_id=ONE,
        max_wait_for_slot=ONE,
    )
    sensor = JimengVideoSensor(
        task_id="wait",
        render=submit.output,
        render_id="{{ params.id }}",
        model=ONE,
        jimeng_conn_id=ONE,
        poll_interval="{{ params.seconds }}",
    )
    download = JimengDownloadVideoOperator(
        task_id="download",
        render=sensor.output,
        render_id=ONE,
        model="{{ params.model }}",
        output_path="{{ params.path }}",
        output_conn_id="{{ params.conn }}",
        overwrite="{{ params.overwrite }}",
        on_difference="{{ params.difference }}",
        aigc_meta="{{ params.label }}",
        require_tagged="{{ params.tagged }}",
        jimeng_conn_id="{{ params.conn }}",
    )
    generate = JimengGenerateVideoOperator(
        task_id="generate",
        output_path="{{ params.path }}",
        prompt="{{ params.prompt }}",
        model="{{ params.model }}",
        duration="{{ params.duration }}",
        aspect_ratio="{{ params.ratio }}",
        seed="{{ params.seed }}",
        first_frame="{{ params.first }}",
        last_frame="{{ params.last }}",
        camera_template="{{ params.camera }}",
        camera_strength="{{ params.strength }}",
        aigc_meta="{{ params.label }}",
        require_tagged="{{ params.tagged }}",
        take="{{ params.take }}",
        extra_body="{{ params.body }}",
        max_cost_cny="{{ params.cost }}",
        jimeng_conn_id="{{ params.conn }}",
        on_rerun="{{ params.rerun }}",
        on_unknown_submit="{{ params.unknown }}",
        on_lost="{{ params.lost }}",
        reuse="{{ params.reuse }}",
        output_conn_id="{{ params.conn }}",
        max_wait_for_slot="{{ params.seconds }}",
        poll_interval="{{ params.seconds }}",
        wait_timeout="{{ params.seconds }}",
        overwrite="{{ params.overwrite }}",
        on_difference="{{ params.difference }}",
    )
    plan = JimengPlanOperator(
        task_id="plan",
        rows=VALUES,
        rows_sheet=ONE,
        ignore_columns=ONE,
        max_cost_cny="{{ params.cost }}",
        output_path=ONE,
        output_conn_id=ONE,
        rows_conn_id=ONE,
        overwrite="{{ params.overwrite }}",
        jimeng_conn_id=ONE,
        model=ONE,
        duration="{{ params.duration }}",
        aspect_ratio=ONE,
        seed="{{ params.seed }}",
        first_frame=ONE,
        last_frame=ONE,
        camera_template=ONE,
        camera_strength=ONE,
        extra_body="{{ params.body }}",
    )
    rescue = JimengRescueOperator(
        task_id="rescue",
        output_path=ONE,
        task_ids=ONE,
        dag_id=ONE,
        run_id="{{ run_id }}",
        output_conn_id=ONE,
        wait_timeout="{{ params.seconds }}",
        aigc_meta=VALUES,
        require_tagged="{{ params.tagged }}",
        compare_bytes="{{ params.compare }}",
    )
    finish = JimengFinishVideoOperator(
        task_id="finish",
        video=VALUES,
        visible_label="{{ params.label }}",
        poster={"at": "{{ params.seconds }}"},
        preview="{{ params.sheet }}",
        renditions="{{ params.renditions }}",
        concat="{{ params.sheet }}",
        audio=ONE,
        require_implicit="{{ params.strict }}",
        output_conn_id=ONE,
        threads="{{ params.threads }}",
    )
    report = JimengReportOperator(
        task_id="report",
        task_ids=ONE,
        output_path=ONE,
        output_conn_id=ONE,
        contact_sheet="{{ params.sheet }}",
        fail_if_incomplete="{{ params.strict }}",
    )
    JimengGenerateVideoOperator.partial(task_id="mapped", deferrable=True).expand_kwargs(plan.output)
    rescue >> finish >> report
