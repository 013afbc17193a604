# SPDX-License-Identifier: Apache-2.0
"""The renders of each run: several tasks of a run can have one render, and several runs can share it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_jimeng.core.outcomes import Money, money_of
from airflow_provider_jimeng.web import tables
from airflow_provider_jimeng.web.entries import Entry, Replaced, Stored, entry_of, entry_of_stored

if TYPE_CHECKING:
    from airflow_provider_jimeng.web.tables import Identity, TaskRef, XComRow

GroupKey = tuple[str, str, object]


class Facets(NamedTuple):
    """The values by which renders are counted. ``replaced``: a later render took their place, and only their cost counts."""

    dag_id: str
    run_id: str
    state: str
    model: str | None
    ratio: str | None
    conn_id: str | None
    money: Money
    amount: Decimal | None
    seconds: Decimal
    replaced: bool = False

    @property
    def choices(self) -> tuple[str | None, ...]:
        """The facets that a reader can filter by."""
        return self[:6]


class SharingRun(NamedTuple):
    """One of several runs that have the same render. The first of them has paid for it."""

    pushed_at: datetime
    run: int
    dag_id: str


class RunRender(NamedTuple):
    """One render of one run. Several tasks of the run can have it.

    ``order`` sorts by time; renders of the same moment always have the same order. ``sharing_runs`` are all runs that have
    the render, and empty if there is only one. ``text`` and ``names_at`` are those of all entries.
    """

    entry: Entry
    entries: tuple[Entry, ...]
    order: tuple[datetime, int, str, int]
    facets: Facets
    text: str
    names_at: int
    billed: bool
    replaced: tuple[Replaced, ...]
    sharing_runs: tuple[SharingRun, ...]
    paid_here: bool = True

    def has(self, word: str) -> bool:
        """Return whether the prompt contains a casefolded word, or a word of a name or id begins with it."""
        at = self.text.find(word)
        while at >= self.names_at and (before := self.text[at - 1]).isascii() and before.isalnum():
            at = self.text.find(word, at + 1)
        return at >= 0

    def for_reader(self, readable: frozenset[str]) -> RunRender:
        """Return the render as one reader sees it: paid elsewhere if another run that they can see had it first."""
        if not self.sharing_runs or _sharing_run(self.entries) == min(
            run for run in self.sharing_runs if run.dag_id in readable
        ):
            return self
        return self._replace(paid_here=False, facets=self.facets._replace(money=Money.PAID_ELSEWHERE))


@dataclass(slots=True)
class Groups:
    """Entries, grouped by run and render. Equal facets are one object, so that ``id()`` distinguishes them."""

    by_identity: dict[Identity, Entry] = field(default_factory=dict)
    identities: dict[TaskRef, Identity] = field(default_factory=dict)
    active: set[Identity] = field(default_factory=set)
    by_key: dict[GroupKey, tuple[Entry, ...]] = field(default_factory=dict)
    keys_by_render_id: dict[str, tuple[GroupKey, ...]] = field(default_factory=dict)
    run_renders: dict[GroupKey, RunRender] = field(default_factory=dict)
    _facets: dict[Facets, Facets] = field(default_factory=dict)
    _sorted: list[RunRender] = field(default_factory=list)
    _changed: set[GroupKey] = field(default_factory=set)
    _outdated: set[int] = field(default_factory=set)

    def put(self, entries: Iterable[Entry], deleted: Iterable[Identity] = ()) -> None:
        """Add or replace entries, and remove those of deleted XComs."""
        touched: set[GroupKey] = set()
        for identity in deleted:
            self._remove(identity, touched)
        for entry in entries:
            self._remove(entry.identity, touched)
            key = _group_of(entry)
            self.by_identity[entry.identity] = entry
            self.identities[entry.ref] = entry.identity
            if entry.task_state is None or entry.task_state in tables.ACTIVE:
                self.active.add(entry.identity)
            self.by_key[key] = (*self.by_key.get(key, ()), entry)
            if entry.render_id is not None:
                runs = self.keys_by_render_id.get(entry.render_id, ())
                if key not in runs:
                    self.keys_by_render_id[entry.render_id] = (*runs, key)
            touched.add(key)
        shared = [self.keys_by_render_id.get(key[2], ()) for key in touched if isinstance(key[2], str)]
        touched.update(*(keys for keys in shared if len(keys) > 1))
        for key in touched:
            self._update(key)

    def of(self, ref: TaskRef) -> RunRender | None:
        """Return the render that a task instance has."""
        identity = self.identities.get(ref)
        return None if identity is None else self.run_renders.get(_group_of(self.by_identity[identity]))

    def newest_first(self) -> list[RunRender]:
        """Return all renders, newest first. Only those that changed since the last call move, so that sorting is fast."""
        if self._changed:
            kept = [render for render in self._sorted if id(render) not in self._outdated]
            kept += [self.run_renders[key] for key in self._changed if key in self.run_renders]
            self._sorted = sorted(kept, key=attrgetter("order"), reverse=True)
            self._changed, self._outdated = set(), set()
        return self._sorted

    def _remove(self, identity: Identity, touched: set[GroupKey]) -> None:
        entry = self.by_identity.pop(identity, None)
        if entry is None:
            return
        key = _group_of(entry)
        touched.add(key)
        if self.identities.get(entry.ref) == identity:
            del self.identities[entry.ref]
        self.active.discard(identity)
        self.by_key[key] = tuple(one for one in self.by_key[key] if one is not entry)
        if not self.by_key[key]:
            del self.by_key[key]
            if entry.render_id is not None:
                runs = tuple(run for run in self.keys_by_render_id[entry.render_id] if run != key)
                if runs:
                    self.keys_by_render_id[entry.render_id] = runs
                else:
                    del self.keys_by_render_id[entry.render_id]

    def _update(self, key: GroupKey) -> None:
        self._changed.add(key)
        if (old := self.run_renders.pop(key, None)) is not None:
            self._outdated.add(id(old))
        entries = tuple([entry for entry in self.by_key.get(key, ()) if entry.shown])
        if not entries:
            return
        best = min(entries, key=_place) if len(entries) > 1 else entries[0]
        runs = self.keys_by_render_id.get(best.render_id, ()) if best.render_id is not None else ()
        sharing_runs = tuple(_sharing_run(self.by_key[run]) for run in runs) if len(runs) > 1 else ()
        self.run_renders[key] = _run_render(best, entries, sharing_runs, self._facets)


def renders_of(rows: Iterable[XComRow]) -> list[RunRender]:
    """Return the renders of some task instances, newest first, without an index."""
    by_task: dict[Identity, list[XComRow]] = {}
    for row in rows:
        by_task.setdefault(row.identity, []).append(row)
    groups = Groups()
    groups.put(map(entry_of, by_task.values()))
    return groups.newest_first()


def waiting_run_render(stored: Stored) -> RunRender:
    """Return a render that is not submitted yet."""
    ref = stored.ref
    entry = entry_of_stored(stored, identity=(0, f"{ref.run_id} {ref.task_id}", ref.map_index))
    return _run_render(entry, (entry,), (), {})


def _run_render(
    best: Entry, entries: tuple[Entry, ...], sharing_runs: tuple[SharingRun, ...], equal: dict[Facets, Facets]
) -> RunRender:
    billed, ref = any(entry.billed for entry in entries), best.ref
    money = money_of(
        done=best.state == "landed" or billed,
        over=best.state == "failed",
        outcome=best.outcome,
        refused=best.refused,
    )
    text, names_at = best.text, best.names_at
    if len(entries) > 1:
        words = "".join(entry.text[: entry.names_at] for entry in entries)
        names = "\n".join(entry.text[entry.names_at :] for entry in entries)
        text, names_at = words + names, len(words)
    facets = Facets(
        *(ref.dag_id, ref.run_id, best.state, best.model, best.ratio, best.conn_id),
        *(money, best.amount, best.seconds),
    )
    return RunRender(
        entry=best,
        entries=entries,
        order=(best.moment, *best.identity),
        facets=equal.setdefault(facets, facets),
        text=text,
        names_at=names_at,
        billed=billed,
        replaced=tuple([item for entry in entries for item in entry.replaced]),
        sharing_runs=sharing_runs,
    )


def _group_of(entry: Entry) -> GroupKey:
    own = entry.identity if entry.render_id is None else entry.render_id
    return entry.ref.dag_id, entry.ref.run_id, own


def _sharing_run(entries: Iterable[Entry]) -> SharingRun:
    first = min(entries, key=attrgetter("pushed_at"))
    return SharingRun(first.pushed_at, first.identity[0], first.ref.dag_id)


def _place(entry: Entry) -> tuple[bool, float, str, int]:
    """Return the key that sorts entries: first the task that saved the video, then the latest ones."""
    return entry.state != "landed", -entry.pushed_at.timestamp(), entry.identity[1], entry.identity[2]
