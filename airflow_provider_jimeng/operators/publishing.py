"""What a task tells others about its render: values in XCom, and asset events."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.errors import LedgerError
from airflow_provider_jimeng.metrics import harmless

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, Context

    from airflow_provider_jimeng.core.render import RenderManifest

_TRY_IS_OVER = re.compile(r"task instance\b.*\bnot found", re.IGNORECASE | re.DOTALL)
"""What Airflow's API server answers to a try that it does not know any more."""


def push(ti: Any, key: str, value: Any) -> None:
    """Push to XCom what others may want to know; that it cannot be pushed fails no task that has paid.

    :raises LedgerError: this try is not the latest of its task instance any more, which goes on without it.
    """
    with harmless(f"The push of {key} to XCom"):
        try:
            ti.xcom_push(key=key, value=value)
        except Exception as error:
            if _TRY_IS_OVER.search(str(error)):
                raise LedgerError(f"Another try of this task has begun since ({error}).") from error
            raise


def publish(operator: BaseOperator, context: Context, manifest: RenderManifest) -> dict[str, Any]:
    """Give the manifest to the task's outlets, as the extra of their asset events, and return its payload."""
    from airflow.providers.common.compat.sdk import Asset, AssetAlias

    payload = manifest.to_payload()
    for outlet in operator.outlets or ():
        if isinstance(outlet, AssetAlias):
            context["outlet_events"][outlet].add(Asset(uri=manifest.uri), extra=payload)
        elif isinstance(outlet, Asset):
            context["outlet_events"][outlet].extra.update(payload)
    return payload
