# SPDX-License-Identifier: Apache-2.0
"""Convert stored renders to what the pages show: plain JSON, with times as RFC 3339 and money as decimal text.

These are pure functions without a database or a web server. An author of a DAG can push any payload, so each value is
sent only if it has the type that it should have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.catalogue import MODELS
from airflow_provider_jimeng.core.codes import CodeEntry
from airflow_provider_jimeng.core.messages import explain
from airflow_provider_jimeng.core.outcomes import Outcome, ending_of
from airflow_provider_jimeng.core.render import SAFE_RETENTION_SECONDS, format_money
from airflow_provider_jimeng.web.reading import amount, moment, number, plain, text, time_text, whole

if TYPE_CHECKING:
    from airflow_provider_jimeng.web.store import Filters, Group, Stored


def _money(value: Any) -> str | None:
    return format_money(amount(value))


def _differences(value: Any) -> list[dict[str, str]]:
    """Return in what a video differs from its request, each with ``field``, ``asked`` and ``got`` as text."""
    entries = value if isinstance(value, list) else []
    names = ("field", "asked", "got")
    return [
        {name: str(plain(entry.get(name))) for name in names}
        for entry in entries
        if isinstance(entry, Mapping)
    ]


_CARD_FIELDS: Mapping[str, Callable[[Any], Any]] = {
    "prompt": text, "model": text, "seed": whole, "duration": number, "aspect_ratio": text,
    "submitted_at": time_text, "estimated_cost_cny": _money,
    "outcome": text, "code": text, "message": text, "advice": text,
}  # fmt: skip
_FILE_FIELDS: Mapping[str, Callable[[Any], Any]] = {
    "width": whole, "height": whole, "fps": number, "bytes": whole, "content_type": text, "duration_seconds": number,
    "landed_at": time_text, "cost_cny": _money, "differs": _differences,
}  # fmt: skip


def card(stored: Stored, usual_seconds: Mapping[str, float]) -> dict[str, Any]:
    """Return what one card shows. ``render_id`` is the API's id of the render."""
    payload, manifest = stored.render, stored.manifest or {}
    shown: dict[str, Any] = {name: read(payload.get(name)) for name, read in _CARD_FIELDS.items()}
    shown |= {name: read(manifest.get(name)) for name, read in _FILE_FIELDS.items()}
    return shown | {
        "outcome": shown["outcome"] or (Outcome.SUCCEEDED.value if stored.billed else None),
        "ref": asdict(stored.ref),
        "render_id": text(payload.get("task_id")),
        "state": stored.state,
        "task_state": stored.task_state,
        "try_number": stored.try_number,
        "paid_here": stored.paid_here,
        "model_title": model_title(shown["model"]),
        "seen_at": stored.pushed_at.isoformat(),
        "expected_at": _expected_at(stored, usual_seconds),
        "kept_until": _kept_until(stored),
        "failure": failure(payload) if stored.state == "failed" else None,
    }


def detail(stored: Stored, usual_seconds: Mapping[str, float], takes: Iterable[Stored]) -> dict[str, Any]:
    """Return what the page of one render shows: its card, both whole payloads, the timeline and the other takes."""
    return {
        "card": card(stored, usual_seconds),
        "render": plain(stored.render),
        "manifest": plain(stored.manifest),
        "timeline": timeline(stored),
        "takes": [card(take, {}) for take in takes if take.ref != stored.ref],
    }


