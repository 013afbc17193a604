# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.harness.lander JSON` saves one video in a process that a test can stop or kill."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

from airflow_provider_jimeng.client.settings import ClientSettings
from airflow_provider_jimeng.core.errors import LandingError
from airflow_provider_jimeng.core.render import Render
from airflow_provider_jimeng.storage.download import SILENCE_SECONDS, Patience
from airflow_provider_jimeng.storage.landing import land
from airflow_provider_jimeng.storage.output import OutputPath
from tests.harness.links import Links, link

LANDED = "This is its manifest: "


def main(
    *,
    url: str,
    endpoint: str,
    output_path: str,
    render: dict[str, Any],
    overwrite: bool = False,
    replaced_by: str | None = None,
    silence_seconds: float = SILENCE_SECONDS,
) -> None:
    """Save the file at `url` from a media host on the host of the endpoint, and print the manifest.

    replaced_by: the file that exists once a newer try has paid for another render.
    silence_seconds: how long the download of another process can make no progress before this one takes over.
    """

    def confirm() -> None:
        if replaced_by is not None and Path(replaced_by).exists():
            raise LandingError("A newer try has paid for another render.")

    logging.basicConfig(level=logging.INFO)
    manifest = land(
        Render.from_payload(render),
        Links(lambda: link(url), ClientSettings(endpoint=endpoint, timeout_seconds=30)),
        target=OutputPath(output_path=output_path),
        overwrite=overwrite,
        confirm=confirm,
        patience=Patience(silence_seconds=silence_seconds),
    )
    print(LANDED + json.dumps(manifest.to_payload()), flush=True)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
