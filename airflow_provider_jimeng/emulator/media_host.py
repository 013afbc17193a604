"""The media host: links that live for an hour, whole files, single ranges (RFC 9110 §14), and what faults make of them.

That a dead link answers 403 is a guess (M: what such CDNs do); the content type and the missing key are documented.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from airflow_provider_jimeng.emulator.envelopes import Envelope
from airflow_provider_jimeng.emulator.faults import Fault, FaultPlan, Occasion
from airflow_provider_jimeng.emulator.media import MediaStore, clip_of
from airflow_provider_jimeng.emulator.messages import Answer, Headers, Outcome, Reply, Request
from airflow_provider_jimeng.emulator.strikes import alter_reply, html_page, strike_instead

if TYPE_CHECKING:
    from airflow_provider_jimeng.emulator.desk import Desk
    from airflow_provider_jimeng.emulator.state import Task

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaHost:
    """Serves the files that links lead to."""

    desk: Desk
    faults: FaultPlan
    files: MediaStore

    def serve(self, request: Request, now: float) -> Outcome:
        """Answer with a file. No key is needed: the link is one; a key that comes all the same is on the bill."""
        counters = self.desk.counters
        counters.count("media_requests")
        if request.header("authorization") is not None:
            counters.count("media_requests_with_authorization")
        link = self.desk.links.check(request, now)
        task = self.desk.tasks.get(link.task_id) if link else None
        if link is None or task is None:
            return html_page(403)
        if request.method not in ("GET", "HEAD"):
            return html_page(405)
        self._count(task, "media_requests")
        occasion = partial(
            Occasion, where="media", req_key=task.req_key, prompt=task.order.prompt, task_id=task.task_id
        )
        early = self.faults.draw(occasion(early=True))
        if early is not None:
            struck = strike_instead(early, Envelope(now=now, elapsed=lambda: 0.0))
            return struck.reply() if isinstance(struck, Answer) else struck
        data = self.files.file(clip_of(task), link.label)
        late = self.faults.draw(occasion(early=False))
        reply = media_reply(request, data) if late is None else alter_media(late, request, data)
        if request.method == "GET" and reply.status in (200, 206):
            self._count(task, "media_downloads")
            counters.count("media_bytes", len(reply.body))
        return reply

    def _count(self, task: Task, name: str) -> None:
        with self.desk.tasks.lock:
            setattr(task, name, getattr(task, name) + 1)


def media_reply(request: Request, data: bytes) -> Reply:
    """Answer with the file, or the range of it that was asked for: 200, 206 or 416."""
    etag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    headers: Headers = (("Content-Type", "video/mp4"), ("Accept-Ranges", "bytes"), ("ETag", etag))
    span = _span(request, len(data), etag)
    if span is None:
        return Reply(status=200, body=data, headers=headers)
    start, end = span
    if start >= end:
        return Reply(status=416, headers=(*headers[1:], ("Content-Range", f"bytes */{len(data)}")))
    content_range = ("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
    return Reply(status=206, body=data[start:end], headers=(*headers, content_range))


def _span(request: Request, size: int, etag: str) -> tuple[int, int] | None:
    """Return the range asked for as [start, end); an empty one cannot be served, ``None`` means the whole file."""
    match = _RANGE.fullmatch(request.header("range") or "")
    if match is None or match.group(0) == "bytes=-" or request.header("if-range") not in (None, etag):
        return None
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1) if last else size


def alter_media(fault: Fault, request: Request, data: bytes) -> Reply:
    """Answer with what a ``media`` fault makes of the file."""
    values = fault.parameters
    if fault.what == "truncate":
        return media_reply(request, data[: int(len(data) * values["fraction"])])
    if fault.what == "no_range":
        return media_reply(replace(request, headers=()), data)
    reply = media_reply(request, data)
    if fault.what == "cut":
        length = len(reply.body)
        return replace(reply, body=reply.body[: int(length * values["fraction"])], declared_length=length)
    if fault.what == "wrong_length":
        return replace(reply, declared_length=len(reply.body) + int(values["extra_bytes"]))
    return alter_reply(fault, reply)
