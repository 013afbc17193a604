# SPDX-License-Identifier: Apache-2.0
"""Questions to people and serialized DAGs, written straight into Airflow's own tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.models.dag import DagModel
from airflow.models.dag_version import DagVersion
from airflow.models.dagbundle import DagBundleModel
from airflow.models.hitl import HITLDetail
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance
from airflow.serialization import serialized_objects
from sqlalchemy import insert, select, update

from tests.web.records import NOW, Records

if TYPE_CHECKING:
    import pendulum
    from sqlalchemy.orm import Session

BUNDLE = "tests"


@dataclass
class Questions:
    """Writes DAGs and questions."""

    session: Session
    records: Records

    def dag(self, dag: Any) -> None:
        """Store a DAG as the DAG processor does, and say that all its task instances ran in this version."""
        if not self.session.scalar(select(DagBundleModel.name).where(DagBundleModel.name == BUNDLE)):
            self._insert(DagBundleModel, name=BUNDLE, active=True)
        writer: Any = getattr(serialized_objects, "DagSerialization", None)
        writer = writer or vars(serialized_objects)["SerializedDAG"]  # its name before Airflow 3.2
        self.session.add(DagModel(dag_id=dag.dag_id, bundle_name=BUNDLE, fileloc="/dags/any.py"))
        self.session.flush()
        self._insert(DagVersion, dag_id=dag.dag_id, version_number=1, bundle_name=BUNDLE)
        version = self.session.scalar(select(DagVersion.id).where(DagVersion.dag_id == dag.dag_id))
        self._insert(
            SerializedDagModel,
            dag_id=dag.dag_id,
            data=writer.to_dict(dag),
            dag_hash="0" * 32,
            dag_version_id=version,
        )
        of_dag = update(TaskInstance).where(TaskInstance.dag_id == dag.dag_id)
        self.session.execute(of_dag.values(dag_version_id=version, updated_at=TaskInstance.updated_at))
        self.session.commit()

    def ask(
        self, *, state: str = "awaiting_input", parked_at: pendulum.DateTime = NOW, **more: Any
    ) -> dict[str, Any]:
        """Add a task instance that asks a question. Names of its columns go into the question, the others to the task."""
        columns = HITLDetail.__table__.columns.keys()
        asked: dict[str, Any] = {
            "subject": "Publish?",
            "options": ["Publish", "Again"],
            "params": {},
            "params_input": {},
        }
        asked |= {name: more.pop(name) for name in list(more) if name in columns}
        ref = self.records.add(state=state, **{"task_id": "review", **more})
        of_task = [getattr(TaskInstance, name) == value for name, value in ref.items()]
        ti_id = self.session.scalar(select(TaskInstance.id).where(*of_task))
        self._insert(HITLDetail, ti_id=ti_id, **asked)
        self.session.execute(update(TaskInstance).where(*of_task).values(updated_at=parked_at))
        self.session.commit()
        return ref

    def _insert(self, model: Any, **values: Any) -> None:
        self.session.execute(insert(model.__table__).values(**values))
