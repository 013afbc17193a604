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
_PRELOADED = 60
"""So many videos show their first frame at once. On a larger page, a video loads when somebody plays it."""
_TEXTS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "lang": "en", "title": "render report", "run": "Run", "made": "report of", "what_to_do": "What to do",
        "more": "and {count} more; the JSON file beside this page names all.", "models": "Models", "model": "Model",
        "videos": "Videos", "time": "Playing time", "size": "Size", "pictures": "Pictures", "nothing": "no picture",
        "render": "render", "of": "of {count}", "failed": "Failed", "unfinished": "Unfinished", "planned": "Planned",
        "no_plan": "no plan", "actual": "Actual", "earlier": "Paid earlier", "reused_count": "{count} reused",
        "open": "Might still be billed", "unknown": "unknown", "code": "code {code}", "no_render": "no render",
        "cost_unknown": "cost unknown", "reused": "reused",
    },
    "zh": {
        "lang": "zh-CN", "title": "生成报告", "run": "运行", "made": "报告时间", "what_to_do": "如何处理",
        "more": "另有 {count} 个；本页旁的 JSON 文件列出了全部。", "models": "模型", "model": "模型",
        "videos": "视频", "time": "总时长", "size": "大小", "pictures": "画面", "nothing": "无画面",
        "render": "任务 ID", "of": "共 {count} 个", "failed": "失败", "unfinished": "未完成", "planned": "计划费用",
        "no_plan": "无计划", "actual": "实际费用", "earlier": "此前已付", "reused_count": "复用 {count} 个",
        "open": "可能仍会计费", "unknown": "未知", "code": "错误码 {code}", "no_render": "无生成任务",
        "cost_unknown": "费用未知", "reused": "复用",
    },
}  # fmt: skip
_OUTCOMES_ZH = {
    "failed": "生成失败", "expired": "已过期", "not_found": "查无此任务", "no_link": "无链接", "timed_out": "等待超时",
    "lost_contact": "凭证被拒", "slot_timed_out": "未等到并发空位", "unknown_submit": "提交结果未知", "succeeded": "未保存",
}  # fmt: skip
_FIELDS_ZH = {"duration": "时长", "aspect_ratio": "画面比例", "fps": "帧率"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What the page can show of a video. ``path`` is relative to the page; ``picture`` is JPEG bytes.

    A page that a server sends has the address of the video and of its poster instead of a path, and links to its page.
    """

    path: str | None = None
    picture: bytes | None = None
    video_address: str | None = None
    poster_address: str | None = None
    page_address: str | None = None


def content_policy(*, served: bool = False) -> str:
    """Return the Content-Security-Policy of the page. A served page also takes its posters from its own origin."""
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    images = "'self'" if served else "data:"
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src {images}; media-src 'self'; base-uri 'none'; "
        "form-action 'none'"
    )


def _style() -> str:
    return (_TEMPLATES / "report.css").read_text(encoding="utf-8")


def render_page(
    report: Report, previews: Mapping[str, Preview], *, language: str = "en", served: bool = False
) -> str:
    """Return the page.

    :param previews: by URI of the video; a video without one gets a tile without a picture.
    :param language: ``en`` or ``zh``.
    :param served: a web server sends the page, so it is not a file beside the videos.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415  DAG files need no templates

    environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined)
    texts = _TEXTS[language]
    return environment.get_template("report.html").render(
        policy=content_policy(served=served),
        style=_style(),
        texts=texts,
        chinese=language == "zh",
        report=report,
        made=report.generated_at.in_timezone("UTC").format("YYYY-MM-DD HH:mm [UTC]"),
        figures=list(_figures(report, texts)),
        failures=[(group, _reason(group, texts)) for group in report.failures()],
        tasks_shown=_TASKS_SHOWN,
        models=list(_models(report)),
        few=len(report.ends) <= _PRELOADED,
        videos=list(_videos(report, previews, texts)),
        more_videos=max(0, len(report.of(End.LANDED, End.REUSED)) - MAX_VIDEOS),
    )


