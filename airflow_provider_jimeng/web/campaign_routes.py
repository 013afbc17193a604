# SPDX-License-Identifier: Apache-2.0
"""The routes of campaigns and of handing on: a run's data and report, costs, ZIPs and lists, and how to render again.

Each asks Airflow what the reader can see, as those of :mod:`.app` do. A posted selection is only read: it changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import quote

from airflow.api_fastapi.core_api.security import GetUserDep  # noqa: TC002  FastAPI reads the annotations
from airflow.utils.session import create_session
from fastapi import APIRouter, Depends, HTTPException, Query, Request, status
from fastapi.responses import HTMLResponse, Response, StreamingResponse
from sqlalchemy.orm import Session  # noqa: TC002  FastAPI reads the annotations

from airflow_provider_jimeng.report_page import content_policy
from airflow_provider_jimeng.web import access, archive, campaign, costs, media, store
from airflow_provider_jimeng.web.again import again
from airflow_provider_jimeng.web.app import RefDep, SessionDep, conditional, filters_of_query
from airflow_provider_jimeng.web.reading import text
from airflow_provider_jimeng.web.saved_report import report_as_page, saved_report

USUAL_DAYS = 30
"""The costs of so many days are shown if the query names no period."""
LARGEST_SELECTION = 8 * 1024 * 1024
_PRIVATE = {"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}
_KINDS = {
    "zip": ("application/zip", "renders.zip"),
    "txt": ("text/plain; charset=utf-8", "renders.txt"),
    "csv": ("text/csv; charset=utf-8", "renders.csv"),
}
Kind = Literal["zip", "txt", "csv"]
NameDep = Annotated[str, Query(min_length=1, max_length=250, pattern=r"^[^\x00]*$")]
FiltersDep = Annotated[store.Filters, Depends(filters_of_query)]
router = APIRouter()


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
    access.require(user, dag_id)
    readable = access.readable(user, store.dag_ids(db)) | {dag_id}
    filters = store.Filters(readable=readable, dag_ids=(dag_id,), run_ids=(run_id,))
    found = campaign.campaign(db, filters, shown=state, now=datetime.now(UTC), limit=limit, offset=offset)
    if found is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "There is no such run.")
    return conditional(request, found)


@router.get("/report")
def report(ref: RefDep, user: GetUserDep, db: SessionDep, lang: Literal["en", "zh"] = "en") -> HTMLResponse:
    """Return the page of the report that a task saved, in English or Chinese."""
    try:
        found = saved_report(
            ref, campaign.value_of(db, ref, "return_value"), store.storage_connection(db, ref)
        )
    except media.MediaGoneError as error:
        raise HTTPException(status.HTTP_404_NOT_FOUND, str(error)) from error
    filters = store.Filters(
        readable=access.readable(user, [ref.dag_id]),
        dag_ids=(ref.dag_id,),
        run_ids=(ref.run_id,),
        states=("landed",),
    )
    headers = {
        "Cache-Control": "no-store",
        "Content-Security-Policy": f"{content_policy(served=True)}; frame-ancestors 'self'",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }
    return HTMLResponse(report_as_page(found, campaign.renders(db, filters), lang), headers=headers)


@router.get("/api/costs")
def costs_as_json(request: Request, filters: FiltersDep, db: SessionDep) -> Response:
    """Return what renders cost by day, DAG, run and model."""
    filters = _within_a_period(filters)
    table = costs.costs(store.find(db, filters), filters)
    return conditional(request, {**table, "since": _iso(filters.since), "until": _iso(filters.until)})


@router.get("/api/costs.csv")
def costs_as_csv(filters: FiltersDep, db: SessionDep) -> Response:
    """Return the same table for a spreadsheet."""
    filters = _within_a_period(filters)
    table = costs.costs(store.find(db, filters), filters)
    lines = "".join(costs.csv_lines(costs.COLUMNS, table["rows"]))
    return Response(lines.encode(), media_type=_KINDS["csv"][0], headers=_attachment("costs.csv"))


@router.get("/api/files.{kind}")
def files_of_filter(kind: Kind, user: GetUserDep, filters: FiltersDep, db: SessionDep) -> Response:
    """Return the saved videos that fit the filters: as a ZIP, as a list of URIs, or as CSV."""
    return _files(kind, _saved(db, filters), user)


async def posted_selection(request: Request) -> archive.Selection:
    """Return the renders that the body names: a form with the field ``refs`` or ``without``, or the JSON of ``refs`` alone."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_SELECTION:
            raise HTTPException(status.HTTP_413_CONTENT_TOO_LARGE, "Select fewer renders, or use a filter.")
    try:
        return archive.selected(bytes(body), form="json" not in request.headers.get("content-type", ""))
    except (ValueError, TypeError, RecursionError) as error:
        raise HTTPException(status.HTTP_422_UNPROCESSABLE_CONTENT, "This is not a selection.") from error


