"""The report as one HTML page that needs nothing else: no script, no outside content, every text escaped.

Prompts are what somebody typed, so nothing of them may act: all of it goes through :func:`html.escape`, and the
page's own policy lets a browser load only its own style, ``data:`` pictures and videos that lie beside it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow_provider_jimeng.core.report_style import STYLE
from airflow_provider_jimeng.core.task_end import End, TaskEnd

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.report import Failures, Report

_MOST_TASKS_NAMED = 12
"""How many tasks of a group of failures are shown in full; the JSON names all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What there is to see of a landed video. ``path`` is relative to the page; ``picture`` is JPEG bytes."""

    path: str | None = None
    picture: bytes | None = None


def render_page(report: Report, sights: Mapping[str, Sight]) -> str:
    """Return the page.

    :param sights: by URI of the video; one that is missing gets a tile without a picture.
    """
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; media-src 'self'; base-uri 'none'; "
        "form-action 'none'"
    )
    body = "\n".join(
        (_head(report), _figures(report), _failures(report), _models(report), _sheet(report, sights))
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(report.dag_id)}: render report</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _head(report: Report) -> str:
    made = report.generated_at.in_timezone("UTC").format("YYYY-MM-DD HH:mm [UTC]")
    return (
        f"<header>\n<h1>{escape(report.dag_id)}</h1>\n"
        f"<p>Run <code>{escape(report.run_id)}</code> · report of {escape(made)}</p>\n</header>"
    )


def _figures(report: Report) -> str:
    landed, reused = len(report.of(End.LANDED)), len(report.of(End.REUSED))
    bad = report.of(End.FAILED, End.NO_RENDER)
    unfinished = report.of(End.UNFINISHED)
    cards = [
        ("Videos", f"{landed + reused}", f"of {len(report.ends)}", "" if bad or unfinished else "good"),
        ("Failed", f"{len(bad)}", "", "bad" if bad else ""),
        ("Unfinished", f"{len(unfinished)}", "", "warn" if unfinished else ""),
        ("Planned", *(_money(report.planned) if report.quoted else ("–", "no plan")), ""),
        ("Actual", *_money(report.actual), ""),
    ]
    if reused:
        amount, unit = _money(report.earlier)
        cards.append(("Paid earlier", amount, f"{unit} {reused} reused", ""))
    if report.open != Decimal(0):
        cards.append(("May still be billed", *_money(report.open), "warn"))
    tiles = "\n".join(
        f'<div class="figure {kind}"><dt>{escape(name)}</dt><dd>{escape(value)}'
        + (f" <small>{escape(more)}</small>" if more else "")
        + "</dd></div>"
        for name, value, more, kind in cards
    )
    return f'<dl class="figures">\n{tiles}\n</dl>'


def _failures(report: Report) -> str:
    groups = report.failures()
    if not groups:
        return ""
    return "<section>\n<h2>What to do</h2>\n" + "\n".join(map(_group, groups)) + "\n</section>"


def _group(group: Failures) -> str:
    reason = f"code {group.code}" if group.code else group.outcome.replace("_", " ") or "no render"
    rows = "\n".join(map(_failed_row, group.tasks[:_MOST_TASKS_NAMED]))
    more = len(group.tasks) - _MOST_TASKS_NAMED
    rest = f'\n<p class="more">and {more} more; the JSON beside this page names all.</p>' if more > 0 else ""
    return (
        f'<article class="group">\n<h3><span class="count">{len(group.tasks)}</span> {escape(group.meaning)}'
        f' <span class="reason">{escape(reason)}</span></h3>\n<p class="advice">{escape(group.advice)}</p>\n'
        f"<table>\n<tbody>\n{rows}\n</tbody>\n</table>{rest}\n</article>"
    )


def _failed_row(task: TaskEnd) -> str:
    known = task.known
    said = [str(known[name]) for name in ("message",) if known.get(name)]
    if task.render_id:
        said.append(f"render {task.render_id}")
    return (
        f'<tr><th scope="row"><code>{escape(task.label)}</code></th>'
        f'<td dir="auto">{escape(str(known.get("prompt") or ""))}</td>'
        f'<td class="said">{escape(" · ".join(said))}</td></tr>'
    )


def _models(report: Report) -> str:
    made: dict[str, list[TaskEnd]] = {}
    for task in report.of(End.LANDED, End.REUSED):
        made.setdefault(str(task.known.get("model") or "unknown"), []).append(task)
    if not made:
        return ""
    rows = "\n".join(
        f'<tr><th scope="row">{escape(model)}</th><td>{len(tasks)}</td><td>{_seconds(tasks):,.0f} s</td>'
        f"<td>{_size(sum(int(task.known.get('bytes') or 0) for task in tasks))}</td></tr>"
        for model, tasks in sorted(made.items())
    )
    return (
        '<section>\n<h2>Models</h2>\n<table class="numbers">\n<thead><tr><th scope="col">Model</th>'
        '<th scope="col">Videos</th><th scope="col">Playing time</th><th scope="col">Size</th></tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody>\n</table>\n</section>"
    )


def _sheet(report: Report, sights: Mapping[str, Sight]) -> str:
    landed = report.of(End.LANDED, End.REUSED)
    if not landed:
        return ""
    tiles = "\n".join(
        _tile(task, sights.get(str(task.known.get("uri"))) or Sight(), report) for task in landed
    )
    return f'<section>\n<h2>First frames</h2>\n<div class="sheet">\n{tiles}\n</div>\n</section>'


def _tile(task: TaskEnd, sight: Sight, report: Report) -> str:
    known = task.known
    prompt = str(known.get("prompt") or "")
    uri = str(known.get("uri") or "")
    facts = [str(known.get("model") or "")]
    if known.get("width") and known.get("height"):
        facts.append(f"{known['width']}×{known['height']}")
    facts += [f"{known.get('duration')} s", _money_text(known.get("cost_cny"))]
    if task.end(report.since) is End.REUSED:
        facts.append("reused")
    name = escape(uri.rpartition("/")[2])
    shown = " ".join(f"<span>{escape(fact)}</span>" for fact in facts)
    link = name if sight.path is None else f'<a href="{_href(sight.path)}">{name}</a>'
    return (
        f'<figure>\n<div class="still">{_picture(sight, prompt)}</div>\n<figcaption>\n'
        f'<p class="prompt" dir="auto">{escape(prompt)}</p>\n'
        f'<p class="facts"><code>{escape(task.label)}</code> {shown}</p>\n'
        f'<p class="file" title="{escape(uri)}">{link}</p>\n</figcaption>\n</figure>'
    )


def _picture(sight: Sight, prompt: str) -> str:
    if sight.picture is not None:
        data = base64.b64encode(sight.picture).decode()
        return f'<img src="data:image/jpeg;base64,{data}" alt="{escape(prompt)}">'
    if sight.path is not None:
        return f'<video src="{_href(sight.path)}" preload="metadata" controls muted playsinline></video>'
    return '<span class="nothing">no picture</span>'


def _href(path: str) -> str:
    """Return a relative path as a link that cannot name a scheme or a host."""
    return escape("./" + quote(path))


def _seconds(tasks: Sequence[TaskEnd]) -> float:
    return sum(float(task.known.get("duration_seconds") or task.known.get("duration") or 0) for task in tasks)


def _size(count: int) -> str:
    return f"{count / 1_000_000:,.1f} MB"


def _money(amount: Decimal | None) -> tuple[str, str]:
    return ("unknown", "") if amount is None else (f"{amount:,.2f}", "CNY")


def _money_text(amount: object) -> str:
    return "cost unknown" if amount is None else f"{amount} CNY"
