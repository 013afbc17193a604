# SPDX-License-Identifier: Apache-2.0
"""The rows of Airflow's database that belong to a render, and what follows from them, as SQL.

The database compares values by JSON paths and as text, which cannot fail on a payload that others pushed. This works on
Airflow 3.1 and newer; ``XComModel`` has these columns up to 3.4.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from sqlalchemy import String, and_, case, cast, exists, func, or_, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import aliased
from sqlalchemy.sql.functions import FunctionElement

from airflow_provider_jimeng.core.outcomes import Outcome
from airflow_provider_jimeng.operators import xcom

if TYPE_CHECKING:
    from sqlalchemy.sql import ColumnElement, Select
    from sqlalchemy.sql.compiler import SQLCompiler

KEYS = (xcom.RENDER, xcom.REFUSAL, xcom.INTENT)
"""The first of them that a task instance left speaks for it."""
STATES = ("running", "landed", "failed", "submitted")
"""``submitted``: the task is done and passed the render on, but no task of this run has saved the video."""
_FAILED_OUTCOMES = sorted(
    outcome.value for outcome in Outcome if outcome not in (Outcome.SUCCEEDED, Outcome.SLOT_FREE)
)
_FAILED_TASKS = ("failed", "upstream_failed", "removed", "skipped")
_TRIES_OVER = ("success", "up_for_retry")
"""Task states, besides those of failed tasks, in which a submit without a response gets none any more."""


class _Sound(FunctionElement[Any]):
    """A JSON column. SQLite, unlike others, stores text that is not JSON, such as ``NaN``; a path into it fails the query."""

    inherit_cache = True

    def __init__(self, column: ColumnElement[Any]) -> None:
        self.type = column.type
        super().__init__(column)


@compiles(_Sound)
def _as_it_is(element: _Sound, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)


@compiles(_Sound, "sqlite")
def _if_valid(element: _Sound, compiler: SQLCompiler, **options: Any) -> str:
    column = compiler.process(element.clauses, **options)
    return f"CASE WHEN json_valid({column}) THEN {column} END"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """One set of aliases: XCom of the render, XCom of the manifest, task instance."""

    render: Any = field(default_factory=lambda: aliased(XComModel, name="r"))
    manifest: Any = field(default_factory=lambda: aliased(XComModel, name="m"))
    ti: Any = field(default_factory=lambda: aliased(TaskInstance, name="ti"))

    def of_render(self, name: str) -> ColumnElement[Any]:
        """Return a field of the render's payload, or of the request in an intent, as text."""
        payload = _Sound(self.render.value)
        of_intent: ColumnElement[Any] = payload["request", name].as_string()
        return case((self.render.key == xcom.INTENT, of_intent), else_=payload[name].as_string())

    def of_manifest(self, name: str) -> ColumnElement[Any]:
        """Return a field of the manifest, as text."""
        value: ColumnElement[Any] = _Sound(self.manifest.value)[name].as_string()
        return value

    def select(self, *columns: Any) -> Select[Any]:
        """Select columns of every task instance that has a render."""
        render, manifest, ti = self.render, self.manifest, self.ti
        return (
            select(*columns)
            .select_from(render)
            .join(
                ti,
                and_(
                    ti.dag_id == render.dag_id,
                    ti.task_id == render.task_id,
                    ti.run_id == render.run_id,
                    ti.map_index == render.map_index,
                ),
            )
            .outerjoin(
                manifest,
                and_(
                    manifest.dag_run_id == render.dag_run_id,
                    manifest.task_id == render.task_id,
                    manifest.map_index == render.map_index,
                    manifest.key == xcom.RETURN_VALUE,
                ),
            )
            .where(
                render.key.in_(KEYS),
                or_(
                    render.key == xcom.RENDER,
                    and_(render.key == xcom.REFUSAL, ~self._has(xcom.RENDER)),
                    and_(render.key == xcom.INTENT, ~self._has(xcom.RENDER, xcom.REFUSAL)),
                ),
            )
        )

    def within(self, readable: frozenset[str]) -> ColumnElement[bool]:
        """Limit to DAGs. It is an expression, because else databases start from all tasks of these DAGs, not from our key."""
        return func.coalesce(self.render.dag_id, "").in_(sorted(readable))

    def _has(self, *keys: str) -> ColumnElement[bool]:
        render, other = self.render, aliased(XComModel, name="o")
        return exists().where(
            other.dag_run_id == render.dag_run_id,
            other.task_id == render.task_id,
            other.map_index == render.map_index,
            other.key.in_(keys),
        )

    def state(self) -> ColumnElement[str]:
        """Return one of ``STATES``, by task, outcome and file."""
        return case(
            (self.of_manifest("uri").is_not(None), "landed"),
            (
                or_(
                    self.of_render("outcome").in_(_FAILED_OUTCOMES),
                    self.ti.state.in_(_FAILED_TASKS),
                    and_(self.render.key == xcom.INTENT, self.ti.state.in_(_TRIES_OVER)),
                ),
                "failed",
            ),
            (self.ti.state == "success", "submitted"),
            else_="running",
        )

    def billed(self) -> ColumnElement[int]:
        """Return 1 if the API has said that the render is done. It is then billed, saved or not."""
        return case((self.of_render("outcome") == Outcome.SUCCEEDED.value, 1), else_=0)

    def moment(self) -> ColumnElement[str]:
        """Return when the render was submitted or refused, as sortable text."""
        pushed_at = func.replace(cast(self.render.timestamp, String), " ", "T")
        return func.coalesce(self.of_render("submitted_at"), self.of_render("refused_at"), pushed_at)
