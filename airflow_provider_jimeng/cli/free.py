# SPDX-License-Identifier: Apache-2.0
"""The commands that never pay: ``models``, ``quote``, ``query``, ``download``, ``cancel``, ``rescue`` and ``finish``.

``models`` and ``query`` are short, so each command imports what it needs when it runs.
"""

from __future__ import annotations

import argparse
import logging
import time
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.cli.account import ENVIRONMENT, conn_id_of, settings_for
from airflow_provider_jimeng.cli.commands import folder_path_of, output_path_of, place_of, read_label
from airflow_provider_jimeng.cli.console import log_to_stderr, note, say, show_fields, show_json, show_table
from airflow_provider_jimeng.cli.main import FAILED, OTHER, UNKNOWN, UNSAVED, USAGE, report
from airflow_provider_jimeng.core.catalogue import MODELS, find_model
from airflow_provider_jimeng.core.errors import (
    ApiError,
    LandingError,
    MissingLabelError,
    ParameterError,
    TargetTakenError,
)

if TYPE_CHECKING:
    from airflow_provider_jimeng.cli.operators import CommandHook

_RENDITION_FIELDS = {"ratio": "aspect_ratio", "kbps": "max_bitrate_kbps"}
"""The short names of the command line, and those of the fields."""


def models(args: argparse.Namespace) -> int:
    """List the models. Without ``--conn``, they are those of the catalogue, and no connection is read."""
    catalogue = MODELS
    if args.conn:
        from airflow_provider_jimeng.cli.operators import CommandHook

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


def quote(args: argparse.Namespace) -> int:
    """Check every row and print what the list costs. Nothing is submitted or paid."""
    import pendulum

    from airflow_provider_jimeng.cli.render import plan_of, request_arguments
    from airflow_provider_jimeng.core.quote import (
        QUOTE_COLUMNS,
        check_cap,
        make_quote,
        quote_notes,
        quote_rows,
    )
    from airflow_provider_jimeng.core.render import format_time

    plan = plan_of(args, request_arguments(args), conn_id=conn_id_of(args), output=args.output)
    quoted = make_quote(plan.plan())
    if args.json:
        show_json({**quoted.to_payload(), "quoted_at": format_time(pendulum.now("UTC"))})
    else:
        show_table(QUOTE_COLUMNS, quote_rows(quoted))
        note("\n".join(quote_notes(quoted)))
    check_cap(quoted, args.max_cost)
    return 0


def query(args: argparse.Namespace) -> int:
    """Show the status of a render. Its link is shown only with ``--link``."""
    from airflow_provider_jimeng.client.sync_client import JimengClient

    settings = settings_for(args)
    spec = find_model(args.model, settings.catalogue)
    code = 0
    fields: dict[str, Any] = {"task_id": args.id, "model": spec.name, "req_key": spec.req_key}
    with JimengClient(settings) as client:
        try:
            reply = client.query(spec.req_key, args.id, aigc_meta=settings.aigc_meta)
        except ApiError as error:
            if error.entry is None or not error.entry.fails_render:
                raise
            code = FAILED
            fields |= {
                "status": "failed",
                "code": error.code,
                "message": str(error),
                "request_id": error.request_id,
            }
        else:
            code = FAILED if reply.status.value in ("failed", "expired", "not_found") else 0
            fields |= {
                "status": reply.status.value,
                "status_word": reply.status_word,
                "has_link": reply.video_url is not None,
                "aigc_meta_tagged": reply.aigc_meta_tagged,
                "request_id": reply.request_id,
                "code": reply.code,
                "message": reply.message,
            }
            if args.link:
                fields["video_url"] = reply.video_url
    if args.json:
        show_json(fields)
    else:
        show_fields({name: value for name, value in fields.items() if value is not None})
    return code


def download(args: argparse.Namespace) -> int:
    """Save the video of a finished render."""
    from airflow_provider_jimeng.cli.operators import CommandHook

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


