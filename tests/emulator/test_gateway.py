# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest

from airflow_provider_jimeng.emulator.gateway import QUERY_SHAPES, SUBMIT_SHAPES
from airflow_provider_jimeng.emulator.messages import Request, Response
from tests.emulator.support import CANCEL, QUERY, SUBMIT, T2V, Account, make_account

TOKEN = "sk-gateway"
KEY = T2V["req_key"]


def call(
    account: Account,
    action: tuple[str, str],
    body: Any,
    *,
    token: str | None = TOKEN,
    path: str = "/jimeng/",
) -> tuple[int, Any]:
    headers = (("Host", "gateway.test"), *((("Authorization", f"Bearer {token}"),) if token else ()))
    query = urlencode({"Action": action[0], "Version": action[1]})
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    outcome = account.emulator.handle(
        Request(method="POST", target=f"{path}?{query}", headers=headers, body=raw)
    )
    assert isinstance(outcome, Response)
    return outcome.status, json.loads(outcome.body) if outcome.body else dict(outcome.headers)


def query_of(task_id: str, **more: Any) -> dict[str, Any]:
    return {"req_key": KEY, "task_id": task_id, **more}


def test_a_native_gateway_returns_the_responses_of_the_api() -> None:
    account = make_account(bearer=TOKEN)
    status, payload = call(account, SUBMIT, T2V)
    assert (status, payload["code"]) == (200, 10000)
    task_id = payload["data"]["task_id"]
    assert call(account, QUERY, query_of(task_id))[1]["data"]["status"] == "in_queue"
    assert call(account, SUBMIT, {**T2V, "seed": -5})[0] == 400
    account.clock.advance(10)
    link = call(account, QUERY, query_of(task_id))[1]["data"]["video_url"]
    assert link.startswith("http://gateway.test/media/")


def test_signed_requests_still_work_beside_a_gateway() -> None:
    account = make_account(bearer=TOKEN)
    assert account.status(account.submit()) == "in_queue"


def test_an_emulator_without_bearer_has_no_gateway() -> None:
    assert call(make_account(), SUBMIT, T2V)[1]["ResponseMetadata"]["Error"]["CodeN"] == 100008


@pytest.mark.parametrize("token", [None, "sk-wrong", ""])
def test_a_wrong_token_is_refused_by_the_middleware(token: str | None) -> None:
    account = make_account(bearer=TOKEN)
    status, payload = call(account, SUBMIT, T2V, token=token)
    assert status == 401
    assert payload["error"]["type"] == "new_api_error"
    assert "request id: " in payload["error"]["message"]
    bill = account.emulator.bill()
    assert (bill["submits"], bill["refused"]) == (1, {"gateway": 1})


@pytest.mark.parametrize("action", [CANCEL, ("", ""), ("CVProcess", "2022-08-31")])
def test_actions_that_the_gateway_does_not_have_are_refused(action: tuple[str, str]) -> None:
    account = make_account(bearer=TOKEN)
    assert call(account, action, T2V)[0] == 400
    assert account.emulator.bill()["submits"] == 0


def test_a_missing_trailing_slash_is_redirected() -> None:
    status, headers = call(make_account(bearer=TOKEN), SUBMIT, T2V, path="/jimeng")
    assert status == 307
    assert headers["Location"].startswith("/jimeng/?Action=")


def test_older_gateways_have_other_responses_to_a_submit() -> None:
    account = make_account(bearer=TOKEN, gateway_submit="openai")
    status, video = call(account, SUBMIT, T2V)
    assert status == 200
    assert video == {
        "id": video["task_id"],
        "task_id": video["task_id"],
        "object": "video",
        "model": KEY,
        "status": "queued",
        "progress": 0,
        "created_at": int(account.clock()),
    }
    account = make_account(bearer=TOKEN, gateway_submit="bare")
    assert set(call(account, SUBMIT, T2V)[1]) == {"task_id"}


