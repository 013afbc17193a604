# SPDX-License-Identifier: Apache-2.0
"""Mail if a run is not finished an hour after it was queued. Deadlines need Airflow 3.1.

A triggerer sends the mail. It knows little about the run, so the subject names the DAG. If several triggerers send the
mail, all mails have the same Message-ID, so that a mailbox drops repetitions. A late run continues, and nothing is paid twice.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_1_PLUS

from airflow_provider_jimeng.notifications.render import JimengRenderNotifier
from airflow_provider_jimeng.operators.video import JimengGenerateVideoOperator

if AIRFLOW_V_3_1_PLUS:
    from airflow.sdk.definitions.deadline import AsyncCallback, DeadlineAlert, DeadlineReference  # type: ignore[attr-defined]

    # Airflow stores a deadline as JSON. Therefore the notifier is named by its import path.
    tell = AsyncCallback(
        JimengRenderNotifier,
        kwargs={
            "notifier": "airflow.providers.smtp.notifications.smtp.SmtpNotifier",
            "notifier_kwargs": {
                "to": "films@example.com",
                "from_email": "airflow@example.com",
                "subject": "The teaser is late. {{ jimeng.title }}",
                "html_content": "<pre>{{ jimeng.text | e }}</pre>",
                "custom_headers": {"Message-ID": "<{{ jimeng.key }}@airflow.example.com>"},
            },
            "lang": "en",
        },
    )

    with DAG(
        "example_jimeng_deadline",
        schedule=None,
        catchup=False,
        params={"output": "file:///tmp/jimeng"},
        deadline=DeadlineAlert(
            reference=DeadlineReference.DAGRUN_QUEUED_AT, interval=timedelta(hours=1), callback=tell
        ),
    ):
        JimengGenerateVideoOperator(
            task_id="render",
            prompt="A paper boat sails down a rainy street at dusk, slow dolly in",
            output_path="{{ params.output }}/{{ run_id }}/",
            deferrable=True,
            retries=2,
        )