def rescue(args: argparse.Namespace) -> int:
    """Save every video that can be saved, and list the others. Nothing is submitted."""
    from airflow_provider_jimeng.cli.operators import CommandHook
    from airflow_provider_jimeng.core.arguments import read_seconds
    from airflow_provider_jimeng.core.parameters import check_aigc_meta
    from airflow_provider_jimeng.operators.unsaved_renders import UnsavedRenders
    from airflow_provider_jimeng.storage.output import OutputPath, check_names
    from airflow_provider_jimeng.storage.paid import all_records

    folder = OutputPath.of(folder_path_of(args.output_path))
    check_names(folder)

    def hook_for(jimeng_conn_id: str) -> CommandHook:
        """Return the hook of the connection that paid. In place of the environment, it is the account that is configured now."""
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
        _show_rescue(summary)
    return _rescue_code(summary)


def _show_rescue(summary: dict[str, Any]) -> None:
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


def _rescue_code(summary: dict[str, Any]) -> int:
    """Return the exit code of the worst result."""
    if summary["running"]:
        return UNSAVED
    if summary["unknown"]:
        return UNKNOWN
    if summary["problems"]:
        return OTHER
    return FAILED if summary["failed"] or summary["lost"] else 0


def finish(args: argparse.Namespace) -> int:
    """Make the missing files beside each video, and print the path of each file. The exit code is 0 if all exist."""
    try:
        from airflow_provider_jimeng.finishing.derivatives import finish as make
    except ImportError as error:
        raise ParameterError(
            "VIDEO", f"cannot be finished here ({error}). Run pip install 'airflow-provider-jimeng[media]'."
        ) from None
    if not args.json:
        log_to_stderr(logging.INFO)  # making a file takes long, so the log has a line for each 10 %
    try:
        made = make(
            [place_of(video) for video in args.video],
            visible_label=_label(args),
            poster=args.poster,
            preview=args.preview,
            renditions=[_rendition(text) for text in args.rendition or ()],
            concat=_concat(args),
            audio=place_of(args.audio),
            require_implicit=args.require_implicit,
            threads=args.threads,
        )
    except (MissingLabelError, TargetTakenError) as error:
        return report(error, as_json=args.json, code=USAGE)
    except LandingError as error:  # 6 would say that something is paid and not saved
        return report(error, as_json=args.json, code=OTHER)
    if args.json:
        show_json(made)
        return 0
    for manifest in made:
        say(str(manifest["uri"]).removeprefix("file://"))
    return 0


def _label(args: argparse.Namespace) -> dict[str, Any] | None:
    if args.no_label:
        return None
    from airflow_provider_jimeng.finishing.request import DEFAULT_TEXT

    label = {
        "text": DEFAULT_TEXT if args.label is None else args.label,
        "position": args.position,
        "show": "throughout" if args.throughout else "opening",
        "font": args.font,
    }
    return {name: value for name, value in label.items() if value is not None}


def _concat(args: argparse.Namespace) -> dict[str, Any] | None:
    if args.concat is None:
        if args.cross_fade is not None:
            raise ParameterError("--cross-fade", "needs --concat NAME.")
        return None
    fade = {} if args.cross_fade is None else {"cross_fade": args.cross_fade}
    return {"name": args.concat, **fade}


def _rendition(text: str) -> dict[str, Any]:
    """Return the fields of ``ratio=9:16,size=1080,fit=blur``."""
    fields: dict[str, Any] = {}
    for part in text.split(","):
        name, equals, value = (word.strip() for word in part.partition("="))
        if not (name and equals and value):
            raise ParameterError(
                "--rendition", f"expected fields such as ratio=9:16,size=1080, got {text!r}."
            )
        name = _RENDITION_FIELDS.get(name, name)
        fields[name] = _point(value) if name == "focus" else value
    return fields


def _point(text: str) -> list[float]:
    """Return the two shares of ``0.3/0.5``."""
    try:
        return [float(share) for share in text.split("/")]
    except ValueError:
        raise ParameterError(
            "--rendition", f"expected focus=X/Y such as focus=0.3/0.5, got focus={text}."
        ) from None
