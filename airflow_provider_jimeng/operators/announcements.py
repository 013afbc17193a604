"""What a task that submits tells others through XCom: the render, what it cost before, and why nothing was paid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pendulum

from airflow_provider_jimeng.core.errors import (
    ApiError,
    ConcurrencyLimitedError,
    RateLimitedError,
    UnknownSubmitError,
)
from airflow_provider_jimeng.core.outcomes import UNKNOWN_SUBMIT, Outcome
from airflow_provider_jimeng.core.record import RecordState
from airflow_provider_jimeng.core.render import PAYLOAD_VERSION, Render, cost_in_words, format_money
from airflow_provider_jimeng.core.submit_messages import refusal_of, slot_refusal
from airflow_provider_jimeng.hooks.render_argument import bare_render, render_from
from airflow_provider_jimeng.metrics import count
from airflow_provider_jimeng.operators.xcom import (
    EARLIER,
    ESTIMATED_COST,
    INTENT,
    REFUSAL,
    RENDER,
    TASK_ID,
    pull_own,
    push,
)

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.errors import JimengError
    from airflow_provider_jimeng.core.parameters import RenderRequest
    from airflow_provider_jimeng.core.record import Record
    from airflow_provider_jimeng.core.render import RenderEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcements:
    """Pushes to the XCom of one task instance, and counts for metrics.

    :param output_path: where the video is to be saved. A rescue reads it from the render's payload.
    """

    ti: Any
    task_id: str
    output_path: str | None

    def cost(self, request: RenderRequest) -> str:
        """Push ``estimated_cost_cny``, right before the submit; return the cost in words."""
        push(self.ti, ESTIMATED_COST, format_money(request.estimated_cost()))
        return cost_in_words(request.estimated_cost())

    def paid(self, render: Render, record: Record | None) -> None:
        """Push a paid render, and what this task instance paid for before it."""
        self.render(render)
        self.earlier(render, record)

    def render(self, render: Render, **more: Any) -> None:
        """Push ``task_id`` and ``jimeng_render``."""
        place = {"output_path": self.output_path} if self.output_path else {}
        push(self.ti, TASK_ID, render.task_id)
        push(self.ti, RENDER, {**render.to_payload(), **place, **more})

    def earlier(self, render: Render | None, record: Record | None) -> None:
        """Push ``jimeng_earlier``: what this task instance paid for in other tries, or before a Clear."""
        earlier = [] if record is None else record.bill(except_id=None if render is None else render.task_id)
        if earlier:
            payload = {"version": PAYLOAD_VERSION, "map_index": self.ti.map_index, "renders": earlier}
            push(self.ti, EARLIER, payload)

    def failure(self, request: RenderRequest, error: JimengError, record: Record | None) -> None:
        """Push and count why no render was paid for; ``jimeng_intent`` if one may have been paid for nevertheless.

        :param record: the intent of a submit whose outcome is unknown, if there is one.
        """
        model = request.spec.name
        if isinstance(error, ConcurrencyLimitedError | RateLimitedError):
            count("busy", model)
        elif isinstance(error, UnknownSubmitError):
            count("failed", model, code=UNKNOWN_SUBMIT)
            if record is not None and record.state is RecordState.INTENT:
                push(self.ti, INTENT, {**record.to_payload(), "message": str(error)})
        elif isinstance(error, ApiError):
            count("failed", model, code=error.code or Outcome.FAILED.value)
            push(self.ti, REFUSAL, refusal_of(request, error, pendulum.now("UTC")))

    def no_slot(self, request: RenderRequest | None, model: str, ended: RenderEvent) -> None:
        """Push and count that no slot became free.

        :param request: ``None`` if the arguments cannot be read any more; ``model`` names it then.
        """
        summary = {"model": model} if request is None else request.summary()
        count("failed", summary["model"], code=ended.outcome.value)
        push(self.ti, REFUSAL, slot_refusal(summary, ended, pendulum.now("UTC")))

    def render_of(self, ended: RenderEvent, *, jimeng_conn_id: str) -> Render:
        """Return the render that a wait was for, as this task announced it before the wait."""
        payload = pull_own(self.ti, self.task_id, RENDER)
        if isinstance(payload, Mapping) and payload.get("task_id") == ended.task_id:
            return render_from(payload)
        return bare_render(ended.task_id, req_key=str(ended.req_key), jimeng_conn_id=jimeng_conn_id)
