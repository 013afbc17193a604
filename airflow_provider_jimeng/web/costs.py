# SPDX-License-Identifier: Apache-2.0
"""What renders cost, by day, DAG, run and model, as JSON and as CSV for a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from airflow_provider_jimeng.core.render import format_money
from airflow_provider_jimeng.web import store
from airflow_provider_jimeng.web.request import FiltersDep, SessionDep, attachment, conditional

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.outcomes import Money
    from airflow_provider_jimeng.web.store import Filters, Results

BYTE_ORDER_MARK = "\ufeff"
"""Excel reads a CSV file as UTF-8 only if it begins with this."""
KEYS = ("day", "dag_id", "run_id", "model")
_MONEY = ("paid", "may_be_billed", "expected")
COLUMNS = (*KEYS, "renders", "saved", "seconds", *(f"{kind}_cny" for kind in _MONEY), "unpriced")
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")
CSV_TYPE = "text/csv; charset=utf-8"
USUAL_DAYS = 30
"""How many days the table covers if the query names no period."""

router = APIRouter()


@router.get("/api/costs")
def costs_as_json(request: Request, filters: FiltersDep, db: SessionDep) -> Response:
    """Return what renders cost by day, DAG, run and model."""
    filters = _within_a_period(filters)
    table = costs(store.find(db, filters), filters)
    return conditional(request, {**table, "since": _iso(filters.since), "until": _iso(filters.until)})


@router.get("/api/costs.csv")
def costs_as_csv(filters: FiltersDep, db: SessionDep) -> Response:
    """Return the same table for a spreadsheet."""
    filters = _within_a_period(filters)
    table = costs(store.find(db, filters), filters)
    lines = "".join(csv_lines(COLUMNS, table["rows"]))
    return Response(lines.encode(), media_type=CSV_TYPE, headers=attachment("costs.csv"))


def _within_a_period(filters: store.Filters) -> store.Filters:
    """Return the filters with a period: the last days, if the query names neither a period nor a run."""
    if filters.since or filters.until or filters.run_ids:
        return filters
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return replace(filters, since=midnight - timedelta(days=USUAL_DAYS - 1))


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def costs(results: Results, filters: Filters) -> dict[str, Any]:
    """Return the table: ``rows`` and ``total``, newest day first. Days are those of UTC.

    A render that another run paid for counts as a render and not as money. One that a later render of its task replaced
    counts as money only, on the latest day of its run and model. ``unpriced`` counts unknown prices.
    """
    table: dict[tuple[str, ...], dict[str, Any]] = {}
    latest: dict[tuple[str, ...], dict[str, Any]] = {}
    total = _empty()
    for render in results.renders:
        entry = render.entry
        group = (entry.ref.dag_id, entry.ref.run_id, entry.model or "")
        row = table.setdefault((entry.moment.date().isoformat(), *group), _empty())
        latest.setdefault(group, row)
        for sums in (row, total):
            sums["renders"] += 1
            sums["saved"] += entry.state == "landed"
            sums["seconds"] += entry.seconds if entry.state == "landed" else 0
            _pay(sums, render.facets.money, entry.amount)
    fits = filters.fits()
    for replaced in results.groups:
        facets = replaced.facets
        group_row = latest.get((facets.dag_id, facets.run_id, facets.model or ""))
        if facets.replaced and group_row is not None and fits(facets):
            for sums in (group_row, total):
                for _ in range(replaced.count):
                    _pay(sums, facets.money, facets.amount)
    ordered = sorted(table.items(), key=lambda item: item[0][1:])
    ordered.sort(key=lambda item: item[0][0], reverse=True)
    return {
        "rows": [{**dict(zip(KEYS, key, strict=True)), **_as_payload(row)} for key, row in ordered],
        "total": _as_payload(total),
    }


def csv_lines(header: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a table as CSV, line by line. Cells that a spreadsheet would calculate are made plain text."""
    yield BYTE_ORDER_MARK + _line(header)
    for row in rows:
        yield csv_line(header, row)


def csv_line(header: Sequence[str], row: Mapping[str, Any]) -> str:
    """Return one row of such a table."""
    return _line([harmless(row.get(name)) for name in header])


def harmless(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula. Only texts can be formulas."""
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULAS) else value


def _line(cells: Iterable[Any]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()


def _empty() -> dict[str, Any]:
    return {
        "renders": 0,
        "saved": 0,
        "unpriced": 0,
        "seconds": Decimal(0),
        **dict.fromkeys(_MONEY, Decimal(0)),
    }


def _pay(row: dict[str, Any], kind: Money, price: Decimal | None) -> None:
    if kind not in _MONEY:
        return
    if price is None:
        row["unpriced"] += 1
    else:
        row[kind] += price


def _as_payload(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "renders": row["renders"],
        "saved": row["saved"],
        "seconds": float(row["seconds"]),
        **{f"{kind}_cny": format_money(row[kind]) for kind in _MONEY},
        "unpriced": row["unpriced"],
    }
