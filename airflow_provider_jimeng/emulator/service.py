# SPDX-License-Identifier: Apache-2.0
"""The three operations of the API (submit, query, cancel), and the faults that happen to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_jimeng.emulator.fault_injection import (
    REPLACING,
    FaultContext,
    FaultPlan,
    alter_api_response,
    alter_response,
    replace_response,
)
from airflow_provider_jimeng.emulator.media_host import VideoLink, VideoLinks
from airflow_provider_jimeng.emulator.messages import ApiResponse, Code, Refusal, status_data
from airflow_provider_jimeng.emulator.request_checks import MAX_BODY_BYTES, check_submit, parse_aigc_meta

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.catalogue import ModelSpec
    from airflow_provider_jimeng.emulator.messages import Call, HttpResult, Response
    from airflow_provider_jimeng.emulator.renders import Counters, RateLimit, Render, RenderStore

_COUNTERS = {"submit": "submits", "query": "queries", "cancel": "cancels"}


@dataclass(slots=True, kw_only=True)
class Service:
    """The API behind its gateway.

    Each call reads ``catalogue`` and the limits anew, because tests can change them.
    """

    catalogue: Mapping[str, ModelSpec]
    renders: RenderStore
    counters: Counters
    links: VideoLinks
    faults: FaultPlan
    rate: RateLimit
    unactivated: frozenset[str]
    render_seconds: float
    max_concurrent: int | None
    retention_seconds: float

    def handle(
        self,
        call: Call,
        check: Callable[[], Refusal | None],
        to_http: Callable[[ApiResponse], Response],
    ) -> HttpResult:
        """Answer a call, with the faults that are due.

        ``check`` returns why the API's gateway refuses the request. ``to_http`` gives a response its final shape.
        """
        self._count(call)
        early = self.faults.pick(self._context(call, early=True))
        if early is not None:
            replaced = replace_response(early, call.responses)
            reason = str(replaced.code) if isinstance(replaced, ApiResponse) else early.what
            self.counters.count_refusal(call.operation, reason)
            return to_http(replaced) if isinstance(replaced, ApiResponse) else replaced
        refusal = check()
        response = self._answer(call) if refusal is None else call.responses.refusal(refusal)
        if not response.succeeded:
            self.counters.count_refusal(call.operation, str(response.code))
            return to_http(response)
        late = self.faults.pick(self._context(call, early=False, possible=_possible_faults(response)))
        if late is None:
            return to_http(response)
        if late.what in REPLACING:
            replaced = replace_response(late, call.responses)
            return to_http(replaced) if isinstance(replaced, ApiResponse) else replaced
        unlabelled = VideoLink(task_id=call.text("task_id"))
        altered = alter_api_response(
            late, response, lambda: self.links.create(call.origin, unlabelled, call.now)
        )
        return alter_response(late, to_http(altered))

    def _count(self, call: Call) -> None:
        """Count a call before anything is checked."""
        self.counters.count(_COUNTERS[call.operation])
        render = self.renders.get(call.text("task_id"))
        if render is not None and call.operation == "query":
            self.renders.count(render, "queries")

    def _context(self, call: Call, *, early: bool, possible: frozenset[str] = frozenset()) -> FaultContext:
        prompt = call.text("prompt")
        if call.operation != "submit":
            render = self.renders.get(call.text("task_id"))
            prompt = render.request.prompt if render else ""
        return FaultContext(
            where=call.operation,
            early=early,
            req_key=call.text("req_key"),
            prompt=prompt,
            task_id=call.text("task_id"),
            possible=possible,
        )

    def _answer(self, call: Call) -> ApiResponse:
        """Do what the call requests. The API's order of checks is a guess (L): rate limit first, concurrency last."""
        if call.operation != "cancel" and not self.rate.admit(call.now):
            return call.responses.refusal(Refusal(code=Code.RATE_LIMIT))
        spec = self._spec(call)
        if isinstance(spec, Refusal):
            return call.responses.refusal(spec)
        if call.operation == "submit":
            return self._submit(call, spec)
        return self._query(call) if call.operation == "query" else self._cancel(call)

    def _spec(self, call: Call) -> ModelSpec | Refusal:
        """Return the model. A wrong key is 50200 (M), a model that is not activated is 50400 with HTTP 401 (H)."""
        if len(call.raw) > MAX_BODY_BYTES:
            return Refusal(code=Code.BODY_TOO_LARGE)
        if not call.body:
            return Refusal(code=Code.PARSE_ARGS, detail="the body must be a JSON object")
        req_key = call.body.get("req_key")
        if req_key in (None, ""):
            return Refusal(code=Code.MISSING_ARGS, detail="req_key")
        if not isinstance(req_key, str):
            return Refusal(code=Code.PARSE_ARGS, detail="req_key must be a string")
        spec = next((spec for spec in self.catalogue.values() if spec.req_key == req_key), None)
        if spec is None:
            return Refusal(code=Code.INVALID_ARGS, detail=f"req_key {req_key}")
        if {spec.name, req_key} & self.unactivated:
            return Refusal(code=Code.NOT_ACTIVATED)
        return spec

    def _submit(self, call: Call, spec: ModelSpec) -> ApiResponse:
        request = check_submit(spec, call.body)
        if isinstance(request, Refusal):
            return call.responses.refusal(request)
        with self.renders.lock:
            if self.max_concurrent is not None and (
                self.renders.in_flight(spec.req_key, call.now) >= self.max_concurrent
            ):
                return call.responses.refusal(Refusal(code=Code.CONCURRENCY_LIMIT))
            render = self.renders.accept(request, now=call.now, render_seconds=self.render_seconds)
            self._inject_render_fault(render)
        return call.responses.success({"task_id": render.task_id})

    def _inject_render_fault(self, render: Render) -> None:
        context = FaultContext(
            where="render",
            early=False,
            req_key=render.req_key,
            prompt=render.request.prompt,
            task_id=render.task_id,
        )
        fault = self.faults.pick(context)
        if fault is None:
            return
        if fault.what == "fail":
            render.failure = (fault.parameters["code"], fault.parameters["message"])
        elif fault.what == "expire":
            render.expires = True
        elif fault.what == "other_video":
            render.video = (
                fault.parameters["width"],
                fault.parameters["height"],
                fault.parameters["duration"],
            )
        else:
            render.ends_at += fault.parameters["seconds"]

    def _render(self, call: Call) -> Render | Refusal | None:
        """Return the render of a query or a cancel. With another key than its own it is not found (H)."""
        task_id = call.body.get("task_id")
        if task_id in (None, ""):
            return Refusal(code=Code.MISSING_ARGS, detail="task_id")
        if not isinstance(task_id, str):
            return Refusal(code=Code.PARSE_ARGS, detail="task_id must be a string")
        render = self.renders.get(task_id)
        return render if render is not None and render.req_key == call.text("req_key") else None

    def _query(self, call: Call) -> ApiResponse:
        render = self._render(call)
        if isinstance(render, Refusal):
            return call.responses.refusal(render)
        label = parse_aigc_meta(call.body)
        if isinstance(label, Refusal):
            return call.responses.refusal(label)
        status = "not_found" if render is None else render.status(call.now, self.retention_seconds)
        if render is not None and status == "done":
            return self._done(call, render, label)
        if render is not None and status == "failed" and render.failure is not None:
            code, message = render.failure
            return call.responses.refusal(Refusal(code=code), message=message)
        return call.responses.success(status_data(status))

    def _done(self, call: Call, render: Render, label: dict[str, str] | None) -> ApiResponse:
        """Return the response with the link. The official S2.0 sample has only the link, not even a status (M)."""
        url = self.links.create(call.origin, VideoLink(task_id=render.task_id, label=label), call.now)
        if not render.request.spec.takes_frames:
            return call.responses.success({"video_url": url})
        return call.responses.success(
            {**status_data("done"), "video_url": url, "aigc_meta_tagged": label is not None}
        )

    def _cancel(self, call: Call) -> ApiResponse:
        """Cancel a queued render; a generating one cannot be cancelled (M). Codes and responses are guesses (L)."""
        render = self._render(call)
        if isinstance(render, Refusal):
            return call.responses.refusal(render)
        with self.renders.lock:
            status = "not_found" if render is None else render.status(call.now, self.retention_seconds)
            if render is None or status != "in_queue":
                detail = f"the task is {status}, only a queued one can be cancelled"
                return call.responses.refusal(Refusal(code=Code.INVALID_ARGS, detail=detail))
            render.cancelled_at = call.now
        return call.responses.success({})


def _possible_faults(response: ApiResponse) -> frozenset[str]:
    """Return the conditional faults that a response allows."""
    possible = set()
    if response.data.get("video_url"):
        possible.add("done_without_url")
    if response.data.get("aigc_meta_tagged"):
        possible |= {"mislabelled", "untagged"}
    return frozenset(possible)
