# SPDX-License-Identifier: Apache-2.0
"""Waits for a submitted render, in poke, reschedule or deferrable mode."""

from __future__ import annotations

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
from airflow_provider_jimeng.core.errors import JimengError, RenderTimedOutError
from airflow_provider_jimeng.core.messages import outcome_fields, render_error
from airflow_provider_jimeng.core.outcomes import Outcome
from airflow_provider_jimeng.core.render import RenderEvent, deadline_for
from airflow_provider_jimeng.hooks.render_argument import named_render
from airflow_provider_jimeng.links import JimengVideoLink
from airflow_provider_jimeng.operators.base import (
    DEFAULT_RETRIES,
    airflow_errors,
    check_waiting_literals,
    with_default_policy,
)
from airflow_provider_jimeng.operators.xcom import RENDER, count_end, push_own

if TYPE_CHECKING:
    from typing import Unpack

    from airflow.providers.common.compat.sdk import Context, RetryPolicy, XComArg

    from airflow_provider_jimeng.core.render import Render
    from airflow_provider_jimeng.hooks.jimeng import JimengHook
    from airflow_provider_jimeng.operators.arguments import SensorArguments

__all__ = ["JimengVideoSensor"]

_NOTE_KEY = "jimeng_told"


class JimengVideoSensor(BaseSensorOperator):
    """Wait until a submitted render is done, and return its payload.

    :param render: the return value of the submit operator.
    :param render_id: in place of ``render``: the vendor's ``task_id``.
    :param model: with ``render_id``: short name or ``req_key`` of its model.
    :param jimeng_conn_id: connection for a ``render_id``; a render payload names the connection that pays.
    :param poll_interval: seconds between two queries in deferrable mode. By default they depend on the age of the render.
    :param poke_interval: as in Airflow, in poke and reschedule mode.
    :param timeout: as in Airflow, in every mode. The render can still be adopted later.
    :param deferrable: wait in the triggerer instead of on the worker.
    """

    template_fields: Sequence[str] = ("render", "render_id", "model", "jimeng_conn_id", "poll_interval")
    template_fields_renderers: ClassVar[dict[str, str]] = {"render": "json"}
    ui_color = "#e8f0fe"
    operator_extra_links = (JimengVideoLink(),)

    def __init__(
        self,
        *,
        render: Mapping[str, Any] | str | XComArg | None = None,
        render_id: str | int | XComArg | None = None,
        model: str | XComArg | None = None,
        jimeng_conn_id: str | XComArg = "jimeng_default",
        poll_interval: float | str | XComArg | None = None,
        poke_interval: timedelta | float = 15,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        retries: int | None = DEFAULT_RETRIES,
        retry_policy: RetryPolicy | None = None,
        **kwargs: Unpack[SensorArguments],
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
        self._hook: JimengHook | None = None
        self._last_note: dict[str, Any] | None = None

    def execute(self, context: Context) -> Any:
        """Wait in the chosen mode. A render that is already done is not waited for."""
        if not self.deferrable:
            return super().execute(context)
        with _SensorErrors(self):
            poll_interval = self._fixed_interval()
            render, hook = self._named_render()
            ended = self._ask(context, render, hook)
            if ended is not None:
                return self._end(context, render, ended)
            _announce(context, render)
            self._defer(render, poll_interval)
            return None

    def poke(self, context: Context) -> PokeReturnValue:
        """Ask once; ask again only if one answer is not enough."""
        with _SensorErrors(self):
            render, hook = self._named_render()
            ended = self._ask(context, render, hook)
            if ended is None:
                _announce(context, render)
                return PokeReturnValue(is_done=False)
            return PokeReturnValue(is_done=True, xcom_value=self._end(context, render, ended))

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Continue after the wait: return the render payload, or raise the error that says how the render ended."""
        from airflow_provider_jimeng.hooks.jimeng import JimengHook

        with _SensorErrors(self):
            render = named_render(self, JimengHook(jimeng_conn_id=str(self.jimeng_conn_id)))
            return self._end(context, render, RenderEvent.from_payload(event))

    def _fixed_interval(self) -> float | None:
        return None if is_absent(self.poll_interval) else read_seconds("poll_interval", self.poll_interval)

    def _named_render(self) -> tuple[Render, JimengHook]:
        """Return the render to wait for, and the hook of the connection that pays: one for all pokes of the process.

        The first poke fails at once if there is no connection. A later poke waits until there is one again.
        """
        from airflow_provider_jimeng.hooks.base import need_connection
        from airflow_provider_jimeng.hooks.jimeng import JimengHook

        own = self._hook or JimengHook(jimeng_conn_id=str(self.jimeng_conn_id))
        render = named_render(self, own)
        if self._hook is None:
            hook = own.for_render(render)
            need_connection(hook)
            self._hook = hook
        return render, self._hook

    def _defer(self, render: Render, poll_interval: float | None) -> None:
        from airflow_provider_jimeng.triggers.render import JimengRenderTrigger

        now = time.time()
        deadline = deadline_for(
            now=now, wait_timeout=self.timeout, submitted_at=render.submitted_at.timestamp()
        )
        self.defer(
            trigger=JimengRenderTrigger.after_deferring(
                render, deadline=deadline, poll_interval=poll_interval, now=now
            ),
            method_name="execute_complete",
        )

    def _ask(self, context: Context, render: Render, hook: JimengHook) -> RenderEvent | None:
        """Ask once. If an end is uncertain (not found, access refused), ask again in the same poke.

        A reschedule forgets what earlier pokes saw, so nothing can be confirmed across pokes. Only the time at which a
        link was first missing is kept, see :meth:`_recall`.
        """
        from airflow_provider_jimeng.hooks.base import ask_for
        from airflow_provider_jimeng.hooks.waiting import poke, poller_for

        poller = poller_for(render, no_link_since=self._recall(context))
        return poke(
            lambda: ask_for(hook, render),
            poller,
            renew=hook.renew,
            note=lambda note: self._note(context, render, note, poller.no_link_since),
        )

    def _recall(self, context: Context) -> float | None:
        """Read the note of the last poke of this try; return when a poke first saw the render done without a link.

        In reschedule mode that poke was another process. Airflow's task state store (3.3 and newer) keeps the note. A
        poke does not fail if the store cannot be read.
        """
        with suppress(Exception):
            if (store := self._store(context)) is not None:
                self._last_note = store.get(_NOTE_KEY)
        same_try = (
            self._last_note is not None and self._last_note.get("try_number") == context["ti"].try_number
        )
        return self._last_note.get("no_link_since") if self._last_note is not None and same_try else None

    def _note(self, context: Context, render: Render, note: str, no_link_since: float | None) -> None:
        """Log what changed since the last poke, and note it for the next one."""
        before, now = self._last_note, {"state": note, "try_number": context["ti"].try_number}
        if no_link_since is not None:
            now["no_link_since"] = no_link_since
        if before == now:
            return
        self._last_note = now
        with suppress(Exception):
            if (store := self._store(context)) is not None:
                store.set(_NOTE_KEY, now)
        if before is None or {**before, "no_link_since": None} != {**now, "no_link_since": None}:
            self.log.info("Render %s: %s", render.task_id, note)

    def _store(self, context: Context) -> Any:
        return context.get("task_state_store") if self.mode == "reschedule" else None

    def _end(self, context: Context, render: Render, ended: RenderEvent) -> dict[str, Any]:
        from airflow_provider_jimeng.tracing import trace_wait

        trace_wait(render, ended)
        if ended.outcome is Outcome.SUCCEEDED:
            _announce(context, render)
            return render.to_payload()
        _announce(context, render, **outcome_fields(ended))
        count_end(render, ended)
        raise render_error(ended, render, submits=False)


def _announce(context: Context, render: Render, **more: Any) -> None:
    push_own(context["ti"], RENDER, {**render.to_payload(), **more})


class _SensorErrors:
    """Raises our errors as those of a sensor. With ``never_fail`` or, for a timeout, ``soft_fail``, the task is skipped."""

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
