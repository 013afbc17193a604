# SPDX-License-Identifier: Apache-2.0
"""The renders that a reader asks for: filters, search, order, counts, and the payloads of one page.

A render is an XCom with the key ``jimeng_render``. Its manifest is the ``return_value`` of the same task instance. If
nothing was submitted, the task leaves ``jimeng_refusal`` instead; if the response to a submit was lost, it leaves
``jimeng_intent``. Several tasks of a run can have the same render (submit, sensor, download): the pages show the task that
saved the file, or else the latest one. Several runs can have the same render: the run that had it first paid for it.

All but the payloads comes from the index (:mod:`.index`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_jimeng.core.money import Money, money_of_replaced
from airflow_provider_jimeng.web import tables
from airflow_provider_jimeng.web.entries import Replaced, Stored, stored_of
from airflow_provider_jimeng.web.grouping import Shown, renders_of
from airflow_provider_jimeng.web.index import Index, first_day
from airflow_provider_jimeng.web.tables import TaskRef

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from airflow_provider_jimeng.web.index import Snapshot
    from airflow_provider_jimeng.web.tables import Identity, Left

__all__ = [
    "Facets",
    "Filters",
    "Found",
    "Group",
    "Match",
    "Stored",
    "TaskRef",
    "dag_ids",
    "facet_of",
    "facet_values",
    "find",
    "find_page",
    "groups",
    "neighbours",
    "one",
    "one_of_run",
    "page",
    "storage_connection",
    "usual_seconds",
    "words_of",
]

_ESTIMATE_SAMPLE = 50
_KEPT_RESULTS = 16
_MOST_LOOKS = 3
"""How often a page is read again if the index was wrong about a task of it."""
_WORDS = re.compile(r'"([^"]+)"|“([^”]+)”|([^\s"“”]+)')
_SNAPSHOT = "jimeng_snapshot"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which renders to show. ``readable`` names the DAGs that the reader can see; an empty tuple and ``None`` mean "any".

    Without ``since`` it is the 30 days before the newest render, unless ``run_ids`` names the runs.
    """

    readable: frozenset[str]
    dag_ids: tuple[str, ...] = ()
    run_ids: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    ratios: tuple[str, ...] = ()
    conn_ids: tuple[str, ...] = ()
    text: str = ""
    prompt: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    sort: str = "newest"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """How many renders have these facets."""

    facets: Facets
    count: int


