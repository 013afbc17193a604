"""Submit, query and cancel, behind whichever door: the signed one or a Bearer gateway's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.emulator import codes
from airflow_provider_jimeng.emulator.envelopes import Envelope, Refusal, progress
from airflow_provider_jimeng.emulator.faults import FaultPlan, Occasion
from airflow_provider_jimeng.emulator.links import Link, LinkMint
from airflow_provider_jimeng.emulator.refusals import MAX_BODY_BYTES, Order, check_submit, parse_aigc_meta

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.catalogue import ModelSpec
    from airflow_provider_jimeng.emulator.bill import Counters
    from airflow_provider_jimeng.emulator.messages import Answer
    from airflow_provider_jimeng.emulator.state import RateLimit, Task, TaskStore

CALLS: Mapping[tuple[str, str], str] = {
    ("CVSync2AsyncSubmitTask", "2022-08-31"): "submit",
    ("CVSync2AsyncGetResult", "2022-08-31"): "query",
    ("CVCancelTask", "2024-06-06"): "cancel",
}
"""(Action, Version) of the query string → what it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One call at the desk. ``body`` is what could be read of the request's, empty where nothing could."""

    where: str
    raw: bytes = field(repr=False)
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    origin: str
    envelope: Envelope

    @classmethod
    def read(cls, where: str, raw: bytes, origin: str, envelope: Envelope) -> Visit:
        """Read a body without judging it yet."""
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            body = {}
        return cls(
            where=where,
            raw=raw,
            body=body if isinstance(body, dict) else {},
            origin=origin,
            envelope=envelope,
        )

    @property
    def now(self) -> float:
        """Epoch seconds."""
        return self.envelope.now

    def text(self, name: str) -> str:
        """Return a field if it is text, else an empty one."""
        value = self.body.get(name)
        return value if isinstance(value, str) else ""

    def occasion(
        self, *, early: bool, prompt: str | None = None, facts: frozenset[str] = frozenset()
    ) -> Occasion:
        """Describe the visit for the fault plan."""
        return Occasion(
            where=self.where,
            early=early,
            req_key=self.text("req_key"),
            prompt=self.text("prompt") if prompt is None else prompt,
            task_id=self.text("task_id"),
            facts=facts,
        )


