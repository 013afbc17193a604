"""The remote JSON, and nowhere else: calls are built here, replies are read here.

Two dialects are read: the API's own (docs 85621, ``CVSync2Async*``, both envelopes) and that of Bearer gateways,
whose wrapped and renamed shapes are public in their code. No API dict travels further than this module.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.codes import MISSING_TASK_STATUSES, ErrorKind, lookup
from airflow_provider_jimeng.core.envelope import MAX_WORD_LENGTH, Envelope, first_text, readable
from airflow_provider_jimeng.core.errors import (
    ApiError,
    JimengError,
    NotSentError,
    ParameterError,
    RedirectedError,
    ServerError,
    SettingsError,
    UnknownCodeError,
    UnreadableReplyError,
)
from airflow_provider_jimeng.core.gateways import leaves_submit_open, submit_refusal
from airflow_provider_jimeng.core.links import any_link, video_link
from airflow_provider_jimeng.core.render import RenderStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_jimeng.core.parameters import RenderRequest

VERSION = "2022-08-31"
CANCEL_VERSION = "2024-06-06"
SUBMIT_ACTION = "CVSync2AsyncSubmitTask"
QUERY_ACTION = "CVSync2AsyncGetResult"
CANCEL_ACTION = "CVCancelTask"

_TASK_ID = re.compile(r"[\x21-\x7e]{1,256}")
_STATUS_WORDS: Mapping[str, RenderStatus] = {
    # The API's own five, and the one word of its pre-processing.
    "in_queue": RenderStatus.IN_QUEUE,
    "generating": RenderStatus.GENERATING,
    "done": RenderStatus.DONE,
    "not_found": RenderStatus.NOT_FOUND,
    "expired": RenderStatus.EXPIRED,
    "processing": RenderStatus.GENERATING,
    # Gateways and tutorials.
    "not_start": RenderStatus.IN_QUEUE,
    "submitted": RenderStatus.IN_QUEUE,
    "queued": RenderStatus.IN_QUEUE,
    "pending": RenderStatus.IN_QUEUE,
    "in_progress": RenderStatus.GENERATING,
    "running": RenderStatus.GENERATING,
    "success": RenderStatus.DONE,
    "succeeded": RenderStatus.DONE,
    "completed": RenderStatus.DONE,
    "failed": RenderStatus.FAILED,
    "fail": RenderStatus.FAILED,
    "failure": RenderStatus.FAILED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request: ``action`` and ``version`` go into the query string, ``body`` is the exact bytes sent."""

    action: str
    version: str
    body: bytes = field(repr=False)

    @property
    def query(self) -> dict[str, str]:
        """The query string's parameters."""
        return {"Action": self.action, "Version": self.version}


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitReply:
    """An accepted submit. ``task_id`` is text: its 19 to 20 digits exceed 2^53."""

    task_id: str
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryReply:
    """What the API says of a render. ``status_word`` is its own word; the link lives for an hour.

    ``code`` and ``message`` say why, where the status is ``failed`` and a reason was given.
    """

    status: RenderStatus
    status_word: str | None = None
    video_url: str | None = field(default=None, repr=False)
    aigc_meta_tagged: bool | None = None
    request_id: str | None = None
    code: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelReply:
    """A cancelled render."""

    request_id: str | None = None


def _call(action: str, version: str, body: Mapping[str, Any]) -> Call:
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return Call(action=action, version=version, body=text.encode())


def submit_call(request: RenderRequest) -> Call:
    """Build the submit of a request."""
    return _call(SUBMIT_ACTION, VERSION, request.body())


def query_call(*, req_key: str, task_id: str, aigc_meta: Mapping[str, str] | None = None) -> Call:
    """Build a query; with ``aigc_meta`` the API writes the implicit label into the video of this reply's link."""
    body: dict[str, Any] = {"req_key": req_key, "task_id": task_id}
    if aigc_meta:
        body["req_json"] = json.dumps(
            {"aigc_meta": dict(aigc_meta)}, ensure_ascii=False, separators=(",", ":")
        )
    return _call(QUERY_ACTION, VERSION, body)


def cancel_call(*, req_key: str, task_id: str) -> Call:
    """Build a cancel. The official SDKs have it; whether video models honour it is unverified."""
    return _call(CANCEL_ACTION, CANCEL_VERSION, {"req_key": req_key, "task_id": task_id})


def parse_submit(http_status: int, content: bytes, *, bearer: bool = False) -> SubmitReply:
    """Read the answer to a submit; with ``bearer``, that of a gateway, whose HTTP status counts for more.

    Accepted is what says so by its code (10000, or a gateway's word) and what gives a task id with HTTP 2xx unless
    its code is a listed refusal: an id that may be paid for is never dropped.

    :raises ApiError: the API refused, by its code; a :class:`ServerError` also where the answer contradicts itself
        (a yes without a task id, a task id with no known refusal), which leaves the outcome unknown.
    :raises UnreadableReplyError: neither a code nor a task id: the outcome is unknown.
    """
    reply = _read_submit(http_status, content, bearer=bearer)
    named = _task_id(reply.data_object.get("task_id"), reply.outer.get("task_id"))
    task_id = named or _task_id(reply.outer.get("id"), reply.data if reply.succeeded else None)
    if task_id is not None and reply.succeeded:
        return SubmitReply(task_id=task_id, request_id=reply.request_id)
    entry = lookup(reply.code)
    listed_refusal = entry is not None and entry.kind is not ErrorKind.SERVER
    if task_id is not None and reply.ok_status and not reply.has_error_object and not listed_refusal:
        return SubmitReply(task_id=task_id, request_id=reply.request_id)
    if reply.refused and (named is None or listed_refusal):
        raise submit_refusal(reply, bearer=bearer)
    but = "no task id" if named is None else f"the task {named} but says no"
    message = f"HTTP {http_status}, and the answer to the submit names {but}"
    if reply.code is None and named is None:
        raise UnreadableReplyError(f"{message}.", http_status=http_status)
    raise ServerError(message, code=reply.code, request_id=reply.request_id, http_status=http_status)


