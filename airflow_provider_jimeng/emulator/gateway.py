"""Bearer gateways of the new-api kind: ``POST /jimeng/?Action=…&Version=…`` with ``Authorization: Bearer …``.

Requests and the shapes of replies are read from the public code of such gateways (H); which shape answers depends on
the gateway's version, so it is an option here. Guessed (L): progress texts, the word for ``generating`` (those
gateways leave it unmapped), the redirect that puts the trailing slash back.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from airflow_provider_jimeng.emulator.desk import CALLS, Visit
from airflow_provider_jimeng.emulator.envelopes import new_request_id
from airflow_provider_jimeng.emulator.messages import Answer, Reply, Request, json_reply

GATEWAY_PATH = "/jimeng/"
SubmitShape = Literal["native", "openai", "bare"]
QueryShape = Literal["native", "wrapped"]
SUBMIT_SHAPES: tuple[SubmitShape, ...] = ("native", "openai", "bare")
QUERY_SHAPES: tuple[QueryShape, ...] = ("native", "wrapped")

_WORDS = {
    "in_queue": ("QUEUED", "20%"),
    "generating": ("IN_PROGRESS", "30%"),
    "done": ("SUCCESS", "100%"),
    "expired": ("FAILURE", "100%"),
}
_SATURATED = "The upstream load of the current group is saturated, please try again later"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """How the gateway speaks. ``forwards_req_json=False`` loses the label, as some versions do."""

    token: str = field(repr=False)
    submit_shape: SubmitShape = "native"
    query_shape: QueryShape = "native"
    forwards_req_json: bool = True

    def refuse(self, request: Request, where: str | None, now: float) -> Reply | None:
        """Return the middleware's refusal: wrong path, wrong token, unknown action."""
        if request.path == GATEWAY_PATH.rstrip("/"):
            location = f"{GATEWAY_PATH}?{request.query_string}"
            return Reply(status=307, headers=(("Location", location),))
        given = request.header("authorization") or ""
        if not hmac.compare_digest(given.encode(), f"Bearer {self.token}".encode()):
            return _middleware_error(401, "Invalid token", now)
        if where is None or where == "cancel":
            return _middleware_error(400, f"Action must be one of {', '.join(a for a, _ in CALLS)}", now)
        return None

    def forward(self, visit: Visit) -> Visit:
        """Return the visit as the gateway passes it on."""
        if self.forwards_req_json or "req_json" not in visit.body:
            return visit
        return replace(visit, body={key: value for key, value in visit.body.items() if key != "req_json"})

    def speak(self, visit: Visit, answer: Answer) -> Reply:
        """Put an answer of the API into the gateway's words."""
        if visit.where == "submit":
            return answer.reply() if self.submit_shape == "native" else self._submitted(visit, answer)
        return answer.reply() if self.query_shape == "native" else self._queried(visit, answer)

    def _submitted(self, visit: Visit, answer: Answer) -> Reply:
        if not answer.succeeded:
            message = _SATURATED if answer.http_status == 429 else str(answer.payload.get("message", ""))
            status = 429 if answer.http_status == 429 else 500
            return _task_error(status, str(answer.code), message)
        task_id = answer.data.get("task_id")
        if self.submit_shape == "bare":
            return json_reply(200, {"task_id": task_id})
        video = {"id": task_id, "task_id": task_id, "object": "video", "model": visit.text("req_key")}
        return json_reply(200, {**video, "status": "queued", "progress": 0, "created_at": int(visit.now)})

    def _queried(self, visit: Visit, answer: Answer) -> Reply:
        if answer.succeeded and answer.data.get("status") == "not_found":
            return _task_error(400, "task_not_exist", "task_not_exist")
        if not answer.succeeded and answer.http_status in (401, 429):
            return _task_error(
                answer.http_status, "fail_to_fetch_task", str(answer.payload.get("message", ""))
            )
        word = str(answer.data.get("status", "done")) if answer.succeeded else "expired"
        status, progress = _WORDS.get(word, ("UNKNOWN", "0%"))
        data: dict[str, Any] = {
            "task_id": visit.text("task_id"),
            "platform": "51",
            "action": "generate",
            "status": status,
            "fail_reason": "" if answer.succeeded else str(answer.payload.get("message", "")),
            "submit_time": int(visit.now),
            "start_time": 0,
            "finish_time": int(visit.now) if progress == "100%" else 0,
            "progress": progress,
            "data": answer.payload,
        }
        if answer.data.get("video_url"):
            data["result_url"] = answer.data["video_url"]
        return json_reply(200, {"code": "success", "message": "", "data": data})


def _middleware_error(http_status: int, message: str, now: float) -> Reply:
    text = f"{message} (request id: {new_request_id(now)})"
    return json_reply(http_status, {"error": {"message": text, "type": "new_api_error", "code": ""}})


def _task_error(http_status: int, code: str, message: str) -> Reply:
    return json_reply(http_status, {"code": code, "message": message, "data": None})
