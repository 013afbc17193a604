# SPDX-License-Identifier: Apache-2.0
"""The ledger: the record of what each task instance paid for, stored where its next try finds it.

The record is stored in two places. Both are written before the payment:

* Airflow's ``task_state_store`` (3.3 and newer). It refuses the write of an older try, which stops that try before it
  can pay.
* An object under ``<output directory>/.jimeng/``, on every version: see
  :mod:`~airflow_provider_jimeng.storage.record_objects`.

Both are read, and :func:`~airflow_provider_jimeng.core.record.reconcile` decides between them. A record that cannot be
read is not a missing record: it raises :class:`LedgerError`. What must not be lost is written to both places at the
same time, so that a place that does not answer does not delay the other.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_jimeng.core.errors import LedgerError
from airflow_provider_jimeng.core.record import Record, RecordState, TaskKey, reconcile
from airflow_provider_jimeng.storage.record_objects import RecordObject, RecordObjects, decode_record

try:
    from airflow.sdk import NEVER_EXPIRE  # type: ignore[attr-defined, unused-ignore]  # resolved lazily
except ImportError:  # Airflow before 3.3 has no task state store.
    NEVER_EXPIRE = None

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_jimeng.storage.output import OutputPath

log = logging.getLogger(__name__)

STATE_STORE_KEY = "jimeng_render"
PAUSES = (0.5, 2.0)
"""Seconds between the attempts to write what must not be lost: the id of a paid render, a withdrawn intent."""
LONGEST_WAIT_SECONDS = 60.0
"""How long such a write can take in all, until the first place has stored it."""
GRACE_SECONDS = 10.0
"""How much longer the other place can take after that."""

_READABLE_ALONE = frozenset({RecordState.INTENT, RecordState.SUBMITTED, RecordState.LANDED})
"""If the state store holds a record in one of these states, the task pays for nothing, whatever the object says."""


def task_key(context: Context | Mapping[str, Any]) -> TaskKey:
    """Return the task instance of a context, without its try number."""
    ti = context["ti"]
    return TaskKey(
        dag_id=ti.dag_id, run_id=ti.run_id, task_id=ti.task_id, map_index=getattr(ti, "map_index", -1)
    )


class Ledger:
    """The record of one task instance, in the places that exist.

    :param store: Airflow's task state store, ``None`` before 3.3.
    :param folder: the directory of the videos, ``None`` if the task has none.
    """

    def __init__(
        self,
        key: TaskKey,
        *,
        store: Any = None,
        folder: OutputPath | None = None,
        sleep: Callable[[float], None] = time.sleep,
        longest_wait_seconds: float = LONGEST_WAIT_SECONDS,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self.key = key
        self._store = None if store is None else _StateStore(store)
        self._objects = None if folder is None else RecordObjects(folder)
        self._beside = None if self._objects is None else RecordObject(self._objects, key)
        self._places: tuple[_Place, ...] = tuple(filter(None, (self._store, self._beside)))
        self._sleep = sleep
        self._longest_wait_seconds = longest_wait_seconds
        self._grace_seconds = grace_seconds
        self.keeps = bool(self._places)
        """Is there any place that outlives the try?"""
        self.next_serial = 1
        """The number of the next submit. It is higher than the number of any record that was read."""
        self._unfinished: dict[_Place, _Write] = {}

    @classmethod
    def open(cls, context: Context | Mapping[str, Any], folder: OutputPath | None) -> Ledger:
        """Return the ledger of the running task. Log a warning if there is no place for it."""
        ledger = cls(task_key(context), store=context.get("task_state_store"), folder=folder)
        if not ledger.keeps:
            log.warning(
                "No ledger: this Airflow has no task state store and the task has no output_path, so a retry or a "
                "Clear submits, and pays, again. Give output_path, or use Airflow 3.3 or newer."
            )
        return ledger

    def read(self, *, is_first_try: bool = False) -> Record | None:
        """Return the record of this task instance, from both places.

        :param is_first_try: nothing ran before this try. Then the object alone can say that there is no record, because
            it is written before the first request leaves. This saves a request to Airflow's API server.
        :raises LedgerError: the record cannot be read, so it is unknown whether something was paid. Or the places hold
            different submits, and nothing shows which one is later.
        """
        beside, unreadable = None, None
        if self._beside is not None:
            try:
                beside = self._beside.read()
            except LedgerError as error:
                unreadable = error
        if is_first_try and self._beside is not None and beside is None and unreadable is None:
            return None  # certainly
        stored = None if self._store is None else self._store.read()
        if unreadable is not None:
            alone = reconcile(stored, None)
            if alone is None or alone.state not in _READABLE_ALONE:
                raise unreadable
        serials = [record.serial for record in (stored, beside) if record is not None]
        self.next_serial = max(serials, default=0) + 1
        return reconcile(stored, beside)

    def read_beside(self) -> Record | None:
        """Return the record in the output directory, ``None`` if there is none, or if it cannot be read."""
        with suppress(LedgerError):
            return None if self._beside is None else self._beside.read()
        return None

    def begin(self, intent: Record, before: Record | None) -> None:
        """Record a submit that is about to be sent, first in the place that refuses an older try.

        :param before: the record before this submit.
        :raises LedgerError: nothing may be submitted. ``before`` is written again where that is possible.
        """
        if (
            self._store is None
            and self._beside is not None
            and reconcile(None, self._beside.read()) != before
        ):
            raise LedgerError("Another try of this task has begun and has changed its record.")
        try:
            self.write(intent)
        except LedgerError as error:
            self.withdraw(intent, before, cause=error)
            raise

    def write(self, record: Record) -> None:
        """Record a step, first in the place that refuses an older try.

        :raises LedgerError: the task must not continue after this step.
        """
        for place in self._places:
            self._finish(place)
            place.write(record)

    def settle(self, record: Record) -> None:
        """Record a step that cannot be undone, in all places at the same time. One place is enough to find it again.

        If a newer try has begun, its object is left as it is.

        :raises LedgerError: no place stored it, after several attempts or within a minute.
        """
        _ = record.stored  # once, and not in each thread
        problems = self._at_once(lambda place: place.settle(record), enough=1)
        for problem in problems.values():
            log.error("Part of the record of %s was not written: %s", record.state.value, problem)
        if problems and len(problems) == len(self._places):
            raise next(iter(problems.values()))

    def settle_landed(self, record: Record) -> None:
        """Record a video that was saved for the first time beside it, or like any other step if that fails.

        The state store need not know: a try that finds the render as submitted there finds the saved video, too.

        :raises LedgerError: no place stored it.
        """
        beside = [] if self._beside is None else [self._beside]
        if not beside or self._at_once(lambda place: place.settle(record), enough=1, places=beside):
            self.settle(record)

    def withdraw(self, intent: Record, before: Record | None, *, cause: BaseException) -> None:
        """Withdraw an intent whose submit was certainly not accepted.

        A place that cannot be reached still holds the intent. The other place then records that it was not sent.

        :param cause: why the intent is withdrawn.
        :raises LedgerError: the intent stays recorded, so the outcome is unknown to the next try.
        """
        problems = self._at_once(lambda place: place.take_back(intent, before), enough=len(self._places))
        reached = [place for place in self._places if place not in problems]
        if problems and reached:
            note = replace(before or intent, withdrawn=intent.submit_name)
            problems |= self._at_once(lambda place: place.settle(note), enough=1, places=reached)
        if len(problems) == len(self._places) > 0:
            raise LedgerError(
                f"{cause} The API accepted nothing, but the recorded intent could not be erased: "
                f"{next(iter(problems.values()))} The outcome is unknown to the next try; "
                'on_unknown_submit="resubmit" is safe to set for it.'
            ) from cause

    def others(self, fingerprint: str) -> list[Record]:
        """Return the records of other task instances for a request, and earlier ones of this task. The best is first.

        :param fingerprint: fingerprint of the request as its author writes it.
        """
        if self._objects is None:
            return []
        return self._objects.of_request(fingerprint, earlier_only_of=self.key)

    def rivals(self, output_path: str) -> list[Record]:
        """Return the records of other task instances that use the same full file name in the folder."""
        return [] if self._objects is None else self._objects.of_file(output_path, key=self.key)

    # ------------------------------------------------------------------------------------------------------- at once
    def _at_once(
        self, action: Callable[[_Place], None], *, enough: int, places: Sequence[_Place] | None = None
    ) -> dict[_Place, LedgerError]:
        """Run an action for every place at the same time. Return the problem of each place that has one.

        :param enough: when so many places have succeeded, the others get only a short time more.
        """
        ended: queue.SimpleQueue[_Write] = queue.SimpleQueue()
        writes = {}
        for place in self._places if places is None else places:
            writes[place] = _Write(
                self._insist, place, action, after=self._unfinished.get(place), ended=ended
            )
            writes[place].start()
        self._unfinished |= writes
        until = time.monotonic() + self._longest_wait_seconds
        waiting, succeeded = set(writes.values()), 0
        while waiting:
            try:
                write = ended.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            waiting.discard(write)
            if write.crash is not None:
                raise write.crash
            succeeded += write.problem is None
            if succeeded >= enough:
                until = min(until, time.monotonic() + self._grace_seconds)
        return {place: problem for place, write in writes.items() if (problem := write.outcome()) is not None}

    def _finish(self, place: _Place) -> None:
        """Wait for the writes that a place has not ended yet, so that an older step never overwrites a newer one."""
        write = self._unfinished.pop(place, None)
        if write is not None:
            write.join(self._longest_wait_seconds)
            if write.is_alive():
                self._unfinished[place] = write
                raise LedgerError(f"{place.name} has not answered yet.")

    def _insist(self, action: Callable[[], None]) -> None:
        """Run an action, several times if it fails.

        :raises LedgerError: the problem of the last attempt.
        """
        for pause in PAUSES:
            try:
                return action()
            except LedgerError:
                self._sleep(pause)
        return action()


class _Place(Protocol):
    """A place that stores a record."""

    name: str

    def read(self) -> Record | None: ...
    def write(self, record: Record) -> None: ...
    def settle(self, record: Record) -> None: ...
    def take_back(self, intent: Record, before: Record | None) -> None: ...


class _Write(threading.Thread):
    """A write in a thread of its own. It begins when the write before it at this place has ended."""

    def __init__(
        self,
        insist: Callable[[Callable[[], None]], None],
        place: _Place,
        action: Callable[[_Place], None],
        *,
        after: _Write | None,
        ended: queue.SimpleQueue[_Write],
    ) -> None:
        super().__init__(name=f"jimeng record, {place.name}", daemon=True)
        self._insist = insist
        self._place = place
        self._action = action
        self._after = after
        self._ended = ended
        self.problem: LedgerError | None = None
        self.crash: BaseException | None = None
        self._has_ended = False

    def run(self) -> None:
        """Write, and report the end to the caller."""
        try:
            if self._after is not None:
                self._after.join()
            self._insist(lambda: self._action(self._place))
        except LedgerError as error:
            self.problem = error
        except BaseException as error:  # noqa: BLE001 - the caller's thread raises it again
            self.crash = error
        self._has_ended = True
        self._ended.put(self)

    def outcome(self) -> LedgerError | None:
        """Return the problem of this write, ``None`` if it succeeded."""
        if not self._has_ended:
            return LedgerError(f"{self._place.name} has not answered yet.")
        return self.problem


class _StateStore:
    """Airflow's task state store. It refuses the writes of an older try."""

    name = "The task state store"

    def __init__(self, store: Any) -> None:
        self._store = store

    def read(self) -> Record | None:
        payload = self._call("read", lambda: self._store.get(STATE_STORE_KEY))
        return None if payload is None else decode_record(payload, "the task state store")

    def write(self, record: Record) -> None:
        options = {} if NEVER_EXPIRE is None else {"retention": NEVER_EXPIRE}
        self._call("write", lambda: self._store.set(STATE_STORE_KEY, record.stored.payload, **options))

    def settle(self, record: Record) -> None:
        self.write(record)

    def take_back(self, intent: Record, before: Record | None) -> None:  # noqa: ARG002 - the store itself refuses an older try
        if before is not None:
            self.write(before)
        else:
            self._call("write", lambda: self._store.delete(STATE_STORE_KEY))

    @staticmethod
    def _call(what: str, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except Exception as error:
            raise LedgerError(
                f"Cannot {what} the task state store ({type(error).__name__}: {error})."
            ) from error
