# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pendulum
import pytest

from airflow_provider_jimeng.client.settings import ClientSettings
from airflow_provider_jimeng.core.render import Render, RenderManifest
from airflow_provider_jimeng.storage.download import Patience
from airflow_provider_jimeng.storage.landing import land
from airflow_provider_jimeng.storage.output import OutputPath
from tests.harness.links import Links, link

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.wire import QueryReply
    from tests.harness.media_server import MediaServer

LANDED_AT = pendulum.datetime(2026, 1, 2, 3, 9, 5)


@dataclass(slots=True)
class Lander:
    """Lands with pauses that only get written down, and hands out links that are numbered."""

    pauses: list[float] = field(default_factory=list)
    links: int = 0
    tagged: bool | None = True
    on_link: Callable[[], object] = lambda: None

    def render(self, **changes: Any) -> Render:
        given: dict[str, Any] = {
            "task_id": "7392616336519610409",
            "req_key": "jimeng_t2v_v30",
            "model": "t2v_720p",
            "jimeng_conn_id": "jimeng_default",
            "submitted_at": pendulum.datetime(2026, 1, 2, 3, 4, 5),
            "fingerprint": "f" * 64,
            "prompt": "千军万马",
            "seed": -1,
            "duration": 5,
            "aspect_ratio": "16:9",
            "estimated_cost_cny": Decimal("1.40"),
        }
        return Render(**{**given, **changes})

    def __call__(
        self, server: MediaServer, output_path: str, render: Render | None = None, **options: Any
    ) -> RenderManifest:
        def fetch_link() -> QueryReply:
            self.links += 1
            self.on_link()
            return link(
                f"{server.url}&link={self.links}",
                request_id=f"request-{self.links}",
                aigc_meta_tagged=self.tagged,
            )

        links = Links(
            options.pop("fetch_link", fetch_link),
            options.pop("settings", ClientSettings(endpoint=server.endpoint, timeout_seconds=5)),
        )
        conn_id = options.pop("output_conn_id", None)
        given: dict[str, Any] = {
            "target": OutputPath(output_path=output_path, output_conn_id=conn_id),
            "patience": Patience(),
            "sleep": self.pauses.append,
            "now": lambda: LANDED_AT,
        }
        return land(render or self.render(), links, **{**given, **options})


@pytest.fixture
def lander() -> Lander:
    return Lander()
