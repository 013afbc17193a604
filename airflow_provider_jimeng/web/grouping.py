# SPDX-License-Identifier: Apache-2.0
"""Task instances grouped by run and render: several tasks of a run can have one render, and several runs too."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_jimeng.core.outcomes import Money, money_of
from airflow_provider_jimeng.web import tables
from airflow_provider_jimeng.web.entries import Entry, Stored, entry_of, entry_of_stored

if TYPE_CHECKING:
    from airflow_provider_jimeng.web.tables import Identity, Left, TaskRef

GroupKey = tuple[str, str, object]


class Payer(NamedTuple):
    """A run that has a render; the first of several has paid for it."""

    pushed_at: datetime
    run: int
    dag_id: str


class Shown(NamedTuple):
    """One render of one run, for which several tasks can stand. ``payers``: all runs that have it, if there are several."""

    entry: Entry
    entries: tuple[Entry, ...]
    billed: bool
    money: Money
    payer: Payer
    payers: tuple[Payer, ...]

    def paid_here(self, readable: Collection[str]) -> bool:
        """Return whether, of the runs that a reader can see, this one had the render first."""
        return not self.payers or self.payer == min(
            payer for payer in self.payers if payer.dag_id in readable
        )

    @property
    def order(self) -> tuple[datetime, int, str, int]:
        """Sorts by time, and renders of the same moment always in the same order."""
        return (self.entry.moment, *self.entry.identity)


@dataclass(slots=True)
class Groups:
    """Entries by the run and the render that they belong to."""

    by_identity: dict[Identity, Entry] = field(default_factory=dict)
    identities: dict[TaskRef, Identity] = field(default_factory=dict)
    going_on: set[Identity] = field(default_factory=set)
    groups: dict[GroupKey, dict[Identity, Entry]] = field(default_factory=dict)
    renders: dict[str, tuple[GroupKey, ...]] = field(default_factory=dict)
    shown: dict[GroupKey, Shown] = field(default_factory=dict)

    def put(self, entries: Iterable[Entry], gone: Iterable[Identity] = ()) -> None:
        """Replace entries by newer ones, and remove those that are gone."""
        touched: set[GroupKey] = set()
        for identity in gone:
            self._remove(identity, touched)
        for entry in entries:
            self._remove(entry.identity, touched)
            key = _group_of(entry)
            self.by_identity[entry.identity] = entry
            self.identities[entry.ref] = entry.identity
            if entry.task_state is None or entry.task_state in tables.ACTIVE:
                self.going_on.add(entry.identity)
            self.groups.setdefault(key, {})[entry.identity] = entry
            if entry.render_id is not None:
                runs = self.renders.get(entry.render_id, ())
                if key not in runs:
                    self.renders[entry.render_id] = (*runs, key)
            touched.add(key)
        shared = {key for one in touched if isinstance(one[2], str) for key in self.renders.get(one[2], ())}
        for key in touched | shared:
            self._show(key)

    def _remove(self, identity: Identity, touched: set[GroupKey]) -> None:
        entry = self.by_identity.pop(identity, None)
        if entry is None:
            return
        key = _group_of(entry)
        touched.add(key)
        if self.identities.get(entry.ref) == identity:
            del self.identities[entry.ref]
        self.going_on.discard(identity)
        del self.groups[key][identity]
        if not self.groups[key]:
            del self.groups[key]
            if entry.render_id is not None:
                runs = tuple(run for run in self.renders[entry.render_id] if run != key)
                if runs:
                    self.renders[entry.render_id] = runs
                else:
                    del self.renders[entry.render_id]

    def _show(self, key: GroupKey) -> None:
        entries = tuple(entry for entry in self.groups.get(key, {}).values() if entry.shown)
        if not entries:
            self.shown.pop(key, None)
            return
        best = min(entries, key=_place) if len(entries) > 1 else entries[0]
        billed = any(entry.billed for entry in entries)
        runs = self.renders.get(best.render_id, ()) if best.render_id is not None else ()
        self.shown[key] = Shown(
            entry=best,
            entries=entries,
            billed=billed,
            money=money_of(
                done=best.state == "landed" or billed,
                over=best.state == "failed",
                outcome=best.outcome,
                refused=best.refused,
            ),
            payer=_payer(entries),
            payers=tuple(_payer(self.groups[run].values()) for run in runs) if len(runs) > 1 else (),
        )


def renders_of(lefts: Iterable[Left]) -> list[Shown]:
    """Return the renders of some task instances, newest first, without an index."""
    by_task: dict[Identity, list[Left]] = {}
    for left in lefts:
        by_task.setdefault(left.identity, []).append(left)
    groups = Groups()
    groups.put(map(entry_of, by_task.values()))
    return sorted(groups.shown.values(), key=lambda shown: shown.order, reverse=True)


def shown_waiting(stored: Stored) -> Shown:
    """Return a render that waits for its submit."""
    ref = stored.ref
    entry = entry_of_stored(stored, identity=(0, f"{ref.run_id} {ref.task_id}", ref.map_index))
    return Shown(
        entry=entry,
        entries=(entry,),
        billed=False,
        money=Money.EXPECTED,
        payer=Payer(stored.pushed_at, 0, ref.dag_id),
        payers=(),
    )


def _group_of(entry: Entry) -> GroupKey:
    own = entry.identity if entry.render_id is None else entry.render_id
    return entry.ref.dag_id, entry.ref.run_id, own


def _payer(entries: Iterable[Entry]) -> Payer:
    first = min(entries, key=lambda entry: entry.pushed_at)
    return Payer(first.pushed_at, first.identity[0], first.ref.dag_id)


def _place(entry: Entry) -> tuple[bool, float, str, int]:
    """The task that saved the video stands for its render, or else the latest one."""
    return entry.state != "landed", -entry.pushed_at.timestamp(), entry.identity[1], entry.identity[2]
