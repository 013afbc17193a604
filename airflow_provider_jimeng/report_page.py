# SPDX-License-Identifier: Apache-2.0
"""The report as one HTML page that needs no other file, except the videos that it plays from its own directory.

The page has no script and loads nothing from other hosts. Prompts are what somebody typed, so the template escapes every
value, and the page's own policy lets a browser load only its style, ``data:`` pictures and videos of the same origin.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow_provider_jimeng.core.render import difference_in_words
from airflow_provider_jimeng.core.report import End, TaskEnd

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.report import Failures, Report

_TEMPLATES = Path(__file__).parent / "templates"
_TASKS_SHOWN = 12
"""How many tasks of a group of failures the page shows; the JSON file names all of them."""
MAX_VIDEOS = 500
"""How many videos the page shows. Each picture is a part of the page, and browsers load all players at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What the page can show of a video. ``path`` is relative to the page; ``picture`` is JPEG bytes."""

    path: str | None = None
    picture: bytes | None = None


def render_page(report: Report, previews: Mapping[str, Preview]) -> str:
    """Return the page.

    :param previews: by URI of the video; a video without one gets a tile without a picture.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415  DAG files need no templates

    environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined)
    style = (_TEMPLATES / "report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment.get_template("report.html").render(
        policy=(
            f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; media-src 'self'; base-uri 'none'; "
            "form-action 'none'"
        ),
        style=style,
        report=report,
        made=report.generated_at.in_timezone("UTC").format("YYYY-MM-DD HH:mm [UTC]"),
        figures=list(_figures(report)),
        failures=[(group, _reason(group)) for group in report.failures()],
        tasks_shown=_TASKS_SHOWN,
        models=list(_models(report)),
        videos=list(_videos(report, previews)),
        more_videos=max(0, len(report.of(End.LANDED, End.REUSED)) - MAX_VIDEOS),
    )


def _figures(report: Report) -> Iterator[dict[str, str]]:
    """Yield the tiles at the top of the page."""
    saved, reused = len(report.of(End.LANDED, End.REUSED)), len(report.of(End.REUSED))
    failed, unfinished = len(report.of(End.FAILED, End.NO_RENDER)), len(report.of(End.UNFINISHED))
    good = not failed and not unfinished
    yield _figure("Videos", str(saved), f"of {len(report.ends)}", kind="good" if good else "")
    yield _figure("Failed", str(failed), kind="bad" if failed else "")
    yield _figure("Unfinished", str(unfinished), kind="warn" if unfinished else "")
    yield _money("Planned", report.planned) if report.quoted else _figure("Planned", "–", "no plan")
    yield _money("Actual", report.actual)
    if reused:
        yield _money("Paid earlier", report.earlier, f" {reused} reused")
    if report.open != Decimal(0):
        yield _money("Might still be billed", report.open, kind="warn")


def _figure(name: str, value: str, note: str = "", *, kind: str = "") -> dict[str, str]:
    return {"name": name, "value": value, "note": note.strip(), "kind": kind}


def _money(name: str, amount: Decimal | None, note: str = "", *, kind: str = "") -> dict[str, str]:
    if amount is None:
        return _figure(name, "unknown", note, kind=kind)
    return _figure(name, f"{amount:,.2f}", f"CNY{note}", kind=kind)


def _reason(group: Failures) -> str:
    return f"code {group.code}" if group.code else group.outcome.replace("_", " ") or "no render"


def _models(report: Report) -> Iterator[dict[str, Any]]:
    """Yield one row for each model with saved videos."""
    by_model: dict[str, list[TaskEnd]] = {}
    for task in report.of(End.LANDED, End.REUSED):
        by_model.setdefault(str(task.known.get("model") or "unknown"), []).append(task)
    for name, tasks in sorted(by_model.items()):
        seconds = sum(
            float(task.known.get("duration_seconds") or task.known.get("duration") or 0) for task in tasks
        )
        size = sum(int(task.known.get("bytes") or 0) for task in tasks)
        yield {
            "name": name,
            "videos": len(tasks),
            "seconds": f"{seconds:,.0f}",
            "megabytes": f"{size / 1_000_000:,.1f}",
        }


def _videos(report: Report, previews: Mapping[str, Preview]) -> Iterator[dict[str, Any]]:
    """Yield one tile for each of the first saved videos."""
    for task in report.of(End.LANDED, End.REUSED)[:MAX_VIDEOS]:
        known, uri = task.known, str(task.known.get("uri") or "")
        preview = previews.get(uri) or Preview()
        yield {
            "task": task.label,
            "prompt": str(known.get("prompt") or ""),
            "facts": list(_facts(task, reused=task.end(report.since) is End.REUSED)),
            "uri": uri,
            "name": uri.rpartition("/")[2],
            # "./" in front of a quoted path: such a link cannot name a scheme or a host.
            "href": None if preview.path is None else f"./{quote(preview.path)}",
            "picture": None if preview.picture is None else base64.b64encode(preview.picture).decode(),
        }


def _facts(task: TaskEnd, *, reused: bool) -> Iterator[str]:
    known = task.known
    yield str(known.get("model") or "")
    if known.get("width") and known.get("height"):
        yield f"{known['width']}×{known['height']}"
    yield f"{known.get('duration')} s"
    cost = known.get("cost_cny")
    yield "cost unknown" if cost is None else f"{cost} CNY"
    if reused:
        yield "reused"
    differences = known.get("differs")
    for difference in differences if isinstance(differences, list) else ():
        if isinstance(difference, Mapping) and {"field", "asked", "got"} <= set(difference):
            yield difference_in_words(difference)
