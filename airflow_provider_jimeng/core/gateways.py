# SPDX-License-Identifier: Apache-2.0
"""What a Bearer gateway of the new-api family means when it refuses a submit.

Such a gateway has two shapes of its own for a refusal (they come from its public code):

* Its middleware refuses a request before it forwards it: ``{"error": {"message", "type": "new_api_error", "code"}}``.
* Its relay refuses with ``{"code": <word>, "message", "data": null}``. If the word is ``fail_to_fetch_task``, the HTTP
  status is that of the API and ``message`` is the body of the API as text. HTTP 429 is the exception: there, ``message``
  is a sentence of the gateway.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.codes import BUSINESS_CODES, GATEWAY_CODES, CodeEntry, ErrorKind, lookup
from airflow_provider_jimeng.core.envelope import Envelope, error_for, is_success
from airflow_provider_jimeng.core.errors import (
    ApiError,
    AuthenticationError,
    PermissionDeniedError,
    ServerError,
    UnknownCodeError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

REFUSING_STATUSES = frozenset({400, 401, 402, 403, 404, 405, 413, 415, 422})
"""With these HTTP statuses a gateway says that it did not execute a request, whatever the body is."""
_OPEN_STATUSES = frozenset({408, 499})
"""The gateway or the API timed out. The API might have carried out the request."""
_OWN_TYPES = frozenset({"new_api_error", "one_api_error"})
_WRAPPER = "fail_to_fetch_task"
_NOT_SENT_ON = frozenset(
    {
        "model_not_found",
        "no_available_channel",
        "channel_not_found",
        "channel:no_available_key",
        "system_cpu_overloaded",
        "system_memory_overloaded",
        "system_disk_overloaded",
    }
)
"""Codes that the middleware sends with HTTP 503 before it forwards a request."""
_MAX_DEPTH = 3
_MAX_TEXT = 64 * 1024
_MAX_OBJECTS = 20
_ANSWER_KEYS = frozenset({"code", "error", "Error", "ResponseMetadata"})
_DECODER = json.JSONDecoder(strict=False)
_CODE = re.compile(r'"(?:code|Code|CodeN)"\s*:\s*"?(\w{1,80})')


def _row(http_status: int, kind: ErrorKind, meaning: tuple[str, str], advice: tuple[str, str]) -> CodeEntry:
    return CodeEntry(
        code=http_status, http_status=http_status, kind=kind, gateway=True,
        meaning=meaning[0], meaning_zh=meaning[1], advice=advice[0], advice_zh=advice[1],
    )  # fmt: skip


_RIGHTS = _row(
    403, ErrorKind.PERMISSION,
    ("The gateway does not allow this request.", "网关不允许此请求。"),
    ("Check at the gateway which models, groups and addresses the token may use, and its balance.",
     "请在网关检查该令牌可用的模型、分组与地址，以及余额。"),
)  # fmt: skip
_OWN_ROWS: Mapping[int, CodeEntry] = {
    401: _row(
        401, ErrorKind.AUTHENTICATION,
        ("The gateway refused the token.", "网关拒绝了该令牌。"),
        ("Check at the gateway the token that is the connection's password: it can be wrong, expired, disabled or used up.",
         "请在网关检查连接密码中的令牌：它可能有误、已过期、被禁用或额度已用完。"),
    ),
    402: _RIGHTS,
    403: _RIGHTS,
}  # fmt: skip
_ACCOUNT = ("The API refused the account of the gateway.", "API 拒绝了网关的账号。")
_OPERATOR = (
    "Ask the operator of the gateway: you cannot solve this in the connection.", "请联系网关运营方：在连接中无法解决此问题。",
)  # fmt: skip
_WRAPPED_ROWS: Mapping[int, CodeEntry] = {
    401: _row(401, ErrorKind.AUTHENTICATION, _ACCOUNT, _OPERATOR),
    402: _row(402, ErrorKind.PERMISSION, _ACCOUNT, _OPERATOR),
    403: _row(403, ErrorKind.PERMISSION, _ACCOUNT, _OPERATOR),
    429: _row(
        429, ErrorKind.BUSY,
        ("The account of the gateway has reached its concurrency limit.", "网关的账号并发生成任务数已达上限。"),
        ("You need to do nothing: the task tries again.", "无需处理，会自动重试。"),
    ),
}  # fmt: skip
_NO_CHANNEL = _row(
    503, ErrorKind.PERMISSION,
    ("The gateway has no channel for this model now. It did not forward the request.",
     "网关目前没有可用于该模型的渠道，请求未被转发。"),
    ("Check the model and the token's group at the gateway, or ask its operator.",
     "请在网关检查模型与令牌分组，或联系网关运营方。"),
)  # fmt: skip


def explanations() -> list[CodeEntry]:
    """Return every explanation of this module, those included that concern the gateway's account at the API."""
    accounts = [
        _of_the_operator(row)
        for row in (*BUSINESS_CODES.values(), *GATEWAY_CODES.values())
        if row.kind in (ErrorKind.AUTHENTICATION, ErrorKind.PERMISSION)
    ]
    return [*_OWN_ROWS.values(), *_WRAPPED_ROWS.values(), _NO_CHANNEL, *accounts]


def submit_refusal(reply: Envelope, *, bearer: bool = False) -> ApiError:
    """Return the error of a refused submit: the API's own if a gateway wrapped it, else the one of the HTTP status.

    :param bearer: the connection leads to a gateway. Otherwise only the shape of an answer shows that.
    """
    return _refusal(reply, bearer=bearer, depth=0)


