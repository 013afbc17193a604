# SPDX-License-Identifier: Apache-2.0
"""The renders that a reader asks for: filters, search, order, counts, and the payloads of one page.

A render is an XCom with the key ``jimeng_render``. Its manifest is the ``return_value`` of the same task instance. If
nothing was submitted, the task leaves ``jimeng_refusal`` instead; if the response to a submit was lost, it leaves
``jimeng_intent``. Several tasks of a run can have the same render (submit, sensor, download): the pages show the task that
saved the file, or else the latest one. Several runs can have the same render: the run that had it first paid for it.

Everything except the payloads comes from the index (:mod:`.index`).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from itertools import compress, islice, repeat
from operator import attrgetter, contains
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.outcomes import money_of_replaced
from airflow_provider_jimeng.web import cards, tables
from airflow_provider_jimeng.web.entries import Stored, stored_of
from airflow_provider_jimeng.web.grouping import Facets, RunRender, renders_of, waiting_run_render
from airflow_provider_jimeng.web.index import Index, first_day
from airflow_provider_jimeng.web.tables import TaskRef

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from airflow_provider_jimeng.web.index import Snapshot
    from airflow_provider_jimeng.web.tables import Identity, XComRow

__all__ = [
    "Facets",
    "Filters",
    "Group",
    "Results",
    "Stored",
    "TaskRef",
    "dag_ids",
    "find",
    "find_page",
    "page",
    "previous_and_next",
    "run_render",
    "storage_connection",
    "task_render",
    "usual_seconds",
]

_WORDS = re.compile(r'"([^"]+)"|“([^”]+)”|([^\s"“”]+)')
_ESTIMATE_SAMPLE = 50
_MOST_READS = 3
"""How often a page is read if the index is wrong about one of its tasks."""
_SNAPSHOT = "jimeng_snapshot"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which renders to show. ``readable`` names the DAGs that the reader can see; an empty tuple and ``None`` mean "any".

    By default the period begins 30 days before the newest render, unless ``run_ids`` names the runs.
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

    @property
    def words(self) -> list[str]:
        """The words to search for, and the phrases in quotes, casefolded; the longest first."""
        words = {phrase or chinese or word for phrase, chinese, word in _WORDS.findall(self.text)}
        return sorted((word.casefold() for word in words), key=len, reverse=True)

    @property
    def chosen(self) -> list[tuple[int, frozenset[str]]]:
        """The facets that the reader filters by: the position of each in ``Facets``, and the chosen values."""
        facets = (self.dag_ids, self.run_ids, self.states, self.models, self.ratios, self.conn_ids)
        return [(at, frozenset(values)) for at, values in enumerate(facets) if values]

    def fits(self) -> Callable[[Facets], bool]:
        """Return a function that tells whether facets match the chosen values."""
        chosen = self.chosen
        return lambda facets: all(facets[at] in values for at, values in chosen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The number of renders with equal facets."""

    facets: Facets
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scope:
    """The renders that match rights, text and dates, newest first; their facets by ``id()``; and the counts."""

    renders: Sequence[RunRender]
    facets: Mapping[int, Facets]
    groups: tuple[Group, ...]


@dataclass(frozen=True, kw_only=True)
class Results:
    """The renders that match filters, in order, as one reader sees them.

    ``groups`` counts those that match rights, text and dates. ``since``: where the period begins; ``None`` if the runs are
    named.
    """

    filters: Filters
    renders: Sequence[RunRender]
    groups: tuple[Group, ...]
    since: datetime | None

    @cached_property
    def totals(self) -> dict[str, Any]:
        """The sums of the renders that match."""
        return cards.totals(self.groups, self.filters)

    @cached_property
    def choices(self) -> dict[str, Any]:
        """The choices of each filter, and how many renders each of them would show."""
        return cards.choices(self.groups, self.filters)


_index = Index()


def dag_ids(session: Session) -> list[str]:
    """Return the DAGs that have renders, however old, or tasks that wait for a slot."""
    return sorted(_snapshot(session).newest)


def find(session: Session, filters: Filters) -> Results:
    """Return the renders that match filters."""
    snapshot, since = _snapshot(session, filters.since), filters.since
    if since is None and filters.run_ids:
        began = tables.began(session, filters.run_ids, filters.readable)
        if began is not None and began < snapshot.since:
            old = renders_of(tables.rows_of_runs(session, filters.run_ids, filters.readable))
            return _results(_scope(_having(filters.words, old, _texts(old)), filters), filters, None)
    else:
        start = _default_since(snapshot, filters.readable) if since is None else since
        snapshot = _snapshot(session, start)
        since = max(start, snapshot.since)
    filters = replace(filters, since=since)
    scope_key = filters.readable, filters.text, filters.prompt, since, filters.until
    scope: _Scope = snapshot.cached(scope_key, lambda: _scope(_search(snapshot, filters.words), filters))
    results: Results = snapshot.cached(filters, lambda: _results(scope, filters, since))
    return results


