# SPDX-License-Identifier: Apache-2.0
"""A fake Airflow: one task as an operator sees it, that a test can kill at any point within milliseconds.

Operators, triggers, retry policy, templates, hook, client, sockets, emulator and files are real. This module plays the
part of Airflow: tries and Clears, XCom that is deleted before each try, deferral and resumption in a new operator
object, and a task state store that holds JSON and refuses the write of an older try, as the API server of Airflow does.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

from airflow_provider_jimeng.core.errors import JimengError

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator

PACKAGE_LOG = logging.getLogger("airflow_provider_jimeng")
FIRST_POLL_SECONDS = 0.1
"""What is left until the first poll of a trigger. A trigger whose time has passed takes itself for one that was moved, and
waits for seconds."""


class Killed(BaseException):
    """The process is killed. No `except Exception` catches this."""


class StaleTryError(RuntimeError):
    """The response of the API server to a try that is not the latest try of its task instance."""


class TaskDeferralError(Exception):
    """The class whose name Airflow uses when it fails a task because its trigger was lost."""


@dataclass(slots=True)
class Interruptions:
    """Actions that happen when a task reaches a point. An action happens once; it raises, or does something else."""

    waiting: list[tuple[str, Callable[[], None]]] = field(default_factory=list)
    reached: list[str] = field(default_factory=list)

    def at(self, point: str, action: Callable[[], None] | None = None, *, times: int = 1) -> None:
        """Call `action` when the task reaches `point`. The default action kills the task."""
        self.waiting += [(point, action or _kill)] * times

    def reach(self, point: str) -> None:
        """Reach a point: call the first action that waits for it."""
        for index, (where, action) in enumerate(self.waiting):
            if point.startswith(where):
                del self.waiting[index]
                self.reached.append(point)
                action()
                return

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Make every log line of the package a point with the name `log <message>`."""
        handler = _LogPoints(self)
        before = PACKAGE_LOG.level
        PACKAGE_LOG.addHandler(handler)
        PACKAGE_LOG.setLevel(logging.INFO)
        try:
            yield
        finally:
            PACKAGE_LOG.removeHandler(handler)
            PACKAGE_LOG.setLevel(before)


class _LogPoints(logging.Handler):
    def __init__(self, interruptions: Interruptions) -> None:
        super().__init__()
        self._blows = interruptions

    def emit(self, record: logging.LogRecord) -> None:
        self._blows.reach(f"log {record.getMessage()}")


def _kill() -> None:
    raise Killed


@dataclass(slots=True)
class StateStore:
    """The data of one task instance on the server, and the id of its latest try."""

    values: dict[str, str] = field(default_factory=dict)
    latest: str = ""


@dataclass(slots=True)
class TryStore:
    """`context["task_state_store"]` of one try."""

    server: StateStore
    try_id: str
    interruptions: Interruptions

    def get(self, key: str, default: Any = None) -> Any:
        self.interruptions.reach("store get")
        stale = self.try_id != self.server.latest
        return default if stale or key not in self.server.values else json.loads(self.server.values[key])

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        state = value["state"]
        self.interruptions.reach(f"store before {state}")
        if value is None:
            raise ValueError("Cannot set value as None")
        self._check()
        self.server.values[key] = json.dumps(value)
        self.interruptions.reach(f"store after {state}")

    def delete(self, key: str) -> None:
        self.interruptions.reach("store delete")
        self._check()
        self.server.values.pop(key, None)

    def _check(self) -> None:
        if self.try_id != self.server.latest:
            raise StaleTryError(f"Task instance {self.try_id} not found")


@dataclass(slots=True)
class TaskInstance:
    """`context["ti"]` of one try."""

    task: FakeTask
    id: str
    try_number: int
    max_tries: int
    dag_id: str = "chaos"
    run_id: str = "manual__1"
    task_id: str = "render"
    map_index: int = -1

    def xcom_push(self, key: str, value: Any) -> None:
        self.task.interruptions.reach(f"xcom {key}")
        if self.id != self.task.store.latest:
            raise StaleTryError(f"Task instance {self.id} not found")
        self.task.xcoms[key] = json.dumps(value)

    def xcom_pull(
        self, task_ids: Any = None, *, key: str = "return_value", map_indexes: Any = None, **_: Any
    ) -> Any:
        value = self.task.xcoms.get(key)
        return None if value is None else json.loads(value)


