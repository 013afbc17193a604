"""The records under ``<output directory>/.jimeng/``, and the pointers that lead to them.

``tasks/<key>.json`` holds the record of a task instance. Pointers let other tasks find it without reading every record:
``requests/<fingerprint>/<key>.json`` by what its author asked for, ``files/<name>/<key>.json`` by a full file name.

A look-up lists one folder of pointers, so each of these stays small, however many tasks ask for the same. A task
removes its own pointer when its record has nothing to say any more. Whoever adds a pointer, or looks, removes pointers
that cannot change an answer. Records are never removed that way.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_jimeng.core.errors import LedgerError
from airflow_provider_jimeng.core.record import PAID, Record, RecordState, TaskKey, by_preference

if TYPE_CHECKING:
    from airflow_provider_jimeng.storage.atomic_file import AtomicFile
    from airflow_provider_jimeng.storage.output import OutputPath

T = TypeVar("T")

FOLDER = ".jimeng"
KEPT_POINTERS = 4
"""Renders of one request, or landings under one name, to which pointers lead at least."""
MAX_POINTERS = 8
"""Pointers in one folder above which the superfluous ones are removed."""
MAX_REMOVALS = 500
"""Pointers that one look removes at most: after an upgrade there may be thousands, and the next look goes on."""

_ANSWERS = PAID | {RecordState.INTENT}
_SURELY_OLD_SECONDS = 24 * 3600.0
"""A task may be about to write the record of a younger pointer."""

Found = dict[str, Record | None]
"""The records behind one folder of pointers, by the name of the pointer."""


class RecordObjects:
    """The records of one directory; ``folder`` is a directory target."""

    def __init__(self, folder: OutputPath) -> None:
        self._folder = folder

    def read(self, key: TaskKey) -> Record | None:
        """Return the record of a task instance, or ``None`` if there certainly is none."""
        return self._read_any(_object_name(key))

    def write(self, record: Record) -> None:
        """Write a record and see to its pointers: there before it, and gone after it if it says nothing."""
        name = _object_name(record.key)
        for folder, speaks in self._pointers(record):
            if speaks:
                self._point(record, folder, name)
        self._write(record.to_payload(), "tasks", name)
        self._drop_silent(record, name)

    def remove(self, record: Record) -> None:
        """Remove the record of a task instance, and then the pointers to it."""
        name = _object_name(record.key)
        self._remove("tasks", name)
        for folder, _ in self._pointers(record):
            self._remove(*folder, name)

    def of_request(self, asked: str, *, but_now: TaskKey | None = None) -> list[Record]:
        """Return what is recorded of a request, by its author's fingerprint, the best first.

        :param but_now: task instance of which only earlier requests count.
        """
        behind = self._behind("requests", asked)
        self._tidy(("requests", asked), behind, but_now)
        records = [record for record in behind.values() if record is not None]
        found = (record.as_asked(asked, earlier_only=record.key == but_now) for record in records)
        return by_preference(record for record in found if record is not None)

    def of_file(self, output_path: str, *, key: TaskKey) -> list[Record]:
        """Return the records of other task instances that give the same full file name.

        :param key: the task instance that asks.
        """
        name = _file_name(output_path)
        behind = self._behind("files", _hashed(name))
        self._tidy(("files", _hashed(name)), behind, key)
        records = [record for record in behind.values() if record is not None]
        return [r for r in records if r.key != key and _file_name(r.output_path) == name]

    def all(self) -> tuple[list[Record], list[LedgerError]]:
        """Return every record of the folder that can be read, and what is wrong with the others."""
        records, problems = [], []
        for name in self._names("tasks"):
            try:
                record = self._read(name)
            except LedgerError as error:
                problems.append(error)
            else:
                records += [] if record is None else [record]
        return records, problems

    def place_of(self, key: TaskKey) -> str:
        """Return the URI of a task instance's record."""
        return self._file("tasks", _object_name(key)).uri

    # ---------------------------------------------------------------------------------------------------- pointers
    def _pointers(self, record: Record) -> list[tuple[tuple[str, str], bool]]:
        """Return the folders of the pointers to a record, and whether the record has something to say there."""
        as_asked = None if record.is_void else record.as_asked(record.asked)
        pointers = [(("requests", record.asked), as_asked is not None and as_asked.state in _ANSWERS)]
        if file_name := _file_name(record.output_path):
            speaks = record.state in _ANSWERS and not record.is_void
            pointers.append((("files", _hashed(file_name)), speaks))
        return pointers

    def _point(self, record: Record, folder: tuple[str, str], name: str) -> None:
        pointer = self._file(*folder, name)
        is_new = _guarded(f"look for {pointer.uri}", pointer.size) is None
        if is_new or record.state is RecordState.INTENT:  # which makes an old pointer young again
            self._write_pointer(record, folder, name)
        if is_new and len(self._names(*folder)) > MAX_POINTERS:
            with suppress(LedgerError):  # a record that cannot be read is reported to the task that needs it
                self._tidy(folder, self._behind(*folder), record.key)

    def _drop_silent(self, record: Record, name: str) -> None:
        for folder, speaks in self._pointers(record):
            if not speaks:
                with suppress(
                    LedgerError
                ):  # the pointer leads to a record that says nothing, which is harmless
                    self._remove(*folder, name)

    def _tidy(self, folder: tuple[str, str], behind: Found, key: TaskKey | None) -> None:
        """Remove pointers that cannot change an answer, if there are many. A failure to do so is harmless.

        A task may be about to write the record of a pointer that leads to none, or to one that says nothing. So such a
        pointer is removed only if it is old.
        """
        if len(behind) <= MAX_POINTERS:
            return
        kind, asked = folder
        needed = _needed_for_request(behind, asked) if kind == "requests" else _needed_for_file(behind, key)
        superfluous = [(name, record) for name, record in behind.items() if name not in needed]
        for name, record in superfluous[:MAX_REMOVALS]:
            with suppress(LedgerError):
                if (record is not None and record.state in PAID) or self._is_old(*folder, name):
                    self._drop_pointer(folder, name, record)

    def _drop_pointer(self, folder: tuple[str, str], name: str, record: Record | None) -> None:
        """Remove a pointer; put it back if its task has changed the record meanwhile."""
        self._remove(*folder, name)
        now = self._read(name)
        if now is not None and now != record:
            self._write_pointer(now, folder, name)

    def _write_pointer(self, record: Record, folder: tuple[str, str], name: str) -> None:
        self._write({"task_instance": record.key.to_payload()}, *folder, name)

    def _is_old(self, *parts: str) -> bool:
        pointer = self._file(*parts)
        try:
            return bool(time.time() - pointer.fs.modified(pointer.path).timestamp() > _SURELY_OLD_SECONDS)
        except Exception:  # noqa: BLE001 - not every store tells, and no two agree on their classes
            return False

    def _behind(self, *folder: str) -> Found:
        return {name: self._read(name) for name in self._names(*folder)}

    # ------------------------------------------------------------------------------------------------------- files
    def _write(self, payload: Mapping[str, Any], *parts: str) -> None:
        file = self._file(*parts)
        _guarded(f"write {file.uri}", lambda: file.write(_encode(payload), secrets.token_hex(4)))

    def _read(self, name: str) -> Record | None:
        """Return the record of a name, unless it tells of nothing but an intent that was taken back."""
        record = self._read_any(name)
        return None if record is None or record.is_void else record

    def _read_any(self, name: str) -> Record | None:
        file = self._file("tasks", name)
        content = _guarded(f"read {file.uri}", file.content)
        return None if content is None else decode_record(content, file.uri)

    def _remove(self, *parts: str) -> None:
        file = self._file(*parts)
        _guarded(f"delete {file.uri}", file.remove)

    def _names(self, *folder: str) -> list[str]:
        place = self._file(*folder, "any.json")
        found = _guarded(f"list {place.uri.rpartition('/')[0]}", place.siblings)
        return sorted(name for name in found if name.endswith(".json"))

    def _file(self, *parts: str) -> AtomicFile:
        return _guarded("open the records", lambda: self._folder.file("/".join((FOLDER, *parts))))