def leaves_submit_open(http_status: int) -> bool:
    """Return whether a 4xx of a gateway, in a shape that is not its own, leaves the outcome of a submit unknown."""
    return 400 <= http_status < 500 and http_status != 429 and http_status not in REFUSING_STATUSES


def _refusal(reply: Envelope, *, bearer: bool, depth: int) -> ApiError:
    error = reply.error()
    entry = lookup(reply.code)
    if entry is not None and entry.kind is not ErrorKind.SERVER:
        return error
    own, wrapped = _is_own(reply), _is_wrapped(reply)
    if own and reply.http_status == 503 and (reply.code or "").lower() in _NOT_SENT_ON:
        return _no_channel(reply)
    answer = _answer_in(reply) if depth < _MAX_DEPTH and _quotes_the_api(reply) else None
    if answer is not None and answer.succeeded and reply.http_status != 429:
        return _of_kind(reply, ErrorKind.SERVER)  # The gateway refuses, although the API accepted.
    inner = None if answer is None else _inner_refusal(reply, answer, depth=depth)
    if inner is not None and not isinstance(inner, ServerError | UnknownCodeError):
        return inner
    if reply.http_status == 429 or reply.http_status in REFUSING_STATUSES:
        return _by_status(reply, own=own, wrapped=wrapped) if own or wrapped or bearer else error
    if 400 <= reply.http_status < 500 and reply.http_status not in _OPEN_STATUSES and (own or wrapped):
        return _of_kind(reply, ErrorKind.UNKNOWN)
    if bearer and 400 <= reply.http_status < 500:
        return _of_kind(reply, ErrorKind.SERVER)
    return inner or error


def _is_own(reply: Envelope) -> bool:
    return reply.error_type in _OWN_TYPES


def _is_wrapped(reply: Envelope) -> bool:
    """Return whether the answer has the relay's shape: a word as code, a text, and no data."""
    return (
        not reply.has_error_object
        and reply.code is not None
        and not _is_number(reply.code)
        and not is_success(reply.code)
        and "data" in reply.outer
        and reply.data is None
    )


def _no_channel(reply: Envelope) -> ApiError:
    error = _of_row(reply, _NO_CHANNEL)
    error.retryable = True  # A channel of the gateway can become available again by itself.
    return error


def _by_status(reply: Envelope, *, own: bool, wrapped: bool) -> ApiError:
    rows = _OWN_ROWS if own else _WRAPPED_ROWS if wrapped else {}
    row = rows.get(reply.http_status)
    if row is not None:
        return _of_row(reply, row)
    by_status = error_for(None, reply.message, request_id=reply.request_id, http_status=reply.http_status)
    by_status.code = reply.code
    return by_status


def _of_row(reply: Envelope, row: CodeEntry) -> ApiError:
    error = _of_kind(reply, row.kind)
    error.entry = row
    return error


def _of_kind(reply: Envelope, kind: ErrorKind) -> ApiError:
    return kind.error_class(
        reply.message, code=reply.code, request_id=reply.request_id, http_status=reply.http_status
    )


def _quotes_the_api(reply: Envelope) -> bool:
    """Return whether the message can be an answer of the API. Some codes come with other quotes, such as a prompt."""
    if reply.http_status >= 500 or reply.http_status in _OPEN_STATUSES:
        return reply.code == _WRAPPER
    return not _is_number(reply.code)


def _is_number(code: str | None) -> bool:
    return code is not None and code.isdigit()


def _inner_refusal(reply: Envelope, answer: Envelope, *, depth: int) -> ApiError | None:
    """Return the error of the answer inside, if it refuses with a code of the table."""
    if not answer.refused:
        return None
    error = _refusal(answer, bearer=False, depth=depth + 1)
    if error.entry is None:
        return None
    error.request_id = error.request_id or reply.request_id
    if isinstance(error, AuthenticationError | PermissionDeniedError) and error.entry is not _NO_CHANNEL:
        error.entry = _of_the_operator(error.entry)
    return error


def _of_the_operator(row: CodeEntry) -> CodeEntry:
    """Return a row about keys and rights for a user of the gateway, who owns neither."""
    if row.meaning.startswith(_ACCOUNT[0]):
        return row
    return replace(
        row,
        meaning=f"{_ACCOUNT[0]} {row.meaning}",
        meaning_zh=f"{_ACCOUNT[1]}{row.meaning_zh}",
        advice=f"{_OPERATOR[0]} The operator has to do this: {row.advice}",
        advice_zh=f"{_OPERATOR[1]}运营方需要处理：{row.advice_zh}",
        gateway=True,
    )


def _answer_in(reply: Envelope) -> Envelope | None:
    """Return the answer that is written in the message. Other words can surround it; it can be escaped or cut off."""
    text = reply.text[:_MAX_TEXT]
    for _ in range(_MAX_DEPTH):
        for value in _objects_in(text):
            if _ANSWER_KEYS & value.keys():
                return Envelope.of(reply.http_status, value)
        if '\\"' not in text:
            break
        text = text.replace('\\"', '"').replace("\\\\", "\\")
    code = _CODE.search(text)
    return None if code is None else Envelope.of(reply.http_status, {"code": code[1], "message": text})


def _objects_in(text: str) -> Iterator[dict[str, Any]]:
    place = -1
    for _ in range(_MAX_OBJECTS):
        place = text.find("{", place + 1)
        if place < 0:
            return
        try:
            value, _end = _DECODER.raw_decode(text, place)
        except (ValueError, RecursionError):
            continue
        yield value
