from __future__ import annotations

import asyncio
import json
import logging
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from typing import Any

import httpx
import pytest

from airflow_provider_jimeng.client.clients import AsyncJimengClient, JimengClient
from airflow_provider_jimeng.client.replies import MAX_REPLY_BYTES, ReplyBody
from airflow_provider_jimeng.client.settings import ClientSettings
from airflow_provider_jimeng.core.errors import NoReplyError, RedirectedError

WHOLE = json.dumps({"code": 10000, "data": {"status": "in_queue"}, "request_id": "2026R"}).encode()


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Host

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.close_connection = True
        self.server.answer(self)

    def log_message(self, *arguments: Any) -> None: ...


class Host(ThreadingHTTPServer):
    """An API whose answers are given by a function; it tells when it is to stop."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.answer: Callable[[Answering], None] = lambda request: None
        self.closing = threading.Event()


@pytest.fixture
def host() -> Iterator[Host]:
    server = Host()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.closing.set()
    server.shutdown()
    server.server_close()


def endless(request: Answering) -> None:
    """A page that does not end."""
    request.send_response(200)
    request.end_headers()
    try:
        while not request.server.closing.is_set():
            request.wfile.write(b"<p>" * 20_000)
    except OSError:
        return


def dripping(request: Answering) -> None:
    """An answer whose bytes come one by one, each in time."""
    request.send_response(200)
    request.send_header("Content-Length", str(len(WHOLE)))
    request.end_headers()
    try:
        for byte in WHOLE:
            request.wfile.write(bytes([byte]))
            request.server.closing.wait(0.2)
    except OSError:
        return


def dripping_head(request: Answering) -> None:
    """The same before the body."""
    try:
        for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 60:
            request.wfile.write(bytes([byte]))
            request.server.closing.wait(0.2)
    except OSError:
        return


def redirecting(request: Answering) -> None:
    """A redirect to a signed link."""
    request.send_response(302)
    request.send_header("Location", "/elsewhere?sign=SECRET")
    request.send_header("Content-Length", "0")
    request.end_headers()


def query_sync(chosen: ClientSettings) -> object:
    with JimengClient(chosen) as client:
        return client.query("jimeng_t2v_v30", "7")


def query_async(chosen: ClientSettings) -> object:
    async def query() -> object:
        async with AsyncJimengClient(chosen) as client:
            return await client.query("jimeng_t2v_v30", "7")

    return asyncio.run(query())


def query_over_aiohttp(chosen: ClientSettings) -> object:
    from dataclasses import replace

    return query_async(replace(chosen, transport="aiohttp"))


def query_by_a_proxy(chosen: ClientSettings) -> object:
    """The host answers in place of another: it is the proxy."""
    from dataclasses import replace

    return query_async(replace(chosen, proxy=chosen.endpoint, endpoint="http://api.example.com/"))


WAYS = [query_sync, query_async, query_by_a_proxy] + (
    [query_over_aiohttp] if find_spec("httpx_aiohttp") else []
)


def settings_for(host: Host) -> ClientSettings:
    return ClientSettings(
        endpoint=f"http://127.0.0.1:{host.server_address[1]}/",
        access_key="AKTEST",
        secret_key="SKTEST",
        timeout_seconds=1.0,
    )


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def query(request: pytest.FixtureRequest, host: Host) -> Callable[[], object]:
    return lambda: request.param(settings_for(host))


def test_a_reply_without_end_is_cut_off_and_fills_no_memory(host: Host, query: Callable[[], object]) -> None:
    host.answer = endless
    tracemalloc.start()
    try:
        with pytest.raises(NoReplyError):
            query()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * MAX_REPLY_BYTES


def test_a_reply_that_drips_is_given_up(host: Host, query: Callable[[], object]) -> None:
    host.answer = dripping
    with pytest.raises(NoReplyError):
        query()


@pytest.mark.parametrize("way", WAYS[1:])
def test_a_head_that_drips_is_given_up_on_an_event_loop(
    host: Host, way: Callable[[ClientSettings], object]
) -> None:
    host.answer = dripping_head
    with pytest.raises(NoReplyError, match="Timeout"):
        way(settings_for(host))


def test_the_link_of_a_redirect_reaches_no_log(
    host: Host, query: Callable[[], object], caplog: pytest.LogCaptureFixture
) -> None:
    host.answer = redirecting
    with caplog.at_level(logging.DEBUG), pytest.raises(RedirectedError, match="302"):
        query()
    assert "SECRET" not in caplog.text


def test_a_body_without_a_time_limit_may_take_as_long_as_it_likes() -> None:
    body = ReplyBody(httpx.Request("POST", "http://api.example.com/"))
    body.add(b"a")
    body.add(b"b")
    assert b"".join(body.stream()) == b"ab"
