# SPDX-License-Identifier: Apache-2.0
"""The web app that Airflow's API server mounts: its pages, the routes for data, and one for videos and their pictures.

Every route except those of the front end's own files asks Airflow who the reader is and what they can read. All routes are
ordinary functions, which run in threads, so a slow database or store never blocks the API server's event loop.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import quote

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import GetUserDep, get_user
from airflow.configuration import conf
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, status
from fastapi.exception_handlers import http_exception_handler
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException as AnyHTTPException

from airflow_provider_jimeng.links import URL_PREFIX, page_path
from airflow_provider_jimeng.web import (
    archive,
    campaign,
    cards,
    costs,
    media,
    pages,
    questions,
    store,
    tables,
)
from airflow_provider_jimeng.web.again import again
from airflow_provider_jimeng.web.reading import text
from airflow_provider_jimeng.web.request import (
    NOSNIFF,
    PRIVATE,
    FiltersDep,
    RefDep,
    SessionDep,
    conditional,
    may_see_arguments,
    read_query,
    readable_dags,
)

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from airflow_provider_jimeng.web.entries import Stored

PAGE_SIZE = 50
LARGEST_PAGE = 100
MOST_TAKES = 12
MOST_QUESTIONS = 20
SIGNED_LINK_SECONDS = 300
_OPENED_BY_PEOPLE = frozenset({"", "render", "compare", "media", "campaign", "costs", "report"})
"""The paths below our prefix that people open by their address."""
_KEEP_FOR_EVER = "public, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"
_NOT_STORED = {"Cache-Control": "private, no-store", **NOSNIFF}

_NOTHING = "No render of this task instance is known."
router = APIRouter()


def build_app() -> FastAPI:
    """Return the app. It has no documentation pages, because those load scripts from other hosts."""
    app = FastAPI(title="Jimeng renders", docs_url=None, redoc_url=None, openapi_url=None)
    for routes in (router, campaign.router, costs.router, archive.router):
        app.include_router(routes)
    app.add_exception_handler(AnyHTTPException, _refusal)
    return app


# ------------------------------------------------------------------------------------------------------------ pages
@router.get("/", dependencies=[Depends(get_user)])
def gallery_page() -> HTMLResponse:
    """Return the page with all renders."""
    return _page("gallery")


@router.get("/render", dependencies=[Depends(get_user)])
def render_page() -> HTMLResponse:
    """Return the page of one render."""
    return _page("render")


@router.get("/compare", dependencies=[Depends(get_user)])
def compare_page() -> HTMLResponse:
    """Return the page with up to four renders side by side."""
    return _page("compare")


@router.get("/campaign", dependencies=[Depends(get_user)])
def campaign_page() -> HTMLResponse:
    """Return the page of one DAG run."""
    return _page("campaign")


@router.get("/costs", dependencies=[Depends(get_user)])
def costs_page() -> HTMLResponse:
    """Return the page with the table of costs."""
    return _page("costs")


@router.get("/static/icon.svg")
def icon() -> Response:
    """Return the icon in the navigation."""
    return Response(
        pages.icon(), media_type="image/svg+xml", headers={"Cache-Control": _ASK_AGAIN, **NOSNIFF}
    )


@router.get("/static/{version}/{name}")
def module(version: str, name: str) -> Response:
    """Return a JavaScript module. Modules contain no data, so they need no sign-in.

    A page of another release asks for another version. It gets the module of this release, and does not keep it.
    """
    content = pages.modules().get(name)
    if content is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND)
    keep = _KEEP_FOR_EVER if version == pages.version() else _ASK_AGAIN
    return Response(
        content, media_type="text/javascript; charset=utf-8", headers={"Cache-Control": keep, **NOSNIFF}
    )


# ------------------------------------------------------------------------------------------------------------- data
@router.get("/api/renders")
def renders(
    request: Request,
    filters: FiltersDep,
    user: GetUserDep,
    db: SessionDep,
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = PAGE_SIZE,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> Response:
    """Return one page of cards, the totals of the filtered set, and the choices of each filter.

    The answer is 304 if the reader has this page already.
    """
    results, page = store.find_page(db, filters, limit=limit, offset=offset)
    usual = _usual_seconds(db, filters.readable, page)
    reviews = questions.reviews(
        db, page, lambda dag_ids: readable_dags(user, dag_ids, DagAccessEntity.HITL_DETAIL)
    )
    content = {
        "cards": [cards.card(stored, usual) | {"review": reviews.get(stored.ref)} for stored in page],
        "totals": results.totals,
        "choices": results.choices,
        "limit": limit,
        "offset": offset,
        "period": {
            "since": None if results.since is None else results.since.isoformat(),
            "is_default": filters.since is None,
        },
    }
    return conditional(request, content)


@router.get("/api/render")
def render(
    request: Request,
    ref: RefDep,
    user: GetUserDep,
    db: SessionDep,
    within: Annotated[str | None, Query(max_length=10_000)] = None,
) -> Response:
    """Return one render: its card, payload, manifest, timeline, and other takes of the same prompt.

    If the task only submitted or waited, return what another task of its run saved, if there is such a task. ``within`` is
    the query of the gallery from which the reader comes: the answer names the renders before and after this one there.
    """
    readable = readable_dags(user, store.dag_ids(db)) | {ref.dag_id}
    stored = store.run_render(db, ref, readable)
    if stored is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, _NOTHING)
    takes = []
    if prompt := text(stored.render.get("prompt")):
        same_prompt = store.Filters(readable=readable, prompt=prompt)
        takes = store.page(db, same_prompt, limit=MOST_TAKES + 1, offset=0)
    content = cards.detail(stored, _usual_seconds(db, readable, [stored]), takes)
    if within is not None:
        beside = store.previous_and_next(db, stored.ref, read_query(within).filters(readable))
        content |= {
            name: None if other is None else asdict(other)
            for name, other in zip(("previous", "next"), beside, strict=True)
        }
    return conditional(request, content)


@router.get("/api/preview")
def preview(ref: RefDep, db: SessionDep) -> JSONResponse:
    """Return where the frames are on the sheet of a render's preview, an empty list if there is no preview."""
    manifest = _stored(db, ref).manifest or {}
    try:
        tiles = media.preview_tiles(manifest, store.storage_connection(db, ref))
    except media.MediaGoneError as error:
        raise HTTPException(status.HTTP_404_NOT_FOUND, str(error)) from error
    return JSONResponse({"tiles": [tile.to_payload() for tile in tiles]}, headers=PRIVATE)


