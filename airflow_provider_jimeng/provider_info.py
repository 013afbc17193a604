"""What Airflow reads of this package at start-up: plain data, and no import but the future's.

The connection form is declared here once. Airflow 3.2 and newer read it from here; the hook builds the widgets
of older versions from it.
"""

from __future__ import annotations

_TEXT = ["string", "null"]
_NUMBER = ["number", "null"]
_OBJECT = ["object", "null"]

CONN_FIELDS = {
    "auth": {
        "label": "Authentication",
        "description": "volc: sign with Access Key ID and Secret Access Key. bearer: send the password as a token.",
        "schema": {"type": _TEXT, "enum": ["volc", "bearer"], "default": "volc"},
    },
    "session_token": {
        "label": "Session token",
        "description": "Only with temporary (STS) credentials.",
        "schema": {"type": _TEXT, "format": "password"},
    },
    "region": {
        "label": "Region",
        "description": "Part of the signature. Empty: cn-north-1.",
        "schema": {"type": _TEXT},
    },
    "service": {
        "label": "Service",
        "description": "Part of the signature. Empty: cv.",
        "schema": {"type": _TEXT},
    },
    "timeout_seconds": {
        "label": "Timeout (seconds)",
        "description": "How long one request may wait for an answer. Empty: 30.",
        "schema": {"type": _NUMBER, "minimum": 1, "maximum": 600},
    },
    "verify": {
        "label": "Verify TLS",
        "description": "true, false, or the path of a CA bundle. Empty: true.",
        "schema": {"type": _TEXT},
    },
    "proxy": {
        "label": "Proxy",
        "description": "URL of a proxy for this connection. Empty: what the environment says.",
        "schema": {"type": _TEXT, "format": "password"},
    },
    "aigc_meta": {
        "label": "AIGC label",
        "description": "JSON: producer_id, content_propagator, content_producer, propagate_id of the implicit label.",
        "schema": {"type": _OBJECT},
    },
    "prices": {
        "label": "Prices",
        "description": 'JSON: CNY per second by model, e.g. {"t2v_1080p": 0.63}. Overrides the catalogue.',
        "schema": {"type": _OBJECT},
    },
    "models": {
        "label": "Models",
        "description": 'JSON: records merged over the catalogue; a new key needs {"like": "t2v_720p"}.',
        "schema": {"type": _OBJECT},
    },
    "max_requests_per_second": {
        "label": "Requests per second",
        "description": "Upper limit of the request rate of triggers. Empty: 5.",
        "schema": {"type": _NUMBER, "minimum": 0.1, "maximum": 10000},
    },
    "media_hosts": {
        "label": "Media hosts",
        "description": "Hosts that videos may come from, separated by commas. Empty: any public https host.",
        "schema": {"type": _TEXT},
    },
}

UI_FIELD_BEHAVIOUR = {
    "hidden-fields": [],
    "relabeling": {
        "login": "Access Key ID",
        "password": "Secret Access Key (or bearer token)",
        "host": "Endpoint",
    },
    "placeholders": {"host": "https://visual.volcengineapi.com", "schema": "https", "port": "443"},
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
        "description": "Render videos with Jimeng AI on Volcengine: pay once, wait cheaply, land a playable file.",
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
        "operators": _modules("operators.plan", "operators.report", "operators.rescue", "operators.video"),
        "sensors": _modules("sensors.video"),
        "triggers": _modules("triggers.render", "triggers.slot"),
        "extra-links": [
            "airflow_provider_jimeng.links.JimengVideoLink",
            "airflow_provider_jimeng.web.links.JimengVideoLink",  # Airflow 2.11 has it in the DAGs that it serialized with 0.1.0
        ],
        "cli": ["airflow_provider_jimeng.cli.definition.get_jimeng_cli_commands"],
        "config": CONFIG,
    }


def _modules(*names: str) -> list[dict[str, object]]:
    paths = [f"airflow_provider_jimeng.{name}" for name in names]
    return [{"integration-name": _NAME, "python-modules": paths}]
