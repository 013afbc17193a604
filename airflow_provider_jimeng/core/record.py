# SPDX-License-Identifier: Apache-2.0
"""The record of what was paid, and what a later try, a Clear or another run does with it.

A record belongs to one task instance, for all its tries. It is written before the submit (``intent``), right after the
response (``submitted``) and when the video is saved (``landed``). If the render failed and was not billed, the record
becomes ``failed``. If the API lost the render after it accepted it, the record becomes ``lost``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Any, NamedTuple

from airflow_provider_jimeng.core.errors import LedgerError
from airflow_provider_jimeng.core.render import (
    PAYLOAD_VERSION,
    SAFE_RETENTION_SECONDS,
    Render,
    manifest_or_none,
    parse_time,
)

MAX_PREVIOUS = 20
"""How many earlier renders of a task instance its record keeps."""
_FINGERPRINT = re.compile(r"[0-9A-Za-z_-]{1,128}")


class RecordState(StrEnum):
    """The last step of a render that was recorded."""

    INTENT = "intent"
    SUBMITTED = "submitted"
    LANDED = "landed"
    FAILED = "failed"
    LOST = "lost"


PAID = frozenset({RecordState.SUBMITTED, RecordState.LANDED})
"""The states of a render that can be adopted."""
_ANSWERS = PAID | {RecordState.INTENT}

_PROGRESS = (
    RecordState.INTENT,
    RecordState.SUBMITTED,
    RecordState.FAILED,
    RecordState.LOST,
    RecordState.LANDED,
)
"""The states of one submit. A later state in this order replaces an earlier one."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class TaskKey:
    """A task instance without its try number. ``map_index`` is −1 for a task that is not mapped."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1

    def to_payload(self) -> dict[str, Any]:
        """Return the key as plain JSON data."""
        return {
            "dag_id": self.dag_id,
            "run_id": self.run_id,
            "task_id": self.task_id,
            "map_index": self.map_index,
        }

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> TaskKey:
        """Read :meth:`to_payload` back."""
        return cls(
            dag_id=payload["dag_id"],
            run_id=payload["run_id"],
            task_id=payload["task_id"],
            map_index=int(payload["map_index"]),
        )


class StoredRecord(NamedTuple):
    """A record as plain JSON data, and whether it answers look-ups of its request, and those of its file name."""

    payload: dict[str, Any]
    for_request: bool
    for_file: bool


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is known about the render of one task instance.

    ``requested`` is the fingerprint of the request as its author wrote it. ``fingerprint`` and ``take`` are those of the
    render; they change when a task renders again after a Clear. ``max_tries`` is Airflow's at that time: a Clear changes
    it, a retry does not. ``request`` is a summary of the request and its cost, for a person who has to find a render
    whose id did not arrive. ``render`` and ``manifest`` are payloads. ``previous`` contains earlier renders. ``lost_try``
    is the try that submitted this render in place of a lost one. ``serial`` counts the submits of the task instance, so
    that the later of two records is known without a clock. ``withdrawn`` names a submit that was withdrawn: its intent
    was not sent, even if another place still holds it.
    """

    state: RecordState
    key: TaskKey
    requested: str
    fingerprint: str
    take: int
    max_tries: int
    intent_at: str
    try_number: int = 1
    jimeng_conn_id: str | None = None
    output_path: str | None = None
    request: Mapping[str, Any] | None = None
    render: Mapping[str, Any] | None = None
    manifest: Mapping[str, Any] | None = None
    previous: tuple[Mapping[str, Any], ...] = ()
    lost_try: int | None = None
    serial: int = 1
    withdrawn: str | None = None

    def to_payload(self) -> dict[str, Any]:
        """Return the record as plain JSON data."""
        return {
            "version": PAYLOAD_VERSION,
            "state": self.state.value,
            "task_instance": self.key.to_payload(),
            "asked": self.requested,
            "fingerprint": self.fingerprint,
            "take": self.take,
            "max_tries": self.max_tries,
            "try_number": self.try_number,
            "intent_at": self.intent_at,
            "jimeng_conn_id": self.jimeng_conn_id,
            "output_path": self.output_path,
            "request": None if self.request is None else dict(self.request),
            "render": None if self.render is None else dict(self.render),
            "manifest": None if self.manifest is None else dict(self.manifest),
            "previous": [dict(item) for item in self.previous],
            "lost_try": self.lost_try,
            "serial": self.serial,
            "withdrawn": self.withdrawn,
        }

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> Record:
        """Read :meth:`to_payload` back. Anything else raises ``KeyError``, ``TypeError`` or ``ValueError``.

        A damaged manifest is left out, because the manifest beside the file is the proof. Records of 0.1.0 have no
        serial. Each of their renders was a submit, so the number of renders is used.
        """
        state = RecordState(payload["state"])
        if state is not RecordState.INTENT:
            Render.from_payload(payload["render"])
        previous = tuple(payload.get("previous") or ())
        for past in previous:
            RecordState(past["state"])
            Render.from_payload(past["render"])
            int(past.get("take", 1))
        parse_time(payload["intent_at"])
        if _FINGERPRINT.fullmatch(str(payload["asked"])) is None:  # It becomes the name of a directory.
            raise ValueError("asked is not a fingerprint")
        request = payload.get("request")
        return cls(
            state=state,
            key=TaskKey.from_payload(payload["task_instance"]),
            requested=str(payload["asked"]),
            fingerprint=str(payload["fingerprint"]),
            take=int(payload["take"]),
            max_tries=int(payload["max_tries"]),
            try_number=int(payload.get("try_number", 1)),
            intent_at=str(payload["intent_at"]),
            jimeng_conn_id=payload.get("jimeng_conn_id"),
            output_path=payload.get("output_path"),
            request=None if request is None else dict(request),
            render=payload.get("render"),
            manifest=manifest_or_none(payload["manifest"]) if payload.get("manifest") else None,
            previous=previous,
            lost_try=payload.get("lost_try"),
            serial=int(payload.get("serial") or len(previous) + 1),
            withdrawn=payload.get("withdrawn"),
        )

    def past(self) -> tuple[Mapping[str, Any], ...]:
        """Return summaries of the earlier renders and of this one, for the next record."""
        if self.render is None:
            return self.previous
        this: dict[str, Any] = {
            "state": self.state.value,
            "asked": self.requested,
            "take": self.take,
            "render": {**self.render, "prompt": None},
        }
        if self.manifest is not None:
            this |= {"uri": self.manifest.get("uri"), "cost_cny": self.manifest.get("cost_cny")}
        if parse_time(self.render["submitted_at"]) < parse_time(self.intent_at):
            this["adopted"] = True  # Another task instance paid for it.
        return (*self.previous, this)[-MAX_PREVIOUS:]

    def bill(self, *, except_id: str | None = None) -> list[dict[str, Any]]:
        """Return state, id, time and cost of each render that this task instance has paid for, or might have.

        :param except_id: id of a render that is left out.
        """
        return [
            {
                "state": item["state"],
                "task_id": item["render"]["task_id"],
                "submitted_at": item["render"]["submitted_at"],
                "cost_cny": item.get("cost_cny") or item["render"].get("estimated_cost_cny"),
            }
            for item in self.past()
            if item["render"]["task_id"] != except_id and not item.get("adopted")
        ]

    def as_asked(self, fingerprint: str, *, earlier_only: bool = False) -> Record | None:
        """Return the part of the record that answers a request: the latest render that can be adopted, else the record.

        :param fingerprint: fingerprint of the request as its author writes it. Later takes after a Clear answer it too.
        :param earlier_only: leave out the current request of the record.
        """
        current = self if self.requested == fingerprint and not earlier_only else None
        if current is not None and self.state in PAID:
            return current
        for past in reversed(self.previous):
            if past.get("asked") == fingerprint and past["state"] in PAID:
                return self._as_it_was(past)
        return current

    @cached_property
    def stored(self) -> StoredRecord:
        """What a place stores of the record. It is kept, because several places store it."""
        as_asked = None if self.is_void else self.as_asked(self.requested)
        return StoredRecord(
            payload=self.to_payload(),
            for_request=as_asked is not None and as_asked.state in _ANSWERS,
            for_file=as_asked is not None and self.state in _ANSWERS,
        )

    def _as_it_was(self, past: Mapping[str, Any]) -> Record:
        render = past["render"]
        return replace(
            self,
            state=RecordState(past["state"]),
            requested=past["asked"],
            fingerprint=str(render.get("fingerprint") or past["asked"]),
            take=int(past.get("take", 1)),
            intent_at=str(render["submitted_at"]),
            render=render,
            manifest=None,
            previous=(),
        )

    def given_up(self) -> frozenset[str]:
        """Return the ids of the renders of this task instance that failed or were lost."""
        ended = (RecordState.FAILED, RecordState.LOST)
        return frozenset(str(item["render"]["task_id"]) for item in self.past() if item["state"] in ended)

    def began_within(self, seconds: float, now: float) -> bool:
        """Return whether the submit began less than this number of seconds before ``now`` (epoch seconds)."""
        return now - parse_time(self.intent_at).timestamp() < seconds

    def is_yet_to_land(self, now: float) -> bool:
        """Return whether the file of this record can still be saved: the render runs, or the API keeps it."""
        on_its_way = self.state in (RecordState.INTENT, RecordState.SUBMITTED)
        return on_its_way and self.began_within(SAFE_RETENTION_SECONDS, now)

    def same_submit(self, other: Record) -> bool:
        """Return whether both records are about the same submit."""
        if self.render is not None and other.render is not None:
            return bool(self.render["task_id"] == other.render["task_id"])
        mine = (self.key, self.fingerprint, self.intent_at, self.try_number)
        return mine == (other.key, other.fingerprint, other.intent_at, other.try_number)

    @property
    def submit_name(self) -> str:
        """A name of the submit that no other submit of the task instance has."""
        return f"{self.serial} {self.intent_at} {self.try_number} {self.fingerprint}"

    @property
    def is_void(self) -> bool:
        """Whether this is the intent of a submit that was withdrawn."""
        return self.is_withdrawn_by(self)

    def is_withdrawn_by(self, other: Record) -> bool:
        """Return whether another record says that the intent of this one was not sent."""
        return self.state is RecordState.INTENT and other.withdrawn == self.submit_name

    @property
    def description(self) -> str:
        """The record in a few words, for a message."""
        render = "" if self.render is None else f", render {self.render['task_id']}"
        return f"submit {self.serial}, {self.state.value} (begun {self.intent_at}{render})"

    def cleared_since(self, max_tries: int) -> bool:
        """Return whether the task was cleared after this record. A retry does not change Airflow's ``max_tries``."""
        return max_tries != self.max_tries

    def seen_by(self, *, max_tries: int, try_number: int) -> Record:
        """Return the record with the numbers of a later try, so that only the next Clear counts as one."""
        return replace(self, max_tries=max_tries, try_number=try_number)