@dataclass(slots=True)
class FakeTask:
    """One task instance through its tries.

    make_operator: builds the operator of the DAG file. It is called for every execution, as in Airflow.
    has_store: False stands for an Airflow below 3.3.
    on_deferral: is called when the task has been deferred, before its trigger runs.
    run_trigger: returns the payload of a trigger's event, in place of the function of this name.
    """

    make_operator: Callable[[], BaseOperator]
    retries: int = 1
    has_store: bool = True
    map_index: int = -1
    run_id: str = "manual__1"
    task_id: str = "render"
    interruptions: Interruptions = field(default_factory=Interruptions)
    on_deferral: Callable[[], None] = lambda: None
    run_trigger: Callable[[Any], Any] | None = None
    store: StateStore = field(default_factory=StateStore)
    xcoms: dict[str, str] = field(default_factory=dict)
    try_number: int = 0
    max_tries: int = -1
    state: str | None = None
    result: Any = None
    errors: list[BaseException] = field(default_factory=list)
    delays: list[float | None] = field(default_factory=list)
    asset_events: dict[Any, Any] = field(default_factory=dict)
    clear_on_success: bool = False

    def run(self) -> str:
        """Run tries until the task instance is in a final state; return the state."""
        with self.interruptions.listening():
            while True:
                self.run_one_try()
                if self.state != "up_for_retry":
                    return str(self.state)

    def run_one_try(self) -> str:
        """Run the next try with its deferrals."""
        if self.max_tries < 0:
            self.max_tries = self.retries
        self.try_number += 1
        self.store.latest = uuid.uuid4().hex
        self.xcoms.clear()
        self.state = "running"
        ti = self._task_instance()
        operator = self.make_operator()
        try:
            result = self._execute(ti, operator)
        except BaseException as error:  # noqa: BLE001 - Airflow's task runner catches the same
            _let_writes_end()
            if ti.id == self.store.latest:
                self._after(error, operator)
            else:  # Airflow ignores how an older try ends
                self.errors.append(error)
        else:
            if ti.id == self.store.latest:
                self.state, self.result = "success", json.loads(json.dumps(result))
                if self.clear_on_success:
                    self.store.values.clear()
        return str(self.state)

    def next_try(self) -> None:
        """Run a try beside the running one, as a scheduler does that believes that the running try is dead."""
        self.run_one_try()

    def clear(self) -> None:
        """Clear the task, as the button in the UI does."""
        self.max_tries = self.try_number + self.retries
        self.state = None

    def forget_run(self) -> None:
        """Delete the DAG run with the data of Airflow. A new run of the same id starts with the first try."""
        self.store, self.xcoms = StateStore(), {}
        self.try_number, self.max_tries, self.state = 0, -1, None

    def record(self) -> dict[str, Any] | None:
        """Return the record in the state store."""
        kept = self.store.values.get("jimeng_render")
        return None if kept is None else dict(json.loads(kept))

    def xcom(self, key: str) -> Any:
        """Return an XCom of the latest try."""
        return None if key not in self.xcoms else json.loads(self.xcoms[key])

    def _task_instance(self) -> TaskInstance:
        return TaskInstance(
            task=self,
            id=self.store.latest,
            try_number=self.try_number,
            max_tries=self.max_tries,
            run_id=self.run_id,
            task_id=self.task_id,
            map_index=self.map_index,
        )

    def _context(self, ti: TaskInstance) -> Any:
        context: dict[str, Any] = {
            "ti": ti,
            "task_instance": ti,
            "run_id": ti.run_id,
            "outlet_events": self.asset_events,
        }
        if self.has_store:
            context["task_state_store"] = TryStore(
                server=self.store, try_id=ti.id, interruptions=self.interruptions
            )
        return context

    def _execute(self, ti: TaskInstance, operator: BaseOperator) -> Any:
        method = "execute"
        arguments: dict[str, Any] = {}
        while True:
            context = self._context(ti)
            operator.render_template_fields(context)
            try:
                return _call(operator, method, context, arguments)
            except TaskDeferred as deferral:
                method = deferral.method_name
                self.state = "deferred"
                self.interruptions.reach("deferred")
                self.on_deferral()
                arguments = {
                    **(deferral.kwargs or {}),
                    "event": (self.run_trigger or run_trigger)(deferral.trigger),
                }
                self.state = "running"
                self.interruptions.reach(f"resumed {method}")
                operator = self.make_operator()

    def _after(self, error: BaseException, operator: BaseOperator) -> None:
        """Decide the next state as the task runner of Airflow does, or its scheduler after a kill."""
        self.errors.append(reason_of(error))
        may_retry = self.max_tries > 0 and self.try_number <= self.max_tries
        if isinstance(error, AirflowSkipException):
            self.state = "skipped"
            return
        if isinstance(error, AirflowFailException | AirflowSensorTimeout):
            may_retry = False
        elif not isinstance(error, Killed) and (policy := getattr(operator, "retry_policy", None)):
            decision = policy.evaluate(error, self.try_number, self.max_tries, None)
            delay = decision.retry_delay
            self.delays.append(None if delay is None else delay.total_seconds())
            may_retry = may_retry and decision.action.value != "fail"
        self.state = "up_for_retry" if may_retry else "failed"


def _let_writes_end() -> None:
    """Wait until the threads of a killed task have written their records."""
    for thread in threading.enumerate():
        while thread.name.startswith("jimeng record") and thread in threading.enumerate():
            time.sleep(0.002)  # a thread of another task is listed before join() can be called on it


def reason_of(error: BaseException) -> BaseException:
    """Return the error of this package. Without retry policies, an `AirflowFailException` wraps it."""
    cause = error.__cause__
    return cause if isinstance(error, AirflowFailException) and isinstance(cause, JimengError) else error


def _call(operator: BaseOperator, method: str, context: Any, arguments: dict[str, Any]) -> Any:
    """Call a method of an operator as the task runner does, which tells the operator who calls it."""
    run = contextvars.copy_context()
    if AIRFLOW_V_3_0_PLUS:
        from airflow.sdk.bases.operator import ExecutorSafeguard

        run.run(ExecutorSafeguard.tracker.set, operator)
    else:  # Airflow 2 has its table of callers in the main thread only
        table = import_module("airflow.models.baseoperator").ExecutorSafeguard._sentinel
        table.callers = getattr(table, "callers", {})
    return run.run(lambda: getattr(operator, method)(context, **arguments))


def run_trigger(trigger: Any) -> Any:
    """Run a trigger as a triggerer does, from the moment at which it has something to do.

    Return the payload of its first event.
    """
    _, arguments = trigger.serialize()
    arguments = json.loads(json.dumps(arguments))
    due = arguments.get("first_poll_at") or arguments.get("not_before") or 0.0
    earlier = max(0.0, due - time.time() - FIRST_POLL_SECONDS)
    for name in {"first_poll_at", "not_before", "deadline"} & set(arguments):
        if arguments[name] is not None:
            arguments[name] -= earlier

    async def first_event() -> Any:
        return (await anext(type(trigger)(**arguments).run())).payload

    return json.loads(json.dumps(asyncio.run(first_event())))
