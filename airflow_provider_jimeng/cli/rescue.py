# SPDX-License-Identifier: Apache-2.0
"""``jimeng rescue``: save what was paid below a directory, whoever paid for it."""

from __future__ import annotations

import argparse
import time
from typing import Any

from airflow_provider_jimeng.cli.account import ENVIRONMENT, conn_id_of
from airflow_provider_jimeng.cli.console import note, say, show_json
from airflow_provider_jimeng.cli.hook import CommandHook
from airflow_provider_jimeng.cli.main import FAILED, OTHER, UNKNOWN, UNSAVED
from airflow_provider_jimeng.cli.paths import folder_path_of, read_label
from airflow_provider_jimeng.core.arguments import read_seconds
from airflow_provider_jimeng.core.parameters import check_aigc_meta
from airflow_provider_jimeng.operators.unsaved_renders import UnsavedRenders
from airflow_provider_jimeng.storage.output import OutputPath, check_names
from airflow_provider_jimeng.storage.paid import all_records


def rescue(args: argparse.Namespace) -> int:
    """Save every video that can be saved, and list the others. Nothing is submitted."""
    folder = OutputPath.of(folder_path_of(args.output_path))
    check_names(folder)

    def hook_for(jimeng_conn_id: str) -> CommandHook:
        """Return the hook of the connection that paid. The environment is the account that is configured now."""
        if jimeng_conn_id == ENVIRONMENT:
            jimeng_conn_id = conn_id_of(args)
        return CommandHook(jimeng_conn_id=jimeng_conn_id)

    unsaved = UnsavedRenders(
        folder=folder, hook_for=hook_for, aigc_meta=check_aigc_meta(read_label(args.aigc_meta))
    )
    records, problems = all_records(folder, visit=unsaved.visit)
    unsaved.summary["problems"] += [str(problem) for problem in problems]
    unsaved.add_records(records)
    summary = unsaved.run(deadline=time.time() + read_seconds("--wait", args.wait))
    if args.json:
        show_json(summary)
    else:
        _show(summary)
    return _code(summary)


def _show(summary: dict[str, Any]) -> None:
    for kind in ("landed", "already_landed"):
        for manifest in summary[kind]:
            state = "saved" if kind == "landed" else "saved already"
            say(f"{state}: {str(manifest['uri']).removeprefix('file://')}")
    for kind in ("running", "failed", "lost", "unknown"):
        for item in summary[kind]:
            say(f"{kind}: {item['message']}")
    for problem in summary["problems"]:
        note(f"problem: {problem}")
    counts = ", ".join(f"{len(items)} {kind}" for kind, items in summary.items() if isinstance(items, list))
    note(counts.replace("already_landed", "saved already").replace("landed", "saved"))


def _code(summary: dict[str, Any]) -> int:
    """Return the exit code: the worst of what was found."""
    if summary["running"]:
        return UNSAVED
    if summary["unknown"]:
        return UNKNOWN
    if summary["problems"]:
        return OTHER
    return FAILED if summary["failed"] or summary["lost"] else 0
