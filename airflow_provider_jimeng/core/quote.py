# SPDX-License-Identifier: Apache-2.0
"""What a campaign costs, for each model, before anything is paid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from airflow_provider_jimeng.core.arguments import is_absent, read_amount
from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.core.plan import PlannedRow, RowState
from airflow_provider_jimeng.core.render import PAYLOAD_VERSION, format_money, total_cost


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelQuote:
    """The part of one model. ``new`` of the ``rows`` are to be paid. ``cost`` in CNY is ``None`` if it is unknown.

    ``at_risk`` is the cost of new renders for the rows whose renders still run, because these can fail, unbilled.
    """

    rows: int
    new: int
    cost: Decimal | None
    at_risk: Decimal | None = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What a campaign costs before it starts. ``cost`` in CNY is ``None`` if one price is unknown.

    ``at_risk`` is the additional cost if all renders fail that were running when the quote was made.
    """

    rows: int
    new: int
    landed: int
    running: int
    cost: Decimal | None
    at_risk: Decimal | None
    by_model: Mapping[str, ModelQuote]

    def to_payload(self) -> dict[str, Any]:
        """Return the quote as plain JSON data."""
        return {
            "version": PAYLOAD_VERSION,
            "rows": self.rows,
            "new": self.new,
            "landed": self.landed,
            "running": self.running,
            "cost_cny": format_money(self.cost),
            "at_risk_cny": format_money(self.at_risk),
            "by_model": {
                name: {"rows": part.rows, "new": part.new, "cost_cny": format_money(part.cost)}
                for name, part in self.by_model.items()
            },
        }


def make_quote(planned: Iterable[PlannedRow]) -> Quote:
    """Add up what the new rows cost."""
    rows: dict[str, list[PlannedRow]] = {}
    for item in planned:
        rows.setdefault(item.request.spec.name, []).append(item)
    states = Counter(item.state for items in rows.values() for item in items)
    by_model = {
        name: ModelQuote(
            rows=len(items),
            new=sum(item.state is RowState.NEW for item in items),
            cost=total_cost(item.request.estimated_cost for item in items if item.state is RowState.NEW),
            at_risk=total_cost(
                item.request.estimated_cost for item in items if item.state is RowState.RUNNING
            ),
        )
        for name, items in sorted(rows.items())
    }
    return Quote(
        rows=states.total(),
        new=states[RowState.NEW],
        landed=states[RowState.LANDED],
        running=states[RowState.RUNNING] + states[RowState.DONE],
        cost=total_cost(part.cost for part in by_model.values()),
        at_risk=total_cost(part.at_risk for part in by_model.values()),
        by_model=by_model,
    )


def check_cap(quote: Quote, max_cost_cny: Any) -> None:
    """Refuse a campaign that can cost more than the cap, or whose cost is unknown.

    :raises ParameterError: the cap is exceeded. The message names cost, cap and remedy.
    """
    if is_absent(max_cost_cny):
        return
    cap = read_amount("max_cost_cny", max_cost_cny)
    if quote.cost is None or quote.at_risk is None:
        unknown = ", ".join(
            name for name, part in quote.by_model.items() if part.cost is None or part.at_risk is None
        )
        raise ParameterError(
            "max_cost_cny",
            f"the price of {unknown} is unknown, so the cap cannot be checked. Set it in the connection's extra under prices, or "
            "remove the cap. Nothing was submitted or paid.",
        )
    if quote.cost + quote.at_risk > cap:
        more = remedy = ""
        if quote.at_risk:
            more = f" and {format_money(quote.at_risk)} CNY more if the running renders fail,"
            remedy = " wait until the running renders are done,"
        raise ParameterError(
            "max_cost_cny",
            f"the campaign costs about {format_money(quote.cost)} CNY for {quote.new} new renders,{more} over the cap of "
            f"{format_money(cap)}. Raise the cap,{remedy} shorten the renders, or leave rows out. Nothing was submitted or "
            "paid.",
        )


QUOTE_COLUMNS = ("model", "rows", "new", "CNY")


def quote_rows(quote: Quote) -> list[tuple[str, int, int, str]]:
    """Return one row for each model, and the row of the total, with :data:`QUOTE_COLUMNS`."""
    total = ModelQuote(rows=quote.rows, new=quote.new, cost=quote.cost)
    return [
        (name, part.rows, part.new, format_money(part.cost) or "unknown")
        for name, part in (*quote.by_model.items(), ("total", total))
    ]


def quote_notes(quote: Quote) -> list[str]:
    """Return the lines below the rows: what is paid already, and what failures of running renders add."""
    notes = [f"saved already: {quote.landed}; paid already and still running: {quote.running}"]
    if quote.at_risk != 0:
        more = format_money(quote.at_risk)
        notes.append(f"more, if all running renders fail: {f'{more} CNY' if more else 'an unknown amount'}")
    return notes


def quote_table(quote: Quote) -> str:
    """Return the quote as lines of text for a log."""
    lines = [
        f"{name:<22}{rows:>6}{new:>6}{cost:>12}"
        for name, rows, new, cost in (QUOTE_COLUMNS, *quote_rows(quote))
    ]
    return "\n".join([*lines, *quote_notes(quote)])
