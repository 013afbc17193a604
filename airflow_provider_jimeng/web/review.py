# SPDX-License-Identifier: Apache-2.0
"""The route for the questions about a render. It only reads.

The page sends an answer to Airflow's own API, with the session of the person who answers.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import GetUserDep  # noqa: TC002  FastAPI reads it
from fastapi import APIRouter
from fastapi.responses import JSONResponse

from airflow_provider_jimeng.web import access, questions, store
from airflow_provider_jimeng.web.app import RefDep, SessionDep  # noqa: TC001  FastAPI reads them
from airflow_provider_jimeng.web.reading import text

_MOST = 20
_PRIVATE = {"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff"}

router = APIRouter()


@router.get("/api/review")
def review(ref: RefDep, user: GetUserDep, db: SessionDep) -> JSONResponse:
    """Return the questions about a render, open and answered, the oldest first; only those that the reader can read."""
    stored = store.one_of_run(db, ref, frozenset({ref.dag_id}))
    render_id = None if stored is None else text(stored.render.get("task_id"))
    tasks = (ref,) if stored is None else stored.tasks
    asked = questions.candidates(db, tasks, render_id)
    readable = access.readable(user, (row.dag_id for row in asked), DagAccessEntity.HITL_DETAIL)
    found = questions.about(db, tasks, render_id, (row for row in asked if row.dag_id in readable))
    now = datetime.now(UTC)
    content = {"questions": [questions.question(row, now) for row in found[:_MOST]]}
    return JSONResponse(content, headers=_PRIVATE)
