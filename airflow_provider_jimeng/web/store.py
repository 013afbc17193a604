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
from airflow_provider_jimeng.web.grouping import Facets, Shown, renders_of, shown_waiting
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
    "Stored",
    "TaskRef",
    "dag_ids",
    "find",
    "find_page",
    "one",
    "one_of_run",
    "page",
    "previous_and_next",
    "storage_connection",
    "usual_seconds",
]

_WORDS = re.compile(r'"([^"]+)"|“([^”]+)”|([^\s"“”]+)')
_ESTIMATE_SAMPLE = 50
_MOST_LOOKS = 3
"""How often a page is read again if the index was wrong about a task of it."""
_SNAPSHOT = "jimeng_snapshot"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which renders to show. ``readable`` names the DAGs that the reader can see; an empty tuple and ``None`` mean "any".

    Without ``since`` it is the 30 days before the newest render, unless ``run_ids`` names the runs. Dates without a zone
    are in UTC.
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
        """What a search looks for: each word, and each phrase in quotes, casefolded; the longest first."""
        found = {phrase or chinese or word for phrase, chinese, word in _WORDS.findall(self.text)}
        return sorted((word.casefold() for word in found), key=len, reverse=True)

    @property
    def chosen(self) -> list[tuple[int, frozenset[str]]]:
        """The facets that are limited, by their place in ``Facets``, and the values that they can have."""
        facets = (self.dag_ids, self.run_ids, self.states, self.models, self.ratios, self.conn_ids)
        return [(at, frozenset(values)) for at, values in enumerate(facets) if values]

    def fits(self) -> Callable[[Facets], bool]:
        """Return a function that says whether renders with some facets are among the chosen ones."""
        chosen = self.chosen
        return lambda facets: all(facets[at] in values for at, values in chosen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """How many renders have these facets."""

    facets: Facets
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reach:
    """The renders that match rights, text and dates, newest first; their facets by ``id()``; and the counts."""

    renders: Sequence[Shown]
    facets: Mapping[int, Facets]
    groups: tuple[Group, ...]


@dataclass(frozen=True, kw_only=True)
class Found:
    """The renders that match filters, in order, as one reader sees them.

    ``groups`` counts those that match rights, text and dates. ``since``: where the period begins; ``None`` if the runs are
    named.
    """

    filters: Filters
    renders: Sequence[Shown]
    groups: tuple[Group, ...]
    since: datetime | None

    @cached_property
    def totals(self) -> dict[str, Any]:
        """The sums of the renders that match."""
        return cards.totals(self.groups, self.filters)

    @cached_property
    def choices(self) -> dict[str, Any]:
        """The choices of each filter, with how many renders each would leave."""
        return cards.choices(self.groups, self.filters)


_index = Index()


def dag_ids(session: Session) -> list[str]:
    """Return the DAGs that have renders, however old, or tasks that wait for a slot."""
    return sorted(_look(session).newest)


def find(session: Session, filters: Filters) -> Found:
    """Return the renders that match filters."""
    snapshot, since = _look(session, filters.since), filters.since
    if since is None and filters.run_ids:
        began = tables.began(session, filters.run_ids, filters.readable)
        if began is not None and began < snapshot.since:
            old = renders_of(tables.left_by_run(session, filters.run_ids, filters.readable))
            return _found(_reach(_having(filters.words, old, _texts(old)), filters), filters, None)
    else:
        wanted = _default_since(snapshot, filters.readable) if since is None else since
        snapshot = _look(session, wanted)
        since = max(wanted, snapshot.since)
    filters = replace(filters, since=since)
    within = filters.readable, filters.text, filters.prompt, since, filters.until
    reach: _Reach = snapshot.once(within, lambda: _reach(_search(snapshot, filters.words), filters))
    found: Found = snapshot.once(filters, lambda: _found(reach, filters, since))
    return found


def find_page(session: Session, filters: Filters, *, limit: int, offset: int) -> tuple[Found, list[Stored]]:
    """Return what matches, and one page of it with the payloads.

    If a task of the page is in another state than the index says, the index is corrected: somebody can mark a task that is
    over, or delete its XComs.
    """
    looks = 0
    while True:
        found = find(session, filters)
        renders = found.renders[offset : offset + limit]
        lefts, looks = _read(session, renders), looks + 1
        if looks == _MOST_LOOKS or not _index.correct(lefts):
            return found, _stored(session, renders, lefts)
        session.info.pop(_SNAPSHOT, None)


def page(session: Session, filters: Filters, *, limit: int, offset: int) -> list[Stored]:
    """Return one page of renders with their payloads, in the order that the filters ask for."""
    return find_page(session, filters, limit=limit, offset=offset)[1]


def one(session: Session, ref: TaskRef) -> Stored | None:
    """Return what one task instance left of a render, without a look at other tasks; ``None`` if there is nothing."""
    lefts = list(tables.left_by_task(session, ref))
    return stored_of(lefts) if lefts else None


def one_of_run(session: Session, ref: TaskRef, readable: frozenset[str]) -> Stored | None:
    """Return the render of a task instance, as the task of its run that saved it left it, if there is one."""
    shown = _known(session, ref)
    if shown is not None and _index.correct(_read(session, [shown])):
        session.info.pop(_SNAPSHOT, None)
        shown = _known(session, ref)
    if shown is None:
        run = renders_of(tables.left_by_run(session, [ref.run_id], [ref.dag_id]))
        shown = next((one for one in run for entry in one.entries if entry.ref == ref), None)
    if shown is None:
        return None
    shown = shown.seen_by(readable)
    if shown.entry.state != "landed":
        shown = shown._replace(entry=next(entry for entry in shown.entries if entry.ref == ref))
    return next(iter(_stored(session, [shown], _read(session, [shown]))), None)


def previous_and_next(
    session: Session, ref: TaskRef, filters: Filters
) -> tuple[TaskRef | None, TaskRef | None]:
    """Return the tasks of the renders before and after this one among those that match."""
    renders = find(session, filters).renders
    at = next((at for at, shown in enumerate(renders) if shown.entry.ref == ref), None)
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
    snapshot, usual = _look(session), {}
    for model in sorted(set(models)):

        def seconds(model: str = model) -> float | None:
            of_model = (shown.entry for shown in snapshot.renders if shown.entry.model == model)
            took = (one.took for one in of_model if one.took is not None and one.ref.dag_id in readable)
            sample = sorted(islice(took, _ESTIMATE_SAMPLE))
            return sample[len(sample) // 2] if sample else None

        if (found := snapshot.once((readable, model), seconds)) is not None:
            usual[model] = found
    return usual


# --- payloads ---------------------------------------------------------------------------------------------------------


def _read(session: Session, renders: Iterable[Shown]) -> dict[Identity, list[Left]]:
    """Return what the tasks of some renders left, an empty list for a task whose XComs are gone."""
    entries = [entry for shown in renders for entry in shown.entries if shown.entry.state != "waiting"]
    lefts: dict[Identity, list[Left]] = {entry.identity: [] for entry in entries}
    for left in tables.left_by(session, list(lefts)):
        lefts[left.identity].append(left)
    return lefts


def _stored(
    session: Session, renders: Iterable[Shown], lefts: Mapping[Identity, Sequence[Left]]
) -> list[Stored]:
    """Return renders with their payloads, in the same order. One that was deleted meanwhile is left out."""
    waiting, found = _look(session).waiting, []
    for shown in renders:
        left = lefts.get(shown.entry.identity)
        stored = stored_of(left) if left else waiting.get(shown.entry.ref)
        if stored is not None:
            billed = stored.billed or shown.billed
            tasks = tuple(one.ref for one in shown.entries)
            found.append(replace(stored, billed=billed, paid_here=shown.paid_here, tasks=tasks))
    return found


# --- over a snapshot --------------------------------------------------------------------------------------------------


def _look(session: Session, since: datetime | None = None) -> Snapshot:
    """Return the state of the index, looked up once for each session, which is one request."""
    snapshot: Snapshot | None = session.info.get(_SNAPSHOT)
    if snapshot is None or (since is not None and since < snapshot.since):
        snapshot = session.info[_SNAPSHOT] = _index.look(session, since)
    return snapshot


def _known(session: Session, ref: TaskRef) -> Shown | None:
    """Return the render of a task instance, if it is in the index."""
    waits = _look(session).waiting.get(ref)
    return _index.of(ref) if waits is None else shown_waiting(waits)


def _default_since(snapshot: Snapshot, readable: frozenset[str]) -> datetime:
    """Return the begin of the default period: 30 days before the newest render that the reader can see."""
    now = datetime.now(UTC)
    newest = [moment for dag_id, moment in snapshot.newest.items() if dag_id in readable]
    return first_day(min(now, max(newest)) if newest else now)


def _reach(renders: Sequence[Shown], filters: Filters) -> _Reach:
    """Return what matches rights and dates. This looks at each render of the period, so it does little with each."""
    if filters.until is not None:
        renders = renders[_begins(renders, filters.until) :]
    if filters.since is not None:
        renders = renders[: _begins(renders, filters.since)]
    readable = filters.readable
    if filters.prompt is not None:
        prompt = hash(filters.prompt)
        renders = [shown for shown in renders if any(entry.prompt == prompt for entry in shown.entries)]
    facets = _facets(renders)
    if hidden := {kind for kind, one in facets.items() if one.dag_id not in readable}:
        renders = [shown for shown in renders if id(shown.facets) not in hidden]
    if any(map(attrgetter("payers"), renders)):
        renders = [shown.seen_by(readable) for shown in renders]
        facets = _facets(renders)
    counts: Counter[Facets] = Counter()
    for kind, count in Counter(map(id, map(attrgetter("facets"), renders))).items():
        counts[facets[kind]] += count
    groups = [Group(facets=one, count=count) for one, count in counts.items()]
    return _Reach(renders=renders, facets=facets, groups=(*groups, *_replaced(renders)))


def _facets(renders: Iterable[Shown]) -> dict[int, Facets]:
    facets = list(map(attrgetter("facets"), renders))
    return dict(zip(map(id, facets), facets, strict=True))


def _search(snapshot: Snapshot, words: list[str]) -> Sequence[Shown]:
    renders = snapshot.renders
    return _having(words, renders, snapshot.once("texts", lambda: _texts(renders))) if words else renders


def _having(words: list[str], renders: Sequence[Shown], texts: Sequence[str]) -> Sequence[Shown]:
    """Return the renders that have all words. Most are left out without a step of Python for each."""
    for word in words:
        found = list(map(contains, texts, repeat(word)))
        renders, texts = list(compress(renders, found)), list(compress(texts, found))
    return [shown for shown in renders if all(map(shown.has, words))]


def _texts(renders: Iterable[Shown]) -> list[str]:
    return [shown.text for shown in renders]


def _begins(renders: Sequence[Shown], moment: datetime) -> int:
    """Return the place of the first render that is older than a moment."""
    return bisect_left(renders, True, key=lambda shown: shown.order[0] < moment)  # noqa: FBT003


def _found(reach: _Reach, filters: Filters, since: datetime | None) -> Found:
    renders = reach.renders
    if filters.chosen:
        fits = filters.fits()
        fitting = {kind for kind, facets in reach.facets.items() if fits(facets)}
        renders = [shown for shown in renders if id(shown.facets) in fitting]
    if (sort := _SORT_KEYS.get(filters.sort)) is not None:
        renders = sorted(renders, key=sort, reverse=True)
    return Found(filters=filters, renders=renders, groups=reach.groups, since=since)


def _replaced(renders: Iterable[Shown]) -> list[Group]:
    """Return the renders that other renders of the same tasks replaced. Each counts once, and not if it is shown itself."""
    replacing = [shown for shown in renders if shown.replaced]
    earlier = {item.render_id: (shown, item) for shown in replacing for item in shown.replaced}
    if not earlier:
        return []
    for shown in renders:
        earlier.pop(shown.entry.render_id or "", None)
    return [
        Group(
            facets=shown.facets._replace(
                money=money_of_replaced(item.state), amount=item.cost, seconds=Decimal(0), replaced=True
            ),
            count=1,
        )
        for shown, item in earlier.values()
    ]


_SORT_KEYS: dict[str, Callable[[Shown], Decimal | float]] = {
    "cost": lambda shown: shown.entry.amount or Decimal(-1),
    "length": lambda shown: shown.entry.length,
    "render_time": lambda shown: -1.0 if shown.entry.took is None else shown.entry.took,
}
