"""Every record below a directory: names of videos may have folders, and each folder keeps its own records.

Only listings tell where they are, so each directory is listed once. Hidden ones are no place for videos and are left out,
as are links, which may lead round in circles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.errors import LedgerError
from airflow_provider_jimeng.storage.record_objects import FOLDER, RecordObjects

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.record import Record
    from airflow_provider_jimeng.storage.target import Target

_NOT_FOR_VIDEOS = "lost+found"
"""What file systems keep for themselves at their root, and let nobody list."""


Entries = Sequence[Mapping[str, Any]]
"""What a file system says of each file and directory in a directory."""


def all_records(
    folder: Target, *, visit: Callable[[Target, Entries], None] | None = None
) -> tuple[list[Record], list[LedgerError]]:
    """Return every record of a directory and those below that can be read, and what is wrong with the others.

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
            found, damaged = RecordObjects(place).all() if FOLDER in names else ([], [])
        except LedgerError as error:
            problems.append(error)
            continue
        records += found
        problems += damaged
        pending += [
            replace(place, output_path=f"{place.output_path}{name}/")
            for name in names
            if not name.startswith(".") and name != _NOT_FOR_VIDEOS
        ]
    return records, problems


def _entries(place: Target) -> Entries:
    """List a directory; an empty list if it does not exist."""
    here = place.file("any")
    folder = here.folder or "/"
    try:
        here.fs.invalidate_cache(folder)
        return list(here.fs.ls(folder, detail=True))
    except FileNotFoundError:
        return []
    except Exception as error:  # no two file systems agree on their classes
        raise LedgerError(
            f"Cannot list {place.output_path} for records ({type(error).__name__}: {error})."
        ) from error


def _directories(place: Target, entries: Entries) -> list[str]:
    """Return the names of a directory's directories, sorted the other way round."""
    paths = [
        str(entry["name"]).rstrip("/")
        for entry in entries
        if entry["type"] == "directory" and not entry.get("islink")
    ]
    own = place.file("any").folder.strip("/")  # object stores list the marker of a directory in it
    return sorted({path.rpartition("/")[2] for path in paths if path.strip("/") != own}, reverse=True)
