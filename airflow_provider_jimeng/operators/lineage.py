# SPDX-License-Identifier: Apache-2.0
"""What makes an operator tell OpenLineage about the files that it read and made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage


class LineageOperator:
    """Base of the operators that save files. Airflow's provider of OpenLineage calls it, if it is installed."""

    made_files: Sequence[Mapping[str, Any]] = ()
    """The manifests of what this task has saved, set when it is over."""

    def lineage_inputs(self) -> list[str]:
        """Return the paths and links of the images that this task has sent."""
        images = (getattr(self, name, None) for name in ("first_frame", "last_frame"))
        return [str(image) for image in images if image]

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:  # noqa: ARG002 - Airflow's signature
        """Return the images that went in, the files that came out, and a facet about the render."""
        from airflow_provider_jimeng.lineage import lineage_of

        return lineage_of(self)
