# SPDX-License-Identifier: Apache-2.0
"""``jimeng models``."""

from __future__ import annotations

import argparse

from airflow_provider_jimeng.cli.console import show_json, show_table
from airflow_provider_jimeng.core.catalogue import MODELS


def models(args: argparse.Namespace) -> int:
    """List the models. Without ``--conn`` they are those of the catalogue, and nothing is looked up."""
    catalogue = MODELS
    if args.conn:
        from airflow_provider_jimeng.cli.hook import CommandHook

        catalogue = CommandHook(jimeng_conn_id=args.conn).settings.catalogue
    payloads = [
        {
            **spec.to_payload(),
            "price_cny_per_second": None
            if spec.price_cny_per_second is None
            else str(spec.price_cny_per_second),
        }
        for spec in catalogue.values()
    ]
    if args.json:
        show_json(payloads)
        return 0
    rows = [
        (
            payload["name"],
            payload["inputs"],
            " or ".join(map(str, payload["durations"])) + " s",
            " ".join(payload["aspect_ratios"]) or "as the image",
            payload["price_cny_per_second"] or "unknown",
            payload["req_key"],
        )
        for payload in payloads
    ]
    show_table(("model", "takes", "duration", "aspect ratio", "CNY/s", "req_key"), rows)
    return 0
