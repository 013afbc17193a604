# SPDX-License-Identifier: Apache-2.0
"""The description of the provider, which Airflow reads at start-up.

Airflow 3.2 and newer read the connection form from here. For older versions the hook builds the widgets from the same
fields.
"""

from __future__ import annotations

from airflow_provider_jimeng.core.connection_settings import CONNECTION_SETTINGS, STANDARD_FIELDS

CONN_FIELDS = {
    setting.name: {
        "label": setting.form_label,
        "description": setting.form_description,
        "schema": setting.schema,
    }
    for setting in CONNECTION_SETTINGS
    if setting.in_form
}

UI_FIELD_BEHAVIOUR = {
    "hidden-fields": [],
    "relabeling": {one.name: one.form_label for one in STANDARD_FIELDS if one.title},
    "placeholders": {one.name: one.placeholder for one in STANDARD_FIELDS if one.placeholder},
}

CONFIG = {
    "jimeng": {
        "description": "The page of renders in Airflow's UI.",
        "options": {
            "signed_media_links": {
                "description": (
                    "Send the browser to a link of the store, signed for five minutes, instead of passing "
                    "videos through the API server. For stores that can sign, and that browsers can reach."
                ),
                "version_added": "0.1.0",
                "type": "boolean",
                "example": None,
                "default": "False",
            }
        },
    }
}

_NAME = "Jimeng AI"


def get_provider_info() -> dict[str, object]:
    """Return the provider's description in the form of Airflow's ``provider_info.schema.json``."""
    return {
        "package-name": "airflow-provider-jimeng",
        "name": _NAME,
        "description": "Render videos with Jimeng AI on Volcengine: pay once, wait without a worker, save complete videos.",
        "integrations": [
            {
                "integration-name": _NAME,
                "external-doc-url": "https://www.volcengine.com/docs/85621",
                "tags": ["service"],
            }
        ],
        "connection-types": [
            {
                "connection-type": "jimeng",
                "hook-class-name": "airflow_provider_jimeng.hooks.jimeng.JimengHook",
                "hook-name": _NAME,
                "ui-field-behaviour": UI_FIELD_BEHAVIOUR,
                "conn-fields": CONN_FIELDS,
            }
        ],
        "hooks": _modules("hooks.jimeng"),
        "operators": _modules(
            "operators.finish", "operators.plan", "operators.report", "operators.rescue", "operators.video"
        ),
        "sensors": _modules("sensors.video"),
        "triggers": _modules("triggers.render", "triggers.slot"),
        "extra-links": [
            "airflow_provider_jimeng.links.JimengCampaignLink",
            "airflow_provider_jimeng.links.JimengVideoLink",
            "airflow_provider_jimeng.web.links.JimengVideoLink",  # Airflow 2.11 has it in the DAGs that it serialized with 0.1.0
        ],
        "notifications": ["airflow_provider_jimeng.notifications.render.JimengRenderNotifier"],
        "cli": ["airflow_provider_jimeng.cli.main.get_jimeng_cli_commands"],
        "config": CONFIG,
    }


def _modules(*names: str) -> list[dict[str, object]]:
    paths = [f"airflow_provider_jimeng.{name}" for name in names]
    return [{"integration-name": _NAME, "python-modules": paths}]