def failure(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a failure means and what to do, in English and in Chinese."""
    left = {name: text(payload.get(name)) for name in ("outcome", "code", "meaning", "advice")}
    explanation = explain(left)
    entry = explanation if isinstance(explanation, CodeEntry) else None
    return {
        "kind": None if entry is None else entry.kind.name.lower(),
        "meaning": explanation.meaning,
        "meaning_zh": explanation.meaning_zh,
        "advice": explanation.advice,
        "advice_zh": explanation.advice_zh,
        "retryable": None if entry is None else entry.retryable,
    }


def timeline(stored: Stored) -> list[dict[str, Any]]:
    """Return the known stages in order: ``name``, ``at``, and ``seconds`` if the stage has a length."""
    manifest = stored.manifest or {}
    submitted = moment(stored.render.get("submitted_at"))
    landed = moment(manifest.get("landed_at"))
    queued, rendering = number(manifest.get("queued_seconds")), number(manifest.get("render_seconds"))
    if submitted is None:
        return []
    stages = [_stage("submitted", submitted)]
    if queued is not None:
        stages.append(_stage("queued", submitted, queued))
    if rendering is not None:
        start = submitted + timedelta(seconds=queued or 0)
        stages.append(_stage("rendering", start, rendering))
    if landed is not None:
        if queued is not None or rendering is not None:
            done = submitted + timedelta(seconds=(queued or 0) + (rendering or 0))
            stages.append(_stage("landing", done, max(0.0, (landed - done).total_seconds())))
        else:  # the first query already said that it was done
            stages.append(_stage("waiting", submitted, max(0.0, (landed - submitted).total_seconds())))
        stages.append(_stage("landed", landed))
    return stages


def totals(groups: Iterable[Group], filters: Filters) -> dict[str, Any]:
    """Return sums of the filtered set: renders, seconds of video, CNY paid, CNY expected, renders of unknown price.

    A render that another run paid for counts as a render and not as money. A render that is done counts as paid, even if
    its video could not be saved.
    """
    count = unpriced = 0
    seconds = paid = expected = Decimal(0)
    for group in groups:
        if not (
            _fits(group.dag_id, filters.dag_ids)
            and _fits(group.state, filters.states)
            and _fits(group.model, filters.models)
        ):
            continue
        count += group.count
        if group.state == "landed":
            seconds += (amount(group.seconds) or 0) * group.count
        billed = group.state == "landed" or group.billed
        if group.paid_here and (billed or group.state != "failed"):
            price = amount(group.cost if group.state == "landed" else group.estimate)
            if price is None:
                unpriced += group.count
            elif billed:
                paid += price * group.count
            else:
                expected += price * group.count
    return {
        "renders": count,
        "seconds": float(seconds),
        "cost_cny": format_money(paid),
        "expected_cny": format_money(expected),
        "unpriced": unpriced,
    }


def choices(groups: Iterable[Group], filters: Filters) -> dict[str, list[dict[str, Any]]]:
    """Return how many renders each choice of a filter would show, with the other two filters applied."""
    filtered = {"dag_id": filters.dag_ids, "model": filters.models, "state": filters.states}
    counts: dict[str, dict[str, int]] = {name: {} for name in filtered}
    for group in groups:
        values = {"dag_id": group.dag_id, "model": group.model, "state": group.state}
        for name, value in values.items():
            others_fit = all(
                _fits(values[other], wanted) for other, wanted in filtered.items() if other != name
            )
            if value is not None:
                counts[name][value] = counts[name].get(value, 0) + (group.count if others_fit else 0)
    return {
        f"{name.removesuffix('_id')}s": [
            {"value": value, "count": count, "title": model_title(value) if name == "model" else value}
            for value, count in sorted(counts[name].items())
        ]
        for name in filtered
    }


def model_title(model: Any) -> Any:
    """Return the title of a model, or its name if the catalogue has no title."""
    spec = MODELS.get(model) if isinstance(model, str) else None
    return model if spec is None else spec.title


def _expected_at(stored: Stored, usual_seconds: Mapping[str, float]) -> str | None:
    usual = usual_seconds.get(text(stored.render.get("model")) or "")
    submitted = moment(stored.render.get("submitted_at"))
    if stored.state != "running" or usual is None or submitted is None:
        return None
    return (submitted + timedelta(seconds=usual)).isoformat()


def _kept_until(stored: Stored) -> str | None:
    submitted = moment(stored.render.get("submitted_at"))
    outcome = text(stored.render.get("outcome"))
    if submitted is None or outcome is None or not ending_of(outcome).can_continue:
        return None
    return (submitted + timedelta(seconds=SAFE_RETENTION_SECONDS)).isoformat()


def _stage(name: str, at: datetime, seconds: float | None = None) -> dict[str, Any]:
    return {"name": name, "at": at.isoformat(), "seconds": seconds}


def _fits(value: str | None, wanted: tuple[str, ...]) -> bool:
    return not wanted or value in wanted
