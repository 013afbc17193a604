# SPDX-License-Identifier: Apache-2.0
"""The page of one DAG run: its counts, costs, expected end and failures, and the reports that its tasks saved.

A report is shown as a new page, made from its JSON file. The saved HTML is not read: any author of a DAG can push any URI,
so the server shows nothing that it did not write itself. The file counts only if it is a report of this run, of the moment
that the task returned.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlencode

from airflow.api_fastapi.core_api.security import GetUserDep  # noqa: TC002  FastAPI reads it
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from fastapi import APIRouter, HTTPException, Query, Request, status
from fastapi.responses import HTMLResponse, Response
from sqlalchemy import select

from airflow_provider_jimeng.core.errors import JimengError
from airflow_provider_jimeng.core.render import format_money
from airflow_provider_jimeng.core.report import Report
from airflow_provider_jimeng.operators import xcom
from airflow_provider_jimeng.report_page import Preview, content_policy, render_page
from airflow_provider_jimeng.web import cards, store
from airflow_provider_jimeng.web.entries import mapping
from airflow_provider_jimeng.web.media import MediaGoneError, file_in_store, opened_file
from airflow_provider_jimeng.web.reading import amount, moment, plain, text, time_text, whole
from airflow_provider_jimeng.web.request import (
    NOSNIFF,
    NameDep,
    RefDep,
    SessionDep,
    conditional,
    readable_dags,
    require,
)

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from airflow_provider_jimeng.web.store import Filters, Stored, TaskRef

_BATCH = 1000
"""How many renders one query reads, where all renders are read."""
_NAMED = 50
"""How many renders a group of failures names. It counts all of them."""
_ENDED = frozenset({"success", "failed"})
"""States of a DAG run that has ended."""
_REPORT = "JimengReportOperator"
_LARGEST_REPORT = 64 * 1024 * 1024
_NO_REPORT = "This task has saved no report that the API server can read."
"""One message for all cases. Different messages would tell which files exist."""

router = APIRouter()


# ----------------------------------------------------------------------------------------------------------- routes
@router.get("/api/campaign")
def one_campaign(
    request: Request,
    dag_id: NameDep,
    run_id: NameDep,
    user: GetUserDep,
    db: SessionDep,
    state: Annotated[tuple[str, ...], Query()] = (),
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> Response:
    """Return one run: counts, money, expected end, failures, and a page of its renders in the wanted states."""
    require(user, dag_id)
    readable = readable_dags(user, store.dag_ids(db)) | {dag_id}
    filters = store.Filters(readable=readable, dag_ids=(dag_id,), run_ids=(run_id,))
    page = campaign(db, filters, states=state, now=datetime.now(UTC), limit=limit, offset=offset)
    if page is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "There is no such run.")
    return conditional(request, page)


@router.get("/report")
def report(ref: RefDep, user: GetUserDep, db: SessionDep, lang: Literal["en", "zh"] = "en") -> HTMLResponse:
    """Return the page of the report that a task saved, in English or Chinese."""
    try:
        saved = saved_report(ref, value_of(db, ref, xcom.RETURN_VALUE), store.storage_connection(db, ref))
    except MediaGoneError as error:
        raise HTTPException(status.HTTP_404_NOT_FOUND, str(error)) from error
    filters = store.Filters(
        readable=readable_dags(user, [ref.dag_id]),
        dag_ids=(ref.dag_id,),
        run_ids=(ref.run_id,),
        states=("landed",),
    )
    headers = {
        "Cache-Control": "no-store",
        "Content-Security-Policy": f"{content_policy(served=True)}; frame-ancestors 'self'",
        "Referrer-Policy": "same-origin",
        **NOSNIFF,
    }
    return HTMLResponse(report_as_page(saved, renders(db, filters), lang), headers=headers)


# --------------------------------------------------------------------------------------------------------- the page


def renders(session: Session, filters: Filters) -> Iterator[Stored]:
    """Yield all renders that fit the filters, newest first."""
    offset = 0
    while True:
        page = store.page(session, filters, limit=_BATCH, offset=offset)
        yield from page
        if len(page) < _BATCH:
            return
        offset += len(page)


def campaign(
    session: Session, filters: Filters, *, states: tuple[str, ...], now: datetime, limit: int, offset: int
) -> dict[str, Any] | None:
    """Return what the page of a run shows, or ``None`` if there is no such run.

    :param filters: one DAG and one run.
    :param states: the states of the renders in the list; none for all. Counts and money are always those of the run.
    """
    (dag_id,), (run_id,) = filters.dag_ids, filters.run_ids
    run = _run(session, dag_id, run_id)
    if run is None:
        return None
    listed = store.page(session, replace(filters, states=states), limit=limit, offset=offset)
    running = list(renders(session, replace(filters, states=("running",))))
    failed = list(renders(session, replace(filters, states=("failed",))))
    results = store.find(session, filters)  # after the pages, which can correct the index
    models = {text(stored.render.get("model")) or "" for stored in (*running, *listed)}
    usual = store.usual_seconds(session, filters.readable, models)
    counts = {one["value"]: one["count"] for one in results.choices["states"]}
    planned = quoted(_values(session, dag_id, run_id, xcom.QUOTE))
    to_come = counts.get("waiting", 0)
    if planned and planned["rows"] is not None:
        to_come = max(to_come, planned["rows"] - results.totals["renders"] + to_come)
    over = run["state"] in _ENDED
    return {
        "run": run,
        "counts": counts,
        "to_come": 0 if over else to_come,
        "totals": results.totals,
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
    """Return when the last render ends if the others start as soon as a running one ends; ``None`` if that is unknown.

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
    expected = [moment(cards.card(stored, usual)["expected_at"]) for stored in running]
    ends = [end for end in expected if end is not None]
    if len(ends) < len(expected):
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
            texts = {name: text(stored.render.get(name)) for name in ("prompt", "message")}
            group.named.append({"ref": asdict(stored.ref), **texts})
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
        **{name: sum(count or 0 for count in values) for name, values in counts.items()},
        **{
            name: None
            if None in values
            else format_money(sum((value for value in values if value), Decimal(0)))
            for name, values in money.items()
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
        if report_file(mapping(value)) is not None
    ]