@router.post("/api/files.{kind}")
def files_of_selection(
    kind: Kind,
    user: GetUserDep,
    selection: Annotated[archive.Selection, Depends(posted_selection)],
    filters: FiltersDep,
    db: SessionDep,
) -> Response:
    """Return the saved videos that the body names, or those that fit the filters without the ones that it names."""
    if not selection.left_out:
        return _files(kind, selection.refs, user)
    without = frozenset(selection.refs)
    return _files(kind, [ref for ref in _saved(db, filters) if ref not in without], user)


@router.get("/api/again")
def again_of(ref: RefDep, user: GetUserDep, db: SessionDep) -> Response:
    """Return the operator call and the command that make a render again, and the configuration of its run."""
    stored = store.one(db, ref)
    if stored is None:
        raise HTTPException(
            status.HTTP_404_NOT_FOUND, "This task instance has rendered nothing that is still known."
        )
    arguments = campaign.arguments_of(db, ref) if access.may_see_arguments(user, ref.dag_id) else None
    found = again(stored.render, arguments, uri=text((stored.manifest or {}).get("uri")))
    return Response(
        json.dumps(None if found is None else asdict(found), ensure_ascii=False).encode(),
        media_type="application/json",
        headers=_PRIVATE,
    )


def _saved(db: Session, filters: store.Filters) -> list[store.TaskRef]:
    """Return the tasks of the saved videos that fit the filters, without their payloads. Sending them can take long."""
    if filters.states and "landed" not in filters.states:
        return []
    found = store.find(db, replace(filters, states=("landed",))).renders
    db.close()
    return [shown.entry.ref for shown in found]


def _files(kind: Kind, refs: Collection[store.TaskRef], user: Any) -> Response:
    reader = archive.Reader(
        session=lambda: create_session(scoped=False),
        may_see=lambda dag_id: bool(access.readable(user, [dag_id])),
    )
    content: Iterator[bytes]
    if kind == "zip":
        content = archive.archive(refs, reader)
    elif kind == "csv":
        content = (line.encode() for line in costs.csv_lines(archive.COLUMNS, reader.rows(refs)))
    else:
        content = (f"{row['uri']}\n".encode() for row in reader.rows(refs))
    media_type, name = _KINDS[kind]
    # Without this header Airflow's server compresses the content, and keeps parts back to do so.
    headers = {**_attachment(_named(refs, name)), "Content-Encoding": "identity"}
    return StreamingResponse(content, media_type=media_type, headers=headers)


def _named(refs: Iterable[store.TaskRef], name: str) -> str:
    """Return the name of a download: with the DAG, if all renders are of one."""
    dags = {ref.dag_id for ref in refs}
    return f"{dags.pop()}-{name}" if len(dags) == 1 else name


def _attachment(name: str) -> dict[str, str]:
    return {**_PRIVATE, "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}


def _within_a_period(filters: store.Filters) -> store.Filters:
    """Return the filters with a period: the last days, if the query names neither a period nor a run."""
    if filters.since or filters.until or filters.run_ids:
        return filters
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return replace(filters, since=midnight - timedelta(days=USUAL_DAYS - 1))


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()
