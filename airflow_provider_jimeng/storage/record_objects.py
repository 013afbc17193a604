# SPDX-License-Identifier: Apache-2.0
"""The records under ``<output directory>/.jimeng/``, and the pointers to them.

``tasks/<key>.json`` holds the record of a task instance. With pointers, other tasks find it without reading every
record: ``requests/<fingerprint>/<key>.json`` for a request, ``files/<name>/<key>.json`` for a full file name.

A look-up lists one folder of pointers. These folders stay small even if many tasks make the same request. A task
removes its own pointer when its record answers no look-up any more. A task that adds a pointer or looks up a record
removes pointers that cannot change an answer. Records themselves are not removed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_jimeng.core.errors import LedgerError
from airflow_provider_jimeng.core.record import (
    PAID,
    Record,
    RecordState,
    StoredRecord,
    TaskKey,
    by_preference,
)

if TYPE_CHECKING:
    from airflow_provider_jimeng.storage.atomic_file import AtomicFile
    from airflow_provider_jimeng.storage.output import OutputPath

log = logging.getLogger(__name__)

T = TypeVar("T")

FOLDER = ".jimeng"
KEPT_POINTERS = 4
"""At least so many renders of one request, or videos of one file name, keep their pointers."""
MAX_POINTERS = 8
"""If a folder holds more pointers, those that are not needed are removed."""
MAX_REMOVALS = 500
"""Most pointers that one look-up removes. After an upgrade there can be thousands; the next look-up continues."""

_SURELY_OLD_SECONDS = 24 * 3600.0
"""The record of a younger pointer can still be written."""

RecordsByName = dict[str, Record | None]
"""The records behind one folder of pointers, by the name of the pointer."""


class RecordObjects:
    """The records of one directory."""

    def __init__(self, folder: OutputPath) -> None:
        self._folder = folder
        self._files: dict[tuple[str, ...], AtomicFile] = {}
        self._of_intents: set[tuple[str, ...]] = set()
        """The pointers, by the parts of their paths, that were written for an intent, and are there for certain."""

    def read(self, key: TaskKey) -> Record | None:
        """Return the record of a task instance, ``None`` if there certainly is none."""
        return self._read_any(_object_name(key))

    def content(self, key: TaskKey) -> tuple[bytes | None, str]:
        """Return what the object of a task instance holds, ``None`` if there certainly is none, and its URI."""
        return self._content(_object_name(key))

    def write(self, record: Record, stored: StoredRecord | None = None) -> bytes:
        """Write a record, after the pointers that it needs. Then remove the pointers that it does not need.

        :param stored: what is stored of the record, if that is known.
        :return: the content of its object.
        """
        stored = stored or record.stored
        name, pointers = _object_name(record.key), self._pointers(record, stored)
        content, pointer = (
            _encode(stored.payload),
            _encode({"task_instance": stored.payload["task_instance"]}),
        )
        is_intent = record.state is RecordState.INTENT
        missing = [folder for folder, speaks in pointers if speaks and self._can_miss(record, *folder, name)]

        def write() -> list[tuple[tuple[str, str], list[str]]]:
            beside = []
            for folder in missing:
                file = self._directory.below(*folder, name)
                if is_intent or file.size() is None:
                    file.write(pointer, secrets.token_hex(4))
                    beside.append((folder, file.siblings()))
            self._directory.below("tasks", name).write(content, secrets.token_hex(4))
            return beside

        for folder, names in _guarded(f"write the record {name}", write):
            if len(_records_among(names)) > MAX_POINTERS:
                with suppress(LedgerError):  # The task that needs an unreadable record reports it.
                    self._tidy(folder, {**self._behind(*folder), name: None}, record.key)
        for folder, speaks in pointers:
            if not speaks:
                with suppress(LedgerError):  # A pointer to a record without an answer is harmless.
                    self._remove(*folder, name)
        return content

    def remove(self, record: Record) -> None:
        """Remove the record of a task instance, and then the pointers to it."""
        name = _object_name(record.key)
        self._remove("tasks", name)
        for folder, _ in self._pointers(record, record.stored):
            self._remove(*folder, name)

    def of_request(self, fingerprint: str, *, earlier_only_of: TaskKey | None = None) -> list[Record]:
        """Return the records of a request, by the fingerprint of its author. The best is first.

        :param earlier_only_of: task instance of which only earlier requests count.
        """
        behind = self._behind("requests", fingerprint)
        self._tidy(("requests", fingerprint), behind, earlier_only_of)
        records = [record for record in behind.values() if record is not None]
        answers = (
            record.as_asked(fingerprint, earlier_only=record.key == earlier_only_of) for record in records
        )
        return by_preference(record for record in answers if record is not None)

    def requests(self) -> frozenset[str]:
        """Return the fingerprints of all requests that can have a record: one listing in place of one for each request."""
        return frozenset(_guarded("list the requests", self._file("requests", "any").siblings))

    def of_file(self, output_path: str, *, key: TaskKey) -> list[Record]:
        """Return the records of other task instances that use the same full file name.

        :param key: the task instance that looks.
        """
        name = _file_name(output_path)
        behind = self._behind("files", _hashed(name))
        self._tidy(("files", _hashed(name)), behind, key)
        records = [record for record in behind.values() if record is not None]
        return [r for r in records if r.key != key and _file_name(r.output_path) == name]

    def all(self) -> tuple[list[Record], list[LedgerError]]:
        """Return every record of the folder that can be read, and the problems of the others."""
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
    def _pointers(self, record: Record, stored: StoredRecord) -> list[tuple[tuple[str, str], bool]]:
        """Return the folders of the pointers to a record, and whether the record is an answer there."""
        pointers = [(("requests", record.requested), stored.for_request)]
        if file_name := _file_name(record.output_path):
            pointers.append((("files", _hashed(file_name)), stored.for_file))
        return pointers

    def _can_miss(self, record: Record, *pointer: str) -> bool:
        """Return whether the pointer to a record has to be written, or looked for.

        A new intent makes an old pointer young again, so it is written without a look. Nobody removes the pointer of an
        intent. So the next step of this submit need not look either.
        """
        if record.state is RecordState.INTENT:
            self._of_intents.add(pointer)
        elif pointer in self._of_intents:
            self._of_intents.discard(pointer)
            return False
        return True

    def _tidy(self, folder: tuple[str, str], behind: RecordsByName, key: TaskKey | None) -> None:
        """Remove pointers that cannot change an answer, if there are many. A failure is harmless.

        A pointer without a paid record is removed only if it is old, because its task can be about to write the record.
        """
        if len(behind) <= MAX_POINTERS:
            return
        kind, name = folder
        needed = _needed_for_request(behind, name) if kind == "requests" else _needed_for_file(behind, key)
        superfluous = [(name, record) for name, record in behind.items() if name not in needed]
        for name, record in superfluous[:MAX_REMOVALS]:
            with suppress(LedgerError):
                if (record is not None and record.state in PAID) or self._is_old(*folder, name):
                    self._drop_pointer(folder, name, record)

    def _drop_pointer(self, folder: tuple[str, str], name: str, record: Record | None) -> None:
        """Remove a pointer. Write it again if its task has changed the record meanwhile."""
        self._remove(*folder, name)
        now = self._read(name)
        if now is not None and now != record:
            self._write(_encode({"task_instance": now.key.to_payload()}), *folder, name)

    def _is_old(self, *parts: str) -> bool:
        pointer = self._file(*parts)
        try:
            return bool(time.time() - pointer.fs.modified(pointer.path).timestamp() > _SURELY_OLD_SECONDS)
        except Exception:  # noqa: BLE001 - not every store knows, and each raises classes of its own
            return False

    def _behind(self, *folder: str) -> RecordsByName:
        return {name: self._read(name) for name in self._names(*folder)}

    # ------------------------------------------------------------------------------------------------------- files
    def _write(self, content: bytes, *parts: str) -> None:
        file = self._file(*parts)
        _guarded(f"write {file.uri}", lambda: file.write(content, secrets.token_hex(4)))

    def _read(self, name: str) -> Record | None:
        """Return the record of a name, ``None`` if it is a withdrawn intent."""
        record = self._read_any(name)
        return None if record is None or record.is_void else record

    def _read_any(self, name: str) -> Record | None:
        content, where = self._content(name)
        return None if content is None else decode_record(content, where)

    def _content(self, name: str) -> tuple[bytes | None, str]:
        def read() -> tuple[bytes | None, str]:
            file = self._directory.below("tasks", name)
            return file.content(), file.uri

        return _guarded(f"read the record {name}", read)

    def _remove(self, *parts: str) -> None:
        file = self._file(*parts)
        self._of_intents.discard(parts)
        _guarded(f"delete {file.uri}", file.remove)

    def _names(self, *folder: str) -> list[str]:
        file = self._file(*folder, "any.json")
        return _records_among(_guarded(f"list {file.uri.rpartition('/')[0]}", file.siblings))

    def _file(self, *parts: str) -> AtomicFile:
        if parts not in self._files:
            self._files[parts] = self._directory.below(*parts)
        return self._files[parts]

    @cached_property
    def _directory(self) -> AtomicFile:
        """The directory of the records. It is opened once: each opening costs as much as a small read."""
        return _guarded("open the records", lambda: self._folder.file(FOLDER))


class RecordObject:
    """The record of one task instance in the directory: a place of its ledger.

    Before each write that can come late it is checked that no newer try has begun a submit.
    """

    name = "The record in the output directory"

    def __init__(self, objects: RecordObjects, key: TaskKey) -> None:
        self._objects = objects
        self._key = key
        self._known: tuple[bytes, Record] | None = None
        """The last content that was read or written here, and the record that it is."""

    def read(self) -> Record | None:
        """Return the record, ``None`` if there certainly is none."""
        content, where = self._objects.content(self._key)
        if content is None:
            return None
        if self._known is None or content != self._known[0]:
            self._known = (content, decode_record(content, where))
        return self._known[1]

    def write(self, record: Record) -> None:
        """Write a record."""
        self._known = (self._objects.write(record), record)

    def settle(self, record: Record) -> None:
        """Write a record, unless a newer try has begun."""
        before = self.read()
        if before is None or before.serial < record.serial or before.same_submit(record):
            self._known = (self._objects.write(record, record.stored), record)
        else:
            log.warning("A newer try has begun. Its record in the output directory is left as it is.")

    def take_back(self, intent: Record, before: Record | None) -> None:
        """Remove an intent, or put back the record before it, unless a newer try has begun."""
        stored = self.read()
        if stored is not None and stored.serial >= intent.serial and not stored.same_submit(intent):
            return
        if before is None:
            self._objects.remove(intent)
        else:
            self.write(before)


def _needed_for_request(behind: RecordsByName, fingerprint: str) -> set[str]:
    """Return the pointers that a look-up of a request needs: all open intents, and one for each of the best renders."""
    records = [record for record in behind.values() if record is not None]
    answers = [answer for record in records if (answer := record.as_asked(fingerprint)) is not None]
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


def _needed_for_file(behind: RecordsByName, key: TaskKey | None) -> set[str]:
    """Return the pointers that a look-up of a file name needs: unsaved renders, those of this run, and the latest."""
    now = time.time()
    records = [record for record in behind.values() if record is not None]
    landed = [record for record in records if record.state is RecordState.LANDED]
    landed.sort(key=lambda record: str((record.render or {}).get("submitted_at")), reverse=True)
    needed = landed[:KEPT_POINTERS] + [record for record in records if record.is_yet_to_land(now)]
    if key is not None:
        run = (key.dag_id, key.run_id)
        needed += [record for record in records if (record.key.dag_id, record.key.run_id) == run]
    return {_object_name(record.key) for record in needed}


def decode_record(payload: Any, where: str) -> Record:
    """Read a record from JSON data or its bytes.

    :raises LedgerError: the record is damaged. The message names the place and the remedy.
    """
    try:
        return Record.from_payload(json.loads(payload) if isinstance(payload, bytes) else payload)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise LedgerError(
            f"The record in {where} is damaged ({type(error).__name__}: {error}). Repair or delete it: "
            "without it the task submits, and pays, again."
        ) from None


def _object_name(key: TaskKey) -> str:
    """Return the file name of a task instance's record and of its pointers."""
    return _hashed(json.dumps([key.dag_id, key.run_id, key.task_id, key.map_index])) + ".json"


def _file_name(output_path: str | None) -> str:
    """Return the last part of a full file name; empty for a directory."""
    return (output_path or "").rpartition("/")[2]


def _records_among(names: list[str]) -> list[str]:
    """Return the names of records, or of pointers, of all names in a directory."""
    return sorted(name for name in names if name.endswith(".json"))


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _encode(payload: Mapping[str, Any]) -> bytes:
    return json.dumps(payload, ensure_ascii=False, indent=1).encode()


def _guarded(what: str, action: Callable[[], T]) -> T:
    """Run a storage action. Every error becomes a :class:`LedgerError`, because each file system has classes of its own."""
    try:
        return action()
    except LedgerError:
        raise
    except Exception as error:
        raise LedgerError(f"Cannot {what} ({type(error).__name__}: {error}).") from error
