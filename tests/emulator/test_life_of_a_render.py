# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
from typing import Any

import pytest

from airflow_provider_jimeng.core.catalogue import MODELS
from airflow_provider_jimeng.emulator.messages import Response, go_duration
from airflow_provider_jimeng.emulator.renders import RateLimit
from airflow_provider_jimeng.emulator.request_checks import parse_aigc_meta
from tests.emulator.support import CANCEL, QUERY, SUBMIT, T2V, Account, make_account

KEY = "jimeng_t2v_v30"
LABEL = json.dumps({"aigc_meta": {"producer_id": "dag/run/task", "content_propagator": "us"}})


@pytest.fixture
def account() -> Account:
    return make_account(render_seconds=10.0)


def test_a_render_is_queued_then_generating_then_done(account: Account) -> None:
    task_id = account.submit()
    statuses = []
    for _ in range(5):
        statuses.append(account.status(task_id))
        account.clock.advance(2.5)
    assert statuses == ["in_queue", "generating", "generating", "generating", "done"]


def test_a_response_before_the_end_has_no_link(account: Account) -> None:
    _, payload = account.query(account.submit())
    assert set(payload) == {"code", "data", "message", "request_id", "status", "time_elapsed"}
    assert payload["data"] == {
        "status": "in_queue",
        "video_url": "",
        "resp_data": "",
        "binary_data_base64": [],
        "image_urls": None,
    }


def test_every_query_of_a_done_render_creates_another_link(account: Account) -> None:
    task_id = account.submit()
    account.clock.advance(10)
    _, payload = account.query(task_id)
    assert payload["status"] == payload["code"] == 10000
    assert payload["data"]["aigc_meta_tagged"] is False
    assert payload["data"]["video_url"] != account.link(task_id)


def test_after_twelve_hours_a_render_is_not_found(account: Account) -> None:
    task_id = account.submit()
    account.clock.advance(12 * 3600)
    assert account.status(task_id) == "done"
    account.clock.advance(1)
    assert account.status(task_id) == "not_found"
    assert account.emulator.bill()["billed"] == 1


def test_an_unknown_id_and_another_key_are_not_found(account: Account) -> None:
    task_id = account.submit()
    assert account.status("7000000000000000000") == "not_found"
    assert account.status(task_id, "jimeng_t2v_v30_1080p") == "not_found"
    assert account.status(task_id) == "in_queue"


@pytest.mark.parametrize("call", [QUERY, CANCEL], ids=["query", "cancel"])
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"req_key": KEY}, (400, 50201)),
        ({"req_key": KEY, "task_id": ""}, (400, 50201)),
        ({"req_key": KEY, "task_id": 7496808170813108626}, (400, 50204)),
    ],
    ids=str,
)
def test_a_task_id_must_be_a_text(
    account: Account, call: tuple[str, str], body: dict[str, Any], expected: tuple[int, int]
) -> None:
    assert account.code(call, body) == expected


@pytest.mark.parametrize("model", ["t2v_s2_pro", "i2v_s2_pro"])
def test_a_done_render_of_s2_has_a_link_and_no_status(account: Account, model: str) -> None:
    spec = MODELS[model]
    body: dict[str, Any] = {"req_key": spec.req_key}
    if spec.min_images:
        body["image_urls"] = ["https://example.com/a.png"]
    task_id = account.submit(**body)
    assert account.status(task_id, spec.req_key) == "in_queue"
    account.clock.advance(10)
    assert set(account.query(task_id, spec.req_key)[1]["data"]) == {"video_url"}


def test_a_queued_render_can_be_cancelled_and_is_not_billed(account: Account) -> None:
    task_id = account.submit()
    assert account.code(CANCEL, {"req_key": KEY, "task_id": task_id}) == (200, 10000)
    assert account.status(task_id) == "not_found"
    account.clock.advance(20)
    bill = account.emulator.bill()
    assert (bill["billed"], bill["cancels"], bill["by_task"][task_id]["status"]) == (0, 1, "cancelled")


@pytest.mark.parametrize("seconds", [2.0, 10.0])
def test_a_generating_or_done_render_cannot_be_cancelled(account: Account, seconds: float) -> None:
    task_id = account.submit()
    account.clock.advance(seconds)
    assert account.code(CANCEL, {"req_key": KEY, "task_id": task_id}) == (400, 50200)
    assert account.emulator.bill()["by_task"][task_id]["status"] in ("generating", "done")
    assert account.code(CANCEL, {"req_key": KEY, "task_id": "1"}) == (400, 50200)


