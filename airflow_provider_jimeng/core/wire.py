# SPDX-License-Identifier: Apache-2.0
"""Builds the JSON of every request and reads the JSON of every answer. No other module knows the fields of the API.

Answers come in the API's own form (docs 85621, ``CVSync2Async*``) or in that of Bearer gateways, which wrap and rename
fields as their public code shows. The functions return dataclasses, so no dict of the API leaves this module.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.codes import MISSING_TASK_STATUSES, ErrorKind, lookup
from airflow_provider_jimeng.core.envelope import (
    MAX_WORD_LENGTH,
    Envelope,
    any_link,
    first_id,
    first_text,
    readable,
    video_link,
)
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
from airflow_provider_jimeng.core.render import RenderStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_jimeng.core.parameters import RenderRequest

VERSION = "2022-08-31"
CANCEL_VERSION = "2024-06-06"
SUBMIT_ACTION = "CVSync2AsyncSubmitTask"
QUERY_ACTION = "CVSync2AsyncGetResult"
CANCEL_ACTION = "CVCancelTask"

_STATUS_WORDS: Mapping[str, RenderStatus] = {
    # The first five are the API's own, and processing is its word for the preparation.
    "in_queue": RenderStatus.IN_QUEUE,
    "generating": RenderStatus.GENERATING,
    "done": RenderStatus.DONE,
    "not_found": RenderStatus.NOT_FOUND,
    "expired": RenderStatus.EXPIRED,
    "processing": RenderStatus.GENERATING,
    # Gateways and tutorials use these words.
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
    """One request. ``action`` and ``version`` go into the query string; ``body`` is sent as it is."""

    action: str
    version: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitReply:
    """An accepted submit. ``task_id`` is text: its 19 to 20 digits exceed 2^53."""

    task_id: str
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryReply:
    """What the API says about a render. ``status_word`` is its own word. The link works for an hour.

    ``code`` and ``message`` are the reason, if the status is ``failed`` and there is one.
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
    """Return the call that submits a request."""
    return _call(SUBMIT_ACTION, VERSION, request.body())


def query_call(*, req_key: str, task_id: str, aigc_meta: Mapping[str, str] | None = None) -> Call:
    """Return the call that queries a render. With ``aigc_meta`` the link leads to a video with the implicit label."""
    body: dict[str, Any] = {"req_key": req_key, "task_id": task_id}
    if aigc_meta:
        body["req_json"] = json.dumps(
            {"aigc_meta": dict(aigc_meta)}, ensure_ascii=False, separators=(",", ":")
        )
    return _call(QUERY_ACTION, VERSION, body)


def cancel_call(*, req_key: str, task_id: str) -> Call:
    """Return the call that cancels a render. The official SDKs have it; it is not verified for video models."""
    return _call(CANCEL_ACTION, CANCEL_VERSION, {"req_key": req_key, "task_id": task_id})


def parse_submit(http_status: int, content: bytes, *, bearer: bool = False) -> SubmitReply:
    """Return the reply to a submit. With ``bearer`` it comes from a gateway, whose HTTP status counts more.

    A submit is accepted if the code says so (10000, or a gateway's word). An answer with a task id and HTTP 2xx is
    accepted too, unless its code is a listed refusal, because an id that can be billed must not be lost.

    :raises ApiError: the API refused. It is a :class:`ServerError` too if the answer contradicts itself (success
        without a task id, or a task id beside an unknown refusal), because the outcome is unknown then.
    :raises UnreadableReplyError: there is neither a code nor a task id. The outcome is unknown.
    """
    try:
        reply = Envelope.read(http_status, content)
    except UnreadableReplyError as error:
        if bearer and leaves_submit_open(http_status):
            raise ServerError(str(error), http_status=http_status) from None
        raise
    data, succeeded = reply.data_object, reply.succeeded
    named = first_id(data.get("task_id"), reply.outer.get("task_id"))
    task_id = named or first_id(reply.outer.get("id"), reply.data if succeeded else None)
    if task_id is not None and succeeded:
        return SubmitReply(task_id=task_id, request_id=reply.request_id)
    entry = lookup(reply.code)
    listed_refusal = entry is not None and entry.kind is not ErrorKind.SERVER
    if task_id is not None and reply.ok_status and not reply.has_error_object and not listed_refusal:
        return SubmitReply(task_id=task_id, request_id=reply.request_id)
    if reply.refused and (named is None or listed_refusal):
        raise submit_refusal(reply, bearer=bearer)
    contents = "no task id" if named is None else f"the task {named} beside a refusal"
    message = f"HTTP {http_status}, and the answer to the submit has {contents}"
    if reply.code is None and named is None:
        raise UnreadableReplyError(f"{message}.", http_status=http_status)
    raise ServerError(message, code=reply.code, request_id=reply.request_id, http_status=http_status)


