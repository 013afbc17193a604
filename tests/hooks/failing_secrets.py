# SPDX-License-Identifier: Apache-2.0
"""A secrets back end that is away."""

from __future__ import annotations

from typing import Any

from airflow.secrets.base_secrets import BaseSecretsBackend


class FailingBackend(BaseSecretsBackend):
    """Fails whatever it is asked."""

    def get_connection(self, conn_id: str, team_name: str | None = None) -> Any:
        """Fail."""
        raise ConnectionRefusedError(conn_id)
