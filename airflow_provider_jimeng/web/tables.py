# SPDX-License-Identifier: Apache-2.0
"""The queries to Airflow's database. They select rows; what the rows mean is decided in Python.

This works on Airflow 3.1 and newer; ``XComModel`` has these columns up to 3.4. Payloads come as the text that the database
stores, because SQLite also stores text that is not JSON, and such a value must not fail a query.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow.models.dagrun import DagRun
from airflow.models.renderedtifields import RenderedTaskInstanceFields
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.state import State
from sqlalchemy import Text, and_, case, func, or_, select, type_coerce
from sqlalchemy.orm import aliased

from airflow_provider_jimeng.operators import xcom

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from sqlalchemy.orm import Session
    from sqlalchemy.sql import ColumnElement, Select

    from airflow_provider_jimeng.web.entries import Pushes

KEYS = (xcom.RENDER, xcom.REFUSAL, xcom.INTENT)
"""The keys under which a task pushes what it knows of its render."""
COUNTED = (*KEYS, xcom.EARLIER)
ACTIVE = frozenset(str(state) for state in State.unfinished if state is not None)
"""The states of an unfinished task. A cleared task has the state ``None`` until it is scheduled."""
_RESUMES_SUBMIT = "resume_submit"
"""The method with which a task continues that waits for a slot. Airflow stores its name."""
_SUBMITTERS = ("JimengGenerateVideoOperator", "JimengSubmitVideoOperator")
_CHUNK = 50

Identity = tuple[int, str, int]
"""A task instance in the table of XComs: the run's number, the task and the map index."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class TaskRef:
    """One task instance."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1


class Mark(NamedTuple):
    """Tells whether our XComs of a DAG have changed: their count, the sum of their runs' numbers, and the newest time.

    The sum also changes if as many XComs are deleted as are pushed.
    """

    pushes: int
    runs: int
    newest: datetime


class XComRow(NamedTuple):
    """One of our XComs, with the return value and the state of its task instance."""

    ref: TaskRef
    identity: Identity
    key: str
    pushed_at: datetime
    value: Any
    manifest: Any
    task_state: str | None
    try_number: int


class ActiveTask(NamedTuple):
    """An unfinished task instance. ``waits``: it is about to submit, or waits for a slot."""

    state: str | None
    try_number: int
    waits: bool


def pushes(session: Session) -> int:
    """Return how many of our XComs there are. Databases count them in the index of the keys, without the rows."""
    return session.scalar(select(func.count()).select_from(XComModel).where(_is_ours())) or 0


def marks(session: Session, since: datetime) -> dict[str, Mark]:
    """Return a mark for each DAG that has XComs of ours, however old; its numbers are of those since a time."""
    run = case((XComModel.timestamp >= since, XComModel.dag_run_id))
    numbers = func.count(run), func.coalesce(func.sum(run), 0), func.max(XComModel.timestamp)
    rows = session.execute(select(_dag_id(), *numbers).where(_is_ours()).group_by(_dag_id()))
    return {dag_id: Mark(*mark) for dag_id, *mark in rows}


def oldest_of(session: Session, most: int) -> datetime | None:
    """Return the time of the XCom that follows the ``most`` newest ones, ``None`` if there is none."""
    statement = select(XComModel.timestamp).where(_is_ours())
    return session.scalar(statement.order_by(XComModel.timestamp.desc()).offset(most).limit(1))


def rows_since(
    session: Session, since: datetime, dag_ids: Collection[str] | None = None
) -> Iterator[XComRow]:
    """Return our XComs since a time, of some DAGs or of all."""
    conditions = [XComModel.timestamp >= since]
    if dag_ids is not None:
        conditions.append(_dag_id().in_(sorted(dag_ids)))
    yield from _rows(session, *conditions)


def rows_of_tasks(session: Session, identities: Sequence[Identity]) -> Iterator[XComRow]:
    """Return our XComs of some task instances."""
    groups: dict[tuple[int, str], list[int]] = {}
    for run, task_id, map_index in identities:
        groups.setdefault((run, task_id), []).append(map_index)
    for some in _chunks(list(groups.items())):
        yield from _rows(
            session,
            or_(
                *(
                    and_(
                        XComModel.dag_run_id == run,
                        XComModel.task_id == task_id,
                        XComModel.map_index.in_(indexes),
                    )
                    for (run, task_id), indexes in some
                )
            ),
        )


def rows_of_task(session: Session, ref: TaskRef) -> Iterator[XComRow]:
    """Return our XComs of one task instance."""
    yield from _rows(
        session,
        XComModel.dag_id == ref.dag_id,
        XComModel.task_id == ref.task_id,
        XComModel.run_id == ref.run_id,
        XComModel.map_index == ref.map_index,
    )


def rows_of_runs(session: Session, run_ids: Collection[str], dag_ids: Collection[str]) -> Iterator[XComRow]:
    """Return our XComs of some DAG runs."""
    yield from _rows(session, XComModel.dag_run_id.in_(_runs(run_ids, dag_ids)))


def began(session: Session, run_ids: Collection[str], dag_ids: Collection[str]) -> datetime | None:
    """Return when the first XCom of some DAG runs was pushed."""
    of_runs = XComModel.dag_run_id.in_(_runs(run_ids, dag_ids))
    return session.scalar(select(func.min(XComModel.timestamp)).where(of_runs, _is_ours()))


def pushes_of(session: Session, dag_id: str, since: datetime) -> dict[Identity, Pushes]:
    """Return the keys and times of our XComs since a time, by task instance of a DAG."""
    statement = select(
        XComModel.dag_run_id, XComModel.task_id, XComModel.map_index, XComModel.key, XComModel.timestamp
    ).where(_dag_id() == dag_id, _is_ours(), XComModel.timestamp >= since)
    pushes: dict[Identity, list[tuple[str, datetime]]] = {}
    for run, task_id, map_index, key, pushed_at in session.execute(statement):
        pushes.setdefault((run, task_id, map_index), []).append((key, pushed_at))
    return {identity: tuple(sorted(of_task)) for identity, of_task in pushes.items()}


def active(session: Session, dag_ids: Collection[str]) -> dict[TaskRef, ActiveTask]:
    """Return the unfinished task instances: those of some DAGs, and all that wait for a slot.

    A cleared task is among them as soon as it is scheduled. The ranges beside the list of states are for SQLite: it knows
    only how many tasks a state has on average, and would read the whole table.
    """
    ti = TaskInstance
    waits = or_(
        func.coalesce(ti.next_method, "") == _RESUMES_SUBMIT,
        and_(func.coalesce(ti.operator, "").in_(_SUBMITTERS), ti.state.in_(("running", "deferred"))),
    )
    ours = func.coalesce(ti.dag_id, "").in_(sorted(dag_ids))  # an expression for the same reason as _dag_id
    statement = select(
        ti.dag_id, ti.run_id, ti.task_id, ti.map_index, ti.state, ti.try_number, case((waits, 1), else_=0)
    ).where(
        ti.state.in_(sorted(ACTIVE)),
        or_(and_(ti.state >= "a", ti.state < "success"), and_(ti.state > "success", ti.state < "z")),
        or_(ours, waits),
    )
    return {
        TaskRef(dag_id=dag, run_id=run, task_id=task, map_index=index): ActiveTask(
            state, tries or 0, bool(waiting)
        )
        for dag, run, task, index, state, tries, waiting in session.execute(statement)
    }


def arguments_of(session: Session, refs: Sequence[TaskRef]) -> dict[TaskRef, dict[str, Any]]:
    """Return the rendered arguments of some task instances, as far as Airflow keeps them, and ``estimated_cost_cny``."""
    by_ref: dict[TaskRef, dict[str, Any]] = {}
    for some in _chunks(refs):
        for columns, column, extra in (
            (RenderedTaskInstanceFields, RenderedTaskInstanceFields.rendered_fields, []),
            (XComModel, XComModel.value, [XComModel.key == xcom.ESTIMATED_COST]),
        ):
            statement = select(
                columns.dag_id, columns.run_id, columns.task_id, columns.map_index, column
            ).where(_is_one_of(columns, some), *extra)
            for dag, run, task, index, value in session.execute(statement):
                arguments = dict(value) if isinstance(value, Mapping) else {xcom.ESTIMATED_COST: value}
                by_ref.setdefault(TaskRef(dag_id=dag, run_id=run, task_id=task, map_index=index), {}).update(
                    arguments
                )
    return by_ref


def latest_arguments(session: Session, ref: TaskRef) -> Mapping[str, Any]:
    """Return the rendered arguments of a task instance, or else the latest ones of its task.

    Airflow keeps the arguments of the last runs only.
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
    return rendered if isinstance(rendered, Mapping) else {}


