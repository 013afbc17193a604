"""Bearer gateways of the new-api kind: ``POST /jimeng/?Action=…&Version=…`` with ``Authorization: Bearer …``.

Requests and the shapes of replies are read from the public code of such gateways (H). What the API refuses, every
version wraps in the same way; which shape a good answer has depends on the version, so it is an option here. Guessed
(L): progress texts, the word for ``generating`` (those gateways leave it unmapped), the redirect that puts the trailing
slash back, the English half of the sentence for a busy account.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from airflow_provider_jimeng.emulator.desk import CALLS, Visit
from airflow_provider_jimeng.emulator.gateway_refusals import middleware_error, refused, task_error
from airflow_provider_jimeng.emulator.messages import Answer, Reply, Request, json_reply

GATEWAY_PATH = "/jimeng/"
SubmitShape = Literal["native", "openai", "bare"]
QueryShape = Literal["native", "wrapped"]
SUBMIT_SHAPES: tuple[SubmitShape, ...] = ("native", "openai", "bare")
QUERY_SHAPES: tuple[QueryShape, ...] = ("native", "wrapped")
LinkShape = Literal["direct", "own"]
LINK_SHAPES: tuple[LinkShape, ...] = ("direct", "own")
_OWN_LINK = re.compile(r"/v1/videos/([^/]+)/content")

_WORDS = {
    "in_queue": ("QUEUED", "20%"),
    "generating": ("IN_PROGRESS", "30%"),
    "done": ("SUCCESS", "100%"),
    "expired": ("FAILURE", "100%"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """How the gateway speaks. ``forwards_req_json=False`` loses the label, as some versions do.

    ``link_shape="own"``: its links lead to itself and need the token; behind them it fetches the API's own.
    """

    token: str = field(repr=False)
    link_shape: LinkShape = "direct"
    submit_shape: SubmitShape = "native"
    query_shape: QueryShape = "native"
    forwards_req_json: bool = True
    _behind: dict[str, str] = field(default_factory=dict, repr=False)

    def refuse(self, request: Request, where: str | None, now: float) -> Reply | None:
        """Return the middleware's refusal: wrong path, wrong token, unknown action."""
        if request.path == GATEWAY_PATH.rstrip("/"):
            location = f"{GATEWAY_PATH}?{request.query_string}"
            return Reply(status=307, headers=(("Location", location),))
        if not self._admits(request):
            return middleware_error(401, "Invalid token", now)
        if where is None or where == "cancel":
            return middleware_error(400, f"Action must be one of {', '.join(a for a, _ in CALLS)}", now)
        return None

    def forward(self, visit: Visit) -> Visit:
        """Return the visit as the gateway passes it on."""
        if self.forwards_req_json or "req_json" not in visit.body:
            return visit
        return replace(visit, body={key: value for key, value in visit.body.items() if key != "req_json"})

    def serves(self, request: Request) -> bool:
        """Whether a request is for a link of its own."""
        return self.link_shape == "own" and _OWN_LINK.fullmatch(request.path) is not None

    def behind(self, request: Request, now: float) -> Request | Reply:
        """Return the request that the gateway makes to the API's media host, or its refusal."""
        if not self._admits(request):
            return middleware_error(401, "Invalid token", now)
        match = _OWN_LINK.fullmatch(request.path)
        target = self._behind.get(match[1]) if match else None
        if target is None:
            error = {"message": "Task not found", "type": "invalid_request_error"}
            return json_reply(404, {"error": error})
        kept = tuple(pair for pair in request.headers if pair[0].lower() != "authorization")
        return replace(request, target=target, headers=kept)

    def speak(self, visit: Visit, answer: Answer) -> Reply:
        """Put an answer of the API into the gateway's words."""
        if visit.where == "submit":
            if not answer.succeeded:
                return refused(answer)
            return answer.reply() if self.submit_shape == "native" else self._submitted(visit, answer)
        answer = self._own_link(visit, answer)
        return answer.reply() if self.query_shape == "native" else self._queried(visit, answer)

    def _admits(self, request: Request) -> bool:
        given = request.header("authorization") or ""
        return hmac.compare_digest(given.encode(), f"Bearer {self.token}".encode())

    def _own_link(self, visit: Visit, answer: Answer) -> Answer:
        link = answer.data.get("video_url")
        if self.link_shape == "direct" or not link:
            return answer
        task_id = visit.text("task_id")
        self._behind[task_id] = str(link).removeprefix(visit.origin)
        data = {**answer.data, "video_url": f"{visit.origin}/v1/videos/{task_id}/content"}
        return replace(answer, payload={**answer.payload, "data": data})

    def _submitted(self, visit: Visit, answer: Answer) -> Reply:
        task_id = answer.data.get("task_id")
        if self.submit_shape == "bare":
            return json_reply(200, {"task_id": task_id})
        video = {"id": task_id, "task_id": task_id, "object": "video", "model": visit.text("req_key")}
        return json_reply(200, {**video, "status": "queued", "progress": 0, "created_at": int(visit.now)})

    def _queried(self, visit: Visit, answer: Answer) -> Reply:
        if answer.succeeded and answer.data.get("status") == "not_found":
            return task_error(400, "task_not_exist", "task_not_exist")
        if not answer.succeeded and answer.http_status in (401, 429):
            return refused(answer)
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