def _needed_for_request(found: Found, asked: str) -> set[str]:
    """Return the pointers that a look-up of a request needs: every open intent, and the best renders, each once."""
    records = [record for record in found.values() if record is not None]
    answers = [answer for record in records if (answer := record.as_asked(asked)) is not None]
    needed: set[str] = set()
    renders: set[str] = set()
    for answer in by_preference(answers):
        render = str((answer.render or {}).get("task_id"))
        if answer.state is RecordState.INTENT:
            needed.add(_object_name(answer.key))
        elif answer.state in PAID and render not in renders and len(renders) < KEPT_POINTERS:
            renders.add(render)
            needed.add(_object_name(answer.key))
    return needed


def _needed_for_file(found: Found, key: TaskKey | None) -> set[str]:
    """Return the pointers that a look-up of a file name needs: what is yet to land, this run's, and the latest."""
    now = time.time()
    records = [record for record in found.values() if record is not None]
    landed = [record for record in records if record.state is RecordState.LANDED]
    landed.sort(key=lambda record: str((record.render or {}).get("submitted_at")), reverse=True)
    needed = landed[:KEPT_POINTERS] + [record for record in records if record.is_yet_to_land(now)]
    if key is not None:
        run = (key.dag_id, key.run_id)
        needed += [record for record in records if (record.key.dag_id, record.key.run_id) == run]
    return {_object_name(record.key) for record in needed}