@pytest.mark.parametrize("shape", SUBMIT_SHAPES)
def test_every_gateway_wraps_the_errors_of_the_api(shape: str) -> None:
    account = make_account(bearer=TOKEN, gateway_submit=shape, max_concurrent=1)
    status, payload = call(account, SUBMIT, {**T2V, "seed": -5})
    assert (status, payload["code"], payload["data"]) == (400, "fail_to_fetch_task", None)
    assert json.loads(payload["message"])["code"] == 50200
    call(account, SUBMIT, T2V)
    status, payload = call(account, SUBMIT, T2V)
    assert (status, payload["code"], payload["data"]) == (429, "fail_to_fetch_task", None)
    assert "当前分组上游负载已饱和" in payload["message"]
    assert "saturated" in payload["message"]
    assert account.emulator.bill()["refused"] == {"50200": 1, "50430": 1}


def test_a_model_that_is_not_activated_is_a_wrapped_401() -> None:
    account = make_account(bearer=TOKEN, unactivated=["t2v_720p"])
    status, payload = call(account, SUBMIT, T2V)
    assert (status, json.loads(payload["message"])["code"]) == (401, 50400)


def test_an_error_with_http_200_keeps_its_code_as_text() -> None:
    account = make_account(bearer=TOKEN)
    account.emulator.faults.add(where="submit", what="error_before", code=30403)
    status, payload = call(account, SUBMIT, T2V)
    assert (status, payload) == (500, {"code": "30403", "message": "NoFeatAuth", "data": None})


def body_of(shape: str) -> tuple[int, Any]:
    account = make_account(bearer=TOKEN)
    account.emulator.faults.add(where="submit", what="gateway_wraps", shape=shape)
    return call(account, SUBMIT, T2V)


def test_a_fault_gives_errors_of_the_api_another_shape() -> None:
    assert body_of("native")[1]["code"] == 50412
    assert body_of("code") == (500, {"code": "50412", "message": "Text Risk Not Pass", "data": None})
    status, payload = body_of("openai")
    assert (status, payload["error"]["type"]) == (400, "upstream_error")
    nested = json.loads(body_of("nested")[1]["message"])
    assert (nested["code"], json.loads(nested["message"])["code"]) == ("fail_to_fetch_task", 50412)
    assert body_of("words")[1]["message"].startswith("status_code=400, body: ")
    assert "50412" not in json.dumps(body_of("hidden"))


@pytest.mark.parametrize(
    ("reason", "status", "code"),
    [
        ("no_channel", 503, "model_not_found"),
        ("overloaded", 503, "system_cpu_overloaded"),
        ("expired_token", 401, ""),
        ("group", 403, ""),
        ("rate_limit", 429, ""),
    ],
)
def test_a_fault_makes_the_gateway_refuse_by_itself(reason: str, status: int, code: str) -> None:
    account = make_account(bearer=TOKEN)
    account.emulator.faults.add(where="submit", what="gateway_refuses", reason=reason)
    answered, payload = call(account, SUBMIT, T2V)
    assert (answered, payload["error"]["type"], payload["error"]["code"]) == (status, "new_api_error", code)
    bill = account.emulator.bill()
    assert (bill["accepted"], bill["refused"]) == (0, {"gateway_refuses": 1})


def test_a_used_up_quota_is_refused_by_the_relay() -> None:
    account = make_account(bearer=TOKEN)
    account.emulator.faults.add(where="submit", what="gateway_refuses", reason="quota")
    status, payload = call(account, SUBMIT, T2V)
    assert (status, payload["code"], payload["data"]) == (403, "insufficient_user_quota", None)


def get(account: Account, url: str, token: str | None = None, **headers: str) -> Response:
    sent = (("Host", "gateway.test"), *headers.items())
    if token:
        sent = (*sent, ("Authorization", f"Bearer {token}"))
    target = url.removeprefix("http://gateway.test")
    outcome = account.emulator.handle(Request(method="GET", target=target, headers=sent))
    assert isinstance(outcome, Response)
    return outcome