@router.get("/api/review")
def review(ref: RefDep, user: GetUserDep, db: SessionDep) -> JSONResponse:
    """Return the questions about a render that the reader can read, open and answered, the oldest first.

    The page sends an answer to Airflow's own API, with the session of the person who answers.
    """
    stored = store.run_render(db, ref, frozenset({ref.dag_id}))
    render_id = None if stored is None else text(stored.render.get("task_id"))
    tasks = (ref,) if stored is None else stored.tasks
    rows = questions.candidates(db, tasks, render_id)
    readable = readable_dags(user, (row.dag_id for row in rows), DagAccessEntity.HITL_DETAIL)
    about = questions.about(db, tasks, render_id, (row for row in rows if row.dag_id in readable))
    now = datetime.now(UTC)
    content = {"questions": [questions.question(row, now) for row in about[:MOST_QUESTIONS]]}
    return JSONResponse(content, headers=_NOT_STORED)


@router.get("/api/again")
def render_again(ref: RefDep, user: GetUserDep, db: SessionDep) -> JSONResponse:
    """Return the operator call and the command that make a render again, ``null`` if its arguments are not known."""
    stored = _stored(db, ref)
    arguments = tables.arguments_of(db, [ref]).get(ref) if may_see_arguments(user, ref.dag_id) else None
    call = again(stored.render, arguments, uri=text((stored.manifest or {}).get("uri")))
    return JSONResponse(None if call is None else asdict(call), headers=PRIVATE)