def report_file(summary: Mapping[str, Any] | None) -> str | None:
    """Return the URI of the JSON file of a report, by what its task returned."""
    uris = (summary or {}).get("uris")
    uri = uris.get("json") if isinstance(uris, Mapping) else None
    return uri if isinstance(uri, str) and uri else None


def saved_report(ref: TaskRef, summary: Mapping[str, Any] | None, conn_id: str | None) -> Report:
    """Return the report of a task.

    :param summary: what the task returned.
    :raises MediaGoneError: there is no file, this machine cannot read it, or it is not the report of this task.
    """
    uri = report_file(summary)
    if summary is None or uri is None or not uri.endswith(".json"):
        raise MediaGoneError(_NO_REPORT)
    try:
        payload = plain(json.loads(_content(uri, conn_id)))
        same = all(payload[name] == summary[name] for name in ("dag_id", "run_id", "generated_at"))
        report = Report.from_payload(payload)
    except (JimengError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise MediaGoneError(_NO_REPORT) from error
    if not same or (report.dag_id, report.run_id) != (ref.dag_id, ref.run_id):
        raise MediaGoneError(_NO_REPORT)
    return report


def report_as_page(report: Report, saved: Iterable[Stored], language: str) -> str:
    """Return the page.

    :param saved: the renders of the run whose videos are saved. They lead from the URI of a video to its task instance.
    """
    previews = {
        str(stored.manifest["uri"]): _addresses(stored.ref)
        for stored in saved
        if stored.manifest is not None and "uri" in stored.manifest
    }
    return render_page(report, previews, language=language, served=True)


def _addresses(ref: TaskRef) -> Preview:
    query = urlencode(asdict(ref))
    return Preview(
        video_address=f"media?{query}",
        poster_address=f"media?{query}&part=poster",
        page_address=f"render?{query}",
    )


def _content(uri: str, conn_id: str | None) -> bytes:
    """Return the bytes of a file that is not too large. On a disk, no link is followed."""
    file = file_in_store(uri, conn_id)
    if file.is_local:
        with opened_file(file.path, None) as (opened, identity):
            return opened.read(_LARGEST_REPORT) if identity.size <= _LARGEST_REPORT else b""
    try:
        return (file.content() or b"") if 0 < (file.size() or 0) <= _LARGEST_REPORT else b""
    except Exception as error:  # each store has error classes of its own
        raise MediaGoneError(_NO_REPORT) from error


def value_of(session: Session, ref: TaskRef, key: str) -> dict[str, Any] | None:
    """Return what a task instance pushed under a key, if it is a mapping."""
    row = XComModel
    statement = select(row.value).where(
        row.dag_id == ref.dag_id,
        row.run_id == ref.run_id,
        row.task_id == ref.task_id,
        row.map_index == ref.map_index,
        row.key == key,
    )
    return mapping(session.scalar(statement))


def _values(session: Session, dag_id: str, run_id: str, key: str) -> list[Any]:
    row = XComModel
    statement = select(row.value).where(row.dag_id == dag_id, row.run_id == run_id, row.key == key)
    return [mapping(value) for value in session.scalars(statement)]


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
