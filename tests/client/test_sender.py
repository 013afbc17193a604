# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import gzip
import json
import logging
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from typing import Any

import httpx
import pytest

from airflow_provider_jimeng.client.async_client import AsyncJimengClient
from airflow_provider_jimeng.client.settings import ClientSettings
from airflow_provider_jimeng.client.sync_client import MAX_REPLY_BYTES, JimengClient
from airflow_provider_jimeng.core.errors import JimengError, NoReplyError, RedirectedError

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


def packed(body: bytes, codings: str, status: int = 200) -> Callable[[Answering], None]:
    """An answer that is packed although nobody asked for it."""

    def answer(request: Answering) -> None:
        request.send_response(status)
        request.send_header("Content-Encoding", codings)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        try:
            request.wfile.write(body)
        except OSError:
            return

    return answer


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


def test_a_head_that_drips_is_given_up(host: Host, query: Callable[[], object]) -> None:
    host.answer = dripping_head
    with pytest.raises(NoReplyError, match="Timeout"):
        query()


def test_no_coding_is_asked_for(host: Host, query: Callable[[], object]) -> None:
    asked: list[str | None] = []

    def answer(request: Answering) -> None:
        asked.append(request.headers.get("Accept-Encoding"))
        packed(WHOLE, "identity")(request)

    host.answer = answer
    query()
    assert asked == ["identity"]


@pytest.mark.parametrize(
    ("body", "codings"),
    [(gzip.compress(zlib.compress(WHOLE), mtime=0), "aws-chunked, deflate, X-GZIP"), (WHOLE, "br")],
    ids=["packed", "not packed"],
)
def test_a_packed_reply_is_read_all_the_same(
    host: Host, query: Callable[[], Any], body: bytes, codings: str
) -> None:
    host.answer = packed(body, codings)
    assert query().request_id == "2026R"


@cache
def bomb(layers: int) -> bytes:
    """A megabyte or less that unpacks to half a gigabyte of JSON."""
    packer = zlib.compressobj(9, wbits=31)
    head = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(b"[1]," * 262_144) + packer.flush(zlib.Z_FULL_FLUSH)
    body = (
        head + block * 500
    )  # nothing before a full flush is referred to after it, so a block can be repeated
    for _ in range(layers - 1):
        body = gzip.compress(body, 9, mtime=0)
    return body


@pytest.mark.parametrize(
    ("layers", "codings"),
    [(1, "gzip"), (3, "gzip, gzip, gzip"), (3, ", ".join(["gzip"] * 1000))],
    ids=["once", "three times", "as if a thousand times"],
)
def test_a_small_reply_that_unpacks_to_gigabytes_is_given_up_and_fills_no_memory(
    host: Host, query: Callable[[], object], layers: int, codings: str
) -> None:
    body = bomb(layers)
    assert len(body) < MAX_REPLY_BYTES
    host.answer = packed(body, codings)
    tracemalloc.start()
    try:
        with pytest.raises(NoReplyError, match=r"longer than|packed 1000 times|ReadError"):
            query()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * MAX_REPLY_BYTES


def test_a_client_with_a_transport_of_its_own_unpacks_within_the_same_bound() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(bomb(1)))

    async def query() -> object:
        async with AsyncJimengClient(chosen, transport=httpx.MockTransport(answer)) as client:
            return await client.query("jimeng_t2v_v30", "7")

    chosen = ClientSettings(endpoint="http://127.0.0.1/", access_key="AK", secret_key="SK")
    with (
        JimengClient(chosen, transport=httpx.MockTransport(answer)) as client,
        pytest.raises(NoReplyError, match="longer than"),
    ):
        client.query("jimeng_t2v_v30", "7")
    with pytest.raises(NoReplyError, match="longer than"):
        asyncio.run(query())


HARD_TO_READ = [
    b"[" * 900_000,
    b'{"data":' * 100_000,
    b'{"code": ' + b"9" * 900_000 + b"}",
    b'{"code": 1e999999999, "data": {"status": -1e999999999}}',
    b'{"code": 50411, "message": "' + b"http://" * 120_000 + b'"}',
    b'{"code": 10000, "data": {"status": "done", "video_url": "' + b"http://a, " * 90_000 + b'"}}',
]


def test_a_reply_that_is_hard_to_read_is_read_or_refused(host: Host) -> None:
    for body in HARD_TO_READ:
        host.answer = packed(body, "identity")
        with suppress(JimengError):
            query_sync(settings_for(host))


def test_the_link_of_a_redirect_reaches_no_log(
    host: Host, query: Callable[[], object], caplog: pytest.LogCaptureFixture
) -> None:
    host.answer = redirecting
    with caplog.at_level(logging.DEBUG), pytest.raises(RedirectedError, match="302"):
        query()
    assert "SECRET" not in caplog.text
