# SPDX-License-Identifier: Apache-2.0
"""``jimeng query``, ``download`` and ``cancel``: what can be done with the id of a render."""

from __future__ import annotations

import argparse
from typing import Any

from airflow_provider_jimeng.cli.account import conn_id_of, settings_for
from airflow_provider_jimeng.cli.console import say, show_fields, show_json
from airflow_provider_jimeng.core.catalogue import find_model
from airflow_provider_jimeng.core.errors import ApiError


def query(args: argparse.Namespace) -> int:
    """Ask what became of a render. Its link is shown only if the user asks for it."""
    from airflow_provider_jimeng.cli.main import FAILED
    from airflow_provider_jimeng.client.sync_client import JimengClient

    settings = settings_for(args)
    spec = find_model(args.model, settings.catalogue)
    code = 0
    found: dict[str, Any] = {"task_id": args.id, "model": spec.name, "req_key": spec.req_key}
    with JimengClient(settings) as client:
        try:
            reply = client.query(spec.req_key, args.id, aigc_meta=settings.aigc_meta)
        except ApiError as error:
            if error.entry is None or not error.entry.fails_render:
                raise
            code = FAILED
            found |= {
                "status": "failed",
                "code": error.code,
                "message": str(error),
                "request_id": error.request_id,
            }
        else:
            code = FAILED if reply.status.value in ("failed", "expired", "not_found") else 0
            found |= {
                "status": reply.status.value,
                "status_word": reply.status_word,
                "has_link": reply.video_url is not None,
                "aigc_meta_tagged": reply.aigc_meta_tagged,
                "request_id": reply.request_id,
                "code": reply.code,
                "message": reply.message,
            }
            if args.link:
                found["video_url"] = reply.video_url
    if args.json:
        show_json(found)
    else:
        show_fields({name: value for name, value in found.items() if value is not None})
    return code


def download(args: argparse.Namespace) -> int:
    """Save the video of a finished render."""
    from airflow_provider_jimeng.cli.hook import CommandHook
    from airflow_provider_jimeng.cli.paths import output_path_of, read_label

    target = output_path_of(args.output)
    with CommandHook(jimeng_conn_id=conn_id_of(args)) as hook:
        manifest = hook.download(
            args.id, target, args.model, overwrite=args.overwrite, aigc_meta=read_label(args.aigc_meta)
        )
    if args.json:
        show_json(manifest.to_payload())
    else:
        say(manifest.uri.removeprefix("file://"))
    return 0


def cancel(args: argparse.Namespace) -> int:
    """Cancel a render that still waits in the queue. The API refuses others."""
    from airflow_provider_jimeng.client.sync_client import JimengClient

    settings = settings_for(args)
    spec = find_model(args.model, settings.catalogue)
    with JimengClient(settings) as client:
        reply = client.cancel(spec.req_key, args.id)
    if args.json:
        show_json({"task_id": args.id, "model": spec.name, "cancelled": True, "request_id": reply.request_id})
    else:
        say(f"Cancelled {args.id}.")
    return 0
