# SPDX-License-Identifier: Apache-2.0
"""Spans of OpenTelemetry for the submit, the wait and the download of a render.

The API of OpenTelemetry comes with Airflow. It does nothing until a process sets a tracer provider, as Airflow 3.2 and newer
do if their tracing is on. The spans have numbers, the model and the id of the render: never a prompt, a link or a message.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from opentelemetry import trace

from airflow_provider_jimeng.core.errors import ConcurrencyLimitedError, RateLimitedError

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.parameters import RenderRequest
    from airflow_provider_jimeng.core.render import Render, RenderEvent, RenderManifest

log = logging.getLogger(__name__)
tracer = trace.get_tracer("airflow_provider_jimeng")

_Answer = TypeVar("_Answer")
SetAttributes = Callable[..., None]
"""Adds attributes to a span, without the prefix ``jimeng.``."""


def traced_submit(submit: Callable[[Any, RenderRequest], _Answer]) -> Callable[[Any, RenderRequest], _Answer]:
    """Make a span ``jimeng.submit`` of each call of a method that submits a request."""

    @wraps(submit)
    def traced(self: Any, request: RenderRequest) -> _Answer:
        facts = {"model": request.spec.name, "duration_seconds": request.duration}
        with _span("jimeng.submit", {**facts, "cost_cny": request.estimated_cost}) as set_attributes:
            answer = submit(self, request)
            render: Render | None = getattr(answer, "render", None)
            if render is None:
                set_attributes(outcome="no_slot" if hasattr(answer, "error") else "other_task")
            else:
                set_attributes(outcome="accepted", render_id=render.task_id)
            return answer

    return traced


def traced_landing(land: Callable[..., RenderManifest]) -> Callable[..., RenderManifest]:
    """Make a span ``jimeng.land`` of each call of a function that saves the video of a render."""

    @wraps(land)
    def traced(render: Render, *arguments: Any, **options: Any) -> RenderManifest:
        with _span("jimeng.land", _facts(render)) as set_attributes:
            manifest = land(render, *arguments, **options)
            set_attributes(outcome="landed", bytes=manifest.bytes, cost_cny=manifest.cost_cny)
            return manifest

    return traced


def trace_wait(render: Render, ended: RenderEvent) -> None:
    """Make a span ``jimeng.wait`` of a wait that is over. It begins at the submit, because processes share the wait."""
    with _logged_errors():
        span = tracer.start_span("jimeng.wait", start_time=round(render.submitted_at.timestamp() * 1e9))
        facts = {**_facts(render), "outcome": ended.outcome.value, "code": ended.code, "polls": ended.polls}
        facts |= {"queued_seconds": ended.queued_seconds, "render_seconds": ended.render_seconds}
        _set(span, facts)
        span.end()


def _facts(render: Render) -> dict[str, Any]:
    return {
        "render_id": render.task_id,
        "model": render.model,
        "duration_seconds": render.duration,
        "cost_cny": render.estimated_cost_cny,
    }


@contextmanager
def _span(name: str, facts: dict[str, Any]) -> Iterator[SetAttributes]:
    """Make a span of a block. An error adds its class and the API's code, because its text might quote a prompt."""
    span: trace.Span = trace.INVALID_SPAN
    with _logged_errors():
        span = tracer.start_span(name)
    set_attributes = _setter(span)
    set_attributes(**facts)
    try:
        with trace.use_span(span, record_exception=False, set_status_on_exception=False):
            yield set_attributes
    except (
        ConcurrencyLimitedError,
        RateLimitedError,
    ) as error:  # the task waits for a slot: nothing went wrong
        set_attributes(outcome="busy", code=error.code)
        raise
    except BaseException as error:
        set_attributes(outcome="error", error=type(error).__name__, code=getattr(error, "code", None))
        with _logged_errors():
            span.set_status(trace.StatusCode.ERROR)
        raise
    finally:
        with _logged_errors():
            span.end()


def _setter(span: trace.Span) -> SetAttributes:
    def set_attributes(**facts: Any) -> None:
        with _logged_errors():
            _set(span, facts)

    return set_attributes


def _set(span: trace.Span, facts: dict[str, Any]) -> None:
    for name, value in facts.items():
        if value is not None:
            plain = value if isinstance(value, str | int | float) else float(value)
            span.set_attribute(f"jimeng.{name}", plain)


@contextmanager
def _logged_errors() -> Iterator[None]:
    """Log an error of a span processor instead of raising it, so that no paid render is lost."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - processors of users raise classes of their own
        log.warning("A span of OpenTelemetry failed (%s). The task continues.", type(error).__name__)
