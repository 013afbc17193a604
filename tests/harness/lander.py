"""`python -m tests.harness.lander JSON`: a process that lands one video, to be killed on the way."""

from __future__ import annotations

import json
import sys
from typing import Any

from airflow_provider_jimeng.client.media import MediaPolicy
from airflow_provider_jimeng.core.render import Render
from airflow_provider_jimeng.storage.landing import Link, Target, land


def main(*, url: str, endpoint: str, output_path: str, render: dict[str, Any]) -> None:
    """Land what `url` answers, from a media host that is the endpoint's own."""
    land(
        Render.from_payload(render),
        fetch_link=lambda: Link(url=url),
        target=Target(output_path=output_path),
        policy=MediaPolicy(endpoint=endpoint, timeout_seconds=30),
    )


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
