# SPDX-License-Identifier: Apache-2.0
"""What renders cost, by day, DAG, run and model, as JSON and as CSV for a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.render import format_money
from airflow_provider_jimeng.web import cards
from airflow_provider_jimeng.web.campaign import money_of
from airflow_provider_jimeng.web.reading import amount, moment

if TYPE_CHECKING:
    from airflow_provider_jimeng.web.store import Stored

MOST_RENDERS = 50_000
"""So many renders are added up at most, the newest. The table says if there are more."""
BYTE_ORDER_MARK = "\ufeff"
"""Excel reads a CSV file as UTF-8 only if it begins with this."""
KEYS = ("day", "dag_id", "run_id", "model")
_MONEY = ("paid", "may_be_billed", "expected")
COLUMNS = (*KEYS, "renders", "saved", "seconds", *(f"{kind}_cny" for kind in _MONEY), "unpriced")
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def costs(found: Iterable[Stored]) -> dict[str, Any]:
    """Return the table: ``rows`` and ``total``, newest day first. Days are those of UTC.

    A render that another run paid for counts as a render and not as money. ``unpriced`` counts unknown prices.
    """
    table: dict[tuple[str, ...], dict[str, Any]] = {}
    total = _empty()
    newest = iter(found)
    for stored in islice(newest, MOST_RENDERS):
        card = cards.card(stored, {})
        time = moment(card["submitted_at"]) or moment(card["seen_at"]) or stored.pushed_at
        key = (time.date().isoformat(), stored.ref.dag_id, stored.ref.run_id, card["model"] or "")
        for row in (table.setdefault(key, _empty()), total):
            _add(row, card)
    ordered = sorted(table.items(), key=lambda item: item[0][1:])
    ordered.sort(key=lambda item: item[0][0], reverse=True)
    return {
        "rows": [{**dict(zip(KEYS, key, strict=True)), **_shown(row)} for key, row in ordered],
        "total": _shown(total),
        "complete": next(newest, None) is None,
    }


def csv_lines(header: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a table as CSV, line by line. Cells that a spreadsheet would calculate are made plain text."""
    yield BYTE_ORDER_MARK + _line(header)
    for row in rows:
        yield _line([harmless(row.get(name)) for name in header])


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


def _add(row: dict[str, Any], card: Mapping[str, Any]) -> None:
    row["renders"] += 1
    if card["state"] == "landed":
        row["saved"] += 1
        row["seconds"] += amount(card["duration"]) or 0
    kind, price = money_of(card)
    if kind not in _MONEY:
        return
    if price is None:
        row["unpriced"] += 1
    else:
        row[kind] += price


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "renders": row["renders"],
        "saved": row["saved"],
        "seconds": float(row["seconds"]),
        **{f"{kind}_cny": format_money(row[kind]) for kind in _MONEY},
        "unpriced": row["unpriced"],
    }
