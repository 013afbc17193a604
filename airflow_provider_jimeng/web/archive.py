# SPDX-License-Identifier: Apache-2.0
"""Many saved videos as one ZIP, or as a list of their files.

The ZIP is written while it is sent, and a video passes through in parts, so memory does not grow with the videos. They
are stored as they are: a video does not become smaller. Each render is looked up and its right is asked when its turn
comes. A reader who loses a right during the download gets no further file of that DAG.
"""

from __future__ import annotations

import io
import json
import re
import unicodedata
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import parse_qs

from airflow.api_fastapi.core_api.security import GetUserDep  # noqa: TC002  FastAPI reads it
from airflow.utils.session import create_session
from fastapi import APIRouter, Depends, HTTPException, Request, status
from fastapi.responses import Response, StreamingResponse

from airflow_provider_jimeng.web import media, store, tables
from airflow_provider_jimeng.web.costs import CSV_TYPE, csv_line, csv_lines
from airflow_provider_jimeng.web.reading import moment, text, whole
from airflow_provider_jimeng.web.request import FiltersDep, SessionDep, attachment, readable_dags

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from airflow_provider_jimeng.web.store import TaskRef

LIST_NAME = "renders.csv"
MISSING_NAME = "missing.txt"
COLUMNS = (
    "file", "prompt", "model", "seed", "take", "aspect_ratio", "duration", "dag_id", "run_id", "task_id", "map_index",
    "render_id", "submitted_at", "landed_at", "cost_cny", "width", "height", "bytes", "sha256", "uri",
)  # fmt: skip
_FROM_MANIFEST = (
    "prompt", "model", "seed", "aspect_ratio", "duration", "submitted_at", "landed_at", "cost_cny", "width", "height",
    "bytes", "sha256", "uri",
)  # fmt: skip
_PROMPT_CHARACTERS, _RUN_CHARACTERS = 48, 48
_NOT_IN_NAMES = re.compile(r"[^\w]+")
_FORBIDDEN = "You may not see the renders of this DAG. / 你无权查看该 DAG 的生成任务。"
_NO_VIDEO = "No saved video is known. / 没有已保存的视频。"
_CUT = "The video could not be read to its end, so this file is not complete. / 文件读取中断，压缩包内的内容不完整。"
_KINDS = {
    "zip": ("application/zip", "renders.zip"),
    "txt": ("text/plain; charset=utf-8", "renders.txt"),
    "csv": (CSV_TYPE, LIST_NAME),
}
Kind = Literal["zip", "txt", "csv"]
LARGEST_SELECTION = 8 * 1024 * 1024

router = APIRouter()


class UnavailableError(Exception):
    """A render has no video that this reader can get now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A saved video: its manifest, the connection of its store, and which take it is, if that is known."""

    ref: TaskRef
    manifest: Mapping[str, Any]
    conn_id: str | None
    take: int | None

    def row(self, file: str = "") -> dict[str, Any]:
        """Return the row of the video in a list."""
        known = {name: _cell(self.manifest.get(name)) for name in _FROM_MANIFEST}
        render_id = text(self.manifest.get("task_id"))
        return {**known, **asdict(self.ref), "file": file, "take": self.take, "render_id": render_id}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """The person who downloads. ``may_see`` returns whether they can see the renders of a DAG now."""

    session: Callable[[], AbstractContextManager[Session]]
    may_see: Callable[[str], bool]

    def saved(self, ref: TaskRef) -> Saved:
        """Return a saved video.

        :raises UnavailableError: there is none, or the reader cannot see it.
        """
        if not self.may_see(ref.dag_id):
            raise UnavailableError(_FORBIDDEN)
        with self.session() as session:
            stored = store.task_render(session, ref)
            if stored is None or stored.manifest is None:
                stored = store.run_render(session, ref, frozenset({ref.dag_id}))
            if stored is None or not stored.manifest:
                raise UnavailableError(_NO_VIDEO)
            arguments = stored.manifest if "take" in stored.manifest else None
            arguments = arguments or tables.arguments_of(session, [stored.ref]).get(stored.ref, {})
            return Saved(
                ref=stored.ref,
                manifest=stored.manifest,
                conn_id=store.storage_connection(session, stored.ref),
                take=_take(arguments.get("take")),
            )

    def rows(self, refs: Iterable[TaskRef]) -> Iterator[dict[str, Any]]:
        """Yield a row for each saved video that the reader can see."""
        for ref in refs:
            try:
                yield self.saved(ref).row()
            except UnavailableError:
                continue


