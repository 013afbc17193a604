# SPDX-License-Identifier: Apache-2.0
"""The asset events of a task, as Airflow keeps them. Airflow 2 calls assets datasets."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any


def outlet_events() -> Any:
    """Return `context["outlet_events"]` of a task that begins."""
    home = (
        "airflow.sdk.execution_time.context"
        if importlib.util.find_spec("airflow.sdk")
        else "airflow.utils.context"
    )
    return importlib.import_module(home).OutletEventAccessors()


def added_by_alias(accessor: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return URI and extra of every event that a task added to an alias."""
    if hasattr(accessor, "asset_alias_events"):
        return [(event.dest_asset_key.uri, event.extra) for event in accessor.asset_alias_events]
    return [(event["dest_dataset_uri"], event["extra"]) for event in accessor.dataset_alias_events]