def test_a_failed_render_answers_queries_with_its_code(account: Account) -> None:
    account.emulator.faults.add(where="render", what="fail")
    task_id = account.submit()
    assert account.status(task_id) == "in_queue"
    account.clock.advance(10)
    status, payload = account.query(task_id)
    assert (status, payload["code"], payload["data"]) == (400, 50511, None)
    assert payload["message"] == "Post Img Risk Not Pass"
    bill = account.emulator.bill()
    assert (bill["billed"], bill["cost_cny"], bill["by_task"][task_id]["failure_code"]) == (0, "0.00", 50511)


def test_renders_in_flight_are_limited_per_key() -> None:
    account = make_account(max_concurrent=2)
    first, _ = account.submit(), account.submit()
    assert account.code(SUBMIT, T2V) == (429, 50430)
    account.submit(req_key="jimeng_t2v_v30_1080p")
    account.clock.advance(10)
    assert account.status(first) == "done"
    account.submit()
    bill = account.emulator.bill()
    assert bill["peak_in_flight"] == {"total": 3, "by_req_key": {KEY: 2, "jimeng_t2v_v30_1080p": 1}}
    assert bill["refused"] == {"50430": 1}
    assert bill["in_flight"] == 1


def test_a_cancelled_render_frees_its_slot() -> None:
    account = make_account(max_concurrent=1)
    account.code(CANCEL, {"req_key": KEY, "task_id": account.submit()})
    account.submit()


def test_submits_and_queries_share_a_limit_per_second() -> None:
    account = make_account(max_qps=3)
    task_id = account.submit()
    account.submit()
    assert account.status(task_id) == "in_queue"
    status, payload = account.query(task_id)
    assert (status, payload["code"]) == (429, 50429)
    assert account.code(SUBMIT, T2V) == (429, 50429)
    assert account.code(CANCEL, {"req_key": KEY, "task_id": task_id}) == (200, 10000)
    account.clock.advance(1)
    assert account.status(task_id) == "not_found"
    bill = account.emulator.bill()
    assert (bill["query_errors"], bill["refused"]) == ({"50429": 1}, {"50429": 1})


def test_the_limits_can_be_changed_at_any_time(account: Account) -> None:
    emulator = account.emulator
    assert (emulator.max_concurrent, emulator.max_qps, emulator.render_seconds) == (None, None, 10.0)
    emulator.max_concurrent, emulator.render_seconds = 1, 1.0
    account.submit()
    assert account.code(SUBMIT, T2V) == (429, 50430)
    account.clock.advance(1)
    account.submit()
    emulator.max_qps = 1
    assert account.code(SUBMIT, T2V) == (429, 50430)
    assert account.code(SUBMIT, T2V) == (429, 50429)


def test_a_rate_limit_covers_the_last_second() -> None:
    limit = RateLimit(max_per_second=2)
    assert [limit.admit(at) for at in (0.0, 0.5, 0.9, 1.0, 1.2, 1.5)] == [
        True,
        True,
        False,
        True,
        False,
        True,
    ]
    limit.clear()
    assert limit.admit(1.5)


@pytest.mark.parametrize(
    ("req_json", "tagged"),
    [
        (LABEL, True),
        (None, False),
        ("", False),
        ("not json", False),
        ("[]", False),
        ("[" * 100_000, False),
        ('{"aigc_meta": "text"}', False),
        ('{"aigc_meta": {"producer_id": "p"}}', False),
        ('{"aigc_meta": {"producer_id": "p", "content_propagator": ""}}', False),
        ('{"aigc_meta": {"producer_id": 5, "content_propagator": "c"}}', False),
        (json.dumps({"aigc_meta": {"producer_id": "p" * 257, "content_propagator": "c"}}), False),
        (
            json.dumps({"return_url": True, "aigc_meta": {"producer_id": "p", "content_propagator": "c"}}),
            True,
        ),
    ],
)
def test_a_video_is_labelled_if_the_metadata_is_valid(
    account: Account, req_json: str | None, tagged: bool
) -> None:
    task_id = account.submit()
    account.clock.advance(10)
    assert account.query(task_id, req_json=req_json)[1]["data"]["aigc_meta_tagged"] is tagged


def test_req_json_must_be_a_text(account: Account) -> None:
    status, payload = account.query(account.submit(), req_json={"aigc_meta": {}})
    assert (status, payload["code"]) == (400, 50204)


def test_only_known_members_of_the_label_are_kept() -> None:
    meta = {"producer_id": "p", "content_propagator": "c", "other": "x"}
    kept = parse_aigc_meta({"req_json": json.dumps({"aigc_meta": meta})})
    assert kept == {"producer_id": "p", "content_propagator": "c"}


