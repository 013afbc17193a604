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


def test_a_submit_cut_before_it_is_acted_on_is_not_accepted(client: Client) -> None:
    client.add("submit", "cut_before", nth=1)
    with pytest.raises(httpx.RemoteProtocolError):
        client.submit()
    assert client.accepted == 0
    assert client.emulator.bill()["refused"] == {"cut_before": 1}
    assert client.submit().status_code == 200


def test_a_submit_cut_after_it_was_accepted_is_on_the_bill(client: Client) -> None:
    client.add("submit", "cut_after", nth=2)
    client.submit()
    with pytest.raises(httpx.RemoteProtocolError):
        client.submit()
    bill = client.emulator.bill()
    assert (bill["submits"], bill["accepted"], bill["billed"], bill["refused"]) == (2, 2, 2, {})


@pytest.mark.parametrize("what", ["cut_before", "cut_after"])
def test_a_connection_can_be_reset_as_well(client: Client, what: str) -> None:
    client.add("submit", what, how="reset")
    with pytest.raises(httpx.ReadError):
        client.submit()
    assert client.accepted == (what == "cut_after")


@pytest.mark.parametrize(
    ("fields", "http_status", "code"),
    [
        ({}, 502, None),
        ({"http_status": 503}, 503, None),
        ({"code": 50500}, 500, 50500),
        ({"code": 50430, "message": "busy"}, 429, 50430),
        ({"code": 50501, "http_status": 504}, 504, 50501),
        ({"code": 99999}, 500, 99999),
        ({"code": 100018}, 429, 100018),
        ({"code": 100018, "message": "slow down"}, 429, 100018),
    ],
    ids=str,
)
@pytest.mark.parametrize("what", ["error_before", "error_after"])
def test_an_error_answers_before_or_after_acceptance(
    client: Client, what: str, fields: dict[str, Any], http_status: int, code: int | None
) -> None:
    client.add("submit", what, **fields)
    reply = client.submit()
    assert reply.status_code == http_status
    assert client.accepted == (what == "error_after")
    if code is None:
        assert reply.headers["content-type"] == "text/html"
        return
    payload = reply.json()
    error = payload.get("ResponseMetadata", {}).get("Error", {})
    assert (error.get("CodeN") or payload["code"]) == code
    if "message" in fields:
        assert (error.get("Message") or payload["message"]) == fields["message"]


@pytest.mark.parametrize(("what", "accepted"), [("hang_before", 0), ("hang_after", 1)])
def test_no_answer_is_a_read_timeout(client: Client, what: str, accepted: int) -> None:
    client.add("submit", what)
    with pytest.raises(httpx.ReadTimeout):
        client.submit(timeout=0.2)
    assert client.accepted == accepted


def test_a_slow_answer_comes_late_or_too_late(client: Client) -> None:
    client.add("submit", "slow", seconds=0.3)
    started = time.monotonic()
    assert client.submit().status_code == 200
    assert time.monotonic() - started >= 0.3
    with pytest.raises(httpx.ReadTimeout):
        client.submit(timeout=0.1)
    assert client.accepted == 2


@pytest.mark.parametrize(("body", "http_status"), [("html", 200), ("half_json", 200), ("empty", 202)])
def test_garbage_is_no_json(client: Client, body: str, http_status: int) -> None:
    client.add("submit", "garbage", body=body, http_status=http_status)
    reply = client.submit()
    assert reply.status_code == http_status
    assert client.accepted == 1
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        reply.json()


def test_moderation_refuses_a_prompt_at_submit(client: Client) -> None:
    client.add("submit", "moderated", prompt_contains="cat")
    reply = client.submit("a cat")
    assert (reply.status_code, reply.json()["code"]) == (400, 50412)
    assert client.submit("a dog").status_code == 200
    assert client.emulator.bill()["refused"] == {"50412": 1}


def test_moderation_refuses_a_result_at_query(client: Client) -> None:
    client.add("render", "fail", prompt_contains="cat", code=50516)
    good, bad = (client.submit(prompt).json()["data"]["task_id"] for prompt in ("a dog", "a cat"))
    assert client.status(good) == "done"
    reply = client.query(bad)
    assert (reply.status_code, reply.json()["code"], reply.json()["data"]) == (400, 50516, None)
    assert client.emulator.bill()["billed"] == 1


def test_a_render_may_lapse_or_take_longer(client: Client) -> None:
    client.add("render", "expire", nth=1)
    client.add("render", "slow", nth=2, seconds=100)
    assert client.status(client.task()) == "expired"
    assert client.status(client.task()) == "generating"
    assert client.emulator.bill()["billed"] == 0


def test_the_nth_poll_of_each_task_fails(client: Client) -> None:
    client.add("query", "error_before", nth=2, code=50429)
    for task_id in (client.task(), client.task()):
        assert [client.query(task_id).status_code for _ in range(3)] == [200, 429, 200]


