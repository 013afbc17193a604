"""The web app that Airflow's API server mounts: three pages, two routes for data, one for the bytes of a video.

Every route but the front end's own files asks Airflow who is there and what they may read. All of them are ordinary
functions, which run in threads: a slow database or store never holds up the API server's event loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Literal
from urllib.parse import quote

from airflow.api_fastapi.core_api.security import GetUserDep, get_user
from airflow.configuration import conf
from airflow.utils.session import create_session
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, status
from fastapi.exception_handlers import http_exception_handler
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException as AnyHTTPException

from airflow_provider_jimeng.web import access, cards, media, pages, store
from airflow_provider_jimeng.web.links import URL_PREFIX, page_path
from airflow_provider_jimeng.web.reading import text

PAGE_SIZE = 50
LARGEST_PAGE = 100
MOST_TAKES = 12
SIGNED_LINK_SECONDS = 300
_FOR_PEOPLE = frozenset({"", "render", "compare", "media"})
"""What people open by its address, below our prefix."""
_FOR_EVER = "public, max-age=31536000, immutable"
_PRIVATE = {"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}
_IDS = Query(min_length=1, max_length=250)

State = Literal["running", "landed", "failed", "submitted"]
router = APIRouter()


def build_app() -> FastAPI:
    """Return the app; it has no documentation pages, since those load scripts from elsewhere."""
    app = FastAPI(title="Jimeng renders", docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(router)
    app.add_exception_handler(AnyHTTPException, _refusal)
    return app


def session() -> Iterator[Session]:
    """One database session for one request; not the thread's, since a request is served by several threads."""
    with create_session(scoped=False) as opened:
        yield opened


SessionDep = Annotated[Session, Depends(session)]


def task_ref(
    dag_id: Annotated[str, _IDS],
    run_id: Annotated[str, _IDS],
    task_id: Annotated[str, _IDS],
    user: GetUserDep,
    map_index: Annotated[int, Query(ge=-1)] = -1,
) -> store.TaskRef:
    """Read which task instance is meant, and refuse who may not read its DAG's XComs."""
    access.require(user, dag_id)
    return store.TaskRef(dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=map_index)


RefDep = Annotated[store.TaskRef, Depends(task_ref)]


# ------------------------------------------------------------------------------------------------------------ pages
@router.get("/", dependencies=[Depends(get_user)])
def gallery_page() -> HTMLResponse:
    """All renders."""
    return _page("gallery")


@router.get("/render", dependencies=[Depends(get_user)])
def render_page() -> HTMLResponse:
    """One render."""
    return _page("render")


@router.get("/compare", dependencies=[Depends(get_user)])
def compare_page() -> HTMLResponse:
    """Up to four renders side by side."""
    return _page("compare")


@router.get("/static/app.js")
def script(v: str = "") -> Response:
    """The front end's script; it holds no data, so it needs no sign-in."""
    return _static(pages.script(), "text/javascript; charset=utf-8", v)


@router.get("/static/icon.svg")
def icon(v: str = "") -> Response:
    """The icon in the navigation and in the browser's tab."""
    return _static(pages.icon(), "image/svg+xml", v)


# ------------------------------------------------------------------------------------------------------------- data
def asked_filters(
    user: GetUserDep,
    db: SessionDep,
    dag_id: Annotated[tuple[str, ...], Query()] = (),
    state: Annotated[tuple[State, ...], Query()] = (),
    model: Annotated[tuple[str, ...], Query()] = (),
    q: Annotated[str, Query(max_length=500)] = "",
    since: datetime | None = None,
    until: datetime | None = None,
) -> store.Filters:
    """Read what is to be shown, within what the reader may read."""
    return store.Filters(
        readable=access.readable(user, store.dag_ids(db)),
        dag_ids=dag_id,
        states=state,
        models=model,
        text=q.strip(),
        since=since,
        until=until,
    )


