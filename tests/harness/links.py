# SPDX-License-Identifier: Apache-2.0
"""A source of links that a test decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_jimeng.client.settings import ClientSettings
    from airflow_provider_jimeng.storage.download import Link


@dataclass(frozen=True, slots=True)
class Links:
    """Calls a function for each link."""

    give: Callable[[], Link]
    settings: ClientSettings

    def fetch(self) -> Link:
        """Return the next link."""
        return self.give()
