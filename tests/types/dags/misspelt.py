# SPDX-License-Identifier: Apache-2.0
"""One misspelt argument in each call."""

from __future__ import annotations

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
from airflow_provider_jimeng.sensors.video import JimengVideoSensor

JimengSubmitVideoOperator(task_id="a", prompt="a red kite", durations=5)
JimengGenerateVideoOperator(task_id="b", output_path="/videos/", promt="a red kite")
JimengDownloadVideoOperator(task_id="c", output_path="/videos/", renders={})
JimengPlanOperator(task_id="d", rows=[], maxcost=1)
JimengRescueOperator(task_id="e", output_path="/videos/", task_id_list=[])
JimengReportOperator(task_id="f", contact_sheets=True)
JimengVideoSensor(task_id="g", poke=5)
JimengFinishVideoOperator(task_id="h", video="/videos/kite.mp4", visible_labels=True)
JimengHook().submit(promt="a red kite")
