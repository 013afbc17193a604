# SPDX-License-Identifier: Apache-2.0
"""The index of the renders of a period, in memory: one short entry for each task instance.

The index is updated before each answer. An update takes two short queries, whatever else runs in Airflow: one counts our
XComs, and one reads the unfinished task instances. If the count has changed, the latest XComs are read. If they do not
explain the change, and also every few seconds, a mark of each DAG tells whether its XComs have changed. Only DAGs with
another mark are read again. Each API server process has an index of its own, which does not depend on other processes.

The index knows no access rights. Each request leaves out what its reader cannot see.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.web import tables
from airflow_provider_jimeng.web.entries import Entry, Pushes, Stored, entry_of, waiting_render
from airflow_provider_jimeng.web.grouping import Groups, RunRender, waiting_run_render

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from airflow_provider_jimeng.web.tables import ActiveTask, Identity, Mark, TaskRef, XComRow

DEFAULT_DAYS = 30
MOST_ENTRIES = 100_000
"""The limit of the index, about 200 MB. If a period has more entries, the index begins later."""
_MARGIN = timedelta(days=1)
"""A render belongs to the time of its submit. Its XCom is pushed at another time."""
_OVERLAP = timedelta(minutes=2)
"""How long before the newest known XCom reading begins. Transactions can end in another order than they begin."""
_WIDE_SECONDS = 600.0
"""How long a longer period than the default one is kept after the last request for it."""
_KEPT_RESULTS = 32
TRUST_SECONDS = 15.0
"""The longest time between two comparisons of the marks. An XCom can be replaced without a change of its task."""
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The content of the index at one moment: all renders, newest first, and the time of each DAG's newest XCom."""

    renders: Sequence[RunRender]
    waiting: Mapping[TaskRef, Stored]
    newest: Mapping[str, datetime]
    since: datetime
    _results: dict[Any, Any] = field(default_factory=dict)

    def cached(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """Return what ``compute`` returns. The last results are kept, so that equal requests of several readers share them."""
        with suppress(KeyError):
            return self._results[key]
        result = compute()
        if len(self._results) >= _KEPT_RESULTS:
            self._results.clear()
        self._results[key] = result
        return result


class Index:
    """The index of one process. Its methods can be called from any thread."""

    def __init__(self, *, most: int = MOST_ENTRIES, trust_seconds: float = TRUST_SECONDS) -> None:
        self._most, self._trust_seconds = most, trust_seconds
        self._capped = False
        self._lock = threading.Lock()
        self._updated_at = 0.0
        self._wide_until = 0.0
        self._reset(_NEVER)
        self._snapshot: Snapshot | None = None
        self._version = self._snapshot_version = 0

    def update(self, session: Session, since: datetime | None = None) -> Snapshot:
        """Update the index and return its content. Requests that come during an update share the next one.

        :param since: start of the period to read, by default 30 days before the newest render.
        """
        requested_at = time.monotonic()
        with self._lock:
            snapshot = self._snapshot
            if (
                snapshot is None
                or self._updated_at < requested_at
                or (since is not None and since < self._since)
            ):
                self._updated_at = time.monotonic()
                try:
                    snapshot = self._update(session, since)
                except BaseException:
                    self._reset(_NEVER)  # a part of the XComs is not a valid content
                    self._snapshot = None
                    raise
            return snapshot

    def of(self, ref: TaskRef) -> RunRender | None:
        """Return the render that a task instance had at the last update."""
        with self._lock:
            return self._groups.of(ref)

    def correct(self, rows: Mapping[Identity, Sequence[XComRow]]) -> bool:
        """Update the entries of some tasks from XComs that were read just now. Return whether an entry has changed."""
        with self._lock:
            before = self._version
            known = self._groups.by_identity
            deleted = [identity for identity, of_task in rows.items() if not of_task and identity in known]
            self._put([entry_of(of_task) for of_task in rows.values() if of_task], deleted)
            changed = self._version != before
            if changed:
                self._trusted_until = 0.0
            return changed

    # --- with the lock held -------------------------------------------------------------------------------------------

    def _reset(self, since: datetime) -> None:
        self._since = since
        self._newest: dict[str, datetime] = {}
        self._runs: Counter[str] = Counter()
        self._pushes = self._outside = 0
        self._groups = Groups()
        self._waiting: dict[TaskRef, tuple[ActiveTask, Stored]] = {}
        self._loaded = since != _NEVER
        self._trusted_until = 0.0

    def _update(self, session: Session, since: datetime | None) -> Snapshot:
        pushes, now = tables.pushes(session), time.monotonic()
        trusted = self._loaded and now < self._trusted_until and (since is None or since >= self._since)
        if trusted and pushes - self._pushes != self._outside:
            newest = max(self._newest.values(), default=_NEVER)
            self._apply(session, tables.rows_since(session, max(self._since, newest - _OVERLAP)))
        if not trusted or pushes - self._pushes != self._outside:
            self._compare_marks(session, since)
            self._outside, self._trusted_until = pushes - self._pushes, now + self._trust_seconds
        active = tables.active(session, self._newest.keys())
        self._read_again(session, self._changed_tasks(active))
        self._update_waiting(session, active)
        if self._snapshot is None or self._version != self._snapshot_version:
            self._snapshot, self._snapshot_version = self._new_snapshot(), self._version
        return self._snapshot

    def _compare_marks(self, session: Session, since: datetime | None) -> None:
        marks = tables.marks(session, self._since)
        start = self._start(session, marks, since)
        if not self._loaded or start != self._since:
            if self._loaded and start > self._since:
                self._begin_later(start)
            else:
                self._reset(start)
            self._version += 1
            marks = tables.marks(session, start)
        self._read_changed_dags(session, marks)

    def _begin_later(self, since: datetime) -> None:
        """Remove what was pushed before a time. So a new day does not make the index read all others again."""
        known = self._groups.by_identity
        self._since = since
        self._groups.put(
            (), deleted=[identity for identity, entry in known.items() if not self._recent(entry)]
        )
        self._runs, self._pushes = Counter(), 0
        self._count(known.values(), 1)

    def _start(self, session: Session, marks: dict[str, Mark], since: datetime | None) -> datetime:
        """Return the time from which XComs are read. It is the start of a day, so that it rarely changes."""
        newest = max((mark.newest for mark in marks.values()), default=_NEVER)
        default = first_day(newest) - _MARGIN
        now = time.monotonic()
        if since is not None and since - _MARGIN < default:
            self._wide_until = now + _WIDE_SECONDS
            start = midnight(since - _MARGIN)
            start = min(start, self._since) if self._loaded else start
        elif now < self._wide_until and self._loaded:
            start = min(default, self._since)
        else:
            start = default
        total = sum(mark.pushes for mark in marks.values())
        if self._loaded and self._capped and start <= self._since and total <= self._most:
            return self._since
        if start != self._since or total > self._most:
            first = tables.oldest_of(session, self._most * 4 // 5)
            self._capped = first is not None and first > start
            start = first if first is not None and self._capped else start
        return start

    def _read_changed_dags(self, session: Session, marks: dict[str, Mark]) -> None:
        known = {dag: (self._runs[dag], self._newest.get(dag)) for dag in marks}
        changed = [dag for dag, mark in marks.items() if (mark.runs, mark.newest) != known[dag]]
        if recent := {dag for dag in changed if marks[dag].newest >= self._since}:
            since = min(self._newest.get(dag, _NEVER + _OVERLAP) for dag in recent) - _OVERLAP
            dag_ids = None if len(recent) == len(marks) else recent
            self._apply(session, tables.rows_since(session, max(self._since, since), dag_ids))
        for dag in marks.keys() | self._runs.keys():
            if self._runs[dag] != (marks[dag].runs if dag in marks else 0):
                self._compare_dag(session, dag)
        self._newest = {dag: mark.newest for dag, mark in marks.items()}

    def _apply(self, session: Session, rows: Iterable[XComRow]) -> None:
        """Add new XComs. If a task instance has several, all of them are read again, because they belong together."""
        fresh: dict[Identity, Entry] = {}
        several = set()
        for row in rows:
            if row.identity in fresh or row.identity in self._groups.by_identity:
                several.add(row.identity)
            else:
                fresh[row.identity] = entry_of([row])
        self._put(fresh.values())
        self._read_again(session, several)

    def _compare_dag(self, session: Session, dag_id: str) -> None:
        """Read again what was deleted from a DAG, or pushed by a transaction that ended late."""
        stored = tables.pushes_of(session, dag_id, self._since)
        indexed = {
            identity: entry
            for identity, entry in self._groups.by_identity.items()
            if entry.ref.dag_id == dag_id
        }
        stale = [i for i, entry in indexed.items() if self._recent(entry) != stored.get(i, ())]
        self._read_again(session, [*stale, *(stored.keys() - indexed.keys())])

    def _changed_tasks(self, active: dict[TaskRef, ActiveTask]) -> list[Identity]:
        """Return the task instances whose state or try has changed since the last update."""
        groups = self._groups
        changed = [identity for identity in groups.active if groups.by_identity[identity].ref not in active]
        for ref, now in active.items():
            identity = groups.identities.get(ref)
            if identity is not None:
                entry = groups.by_identity[identity]
                if (now.state, now.try_number) != (entry.task_state, entry.try_number):
                    changed.append(identity)
        return changed

    def _read_again(self, session: Session, identities: Collection[Identity]) -> None:
        if not identities:
            return
        by_task: dict[Identity, list[XComRow]] = {}
        for row in tables.rows_of_tasks(session, list(identities)):
            by_task.setdefault(row.identity, []).append(row)
        self._put(map(entry_of, by_task.values()), deleted=[i for i in identities if i not in by_task])

    def _put(self, entries: Iterable[Entry], deleted: Iterable[Identity] = ()) -> None:
        entries, deleted, known = list(entries), list(deleted), self._groups.by_identity
        changed = [entry for entry in entries if known.get(entry.identity) != entry]
        outdated = (*deleted, *(entry.identity for entry in changed))
        self._count((known[identity] for identity in outdated if identity in known), -1)
        self._count(changed, 1)
        for entry in changed:
            dag_id, newest = entry.ref.dag_id, max(at for _, at in entry.pushes)
            self._newest[dag_id] = max(newest, self._newest.get(dag_id, newest))
        if changed or deleted:
            self._groups.put(changed, deleted)
            self._version += 1

    def _count(self, entries: Iterable[Entry], sign: int) -> None:
        for entry in entries:
            pushes = len(self._recent(entry))
            self._pushes += sign * pushes
            self._runs[entry.ref.dag_id] += sign * pushes * entry.identity[0]

    def _recent(self, entry: Entry) -> Pushes:
        return tuple(push for push in entry.pushes if push[1] >= self._since)

    def _update_waiting(self, session: Session, active: dict[TaskRef, ActiveTask]) -> None:
        waits = {ref: now for ref, now in active.items() if now.waits and not self._has_entry(ref)}
        new = [ref for ref, now in waits.items() if self._waiting.get(ref, (None,))[0] != now]
        if not new and len(waits) == len(self._waiting):
            return
        arguments = tables.arguments_of(session, new)
        seen_at = datetime.now(UTC)
        for ref in new:
            before = self._waiting.get(ref)
            at = seen_at if before is None else before[1].pushed_at
            self._waiting[ref] = waits[ref], waiting_render(ref, waits[ref], arguments.get(ref, {}), at)
        self._waiting = {ref: self._waiting[ref] for ref in waits}
        self._version += 1

    def _has_entry(self, ref: TaskRef) -> bool:
        identity = self._groups.identities.get(ref)
        return identity is not None and self._groups.by_identity[identity].shown

    def _new_snapshot(self) -> Snapshot:
        stored = {ref: one for ref, (_, one) in self._waiting.items()}
        renders = self._groups.newest_first()
        if stored:
            renders = [*renders, *map(waiting_run_render, stored.values())]
            renders.sort(key=attrgetter("order"), reverse=True)
        newest = dict(self._newest)
        for ref, one in stored.items():
            newest.setdefault(ref.dag_id, one.pushed_at)
        return Snapshot(renders=renders, waiting=stored, newest=newest, since=self._since)


def midnight(moment: datetime) -> datetime:
    """Return the start of a day, in UTC."""
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def first_day(newest: datetime) -> datetime:
    """Return the start of the default period, by the time of the newest render."""
    return midnight(newest) - timedelta(days=DEFAULT_DAYS) if newest > _NEVER else _NEVER
