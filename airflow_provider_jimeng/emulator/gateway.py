# SPDX-License-Identifier: Apache-2.0
"""Bearer gateways of the new-api kind: ``POST /jimeng/?Action=…&Version=…`` with ``Authorization: Bearer …``.

Requests, refusals and the shapes of responses are read from the public code of such gateways (H). All versions wrap an
error of the API in the same way: the HTTP status stays, the body becomes a text, and with 429 the text is a fixed
sentence. The middleware, which runs first, has another shape for its own errors. The shape of a successful response
depends on the version, so it is an option here.

Guesses (L): progress texts, the word for ``generating`` (those gateways do not map it), the redirect if the trailing
slash is missing, the English half of the message for a busy account.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

from airflow_provider_jimeng.emulator.messages import (
    OPERATIONS,
    ApiResponse,
    Call,
    Request,
    Response,
    json_response,
    new_request_id,
)

GATEWAY_PATH = "/jimeng/"
SubmitShape = Literal["native", "openai", "bare"]
QueryShape = Literal["native", "wrapped"]
SUBMIT_SHAPES: tuple[SubmitShape, ...] = ("native", "openai", "bare")
QUERY_SHAPES: tuple[QueryShape, ...] = ("native", "wrapped")
LinkShape = Literal["direct", "own"]
LINK_SHAPES: tuple[LinkShape, ...] = ("direct", "own")
_OWN_LINK = re.compile(r"/v1/videos/([^/]+)/content")

_STATUS_WORDS = {
    "in_queue": ("QUEUED", "20%"),
    "generating": ("IN_PROGRESS", "30%"),
    "done": ("SUCCESS", "100%"),
    "expired": ("FAILURE", "100%"),
}
"""Maps the API's status word to the gateway's status and progress."""

_WRAPPED = "fail_to_fetch_task"
_SATURATED = (
    "当前分组上游负载已饱和，请稍后再试 (the upstream load of the group is saturated, try again later)"
)
_HIDDEN = "请求上游地址失败"
_OWN_REFUSALS: Mapping[str, tuple[int, str, str]] = MappingProxyType(
    {
        "no_channel": (503, "model_not_found", "No available channel for this model under group default"),
        "overloaded": (503, "system_cpu_overloaded", "system cpu overloaded"),
        "expired_token": (401, "", "该令牌已过期"),
        "group": (403, "", "无权访问 vip 分组"),
        "rate_limit": (429, "", "您已达到请求数限制：1分钟内最多请求60次"),
    }
)
"""What the gateway's middleware refuses by itself: HTTP status, code, message."""
OWN_REFUSALS = ("quota", *_OWN_REFUSALS)
REFUSAL_SHAPES = ("native", "code", "openai", "nested", "words", "hidden")
"""The other shapes of an error of the API: values of the parameter ``shape`` of the fault ``gateway_wraps``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """One gateway.

    If ``forwards_req_json`` is false, the request for a label is lost, as in some versions. If ``link_shape`` is
    ``own``, its links lead to itself and need the token, and the gateway fetches the video from the API's link.
    """

    token: str = field(repr=False)
    link_shape: LinkShape = "direct"
    submit_shape: SubmitShape = "native"
    query_shape: QueryShape = "native"
    forwards_req_json: bool = True
    _api_links: dict[str, str] = field(default_factory=dict, repr=False)
    """The path and query string of the API's newest link, by task id."""

    def refuse(self, request: Request, operation: str | None, now: float) -> Response | None:
        """Return the middleware's response to a wrong path, token or action, or ``None``."""
        if request.path == GATEWAY_PATH.rstrip("/"):
            location = f"{GATEWAY_PATH}?{request.query_string}"
            return Response(status=307, headers=(("Location", location),))
        if not self._has_token(request):
            return _middleware_error(401, "Invalid token", now)
        if operation is None or operation == "cancel":
            actions = ", ".join(action for action, _ in OPERATIONS)
            return _middleware_error(400, f"Action must be one of {actions}", now)
        return None

    def forward(self, call: Call) -> Call:
        """Return the call as the gateway forwards it to the API."""
        if self.forwards_req_json or "req_json" not in call.body:
            return call
        return replace(call, body={key: value for key, value in call.body.items() if key != "req_json"})

    def is_own_link(self, request: Request) -> bool:
        """Return whether a request is for one of the gateway's own video links."""
        return self.link_shape == "own" and _OWN_LINK.fullmatch(request.path) is not None

    def forward_download(self, request: Request, now: float) -> Request | Response:
        """Return the request that the gateway sends to the API's media host, or an error response."""
        if not self._has_token(request):
            return _middleware_error(401, "Invalid token", now)
        match = _OWN_LINK.fullmatch(request.path)
        target = self._api_links.get(match[1]) if match else None
        if target is None:
            error = {"message": "Task not found", "type": "invalid_request_error"}
            return json_response(404, {"error": error})
        headers = tuple(pair for pair in request.headers if pair[0].lower() != "authorization")
        return replace(request, target=target, headers=headers)

    def translate(self, call: Call, response: ApiResponse) -> Response:
        """Return a response of the API in the gateway's shape."""
        if call.operation == "submit":
            if not response.succeeded:
                return wrap_refusal(response)
            return response.to_http() if self.submit_shape == "native" else self._submitted(call, response)
        response = self._with_own_link(call, response)
        return response.to_http() if self.query_shape == "native" else self._queried(call, response)

    def _has_token(self, request: Request) -> bool:
        header = request.header("authorization") or ""
        return hmac.compare_digest(header.encode(), f"Bearer {self.token}".encode())

    def _with_own_link(self, call: Call, response: ApiResponse) -> ApiResponse:
        link = response.data.get("video_url")
        if self.link_shape == "direct" or not link:
            return response
        task_id = call.text("task_id")
        self._api_links[task_id] = str(link).removeprefix(call.origin)
        data = {**response.data, "video_url": f"{call.origin}/v1/videos/{task_id}/content"}
        return replace(response, payload={**response.payload, "data": data})

    def _submitted(self, call: Call, response: ApiResponse) -> Response:
        task_id = response.data.get("task_id")
        if self.submit_shape == "bare":
            return json_response(200, {"task_id": task_id})
        video = {"id": task_id, "task_id": task_id, "object": "video", "model": call.text("req_key")}
        return json_response(200, {**video, "status": "queued", "progress": 0, "created_at": int(call.now)})

    def _queried(self, call: Call, response: ApiResponse) -> Response:
        if response.succeeded and response.data.get("status") == "not_found":
            return _relay_error(400, "task_not_exist", "task_not_exist")
        if not response.succeeded and response.http_status in (401, 429):
            return wrap_refusal(response)
        word = str(response.data.get("status", "done")) if response.succeeded else "expired"
        status, progress = _STATUS_WORDS.get(word, ("UNKNOWN", "0%"))
        data: dict[str, Any] = {
            "task_id": call.text("task_id"),
            "platform": "51",
            "action": "generate",
            "status": status,
            "fail_reason": "" if response.succeeded else str(response.payload.get("message", "")),
            "submit_time": int(call.now),
            "start_time": 0,
            "finish_time": int(call.now) if progress == "100%" else 0,
            "progress": progress,
            "data": response.payload,
        }
        if response.data.get("video_url"):
            data["result_url"] = response.data["video_url"]
        return json_response(200, {"code": "success", "message": "", "data": data})


