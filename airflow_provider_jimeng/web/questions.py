# SPDX-License-Identifier: Apache-2.0
"""The questions that DAGs ask people about a render, and the answers: Airflow's human-in-the-loop tasks.

A question is about a render in one of two cases. Its ``params`` name the render: ``render_id``, or ``task_id`` with, if
they differ from those of the question, ``dag_id``, ``run_id`` and ``map_index``. Or its task is downstream of the render in
the same run, has the same map index, and no other paying task lies between. If several tasks of a run have the render, such
as those that submit, wait and download, this holds for each of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.models.hitl import HITLDetail
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance
from sqlalchemy import String, and_, cast, or_, select, tuple_

from airflow_provider_jimeng.web.reading import number, plain, text
from airflow_provider_jimeng.web.store import TaskRef

if TYPE_CHECKING:
    from sqlalchemy.orm import Session
    from sqlalchemy.sql import ColumnElement, Select

    from airflow_provider_jimeng.web.store import Stored

ANSWERABLE_AFTER = timedelta(seconds=10)
"""Airflow can fail a task that is answered before the scheduler has seen that it waits. That takes seconds."""
_WAITING = ("awaiting_input", "deferred")
"""The states of a waiting question: from Airflow 3.3 on, and before."""
_ENDED = ("success", "failed", "upstream_failed", "skipped", "removed")
_PAYING = frozenset({"JimengGenerateVideoOperator", "JimengSubmitVideoOperator"})
_NAMING_FIELDS = frozenset({"render_id", "dag_id", "run_id", "task_id", "map_index"})
"""The fields by which a question names its render. Nobody fills them in."""
_COLUMNS = (
    *(TaskInstance.dag_id, TaskInstance.run_id, TaskInstance.task_id, TaskInstance.map_index),
    *(TaskInstance.state, TaskInstance.updated_at, TaskInstance.dag_version_id),
    *(HITLDetail.subject, HITLDetail.options, HITLDetail.multiple, HITLDetail.params, HITLDetail.assignees),
    *(HITLDetail.created_at, HITLDetail.responded_at, HITLDetail.responded_by),
    *(HITLDetail.chosen_options, HITLDetail.params_input),
)


# ---------------------------------------------------------------------------------------------- which questions
def candidates(session: Session, tasks: Sequence[TaskRef], render_id: str | None) -> list[Any]:
    """Return the questions that can be about a render: those of its run, and those that name its values elsewhere.

    :param tasks: the task instances of one run that have the render.
    """
    ti = TaskInstance
    params: ColumnElement[str] = cast(HITLDetail.params, String)

    def names(*values: str) -> ColumnElement[bool]:
        return and_(*(params.contains(json.dumps(value), autoescape=True) for value in values))

    in_run = and_(
        ti.dag_id == tasks[0].dag_id,
        ti.run_id == tasks[0].run_id,
        or_(
            ti.map_index.in_(sorted({ref.map_index for ref in tasks})), names("map_index"), names("render_id")
        ),
    )
    elsewhere = [names("run_id", ref.run_id, ref.task_id) for ref in tasks]
    if render_id:
        elsewhere.append(names("render_id", render_id))
    by_ref = {
        ref_of(row): row
        for where in (in_run, or_(*elsewhere))
        for row in session.execute(_select().where(where))
    }
    return list(by_ref.values())


def _select() -> Select[Any]:
    ti = TaskInstance
    return select(*_COLUMNS).join(ti, HITLDetail.ti_id == ti.id).order_by(HITLDetail.created_at)


def about(
    session: Session, tasks: Sequence[TaskRef], render_id: str | None, rows: Iterable[Any]
) -> list[Any]:
    """Return which of the questions are about a render."""
    graphs = _Graphs(session=session)
    return [row for row in rows if _is_about(row, tasks, render_id, graphs)]


def reviews(
    session: Session, stored: Iterable[Stored], may_read: Callable[[Iterable[str]], frozenset[str]]
) -> dict[TaskRef, dict[str, Any]]:
    """Return what the cards of renders show of the last question about each of them in its own run.

    :param may_read: returns those of some DAGs whose questions the reader can read.
    """
    landed = [one for one in stored if one.state == "landed"]
    runs = sorted({(one.ref.dag_id, one.ref.run_id) for one in landed})
    in_runs = tuple_(TaskInstance.dag_id, TaskInstance.run_id).in_(runs)
    rows = session.execute(_select().where(in_runs)).all() if runs else []
    readable = may_read({row.dag_id for row in rows}) if rows else frozenset()
    by_run: dict[tuple[str, str], list[Any]] = {}
    for row in rows:
        if row.dag_id in readable:
            by_run.setdefault((row.dag_id, row.run_id), []).append(row)
    graphs, shown = _Graphs(session=session), {}
    for one in landed:
        render_id = text(one.render.get("task_id"))
        for row in reversed(by_run.get((one.ref.dag_id, one.ref.run_id), [])):
            if _is_about(row, one.tasks, render_id, graphs):
                shown[one.ref] = _review(row)
                break
    return shown


def _is_about(row: Any, tasks: Iterable[TaskRef], render_id: str | None, graphs: _Graphs) -> bool:
    values = {name: _value(param) for name, param in _mapping(row.params).items() if name in _NAMING_FIELDS}
    if "render_id" in values:
        return render_id is not None and text(values["render_id"]) == render_id
    if "task_id" in values:
        named = asdict(ref_of(row)) | values
        return any(asdict(ref) == named for ref in tasks)
    return any(
        (row.dag_id, row.run_id, row.map_index) == (ref.dag_id, ref.run_id, ref.map_index)
        and row.task_id in graphs.below(row.dag_version_id, ref.task_id)
        for ref in tasks
    )


@dataclass(slots=True, kw_only=True)
class _Graphs:
    """The tasks of DAGs, by the version that ran. Each version is read once."""

    session: Session
    _tasks: dict[Any, dict[str, Mapping[str, Any]]] = field(default_factory=dict)
    _below: dict[tuple[Any, str], frozenset[str]] = field(default_factory=dict)

    def below(self, version: Any, task_id: str) -> frozenset[str]:
        """Return the tasks downstream of a task, up to the next tasks that pay."""
        if (version, task_id) not in self._below:
            self._below[version, task_id] = _tasks_below(self._read(version), task_id)
        return self._below[version, task_id]

    def _read(self, version: Any) -> dict[str, Mapping[str, Any]]:
        if version not in self._tasks:
            statement = select(SerializedDagModel).where(SerializedDagModel.dag_version_id == version)
            model = self.session.scalar(statement)
            self._tasks[version] = _tasks(None if model is None else model.data)
        return self._tasks[version]


def _tasks_below(tasks: Mapping[str, Mapping[str, Any]], task_id: str) -> frozenset[str]:
    below: set[str] = set()
    waiting = [task_id]
    while waiting:
        for name in tasks.get(waiting.pop(), {}).get("downstream_task_ids", ()):
            if name not in below and tasks.get(name, {}).get("task_type") not in _PAYING:
                below.add(name)
                waiting.append(name)
    return frozenset(below)


def _tasks(data: Any) -> dict[str, Mapping[str, Any]]:
    """Return the tasks of a serialized DAG by their names."""
    stored = [_mapping(task).get("__var") for task in _mapping(_mapping(data).get("dag")).get("tasks", ())]
    return {str(task["task_id"]): task for task in stored if isinstance(task, Mapping) and "task_id" in task}


# -------------------------------------------------------------------------------------------- what a page shows
def question(row: Any, now: datetime) -> dict[str, Any]:
    """Return one question as the page shows it."""
    fields = [_field(name, param) for name, param in _mapping(row.params).items()]
    parked_at = row.updated_at if row.state in _WAITING else None
    answerable_from = None if parked_at is None else parked_at + ANSWERABLE_AFTER
    state = "decided" if row.responded_at is not None else "closed" if row.state in _ENDED else "open"
    return {
        "ref": asdict(ref_of(row)),
        "state": state,
        "task_state": row.state,
        "subject": text(row.subject),
        "options": _texts(row.options),
        "multiple": bool(row.multiple),
        "fields": fields,
        "assigned": [text(_mapping(user).get("name")) or "" for user in row.assignees or ()],
        "asked_at": row.created_at.isoformat(),
        "parked_at": parked_at and parked_at.isoformat(),
        "answerable_from": answerable_from and answerable_from.isoformat(),
        "answerable_in": answerable_from and max(0.0, (answerable_from - now).total_seconds()),
        "decided": _decision(row, fields) if state == "decided" else None,
    }


def _review(row: Any) -> dict[str, Any]:
    """Return what a card shows of a question: whether it is open, or who decided what, and when."""
    shown = question(row, row.created_at)
    decided = shown["decided"] and {name: shown["decided"][name] for name in ("by", "at", "options")}
    return {"state": shown["state"], "subject": shown["subject"], "decided": decided}


def _decision(row: Any, fields: list[dict[str, Any]]) -> dict[str, Any]:
    """Return who decided what, and when. ``by`` is ``None`` if nobody answered in time and Airflow took the default."""
    answers = _mapping(row.params_input)
    filled = ((field["title"], answers.get(field["name"])) for field in fields if field["kind"] != "fixed")
    return {
        "by": text(_mapping(row.responded_by).get("name")),
        "at": row.responded_at.isoformat(),
        "options": _texts(row.chosen_options),
        "filled": [
            {"title": title, "value": plain(value)}
            for title, value in filled
            if value not in (None, "", False)
        ],
    }


def _field(name: str, param: Any) -> dict[str, Any]:
    """Return one of the ``params`` of a question as a field of a form.

    ``kind`` is ``fixed`` for what names the render or belongs to the whole DAG, and ``other`` for what only Airflow's own
    form can show. ``confirms`` names the option that needs a tick in this field, such as one that pays.
    """
    schema = _mapping(param.get("schema")) if _is_param(param) else {}
    value = plain(_value(param))
    types = schema.get("type")
    known = types if isinstance(types, list) else [types]
    choices = schema.get("enum")
    if name in _NAMING_FIELDS or (_is_param(param) and param.get("source") == "dag"):
        kind = "fixed"
    elif isinstance(choices, list):
        kind = "choice"
    else:
        kind = next((_KINDS[one] for one in known if one in _KINDS), None) or _kind_of(value)
    return {
        "name": name,
        "kind": kind,
        "title": text(schema.get("title")) or name,
        "description": text(param.get("description")) if _is_param(param) else None,
        "value": value,
        "required": value is None and "null" not in known,
        "choices": plain(choices) if kind == "choice" else [],
        "least": number(schema.get("minLength", schema.get("minimum"))),
        "most": number(schema.get("maxLength", schema.get("maximum"))),
        "confirms": text(schema.get("confirms")) if kind == "flag" else None,
    }


_KINDS = {"string": "text", "boolean": "flag", "integer": "number", "number": "number"}


def _kind_of(value: Any) -> str:
    """Return the kind of a field without a type. Airflow 3.1.2 and older keep only the value."""
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, int | float):
        return "number"
    return "text" if value is None or isinstance(value, str) else "other"


def _is_param(param: Any) -> bool:
    return isinstance(param, Mapping) and {"value", "schema"} <= param.keys()


def _value(param: Any) -> Any:
    return param["value"] if _is_param(param) else param


def ref_of(row: Any) -> TaskRef:
    """Return the task instance that asks a question."""
    return TaskRef(dag_id=row.dag_id, run_id=row.run_id, task_id=row.task_id, map_index=row.map_index)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _texts(values: Any) -> list[str]:
    texts: Iterable[Any] = values if isinstance(values, list) else ()
    return [str(plain(str(value))) for value in texts]
