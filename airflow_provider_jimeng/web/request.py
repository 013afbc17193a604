# SPDX-License-Identifier: Apache-2.0
"""What the routes share: the rights of the reader, the database session, the query's filters, and an answer as JSON.

A reader can see a render if Airflow's auth manager allows them to read both its DAG and that DAG's XComs, because the
values come from there. It is asked on every request.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import parse_qs, quote

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep  # noqa: TC002  FastAPI reads it
from airflow.models.dag import DagModel
from airflow.utils.session import create_session
from fastapi import Depends, HTTPException, Query, Request, status
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field, ValidationError
from sqlalchemy.orm import Session

from airflow_provider_jimeng.web import store

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow.api_fastapi.auth.managers.models.base_user import BaseUser

MOST_VALUES = 200
LARGEST_INTEGER = 2**31 - 1
"""The largest integer of the database's columns."""
NOSNIFF = {"X-Content-Type-Options": "nosniff"}
PRIVATE = {"Cache-Control": "private, no-cache", **NOSNIFF}
"""The headers of an answer that only this reader can see, and that a browser checks before it shows it again."""

Name = Annotated[str, Field(min_length=1, max_length=250, pattern=r"^[^\x00]*$")]
Names = Annotated[list[Name], Field(max_length=MOST_VALUES)]
NameDep = Annotated[str, Query(min_length=1, max_length=250, pattern=r"^[^\x00]*$")]
State = Literal["waiting", "running", "landed", "failed", "submitted"]
Sort = Literal["newest", "cost", "length", "render_time"]


# ----------------------------------------------------------------------------------------------------------- rights
def readable_dags(
    user: BaseUser, dag_ids: Iterable[str], entity: DagAccessEntity = DagAccessEntity.XCOM
) -> frozenset[str]:
    """Return the DAGs of which the user can see an entity, by default the XComs and so the renders.

    If these are all, it takes one call to the auth manager.
    """
    names = sorted(set(dag_ids))
    if not names:
        return frozenset()
    questions = {dag_id: _questions(details, entity) for dag_id, details in _details(names).items()}
    if _all_allowed([question for pair in questions.values() for question in pair], user):
        return frozenset(names)
    if len(names) == 1:
        return frozenset()
    return frozenset(dag_id for dag_id, pair in questions.items() if _all_allowed(pair, user))


def require(user: BaseUser, dag_id: str) -> None:
    """Answer 403 to a user who cannot see the renders of a DAG, whether the DAG exists or not."""
    if not readable_dags(user, [dag_id]):
        raise HTTPException(status.HTTP_403_FORBIDDEN, "Forbidden: you may not read this DAG's XComs.")


def may_see_arguments(user: BaseUser, dag_id: str) -> bool:
    """Return whether the user can see the rendered arguments of a DAG's tasks, as Airflow itself shows them."""
    details = _details([dag_id])[dag_id]
    question = {"method": "GET", "details": details, "access_entity": DagAccessEntity.TASK_INSTANCE}
    return _all_allowed([question], user)


def _all_allowed(questions: list[Any], user: BaseUser) -> bool:
    return bool(get_auth_manager().batch_is_authorized_dag(questions, user=user))


def _questions(details: DagDetails, entity: DagAccessEntity) -> list[dict[str, Any]]:
    return [
        {"method": "GET", "details": details},
        {"method": "GET", "details": details, "access_entity": entity},
    ]


def _details(dag_ids: list[str]) -> dict[str, DagDetails]:
    """Return the details of each DAG, with its team where Airflow has teams (from 3.2 on)."""
    mapping = getattr(DagModel, "get_dag_id_to_team_name_mapping", None)
    teams: dict[str, str | None] = mapping(dag_ids) if mapping is not None else {}
    return {dag_id: DagDetails(id=dag_id, team_name=teams.get(dag_id)) for dag_id in dag_ids}


# ------------------------------------------------------------------------------------------------------ the session
def session() -> Iterator[Session]:
    """Open a database session for one request. Several threads serve a request, so it is not the thread's session."""
    with create_session(scoped=False) as opened:
        yield opened


SessionDep = Annotated[Session, Depends(session)]


# -------------------------------------------------------------------------------------------------------- the query
def task_ref(
    dag_id: NameDep,
    run_id: NameDep,
    task_id: NameDep,
    user: GetUserDep,
    map_index: Annotated[int, Query(ge=-1, le=LARGEST_INTEGER)] = -1,
) -> store.TaskRef:
    """Return the task instance that the query names. Answer 403 to a user who cannot read its DAG's XComs."""
    require(user, dag_id)
    return store.TaskRef(dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=map_index)


RefDep = Annotated[store.TaskRef, Depends(task_ref)]


class RendersQuery(BaseModel):
    """The filters and the order of the gallery. All but the texts and dates can be repeated."""

    dag_id: Names = []
    run_id: Names = []
    state: list[State] = []
    model: Names = []
    ratio: Names = []
    conn_id: Names = []
    q: str = Field(default="", max_length=500)
    since: datetime | None = None
    until: datetime | None = None
    sort: Sort = "newest"

    def filters(self, readable: frozenset[str]) -> store.Filters:
        """Return the filters, limited to what a user can read."""
        return store.Filters(
            readable=readable,
            dag_ids=tuple(self.dag_id),
            run_ids=tuple(self.run_id),
            states=tuple(self.state),
            models=tuple(self.model),
            ratios=tuple(self.ratio),
            conn_ids=tuple(self.conn_id),
            text=self.q.strip(),
            since=_aware(self.since),
            until=_aware(self.until),
            sort=self.sort,
        )


def read_query(text: str) -> RendersQuery:
    """Return the query of a gallery's address.

    :raises HTTPException: 422, if it is not valid.
    """
    fields: dict[str, Any] = {}
    for name, values in parse_qs(text).items():
        if name in RendersQuery.model_fields:
            many = name in ("dag_id", "run_id", "state", "model", "ratio", "conn_id")
            fields[name] = values if many else values[-1]
    try:
        return RendersQuery(**fields)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_context=False, include_input=False)
        raise HTTPException(422, detail) from error


def _aware(moment: datetime | None) -> datetime | None:
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)


def filters_of_query(
    user: GetUserDep, db: SessionDep, query: Annotated[RendersQuery, Query()]
) -> store.Filters:
    """Return the filters that the query names, limited to what the user can read."""
    return query.filters(readable_dags(user, store.dag_ids(db)))


FiltersDep = Annotated[store.Filters, Depends(filters_of_query)]


# ------------------------------------------------------------------------------------------------------- the answer
def conditional(request: Request, content: Mapping[str, Any]) -> Response:
    """Return JSON, or 304 if the reader has it already. A server that compresses marks the tag as weak."""
    answer = JSONResponse(content, headers=PRIVATE)
    tag = f'"{hashlib.sha256(answer.body).hexdigest()[:32]}"'
    answer.headers["ETag"] = tag
    known = request.headers.get("if-none-match", "").split(",")
    if tag in (one.strip().removeprefix("W/") for one in known):
        return Response(status_code=status.HTTP_304_NOT_MODIFIED, headers={**PRIVATE, "ETag": tag})
    return answer


def attachment(name: str) -> dict[str, str]:
    """Return the headers of an answer that a browser saves under a name."""
    return {**PRIVATE, "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}
