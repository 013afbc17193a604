"""The ledger: what each task instance paid for, kept where its next try finds it.

Two places, both written before money moves:

* Airflow's ``task_state_store`` (3.3 and newer) is authoritative for the task instance's own tries; it refuses the
  write of an older try, which stops that try before it can pay.
* An object under ``<output directory>/.jimeng/``, on every version: ``tasks/<key>.json`` holds the record. Pointers lead
  to it: ``requests/<fingerprint>/<key>.json``, so that other tasks and runs find a render by what its author asked, and
  ``files/<name>/<key>.json``, so that no two tasks pay for the same full file name.

"Cannot read the record" is never "no record": it raises :class:`LedgerError`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_jimeng.core.errors import LedgerError
from airflow_provider_jimeng.core.record import Record, RecordState, TaskKey, by_preference

try:
    from airflow.sdk import NEVER_EXPIRE  # type: ignore[attr-defined, unused-ignore]  # resolved lazily
except ImportError:  # Airflow below 3.3 has no task state store.
    NEVER_EXPIRE = None

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_jimeng.storage.stored_file import StoredFile
    from airflow_provider_jimeng.storage.target import Target

log = logging.getLogger(__name__)

T = TypeVar("T")

STATE_STORE_KEY = "jimeng_render"
FOLDER = ".jimeng"
PAUSES = (0.5, 2.0)
"""Seconds between the attempts to write what must not be lost: the id of a paid render, an intent taken back."""


def task_key(context: Context | Mapping[str, Any]) -> TaskKey:
    """Return the task instance that a context belongs to, without its try."""
    ti = context["ti"]
    return TaskKey(
        dag_id=ti.dag_id, run_id=ti.run_id, task_id=ti.task_id, map_index=getattr(ti, "map_index", -1)
    )


class Ledger:
    """The record of one task instance, in the places that there are.

    :param store: Airflow's task state store, ``None`` below 3.3.
    :param folder: the directory that videos go to, ``None`` if there is none.
    """

    def __init__(
        self,
        key: TaskKey,
        *,
        store: Any = None,
        folder: Target | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.key = key
        self._store = store
        self._objects = None if folder is None else RecordObjects(folder)
        self._sleep = sleep

    @classmethod
    def open(cls, context: Context | Mapping[str, Any], folder: Target | None) -> Ledger:
        """Open the ledger of the running task; says so when there is no place to keep it."""
        ledger = cls(task_key(context), store=context.get("task_state_store"), folder=folder)
        if not ledger.keeps:
            log.warning(
                "No ledger: this Airflow has no task state store and the task has no output_path, so a retry or a "
                "Clear submits, and pays, again. Give output_path, or use Airflow 3.3 or newer."
            )
        return ledger

    @property
    def keeps(self) -> bool:
        """Is there any place that survives the try?"""
        return self._store is not None or self._objects is not None

    def read(self) -> Record | None:
        """Return this task instance's record, the state store's first.

        An intent in the store gives way to an object that knows how the very same submit went on: the store was out
        of reach then, or refused the write of a try that was not the latest any more.

        :raises LedgerError: it cannot be read, which says nothing about whether something was paid.
        """
        stored = self._read_store()
        if stored is None:
            return None if self._objects is None else self._objects.read(self.key)
        if stored.state is RecordState.INTENT and self._objects is not None:
            with suppress(LedgerError):  # the store alone decides then, and an intent refuses to pay
                beside = self._objects.read(self.key)
                if beside is not None and beside.same_submit(stored):
                    return beside
        return stored

    def begin(self, intent: Record, before: Record | None) -> None:
        """Record what is about to be submitted, first where an older try is refused.

        :raises LedgerError: nothing may be submitted; ``before`` is the record again, as far as it can be written.
        """
        if self._store is None and self._objects is not None and self._objects.read(self.key) != before:
            raise LedgerError("Another try of this task has begun since and changed its record.")
        try:
            self.write(intent)
        except LedgerError:
            with suppress(LedgerError):
                self.restore(before)
            raise

    def write(self, record: Record) -> None:
        """Record a step, first where an older try is refused.

        :raises LedgerError: nothing after this step may happen.
        """
        self._write_store(record)
        if self._objects is not None:
            self._objects.write(record)

    def settle(self, record: Record) -> None:
        """Record what cannot be undone, wherever it can be: in one place of two is enough to find it again.

        A try that is not the latest any more leaves the newer one's object alone.

        :raises LedgerError: no place took it, after several attempts.
        """
        places: list[Callable[[], None]] = []
        if self._store is not None:
            places.append(lambda: self._write_store(record))
        if self._objects is not None:
            places.append(lambda: self._settle_object(record))
        problems = [problem for place in places if (problem := self._insist(place)) is not None]
        for problem in problems:
            log.error("Part of the record of %s was not written: %s", record.state.value, problem)
        if problems and len(problems) == len(places):
            raise problems[0]

    def restore(self, record: Record | None) -> None:
        """Take an intent back, after a submit that was certainly not accepted.

        :raises LedgerError: the intent stands, so that the next try takes its outcome for unknown.
        """
        if record is None:
            problem = self._insist(self._delete)
        else:
            kept = record
            problem = self._insist(lambda: self.write(kept))
        if problem is not None:
            raise problem

    def _delete(self) -> None:
        if self._store is not None:
            _guarded("write the task state store", lambda: self._store.delete(STATE_STORE_KEY))
        if self._objects is not None:
            self._objects.delete(self.key)

    def _insist(self, action: Callable[[], None]) -> LedgerError | None:
        """Try several times; return the last problem, if it remains."""
        for pause in (*PAUSES, None):
            try:
                action()
            except LedgerError as error:
                if pause is None:
                    return error
                self._sleep(pause)
            else:
                return None
        raise AssertionError  # the last round returns

    def _read_store(self) -> Record | None:
        if self._store is None:
            return None
        payload = _guarded("read the task state store", lambda: self._store.get(STATE_STORE_KEY))
        return None if payload is None else _decode(payload, "the task state store")

    def _write_store(self, record: Record) -> None:
        if self._store is not None:
            options = {} if NEVER_EXPIRE is None else {"retention": NEVER_EXPIRE}
            payload = record.to_payload()
            _guarded(
                "write the task state store", lambda: self._store.set(STATE_STORE_KEY, payload, **options)
            )

    def _settle_object(self, record: Record) -> None:
        if self._objects is None:
            return
        there = self._objects.read(self.key)
        if there is None or there.same_submit(record):
            self._objects.write(record)
        else:
            log.warning("Another try has begun since; its record in the output directory is left as it is.")

    def others(self, asked: str) -> list[Record]:
        """Return what other task instances keep of the same request, and this one of an earlier one, the best first.

        :param asked: fingerprint of the request as its author writes it.
        """
        if self._objects is None:
            return []
        return self._objects.of_request(asked, but_now=self.key)

    def rivals(self, output_path: str) -> list[Record]:
        """Return the records of other task instances that give the same full file name, which is in the folder."""
        if self._objects is None:
            return []
        name = _file_name(output_path)
        found = self._objects.find_by_file(name)
        return [r for r in found if r.key != self.key and _file_name(r.output_path) == name]


class RecordObjects:
    """The records under ``<folder>/.jimeng/``; ``folder`` is a directory target."""

    def __init__(self, folder: Target) -> None:
        self._folder = folder

    def read(self, key: TaskKey) -> Record | None:
        """Return the record of a task instance, or ``None`` if there certainly is none."""
        return self._read(f"{_name(key)}.json")

    def write(self, record: Record) -> None:
        """Write the pointers, which stay when the record moves on, and then the record."""
        name = f"{_name(record.key)}.json"
        owner = {"task_instance": record.key.to_payload()}
        self._write(owner, "requests", record.asked, name)
        if file_name := _file_name(record.output_path):
            self._write(owner, "files", _hashed(file_name), name)
        self._write(record.to_payload(), "tasks", name)

    def delete(self, key: TaskKey) -> None:
        """Remove the record of a task instance; its pointers then lead nowhere, which is harmless."""
        task = self._file("tasks", f"{_name(key)}.json")
        _guarded(f"delete {task.uri}", task.remove)

    def of_request(self, asked: str, *, but_now: TaskKey | None = None) -> list[Record]:
        """Return what is recorded of a request, by its author's fingerprint, the best first.

        :param but_now: task instance of which only earlier requests count.
        """
        behind = self._behind("requests", asked)
        found = (record.as_asked(asked, earlier_only=record.key == but_now) for record in behind)
        return by_preference(record for record in found if record is not None)

    def find_by_file(self, name: str) -> list[Record]:
        """Return every record that a pointer of a file name leads to."""
        return self._behind("files", _hashed(name))

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

    def _behind(self, *pointers: str) -> list[Record]:
        found = (self._read(name) for name in self._names(*pointers))
        return [record for record in found if record is not None]

    def _write(self, payload: Mapping[str, Any], *parts: str) -> None:
        file = self._file(*parts)
        _guarded(f"write {file.uri}", lambda: file.write(_encode(payload), secrets.token_hex(4)))

    def _read(self, name: str) -> Record | None:
        file = self._file("tasks", name)
        content = _guarded(f"read {file.uri}", file.content)
        return None if content is None else _decode(content, file.uri)

    def _names(self, *folder: str) -> list[str]:
        place = self._file(*folder, "any.json")
        found = _guarded(f"list {place.uri.rpartition('/')[0]}", place.siblings)
        return sorted(name for name in found if name.endswith(".json"))

    def _file(self, *parts: str) -> StoredFile:
        return _guarded("open the records", lambda: self._folder.file("/".join((FOLDER, *parts))))


def _name(key: TaskKey) -> str:
    return _hashed(json.dumps([key.dag_id, key.run_id, key.task_id, key.map_index]))


def _file_name(output_path: str | None) -> str:
    """Return the last part of a full file name, empty for a directory."""
    return (output_path or "").rpartition("/")[2]


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _encode(payload: Mapping[str, Any]) -> bytes:
    return json.dumps(payload, ensure_ascii=False, indent=1).encode()


def _decode(payload: Any, where: str) -> Record:
    try:
        return Record.from_payload(json.loads(payload) if isinstance(payload, bytes) else payload)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise LedgerError(
            f"The record in {where} is damaged ({type(error).__name__}: {error}). Repair or delete it: "
            "without it the task submits, and pays, again."
        ) from None


def _guarded(what: str, action: Callable[[], T]) -> T:
    """Run a storage action; whatever goes wrong is a ledger error, for no file system agrees on its own classes."""
    try:
        return action()
    except LedgerError:
        raise
    except Exception as error:
        raise LedgerError(f"Cannot {what} ({type(error).__name__}: {error}).") from error