def reconcile(stored: Record | None, beside: Record | None) -> Record | None:
    """Return the record that counts, of the two places that store it.

    If both are about one submit, the one with the later state counts: the other place was not reached then. If they are
    about two submits, the later submit counts: a place can be older, for example after the restore of a backup.

    :param stored: the record in the state store; ``beside`` is the one beside the videos.
    :raises LedgerError: the records are about different submits, and nothing shows which one is later.
    """
    records = [record for record in (stored, beside) if record is not None]
    live = [record for record in records if not any(map(record.is_withdrawn_by, records))]
    if len(live) < 2:
        return live[0] if live else None
    first, second = live
    if first.same_submit(second):
        return max(first, second, key=lambda record: _PROGRESS.index(record.state))
    if first.serial == second.serial:
        raise LedgerError(
            "The task state store and the output directory hold different submits: "
            f"{first.description}, and {second.description}. "
            "Nothing shows which one is later. Delete the record that does not count."
        )
    return max(first, second, key=lambda record: record.serial)


def by_preference(records: Iterable[Record]) -> list[Record]:
    """Sort the records of one request: saved renders first, then paid ones, then intents.

    The latest render comes first, because it can have replaced the file of an earlier one. The oldest intent comes first.
    """

    def rank(record: Record) -> tuple[int, float, TaskKey]:
        if record.state in PAID and record.render is not None:
            submitted_at = parse_time(record.render["submitted_at"]).timestamp()
            return (0 if record.state is RecordState.LANDED else 1, -submitted_at, record.key)
        return (2, parse_time(record.intent_at).timestamp(), record.key)

    return sorted(records, key=rank)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Submit a new render with this take."""

    take: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt:
    """Continue with the recorded render. ``landed``: its file was saved already."""

    landed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """Stop before anything is paid. ``unknown``: the outcome of an earlier submit is unknown."""

    unknown: bool


def decide_start(
    record: Record | None,
    *,
    requested: str,
    take: int,
    max_tries: int,
    on_rerun: str = "adopt",
    on_unknown_submit: str = "fail",
    on_lost: str = "fail",
) -> Start | Adopt | Refuse:
    """Decide what a task instance does with its own record.

    :param requested: fingerprint of the request as its author writes it now. ``take`` is the author's too.
    :param max_tries: Airflow's number now. If the record has another one, the task was cleared.
    """
    if record is None:
        return Start(take=take)
    changed = record.requested != requested
    same_take = take if changed else record.take
    if record.state is RecordState.FAILED:
        return Start(take=same_take)
    cleared = record.cleared_since(max_tries)
    if record.state is RecordState.INTENT:
        if on_unknown_submit != "resubmit":
            return Refuse(unknown=True)
        return Refuse(unknown=False) if changed and not cleared else Start(take=same_take)
    if changed:
        return Start(take=take) if cleared else Refuse(unknown=False)
    if cleared and on_rerun == "render":
        return Start(take=record.take + 1)
    if record.state is RecordState.LOST and on_lost == "resubmit":
        return Start(take=record.take)
    return Adopt(landed=record.state is RecordState.LANDED)
