# SPDX-License-Identifier: Apache-2.0
"""Who can see the renders of which DAG. Airflow's auth manager decides on every request.

A reader can see a render if the auth manager allows them to read both its DAG and that DAG's XComs, because the values
come from there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.models.dag import DagModel
from fastapi import HTTPException, status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow.api_fastapi.auth.managers.models.base_user import BaseUser


def readable(
    user: BaseUser, dag_ids: Iterable[str], entity: DagAccessEntity = DagAccessEntity.XCOM
) -> frozenset[str]:
    """Return the DAGs of which the user can see an entity, by default the XComs and so the renders.

    If these are all, it takes one call to the auth manager.
    """
    wanted = sorted(set(dag_ids))
    if not wanted:
        return frozenset()
    questions = {dag_id: _questions(details, entity) for dag_id, details in _details(wanted).items()}
    if _all_allowed([question for pair in questions.values() for question in pair], user):
        return frozenset(wanted)
    if len(wanted) == 1:
        return frozenset()
    return frozenset(dag_id for dag_id, pair in questions.items() if _all_allowed(pair, user))


def require(user: BaseUser, dag_id: str) -> None:
    """Answer 403 to a user who cannot see the renders of a DAG, whether the DAG exists or not."""
    if not readable(user, [dag_id]):
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