@pytest.mark.parametrize("shape", QUERY_SHAPES)
def test_a_gateways_own_links_need_its_token(shape: str) -> None:
    account = make_account(bearer=TOKEN, gateway_links="own", gateway_query=shape)
    task_id = call(account, SUBMIT, T2V)[1]["data"]["task_id"]
    account.clock.advance(10)
    data = call(account, QUERY, query_of(task_id))[1]["data"]
    link = data["result_url"] if shape == "wrapped" else data["video_url"]
    assert link == f"http://gateway.test/v1/videos/{task_id}/content"
    assert get(account, link).status == 401
    assert get(account, link, "sk-other").status == 401
    assert get(account, "http://gateway.test/v1/videos/7/content", TOKEN).status == 404
    assert get(account, link, TOKEN).status == 200
    assert get(account, link, TOKEN, Range="bytes=5-").status == 206
    assert account.emulator.bill()["media_requests_with_authorization"] == 0


def test_a_gateway_with_direct_links_serves_no_videos() -> None:
    account = make_account(bearer=TOKEN)
    assert get(account, "http://gateway.test/v1/videos/7/content", TOKEN).status != 200


def test_a_wrapped_query_has_the_status_words_of_the_gateway() -> None:
    account = make_account(bearer=TOKEN, gateway_query="wrapped")
    task_id = call(account, SUBMIT, T2V)[1]["data"]["task_id"]
    queried: list[Any] = []
    for _ in range(3):
        status, payload = call(account, QUERY, query_of(task_id))
        assert (status, payload["code"]) == (200, "success")
        queried.append(payload["data"])
        account.clock.advance(5)
    assert [response["status"] for response in queried] == ["QUEUED", "IN_PROGRESS", "SUCCESS"]
    inner = queried[-1]
    assert inner["task_id"] == task_id
    assert inner["result_url"] == inner["data"]["data"]["video_url"]
    assert inner["progress"] == "100%"
    assert call(account, QUERY, query_of("1"))[1]["code"] == "task_not_exist"


def test_a_wrapped_failure_contains_its_reason() -> None:
    account = make_account(bearer=TOKEN, gateway_query="wrapped")
    account.emulator.faults.add(where="render", what="fail")
    task_id = call(account, SUBMIT, T2V)[1]["data"]["task_id"]
    account.clock.advance(10)
    inner = call(account, QUERY, query_of(task_id))[1]["data"]
    assert (inner["status"], inner["fail_reason"]) == ("FAILURE", "Post Img Risk Not Pass")


def test_a_wrapped_query_shows_unknown_words_and_rate_limits() -> None:
    account = make_account(bearer=TOKEN, gateway_query="wrapped")
    task_id = call(account, SUBMIT, T2V)[1]["data"]["task_id"]
    account.emulator.faults.add(where="query", what="status_word", nth=1)
    account.emulator.faults.add(where="query", what="error_before", code=50429, nth=2)
    assert call(account, QUERY, query_of(task_id))[1]["data"]["status"] == "UNKNOWN"
    status, payload = call(account, QUERY, query_of(task_id))
    assert (status, payload["code"]) == (429, "fail_to_fetch_task")


@pytest.mark.parametrize("forwards", [True, False])
def test_a_gateway_can_lose_the_requested_label(forwards: bool) -> None:
    account = make_account(bearer=TOKEN, gateway_forwards_req_json=forwards)
    task_id = call(account, SUBMIT, T2V)[1]["data"]["task_id"]
    account.clock.advance(10)
    label = json.dumps({"aigc_meta": {"producer_id": "p", "content_propagator": "c"}})
    response = call(account, QUERY, query_of(task_id, req_json=label))[1]
    assert response["data"]["aigc_meta_tagged"] is forwards