def _rows(session: Session, *conditions: ColumnElement[bool]) -> Iterator[XComRow]:
    manifest, ti = aliased(XComModel), TaskInstance
    statement = (
        select(
            XComModel.dag_id,
            XComModel.run_id,
            XComModel.dag_run_id,
            XComModel.task_id,
            XComModel.map_index,
            XComModel.key,
            XComModel.timestamp,
            type_coerce(XComModel.value, Text).label("value"),
            type_coerce(manifest.value, Text).label("returned"),
            ti.state,
            ti.try_number,
        )
        .outerjoin(
            ti,
            and_(
                ti.dag_id == XComModel.dag_id,
                ti.task_id == XComModel.task_id,
                ti.run_id == XComModel.run_id,
                ti.map_index == XComModel.map_index,
            ),
        )
        .outerjoin(
            manifest,
            and_(
                manifest.dag_run_id == XComModel.dag_run_id,
                manifest.task_id == XComModel.task_id,
                manifest.map_index == XComModel.map_index,
                manifest.key == xcom.RETURN_VALUE,
            ),
        )
        .where(_is_ours(), *conditions)
    )
    for dag, run, number, task, index, key, at, value, returned, state, tries in session.execute(statement):
        yield XComRow(
            TaskRef(dag_id=dag, run_id=run, task_id=task, map_index=index),
            (number, task, index),
            key,
            at,
            value,
            returned,
            state,
            tries or 0,
        )


def _is_ours() -> ColumnElement[bool]:
    """Return the condition for our keys. The range beside the list is for SQLite, for the same reason as in :func:`active`."""
    return and_(XComModel.key.between("jimeng_", "jimeng_z"), XComModel.key.in_(COUNTED))


def _runs(run_ids: Collection[str], dag_ids: Collection[str]) -> Select[Any]:
    return select(DagRun.id).where(DagRun.dag_id.in_(sorted(dag_ids)), DagRun.run_id.in_(sorted(run_ids)))


def _dag_id() -> ColumnElement[str]:
    """Return the DAG of an XCom as an expression. With the plain column, databases begin with all tasks of these DAGs."""
    return func.coalesce(XComModel.dag_id, "")


def _is_one_of(columns: Any, refs: Iterable[TaskRef]) -> ColumnElement[bool]:
    return or_(
        *(
            and_(
                columns.dag_id == ref.dag_id,
                columns.task_id == ref.task_id,
                columns.run_id == ref.run_id,
                columns.map_index == ref.map_index,
            )
            for ref in refs
        )
    )


def _chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for first in range(0, len(items), _CHUNK):
        yield items[first : first + _CHUNK]
