"""Waits for a submitted render, in poke, reschedule or deferrable mode."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import (
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from airflow_provider_jimeng.core.arguments import is_absent, read_seconds
from airflow_provider_jimeng.core.deadlines import deadline_for
from airflow_provider_jimeng.core.errors import JimengError, RenderTimedOutError
from airflow_provider_jimeng.core.event import Outcome, RenderEvent
from airflow_provider_jimeng.core.messages import outcome_fields, render_error
from airflow_provider_jimeng.core.polling import REFUSED_SPAN, Finish, Poller
from airflow_provider_jimeng.core.render import RenderStatus
from airflow_provider_jimeng.hooks.render_argument import named_render
from airflow_provider_jimeng.metrics import count_end
from airflow_provider_jimeng.operators.literals import check_waiting_literals
from airflow_provider_jimeng.operators.submitting import DEFAULT_RETRIES
from airflow_provider_jimeng.operators.xcom import RENDER, push
from airflow_provider_jimeng.retry import airflow_errors, with_default_policy
from airflow_provider_jimeng.web.links import JimengVideoLink

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_jimeng.core.render import Render
    from airflow_provider_jimeng.core.wire import QueryReply

_CONFIRM_SECONDS = 11.0
_TOLD_KEY = "jimeng_told"


class JimengVideoSensor(BaseSensorOperator):
    """Wait until a submitted render is done, and return its payload.

    :param render: the submit operator's return value.
    :param render_id: in place of ``render``: a bare vendor ``task_id``.
    :param model: with ``render_id``: short name or ``req_key`` of its model.
    :param jimeng_conn_id: connection for a bare ``render_id``; a render payload names the one that pays.
    :param poll_interval: deferrable mode: seconds between two queries; by default they follow the render's age.
    :param poke_interval: poke and reschedule mode: as Airflow's.
    :param timeout: as Airflow's, in every mode; the render stays adoptable.
    :param deferrable: wait in the triggerer instead of on the worker.
    """

    template_fields: Sequence[str] = ("render", "render_id", "model", "jimeng_conn_id", "poll_interval")
    template_fields_renderers: ClassVar[dict[str, str]] = {"render": "json"}
    ui_color = "#e8f0fe"
    operator_extra_links = (JimengVideoLink(),)

    def __init__(
        self,
        *,
        render: Any = None,
        render_id: str | None = None,
        model: str | None = None,
        jimeng_conn_id: str = "jimeng_default",
        poll_interval: float | str | None = None,
        poke_interval: timedelta | float = 15,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        retries: int | None = DEFAULT_RETRIES,
        retry_policy: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            poke_interval=poke_interval, retries=retries, **with_default_policy(kwargs, retry_policy)
        )
        self.render = render
        self.render_id = render_id
        self.model = model
        self.jimeng_conn_id = jimeng_conn_id
        self.poll_interval = poll_interval
        self.deferrable = deferrable
        check_waiting_literals(self)
        self._told: dict[str, Any] | None = None
        self._connected = False

    def execute(self, context: Context) -> Any:
        """Wait in the mode that was chosen; a render that is done already is not waited for."""
        if not self.deferrable:
            return super().execute(context)
        with self._as_sensor():
            render, fixed = self._named(), self._fixed_interval()
            self._need_connection(render)
            ended = self._ask(context, render)
            if ended is not None:
                return self._end(context, render, ended)
            _announce(context, render)
            self._defer(render, fixed)
            return None

    def poke(self, context: Context) -> PokeReturnValue:
        """Ask once, and again only where one answer settles nothing."""
        with self._as_sensor():
            render = self._named()
            self._need_connection(render)
            ended = self._ask(context, render)
            if ended is None:
                _announce(context, render)
                return PokeReturnValue(is_done=False)
            return PokeReturnValue(is_done=True, xcom_value=self._end(context, render, ended))

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Go on after the wait: return the render payload, or say what became of it."""
        with self._as_sensor():
            return self._end(context, self._named(), RenderEvent.from_payload(event))

    def _named(self) -> Render:
        from airflow_provider_jimeng.hooks.jimeng import JimengHook

        return named_render(self, JimengHook(jimeng_conn_id=self.jimeng_conn_id))

    def _fixed_interval(self) -> float | None:
        return None if is_absent(self.poll_interval) else read_seconds("poll_interval", self.poll_interval)

    def _need_connection(self, render: Render) -> None:
        """Fail at once if there is no connection, before the first poke; a later poke waits until there is one again."""
        from airflow_provider_jimeng.hooks.jimeng import JimengHook
        from airflow_provider_jimeng.hooks.waiting import need_connection

        if not self._connected:
            need_connection(JimengHook(jimeng_conn_id=render.jimeng_conn_id))
        self._connected = True

    def _defer(self, render: Render, fixed: float | None) -> None:
        from airflow_provider_jimeng.triggers.render import JimengRenderTrigger

        now = time.time()
        deadline = deadline_for(
            now=now, wait_timeout=self.timeout, submitted_at=render.submitted_at.timestamp()
        )
        self.defer(
            trigger=JimengRenderTrigger.after_deferring(
                render, deadline=deadline, poll_interval=fixed, now=now
            ),
            method_name="execute_complete",
        )

    def _ask(self, context: Context, render: Render) -> RenderEvent | None:
        """Ask once; a doubtful end (not found, access refused) is confirmed in the same poke.

        A reschedule loses what earlier pokes saw, so nothing can be confirmed across pokes. Only the time since when
        a link is missing is kept where there is a place for it, see :meth:`_recall`.
        """
        from airflow_provider_jimeng.hooks.jimeng import JimengHook
        from airflow_provider_jimeng.hooks.waiting import ask_for

        poller = Poller(
            no_link_since=self._recall(context),
            task_id=render.task_id,
            req_key=render.req_key,
            submitted_at=render.submitted_at.timestamp(),
            deadline=float("inf"),
        )
        give_up = time.monotonic() + 1.5 * REFUSED_SPAN
        while True:
            seen: QueryReply | JimengError
            try:
                seen = ask_for(JimengHook(jimeng_conn_id=render.jimeng_conn_id), render)
            except JimengError as error:
                seen = error
            decision = poller.decide(seen, time.time(), random.random())
            if isinstance(decision, Finish):
                return decision.event
            if decision.note:
                self._tell(context, render, decision.note, poller.no_link_since)
            doubtful = decision.renew_connection or getattr(seen, "status", None) is RenderStatus.NOT_FOUND
            if not doubtful or time.monotonic() > give_up:
                return None
            time.sleep(
                max(decision.seconds, _CONFIRM_SECONDS) if decision.renew_connection else _CONFIRM_SECONDS
            )

    def _recall(self, context: Context) -> float | None:
        """Read what the last poke of this try noted, and return since when it saw the render done without a link.

        In reschedule mode that poke was another process: Airflow's task state store (3.3 and newer) is what outlives
        that. A poke never fails for want of it.
        """
        with suppress(Exception):
            if (store := self._store(context)) is not None:
                self._told = store.get(_TOLD_KEY)
        same_try = self._told is not None and self._told.get("try_number") == context["ti"].try_number
        return self._told.get("no_link_since") if self._told is not None and same_try else None

    def _tell(self, context: Context, render: Render, note: str, no_link_since: float | None) -> None:
        """Log what changed since the last poke, and note it for the next one."""
        before, now = self._told, {"state": note, "try_number": context["ti"].try_number}
        if no_link_since is not None:
            now["no_link_since"] = no_link_since
        if before == now:
            return
        self._told = now
        with suppress(Exception):
            if (store := self._store(context)) is not None:
                store.set(_TOLD_KEY, now)
        if before is None or {**before, "no_link_since": None} != {**now, "no_link_since": None}:
            self.log.info("Render %s: %s", render.task_id, note)

    def _store(self, context: Context) -> Any:
        return context.get("task_state_store") if self.mode == "reschedule" else None

    def _end(self, context: Context, render: Render, ended: RenderEvent) -> dict[str, Any]:
        if ended.outcome is Outcome.SUCCEEDED:
            _announce(context, render)
            return render.to_payload()
        _announce(context, render, **outcome_fields(ended))
        count_end(render, ended)
        raise render_error(ended, render, submits=False)

    def _as_sensor(self) -> _SensorErrors:
        return _SensorErrors(self)


def _announce(context: Context, render: Render, **more: Any) -> None:
    push(context["ti"], RENDER, {**render.to_payload(), **more})


class _SensorErrors:
    """Maps our errors to a sensor's manners: a timeout is a sensor's timeout, ``soft_fail`` and ``never_fail`` skip."""

    def __init__(self, sensor: JimengVideoSensor) -> None:
        self._sensor = sensor
        self._errors = airflow_errors(sensor)

    def __enter__(self) -> None:
        self._errors.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if isinstance(error, JimengError):
            timed_out = isinstance(error, RenderTimedOutError)
            if self._sensor.never_fail or (self._sensor.soft_fail and timed_out):
                raise AirflowSkipException(str(error)) from error
            if timed_out:
                raise AirflowSensorTimeout(str(error)) from error
        return self._errors.__exit__(kind, error, trace)
