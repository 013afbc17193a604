# SPDX-License-Identifier: Apache-2.0
"""A real Airflow: api-server, scheduler, dag-processor, triggerers and, on request, Celery workers."""

from __future__ import annotations

import json
import signal
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from tests.harness.api import AirflowApi, AirflowApiError, run_path, task_path
from tests.harness.database import migrate, place_sqlite
from tests.harness.processes import Service, free_port, stop_all
from tests.harness.settings import User, component_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

FINISHED = frozenset({"success", "failed"})


class StackTimeoutError(RuntimeError):
    """A process of Airflow took longer than the caller wanted to wait."""


class AirflowStack:
    """Starts with the `with` block. At the end of the block, it stops everything that it started.

    home: folder for configuration, database, logs and process output; kept afterwards.
    db: "sqlite", or a database URL such as `PostgresServer(...).url`.
    users: who may log in; without any, everybody is admin (and the UI needs no login).
    env: more settings for every component, such as `AIRFLOW__TRIGGERER__CAPACITY` or `AIRFLOW_CONN_…`.
    celery_workers: with `executor="CeleryExecutor"`; broker and result backend come through `env`.
    """

    def __init__(
        self,
        home: Path,
        dags_folder: Path,
        *,
        db: str = "sqlite",
        triggerers: int = 1,
        env: Mapping[str, str] | None = None,
        executor: str = "LocalExecutor",
        parallelism: int = 8,
        celery_workers: int = 0,
        users: Iterable[User] = (),
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.home = home.resolve()
        self.home.mkdir(parents=True, exist_ok=True)
        self.api_port = free_port()
        self.url = f"http://127.0.0.1:{self.api_port}"
        self.users = tuple(users)
        self.triggerers: list[Service] = []
        self.workers: list[Service] = []
        self.components: list[Service] = []
        self._wanted = (triggerers, celery_workers)
        self._say = say or (lambda _: None)
        self._sqlite = self.home / "airflow.db" if db == "sqlite" else None
        self.env = component_environment(
            home=self.home,
            dags_folder=dags_folder.resolve(),
            database_url=f"sqlite:///{self._sqlite}" if self._sqlite else db,
            executor=executor,
            parallelism=parallelism,
            api_port=self.api_port,
            users=self.users,
            extra=env or {},
        )
        first = self.users[0] if self.users else None
        self.api = AirflowApi(
            base_url=self.url,
            username=first.name if first else None,
            password=first.password if first else None,
        )

    # -------------------------------------------------------------------------------------------- life

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, timeout_seconds: float = 180.0) -> None:
        """Migrate, start all components, and return when all of them are healthy."""
        self._say("preparing the metadata database")
        if self._sqlite:
            place_sqlite(self._sqlite)
        else:
            migrate(self.env)
        self._say("starting api-server, scheduler, dag-processor and triggerer")
        self.components = [
            self._launch("api-server", "api-server"),
            # The log servers would listen on every interface; the API server reads the log files itself.
            self._launch("scheduler", "scheduler", "--skip-serve-logs"),
            self._launch("dag-processor", "dag-processor"),
        ]
        triggerers, workers = self._wanted
        for _ in range(triggerers):
            self.start_triggerer()
        for _ in range(workers):
            self.start_worker()
        self.wait_healthy(timeout_seconds)

    def stop(self) -> None:
        """Stop every process of this stack. A second call does nothing."""
        self.api.close()
        stop_all([*self.workers, *self.triggerers, *reversed(self.components)])

    def start_triggerer(self) -> Service:
        """Start one more triggerer. It is the last of `triggerers`."""
        name = f"triggerer-{len(self.triggerers)}"
        self.triggerers.append(self._launch(name, "triggerer", "--skip-serve-logs"))
        return self.triggerers[-1]

    def start_worker(self, concurrency: int = 2) -> Service:
        """Start one more Celery worker. It is the last of `workers`."""
        name = f"worker-{len(self.workers)}"
        options = ("--skip-serve-logs", "--concurrency", str(concurrency), "--celery-hostname", f"{name}@%h")
        self.workers.append(self._launch(name, "celery", "worker", *options))
        return self.workers[-1]

    def restart(self, name: str) -> None:
        """Stop "api-server", "scheduler" or "dag-processor" as an upgrade does, and start it again."""
        service = next(service for service in self.components if service.name == name)
        stop_all([service])
        service.start()

    def kill_triggerer(self, index: int, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to a triggerer and its child processes: SIGKILL, SIGTERM, or SIGSTOP and later SIGCONT."""
        self.triggerers[index].signal(number)

    def wait_healthy(self, timeout_seconds: float = 180.0) -> None:
        """Wait until the database, the scheduler, the dag-processor and every triggerer report a heartbeat."""
        wanted = {"metadatabase", "scheduler", "dag_processor", "triggerer"}

        def healthy() -> bool:
            for service in self.components:
                service.check()
            states = self.api.health()
            if not all(states.get(name) == "healthy" for name in wanted):
                return False
            alive = [service for service in self.triggerers if service.alive]
            jobs = self.api.get_all("/jobs", "jobs", job_type="TriggererJob", is_alive=True)
            return len(jobs) >= len(alive)

        self.wait_until(healthy, timeout_seconds, "Airflow is not healthy")

    def _launch(self, name: str, *command: str) -> Service:
        service = Service(
            name=name,
            argv=[sys.executable, "-m", "airflow", *command],
            env={
                **self.env,
                "LOGNAME": name,
            },  # Airflow notes it with each job, so that triggerers can be told apart
            log_file=self.home / "output" / f"{name}.log",
        )
        service.start()
        return service

    def wait_until(self, ready: Callable[[], bool], timeout_seconds: float, what: str) -> None:
        """Ask until the answer is yes. Otherwise raise `StackTimeoutError` with `what` and the last lines of every log."""
        deadline = time.monotonic() + timeout_seconds
        while not ready():
            if time.monotonic() > deadline:
                tails = "\n".join(
                    f"--- {s.name}\n{s.log_tail(15)}" for s in (*self.components, *self.triggerers)
                )
                raise StackTimeoutError(f"{what} after {timeout_seconds:.0f} s.\n{tails}")
            time.sleep(0.5)

    # ------------------------------------------------------------------------------------------- DAGs

    def wait_for_dag(self, dag_id: str, timeout_seconds: float = 60.0) -> None:
        """Wait until the dag-processor has read the DAG. An import error of any file ends the wait."""

        def known() -> bool:
            errors = self.api.get_all("/importErrors", "import_errors")
            if errors:
                raise AirflowApiError("\n".join(f"{e['filename']}:\n{e['stack_trace']}" for e in errors))
            with suppress(AirflowApiError):
                self.api.call("GET", f"/dags/{dag_id}")
                return True
            return False

        self.wait_until(known, timeout_seconds, f"{dag_id} was not found")

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None, run_id: str | None = None) -> str:
        """Unpause the DAG, start a run of it, and return the run id."""
        self.wait_for_dag(dag_id)
        self.api.call("PATCH", f"/dags/{dag_id}", json={"is_paused": False})
        body: dict[str, Any] = {"logical_date": None, "conf": dict(conf or {})}
        if run_id:
            body["dag_run_id"] = run_id
        return str(self.api.call("POST", f"/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a run: queued, running, success or failed."""
        return str(self.api.call("GET", run_path(dag_id, run_id))["state"])

    def wait(
        self,
        dag_id: str,
        run_id: str,
        timeout: float = 300.0,
        progress: Callable[[list[dict[str, Any]]], None] | None = None,
        states: Iterable[str] = FINISHED,
    ) -> str:
        """Wait until a run has one of `states` (`timeout` in seconds). `progress` gets the task instances."""
        wanted = frozenset(states)
        state = ""

        def reached() -> bool:
            nonlocal state
            for service in self.components:
                service.check()
            state = self.run_state(dag_id, run_id)
            if progress is not None:
                progress(self.task_instances(dag_id, run_id))
            return state in wanted

        self.wait_until(reached, timeout, f"{dag_id} {run_id} did not reach {sorted(wanted)}")
        return state

    def wait_for_task(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        states: Iterable[str],
        *,
        map_index: int = -1,
        timeout: float = 120.0,
    ) -> dict[str, Any]:
        """Wait until one task instance has one of `states` ("deferred", "success" …), and return it."""
        wanted = frozenset(states)
        found: dict[str, Any] = {}

        def reached() -> bool:
            for row in self.task_instances(dag_id, run_id):
                if (row["task_id"], row["map_index"]) == (task_id, map_index) and row["state"] in wanted:
                    found.update(row)
            return bool(found)

        self.wait_until(reached, timeout, f"{task_id}[{map_index}] did not reach {sorted(wanted)}")
        return found

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return every task instance of a run, also the mapped ones, in the form of the API."""
        rows = self.api.get_all(f"{run_path(dag_id, run_id)}/taskInstances", "task_instances")
        return sorted(rows, key=lambda row: (row["task_id"], row["map_index"]))

    def xcom(
        self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1
    ) -> Any:
        """Return one decoded XCom value, or None if it was never pushed."""
        path = f"{task_path(dag_id, run_id, task_id)}/xcomEntries/{key}"
        try:
            value = self.api.call("GET", path, params={"map_index": map_index})["value"]
        except AirflowApiError as error:
            if "HTTP 404" in str(error):
                return None
            raise
        with suppress(TypeError, ValueError):
            return json.loads(value)
        return value

    def logs(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1) -> str:
        """Return the log of one try as text, one event a line, with the part of the triggerer."""
        path = f"{task_path(dag_id, run_id, task_id)}/logs/{try_number}"
        reply = self.api.call("GET", path, params={"map_index": map_index, "full_content": True})
        return "\n".join(json.dumps(entry, ensure_ascii=False) for entry in reply["content"])

    def clear(self, dag_id: str, run_id: str, task_ids: Iterable[str | tuple[str, int]] = ()) -> None:
        """Clear tasks, also successful ones, as the button of the UI does. If no task is named, clear the whole run."""
        body: dict[str, Any] = {
            "dry_run": False,
            "dag_run_id": run_id,
            "only_failed": False,
            "reset_dag_runs": True,
        }
        names = [list(name) if isinstance(name, tuple) else name for name in task_ids]
        if names:
            body["task_ids"] = names
        self.api.call("POST", f"/dags/{dag_id}/clearTaskInstances", json=body)

    def set_state(self, dag_id: str, run_id: str, task_id: str, state: str, map_index: int = -1) -> None:
        """Mark one task instance as success or failed, as a person in the UI does."""
        path = task_path(dag_id, run_id, task_id)
        params = {"map_index": map_index} if map_index >= 0 else {}
        self.api.call("PATCH", path, params=params, json={"new_state": state})

    def add_connection(
        self, conn_id: str, conn_type: str, extra: Mapping[str, Any] | None = None, **fields: Any
    ) -> None:
        """Store a connection in the database. `fields` are host, schema, port, login, password, description."""
        body = {"connection_id": conn_id, "conn_type": conn_type, **fields}
        if extra:
            body["extra"] = json.dumps(extra)
        with suppress(AirflowApiError):
            self.api.call("DELETE", f"/connections/{conn_id}")
        self.api.call("POST", "/connections", json=body)
