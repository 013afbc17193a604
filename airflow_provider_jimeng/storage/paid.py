# SPDX-License-Identifier: Apache-2.0
"""Finds what is paid for in a directory: for a plan, and for a rescue.

A plan does not pay again for what a task with ``reuse="output_path"`` will find later. Both read the same records: first
those of saved videos, then paid renders, then intents. A file counts if it has its recorded size in the place that its
record or the row names. The task that adopts it compares every byte, and saves it again, free, while the API keeps the
render.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.errors import LedgerError
from airflow_provider_jimeng.core.output_path import folder_of, is_below
from airflow_provider_jimeng.core.plan import RowState
from airflow_provider_jimeng.core.record import PAID, RecordState
from airflow_provider_jimeng.core.render import SAFE_RETENTION_SECONDS, Render, RenderManifest
from airflow_provider_jimeng.storage.output import OutputPath, manifest_in_place
from airflow_provider_jimeng.storage.record_objects import FOLDER, RecordObjects

if TYPE_CHECKING:
    import pendulum

    from airflow_provider_jimeng.core.record import Record

GONE = (
    "it was paid for, its file is missing, and the API no longer keeps the render. Its task stops before paying, unless "
    'on_lost="resubmit".'
)
_UNKNOWN = (
    "it is unknown whether an earlier submit of it was accepted. Its task stops before paying, unless "
    'on_unknown_submit="resubmit".'
)


MANY_ROWS = 100
"""A listing returns 1,000 names with one request, so it is worth its price for so many rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paid:
    """What a row costs, a note for the reader of the plan, and the paid render that its task will adopt."""

    state: RowState
    note: str | None = None
    render: Render | None = None


class PaidRenders:
    """Looks up rows by their output path. ``now`` decides what the API still keeps.

    :param rows: how many rows will be looked up. For many rows, each directory is listed once, so that a new row costs
        no request to the store.
    """

    def __init__(self, *, output_conn_id: str | None, now: pendulum.DateTime, rows: int = 1) -> None:
        self._output_conn_id = output_conn_id
        self._now = now
        self._lists = rows >= MANY_ROWS
        self._folders: dict[str, RecordObjects] = {}
        self._requests: dict[str, frozenset[str]] = {}
        self._names: dict[str, frozenset[str]] = {}

    def look_up(self, fingerprint: str, output_path: str) -> Paid:
        """Return what the records say about a row. Of a running render it is only known that it is paid for.

        :raises LedgerError, LandingError: the store cannot be read, so it is unknown whether the row is paid.
        """
        if self._lists and fingerprint not in self._requests_below(output_path):
            return Paid(state=RowState.NEW)
        records = self._records(output_path).of_request(fingerprint)
        for record in records:
            if record.state in PAID and record.render is not None:
                return self._judge(record, Render.from_payload(record.render), output_path)
        unknown = any(record.state is RecordState.INTENT for record in records)
        return Paid(state=RowState.NEW, note=_UNKNOWN if unknown else None)

    def is_free(self, target: OutputPath) -> bool:
        """Return whether no file has a full file name, as far as one listing of its directory shows. Few rows are not listed.

        :raises LandingError: the store cannot be read.
        """
        if not self._lists or target.is_directory:
            return False
        folder = folder_of(target.output_path)
        if folder not in self._names:
            self._names[folder] = frozenset(map(_alike, target.file().siblings()))
        return _alike(target.output_path.rpartition("/")[2]) not in self._names[folder]

    def _requests_below(self, output_path: str) -> frozenset[str]:
        folder = folder_of(output_path)
        if folder not in self._requests:
            self._requests[folder] = self._records(output_path).requests()
        return self._requests[folder]

    def _judge(self, record: Record, render: Render, output_path: str) -> Paid:
        places = [output_path]
        if record.output_path and is_below(folder_of(output_path), record.output_path):
            places.append(record.output_path)
        if self._is_recorded(record) or self._is_in_place(render, *places):
            return Paid(state=RowState.LANDED, render=render)
        if (self._now - render.submitted_at).total_seconds() < SAFE_RETENTION_SECONDS:
            return Paid(state=RowState.RUNNING, render=render)
        return Paid(state=RowState.NEW, note=GONE, render=render)

    def _is_recorded(self, record: Record) -> bool:
        """Return whether the file of the record exists, with its recorded size."""
        if record.state is not RecordState.LANDED or record.manifest is None:
            return False
        manifest = RenderManifest.from_payload(record.manifest)
        conn_id = self._output_conn_id
        if conn_id is None and record.output_path:
            conn_id = OutputPath(output_path=record.output_path).url_conn_id
        return OutputPath(output_path=manifest.uri, output_conn_id=conn_id).file().size() == manifest.bytes

    def _is_in_place(self, render: Render, *output_paths: str) -> bool:
        """Return whether the render's file is where the row or its own task wants it.

        A rescue, or a try that was killed, does not update the record.
        """
        return any(
            manifest_in_place(OutputPath(output_path=path, output_conn_id=self._output_conn_id), render)
            is not None
            for path in dict.fromkeys(output_paths)
        )

    def _records(self, output_path: str) -> RecordObjects:
        folder = folder_of(output_path)
        if folder not in self._folders:
            self._folders[folder] = RecordObjects(
                OutputPath(output_path=folder, output_conn_id=self._output_conn_id)
            )
        return self._folders[folder]


