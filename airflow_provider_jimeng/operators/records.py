# SPDX-License-Identifier: Apache-2.0
"""What is recorded as paid: the record of a task instance, as one try of it knows it, and the records of other tasks."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.errors import (
    ApiError,
    JimengError,
    LandingError,
    LedgerError,
    NoLinkError,
    RenderNotFoundError,
    TargetTakenError,
)
from airflow_provider_jimeng.core.limits import spread
from airflow_provider_jimeng.core.output_path import is_below
from airflow_provider_jimeng.core.record import PAID, Record, RecordState
from airflow_provider_jimeng.core.render import Render, RenderEvent, RenderManifest, landable_until
from airflow_provider_jimeng.core.submit_messages import claimed, unreadable
from airflow_provider_jimeng.storage.output import OutputPath, manifest_in_place, read_manifest

if TYPE_CHECKING:
    from collections.abc import Collection

    from airflow_provider_jimeng.core.record import TaskKey
    from airflow_provider_jimeng.storage.ledger import Ledger

log = logging.getLogger(__name__)

LOOK_PAUSE_SECONDS = 1.0
"""The pause between two looks for the answer to the submit of another task."""
ABANDONED_SECONDS = 15 * 60.0
"""An intent that is recorded as older than this is not watched. Clocks differ by less."""

_SLACK_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Paid:
    """A render that is paid for.

    ``adopted``: an earlier try or another task paid for it. ``ended``: how it ended, if that is known already.
    ``manifest``: its saved file, if there is one.
    """

    render: Render
    adopted: bool = False
    ended: RenderEvent | None = None
    manifest: RenderManifest | None = None

    @classmethod
    def of(cls, record: Record, *, landed: bool) -> Paid:
        """Return the render that an earlier try, or another task, has paid for."""
        if record.render is None:
            raise ValueError("The record has no render.")
        manifest = RenderManifest.from_payload(record.manifest) if landed and record.manifest else None
        return cls(render=Render.from_payload(record.render), adopted=True, manifest=manifest)


def kept(error: JimengError, render: Render) -> JimengError:
    """Return an error that adds that the paid render is kept, until when, and what saves its video."""
    if isinstance(error, RenderNotFoundError):
        return error
    then = (
        "a retry, or a Clear, saves it" if error.retryable else "solve this, then clear the task to save it"
    )
    until = landable_until(render)
    text = f"{error} The render {render.task_id} is paid for and kept until {until}; {then} without paying again."
    if isinstance(error, ApiError):  # its text is made of the API's answer, so it cannot be extended
        extended = NoLinkError(text)
        extended.__cause__ = error
        return extended
    error.args = (text,)
    return error


class TaskRecord:
    """Reads the record once per step and keeps it up to date.

    :param ti: the task instance: its ``max_tries`` and ``try_number`` tell a Clear from a retry.
    """

    def __init__(self, ledger: Ledger, ti: Any) -> None:
        self.ledger = ledger
        self.ti = ti
        self.current: Record | None = None
        """The record as this try last read or wrote it. It can know the id of a render that was not recorded."""
        self.cleared = False
        """Did somebody clear the task after its record was last seen, before this try?"""

    def read(self) -> Record | None:
        """Return the record.

        :raises LedgerError: what was paid is not known.
        """
        try:
            record = self.ledger.read(is_first_try=self.ti.try_number == 1)
        except LedgerError as error:
            raise LedgerError(unreadable(error)) from error
        return self._know(record)

    def awaited(self, task_id: str | None) -> Render | None:
        """Return the render that a wait was for, if the output directory has its record: it is asked first.

        To save a paid render, no other place need be asked.
        """
        record = self.ledger.read_beside()
        if record is None or record.render is None or record.render.get("task_id") != task_id:
            return None
        render = Render.from_payload(record.render)
        self._know(record)
        return render

    def _know(self, record: Record | None) -> Record | None:
        self.current = record
        if record is not None and record.max_tries != self.ti.max_tries:
            self.cleared = True
        return record

    def save(self, record: Record) -> None:
        """Write a record and keep it as the current one."""
        self.ledger.write(record)
        self.current = record

    def adopt(self, record: Record) -> Record:
        """Note that this try goes on with the recorded render, so that only the next Clear counts as one."""
        adopted = record.seen_by(max_tries=self.ti.max_tries, try_number=self.ti.try_number)
        self.save(adopted)
        return adopted

    def recover(self, announced: Render) -> Render | None:
        """Return the recorded render that a wait was for; ``None`` if no record has it.

        :param announced: the render as XCom has it. It completes a record that could not be written after the submit.
        """
        try:
            record = self.read()
        except LedgerError as error:
            log.warning(
                "The task goes on with the render %s, because saving it is free. Its record cannot be read: %s",
                *(announced.task_id, error.__cause__),
            )
            return None
        if record is None:
            return None
        if record.state is RecordState.INTENT and announced.fingerprint == record.fingerprint:
            self.current = replace(record, state=RecordState.SUBMITTED, render=announced.to_payload())
            self.note(announced, RecordState.SUBMITTED)
            return announced
        if record.render is None:
            return None
        render = Render.from_payload(record.render)
        return render if render.task_id == announced.task_id else None

    def close(self, render: Render, state: RecordState) -> None:
        """Record how a render ended. If a newer try has recorded another submit, nothing is changed.

        :raises LedgerError: the record was not changed.
        """
        if not self.is_replaced(render):
            self._close(render, state, None, self.ledger.write)

    def note(self, render: Render, state: RecordState, manifest: dict[str, Any] | None = None) -> None:
        """Record how a render ended, if the record can be written. If not, the next try asks the API again, free.

        :param manifest: the payload of the manifest of its saved video.
        """
        try:
            newly_landed = state is RecordState.LANDED and not self.was_landed
            write = self.ledger.settle_landed if newly_landed else self.ledger.settle
            self._close(render, state, manifest, write)
        except LedgerError as error:
            log.warning("The record of the render %s is not up to date: %s", render.task_id, error)

    def is_replaced(self, render: Render) -> bool:
        """Return whether the stored record names another submit than the render's. An unreadable record does not."""
        try:
            stored = self.ledger.read() if self.ledger.keeps else None
        except LedgerError as error:
            log.warning("This try goes on with the render %s, which is paid for. %s", render.task_id, error)
            return False
        if stored is None or (self.current is not None and stored.same_submit(self.current)):
            return False
        return stored.render is None or stored.render.get("task_id") != render.task_id

    def refuse_replaced(self, render: Render, target: OutputPath) -> None:
        """Refuse to save a render under a full file name that a newer submit of the same task will use.

        :raises LandingError: nothing was written.
        """
        if self.is_replaced(render):
            raise LandingError(
                f"The render {render.task_id} was not saved: a newer try of this task has begun another submit, whose "
                f"video belongs in {target.output_path}. JimengRescueOperator saves the older video in a directory."
            )

    def may_replace(self, target: OutputPath) -> bool:
        """Return whether this task may replace the file under a full file name, because that file is its own."""
        if self.current is None:
            return False
        stored = read_manifest(target.file().sidecar)
        own = {past["render"]["task_id"] for past in self.current.past()}
        return stored is not None and (stored.task_id in own or stored.fingerprint == self.current.requested)

    def given_up(self) -> frozenset[str]:
        """Return the ids of the renders that this task instance has seen fail or be lost."""
        return frozenset() if self.current is None else self.current.given_up()

    @property
    def was_landed(self) -> bool:
        """Was the recorded render saved once, even if its file is gone now?"""
        return self.current is not None and self.current.manifest is not None

    @property
    def resubmitted_in_this_try(self) -> bool:
        """Did this try submit in place of a lost render already? It does so only once, so that costs stay bounded."""
        return self.current is not None and self.current.lost_try == self.ti.try_number

    def _close(
        self,
        render: Render,
        state: RecordState,
        manifest: dict[str, Any] | None,
        write: Callable[[Record], None],
    ) -> None:
        record = self.current
        if record is None or record.render is None or record.render.get("task_id") != render.task_id:
            return
        self.current = replace(
            record, state=state, manifest=record.manifest if manifest is None else manifest
        )
        write(self.current)


