"""One task of an Airflow as an operator sees it, small enough to be killed anywhere within milliseconds.

Real operators, triggers, retry policy, templates, hook, client, sockets, emulator and files. Airflow's own part is
played here: tries and Clears, XCom that is cleared with each try, deferral and resumption in a new operator object,
and a task state store that keeps JSON and refuses the write of an older try, as Airflow's API server does.
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


class Killed(BaseException):
    """The process is gone: nothing that stands in `except Exception` or after it may run any more."""


class StaleTryError(RuntimeError):
    """What the API server answers to a try that is not the task instance's latest any more."""


class TaskDeferralError(Exception):
    """The class by whose name Airflow fails a task whose trigger was lost."""


@dataclass(slots=True)
class Blows:
    """What strikes where. A blow is used up by the point it strikes; its action raises, or does something else."""

    waiting: list[tuple[str, Callable[[], None]]] = field(default_factory=list)
    struck: list[str] = field(default_factory=list)

    def at(self, point: str, action: Callable[[], None] | None = None, *, times: int = 1) -> None:
        """Let `action` (by default: the kill) happen when `point` is passed."""
        self.waiting += [(point, action or _kill)] * times

    def pass_by(self, point: str) -> None:
        """Pass a point; the first blow that waits for it strikes."""
        for index, (where, action) in enumerate(self.waiting):
            if point.startswith(where):
                del self.waiting[index]
                self.struck.append(point)
                action()
                return

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Make every log line of the package a point: `log <message>`."""
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
    def __init__(self, blows: Blows) -> None:
        super().__init__()
        self._blows = blows

    def emit(self, record: logging.LogRecord) -> None:
        self._blows.pass_by(f"log {record.getMessage()}")


def _kill() -> None:
    raise Killed


@dataclass(slots=True)
class StateStore:
    """The server's side: the values of one task instance, and the id of its latest try."""

    values: dict[str, str] = field(default_factory=dict)
    latest: str = ""


@dataclass(slots=True)
class TryStore:
    """`context["task_state_store"]` of one try."""

    server: StateStore
    try_id: str
    blows: Blows

    def get(self, key: str, default: Any = None) -> Any:
        self.blows.pass_by("store get")
        stale = self.try_id != self.server.latest
        return default if stale or key not in self.server.values else json.loads(self.server.values[key])

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        state = value["state"]
        self.blows.pass_by(f"store before {state}")
        if value is None:
            raise ValueError("Cannot set value as None")
        self._check()
        self.server.values[key] = json.dumps(value)
        self.blows.pass_by(f"store after {state}")

    def delete(self, key: str) -> None:
        self.blows.pass_by("store delete")
        self._check()
        self.server.values.pop(key, None)

    def _check(self) -> None:
        if self.try_id != self.server.latest:
            raise StaleTryError(f"Task instance {self.try_id} not found")


@dataclass(slots=True)
class TaskInstance:
    """`context["ti"]` of one try."""

    stage: Stage
    id: str
    try_number: int
    max_tries: int
    dag_id: str = "chaos"
    run_id: str = "manual__1"
    task_id: str = "render"
    map_index: int = -1

    def xcom_push(self, key: str, value: Any) -> None:
        self.stage.blows.pass_by(f"xcom {key}")
        if self.id != self.stage.store.latest:
            raise StaleTryError(f"Task instance {self.id} not found")
        self.stage.xcoms[key] = json.dumps(value)

    def xcom_pull(
        self, task_ids: Any = None, *, key: str = "return_value", map_indexes: Any = None, **_: Any
    ) -> Any:
        found = self.stage.xcoms.get(key)
        return None if found is None else json.loads(found)