@dataclass(slots=True)
class Names:
    """Gives each video of an archive a readable name of its own."""

    _used: set[str] = field(default_factory=set)

    def of(self, saved: Saved) -> str:
        """Return prompt, take and run as a file name, with a number if the name is used already."""
        words = [
            _slug(text(saved.manifest.get("prompt")) or saved.ref.task_id, _PROMPT_CHARACTERS),
            f"take{saved.take}" if saved.take else "",
            _slug(saved.ref.run_id, _RUN_CHARACTERS),
            str(saved.ref.map_index) if saved.ref.map_index >= 0 else "",
        ]
        stem = "_".join(word for word in words if word)
        name, number = f"{stem}.mp4", 2
        while name.casefold() in self._used:
            name, number = f"{stem}-{number}.mp4", number + 1
        self._used.add(name.casefold())
        return name


class _Pipe(io.RawIOBase):
    """Holds what the ZIP writer has written until it is sent. It cannot seek, so the writer never goes back."""

    def __init__(self) -> None:
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._written += data
        return len(data)

    def drain(self) -> bytes:
        """Return what was written since the last call."""
        taken = bytes(self._written)
        self._written.clear()
        return taken


def archive(refs: Iterable[TaskRef], reader: Reader) -> Iterator[bytes]:
    """Yield a ZIP with the videos, a list of them, and a text file that names the missing ones."""
    pipe, names = _Pipe(), Names()
    with (
        SpooledTemporaryFile(media.PIECE_BYTES) as listed,
        SpooledTemporaryFile(media.PIECE_BYTES) as missing,
        zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as target,
    ):
        listed.writelines(line.encode() for line in csv_lines(COLUMNS, ()))
        for ref in refs:
            try:
                saved = reader.saved(ref)
                video = media.open_video(saved.manifest, saved.conn_id)
                row = saved.row(names.of(saved))
                yield from _stored(target, pipe, row["file"], video, moment(saved.manifest.get("landed_at")))
                listed.write(csv_line(COLUMNS, row).encode())
            except (UnavailableError, media.MediaGoneError) as error:
                missing.write(_line(ref, str(error)).encode())
            except _CutError as error:
                missing.write(_line(ref, f"{error}: {_CUT}").encode())
        for name, file in ((LIST_NAME, listed), (MISSING_NAME, missing)):
            if file.tell():
                yield from _copied(target, pipe, name, file)
        yield pipe.drain()
    yield pipe.drain()


def _copied(target: zipfile.ZipFile, pipe: _Pipe, name: str, file: IO[bytes]) -> Iterator[bytes]:
    """Write a list into the archive. A long list is on the disk, because it grows with the number of renders."""
    file.seek(0)
    with target.open(name, "w") as written:
        while piece := file.read(media.PIECE_BYTES):
            written.write(piece)
            yield pipe.drain()


class _CutError(Exception):
    """A video could not be read to its end. The message is its name in the archive."""


def _stored(
    target: zipfile.ZipFile, pipe: _Pipe, name: str, video: media.Video, at: datetime | None
) -> Iterator[bytes]:
    """Write one video and yield the bytes of the archive as they become ready."""
    time = (at or datetime.now(UTC)).astimezone(UTC)
    entry = zipfile.ZipInfo(
        name, date_time=(time.year, time.month, time.day, time.hour, time.minute, time.second)
    )
    entry.file_size = video.size  # so that a video of more than 2 GiB gets the fields of ZIP64
    entry.external_attr = 0o644 << 16
    with target.open(entry, "w") as written:
        pieces = video.pieces()
        while True:
            try:
                piece = next(pieces, None)
            except media.MediaGoneError as error:
                raise _CutError(name) from error
            if piece is None:
                return
            written.write(piece)
            yield pipe.drain()


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The renders that a reader named: those to send or, if ``left_out``, those to leave out of a filter's."""

    refs: tuple[TaskRef, ...]
    left_out: bool = False


def selected(body: bytes, *, form: bool) -> Selection:
    """Return the renders that a posted selection names: a JSON list of ``[dag_id, run_id, task_id, map_index]``.

    :param form: the list is the field ``refs`` or ``without`` of a form. Only a form can start a download of this size in a
        browser.
    :raises ValueError: it is something else.
    """
    left_out = False
    if form:
        fields = parse_qs(body)
        left_out = b"without" in fields
        (body,) = fields.get(b"without" if left_out else b"refs", (b"",))
    return Selection(refs=tuple(_refs(json.loads(body))), left_out=left_out)


