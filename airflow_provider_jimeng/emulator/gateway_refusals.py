"""How a Bearer gateway refuses: by itself, or by wrapping what the API refuses (H: read from public code).

The API's answer to a submit is wrapped in every version: the HTTP status is kept, the body becomes a text, and for 429 a
sentence stands in its place. What the gateway refuses by itself comes from its middleware in another shape, but for a
used-up quota.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType

from airflow_provider_jimeng.emulator.envelopes import new_request_id
from airflow_provider_jimeng.emulator.messages import Answer, Reply, json_reply

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
"""What the gateway's middleware refuses before it sends anything on: HTTP status, code, message."""
OWN_REFUSALS = ("quota", *_OWN_REFUSALS)
REFUSAL_SHAPES = ("native", "code", "openai", "nested", "words", "hidden")
"""The other shapes of a refusal of the API, by the parameter of the fault ``gateway_wraps``."""


def own_refusal(reason: str, now: float) -> Reply:
    """Answer as the gateway does when it refuses by itself and sends nothing on."""
    if reason == "quota":
        return task_error(403, "insufficient_user_quota", "用户额度不足, 剩余额度: $0.000000")
    http_status, code, message = _OWN_REFUSALS[reason]
    return middleware_error(http_status, message, now, code)


def refused(answer: Answer, shape: str | None = None) -> Reply:
    """Wrap a refusal of the API: its HTTP status, its body as text, or another ``shape``. What comes with 200 has its code for a word."""
    status, message = answer.http_status, str(answer.payload.get("message", ""))
    body = json.dumps(answer.payload, ensure_ascii=False)
    match shape:
        case "native":
            return answer.reply()
        case "code":
            return task_error(429 if status == 429 else 500, str(answer.code), message)
        case "openai":
            error = {"message": body, "type": "upstream_error", "code": "bad_response_status_code"}
            return json_reply(status, {"error": error})
        case "nested":
            inner = {"code": _WRAPPED, "message": body, "data": None}
            return task_error(status, _WRAPPED, json.dumps(inner, ensure_ascii=False))
        case "words":
            return task_error(status, _WRAPPED, f"status_code={status}, body: {json.dumps(body)}")
        case "hidden":
            return task_error(status, _WRAPPED, _HIDDEN)
    if status == 200:
        return task_error(500, str(answer.code), message)
    return task_error(status, _WRAPPED, _SATURATED if status == 429 else body)


def middleware_error(http_status: int, message: str, now: float, code: str = "") -> Reply:
    """Answer as the middleware does, which runs before the relay."""
    text = f"{message} (request id: {new_request_id(now)})"
    return json_reply(http_status, {"error": {"message": text, "type": "new_api_error", "code": code}})


def task_error(http_status: int, code: str, message: str) -> Reply:
    """Answer as the relay does."""
    return json_reply(http_status, {"code": code, "message": message, "data": None})
