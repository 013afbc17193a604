# SPDX-License-Identifier: Apache-2.0
"""Runs a DAG from a file by `dag.test()`: real tasks, real XCom, this process's SQLite database."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pendulum
from airflow import settings

from tests.harness.features import installed_airflow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """A finished run: its state, the states of its task instances by label (`render[3]`), and their XComs."""

    state: str
    states: Mapping[str, str | None]
    instances: tuple[Any, ...]

    @property
    def run_id(self) -> str:
        """Airflow's id of the run."""
        return str(self.instances[0].run_id)

    def xcom(self, task_id: str, key: str = "return_value") -> Any:
        """Return one XCom of a task that is not mapped."""
        return self.instances[0].xcom_pull(task_ids=task_id, key=key)


@contextmanager
def dag_file(name: str, text: str) -> Iterator[None]:
    """Put a file into the DAG folder of this process until the block ends. Airflow reads no other folder."""
    path = Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"]) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    try:
        yield
    finally:
        path.unlink()


def load_dags(folder: Path) -> dict[str, Any]:
    """Return every DAG of a folder, by id."""
    home = "airflow.dag_processing.dagbag"  # where it moved to after Airflow 3.1
    module = importlib.import_module(home if importlib.util.find_spec(home) else "airflow.models.dagbag")
    bag = module.DagBag(str(folder))
    assert not bag.import_errors, bag.import_errors
    return dict(bag.dags)


def call_test(dag: Any, conf: Mapping[str, Any], *, day: int = 1, approved: str = "") -> Any:
    """Call `dag.test()` for a day of March 2026. Airflow 2 calls the day the execution date.

    :param approved: task that succeeds at once, as after the answer of a person.
    """
    date = "logical_date"
    if date not in inspect.signature(dag.test).parameters:
        date = "execution_date"
        # A second run of a day deletes the first, and its notes refer to a table that only these models describe.
        importlib.import_module("airflow.providers.fab.auth_manager.models")
    if installed_airflow().startswith("3.0."):
        _store_the_dags_folder()
    assert settings.Session is not None
    settings.Session.remove()  # a run before it can leave a session that refuses everything
    return dag.test(
        **{date: pendulum.datetime(2026, 3, day)}, run_conf=dict(conf), mark_success_pattern=approved or None
    )


def _store_the_dags_folder() -> None:
    """Write DAGs and assets into the database, which `dag.test()` does itself except in Airflow 3.0."""
    bundles = importlib.import_module("airflow.dag_processing.bundles.manager").DagBundlesManager()
    bundles.sync_bundles_to_db()
    bag = importlib.import_module("airflow.models.dagbag").DagBag()
    bag.sync_to_db("dags-folder", None)


def run_dag(dag_id: str, conf: Mapping[str, Any], *, day: int = 1) -> FinishedRun:
    """Run a DAG of the DAG folder once. Another day is another run."""
    dag = load_dags(Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"]))[dag_id]
    run = call_test(dag, conf, day=day)
    instances = tuple(run.get_task_instances())
    states = {
        ti.task_id if ti.map_index < 0 else f"{ti.task_id}[{ti.map_index}]": ti.state for ti in instances
    }
    return FinishedRun(
        state=str(run.state),
        states={label: None if state is None else str(state) for label, state in states.items()},
        instances=instances,
    )