def find_page(session: Session, filters: Filters, *, limit: int, offset: int) -> tuple[Results, list[Stored]]:
    """Return the renders that match filters, and one page of them with the payloads.

    If the index is wrong about a task of the page, it is corrected: people can mark a finished task, or delete its XComs.
    """
    reads = 0
    while True:
        results = find(session, filters)
        renders = results.renders[offset : offset + limit]
        rows, reads = _read(session, renders), reads + 1
        if reads == _MOST_READS or not _index.correct(rows):
            return results, _stored(session, renders, rows)
        session.info.pop(_SNAPSHOT, None)


def page(session: Session, filters: Filters, *, limit: int, offset: int) -> list[Stored]:
    """Return one page of renders with their payloads, in the order that the filters ask for."""
    return find_page(session, filters, limit=limit, offset=offset)[1]


def task_render(session: Session, ref: TaskRef) -> Stored | None:
    """Return the render of one task instance by its own XComs, ``None`` if it has none."""
    rows = list(tables.rows_of_task(session, ref))
    return stored_of(rows) if rows else None


def run_render(session: Session, ref: TaskRef, readable: frozenset[str]) -> Stored | None:
    """Return the render of a task instance. If another task of its run saved it, the payloads are those of that task."""
    render = _known(session, ref)
    if render is not None and _index.correct(_read(session, [render])):
        session.info.pop(_SNAPSHOT, None)
        render = _known(session, ref)
    if render is None:
        run = renders_of(tables.rows_of_runs(session, [ref.run_id], [ref.dag_id]))
        render = next((one for one in run for entry in one.entries if entry.ref == ref), None)
    if render is None:
        return None
    render = render.for_reader(readable)
    if render.entry.state != "landed":
        render = render._replace(entry=next(entry for entry in render.entries if entry.ref == ref))
    return next(iter(_stored(session, [render], _read(session, [render]))), None)