@dataclass(slots=True)
class Stage:
    """One task instance through its tries.

    make_operator: builds the task as the DAG file has it now; called for every execution, as Airflow does.
    store: `None` stands for an Airflow below 3.3.
    """

    make_operator: Callable[[], BaseOperator]
    retries: int = 1
    has_store: bool = True
    map_index: int = -1
    run_id: str = "manual__1"
    task_id: str = "render"
    blows: Blows = field(default_factory=Blows)
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
        """Run try after try until the task instance is in a final state; return it."""
        with self.blows.listening():
            while True:
                self.run_one_try()
                if self.state != "up_for_retry":
                    return str(self.state)

    def run_one_try(self) -> str:
        """Run the next try, deferrals included."""
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
            else:  # what an older try ends with is of no interest to anybody
                self.errors.append(error)
        else:
            if ti.id == self.store.latest:
                self.state, self.result = "success", json.loads(json.dumps(result))
                if self.clear_on_success:
                    self.store.values.clear()
        return str(self.state)

    def next_try(self) -> None:
        """Run a try beside the one that runs already, as a scheduler does that takes the latter for dead."""
        self.run_one_try()

    def clear(self) -> None:
        """Clear the task, as the button in the UI does."""
        self.max_tries = self.try_number + self.retries
        self.state = None

    def forget_run(self) -> None:
        """Delete the DAG run: Airflow's own data of it goes, and a run of the same id starts from the first try."""
        self.store, self.xcoms = StateStore(), {}
        self.try_number, self.max_tries, self.state = 0, -1, None

    def record(self) -> dict[str, Any] | None:
        """What the state store keeps."""
        kept = self.store.values.get("jimeng_render")
        return None if kept is None else dict(json.loads(kept))

    def xcom(self, key: str) -> Any:
        """An XCom of the latest try."""
        return None if key not in self.xcoms else json.loads(self.xcoms[key])

    def _task_instance(self) -> TaskInstance:
        return TaskInstance(
            stage=self,
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
            context["task_state_store"] = TryStore(server=self.store, try_id=ti.id, blows=self.blows)
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
                self.blows.pass_by("deferred")
                arguments = {"event": run_trigger(deferral.trigger)}
                self.state = "running"
                self.blows.pass_by(f"resumed {method}")
                operator = self.make_operator()

    def _after(self, error: BaseException, operator: BaseOperator) -> None:
        """Decide as Airflow's task runner, or its scheduler after a kill."""
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
    """Wait for what a killed task was writing beside its main thread: it was killed right after that."""
    for thread in threading.enumerate():
        while thread.name.startswith("jimeng record") and thread in threading.enumerate():
            time.sleep(0.002)  # not join(): a thread of another task is listed before it can be joined


def reason_of(error: BaseException) -> BaseException:
    """Return this package's error; where Airflow has no retry policies, its final failure stands around it."""
    cause = error.__cause__
    return cause if isinstance(error, AirflowFailException) and isinstance(cause, JimengError) else error


def _call(operator: BaseOperator, method: str, context: Any, arguments: dict[str, Any]) -> Any:
    """Call a method of an operator as the task runner does, which tells the operator who is calling."""
    run = contextvars.copy_context()
    if AIRFLOW_V_3_0_PLUS:
        from airflow.sdk.bases.operator import ExecutorSafeguard

        run.run(ExecutorSafeguard.tracker.set, operator)
    else:  # it only logs that somebody else is calling, and has its table of callers in the main thread alone
        table = import_module("airflow.models.baseoperator").ExecutorSafeguard._sentinel
        table.callers = getattr(table, "callers", {})
    return run.run(lambda: getattr(operator, method)(context, **arguments))


def run_trigger(trigger: Any) -> Any:
    """Run a trigger as a triggerer that took it over a moment ago; return the payload of its event."""
    _, arguments = trigger.serialize()
    arguments = json.loads(json.dumps(arguments))
    if "first_poll_at" in arguments:
        arguments["first_poll_at"] = time.time() + 0.01

    async def first_event() -> Any:
        return (await anext(type(trigger)(**arguments).run())).payload

    return json.loads(json.dumps(asyncio.run(first_event())))
