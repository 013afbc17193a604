# SPDX-License-Identifier: Apache-2.0
"""The renders of one DAG run as one thing: how they stand, what they cost, when they end, and what went wrong.

Renders come from the queries of the gallery. Beside them, this module reads the run itself, the quotes of its plans, and
which of its tasks reported.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from airflow.models.dagrun import DagRun
from airflow.models.renderedtifields import RenderedTaskInstanceFields
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from sqlalchemy import select

from airflow_provider_jimeng.core.render import format_money
from airflow_provider_jimeng.operators import xcom
from airflow_provider_jimeng.web import cards, store
from airflow_provider_jimeng.web.reading import amount, moment, text, time_text, whole

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from airflow_provider_jimeng.web.store import Filters, Stored, TaskRef

_AT_ONCE = 1000
"""Renders of one query, where all renders are read one after the other."""
_NAMED = 50
"""Renders that a group of failures names. Its count is that of all."""
_OVER = frozenset({"success", "failed"})
"""States of a DAG run in which nothing of it is expected any more."""
_REPORT = "JimengReportOperator"


def renders(session: Session, filters: Filters) -> Iterator[Stored]:
    """Yield all renders that fit the filters, newest first."""
    offset = 0
    while True:
        shown = store.page(session, filters, limit=_AT_ONCE, offset=offset)
        yield from shown
        if len(shown) < _AT_ONCE:
            return
        offset += len(shown)


def campaign(
    session: Session, filters: Filters, *, shown: tuple[str, ...], now: datetime, limit: int, offset: int
) -> dict[str, Any] | None:
    """Return what the page of a run shows, or ``None`` if there is no such run.

    :param filters: one DAG and one run.
    :param shown: the states of the renders in the list; none for all. Counts and money are always those of the run.
    """
    (dag_id,), (run_id,) = filters.dag_ids, filters.run_ids
    run = _run(session, dag_id, run_id)
    if run is None:
        return None
    listed = store.page(session, replace(filters, states=shown), limit=limit, offset=offset)
    running = list(renders(session, replace(filters, states=("running",))))
    failed = list(renders(session, replace(filters, states=("failed",))))
    found = store.find(session, filters)  # after the pages, which can correct the index
    models = {text(stored.render.get("model")) or "" for stored in (*running, *listed)}
    usual = store.usual_seconds(session, filters.readable, models)
    counts = {one["value"]: one["count"] for one in found.choices["states"]}
    planned = quoted(_values(session, dag_id, run_id, xcom.QUOTE))
    to_come = counts.get("waiting", 0)
    if planned and planned["rows"] is not None:
        to_come = max(to_come, planned["rows"] - found.totals["renders"] + to_come)
    over = run["state"] in _OVER
    return {
        "run": run,
        "counts": counts,
        "to_come": 0 if over else to_come,
        "totals": found.totals,
        "planned": planned,
        "expected_end": None if over else _end(running, to_come, usual, now),
        "failures": failures(failed),
        "reports": [asdict(ref) for ref in reports(session, dag_id, run_id)],
        "cards": [cards.card(stored, usual) for stored in listed],
        "limit": limit,
        "offset": offset,
    }


def expected_end(
    ends: Iterable[datetime], to_come: int, usual_seconds: float | None, now: datetime
) -> datetime | None:
    """Return when the last render ends, if the others take the places of those that run; ``None`` if it is unknown.

    :param ends: when each running render is expected to end.
    :param to_come: renders that are not submitted yet.
    :param usual_seconds: how long a render takes.
    """
    places = [max(end, now) for end in ends]
    if not places or (to_come and usual_seconds is None):
        return None
    heapq.heapify(places)
    for _ in range(min(to_come, 100_000)):
        heapq.heapreplace(places, places[0] + timedelta(seconds=usual_seconds or 0))
    return max(places)


def _end(running: Sequence[Stored], to_come: int, usual: Mapping[str, float], now: datetime) -> str | None:
    """Return the expected end of a campaign. It is unknown if it is unknown for a render that runs."""
    found = [moment(cards.card(stored, usual)["expected_at"]) for stored in running]
    ends = [end for end in found if end is not None]
    if len(ends) < len(found):
        return None
    end = expected_end(ends, to_come, max(usual.values(), default=None), now)
    return None if end is None else end.replace(microsecond=0).isoformat().replace("+00:00", "Z")


@dataclass(slots=True)
class _Failures:
    """Renders that failed for the same reason."""

    failure: dict[str, Any]
    code: str | None
    count: int = 0
    named: list[dict[str, Any]] = field(default_factory=list)


def failures(failed: Iterable[Stored]) -> list[dict[str, Any]]:
    """Return failed renders grouped by what their failure means, the largest group first."""
    groups: dict[tuple[Any, ...], _Failures] = {}
    for stored in failed:
        failure, code = cards.failure(stored.render), text(stored.render.get("code"))
        group = groups.setdefault(
            (code, failure["meaning"], failure["advice"]), _Failures(failure=failure, code=code)
        )
        group.count += 1
        if len(group.named) < _NAMED:
            said = {name: text(stored.render.get(name)) for name in ("prompt", "message")}
            group.named.append({"ref": asdict(stored.ref), **said})
    largest_first = sorted(groups.values(), key=lambda group: -group.count)
    return [
        {**group.failure, "code": group.code, "count": group.count, "renders": group.named}
        for group in largest_first
    ]


def quoted(quotes: Iterable[Any]) -> dict[str, Any] | None:
    """Return the quotes of a run's plans as one, ``None`` without a plan. An unknown cost makes the sum unknown."""
    readable = [
        quote for quote in quotes if isinstance(quote, Mapping) and whole(quote.get("rows")) is not None
    ]
    if not readable:
        return None
    names = ("rows", "new", "landed", "running")
    counts = {name: [whole(quote.get(name)) for quote in readable] for name in names}
    money = {name: [amount(quote.get(name)) for quote in readable] for name in ("cost_cny", "at_risk_cny")}
    times = [time_text(quote.get("quoted_at")) for quote in readable]
    return {
        **{name: sum(count or 0 for count in found) for name, found in counts.items()},
        **{
            name: None if None in found else format_money(sum((one for one in found if one), Decimal(0)))
            for name, found in money.items()
        },
        "quoted_at": min((time for time in times if time), default=None),
    }


