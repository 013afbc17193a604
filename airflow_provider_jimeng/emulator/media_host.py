# SPDX-License-Identifier: Apache-2.0
"""The media host: video links that expire, whole files, single ranges (RFC 9110 §14), and the faults of downloads.

Each query creates a new link. It is valid for an hour and signed in its query string (docs §1.4; M-H). A published link
has its expiry in hexadecimal as the second path segment and the time of its creation as ``dy_q``; these links have, too.
That an expired link gets 403 is a guess (M: such CDNs do so). The content type is documented, and that no key is needed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from airflow_provider_jimeng.emulator.fault_injection import FaultContext, alter_response, replace_response
from airflow_provider_jimeng.emulator.messages import (
    ApiResponse,
    Headers,
    HttpResult,
    Request,
    Response,
    ResponseBuilder,
    html_page,
)
from airflow_provider_jimeng.emulator.videos import VideoCache, clip_of

if TYPE_CHECKING:
    from airflow_provider_jimeng.emulator.faults import Fault
    from airflow_provider_jimeng.emulator.service import Service

MEDIA_PREFIX = "/media/"
VIDEOS = VideoCache()
"""The files of all emulators in this process: a test suite with many emulators encodes equal videos once."""
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaHost:
    """Serves the files behind the links of a service."""

    service: Service

    def handle(self, request: Request, now: float) -> HttpResult:
        """Answer a download. It needs no key. A request that has an ``Authorization`` header is on the bill."""
        service, counters = self.service, self.service.counters
        counters.count("media_requests")
        if request.header("authorization") is not None:
            counters.count("media_requests_with_authorization")
        link = service.links.check(request, now)
        render = service.renders.get(link.task_id) if link else None
        if link is None or render is None:
            return html_page(403)
        if request.method not in ("GET", "HEAD"):
            return html_page(405)
        service.renders.count(render, "media_requests")
        context = partial(
            FaultContext,
            where="media",
            req_key=render.req_key,
            prompt=render.request.prompt,
            task_id=render.task_id,
        )
        early = service.faults.pick(context(early=True))
        if early is not None:
            replaced = replace_response(early, ResponseBuilder(now=now, elapsed=lambda: 0.0))
            return replaced.to_http() if isinstance(replaced, ApiResponse) else replaced
        data = VIDEOS.file(clip_of(render), link.label)
        late = service.faults.pick(context(early=False))
        response = _file_response(request, data) if late is None else _faulty_response(late, request, data)
        if request.method == "GET" and response.status in (200, 206):
            service.renders.count(render, "media_downloads")
            counters.count("media_bytes", len(response.body))
        return response


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