def _refs(entries: Any) -> dict[TaskRef, None]:
    refs: dict[TaskRef, None] = {}
    if not isinstance(entries, list):
        raise ValueError("expected a list")  # noqa: TRY004 - callers handle one error
    for entry in entries:
        dag_id, run_id, task_id, map_index = entry
        names = (dag_id, run_id, task_id)
        if not all(isinstance(name, str) and 0 < len(name) <= 250 and "\0" not in name for name in names):
            raise ValueError("expected names")
        if not isinstance(map_index, int) or not -1 <= map_index < 2**31:
            raise ValueError("expected a map index")
        refs[store.TaskRef(dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=map_index)] = None
    return refs


def _take(value: Any) -> int | None:
    """Return the number of a take, ``None`` if it is not known."""
    if value is None:
        return None
    take = (
        whole(int(value)) if isinstance(value, str) and value.isascii() and value.isdigit() else whole(value)
    )
    return take if take is not None and 0 < take < 10**6 else None


def _slug(words: str, longest: int) -> str:
    """Return words as a part of a file name: letters and digits of any script, the rest as hyphens."""
    clean = _NOT_IN_NAMES.sub("-", unicodedata.normalize("NFC", words)).strip("-_")
    return clean[:longest].strip("-_")


def _line(ref: TaskRef, reason: str) -> str:
    task = ref.task_id if ref.map_index < 0 else f"{ref.task_id}[{ref.map_index}]"
    return f"{ref.dag_id} · {ref.run_id} · {task}: {reason}\n"


def _cell(value: Any) -> Any:
    return value if isinstance(value, str | int | float) and not isinstance(value, bool) else None


# ----------------------------------------------------------------------------------------------------------- routes
@router.get("/api/files.{kind}")
def files_of_filter(kind: Kind, user: GetUserDep, filters: FiltersDep, db: SessionDep) -> Response:
    """Return the saved videos that fit the filters: as a ZIP, as a list of URIs, or as CSV."""
    return _files(kind, _saved(db, filters), user)


async def posted_selection(request: Request) -> Selection:
    """Return the renders that the body names: a form with the field ``refs`` or ``without``, or the JSON of ``refs`` alone."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_SELECTION:
            raise HTTPException(status.HTTP_413_CONTENT_TOO_LARGE, "Select fewer renders, or use a filter.")
    try:
        return selected(bytes(body), form="json" not in request.headers.get("content-type", ""))
    except (ValueError, TypeError, RecursionError) as error:
        raise HTTPException(status.HTTP_422_UNPROCESSABLE_CONTENT, "This is not a selection.") from error


@router.post("/api/files.{kind}")
def files_of_selection(
    kind: Kind,
    user: GetUserDep,
    selection: Annotated[Selection, Depends(posted_selection)],
    filters: FiltersDep,
    db: SessionDep,
) -> Response:
    """Return the saved videos that the body names, or those that fit the filters without the ones that it names."""
    if not selection.left_out:
        return _files(kind, selection.refs, user)
    without = frozenset(selection.refs)
    return _files(kind, [ref for ref in _saved(db, filters) if ref not in without], user)


def _saved(db: Session, filters: store.Filters) -> list[store.TaskRef]:
    """Return the tasks of the saved videos that fit the filters, without their payloads. Sending them can take long."""
    if filters.states and "landed" not in filters.states:
        return []
    renders = store.find(db, replace(filters, states=("landed",))).renders
    db.close()
    return [render.entry.ref for render in renders]


def _files(kind: Kind, refs: Collection[store.TaskRef], user: Any) -> Response:
    reader = Reader(
        session=lambda: create_session(scoped=False),
        may_see=lambda dag_id: bool(readable_dags(user, [dag_id])),
    )
    content: Iterator[bytes]
    if kind == "zip":
        content = archive(refs, reader)
    elif kind == "csv":
        content = (line.encode() for line in csv_lines(COLUMNS, reader.rows(refs)))
    else:
        content = (f"{row['uri']}\n".encode() for row in reader.rows(refs))
    media_type, name = _KINDS[kind]
    # Without this header Airflow's server compresses the content, and keeps parts back to do so.
    headers = {**attachment(_named(refs, name)), "Content-Encoding": "identity"}
    return StreamingResponse(content, media_type=media_type, headers=headers)


def _named(refs: Iterable[store.TaskRef], name: str) -> str:
    """Return the name of a download: with the DAG, if all renders are of one."""
    dags = {ref.dag_id for ref in refs}
    return f"{dags.pop()}-{name}" if len(dags) == 1 else name