def reports(session: Session, dag_id: str, run_id: str) -> list[TaskRef]:
    """Return the tasks of a run that made a report and saved it."""
    result = XComModel
    statement = (
        select(result.task_id, result.map_index, result.value)
        .join(
            TaskInstance,
            (TaskInstance.dag_id == result.dag_id)
            & (TaskInstance.run_id == result.run_id)
            & (TaskInstance.task_id == result.task_id)
            & (TaskInstance.map_index == result.map_index),
        )
        .where(
            result.dag_id == dag_id,
            result.run_id == run_id,
            result.key == xcom.RETURN_VALUE,
            TaskInstance.operator == _REPORT,
        )
        .order_by(result.task_id, result.map_index)
    )
    return [
        store.TaskRef(dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=map_index)
        for task_id, map_index, value in session.execute(statement)
        if report_file(payload(value)) is not None
    ]


def report_file(summary: Mapping[str, Any] | None) -> str | None:
    """Return the URI of the JSON file of a report, by what its task returned."""
    uris = (summary or {}).get("uris")
    uri = uris.get("json") if isinstance(uris, Mapping) else None
    return uri if isinstance(uri, str) and uri else None


def value_of(session: Session, ref: TaskRef, key: str) -> dict[str, Any] | None:
    """Return what a task instance left under a key, if it is a mapping."""
    found = XComModel
    statement = select(found.value).where(
        found.dag_id == ref.dag_id,
        found.run_id == ref.run_id,
        found.task_id == ref.task_id,
        found.map_index == ref.map_index,
        found.key == key,
    )
    return payload(session.scalar(statement))


def arguments_of(session: Session, ref: TaskRef) -> dict[str, Any] | None:
    """Return the rendered arguments of a task instance. Airflow keeps those of the last runs only."""
    fields = RenderedTaskInstanceFields
    statement = select(fields.rendered_fields).where(
        fields.dag_id == ref.dag_id,
        fields.run_id == ref.run_id,
        fields.task_id == ref.task_id,
        fields.map_index == ref.map_index,
    )
    return payload(session.scalar(statement))


def payload(value: Any) -> dict[str, Any] | None:
    """Return a stored value if it is a mapping. Airflow stores values as JSON text, and some databases as JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    return dict(value) if isinstance(value, Mapping) else None


def _values(session: Session, dag_id: str, run_id: str, key: str) -> list[Any]:
    found = XComModel
    statement = select(found.value).where(found.dag_id == dag_id, found.run_id == run_id, found.key == key)
    return [payload(value) for value in session.scalars(statement)]


def _run(session: Session, dag_id: str, run_id: str) -> dict[str, Any] | None:
    statement = select(DagRun.state, DagRun.run_after, DagRun.start_date, DagRun.end_date).where(
        DagRun.dag_id == dag_id, DagRun.run_id == run_id
    )
    row = session.execute(statement).first()
    if row is None:
        return None
    state, run_after, started, ended = row
    return {
        "dag_id": dag_id,
        "run_id": run_id,
        "state": str(getattr(state, "value", state)),
        "started_at": _text_of(started or run_after),
        "ended_at": _text_of(ended),
    }


def _text_of(time: datetime | None) -> str | None:
    return None if time is None else (time if time.tzinfo else time.replace(tzinfo=UTC)).isoformat()