def previous_and_next(
    session: Session, ref: TaskRef, filters: Filters
) -> tuple[TaskRef | None, TaskRef | None]:
    """Return the tasks of the renders before and after this one, of those that match filters."""
    renders = find(session, filters).renders
    at = next((at for at, render in enumerate(renders) if render.entry.ref == ref), None)
    if at is None:
        return None, None
    before, after = renders[max(0, at - 1) : at], renders[at + 1 : at + 2]
    return before[0].entry.ref if before else None, after[0].entry.ref if after else None


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
    snapshot, usual = _snapshot(session), {}
    for model in sorted(set(models)):

        def seconds(model: str = model) -> float | None:
            of_model = (render.entry for render in snapshot.renders if render.entry.model == model)
            took = (one.took for one in of_model if one.took is not None and one.ref.dag_id in readable)
            sample = sorted(islice(took, _ESTIMATE_SAMPLE))
            return sample[len(sample) // 2] if sample else None

        if (median := snapshot.cached((readable, model), seconds)) is not None:
            usual[model] = median
    return usual


# --- payloads ---------------------------------------------------------------------------------------------------------


def _read(session: Session, renders: Iterable[RunRender]) -> dict[Identity, list[XComRow]]:
    """Return the XComs of the tasks of some renders, an empty list for a task whose XComs were deleted."""
    entries = [entry for render in renders for entry in render.entries if render.entry.state != "waiting"]
    rows: dict[Identity, list[XComRow]] = {entry.identity: [] for entry in entries}
    for row in tables.rows_of_tasks(session, list(rows)):
        rows[row.identity].append(row)
    return rows


def _stored(
    session: Session, renders: Iterable[RunRender], rows: Mapping[Identity, Sequence[XComRow]]
) -> list[Stored]:
    """Return renders with their payloads, in the same order. One that was deleted meanwhile is missing."""
    waiting, page = _snapshot(session).waiting, []
    for render in renders:
        of_task = rows.get(render.entry.identity)
        stored = stored_of(of_task) if of_task else waiting.get(render.entry.ref)
        if stored is not None:
            billed = stored.billed or render.billed
            tasks = tuple(one.ref for one in render.entries)
            page.append(replace(stored, billed=billed, paid_here=render.paid_here, tasks=tasks))
    return page


# --- in a snapshot --------------------------------------------------------------------------------------------------


def _snapshot(session: Session, since: datetime | None = None) -> Snapshot:
    """Return the content of the index, which is updated once for each session. Each request has a session of its own."""
    snapshot: Snapshot | None = session.info.get(_SNAPSHOT)
    if snapshot is None or (since is not None and since < snapshot.since):
        snapshot = session.info[_SNAPSHOT] = _index.update(session, since)
    return snapshot


def _known(session: Session, ref: TaskRef) -> RunRender | None:
    """Return the render of a task instance, if it is in the index."""
    waits = _snapshot(session).waiting.get(ref)
    return _index.of(ref) if waits is None else waiting_run_render(waits)


def _default_since(snapshot: Snapshot, readable: frozenset[str]) -> datetime:
    """Return the start of the default period: 30 days before the newest render that the reader can see."""
    now = datetime.now(UTC)
    newest = [moment for dag_id, moment in snapshot.newest.items() if dag_id in readable]
    return first_day(min(now, max(newest)) if newest else now)


def _scope(renders: Sequence[RunRender], filters: Filters) -> _Scope:
    """Return what matches rights and dates. It visits each render of the period, so it does little work for each."""
    if filters.until is not None:
        renders = renders[_begins(renders, filters.until) :]
    if filters.since is not None:
        renders = renders[: _begins(renders, filters.since)]
    readable = filters.readable
    if filters.prompt is not None:
        prompt = hash(filters.prompt)
        renders = [render for render in renders if any(entry.prompt == prompt for entry in render.entries)]
    facets = _facets(renders)
    if hidden := {kind for kind, one in facets.items() if one.dag_id not in readable}:
        renders = [render for render in renders if id(render.facets) not in hidden]
    if any(map(attrgetter("sharing_runs"), renders)):
        renders = [render.for_reader(readable) for render in renders]
        facets = _facets(renders)
    counts: Counter[Facets] = Counter()
    for kind, count in Counter(map(id, map(attrgetter("facets"), renders))).items():
        counts[facets[kind]] += count
    groups = [Group(facets=one, count=count) for one, count in counts.items()]
    return _Scope(renders=renders, facets=facets, groups=(*groups, *_replaced(renders)))


def _facets(renders: Iterable[RunRender]) -> dict[int, Facets]:
    facets = list(map(attrgetter("facets"), renders))
    return dict(zip(map(id, facets), facets, strict=True))


def _search(snapshot: Snapshot, words: list[str]) -> Sequence[RunRender]:
    renders = snapshot.renders
    return _having(words, renders, snapshot.cached("texts", lambda: _texts(renders))) if words else renders


def _having(words: list[str], renders: Sequence[RunRender], texts: Sequence[str]) -> Sequence[RunRender]:
    """Return the renders that contain all words. Most others are excluded without a step of Python for each."""
    for word in words:
        matches = list(map(contains, texts, repeat(word)))
        renders, texts = list(compress(renders, matches)), list(compress(texts, matches))
    return [render for render in renders if all(map(render.has, words))]


def _texts(renders: Iterable[RunRender]) -> list[str]:
    return [render.text for render in renders]


def _begins(renders: Sequence[RunRender], moment: datetime) -> int:
    """Return the position of the first render that is older than a moment."""
    return bisect_left(renders, True, key=lambda render: render.order[0] < moment)  # noqa: FBT003


def _results(scope: _Scope, filters: Filters, since: datetime | None) -> Results:
    renders = scope.renders
    if filters.chosen:
        fits = filters.fits()
        fitting = {kind for kind, facets in scope.facets.items() if fits(facets)}
        renders = [render for render in renders if id(render.facets) in fitting]
    if (sort := _SORT_KEYS.get(filters.sort)) is not None:
        renders = sorted(renders, key=sort, reverse=True)
    return Results(filters=filters, renders=renders, groups=scope.groups, since=since)


def _replaced(renders: Iterable[RunRender]) -> list[Group]:
    """Return the renders that other renders of the same tasks replaced. Each counts once. One that is a render of these itself does not count."""
    replacing = [render for render in renders if render.replaced]
    earlier = {item.render_id: (render, item) for render in replacing for item in render.replaced}
    if not earlier:
        return []
    for render in renders:
        earlier.pop(render.entry.render_id or "", None)
    return [
        Group(
            facets=render.facets._replace(
                money=money_of_replaced(item.state), amount=item.cost, seconds=Decimal(0), replaced=True
            ),
            count=1,
        )
        for render, item in earlier.values()
    ]


_SORT_KEYS: dict[str, Callable[[RunRender], Decimal | float]] = {
    "cost": lambda render: render.entry.amount or Decimal(-1),
    "length": lambda render: render.entry.length,
    "render_time": lambda render: -1.0 if render.entry.took is None else render.entry.took,
}
