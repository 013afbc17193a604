# SPDX-License-Identifier: Apache-2.0
"""The spans of a render, with the SDK of OpenTelemetry that Airflow brings."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from airflow_provider_jimeng.operators.video import JimengSubmitVideoOperator
from tests.harness.lab import Lab, open_lab

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import Span

PROMPT = "a red kite"


class Failing(SpanProcessor):
    """A processor of a user that fails at both ends of each span, if it is told to."""

    fails = False

    def on_start(self, span: Span, parent_context: Any = None) -> None:
        self._fail()

    def on_end(self, span: ReadableSpan) -> None:
        self._fail()

    def _fail(self) -> None:
        if self.fails:
            raise RuntimeError("the collector is gone")


EXPORTER = InMemorySpanExporter()
FAILING = Failing()


@pytest.fixture(scope="module", autouse=True)
def _tracing_is_on() -> None:
    """A process has one tracer provider and keeps it, so this file adds to one that is there already."""
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider()
        trace.set_tracer_provider(provider)
    provider.add_span_processor(SimpleSpanProcessor(EXPORTER))
    provider.add_span_processor(FAILING)


@pytest.fixture(autouse=True)
def _no_spans_of_other_tests() -> None:
    EXPORTER.clear()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with open_lab(tmp_path) as opened:
        yield opened


def spans() -> dict[str, ReadableSpan]:
    """The spans of the package by name, the last of each."""
    return {span.name: span for span in EXPORTER.get_finished_spans() if span.name.startswith("jimeng.")}


def attributes(name: str) -> dict[str, Any]:
    return dict(spans()[name].attributes or {})


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_render_makes_a_span_for_submit_wait_and_landing(lab: Lab, deferrable: bool) -> None:
    lab.options["deferrable"] = deferrable
    lab.options |= {"model": "t2v_720p", "duration": 5}
    task = lab.task()
    with trace.get_tracer(__name__).start_as_current_span("task.execute") as around:
        assert task.run() == "success"

    render = {"jimeng.render_id": task.result["task_id"], "jimeng.model": "t2v_720p"}
    render |= {"jimeng.duration_seconds": 5, "jimeng.cost_cny": float(task.result["cost_cny"])}
    assert attributes("jimeng.submit") == {**render, "jimeng.outcome": "accepted"}
    wait = attributes("jimeng.wait")
    assert wait["jimeng.polls"] >= 1
    assert {name: wait[name] for name in (*render, "jimeng.outcome")} == {
        **render,
        "jimeng.outcome": "succeeded",
    }
    landed = {"jimeng.outcome": "landed", "jimeng.bytes": task.result["bytes"]}
    assert attributes("jimeng.land") == {**render, **landed}
    for span in spans().values():
        assert span.context is not None
        assert span.context.trace_id == around.get_span_context().trace_id


def test_spans_contain_no_prompt_and_no_link(lab: Lab) -> None:
    assert lab.task().run() == "success"
    told = "\n".join(span.to_json() for span in spans().values())
    assert PROMPT not in told
    assert "http" not in told


def test_a_refused_submit_is_an_error_without_its_text(lab: Lab) -> None:
    lab.emulator.faults.add(where="submit", what="error_before", code=50411)
    assert lab.task().run() == "failed"
    span = spans()["jimeng.submit"]
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.status.description is None
    assert not span.events
    assert attributes("jimeng.submit")["jimeng.outcome"] == "error"
    assert "jimeng.code" in attributes("jimeng.submit")


def test_a_busy_account_is_not_an_error(lab: Lab) -> None:
    lab.emulator.faults.add(where="submit", what="error_before", code=50430, http_status=429)
    stage = lab.task()
    stage.try_number, stage.max_tries, stage.store.latest = 1, 1, "try-1"
    with pytest.raises(TaskDeferred):
        lab.generate().execute(stage._context(stage._task_instance()))
    assert attributes("jimeng.submit")["jimeng.outcome"] == "busy"
    assert spans()["jimeng.submit"].status.status_code is trace.StatusCode.UNSET


def test_a_failing_collector_costs_no_render(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FAILING, "fails", True)
    assert lab.task().run() == "success"
    assert lab.tally().billed == 1


def test_the_task_that_only_submits_makes_no_span_of_a_wait(lab: Lab) -> None:
    task = lab.task(
        lambda: JimengSubmitVideoOperator(task_id="submit", prompt=PROMPT, output_path=lab.output_path)
    )
    assert task.run() == "success"
    assert set(spans()) == {"jimeng.submit"}


def test_without_a_tracer_provider_nothing_is_recorded() -> None:
    code = (
        "from airflow_provider_jimeng import tracing\n"
        "from opentelemetry import trace\n"
        "assert not tracing.tracer.start_span('x').is_recording()\n"
        "assert type(trace.get_tracer_provider()).__name__ == 'ProxyTracerProvider'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
