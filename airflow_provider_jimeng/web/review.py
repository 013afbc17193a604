# SPDX-License-Identifier: Apache-2.0
"""The questions that DAGs ask people about a render, and the answers: Airflow's human-in-the-loop tasks.

A question is about a render in one of two cases. Its ``params`` name the render: ``render_id``, or ``task_id`` with, if
they differ from those of the question, ``dag_id``, ``run_id`` and ``map_index``. Or its task is downstream of the render in
the same run, has the same map index, and no other paying task lies between.

This module only reads. The page sends an answer to Airflow's own API, with the session of the person who answers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import GetUserDep  # noqa: TC002  FastAPI reads it
from airflow.models.hitl import HITLDetail
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance
from fastapi import APIRouter
from fastapi.responses import JSONResponse
from sqlalchemy import String, and_, cast, or_, select

from airflow_provider_jimeng.web import access, store
from airflow_provider_jimeng.web.app import RefDep, SessionDep  # noqa: TC001  FastAPI reads them
from airflow_provider_jimeng.web.reading import number, plain, text
from airflow_provider_jimeng.web.store import TaskRef

if TYPE_CHECKING:
    from sqlalchemy.orm import Session
    from sqlalchemy.sql import ColumnElement

ANSWERABLE_AFTER = timedelta(seconds=10)
"""Airflow can fail a task that is answered within seconds after it was parked, before the scheduler has seen it parked."""
_PARKED = ("awaiting_input", "deferred")
"""The state of a waiting question: the first from Airflow 3.3 on, the second before."""
_OVER = ("success", "failed", "upstream_failed", "skipped", "removed")
_PAYING = frozenset({"JimengGenerateVideoOperator", "JimengSubmitVideoOperator"})
_NAMING = frozenset({"render_id", "dag_id", "run_id", "task_id", "map_index"})
"""The fields by which a question names its render. Nobody fills them in."""
_MOST = 20
_PRIVATE = {"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff"}
_COLUMNS = (
    *(TaskInstance.dag_id, TaskInstance.run_id, TaskInstance.task_id, TaskInstance.map_index),
    *(TaskInstance.state, TaskInstance.updated_at),
    *(HITLDetail.subject, HITLDetail.options, HITLDetail.multiple, HITLDetail.params, HITLDetail.assignees),
    *(HITLDetail.created_at, HITLDetail.responded_at, HITLDetail.responded_by),
    *(HITLDetail.chosen_options, HITLDetail.params_input),
)

router = APIRouter()


@router.get("/api/review")
def review(ref: RefDep, user: GetUserDep, db: SessionDep) -> JSONResponse:
    """Return the questions about a render, open and answered, the oldest first; only those that the reader can read."""
    stored = store.one(db, ref)
    render_id = None if stored is None else text(stored.render.get("task_id"))
    rows = [row for row in _candidates(db, ref, render_id) if _ref(row) != ref]
    readable = access.readable(user, (row.dag_id for row in rows), DagAccessEntity.HITL_DETAIL)
    below = _tasks_below(db, ref) if any(row.dag_id in readable for row in rows) else frozenset()
    now = datetime.now(UTC)
    found = [
        question(row, now) for row in rows if row.dag_id in readable and _is_about(row, ref, render_id, below)
    ]
    return JSONResponse({"questions": found[:_MOST]}, headers=_PRIVATE)


# ---------------------------------------------------------------------------------------------- which questions
def _candidates(session: Session, ref: TaskRef, render_id: str | None) -> list[Any]:
    """Return the questions that can be about a render: those of its run, and those that name its values elsewhere."""
    ti = TaskInstance
    params: ColumnElement[str] = cast(HITLDetail.params, String)

    def names(*values: str) -> ColumnElement[bool]:
        return and_(*(params.contains(json.dumps(value), autoescape=True) for value in values))

    here = and_(
        ti.dag_id == ref.dag_id,
        ti.run_id == ref.run_id,
        or_(ti.map_index == ref.map_index, names("map_index"), names("render_id")),
    )
    elsewhere = [names("run_id", ref.run_id, ref.task_id)]
    if render_id:
        elsewhere.append(names("render_id", render_id))
    statement = select(*_COLUMNS).join(ti, HITLDetail.ti_id == ti.id).order_by(HITLDetail.created_at)
    found = {
        _ref(row): row for where in (here, or_(*elsewhere)) for row in session.execute(statement.where(where))
    }
    return list(found.values())


def _is_about(row: Any, ref: TaskRef, render_id: str | None, below: frozenset[str]) -> bool:
    values = {name: _value(param) for name, param in _mapping(row.params).items() if name in _NAMING}
    if "render_id" in values:
        return render_id is not None and text(values["render_id"]) == render_id
    if "task_id" in values:
        return asdict(ref) == asdict(_ref(row)) | values
    here = (row.dag_id, row.run_id, row.map_index) == (ref.dag_id, ref.run_id, ref.map_index)
    return here and row.task_id in below


def _tasks_below(session: Session, ref: TaskRef) -> frozenset[str]:
    """Return the tasks downstream of a task, up to the next task that pays, in the version of the DAG that ran."""
    ti = TaskInstance
    version = session.scalar(
        select(ti.dag_version_id).where(
            ti.dag_id == ref.dag_id,
            ti.run_id == ref.run_id,
            ti.task_id == ref.task_id,
            ti.map_index == ref.map_index,
        )
    )
    model = session.scalar(select(SerializedDagModel).where(SerializedDagModel.dag_version_id == version))
    tasks = _tasks(None if model is None else model.data)
    found: set[str] = set()
    waiting = [ref.task_id]
    while waiting:
        for name in tasks.get(waiting.pop(), {}).get("downstream_task_ids", ()):
            if name not in found and tasks.get(name, {}).get("task_type") not in _PAYING:
                found.add(name)
                waiting.append(name)
    return frozenset(found)


def _tasks(data: Any) -> dict[str, Mapping[str, Any]]:
    """Return the tasks of a serialized DAG by their names."""
    stored = [_mapping(task).get("__var") for task in _mapping(_mapping(data).get("dag")).get("tasks", ())]
    return {str(task["task_id"]): task for task in stored if isinstance(task, Mapping) and "task_id" in task}


# -------------------------------------------------------------------------------------------- what a page shows
def question(row: Any, now: datetime) -> dict[str, Any]:
    """Return one question as the page shows it."""
    fields = [_field(name, param) for name, param in _mapping(row.params).items()]
    parked_at = row.updated_at if row.state in _PARKED else None
    answerable_from = None if parked_at is None else parked_at + ANSWERABLE_AFTER
    state = "decided" if row.responded_at is not None else "closed" if row.state in _OVER else "open"
    return {
        "ref": asdict(_ref(row)),
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


def _decision(row: Any, fields: list[dict[str, Any]]) -> dict[str, Any]:
    """Return who decided what, and when. ``by`` is ``None`` if nobody answered in time and Airflow took the default."""
    given = _mapping(row.params_input)
    filled = ((field["title"], given.get(field["name"])) for field in fields if field["kind"] != "fixed")
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

    ``kind`` is ``fixed`` for what names the render or belongs to the whole DAG, and ``other`` for what only Airflow's own form can show.
    ``confirms`` names the option that counts only with this field's tick, such as one that pays.
    """
    schema = _mapping(param.get("schema")) if _is_param(param) else {}
    value = plain(_value(param))
    types = schema.get("type")
    known = types if isinstance(types, list) else [types]
    choices = schema.get("enum")
    if name in _NAMING or (_is_param(param) and param.get("source") == "dag"):
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


def _ref(row: Any) -> TaskRef:
    return TaskRef(dag_id=row.dag_id, run_id=row.run_id, task_id=row.task_id, map_index=row.map_index)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _texts(values: Any) -> list[str]:
    found: Iterable[Any] = values if isinstance(values, list) else ()
    return [str(plain(str(value))) for value in found]
