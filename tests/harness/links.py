# SPDX-License-Identifier: Apache-2.0
"""A source of links that a test decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.render import RenderStatus
from airflow_provider_jimeng.core.wire import QueryReply

if TYPE_CHECKING:
    from airflow_provider_jimeng.client.settings import ClientSettings


def link(url: str, **facts: Any) -> QueryReply:
    """Return an answer that has a link."""
    return QueryReply(status=RenderStatus.DONE, video_url=url, **facts)


@dataclass(frozen=True, slots=True)
class Links:
    """Calls a function for each link."""

    give: Callable[[], QueryReply]
    settings: ClientSettings

    def fetch(self) -> QueryReply:
        """Return the next link."""
        return self.give()