class OtherTasks:
    """The other task instances that keep their records in the same directory: the same request, or the same file name.

    A task looks at them before it writes its intent, and once more after that. So, if two tasks begin at the same moment,
    at least one of them sees the intent of the other and pays nothing. No clock decides: an intent that is new at the
    second look counts, whatever its time is. An intent that is there at the first look is watched until it is answered,
    or until a submit cannot take that long, measured by the clock of the task that watches.

    :param timeout_seconds: of the connection. A submit that began much longer ago has ended.
    ``has_ended`` says of an intent that its process has certainly ended, so that it is not waited for.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        timeout_seconds: float,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._longest = timeout_seconds + _SLACK_SECONDS
        self.has_ended: Callable[[Record], bool] = lambda _: False
        self._sleep = sleep
        self._clock = clock
        self._first_seen: dict[tuple[TaskKey, str], float] = {}
        self._has_looked = False

    def of_request(self, fingerprint: str, *, except_ids: Collection[str]) -> list[Record]:
        """Return who has paid for a request, the best first; if nobody has, return open intents of it.

        A submit of it that is under way is waited for.

        :param except_ids: ids of renders that do not count.
        """
        while True:
            others = self._look(fingerprint, except_ids)
            if paid := [other for other in others if other.state in PAID]:
                return paid
            if not any(self._is_under_way(other) for other in others):
                return others
            self._sleep(spread(LOOK_PAUSE_SECONDS, random.random()))

    def twin(self, fingerprint: str, *, except_ids: Collection[str]) -> Record | None:
        """Return another task that has paid for a request, or has begun to, since the looks before."""
        others = self._look(fingerprint, except_ids)
        return next((other for other in others if other.state in PAID or self._is_under_way(other)), None)

    def refuse_rival(self, target: OutputPath, *, except_ids: Collection[str] = ()) -> None:
        """Stop if another task instance is yet to land under a full file name, or has in this run.

        :param except_ids: renders that are known to have failed or to be lost, whatever their tasks' records say.
        :raises TargetTakenError: naming that task and the remedy.
        """
        own = self._ledger.key
        for rival in self._ledger.rivals(target.output_path):
            same_run = (rival.key.dag_id, rival.key.run_id) == (own.dag_id, own.run_id)
            if (rival.render or {}).get("task_id") in except_ids:
                continue
            landed_now = same_run and rival.state is RecordState.LANDED
            if landed_now or rival.is_yet_to_land(time.time()):
                raise TargetTakenError(claimed(rival, target.output_path))

    def _look(self, fingerprint: str, except_ids: Collection[str]) -> list[Record]:
        others = [
            other
            for other in self._ledger.others(fingerprint)
            if other.state is RecordState.INTENT
            or (other.state in PAID and (other.render or {}).get("task_id") not in except_ids)
        ]
        first_look, self._has_looked = not self._has_looked, True
        for other in others:
            abandoned = first_look and not other.began_within(ABANDONED_SECONDS, time.time())
            self._first_seen.setdefault(
                (other.key, other.submit_name), -math.inf if abandoned else self._clock()
            )
        return others

    def _is_under_way(self, other: Record) -> bool:
        """Can this intent still be answered?"""
        seen_seconds = self._clock() - self._first_seen[(other.key, other.submit_name)]
        return seen_seconds < self._longest and not self.has_ended(other)


def saved_by(other: Record, folder: OutputPath | None) -> dict[str, Any] | None:
    """Return the manifest of another's file that its record does not tell of, as after a rescue.

    :param folder: the directory of this task's records: the other's file is there too, or it is not found.
    """
    if not other.output_path or other.render is None or folder is None:
        return None
    if not is_below(folder.output_path, other.output_path):
        return None
    place = OutputPath(output_path=other.output_path, output_conn_id=folder.output_conn_id)
    saved = manifest_in_place(place, Render.from_payload(other.render))
    return None if saved is None else saved.to_payload()