def _alike(name: str) -> str:
    """Return a file name so that names which some file system takes for the same are equal."""
    return unicodedata.normalize("NFC", name).casefold()


# --- for a rescue -------------------------------------------------------------------------------------------------------

_NOT_FOR_VIDEOS = "lost+found"
"""A directory that file systems keep at their root and that cannot be listed."""


Entries = Sequence[Mapping[str, Any]]
"""A file system's description of each file and directory in a directory."""


def all_records(
    folder: OutputPath, *, visit: Callable[[OutputPath, Entries], None] | None = None
) -> tuple[list[Record], list[LedgerError]]:
    """Return every record in a directory and below it that can be read, and the problems of the others.

    Hidden directories are left out, because they hold no videos. So are links, which can lead round in circles.

    :param visit: called with each directory and its listing.
    """
    records: list[Record] = []
    problems: list[LedgerError] = []
    pending = [folder]
    while pending:
        place = pending.pop()
        try:
            entries = _entries(place)
            names = _directories(place, entries)
            if visit is not None:
                visit(place, entries)
            readable, damaged = RecordObjects(place).all() if FOLDER in names else ([], [])
        except LedgerError as error:
            problems.append(error)
            continue
        records += readable
        problems += damaged
        pending += [
            replace(place, output_path=f"{place.output_path}{name}/")
            for name in names
            if not name.startswith(".") and name != _NOT_FOR_VIDEOS
        ]
    return records, problems


def _entries(place: OutputPath) -> Entries:
    """Return the listing of a directory; an empty list if it does not exist."""
    here = place.file("any")
    folder = here.folder or "/"
    try:
        here.fs.invalidate_cache(folder)
        return list(here.fs.ls(folder, detail=True))
    except FileNotFoundError:
        return []
    except Exception as error:  # Each file system has classes of its own.
        raise LedgerError(
            f"Cannot list {place.output_path} for records ({type(error).__name__}: {error})."
        ) from error


def _directories(place: OutputPath, entries: Entries) -> list[str]:
    """Return the names of the directories in a directory, in reverse order."""
    paths = [
        str(entry["name"]).rstrip("/")
        for entry in entries
        if entry["type"] == "directory" and not entry.get("islink")
    ]
    own = place.file("any").folder.strip("/")  # Object stores list the marker of a directory in it.
    return sorted({path.rpartition("/")[2] for path in paths if path.strip("/") != own}, reverse=True)
