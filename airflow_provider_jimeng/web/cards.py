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
from airflow_provider_jimeng.core.outcomes import Money, Outcome, ending_of
from airflow_provider_jimeng.core.render import SAFE_RETENTION_SECONDS, format_money
from airflow_provider_jimeng.web.reading import amount, moment, number, plain, text, time_text, whole

if TYPE_CHECKING:
    from airflow_provider_jimeng.web.entries import Stored
    from airflow_provider_jimeng.web.store import Filters, Group

_FACETS = ("dags", "runs", "states", "models", "ratios", "connections")
"""The filters with choices, in the order of the fields of a group."""
MOST_RUNS = 100


def _money(value: Any) -> str | None:
    return format_money(amount(value))


def _differences(value: Any) -> list[dict[str, str]]:
    """Return how a video differs from its request: for each difference ``field``, ``asked`` and ``got`` as text."""
    entries = value if isinstance(value, list) else []
    names = ("field", "asked", "got")
    return [
        {name: str(plain(entry.get(name))) for name in names}
        for entry in entries
        if isinstance(entry, Mapping)
    ]


def _seed(value: Any) -> int | None:
    """Return a seed, ``None`` for a negative one: it requests a random seed, which the API does not tell."""
    seed = whole(value)
    return None if seed is None or seed < 0 else seed


_CARD_FIELDS: Mapping[str, Callable[[Any], Any]] = {
    "prompt": text, "model": text, "seed": _seed, "take": whole, "duration": number, "aspect_ratio": text,
    "jimeng_conn_id": text, "submitted_at": time_text, "estimated_cost_cny": _money,
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
        "money": stored.money.value,
        "amount_cny": format_money(stored.amount),
        "ratio": stored.ratio,
        "stored_elsewhere": stored.elsewhere,
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
    fields = {name: text(payload.get(name)) for name in ("outcome", "code", "meaning", "advice")}
    explanation = explain(fields)
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
    """Return the known stages in order: ``name``, ``at``, and ``seconds`` if the stage has a length.

    The first query after a change of state sees the change. So the length of such a stage lies between ``seconds_from`` and
    ``seconds_to``. Manifests of versions up to 0.1.0 do not say when a query last saw a state.
    """
    manifest = stored.manifest or {}
    submitted = moment(stored.render.get("submitted_at"))
    landed = moment(manifest.get("landed_at"))
    queued, rendering = number(manifest.get("queued_seconds")), number(manifest.get("render_seconds"))
    if submitted is None:
        return []
    still_queued = min(number(manifest.get("queued_seconds_min")) or 0, queued or 0)
    stages = [_stage("submitted", submitted)]
    if queued is not None:
        stages.append(_stage("queued", submitted, queued, bounds=(still_queued, queued)))
    if rendering is not None:
        start = submitted + timedelta(seconds=queued or 0)
        longest = (queued or 0) + rendering - still_queued
        shortest = min(number(manifest.get("render_seconds_min")) or 0, longest)
        stages.append(_stage("rendering", start, rendering, bounds=(shortest, longest)))
    if landed is not None:
        if queued is not None or rendering is not None:
            done = submitted + timedelta(seconds=(queued or 0) + (rendering or 0))
            stages.append(_stage("landing", done, max(0.0, (landed - done).total_seconds())))
        else:  # the first query already said that it was done
            stages.append(_stage("waiting", submitted, max(0.0, (landed - submitted).total_seconds())))
        stages.append(_stage("landed", landed))
    return stages


def totals(groups: Iterable[Group], filters: Filters) -> dict[str, Any]:
    """Return sums of the filtered set: renders, seconds of saved video, CNY, and renders of unknown price.

    A render that another run paid for counts as a render and not as money. A render that a later one of the same task
    replaced counts as money and not as a render.
    """
    count = unpriced = 0
    seconds = Decimal(0)
    sums = {Money.PAID: Decimal(0), Money.MAY_BE_BILLED: Decimal(0), Money.EXPECTED: Decimal(0)}
    fits = filters.fits()
    for group in groups:
        facets = group.facets
        if not fits(facets):
            continue
        if not facets.replaced:
            count += group.count
            seconds += facets.seconds * group.count if facets.state == "landed" else 0
        if facets.money in sums:
            if facets.amount is None:
                unpriced += group.count
            else:
                sums[facets.money] += facets.amount * group.count
    return {
        "renders": count,
        "seconds": float(seconds),
        "cost_cny": format_money(sums[Money.PAID]),
        "may_be_billed_cny": format_money(sums[Money.MAY_BE_BILLED]),
        "expected_cny": format_money(sums[Money.EXPECTED]),
        "unpriced": unpriced,
    }


def choices(groups: Iterable[Group], filters: Filters) -> dict[str, list[dict[str, Any]]]:
    """Return how many renders each choice of a filter would show, with the other filters applied.

    The runs are the latest ones and the chosen ones.
    """
    chosen = filters.chosen
    counts: list[dict[str, int]] = [{} for _ in _FACETS]
    for group in groups:
        if group.facets.replaced:
            continue
        own = group.facets.choices
        unmatched = [at for at, values in chosen if own[at] not in values]
        for at, (value, counted) in enumerate(zip(own, counts, strict=True)):
            if value is not None:
                fits = not unmatched or unmatched == [at]
                counted[value] = counted.get(value, 0) + (group.count if fits else 0)
    runs = counts[_FACETS.index("runs")]
    for run_id in list(runs)[MOST_RUNS:]:
        if run_id not in filters.run_ids:
            del runs[run_id]
    return {
        name: [
            {"value": value, "count": count, "title": model_title(value) if name == "models" else value}
            for value, count in (counted.items() if name == "runs" else sorted(counted.items()))
        ]
        for name, counted in zip(_FACETS, counts, strict=True)
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


def _stage(
    name: str, at: datetime, seconds: float | None = None, *, bounds: tuple[float, float] | None = None
) -> dict[str, Any]:
    shortest, longest = (seconds, seconds) if bounds is None else bounds
    return {
        "name": name,
        "at": at.isoformat(),
        "seconds": seconds,
        "seconds_from": shortest,
        "seconds_to": longest,
    }