def parse_query(http_status: int, content: bytes, endpoint: str = "") -> QueryReply:
    """Return the reply to a query.

    :param endpoint: the URL that answered. A link without a host belongs to its host.
    :raises ApiError: the code is an error. ``entry.fails_render`` shows whether the render failed or only the query.
    :raises UnreadableReplyError: the answer is not JSON of the API.
    """
    reply = Envelope.read(http_status, content)
    if reply.code is not None and reply.code.lower() in MISSING_TASK_STATUSES:
        return QueryReply(status=RenderStatus.NOT_FOUND, status_word=reply.code, request_id=reply.request_id)
    layers = reply.layers()
    refusal = reply.refusal(layers)
    url = video_link(layers, endpoint)
    word, status = _status_of(layers)
    tagged = next((layer["aigc_meta_tagged"] for layer in layers if "aigc_meta_tagged" in layer), None)
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
    return QueryReply(
        status=status,
        status_word=word if word in _STATUS_WORDS else readable(word, at_most=MAX_WORD_LENGTH),
        video_url=url,
        aigc_meta_tagged=tagged if isinstance(tagged, bool) else None,
        request_id=reply.request_id,
        code=code,
        message=message,
    )


def _status_despite(refusal: ApiError, status: RenderStatus, url: str | None) -> RenderStatus:
    """Return the status of an answer whose code is an error, or raise that error.

    ``done`` means finished, well or not, and the code decides which (docs 85621: "outer code and message"). A gateway's
    ``failed`` is final, whatever the code is. Any other status counts if the table does not have the code.
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
    """Return the first known status, else the first word. A number is ignored, because it repeats the code."""
    values = [layer.get("status") for layer in layers]
    words = [value.strip() for value in values if isinstance(value, str) and value.strip()]
    for word in words:
        if word.lower() in _STATUS_WORDS:
            return word, _STATUS_WORDS[word.lower()]
    return (words[0] if words else None), RenderStatus.UNKNOWN


def parse_cancel(http_status: int, content: bytes) -> CancelReply:
    """Return the reply to a cancel.

    :raises ApiError: the API refused.
    """
    reply = Envelope.read(http_status, content)
    if reply.succeeded:
        return CancelReply(request_id=reply.request_id)
    raise reply.error()


def certainly_not_accepted(error: JimengError) -> bool:
    """Return whether a failed submit certainly started no render, so that nothing can be billed.

    A cut connection, a timeout, a 5xx without a listed refusal, and a 2xx that is neither success nor refusal leave the
    outcome unknown.
    """
    if isinstance(error, NotSentError | ParameterError | SettingsError | RedirectedError):
        return True
    if isinstance(error, UnreadableReplyError | UnknownCodeError):
        return error.http_status is not None and _refuses(error.http_status)
    return isinstance(error, ApiError) and not isinstance(error, ServerError)


def _refuses(http_status: int) -> bool:
    """Return whether an HTTP status alone means that the request was not executed.

    These are 4xx, except the two for a timeout, and the redirects after which a client sends the request again.
    """
    return (400 <= http_status < 500 and http_status not in (408, 499)) or http_status in (301, 307, 308)