def test_the_bill_counts_all_requests_and_renders(account: Account) -> None:
    paid = account.submit(prompt="猫", frames=241, seed=7)
    account.clock.advance(10)
    open_ = account.submit()
    account.fetch(account.link(paid))
    account.fetch(account.link(paid), Authorization="HMAC-SHA256 leaked", Range="bytes=0-9")
    bill = account.emulator.bill()
    assert (bill["submits"], bill["accepted"], bill["billed"], bill["cost_cny"]) == (2, 2, 1, "2.80")
    assert (bill["queries"], bill["media_requests"], bill["media_requests_with_authorization"]) == (2, 2, 1)
    line = bill["by_task"][paid]
    assert line == {
        "req_key": KEY,
        "model": "t2v_720p",
        "prompt": "猫",
        "seed": 7,
        "duration": 10,
        "aspect_ratio": "16:9",
        "images": 0,
        "status": "done",
        "failure_code": None,
        "billed": True,
        "cost_cny": "2.80",
        "submitted_at": "2026-01-02T12:00:00Z",
        "queries": 2,
        "media_requests": 2,
        "media_downloads": 2,
        "ignored_fields": [],
    }
    assert bill["by_task"][open_]["cost_cny"] == "0.00"
    assert json.loads(json.dumps(bill)) == bill


def test_half_a_character_breaks_neither_bill_nor_picture(account: Account) -> None:
    body = json.dumps({**T2V, "prompt": "half \ud83c"}).encode()
    task_id = account.response(SUBMIT, body)[1]["data"]["task_id"]
    account.clock.advance(10)
    assert admin(account, "GET", "bill")[0] == 200
    outcome = account.fetch(account.link(task_id))
    assert isinstance(outcome, Response)
    assert outcome.status == 200


def test_an_unknown_price_is_not_billed_as_zero() -> None:
    from dataclasses import replace

    spec = replace(MODELS["t2v_720p"], price_cny_per_second=None)
    account = make_account(catalogue={"t2v_720p": spec})
    task_id = account.submit()
    account.clock.advance(10)
    bill = account.emulator.bill()
    assert (bill["billed"], bill["unpriced"], bill["cost_cny"]) == (1, 1, "0.00")
    assert bill["by_task"][task_id]["cost_cny"] is None


def test_a_reset_removes_all_but_settings_and_faults() -> None:
    account = make_account(max_qps=1, faults=[{"where": "submit", "what": "cut_before", "nth": 1}])
    account.send(SUBMIT, T2V)
    task_id = account.submit()
    account.emulator.reset()
    bill = account.emulator.bill()
    assert (bill["submits"], bill["accepted"], bill["queries"], bill["by_task"]) == (0, 0, 0, {})
    assert bill["faults"] == [{"where": "submit", "what": "cut_before", "fired": 0}]
    assert bill["peak_in_flight"] == {"total": 0, "by_req_key": {}}
    assert account.status(task_id) == "not_found"


def admin(account: Account, method: str, route: str, body: bytes = b"") -> tuple[int, Any]:
    from airflow_provider_jimeng.emulator.messages import Request

    outcome = account.emulator.handle(Request(method=method, target=f"/_emulator/{route}", body=body))
    assert isinstance(outcome, Response)
    return outcome.status, json.loads(outcome.body)


def test_the_emulators_own_routes_need_no_key(account: Account) -> None:
    account.submit()
    assert admin(account, "GET", "bill") == (200, account.emulator.bill())
    assert admin(account, "GET", "health") == (200, {"status": "ok", "now": account.clock()})
    assert admin(account, "POST", "reset") == (200, {"status": "ok"})
    assert account.emulator.bill()["accepted"] == 0
    assert admin(account, "GET", "nothing")[0] == 404
    assert admin(account, "GET", "reset")[0] == 404


def test_faults_can_be_added_and_removed_by_http(account: Account) -> None:
    fault = {"where": "submit", "what": "cut_before"}
    assert admin(account, "POST", "faults", json.dumps(fault).encode()) == (
        200,
        {"status": "ok", "faults": 1},
    )
    assert admin(account, "POST", "faults", json.dumps([fault, fault]).encode())[1]["faults"] == 3
    assert admin(account, "GET", "faults")[1][0] == {**fault, "fired": 0}
    assert admin(account, "DELETE", "faults") == (200, {"status": "ok"})
    assert admin(account, "GET", "faults") == (200, [])
    assert admin(account, "POST", "faults", b'[{"where": "moon"}]')[0] == 400
    assert admin(account, "POST", "faults", b"{")[0] == 400


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0ns"), (1e-9, "1ns"), (100.511e-6, "100.511µs"), (0.0032, "3.2ms"), (1.5, "1.5s")],
)
def test_elapsed_time_is_written_as_go_writes_it(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text


def test_every_response_has_a_new_request_id(account: Account) -> None:
    task_id = account.submit()
    ids = {account.query(task_id)[1]["request_id"] for _ in range(5)}
    assert len(ids) == 5
    assert all(re.fullmatch(r"20260102120000[0-9A-F]{18}", request_id) for request_id in ids)
