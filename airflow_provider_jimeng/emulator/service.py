# SPDX-License-Identifier: Apache-2.0
"""What the API does: submits, queries, cancels and downloads, and the faults that happen to them.

Each query creates a new link. It is valid for an hour and signed in its query string (docs §1.4; M-H). A published link
has its expiry in hexadecimal as the second path segment and the time of its creation as ``dy_q``. So do these links.
That an expired link gets 403 is a guess (M: such CDNs do so). The media host serves whole files and single ranges (RFC
9110 §14). That it needs no key, and its content type, are documented.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from airflow_provider_jimeng.emulator.fault_injection import (
    REPLACING,
    FaultContext,
    FaultPlan,
    alter_api_response,
    alter_response,
    replace_response,
)
from airflow_provider_jimeng.emulator.messages import (
    ApiResponse,
    Code,
    Headers,
    HttpResult,
    Refusal,
    Request,
    Response,
    ResponseBuilder,
    html_page,
    status_data,
)
from airflow_provider_jimeng.emulator.request_checks import MAX_BODY_BYTES, check_submit, parse_aigc_meta
from airflow_provider_jimeng.emulator.videos import VideoCache, clip_of

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.catalogue import ModelSpec
    from airflow_provider_jimeng.emulator.faults import Fault
    from airflow_provider_jimeng.emulator.messages import Call
    from airflow_provider_jimeng.emulator.renders import Counters, RateLimit, Render, RenderStore

MEDIA_PREFIX = "/media/"
VIDEOS = VideoCache()
"""The files of all emulators in this process: a test suite with many emulators encodes equal videos once."""
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
_COUNTERS = {"submit": "submits", "query": "queries", "cancel": "cancels"}


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoLink:
    """The render that a link leads to. ``label`` is the metadata in the file, if the query requested it."""

    task_id: str
    label: Mapping[str, str] | None = None


@dataclass(slots=True)
class VideoLinks:
    """Creates and checks links. It stores only the labels: the rest is in the link itself, with a signature."""

    lifetime_seconds: float
    _labels: dict[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    _key: bytes = field(default_factory=lambda: secrets.token_bytes(16), repr=False)

    def create(self, origin: str, link: VideoLink, now: float) -> str:
        """Return a new URL. ``l`` begins with the millisecond of the expiry."""
        expires_at = now + self.lifetime_seconds
        expiry = f"{int(expires_at):x}"
        label = ""
        if link.label:
            label = hashlib.sha256(json.dumps(link.label, sort_keys=True).encode()).hexdigest()[:16]
            self._labels[label] = link.label
        nonce = f"{int(expires_at % 1 * 1000):03x}{secrets.token_hex(6)}"
        sign = self._sign(link.task_id, expiry, label, nonce)
        query = f"dy_q={int(now)}&l={nonce}&lr={label}&sign={sign}"
        return f"{origin}{MEDIA_PREFIX}{expiry}/{link.task_id}/video.mp4?{query}"

    def check(self, request: Request, now: float) -> VideoLink | None:
        """Return the link of a request, or ``None`` if it has expired or was not created here."""
        parts = request.path.removeprefix(MEDIA_PREFIX).split("/")
        query = {key: values[0] for key, values in parse_qs(request.query_string).items()}
        if len(parts) != 3:
            return None
        expiry, task_id, _ = parts
        label, nonce = query.get("lr", ""), query.get("l", "")
        expected = self._sign(task_id, expiry, label, nonce)
        if not hmac.compare_digest(expected.encode(), query.get("sign", "").encode()):
            return None
        if now >= int(expiry, 16) + int(nonce[:3], 16) / 1000:
            return None
        return VideoLink(task_id=task_id, label=self._labels.get(label))

    def _sign(self, *parts: str) -> str:
        return hmac.new(self._key, "\n".join(parts).encode(), hashlib.sha256).hexdigest()[:32]


@dataclass(slots=True, kw_only=True)
class Service:
    """The API behind its gateway, and the host of its videos.

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

    def download(self, request: Request, now: float) -> HttpResult:
        """Answer a download. It needs no key. A request that has an ``Authorization`` header is on the bill."""
        self.counters.count("media_requests")
        if request.header("authorization") is not None:
            self.counters.count("media_requests_with_authorization")
        link = self.links.check(request, now)
        render = self.renders.get(link.task_id) if link else None
        if link is None or render is None:
            return html_page(403)
        if request.method not in ("GET", "HEAD"):
            return html_page(405)
        self.renders.count(render, "media_requests")
        context = partial(
            FaultContext,
            where="media",
            req_key=render.req_key,
            prompt=render.request.prompt,
            task_id=render.task_id,
        )
        early = self.faults.pick(context(early=True))
        if early is not None:
            replaced = replace_response(early, ResponseBuilder(now=now, elapsed=lambda: 0.0))
            return replaced.to_http() if isinstance(replaced, ApiResponse) else replaced
        data = VIDEOS.file(clip_of(render), link.label)
        late = self.faults.pick(context(early=False))
        response = _file_response(request, data) if late is None else _faulty_response(late, request, data)
        if request.method == "GET" and response.status in (200, 206):
            self.renders.count(render, "media_downloads")
            self.counters.count("media_bytes", len(response.body))
        return response


def _possible_faults(response: ApiResponse) -> frozenset[str]:
    """Return the conditional faults that a response allows."""
    possible = set()
    if response.data.get("video_url"):
        possible.add("done_without_url")
    if response.data.get("aigc_meta_tagged"):
        possible |= {"mislabelled", "untagged"}
    return frozenset(possible)


def _file_response(request: Request, data: bytes) -> Response:
    """Return the file, or the requested range of it: 200, 206 or 416."""
    etag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    headers: Headers = (("Content-Type", "video/mp4"), ("Accept-Ranges", "bytes"), ("ETag", etag))
    requested = _requested_range(request, len(data), etag)
    if requested is None:
        return Response(status=200, body=data, headers=headers)
    start, end = requested
    if start >= end:
        return Response(status=416, headers=(*headers[1:], ("Content-Range", f"bytes */{len(data)}")))
    content_range = ("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
    return Response(status=206, body=data[start:end], headers=(*headers, content_range))


def _requested_range(request: Request, size: int, etag: str) -> tuple[int, int] | None:
    """Return the requested range as [start, end), or ``None`` for the whole file. An empty range is a 416."""
    match = _RANGE.fullmatch(request.header("range") or "")
    if match is None or match.group(0) == "bytes=-" or request.header("if-range") not in (None, etag):
        return None
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1) if last else size


def _faulty_response(fault: Fault, request: Request, data: bytes) -> Response:
    values = fault.parameters
    if fault.what == "truncate":
        return _file_response(request, data[: int(len(data) * values["fraction"])])
    if fault.what == "no_range":
        return _file_response(replace(request, headers=()), data)
    response = _file_response(request, data)
    length = len(response.body)
    if fault.what == "cut":
        body = response.body[: int(length * values["fraction"])]
        return replace(response, body=body, declared_length=length)
    if fault.what == "wrong_length":
        return replace(response, declared_length=length + int(values["extra_bytes"]))
    return alter_response(fault, response)