@router.api_route("/media", methods=["GET", "HEAD"])
def bytes_of_render(
    request: Request,
    ref: RefDep,
    db: SessionDep,
    *,
    part: Literal["video", "poster", "preview"] = "video",
    download: bool = False,
) -> Response:
    """Return the bytes of a render's video, poster or preview: the whole file, or what a ``Range`` header names.

    The video is the one that the task instance saved, and the pictures lie beside it. Nothing in the request can name a
    file. The answer is 204 if there is no such picture: it is not an error, and the card shows the video instead.
    """
    manifest = _stored(db, ref).manifest or {}
    try:
        conn_id = store.storage_connection(db, ref)
        if part != "video":
            picture = media.open_still(manifest, part, conn_id)
            if picture is None:
                return Response(status_code=status.HTTP_204_NO_CONTENT, headers=PRIVATE)
            return _bytes(request, picture, download=download)
        opened = media.open_video(manifest, conn_id)
        db.close()  # sending can take long and needs no database
        if not download and _signed_links_wanted() and (link := opened.signed_link(SIGNED_LINK_SECONDS)):
            return RedirectResponse(link, status.HTTP_302_FOUND, headers={"Cache-Control": "no-store"})
        return _bytes(request, opened, download=download)
    except media.MediaGoneError as error:
        raise HTTPException(status.HTTP_404_NOT_FOUND, str(error)) from error


# ---------------------------------------------------------------------------------------------------------- helpers
def _bytes(request: Request, opened: media.Video | media.Still, *, download: bool) -> Response:
    tag = f'"{opened.sha256}"'
    headers = {**PRIVATE, "Accept-Ranges": "bytes", "ETag": tag, "Content-Type": opened.content_type}
    headers["Content-Encoding"] = (
        "identity"  # without it Airflow's server compresses what cannot become smaller
    )
    if download:
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(opened.file.name)}"
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=status.HTTP_304_NOT_MODIFIED, headers=headers)
    wanted = request.headers.get("range") if request.headers.get("if-range", tag) == tag else None
    try:
        span = media.requested_span(wanted, opened.size)
    except media.UnsatisfiableRangeError:
        headers["Content-Range"] = f"bytes */{opened.size}"
        return Response(status_code=status.HTTP_416_RANGE_NOT_SATISFIABLE, headers=headers)
    empty = request.method == "HEAD"
    if span is None:
        headers["Content-Length"] = str(opened.size)
        return Response(headers=headers) if empty else StreamingResponse(opened.pieces(), headers=headers)
    headers["Content-Range"] = f"bytes {span.start}-{span.end - 1}/{opened.size}"
    headers["Content-Length"] = str(span.end - span.start)
    return Response(b"" if empty else opened.read(span), status.HTTP_206_PARTIAL_CONTENT, headers=headers)


def _stored(db: Session, ref: store.TaskRef) -> Stored:
    stored = store.task_render(db, ref)
    if stored is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, _NOTHING)
    return stored


def _usual_seconds(db: Session, readable: frozenset[str], stored: Iterable[Stored]) -> dict[str, float]:
    return store.usual_seconds(db, readable, {one.model or "" for one in stored if one.state == "running"})


def _signed_links_wanted() -> bool:
    return bool(conf.getboolean("jimeng", "signed_media_links", fallback=False))


def _page(name: str) -> HTMLResponse:
    return HTMLResponse(pages.page(name), headers=_page_headers())


def _page_headers() -> dict[str, str]:
    media_sources = "'self' https:" if _signed_links_wanted() else "'self'"
    return {
        "Cache-Control": "no-store",
        "Content-Security-Policy": pages.security_policy(media=media_sources),
        "Referrer-Policy": "same-origin",
        **NOSNIFF,
    }


async def _refusal(request: Request, error: Exception) -> Response:
    """Answer 401 with a page that leads to the sign-in if a person opened a page or a video, else with JSON."""
    if not isinstance(error, AnyHTTPException):
        raise error
    path = request.url.path.rpartition(f"{URL_PREFIX}/")[2]
    wants_page = path in _OPENED_BY_PEOPLE and "text/html" in request.headers.get("accept", "")
    if error.status_code == status.HTTP_401_UNAUTHORIZED and wants_page:
        # Behind a proxy, host and scheme of this request can differ from the browser's. Airflow's own base path does not.
        back = page_path(path) + (f"?{request.url.query}" if request.url.query else "")
        href = f"../api/v2/auth/login?next={quote(back, safe='')}"
        page = pages.sign_in_page(request.headers.get("accept-language", ""), href)
        return HTMLResponse(page, error.status_code, headers=_page_headers())
    return await http_exception_handler(request, error)
