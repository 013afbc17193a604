# SPDX-License-Identifier: Apache-2.0
"""The renders of a period in memory: one short entry for each task instance, brought up to date before each answer.

A look at the database costs two short queries however many tasks others run: the number of XComs of ours, and the task
instances that go on. If the number changed, the latest XComs are read. If they do not explain it, and after some seconds
anyway, a mark for each DAG tells where something was pushed or deleted, and only that is read again. Each API server process
has an index of its own, and nothing depends on what another process has seen.

The index knows no rights: each reader's request leaves out what that reader cannot see.
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
from airflow_provider_jimeng.web.entries import Entry, Pushes, Stored, entry_of, waiting
from airflow_provider_jimeng.web.grouping import Groups, Shown, shown_waiting

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from airflow_provider_jimeng.web.tables import Identity, Left, Mark, TaskNow, TaskRef

DEFAULT_DAYS = 30
MOST_ENTRIES = 100_000
"""About 200 MB. If there are more in a period, the period begins later."""
_MARGIN = timedelta(days=1)
"""A render counts from its submit, and its XCom is pushed at another moment."""
_OVERLAP = timedelta(minutes=2)
"""XComs are read again from so long before the newest known one: transactions end in another order than they begin."""
_WIDE_SECONDS = 600.0
"""A longer period than the default one is kept so long after it was last asked for."""
_KEPT_RESULTS = 32
TRUST_SECONDS = 15.0
"""The marks are compared at least so often: an XCom can be replaced while its task stays in the same state."""
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What the index held at one moment: all renders, newest first. ``newest`` tells when each DAG last had news of one."""

    renders: Sequence[Shown]
    waiting: Mapping[TaskRef, Stored]
    newest: Mapping[str, datetime]
    since: datetime
    _results: dict[Any, Any] = field(default_factory=dict)

    def once(self, question: Hashable, answer: Callable[[], Any]) -> Any:
        """Return the answer to a question about this snapshot. The last ones are kept, for all readers who ask the same."""
        with suppress(KeyError):
            return self._results[question]
        found = answer()
        if len(self._results) >= _KEPT_RESULTS:
            self._results.clear()
        self._results[question] = found
        return found