@pytest.mark.parametrize(
    ("what", "word"), [("status_word", "reviewing"), ("not_found", "not_found"), ("expired", "expired")]
)
def test_a_status_that_nobody_expects(client: Client, what: str, word: str) -> None:
    client.add("query", what, times=2)
    task_id = client.task()
    assert [client.status(task_id) for _ in range(3)] == [word, word, "done"]
    assert client.emulator.bill()["billed"] == 1


def test_done_without_a_link_for_some_polls(client: Client) -> None:
    client.add("query", "done_without_url", times=2)
    client.emulator.render_seconds = 100
    running = client.task()
    client.emulator.render_seconds = 0
    assert client.status(running) == "in_queue"
    task_id = client.task()
    data = [client.query(task_id).json()["data"] for _ in range(3)]
    assert [bool(reply["video_url"]) for reply in data] == [False, False, True]
    assert {reply["status"] for reply in data} == {"done"}


def test_a_label_that_was_not_written(client: Client) -> None:
    client.add("query", "untagged", times=1)
    label = json.dumps({"aigc_meta": {"producer_id": "p", "content_propagator": "c"}})
    task_id = client.task()
    assert client.query(task_id).json()["data"]["aigc_meta_tagged"] is False
    replies = [client.query(task_id, req_json=label).json()["data"] for _ in range(2)]
    assert [reply["aigc_meta_tagged"] for reply in replies] == [False, True]
    files = [client.http.get(reply["video_url"]).content for reply in replies]
    assert [b"AIGC" in content for content in files] == [False, True]


@pytest.mark.parametrize(
    "what", ["cut_before", "cut_after", "hang_before", "hang_after", "error_before", "error_after"]
)
@pytest.mark.parametrize("where", ["query", "cancel"])
def test_queries_and_cancels_break_as_submits_do(client: Client, where: str, what: str) -> None:
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
def test_queries_and_cancels_may_be_slow_or_garbled(client: Client, where: str) -> None:
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


def test_the_media_host_refuses_a_good_link_once(client: Client) -> None:
    client.add("media", "refuse", times=1)
    link = client.link()
    assert [client.http.get(link).status_code for _ in range(2)] == [403, 200]


def received(client: Client, link: str) -> tuple[bytes, int, bool]:
    """Return what came of a file, the length it promised, and whether the connection broke."""
    content = b""
    with client.http.stream("GET", link) as reply:
        length = int(reply.headers["content-length"])
        try:
            for chunk in reply.iter_bytes():
                content += chunk
        except httpx.RemoteProtocolError:
            return content, length, True
    return content, length, False


def test_a_file_is_cut_in_the_middle(client: Client) -> None:
    client.add("media", "cut", nth=2, fraction=0.25)
    link = client.link()
    whole, length, broken = received(client, link)
    assert (len(whole), broken) == (length, False)
    assert received(client, link) == (whole[: length // 4], length, True)


def test_a_file_is_shorter_than_it_should_be(client: Client) -> None:
    client.add("media", "truncate", nth=2, fraction=0.5)
    link = client.link()
    whole = client.http.get(link).content
    half = client.http.get(link).content
    assert half == whole[: len(whole) // 2]


def test_a_length_promises_more_than_there_is(client: Client) -> None:
    client.add("media", "wrong_length", nth=1, extra_bytes=5)
    link = client.link()
    content, length, broken = received(client, link)
    assert (len(content) + 5, broken) == (length, True)
    assert received(client, link) == (content, length - 5, False)


def test_a_range_may_be_ignored(client: Client) -> None:
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
def test_the_media_host_breaks_as_the_api_does(client: Client, fault: dict[str, Any], expected: Any) -> None:
    link = client.link()
    client.add("media", **fault)
    try:
        outcome: Any = client.http.get(link, timeout=0.3 if expected is httpx.ReadTimeout else 60).status_code
    except httpx.TransportError as error:
        outcome = type(error)
    assert outcome == expected


@pytest.mark.parametrize(
    ("where", "what"), [(where, what) for what, kind in KINDS.items() for where in kind.where]
)
def test_every_fault_of_the_table_strikes_somewhere(where: str, what: str) -> None:
    emulator = JimengEmulator(render_seconds=0)
    with httpx.Client(transport=emulator.transport()) as http:
        client = Client(emulator, http, HOST)
        task_id, link = client.task(), client.link()
        client.add(where, what)
        label = json.dumps({"aigc_meta": {"producer_id": "p", "content_propagator": "c"}})
        with contextlib.suppress(httpx.TransportError):
            client.submit(timeout=0.05)
        with contextlib.suppress(httpx.TransportError):
            client.query(task_id, timeout=0.05, req_json=label)
        emulator.render_seconds = 100
        with contextlib.suppress(httpx.TransportError):
            body = {"req_key": T2V["req_key"], "task_id": client.task() if where == "cancel" else task_id}
            client.call(CANCEL, body, timeout=0.05)
        with contextlib.suppress(httpx.TransportError):
            http.get(link, timeout=0.05)
    assert emulator.bill()["faults"][0]["fired"] > 0
