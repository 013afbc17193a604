# SPDX-License-Identifier: Apache-2.0
"""Task instances grouped by run and render: several tasks of a run can have one render, and several runs too."""

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
    from airflow_provider_jimeng.web.tables import Identity, Left, TaskRef

GroupKey = tuple[str, str, object]


class Facets(NamedTuple):
    """What renders are counted by. ``replaced``: they are no renders of their own, and only cost money."""

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
        """The facets that can be filtered by."""
        return self[:6]


class Payer(NamedTuple):
    """A run that has a render; the first of several has paid for it."""

    pushed_at: datetime
    run: int
    dag_id: str


class Shown(NamedTuple):
    """One render of one run, for which several tasks can stand.

    ``order`` sorts by time, and renders of the same moment always in the same order. ``payers``: all runs that have the
    render, if there are several. ``text`` and ``names_at`` are those of all its entries.
    """

    entry: Entry
    entries: tuple[Entry, ...]
    order: tuple[datetime, int, str, int]
    facets: Facets
    text: str
    names_at: int
    billed: bool
    replaced: tuple[Replaced, ...]
    payers: tuple[Payer, ...]
    paid_here: bool = True

    def has(self, word: str) -> bool:
        """Return whether a casefolded word is anywhere in the prompt, or begins a word of a name or id."""
        at = self.text.find(word)
        while at >= self.names_at and (before := self.text[at - 1]).isascii() and before.isalnum():
            at = self.text.find(word, at + 1)
        return at >= 0

    def seen_by(self, readable: frozenset[str]) -> Shown:
        """Return the render as one reader sees it: paid elsewhere, if a run that the reader can see had it first."""
        if not self.payers or _payer(self.entries) == min(
            one for one in self.payers if one.dag_id in readable
        ):
            return self
        return self._replace(paid_here=False, facets=self.facets._replace(money=Money.PAID_ELSEWHERE))


@dataclass(slots=True)
class Groups:
    """Entries by the run and the render that they belong to. Equal facets of renders are one object."""

    by_identity: dict[Identity, Entry] = field(default_factory=dict)
    identities: dict[TaskRef, Identity] = field(default_factory=dict)
    going_on: set[Identity] = field(default_factory=set)
    groups: dict[GroupKey, tuple[Entry, ...]] = field(default_factory=dict)
    renders: dict[str, tuple[GroupKey, ...]] = field(default_factory=dict)
    shown: dict[GroupKey, Shown] = field(default_factory=dict)
    _facets: dict[Facets, Facets] = field(default_factory=dict)
    _sorted: list[Shown] = field(default_factory=list)
    _changed: set[GroupKey] = field(default_factory=set)
    _outdated: set[int] = field(default_factory=set)

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
            self.groups[key] = (*self.groups.get(key, ()), entry)
            if entry.render_id is not None:
                runs = self.renders.get(entry.render_id, ())
                if key not in runs:
                    self.renders[entry.render_id] = (*runs, key)
            touched.add(key)
        shared = [self.renders.get(key[2], ()) for key in touched if isinstance(key[2], str)]
        touched.update(*(keys for keys in shared if len(keys) > 1))
        for key in touched:
            self._show(key)

    def of(self, ref: TaskRef) -> Shown | None:
        """Return the render that a task instance has."""
        identity = self.identities.get(ref)
        return None if identity is None else self.shown.get(_group_of(self.by_identity[identity]))

    def newest_first(self) -> list[Shown]:
        """Return all renders in order. Only what changed since the last call moves, so that sorting takes little time."""
        if self._changed:
            kept = [shown for shown in self._sorted if id(shown) not in self._outdated]
            kept += [self.shown[key] for key in self._changed if key in self.shown]
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
        self.going_on.discard(identity)
        self.groups[key] = tuple(one for one in self.groups[key] if one is not entry)
        if not self.groups[key]:
            del self.groups[key]
            if entry.render_id is not None:
                runs = tuple(run for run in self.renders[entry.render_id] if run != key)
                if runs:
                    self.renders[entry.render_id] = runs
                else:
                    del self.renders[entry.render_id]

    def _show(self, key: GroupKey) -> None:
        self._changed.add(key)
        if (old := self.shown.pop(key, None)) is not None:
            self._outdated.add(id(old))
        entries = tuple([entry for entry in self.groups.get(key, ()) if entry.shown])
        if not entries:
            return
        best = min(entries, key=_place) if len(entries) > 1 else entries[0]
        runs = self.renders.get(best.render_id, ()) if best.render_id is not None else ()
        payers = tuple(_payer(self.groups[run]) for run in runs) if len(runs) > 1 else ()
        self.shown[key] = _shown(best, entries, payers, self._facets)


def renders_of(lefts: Iterable[Left]) -> list[Shown]:
    """Return the renders of some task instances, newest first, without an index."""
    by_task: dict[Identity, list[Left]] = {}
    for left in lefts:
        by_task.setdefault(left.identity, []).append(left)
    groups = Groups()
    groups.put(map(entry_of, by_task.values()))
    return groups.newest_first()


def shown_waiting(stored: Stored) -> Shown:
    """Return a render that waits for its submit."""
    ref = stored.ref
    entry = entry_of_stored(stored, identity=(0, f"{ref.run_id} {ref.task_id}", ref.map_index))
    return _shown(entry, (entry,), (), {})


def _shown(
    best: Entry, entries: tuple[Entry, ...], payers: tuple[Payer, ...], known: dict[Facets, Facets]
) -> Shown:
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
    return Shown(
        entry=best,
        entries=entries,
        order=(best.moment, *best.identity),
        facets=known.setdefault(facets, facets),
        text=text,
        names_at=names_at,
        billed=billed,
        replaced=tuple([item for entry in entries for item in entry.replaced]),
        payers=payers,
    )


def _group_of(entry: Entry) -> GroupKey:
    own = entry.identity if entry.render_id is None else entry.render_id
    return entry.ref.dag_id, entry.ref.run_id, own


def _payer(entries: Iterable[Entry]) -> Payer:
    first = min(entries, key=attrgetter("pushed_at"))
    return Payer(first.pushed_at, first.identity[0], first.ref.dag_id)


def _place(entry: Entry) -> tuple[bool, float, str, int]:
    """The task that saved the video stands for its render, or else the latest one."""
    return entry.state != "landed", -entry.pushed_at.timestamp(), entry.identity[1], entry.identity[2]