class Index:
    """See the module. All methods can be called from any thread."""

    def __init__(self, *, most: int = MOST_ENTRIES, trust_seconds: float = TRUST_SECONDS) -> None:
        self._most, self._trust_seconds = most, trust_seconds
        self._capped = False
        self._lock = threading.Lock()
        self._looked_at = 0.0
        self._wide_until = 0.0
        self._forget(_NEVER)
        self._snapshot: Snapshot | None = None
        self._version = self._taken = 0

    def look(self, session: Session, since: datetime | None = None) -> Snapshot:
        """Return the present state. Requests that wait for the same look share it.

        :param since: begin of the period that is wanted, by default 30 days before the newest render.
        """
        asked = time.monotonic()
        with self._lock:
            snapshot = self._snapshot
            if snapshot is None or self._looked_at < asked or (since is not None and since < self._since):
                self._looked_at = time.monotonic()
                try:
                    snapshot = self._look(session, since)
                except BaseException:
                    self._forget(_NEVER)  # half of what was read is not a state
                    self._snapshot = None
                    raise
            return snapshot

    def of(self, ref: TaskRef) -> Shown | None:
        """Return the render that a task instance had at the last look."""
        with self._lock:
            return self._groups.of(ref)

    def correct(self, lefts: Mapping[Identity, Sequence[Left]]) -> bool:
        """Take in what the tasks of a page have left just now. Return whether something had changed."""
        with self._lock:
            before = self._version
            known = self._groups.by_identity
            gone = [identity for identity, left in lefts.items() if not left and identity in known]
            self._put([entry_of(left) for left in lefts.values() if left], gone)
            changed = self._version != before
            if changed:
                self._trusted_until = 0.0
            return changed

    # --- with the lock held -------------------------------------------------------------------------------------------

    def _forget(self, since: datetime) -> None:
        self._since = since
        self._newest: dict[str, datetime] = {}
        self._runs: Counter[str] = Counter()
        self._pushes = self._elsewhere = 0
        self._groups = Groups()
        self._waiting: dict[TaskRef, tuple[TaskNow, Stored]] = {}
        self._whole = since != _NEVER
        self._trusted_until = 0.0

    def _look(self, session: Session, since: datetime | None) -> Snapshot:
        pushes, now = tables.pushes(session), time.monotonic()
        trusted = self._whole and now < self._trusted_until and (since is None or since >= self._since)
        if trusted and pushes - self._pushes != self._elsewhere:
            newest = max(self._newest.values(), default=_NEVER)
            self._apply(session, tables.left_since(session, max(self._since, newest - _OVERLAP)))
        if not trusted or pushes - self._pushes != self._elsewhere:
            self._read_marked(session, since)
            self._elsewhere, self._trusted_until = pushes - self._pushes, now + self._trust_seconds
        going_on = tables.active(session, self._newest.keys())
        self._read_again(session, self._moved(going_on))
        self._wait(session, going_on)
        if self._snapshot is None or self._version != self._taken:
            self._snapshot, self._taken = self._take(), self._version
        return self._snapshot

    def _read_marked(self, session: Session, since: datetime | None) -> None:
        marks = tables.marks(session, self._since)
        wanted = self._period(session, marks, since)
        if not self._whole or wanted != self._since:
            if self._whole and wanted > self._since:
                self._begin_later(wanted)
            else:
                self._forget(wanted)
            self._version += 1
            marks = tables.marks(session, wanted)
        self._read_news(session, marks)

    def _begin_later(self, since: datetime) -> None:
        """Leave out what was pushed before a time. So a new day costs no new reading of all others."""
        known = self._groups.by_identity
        self._since = since
        self._groups.put((), gone=[one for one, entry in known.items() if not self._recent(entry)])
        self._runs, self._pushes = Counter(), 0
        self._count(known.values(), 1)

    def _period(self, session: Session, marks: dict[str, Mark], since: datetime | None) -> datetime:
        """Return where the index begins: at the start of a day, so that it seldom moves."""
        newest = max((mark.newest for mark in marks.values()), default=_NEVER)
        default = first_day(newest) - _MARGIN
        now = time.monotonic()
        if since is not None and since - _MARGIN < default:
            self._wide_until = now + _WIDE_SECONDS
            wanted = midnight(since - _MARGIN)
            wanted = min(wanted, self._since) if self._whole else wanted
        elif now < self._wide_until and self._whole:
            wanted = min(default, self._since)
        else:
            wanted = default
        total = sum(mark.pushes for mark in marks.values())
        if self._whole and self._capped and wanted <= self._since and total <= self._most:
            return self._since
        if wanted != self._since or total > self._most:
            first = tables.oldest_of(session, self._most * 4 // 5)
            self._capped = first is not None and first > wanted
            wanted = first if first is not None and self._capped else wanted
        return wanted

    def _read_news(self, session: Session, marks: dict[str, Mark]) -> None:
        known = {dag: (self._runs[dag], self._newest.get(dag)) for dag in marks}
        changed = [dag for dag, mark in marks.items() if (mark.runs, mark.newest) != known[dag]]
        if recent := {dag for dag in changed if marks[dag].newest >= self._since}:
            since = min(self._newest.get(dag, _NEVER + _OVERLAP) for dag in recent) - _OVERLAP
            some = None if len(recent) == len(marks) else recent
            self._apply(session, tables.left_since(session, max(self._since, since), some))
        for dag in marks.keys() | self._runs.keys():
            if self._runs[dag] != (marks[dag].runs if dag in marks else 0):
                self._compare(session, dag)
        self._newest = {dag: mark.newest for dag, mark in marks.items()}

    def _apply(self, session: Session, lefts: Iterable[Left]) -> None:
        """Take in XComs. Those of a task instance belong together, so if it has several, all are read again as a whole."""
        fresh: dict[Identity, Entry] = {}
        again = set()
        for left in lefts:
            if left.identity in fresh or left.identity in self._groups.by_identity:
                again.add(left.identity)
            else:
                fresh[left.identity] = entry_of([left])
        self._put(fresh.values())
        self._read_again(session, again)

    def _compare(self, session: Session, dag_id: str) -> None:
        """Find out which XComs of a DAG were deleted, or pushed by a transaction that ended late."""
        there = tables.pushes_of(session, dag_id, self._since)
        here = {
            identity: entry
            for identity, entry in self._groups.by_identity.items()
            if entry.ref.dag_id == dag_id
        }
        stale = [i for i, entry in here.items() if self._recent(entry) != there.get(i, ())]
        self._read_again(session, [*stale, *(there.keys() - here.keys())])

    def _moved(self, going_on: dict[TaskRef, TaskNow]) -> list[Identity]:
        """Return the task instances whose state or try is another one than at the last look."""
        groups = self._groups
        moved = [one for one in groups.going_on if groups.by_identity[one].ref not in going_on]
        for ref, now in going_on.items():
            identity = groups.identities.get(ref)
            if identity is not None:
                entry = groups.by_identity[identity]
                if (now.state, now.try_number) != (entry.task_state, entry.try_number):
                    moved.append(identity)
        return moved

    def _read_again(self, session: Session, identities: Collection[Identity]) -> None:
        if not identities:
            return
        by_task: dict[Identity, list[Left]] = {}
        for left in tables.left_by(session, list(identities)):
            by_task.setdefault(left.identity, []).append(left)
        self._put(map(entry_of, by_task.values()), gone=[i for i in identities if i not in by_task])

    def _put(self, entries: Iterable[Entry], gone: Iterable[Identity] = ()) -> None:
        entries, gone, known = list(entries), list(gone), self._groups.by_identity
        changed = [entry for entry in entries if known.get(entry.identity) != entry]
        outdated = (*gone, *(entry.identity for entry in changed))
        self._count((known[identity] for identity in outdated if identity in known), -1)
        self._count(changed, 1)
        for entry in changed:
            dag_id, newest = entry.ref.dag_id, max(at for _, at in entry.pushes)
            self._newest[dag_id] = max(newest, self._newest.get(dag_id, newest))
        if changed or gone:
            self._groups.put(changed, gone)
            self._version += 1

    def _count(self, entries: Iterable[Entry], sign: int) -> None:
        for entry in entries:
            pushes = len(self._recent(entry))
            self._pushes += sign * pushes
            self._runs[entry.ref.dag_id] += sign * pushes * entry.identity[0]

    def _recent(self, entry: Entry) -> Pushes:
        return tuple(push for push in entry.pushes if push[1] >= self._since)

    def _wait(self, session: Session, going_on: dict[TaskRef, TaskNow]) -> None:
        waits = {ref: now for ref, now in going_on.items() if now.waits and not self._told(ref)}
        new = [ref for ref, now in waits.items() if self._waiting.get(ref, (None,))[0] != now]
        if not new and len(waits) == len(self._waiting):
            return
        arguments = tables.arguments_of(session, new)
        seen_at = datetime.now(UTC)
        for ref in new:
            before = self._waiting.get(ref)
            at = seen_at if before is None else before[1].pushed_at
            self._waiting[ref] = waits[ref], waiting(ref, waits[ref], arguments.get(ref, {}), at)
        self._waiting = {ref: self._waiting[ref] for ref in waits}
        self._version += 1

    def _told(self, ref: TaskRef) -> bool:
        identity = self._groups.identities.get(ref)
        return identity is not None and self._groups.by_identity[identity].shown

    def _take(self) -> Snapshot:
        stored = {ref: one for ref, (_, one) in self._waiting.items()}
        renders = self._groups.newest_first()
        if stored:
            renders = [*renders, *map(shown_waiting, stored.values())]
            renders.sort(key=attrgetter("order"), reverse=True)
        newest = dict(self._newest)
        for ref, one in stored.items():
            newest.setdefault(ref.dag_id, one.pushed_at)
        return Snapshot(renders=renders, waiting=stored, newest=newest, since=self._since)


def midnight(moment: datetime) -> datetime:
    """Return the begin of a day, in UTC."""
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def first_day(newest: datetime) -> datetime:
    """Return where the default period begins whose newest render is of this moment."""
    return midnight(newest) - timedelta(days=DEFAULT_DAYS) if newest > _NEVER else _NEVER
