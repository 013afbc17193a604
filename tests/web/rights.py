# SPDX-License-Identifier: Apache-2.0
"""An auth manager with rights per DAG, which Airflow's simple one does not know."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

HIDDEN_PREFIX = "secret_"
"""DAGs of this prefix are hidden from everybody but admins."""
WITHOUT_XCOM = "no_xcom"
"""A user of this name may read DAGs and not their XComs."""


class PerDagAuthManager(SimpleAuthManager):
    """Users, passwords and roles of the simple one; some DAGs, and some entities of DAGs, are not for everyone."""

    def is_authorized_dag(
        self,
        *,
        method: Any,
        user: Any,
        access_entity: DagAccessEntity | None = None,
        details: DagDetails | None = None,
    ) -> bool:
        """Refuse what is hidden, and ask the simple one about the rest."""
        if details and details.id and details.id.startswith(HIDDEN_PREFIX) and user.role.lower() != "admin":
            return False
        if access_entity is DagAccessEntity.XCOM and user.username == WITHOUT_XCOM:
            return False
        return bool(
            super().is_authorized_dag(method=method, user=user, access_entity=access_entity, details=details)
        )
