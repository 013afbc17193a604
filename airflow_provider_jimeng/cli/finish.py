# SPDX-License-Identifier: Apache-2.0
"""``jimeng finish``: labels, posters, previews and other sizes of saved videos. Nothing is sent or paid."""

from __future__ import annotations

import argparse
import logging
from typing import Any

from airflow_provider_jimeng.cli.commands import place_of
from airflow_provider_jimeng.cli.console import log_to_stderr, say, show_json
from airflow_provider_jimeng.cli.main import OTHER, USAGE, report
from airflow_provider_jimeng.core.errors import (
    LandingError,
    MissingLabelError,
    ParameterError,
    TargetTakenError,
)
from airflow_provider_jimeng.finishing.request import DEFAULT_TEXT

_SHORT_NAMES = {"ratio": "aspect_ratio", "kbps": "max_bitrate_kbps"}


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
        name = _SHORT_NAMES.get(name, name)
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
