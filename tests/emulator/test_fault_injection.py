# SPDX-License-Identifier: Apache-2.0
"""Every fault, as httpx sees it: in process, and over a socket."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from airflow_provider_jimeng.emulator import JimengEmulator
from airflow_provider_jimeng.emulator.faults import KINDS
from tests.emulator.support import CANCEL, HOST, QUERY, T2V, Client


@pytest.fixture(params=["memory", "socket"])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    emulator = JimengEmulator(render_seconds=0)
    with contextlib.ExitStack() as stack:
        if request.param == "socket":
            host = stack.enter_context(emulator.serve()).url.removeprefix("http://")
            http = stack.enter_context(httpx.Client(trust_env=False))
        else:
            host, http = HOST, stack.enter_context(httpx.Client(transport=emulator.transport()))
        yield Client(emulator, http, host)


def test_a_submit_that_is_cut_before_is_not_accepted(client: Client) -> None:
    client.add("submit", "cut_before", nth=1)
    with pytest.raises(httpx.RemoteProtocolError):
        client.submit()
    assert client.accepted == 0
    assert client.emulator.bill()["refused"] == {"cut_before": 1}
    assert client.submit().status_code == 200


def test_a_submit_that_is_cut_after_is_billed(client: Client) -> None:
    client.add("submit", "cut_after", nth=2)
    client.submit()
    with pytest.raises(httpx.RemoteProtocolError):
        client.submit()
    bill = client.emulator.bill()
    assert (bill["submits"], bill["accepted"], bill["billed"], bill["refused"]) == (2, 2, 2, {})


@pytest.mark.parametrize("what", ["cut_before", "cut_after"])
def test_a_cut_can_reset_the_connection(client: Client, what: str) -> None:
    client.add("submit", what, how="reset")
    with pytest.raises(httpx.ReadError):
        client.submit()
    assert client.accepted == (what == "cut_after")


ERRORS: list[tuple[dict[str, Any], int, int | None]] = [
    ({}, 502, None),
    ({"http_status": 503}, 503, None),
    ({"code": 50500}, 500, 50500),
    ({"code": 50430, "message": "busy"}, 429, 50430),
    ({"code": 50501, "http_status": 504}, 504, 50501),
    ({"code": 99999}, 500, 99999),
    ({"code": 100018}, 429, 100018),
    ({"code": 100018, "message": "slow down"}, 429, 100018),
]
"""The fields of an error fault, and the HTTP status and the code of the response."""


@pytest.mark.parametrize("what", ["error_before", "error_after"])
def test_an_error_comes_before_or_after_the_submit_is_accepted(
    client: Client, what: str, subtests: pytest.Subtests
) -> None:
    for fields, http_status, code in ERRORS:
        with subtests.test(fields=repr(fields)):
            client.emulator.faults.clear()
            client.emulator.reset()
            client.add("submit", what, **fields)
            response = client.submit()
            assert response.status_code == http_status
            assert client.accepted == (what == "error_after")
            if code is None:
                assert response.headers["content-type"] == "text/html"
                continue
            payload = response.json()
            error = payload.get("ResponseMetadata", {}).get("Error", {})
            assert (error.get("CodeN") or payload["code"]) == code
            if "message" in fields:
                assert (error.get("Message") or payload["message"]) == fields["message"]


@pytest.mark.parametrize(("what", "accepted"), [("hang_before", 0), ("hang_after", 1)])
def test_no_response_is_a_read_timeout(client: Client, what: str, accepted: int) -> None:
    client.add("submit", what)
    with pytest.raises(httpx.ReadTimeout):
        client.submit(timeout=0.2)
    assert client.accepted == accepted


def test_a_slow_response_is_late_or_a_read_timeout(client: Client) -> None:
    client.add("submit", "slow", seconds=0.3)
    started = time.monotonic()
    assert client.submit().status_code == 200
    assert time.monotonic() - started >= 0.3
    with pytest.raises(httpx.ReadTimeout):
        client.submit(timeout=0.1)
    assert client.accepted == 2


@pytest.mark.parametrize(("body", "http_status"), [("html", 200), ("half_json", 200), ("empty", 202)])
def test_a_garbage_body_is_not_json(client: Client, body: str, http_status: int) -> None:
    client.add("submit", "garbage", body=body, http_status=http_status)
    response = client.submit()
    assert response.status_code == http_status
    assert client.accepted == 1
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        response.json()


def test_moderation_refuses_a_prompt_at_submit(client: Client) -> None:
    client.add("submit", "moderated", prompt_contains="cat")
    response = client.submit("a cat")
    assert (response.status_code, response.json()["code"]) == (400, 50412)
    assert client.submit("a dog").status_code == 200
    assert client.emulator.bill()["refused"] == {"50412": 1}


def test_moderation_refuses_a_video_at_query(client: Client) -> None:
    client.add("render", "fail", prompt_contains="cat", code=50516)
    good, bad = (client.submit(prompt).json()["data"]["task_id"] for prompt in ("a dog", "a cat"))
    assert client.status(good) == "done"
    response = client.query(bad)
    assert (response.status_code, response.json()["code"], response.json()["data"]) == (400, 50516, None)
    assert client.emulator.bill()["billed"] == 1


def test_a_render_can_expire_or_take_longer(client: Client) -> None:
    client.add("render", "expire", nth=1)
    client.add("render", "slow", nth=2, seconds=100)
    assert client.status(client.task()) == "expired"
    assert client.status(client.task()) == "generating"
    assert client.emulator.bill()["billed"] == 0


def test_the_nth_query_of_each_task_fails(client: Client) -> None:
    client.add("query", "error_before", nth=2, code=50429)
    for task_id in (client.task(), client.task()):
        assert [client.query(task_id).status_code for _ in range(3)] == [200, 429, 200]


@pytest.mark.parametrize(
    ("what", "word"), [("status_word", "reviewing"), ("not_found", "not_found"), ("expired", "expired")]
)
def test_a_query_can_return_an_unexpected_status(client: Client, what: str, word: str) -> None:
    client.add("query", what, times=2)
    task_id = client.task()
    assert [client.status(task_id) for _ in range(3)] == [word, word, "done"]
    assert client.emulator.bill()["billed"] == 1


def test_some_queries_of_a_done_render_have_no_link(client: Client) -> None:
    client.add("query", "done_without_url", times=2)
    client.emulator.render_seconds = 100
    running = client.task()
    client.emulator.render_seconds = 0
    assert client.status(running) == "in_queue"
    task_id = client.task()
    data = [client.query(task_id).json()["data"] for _ in range(3)]
    assert [bool(response["video_url"]) for response in data] == [False, False, True]
    assert {response["status"] for response in data} == {"done"}


def test_a_video_can_lack_the_requested_label(client: Client) -> None:
    client.add("query", "untagged", times=1)
    label = json.dumps({"aigc_meta": {"producer_id": "p", "content_propagator": "c"}})
    task_id = client.task()
    assert client.query(task_id).json()["data"]["aigc_meta_tagged"] is False
    responses = [client.query(task_id, req_json=label).json()["data"] for _ in range(2)]
    assert [response["aigc_meta_tagged"] for response in responses] == [False, True]
    files = [client.http.get(response["video_url"]).content for response in responses]
    assert [b"AIGC" in content for content in files] == [False, True]


@pytest.mark.parametrize(
    "what", ["cut_before", "cut_after", "hang_before", "hang_after", "error_before", "error_after"]
)
@pytest.mark.parametrize("where", ["query", "cancel"])
def test_queries_and_cancels_have_the_faults_of_submits(client: Client, where: str, what: str) -> None:
    client.emulator.render_seconds = 100
    task_id = client.task()
    client.add(where, what)
    try:
        outcome: Any = client.call(
            QUERY if where == "query" else CANCEL,
            {"req_key": T2V["req_key"], "task_id": task_id},
            timeout=0.2 if what.startswith("hang") else 60,
        ).status_code
    except httpx.TransportError as error:
        outcome = type(error)
    expected: dict[str, Any] = {"cut": httpx.RemoteProtocolError, "hang": httpx.ReadTimeout, "error": 502}
    assert outcome == expected[what.partition("_")[0]]
    cancelled = client.emulator.bill()["by_task"][task_id]["status"] == "cancelled"
    assert cancelled == (where == "cancel" and what.endswith("after"))


@pytest.mark.parametrize("where", ["query", "cancel"])
def test_queries_and_cancels_can_be_slow_or_garbage(client: Client, where: str) -> None:
    client.emulator.render_seconds = 100
    client.add(where, "slow", seconds=0.1, nth=1)
    client.add(where, "garbage", nth=1, req_key="jimeng_t2v_v30")
    call = QUERY if where == "query" else CANCEL
    started = time.monotonic()
    assert client.call(call, {"req_key": T2V["req_key"], "task_id": client.task()}).json()["code"] == 10000
    assert time.monotonic() - started >= 0.1
    client.emulator.faults.clear()
    client.add(where, "garbage")
    assert client.call(call, {"req_key": T2V["req_key"], "task_id": client.task()}).text.startswith("<html>")


def test_the_media_host_refuses_a_valid_link_once(client: Client) -> None:
    client.add("media", "refuse", times=1)
    link = client.link()
    assert [client.http.get(link).status_code for _ in range(2)] == [403, 200]


def received(client: Client, link: str) -> tuple[bytes, int, bool]:
    """Return what came of a file, the length it promised, and whether the connection broke."""
    content = b""
    with client.http.stream("GET", link) as response:
        length = int(response.headers["content-length"])
        try:
            for chunk in response.iter_bytes():
                content += chunk
        except httpx.RemoteProtocolError:
            return content, length, True
    return content, length, False


def test_a_download_is_cut_in_the_middle(client: Client) -> None:
    client.add("media", "cut", nth=2, fraction=0.25)
    link = client.link()
    whole, length, broken = received(client, link)
    assert (len(whole), broken) == (length, False)
    assert received(client, link) == (whole[: length // 4], length, True)


def test_a_truncated_file_is_shorter_than_the_whole_one(client: Client) -> None:
    client.add("media", "truncate", nth=2, fraction=0.5)
    link = client.link()
    whole = client.http.get(link).content
    half = client.http.get(link).content
    assert half == whole[: len(whole) // 2]


def test_a_content_length_can_be_greater_than_the_file(client: Client) -> None:
    client.add("media", "wrong_length", nth=1, extra_bytes=5)
    link = client.link()
    content, length, broken = received(client, link)
    assert (len(content) + 5, broken) == (length, True)
    assert received(client, link) == (content, length - 5, False)


def test_a_range_request_can_get_the_whole_file(client: Client) -> None:
    client.add("media", "no_range", nth=1)
    link = client.link()
    assert [client.http.get(link, headers={"Range": "bytes=5-"}).status_code for _ in range(2)] == [200, 206]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"what": "cut_before"}, httpx.RemoteProtocolError),
        ({"what": "hang_before"}, httpx.ReadTimeout),
        ({"what": "error_before", "code": 50500}, 500),
        ({"what": "garbage", "http_status": 206}, 206),
        ({"what": "slow", "seconds": 0.05}, 200),
    ],
    ids=lambda value: value["what"] if isinstance(value, dict) else "",
)
def test_the_media_host_has_the_faults_of_the_api(
    client: Client, fault: dict[str, Any], expected: Any
) -> None:
    link = client.link()
    client.add("media", **fault)
    try:
        outcome: Any = client.http.get(link, timeout=0.3 if expected is httpx.ReadTimeout else 60).status_code
    except httpx.TransportError as error:
        outcome = type(error)
    assert outcome == expected


def test_every_fault_of_the_table_happens_at_each_of_its_places(subtests: pytest.Subtests) -> None:
    for what, where in ((what, where) for what, kind in KINDS.items() for where in kind.where):
        with subtests.test(what=what, where=where):
            emulator = JimengEmulator(render_seconds=0)
            with httpx.Client(transport=emulator.transport()) as http:
                send_all_requests(Client(emulator, http, HOST), where, what)
            assert emulator.bill()["faults"][0]["fired"] > 0


def send_all_requests(client: Client, where: str, what: str) -> None:
    """Send one request of each kind while a fault is set."""
    task_id, link = client.task(), client.link()
    client.add(where, what)
    label = json.dumps({"aigc_meta": {"producer_id": "p", "content_propagator": "c"}})
    with contextlib.suppress(httpx.TransportError):
        client.submit(timeout=0.05)
    with contextlib.suppress(httpx.TransportError):
        client.query(task_id, timeout=0.05, req_json=label)
    client.emulator.render_seconds = 100
    with contextlib.suppress(httpx.TransportError):
        body = {"req_key": T2V["req_key"], "task_id": client.task() if where == "cancel" else task_id}
        client.call(CANCEL, body, timeout=0.05)
    with contextlib.suppress(httpx.TransportError):
        client.http.get(link, timeout=0.05)
