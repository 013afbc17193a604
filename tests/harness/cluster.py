# SPDX-License-Identifier: Apache-2.0
"""An Airflow as companies run it, on 127.0.0.1: PostgreSQL, Redis, Celery workers, two triggerers, videos on S3."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.harness.servers import PostgresServer, RedisServer
from tests.harness.stack import AirflowStack
from tests.harness.store_servers import S3Server

if TYPE_CHECKING:
    from tests.harness.emulator import EmulatorServer

STORE_CONNECTION = "video_store"
SETTINGS = {
    "CELERY__WORKER_ENABLE_REMOTE_CONTROL": "False",
    "CORE__DEFAULT_TASK_RETRIES": "2",
    "CORE__DEFAULT_TASK_RETRY_DELAY": "3",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    # What a killed worker had taken from the broker and not begun is given out again after this.
    "SCHEDULER__TASK_QUEUED_TIMEOUT": "60",
    "SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "10",
    "WORKERS__EXECUTION_API_TIMEOUT": "60",  # Airflow's 5 s fail a task that has not begun, without a retry
    "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "15",
}


@dataclass(slots=True)
class Cluster:
    """The running servers. `home` is the folder of the stack, with configuration, logs and the output of every process."""

    airflow: AirflowStack
    emulator: EmulatorServer
    store: S3Server
    database_url: str

    @property
    def output(self) -> str:
        """The URL of the bucket, which contains the connection id."""
        return f"s3://{STORE_CONNECTION}@{self.store.bucket}"


@contextmanager
def open_cluster(home: Path, dags_folder: Path, emulator: EmulatorServer) -> Iterator[Cluster]:
    """Start everything and store both connections in the database."""
    with (
        PostgresServer(home=home) as postgres,
        RedisServer(home=home) as redis,
        S3Server(home=home) as store,
        emulator,
    ):
        env = {f"AIRFLOW__{name}": value for name, value in SETTINGS.items()} | {
            "AIRFLOW__CELERY__BROKER_URL": redis.url,
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{postgres.url}",
        }
        stack = AirflowStack(
            home / "airflow",
            dags_folder,
            db=postgres.url,
            executor="CeleryExecutor",
            celery_workers=2,
            triggerers=2,
            env=env,
        )
        with stack as airflow:
            airflow.add_connection("jimeng_default", "jimeng", **emulator.connection_fields)
            airflow.add_connection(STORE_CONNECTION, **store.connection())
            yield Cluster(airflow, emulator, store, postgres.url)


@dataclass(slots=True)
class ProcessEnder:
    """Ends a triggerer, a worker and the scheduler while a mapped task runs, and starts another one each time.

    It is called with the task instances from time to time. `ended` has the names of the ended processes.
    """

    airflow: AirflowStack
    dag_id: str
    run_id: str
    task_id: str
    ended: list[str] = field(default_factory=list)

    def __call__(self, rows: list[dict[str, Any]]) -> None:
        """End a process when it is time."""
        mine = [row for row in rows if row["task_id"] == self.task_id]
        done = sum(row["state"] == "success" for row in mine)
        for share, name, end in (
            (0, "triggerer", self._kill_triggerer),
            (0.2, "worker", self._kill_worker),
            (0.5, "scheduler", self._restart_scheduler),
        ):
            if name not in self.ended and done >= share * len(mine) and end(mine):
                self.ended.append(name)
                return

    def _kill_triggerer(self, rows: list[dict[str, Any]]) -> bool:
        if not any(row["state"] == "deferred" and row["triggerer_job"] for row in rows):
            return False  # no triggerer has a task yet
        self.airflow.kill_triggerer(0, signal.SIGKILL)
        self.airflow.start_triggerer()
        return True

    def _kill_worker(self, rows: list[dict[str, Any]]) -> bool:
        """Kill a worker and its tasks when each of the tasks has recorded its render.

        A task that is killed between the submit and its record stops and asks a person, as it should.
        """
        for worker in self.airflow.workers:
            pids = {process.pid for process in worker.members()}
            running = [row for row in rows if row["state"] == "running" and row["pid"] in pids]
            if running and all(self._is_on_record(row) for row in running):
                worker.signal(signal.SIGKILL)
                self.airflow.start_worker()
                return True
        return False

    def _is_on_record(self, row: dict[str, Any]) -> bool:
        xcom = self.airflow.xcom(
            self.dag_id, self.run_id, self.task_id, "task_id", map_index=row["map_index"]
        )
        return xcom is not None

    def _restart_scheduler(self, rows: list[dict[str, Any]]) -> bool:
        self.airflow.restart("scheduler")
        return True