@dataclass(slots=True, kw_only=True)
class Desk:
    """The business behind the gateway. ``catalogue`` is read at each call, as are the limits: tests may change them."""

    catalogue: Mapping[str, ModelSpec]
    tasks: TaskStore
    counters: Counters
    links: LinkMint
    faults: FaultPlan
    rate: RateLimit
    unactivated: frozenset[str]
    render_seconds: float
    max_concurrent: int | None
    retention_seconds: float

    def arrive(self, visit: Visit) -> None:
        """Count a visit, before anything is checked."""
        self.counters.count({"submit": "submits", "query": "queries", "cancel": "cancels"}[visit.where])
        task = self.tasks.get(visit.text("task_id"))
        if task is not None and visit.where == "query":
            with self.tasks.lock:
                task.queries += 1

    def serve(self, visit: Visit) -> Answer:
        """Do what is asked. Guess (L): the QPS limit is looked at first, concurrency last."""
        if visit.where != "cancel" and not self.rate.admit(visit.now):
            return visit.envelope.refusal(Refusal(code=codes.RATE_LIMIT))
        spec = self._spec(visit)
        if isinstance(spec, Refusal):
            return visit.envelope.refusal(spec)
        if visit.where == "submit":
            return self._submit(visit, spec)
        return self._query(visit) if visit.where == "query" else self._cancel(visit)

    def prompt_of(self, task_id: str) -> str:
        """Return the prompt of a task, for faults that match it; empty for an unknown one."""
        task = self.tasks.get(task_id)
        return task.order.prompt if task else ""

    def _spec(self, visit: Visit) -> ModelSpec | Refusal:
        """A wrong key is 50200 (M), a right one that is not opened 50400 with HTTP 401 (H)."""
        if len(visit.raw) > MAX_BODY_BYTES:
            return Refusal(code=codes.BODY_TOO_LARGE)
        if not visit.body:
            return Refusal(code=codes.PARSE_ARGS, detail="the body must be a JSON object")
        req_key = visit.body.get("req_key")
        if req_key in (None, ""):
            return Refusal(code=codes.MISSING_ARGS, detail="req_key")
        if not isinstance(req_key, str):
            return Refusal(code=codes.PARSE_ARGS, detail="req_key must be a string")
        spec = next((spec for spec in self.catalogue.values() if spec.req_key == req_key), None)
        if spec is None:
            return Refusal(code=codes.INVALID_ARGS, detail=f"req_key {req_key}")
        if {spec.name, req_key} & self.unactivated:
            return Refusal(code=codes.NOT_ACTIVATED)
        return spec

    def _submit(self, visit: Visit, spec: ModelSpec) -> Answer:
        order = check_submit(spec, visit.body)
        if isinstance(order, Refusal):
            return visit.envelope.refusal(order)
        with self.tasks.lock:
            if self.max_concurrent is not None and (
                self.tasks.in_flight(spec.req_key, visit.now) >= self.max_concurrent
            ):
                return visit.envelope.refusal(Refusal(code=codes.CONCURRENCY_LIMIT))
            task = self.tasks.accept(order, now=visit.now, render_seconds=self.render_seconds)
            self._fate(task, order)
        return visit.envelope.success({"task_id": task.task_id})

    def _fate(self, task: Task, order: Order) -> None:
        """Let a ``render`` fault decide what becomes of a task."""
        fault = self.faults.draw(
            Occasion(
                where="render", early=False, req_key=task.req_key, prompt=order.prompt, task_id=task.task_id
            )
        )
        if fault is None:
            return
        if fault.what == "fail":
            task.failure = (fault.parameters["code"], fault.parameters["message"])
        elif fault.what == "expire":
            task.lapses = True
        else:
            task.ends_at += fault.parameters["seconds"]

    def _task(self, visit: Visit) -> Task | Refusal | None:
        """A task asked for under another key than its own is not found (H)."""
        task_id = visit.body.get("task_id")
        if task_id in (None, ""):
            return Refusal(code=codes.MISSING_ARGS, detail="task_id")
        if not isinstance(task_id, str):
            return Refusal(code=codes.PARSE_ARGS, detail="task_id must be a string")
        task = self.tasks.get(task_id)
        return task if task is not None and task.req_key == visit.text("req_key") else None

    def _query(self, visit: Visit) -> Answer:
        task = self._task(visit)
        if isinstance(task, Refusal):
            return visit.envelope.refusal(task)
        label = parse_aigc_meta(visit.body)
        if isinstance(label, Refusal):
            return visit.envelope.refusal(label)
        status = "not_found" if task is None else task.status(visit.now, self.retention_seconds)
        if task is not None and status == "done":
            return self._done(visit, task, label)
        if task is not None and status == "failed" and task.failure is not None:
            code, message = task.failure
            return visit.envelope.refusal(Refusal(code=code), message=message)
        return visit.envelope.success(progress(status))

    def _done(self, visit: Visit, task: Task, label: dict[str, str] | None) -> Answer:
        """The official S2.0 sample has the link and nothing else, not even a status (M)."""
        url = self.links.mint(visit.origin, Link(task_id=task.task_id, label=label), visit.now)
        if not task.order.spec.takes_frames:
            return visit.envelope.success({"video_url": url})
        return visit.envelope.success(
            {**progress("done"), "video_url": url, "aigc_meta_tagged": label is not None}
        )

    def _cancel(self, visit: Visit) -> Answer:
        """A queued task can be cancelled, a generating one cannot (M). Codes and reply of both are guesses (L)."""
        task = self._task(visit)
        if isinstance(task, Refusal):
            return visit.envelope.refusal(task)
        with self.tasks.lock:
            status = "not_found" if task is None else task.status(visit.now, self.retention_seconds)
            if task is None or status != "in_queue":
                detail = f"the task is {status}, only a queued one can be cancelled"
                return visit.envelope.refusal(Refusal(code=codes.INVALID_ARGS, detail=detail))
            task.cancelled_at = visit.now
        return visit.envelope.success({})