def _read_submit(http_status: int, content: bytes, *, bearer: bool) -> Envelope:
    try:
        return Envelope.read(http_status, content)
    except UnreadableReplyError as error:
        if bearer and leaves_submit_open(http_status):
            raise ServerError(str(error), http_status=http_status) from None
        raise


def _task_id(*places: Any) -> str | None:
    """Return the first that can be an id; free text and an empty 0 are none."""
    texts = [(first_text(place) or "").strip() for place in places]
    return next((text for text in texts if _TASK_ID.fullmatch(text) and text != "0"), None)


def parse_query(http_status: int, content: bytes, endpoint: str = "") -> QueryReply:
    """Read the answer to a query.

    :param endpoint: where the answer came from: a link without a host is one of this host.
    :raises ApiError: by its code; ``entry.fails_render`` tells whether the render failed or only the query.
    :raises UnreadableReplyError: the answer is no JSON of the API.
    """
    reply = Envelope.read(http_status, content)
    if reply.code is not None and reply.code.lower() in MISSING_TASK_STATUSES:
        return QueryReply(status=RenderStatus.NOT_FOUND, status_word=reply.code, request_id=reply.request_id)
    layers = reply.layers()
    word, status = _status_of(layers)
    url = video_link(layers, endpoint)
    refusal = reply.refusal(layers)
    if refusal is not None:
        status = _status_despite(refusal, status, url)
    elif word is None and url is None and reply.code is None:
        raise UnreadableReplyError(
            f"HTTP {http_status} without code, status or link.", http_status=http_status
        )
    elif status is RenderStatus.UNKNOWN and url is not None:
        status = RenderStatus.DONE
    if status is RenderStatus.DONE and url is None:
        url = any_link(layers, endpoint)
    code = message = None
    if status is RenderStatus.FAILED:
        code = None if refusal is None else refusal.code
        reason = first_text(*(layer.get("fail_reason") for layer in layers))
        message = readable((refusal.message if refusal is not None else None) or reason)
    tagged = next((layer["aigc_meta_tagged"] for layer in layers if "aigc_meta_tagged" in layer), None)
    return QueryReply(
        status=status,
        status_word=readable(word, at_most=MAX_WORD_LENGTH),
        video_url=url,
        aigc_meta_tagged=tagged if isinstance(tagged, bool) else None,
        request_id=reply.request_id,
        code=code,
        message=message,
    )


def _status_despite(refusal: ApiError, status: RenderStatus, url: str | None) -> RenderStatus:
    """Return the status that an answer gives beside a code that is no success, or raise that code.

    ``done`` means finished, good or bad, and the code decides which (docs 85621: "outer code and message"); a
    gateway's ``failed`` is final, whatever code it met last. Any other word counts if the code is unlisted.
    """
    entry = refusal.entry
    if entry is not None and entry.fails_render:
        raise refusal
    if status is RenderStatus.FAILED:
        return status
    if status is RenderStatus.DONE and isinstance(refusal, ServerError | UnknownCodeError):
        return RenderStatus.DONE if entry is None and url is not None else RenderStatus.FAILED
    if entry is None and status is not RenderStatus.UNKNOWN:
        return status
    raise refusal


def _status_of(layers: Iterable[Mapping[str, Any]]) -> tuple[str | None, RenderStatus]:
    """Return the first status that is known, else the first word; numbers are none, for they mirror the code."""
    given = [layer.get("status") for layer in layers]
    words = [value.strip() for value in given if isinstance(value, str) and value.strip()]
    for word in words:
        if word.lower() in _STATUS_WORDS:
            return word, _STATUS_WORDS[word.lower()]
    return (words[0] if words else None), RenderStatus.UNKNOWN


def parse_cancel(http_status: int, content: bytes) -> CancelReply:
    """Read the answer to a cancel; a refusal is raised by its code."""
    reply = Envelope.read(http_status, content)
    if reply.succeeded:
        return CancelReply(request_id=reply.request_id)
    raise reply.error()


def certainly_not_accepted(error: JimengError) -> bool:
    """After a failed submit: whether it is certain that no render was started, and so none can be billed.

    A cut connection, a timeout, any 5xx that names no listed refusal, and a 2xx that says neither yes nor no leave
    it open.
    """
    if isinstance(error, NotSentError | ParameterError | SettingsError | RedirectedError):
        return True
    if isinstance(error, UnreadableReplyError | UnknownCodeError):
        return error.http_status is not None and _refuses(error.http_status)
    return isinstance(error, ApiError) and not isinstance(error, ServerError)


def _refuses(http_status: int) -> bool:
    """Whether an HTTP status alone says that the request was not carried out.

    So do 4xx, but for the two that stand for a timeout, and the redirects that leave a request to be sent again.
    """
    return (400 <= http_status < 500 and http_status not in (408, 499)) or http_status in (301, 307, 308)
