# SPDX-License-Identifier: Apache-2.0
"""Mail what a render cost and where it is, or why it failed and what to do. A chat or a webhook works in the same way.

The mail server is the connection `smtp_default`. You can replace `SmtpNotifier` with the notifier of
another provider (Slack, Teams, PagerDuty, a webhook), or with a function of your own.
"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import DAG
from airflow.providers.smtp.notifications.smtp import SmtpNotifier

from airflow_provider_jimeng.notifications.render import JimengRenderNotifier
from airflow_provider_jimeng.operators.video import JimengGenerateVideoOperator

tell = JimengRenderNotifier(
    SmtpNotifier(
        to="films@example.com",
        from_email="airflow@example.com",
        subject="{{ jimeng.title }}",
        html_content="<pre>{{ jimeng.text | e }}</pre>",
    ),
    lang="en",  # "zh" writes Chinese
)

with DAG(
    "example_jimeng_notification",
    schedule=None,
    catchup=False,
    params={
        "prompt": "A paper boat sails down a rainy street at dusk, slow dolly in",
        "output": "file:///tmp/jimeng",
    },
    on_failure_callback=tell,  # about the whole run
):
    JimengGenerateVideoOperator(
        task_id="render",
        prompt="{{ params.prompt }}",
        output_path="{{ params.output }}/{{ run_id }}/",
        deferrable=True,
        retries=2,
        on_success_callback=tell,  # about this render
        on_failure_callback=tell,
    )