def own_refusal(reason: str, now: float) -> Response:
    """Return the response to a request that the gateway refuses by itself and does not forward."""
    if reason == "quota":
        return _relay_error(403, "insufficient_user_quota", "用户额度不足, 剩余额度: $0.000000")
    http_status, code, message = _OWN_REFUSALS[reason]
    return _middleware_error(http_status, message, now, code)


def wrap_refusal(response: ApiResponse, shape: str | None = None) -> Response:
    """Return an error of the API as the gateway wraps it, or in one of :data:`REFUSAL_SHAPES`.

    If the API's HTTP status is 200, the code of the response is the API's code as text.
    """
    status, message = response.http_status, str(response.payload.get("message", ""))
    body = json.dumps(response.payload, ensure_ascii=False)
    match shape:
        case "native":
            return response.to_http()
        case "code":
            return _relay_error(429 if status == 429 else 500, str(response.code), message)
        case "openai":
            error = {"message": body, "type": "upstream_error", "code": "bad_response_status_code"}
            return json_response(status, {"error": error})
        case "nested":
            inner = {"code": _WRAPPED, "message": body, "data": None}
            return _relay_error(status, _WRAPPED, json.dumps(inner, ensure_ascii=False))
        case "words":
            return _relay_error(status, _WRAPPED, f"status_code={status}, body: {json.dumps(body)}")
        case "hidden":
            return _relay_error(status, _WRAPPED, _HIDDEN)
    if status == 200:
        return _relay_error(500, str(response.code), message)
    return _relay_error(status, _WRAPPED, _SATURATED if status == 429 else body)


def _middleware_error(http_status: int, message: str, now: float, code: str = "") -> Response:
    text = f"{message} (request id: {new_request_id(now)})"
    return json_response(http_status, {"error": {"message": text, "type": "new_api_error", "code": code}})


def _relay_error(http_status: int, code: str, message: str) -> Response:
    return json_response(http_status, {"code": code, "message": message, "data": None})
