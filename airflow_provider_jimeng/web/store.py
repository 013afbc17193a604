# SPDX-License-Identifier: Apache-2.0
"""The queries of the pages to Airflow's database.

A render is an XCom with the key ``jimeng_render``. Its manifest is the ``return_value`` of the same task instance. If the
API refused the request, the task leaves ``jimeng_refusal`` instead; if the response to a submit was lost, it leaves
``jimeng_intent``. The pages show both as failed. Several tasks of a run can have the same render (submit, sensor,
download): the pages show the task that saved the file, or else the latest one. Several runs can have the same render: the
run that had it first paid for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.models.renderedtifields import RenderedTaskInstanceFields
from airflow.models.xcom import XComModel
from sqlalchemy import String, and_, case, cast, func, or_, select

from airflow_provider_jimeng.core.outcomes import UNKNOWN_SUBMIT
from airflow_provider_jimeng.operators import xcom
from airflow_provider_jimeng.web.reading import seconds_between
from airflow_provider_jimeng.web.tables import KEYS, Tables

if TYPE_CHECKING:
    from sqlalchemy.orm import Session
    from sqlalchemy.sql import ColumnElement, Subquery

_ESTIMATE_SAMPLE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRef:
    """One task instance."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which renders to show. ``readable`` names the DAGs that the reader can see; an empty tuple and ``None`` mean "any"."""

    readable: frozenset[str]
    dag_ids: tuple[str, ...] = ()
    run_ids: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    text: str = ""
    prompt: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One render as Airflow stores it.

    ``paid_here`` is false if another run paid for it; ``billed`` is true if the API told a task of this run that the render
    is done.
    """

    ref: TaskRef
    state: str
    task_state: str | None
    try_number: int
    pushed_at: datetime
    paid_here: bool
    render: dict[str, Any]
    manifest: dict[str, Any] | None
    billed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """How many renders have these values. Money and seconds are the texts of the payloads."""

    dag_id: str
    model: str | None
    state: str
    seconds: str | None
    cost: str | None
    estimate: str | None
    paid_here: bool
    count: int
    billed: bool = False
    """See ``Stored``."""


def dag_ids(session: Session) -> list[str]:
    """Return the DAGs that have renders."""
    name = func.coalesce(XComModel.dag_id, "")  # an expression for the same reason as in Tables.within
    statement = select(name).where(XComModel.key.in_(KEYS)).distinct()
    return [str(dag_id) for dag_id in session.scalars(statement)]


def groups(session: Session, filters: Filters) -> list[Group]:
    """Return counts of the renders that match text and dates, for totals and choices.

    The filters by DAG, state and model do not apply here.
    """
    ranked = _ranked(filters)
    columns = ("dag_id", "model", "state", "seconds", "cost", "estimate", "paid_here", "billed")
    keys = [ranked.c[name] for name in columns]
    statement = select(*keys, func.count().label("count")).where(ranked.c.place == 1).group_by(*keys)
    return [
        Group(
            dag_id=row.dag_id, model=row.model, state=row.state, seconds=row.seconds, cost=row.cost,
            estimate=row.estimate, paid_here=bool(row.paid_here), billed=bool(row.billed), count=row[-1],
        )
        for row in session.execute(statement)
    ]  # fmt: skip


def page(session: Session, filters: Filters, *, limit: int, offset: int) -> list[Stored]:
    """Return one page of renders with their payloads, newest first."""
    ranked = _ranked(filters)
    wanted = select(ranked).where(ranked.c.place == 1)
    for name, values in (("dag_id", filters.dag_ids), ("state", filters.states), ("model", filters.models)):
        if values:
            wanted = wanted.where(ranked.c[name].in_(values))
    order = ("moment", "dag_run_id", "task_id", "map_index")
    wanted = wanted.order_by(*(ranked.c[name].desc() for name in order)).limit(limit).offset(offset)
    few = wanted.subquery("page")
    tables = Tables()
    render = tables.render
    statement = (
        tables.select(*_columns(tables), few.c.state, few.c.paid_here, few.c.billed)
        .join(
            few,
            and_(
                few.c.dag_run_id == render.dag_run_id,
                few.c.task_id == render.task_id,
                few.c.map_index == render.map_index,
            ),
        )
        .order_by(*(few.c[name].desc() for name in order))
    )
    return [
        _stored(row, state=row[-3], paid_here=bool(row[-2]), billed=bool(row[-1]))
        for row in session.execute(statement)
    ]


def one(session: Session, ref: TaskRef, readable: frozenset[str] | None = None) -> Stored | None:
    """Return the render of a task instance, or ``None``.

    ``readable`` names the DAGs among which to look for the run that paid. Without it, ``paid_here`` is true.
    """
    tables = Tables()
    render = tables.render
    statement = tables.select(
        *_columns(tables), tables.state(), render.dag_run_id, tables.of_render("task_id")
    ).where(*_is(render, ref))
    row = session.execute(statement).first()
    if row is None:
        return None
    *_, state, dag_run_id, render_id = row
    runs = [] if readable is None or render_id is None else _runs_with(session, render_id, readable)
    return _stored(
        row,
        state=state,
        paid_here=not runs or runs[0][0] == dag_run_id,
        billed=any(billed for run, billed in runs if run == dag_run_id),
    )


def _runs_with(session: Session, render_id: str, readable: frozenset[str]) -> list[tuple[int, bool]]:
    """Return the runs that have a render, the one that paid first, each with ``billed``, in agreement with ``_ranked``."""
    tables = Tables()
    render = tables.render
    statement = (
        tables.select(render.dag_run_id, tables.billed())
        .where(tables.within(readable), tables.of_render("task_id") == render_id)
        .order_by(render.timestamp, render.dag_run_id)
    )
    return [(run, bool(billed)) for run, billed in session.execute(statement)]


def landed_beside(session: Session, stored: Stored) -> Stored | None:
    """Return the task instance of the same run that saved what this one submitted or waited for."""
    render_id = stored.render.get("task_id")
    if not isinstance(render_id, str):
        return None
    tables = Tables()
    statement = (
        tables.select(*_columns(tables), tables.state())
        .where(
            tables.render.dag_id == stored.ref.dag_id,
            tables.render.run_id == stored.ref.run_id,
            tables.of_render("task_id") == render_id,
            tables.of_manifest("uri").is_not(None),
        )
        .order_by(tables.render.timestamp.desc())
        .limit(1)
    )
    row = session.execute(statement).first()
    return (
        None if row is None else _stored(row, state=row[-1], paid_here=stored.paid_here, billed=stored.billed)
    )


def storage_connection(session: Session, ref: TaskRef) -> str | None:
    """Return the Airflow connection with which the task saved its file, or ``None`` for the default of the store.

    It comes from the rendered arguments. Airflow keeps those of the last runs only, so for an older run the latest
    arguments of the task are used.
    """
    fields = RenderedTaskInstanceFields
    exact = and_(fields.run_id == ref.run_id, fields.map_index == ref.map_index)
    statement = (
        select(fields.rendered_fields)
        .where(fields.dag_id == ref.dag_id, fields.task_id == ref.task_id)
        .order_by(case((exact, 0), else_=1), fields.run_id.desc())
        .limit(1)
    )
    rendered = session.scalar(statement)
    arguments = rendered if isinstance(rendered, Mapping) else {}
    if conn_id := arguments.get("output_conn_id"):
        return str(conn_id)
    authority = str(arguments.get("output_path") or "").partition("://")[2].partition("/")[0]
    return authority.rpartition("@")[0] or None


def usual_seconds(session: Session, readable: frozenset[str], models: Iterable[str]) -> dict[str, float]:
    """Return by model the median seconds from submit to saved file, over its latest renders."""
    tables = Tables()
    names = sorted(set(models))
    if not names:
        return {}
    model = tables.of_render("model")
    statement = (
        tables.select(model, tables.of_manifest("submitted_at"), tables.of_manifest("landed_at"))
        .where(tables.within(readable), model.in_(names), tables.of_manifest("uri").is_not(None))
        .order_by(tables.render.timestamp.desc())
        .limit(_ESTIMATE_SAMPLE)
    )
    by_model: dict[str, list[float]] = {}
    for name, submitted_at, landed_at in session.execute(statement):
        seconds = seconds_between(submitted_at, landed_at)
        if seconds is not None:
            by_model.setdefault(name, []).append(seconds)
    return {name: sorted(values)[len(values) // 2] for name, values in by_model.items()}


def _ranked(filters: Filters) -> Subquery:
    """Select one short row per task instance with a render. ``place`` 1 is the task instance that its run shows."""
    tables = Tables()
    render = tables.render
    own_key = cast(render.dag_run_id, String) + ":" + render.task_id + ":" + cast(render.map_index, String)
    vendor_id = func.coalesce(tables.of_render("task_id"), own_key)
    has_file = case((tables.of_manifest("uri").is_not(None), 0), else_=1)
    payer = func.first_value(render.dag_run_id).over(
        partition_by=vendor_id, order_by=(render.timestamp, render.dag_run_id)
    )
    place = func.row_number().over(
        partition_by=(render.dag_run_id, vendor_id),
        order_by=(has_file, render.timestamp.desc(), render.task_id, render.map_index),
    )
    billed = func.max(tables.billed()).over(partition_by=(render.dag_run_id, vendor_id))
    prompts = []
    if (
        filters.text or filters.prompt is not None
    ):  # a task that got only a render id has no prompt of its own
        prompt = func.max(tables.of_render("prompt")).over(partition_by=(render.dag_run_id, vendor_id))
        prompts = [prompt.label("prompt")]
    statement = tables.select(
        render.dag_run_id.label("dag_run_id"),
        render.run_id.label("run_id"),
        vendor_id.label("vendor_id"),
        render.dag_id.label("dag_id"),
        render.task_id.label("task_id"),
        render.map_index.label("map_index"),
        tables.of_render("model").label("model"),
        tables.of_render("duration").label("seconds"),
        tables.of_manifest("cost_cny").label("cost"),
        tables.of_render("estimated_cost_cny").label("estimate"),
        tables.state().label("state"),
        tables.moment().label("moment"),
        case((payer == render.dag_run_id, 1), else_=0).label("paid_here"),
        billed.label("billed"),
        place.label("place"),
        *prompts,
    ).where(tables.within(filters.readable))
    return _matching(statement.subquery("ranked"), filters)


def _matching(ranked: Subquery, filters: Filters) -> Subquery:
    """Keep what matches text and dates. It is a step of its own, because payer and place come from all tasks and runs."""
    conditions: list[ColumnElement[bool]] = []
    if filters.text:
        conditions.append(
            or_(
                ranked.c.prompt.icontains(filters.text, autoescape=True),
                ranked.c.vendor_id == filters.text,
                ranked.c.run_id == filters.text,
            )
        )
    if filters.run_ids:
        conditions.append(ranked.c.run_id.in_(filters.run_ids))
    if filters.prompt is not None:
        conditions.append(ranked.c.prompt == filters.prompt)
    if filters.since is not None:
        conditions.append(ranked.c.moment >= _as_text(filters.since))
    if filters.until is not None:
        conditions.append(ranked.c.moment < _as_text(filters.until))
    return select(ranked).where(*conditions).subquery("matching") if conditions else ranked


def _as_text(moment: datetime) -> str:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _is(xcom: Any, ref: TaskRef) -> tuple[ColumnElement[bool], ...]:
    return (
        xcom.dag_id == ref.dag_id,
        xcom.run_id == ref.run_id,
        xcom.task_id == ref.task_id,
        xcom.map_index == ref.map_index,
    )


def _columns(tables: Tables) -> tuple[Any, ...]:
    render = tables.render
    return (
        render.dag_id,
        render.run_id,
        render.task_id,
        render.map_index,
        render.timestamp,
        render.key,
        render.value,
        tables.manifest.value,
        tables.ti.state,
        tables.ti.try_number,
    )


def _stored(row: Any, *, state: str, paid_here: bool, billed: bool = False) -> Stored:
    dag_id, run_id, task_id, map_index, pushed_at, key, render, manifest, task_state, try_number = row[:10]
    payload = _mapping(render) or {}
    return Stored(
        ref=TaskRef(dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=map_index),
        state=state,
        task_state=task_state,
        try_number=try_number or 0,
        pushed_at=pushed_at,
        paid_here=paid_here,
        render=_unanswered(payload, over=state == "failed") if key == xcom.INTENT else payload,
        manifest=_mapping(manifest) if state == "landed" else None,
        billed=billed,
    )


def _unanswered(intent: Mapping[str, Any], *, over: bool) -> dict[str, Any]:
    """Return an intent in the form of a render: the request, and an unknown outcome once the task is over."""
    request = _mapping(intent.get("request")) or {}
    known = {name: intent.get(name) for name in ("intent_at", "jimeng_conn_id", "fingerprint", "message")}
    return {**request, **known, "outcome": UNKNOWN_SUBMIT if over else None}


def _mapping(value: Any) -> dict[str, Any] | None:
    """Return a payload, or ``None`` if a custom XCom backend stores it elsewhere."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    return dict(value) if isinstance(value, Mapping) else None