def decode_record(payload: Any, where: str) -> Record:
    """Read a record from JSON data or its bytes.

    :raises LedgerError: naming the place and the remedy.
    """
    try:
        return Record.from_payload(json.loads(payload) if isinstance(payload, bytes) else payload)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise LedgerError(
            f"The record in {where} is damaged ({type(error).__name__}: {error}). Repair or delete it: "
            "without it the task submits, and pays, again."
        ) from None


def _object_name(key: TaskKey) -> str:
    """Return the name of a task instance's record, which its pointers have too."""
    return _hashed(json.dumps([key.dag_id, key.run_id, key.task_id, key.map_index])) + ".json"


def _file_name(output_path: str | None) -> str:
    """Return the last part of a full file name, empty for a directory."""
    return (output_path or "").rpartition("/")[2]


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _encode(payload: Mapping[str, Any]) -> bytes:
    return json.dumps(payload, ensure_ascii=False, indent=1).encode()


def _guarded(what: str, action: Callable[[], T]) -> T:
    """Run a storage action; whatever goes wrong is a ledger error, for no file system agrees on its own classes."""
    try:
        return action()
    except LedgerError:
        raise
    except Exception as error:
        raise LedgerError(f"Cannot {what} ({type(error).__name__}: {error}).") from error


_NOT_FOR_VIDEOS = "lost+found"
"""What file systems keep for themselves at their root, and let nobody list."""


Entries = Sequence[Mapping[str, Any]]
"""What a file system says of each file and directory in a directory."""


def all_records(
    folder: OutputPath, *, visit: Callable[[OutputPath, Entries], None] | None = None
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


def _entries(place: OutputPath) -> Entries:
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


def _directories(place: OutputPath, entries: Entries) -> list[str]:
    """Return the names of a directory's directories, sorted the other way round."""
    paths = [
        str(entry["name"]).rstrip("/")
        for entry in entries
        if entry["type"] == "directory" and not entry.get("islink")
    ]
    own = place.file("any").folder.strip("/")  # object stores list the marker of a directory in it
    return sorted({path.rpartition("/")[2] for path in paths if path.strip("/") != own}, reverse=True)