def _figures(report: Report, texts: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Yield the tiles at the top of the page."""
    saved, reused = len(report.of(End.LANDED, End.REUSED)), len(report.of(End.REUSED))
    failed, unfinished = len(report.of(End.FAILED, End.NO_RENDER)), len(report.of(End.UNFINISHED))
    good = not failed and not unfinished
    of_all = texts["of"].format(count=len(report.ends))
    yield _figure(texts["videos"], str(saved), of_all, kind="good" if good else "")
    yield _figure(texts["failed"], str(failed), kind="bad" if failed else "")
    yield _figure(texts["unfinished"], str(unfinished), kind="warn" if unfinished else "")
    if report.quoted:
        yield _money(texts, "planned", report.planned)
    else:
        yield _figure(texts["planned"], "–", texts["no_plan"])
    yield _money(texts, "actual", report.actual)
    if reused:
        yield _money(texts, "earlier", report.earlier, f" {texts['reused_count'].format(count=reused)}")
    if report.open != Decimal(0):
        yield _money(texts, "open", report.open, kind="warn")


def _figure(name: str, value: str, note: str = "", *, kind: str = "") -> dict[str, str]:
    return {"name": name, "value": value, "note": note.strip(), "kind": kind}


def _money(
    texts: Mapping[str, str], name: str, amount: Decimal | None, note: str = "", *, kind: str = ""
) -> dict[str, str]:
    if amount is None:
        return _figure(texts[name], texts["unknown"], note, kind=kind)
    return _figure(texts[name], f"{amount:,.2f}", f"CNY{note}", kind=kind)


def _reason(group: Failures, texts: Mapping[str, str]) -> str:
    if group.code:
        return texts["code"].format(code=group.code)
    words = group.outcome.replace("_", " ")
    if texts is _TEXTS["zh"]:
        words = _OUTCOMES_ZH.get(group.outcome, words)
    return words or texts["no_render"]


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


def _videos(
    report: Report, previews: Mapping[str, Preview], texts: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """Yield one tile for each of the first saved videos."""
    for task in report.of(End.LANDED, End.REUSED)[:MAX_VIDEOS]:
        known, uri = task.known, str(task.known.get("uri") or "")
        preview = previews.get(uri) or Preview()
        yield {
            "task": task.label,
            "prompt": str(known.get("prompt") or ""),
            "facts": list(_facts(task, texts, reused=task.end(report.since) is End.REUSED)),
            "uri": uri,
            "name": uri.rpartition("/")[2],
            # "./" in front of a quoted path: such a link cannot name a scheme or a host.
            "href": preview.video_address if preview.path is None else f"./{quote(preview.path)}",
            "poster": preview.poster_address,
            "page": preview.page_address,
            "picture": None if preview.picture is None else base64.b64encode(preview.picture).decode(),
        }


def _facts(task: TaskEnd, texts: Mapping[str, str], *, reused: bool) -> Iterator[str]:
    known = task.known
    yield str(known.get("model") or "")
    if known.get("width") and known.get("height"):
        yield f"{known['width']}×{known['height']}"
    yield f"{known.get('duration')} s"
    cost = known.get("cost_cny")
    yield texts["cost_unknown"] if cost is None else f"{cost} CNY"
    if reused:
        yield texts["reused"]
    differences = known.get("differs")
    for difference in differences if isinstance(differences, list) else ():
        if isinstance(difference, Mapping) and {"field", "asked", "got"} <= set(difference):
            yield _difference(difference, texts)


def _difference(difference: Mapping[str, Any], texts: Mapping[str, str]) -> str:
    if texts is not _TEXTS["zh"]:
        return difference_in_words(difference)
    name = str(difference["field"])
    return f"{_FIELDS_ZH.get(name, name)}为 {difference['got']}，请求为 {difference['asked']}"