@router.get("/api/renders")
def renders(
    filters: Annotated[store.Filters, Depends(asked_filters)],
    db: SessionDep,
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = PAGE_SIZE,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> JSONResponse:
    """One page of cards with their values, the totals of the filtered set and what else could be chosen."""
    found = store.groups(db, filters)
    totals = cards.totals(found, filters)
    shown = store.page(db, filters, limit=limit, offset=offset) if totals["renders"] > offset else []
    usual = _usual_seconds(db, filters.readable, shown)
    content = {
        "cards": [cards.card(stored, usual) for stored in shown],
        "totals": totals,
        "choices": cards.choices(found, filters),
        "limit": limit,
        "offset": offset,
    }
    return JSONResponse(content, headers=_PRIVATE)


@router.get("/api/render")
def render(ref: RefDep, user: GetUserDep, db: SessionDep) -> JSONResponse:
    """One render: its card, payload, manifest, timeline, and other takes of the same prompt.

    For a task that only submitted or waited: what another task of its run landed, if one did.
    """
    readable = access.readable(user, store.dag_ids(db))
    stored = _stored(db, ref, readable)
    if stored.state != "landed":
        stored = store.landed_beside(db, stored) or stored
    takes = []
    if prompt := text(stored.render.get("prompt")):
        same_prompt = store.Filters(readable=readable, prompt=prompt)
        takes = store.page(db, same_prompt, limit=MOST_TAKES + 1, offset=0)
    return JSONResponse(cards.detail(stored, _usual_seconds(db, readable, [stored]), takes), headers=_PRIVATE)


@router.api_route("/media", methods=["GET", "HEAD"])
def video(request: Request, ref: RefDep, db: SessionDep, *, download: bool = False) -> Response:
    """The bytes of a render's video: whole, or the piece that a ``Range`` header asks for.

    What to open is looked up by the task instance; nothing in the request can name a file.
    """
    manifest = _stored(db, ref).manifest or {}
    try:
        found = media.open_video(manifest, store.storage_connection(db, ref))
        db.close()  # sending may take long, and needs no database
        if not download and _signed_links_wanted() and (link := found.signed_link(SIGNED_LINK_SECONDS)):
            return RedirectResponse(link, status.HTTP_302_FOUND, headers={"Cache-Control": "no-store"})
        return _bytes(request, found, download=download)
    except media.MediaGoneError as error:
        raise HTTPException(status.HTTP_404_NOT_FOUND, str(error)) from error


# ---------------------------------------------------------------------------------------------------------- helpers
def _bytes(request: Request, found: media.Video, *, download: bool) -> Response:
    tag = f'"{found.sha256}"'
    headers = {**_PRIVATE, "Accept-Ranges": "bytes", "ETag": tag, "Content-Type": "video/mp4"}
    headers["Content-Encoding"] = "identity"  # or Airflow's server compresses what cannot become smaller
    if download:
        name = found.file.name
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name)}"
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=status.HTTP_304_NOT_MODIFIED, headers=headers)
    wanted = request.headers.get("range") if request.headers.get("if-range", tag) == tag else None
    try:
        span = media.asked_span(wanted, found.size)
    except media.UnsatisfiableRangeError:
        headers["Content-Range"] = f"bytes */{found.size}"
        return Response(status_code=status.HTTP_416_RANGE_NOT_SATISFIABLE, headers=headers)
    empty = request.method == "HEAD"
    if span is None:
        headers["Content-Length"] = str(found.size)
        return Response(headers=headers) if empty else StreamingResponse(found.pieces(), headers=headers)
    headers["Content-Range"] = f"bytes {span.start}-{span.end - 1}/{found.size}"
    headers["Content-Length"] = str(span.end - span.start)
    return Response(b"" if empty else found.read(span), status.HTTP_206_PARTIAL_CONTENT, headers=headers)


def _stored(db: Session, ref: store.TaskRef, readable: frozenset[str] | None = None) -> store.Stored:
    stored = store.one(db, ref, readable)
    if stored is None:
        raise HTTPException(
            status.HTTP_404_NOT_FOUND, "This task instance has rendered nothing that is still known."
        )
    return stored


def _usual_seconds(db: Session, readable: frozenset[str], shown: list[store.Stored]) -> dict[str, float]:
    models = {text(stored.render.get("model")) or "" for stored in shown if stored.state == "running"}
    return store.usual_seconds(db, readable, models)


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
        "X-Content-Type-Options": "nosniff",
    }


def _static(content: bytes, media_type: str, asked_version: str) -> Response:
    fresh = asked_version == pages.version()
    headers = {"Cache-Control": _FOR_EVER if fresh else "no-cache", "X-Content-Type-Options": "nosniff"}
    return Response(content, media_type=media_type, headers=headers)


async def _refusal(request: Request, error: Exception) -> Response:
    """Answer a person who asks for a page, or a video, with a page that leads to the sign-in; all others with JSON."""
    if not isinstance(error, AnyHTTPException):
        raise error
    asked = request.url.path.rpartition(f"{URL_PREFIX}/")[2]
    wants_page = asked in _FOR_PEOPLE and "text/html" in request.headers.get("accept", "")
    if error.status_code == status.HTTP_401_UNAUTHORIZED and wants_page:
        # The path as Airflow was told of it: behind a proxy, the host and scheme seen here may not be the browser's.
        back = page_path(asked) + (f"?{request.url.query}" if request.url.query else "")
        href = f"../api/v2/auth/login?next={quote(back, safe='')}"
        page = pages.sign_in_page(request.headers.get("accept-language", ""), href)
        return HTMLResponse(page, error.status_code, headers=_page_headers())
    return await http_exception_handler(request, error)