class Match(NamedTuple):
    """A render that matches, as one reader sees it."""

    shown: Shown
    paid_here: bool

    @property
    def money(self) -> Money:
        """What the render means for the bill."""
        return self.shown.money if self.paid_here else Money.PAID_ELSEWHERE


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The renders that match filters, in order; and how many renders match text and dates, for totals and choices.

    ``since``: where the period begins; ``None`` if the runs are named.
    """

    renders: tuple[Match, ...]
    groups: tuple[Group, ...]
    since: datetime | None


_index = Index()


def dag_ids(session: Session) -> list[str]:
    """Return the DAGs that have renders, however old, or tasks that wait for a slot."""
    return sorted(_look(session).newest)


def find(session: Session, filters: Filters) -> Found:
    """Return the renders that match filters."""
    since = _aware(filters.since)
    snapshot = _look(session, since)
    if since is None and filters.run_ids:
        began = tables.began(session, filters.run_ids, filters.readable)
        if began is not None and began < snapshot.since:
            old = renders_of(tables.left_by_run(session, filters.run_ids, filters.readable))
            return _found(old, filters, None)
    else:
        wanted = _default_since(snapshot, filters.readable) if since is None else since
        snapshot = _look(session, wanted)
        since = max(wanted, snapshot.since)
    key = replace(filters, since=since)
    found = snapshot.results.get(key)
    if found is None:
        if len(snapshot.results) >= _KEPT_RESULTS:
            snapshot.results.clear()
        found = snapshot.results[key] = _found(snapshot.renders, key, since)
    return found


def find_page(session: Session, filters: Filters, *, limit: int, offset: int) -> tuple[Found, list[Stored]]:
    """Return what matches, and one page of it with the payloads.

    If a task of the page is in another state than the index says, the index is corrected: somebody can mark a task that is
    over, or delete its XComs.
    """
    looks = 0
    while True:
        found = find(session, filters)
        matches = found.renders[offset : offset + limit]
        lefts, looks = _read(session, matches), looks + 1
        if looks == _MOST_LOOKS or not _index.correct(lefts):
            return found, _stored(session, matches, lefts)
        session.info.pop(_SNAPSHOT, None)


def groups(session: Session, filters: Filters) -> list[Group]:
    """Return counts of the renders that match text and dates, for totals and choices.

    The filters by DAG, run, state, model, ratio and connection do not apply here.
    """
    return list(find(session, filters).groups)


def page(session: Session, filters: Filters, *, limit: int, offset: int) -> list[Stored]:
    """Return one page of renders with their payloads, in the order that the filters ask for."""
    return find_page(session, filters, limit=limit, offset=offset)[1]


def one(session: Session, ref: TaskRef) -> Stored | None:
    """Return what one task instance left of a render, without a look at other tasks; ``None`` if there is nothing."""
    lefts = list(tables.left_by_task(session, ref))
    return stored_of(lefts) if lefts else None


def one_of_run(session: Session, ref: TaskRef, readable: frozenset[str]) -> Stored | None:
    """Return the render of a task instance, as the task of its run that saved it left it, if there is one."""
    shown = _look(session).by_task.get(ref)
    if shown is not None and _index.correct(_read(session, [Match(shown, paid_here=True)])):
        session.info.pop(_SNAPSHOT, None)
        shown = _look(session).by_task.get(ref)
    if shown is None:
        run = renders_of(tables.left_by_run(session, [ref.run_id], [ref.dag_id]))
        shown = next((one for one in run for entry in one.entries if entry.ref == ref), None)
    if shown is None:
        return None
    if shown.entry.state != "landed":
        own = next(entry for entry in shown.entries if entry.ref == ref)
        shown = shown._replace(entry=own)
    match = Match(shown, shown.paid_here(readable))
    return next(iter(_stored(session, [match], _read(session, [match]))), None)


def neighbours(session: Session, ref: TaskRef, filters: Filters) -> tuple[TaskRef | None, TaskRef | None]:
    """Return the tasks of the renders before and after this one among those that match."""
    refs = [match.shown.entry.ref for match in find(session, filters).renders]
    if ref not in refs:
        return None, None
    at = refs.index(ref)
    return (refs[at - 1] if at else None), (refs[at + 1] if at + 1 < len(refs) else None)


def storage_connection(session: Session, ref: TaskRef) -> str | None:
    """Return the Airflow connection with which the task saved its file, or ``None`` for the default of the store.

    It comes from the rendered arguments of the task.
    """
    arguments = tables.latest_arguments(session, ref)
    if conn_id := arguments.get("output_conn_id"):
        return str(conn_id)
    authority = str(arguments.get("output_path") or "").partition("://")[2].partition("/")[0]
    return authority.rpartition("@")[0] or None


def usual_seconds(session: Session, readable: frozenset[str], models: Iterable[str]) -> dict[str, float]:
    """Return by model the median seconds from submit to saved file, over its latest renders."""
    snapshot = _look(session)
    usual: dict[str, float] = {}
    for model in sorted(set(models)):
        key = readable, model
        if key not in snapshot.results:
            took = (
                shown.entry.took
                for shown in snapshot.renders
                if shown.entry.model == model
                and shown.entry.took is not None
                and shown.entry.ref.dag_id in readable
            )
            sample = sorted(islice(took, _ESTIMATE_SAMPLE))
            snapshot.results[key] = sample[len(sample) // 2] if sample else None
        if snapshot.results[key] is not None:
            usual[model] = snapshot.results[key]
    return usual


# --- payloads ---------------------------------------------------------------------------------------------------------


def _read(session: Session, matches: Iterable[Match]) -> dict[Identity, list[Left]]:
    """Return what the tasks of some renders left, an empty list for a task whose XComs are gone."""
    entries = [
        entry for match in matches for entry in match.shown.entries if match.shown.entry.state != "waiting"
    ]
    lefts: dict[Identity, list[Left]] = {entry.identity: [] for entry in entries}
    for left in tables.left_by(session, list(lefts)):
        lefts[left.identity].append(left)
    return lefts


def _stored(
    session: Session, matches: Iterable[Match], lefts: Mapping[Identity, Sequence[Left]]
) -> list[Stored]:
    """Return renders with their payloads, in the same order. One that was deleted meanwhile is left out."""
    waiting, found = _look(session).waiting, []
    for match in matches:
        entry = match.shown.entry
        left = lefts.get(entry.identity)
        stored = stored_of(left) if left else waiting.get(entry.ref)
        if stored is not None:
            billed = stored.billed or match.shown.billed
            tasks = tuple(one.ref for one in match.shown.entries)
            found.append(replace(stored, billed=billed, paid_here=match.paid_here, tasks=tasks))
    return found


# --- over a snapshot --------------------------------------------------------------------------------------------------


def _look(session: Session, since: datetime | None = None) -> Snapshot:
    """Return the state of the index, looked up once for each session, which is one request."""
    snapshot: Snapshot | None = session.info.get(_SNAPSHOT)
    if snapshot is None or (since is not None and since < snapshot.since):
        snapshot = session.info[_SNAPSHOT] = _index.look(session, since)
    return snapshot


def _default_since(snapshot: Snapshot, readable: frozenset[str]) -> datetime:
    """Return the begin of the default period: 30 days before the newest render that the reader can see."""
    now = datetime.now(UTC)
    newest = [moment for dag_id, moment in snapshot.newest.items() if dag_id in readable]
    return first_day(min(now, max(newest)) if newest else now)


def _found(renders: Iterable[Shown], filters: Filters, since: datetime | None) -> Found:
    in_reach = _matching(renders, filters, since)
    facets = [_facets(match) for match in in_reach]
    groups = [Group(facets=values, count=count) for values, count in Counter(facets).items()]
    fits = _fits(filters)
    matches = [match for match, values in zip(in_reach, facets, strict=True) if fits(values)]
    if (sort := _SORT_KEYS.get(filters.sort)) is not None:
        matches.sort(key=sort, reverse=True)
    return Found(renders=tuple(matches), groups=(*groups, *_replaced(in_reach)), since=since)


def _matching(renders: Iterable[Shown], filters: Filters, since: datetime | None) -> list[Match]:
    readable, until = filters.readable, _aware(filters.until)
    found = [shown for shown in renders if shown.entry.ref.dag_id in readable]
    if since is not None:
        found = [shown for shown in found if shown.entry.moment >= since]
    if until is not None:
        found = [shown for shown in found if shown.entry.moment < until]
    if filters.prompt is not None:
        prompt = hash(filters.prompt)
        found = [shown for shown in found if any(entry.prompt == prompt for entry in shown.entries)]
    for word in words_of(filters.text):
        found = [shown for shown in found if any(entry.has(word) for entry in shown.entries)]
    return [Match(shown, shown.paid_here(readable)) for shown in found]


def words_of(text: str) -> list[str]:
    """Return what a search looks for: each word, and each phrase in quotes, casefolded."""
    return [(phrase or chinese or word).casefold() for phrase, chinese, word in _WORDS.findall(text)]


def _facets(match: Match) -> Facets:
    entry, ref = match.shown.entry, match.shown.entry.ref
    return Facets(
        ref.dag_id, ref.run_id, entry.state, entry.model, entry.ratio, entry.conn_id,
        match.money, entry.amount, entry.seconds,
    )  # fmt: skip


def _fits(filters: Filters) -> Callable[[Facets], bool]:
    wanted = [(at, frozenset(values)) for at, values in enumerate(facet_values(filters)) if values]
    return lambda facets: all(facets[at] in values for at, values in wanted)


def facet_of(facets: Facets) -> tuple[str | None, ...]:
    """Return the facets that can be filtered by."""
    return facets[:6]


def facet_values(filters: Filters) -> tuple[tuple[str, ...], ...]:
    """Return the values that each facet may have, in the order of :func:`facet_of`; an empty tuple means "any"."""
    return (
        *(filters.dag_ids, filters.run_ids, filters.states),
        *(filters.models, filters.ratios, filters.conn_ids),
    )


def _replaced(matches: Sequence[Match]) -> list[Group]:
    """Return the renders that other renders of the same tasks replaced. Each counts once, and not if it is shown itself."""
    earlier: dict[str, tuple[Match, Replaced]] = {}
    for match in matches:
        for entry in match.shown.entries:
            for item in entry.replaced:
                earlier[item.render_id] = match, item
    if not earlier:
        return []
    for match in matches:
        earlier.pop(match.shown.entry.render_id or "", None)
    return [
        Group(
            facets=_facets(match)._replace(
                money=money_of_replaced(item.state), amount=item.cost, seconds=Decimal(0), replaced=True
            ),
            count=1,
        )
        for match, item in earlier.values()
    ]


def _aware(moment: datetime | None) -> datetime | None:
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)


_SORT_KEYS: dict[str, Callable[[Match], Decimal | float]] = {
    "cost": lambda match: match.shown.entry.amount or Decimal(-1),
    "length": lambda match: match.shown.entry.length,
    "render_time": lambda match: -1.0 if match.shown.entry.took is None else match.shown.entry.took,
}
