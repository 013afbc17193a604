# SPDX-License-Identifier: Apache-2.0
"""Which connection a call uses, against a server that closes connections as its tests say."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_jimeng.client.async_client import AsyncJimengClient
from airflow_provider_jimeng.client.settings import ClientSettings
from airflow_provider_jimeng.client.sync_client import JimengClient
from airflow_provider_jimeng.core.errors import NoReplyError, NotSentError
from airflow_provider_jimeng.core.parameters import RenderRequest
from airflow_provider_jimeng.core.wire import certainly_not_accepted
from tests.client.test_media import certificate

KEY = "jimeng_t2v_v30"
REPLY = json.dumps(
    {"code": 10000, "data": {"status": "generating", "task_id": "7"}, "request_id": "r"}
).encode()
RENDER = RenderRequest.build(prompt="a red kite")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        self.answered = 0
        with self.server.lock:
            self.server.connections += 1

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.closes_after is not None and self.answered >= self.server.closes_after:
            self.connection.shutdown(socket.SHUT_RDWR)  # The request arrives and the connection ends.
            self.close_connection = True
            return
        with self.server.lock:
            self.server.actions.append(self.path.partition("Action=")[2].partition("&")[0])
        self.answered += 1
        self.server.answer(self)

    def log_message(self, *arguments: Any) -> None: ...


def whole(handler: Handler) -> None:
    """Answer a call."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(REPLY)))
    handler.end_headers()
    handler.wfile.write(REPLY)


class Server(ThreadingHTTPServer):
    """An API. ``closes_after`` is the number of requests that each connection answers before it ends."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.connections = 0
        self.closes_after: int | None = None
        self.actions: list[str] = []
        self.answer: Callable[[Handler], None] = whole
        self.half_sent = threading.Event()
        self.closing = threading.Event()

    def handle_error(self, *arguments: Any) -> None:
        """Stay quiet: a client that leaves is no error here."""


@pytest.fixture
def server() -> Iterator[Server]:
    api = Server()
    threading.Thread(target=api.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield api
    api.closing.set()
    api.shutdown()
    api.server_close()


def settings_for(server: Server, **changes: Any) -> ClientSettings:
    return replace(
        ClientSettings(
            endpoint=f"http://127.0.0.1:{server.server_address[1]}/",
            access_key="AK",
            secret_key="SK",
            timeout_seconds=10.0,
            max_requests_per_second=10_000.0,
        ),
        **changes,
    )


Call = Callable[..., Any]


def calls_sync(chosen: ClientSettings, calls: list[str], on_sent: Callable[[], None] | None = None) -> None:
    with JimengClient(chosen) as client:
        for call in calls:
            if call == "submit":
                client.submit(RENDER, on_sent=on_sent)
            else:
                client.query(KEY, "7")


def calls_async(chosen: ClientSettings, calls: list[str], on_sent: Callable[[], None] | None = None) -> None:
    async def story() -> None:
        async with AsyncJimengClient(chosen) as client:
            for call in calls:
                if call == "submit":
                    await client.submit(RENDER, on_sent=on_sent)
                else:
                    await client.query(KEY, "7")

    asyncio.run(story())


def calls_over_aiohttp(
    chosen: ClientSettings, calls: list[str], on_sent: Callable[[], None] | None = None
) -> None:
    calls_async(replace(chosen, transport="aiohttp"), calls, on_sent)


WAYS = [calls_sync, calls_async, *([calls_over_aiohttp] if find_spec("httpx_aiohttp") else [])]


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def make(request: pytest.FixtureRequest) -> Call:
    chosen: Call = request.param
    return chosen


def test_a_submit_has_its_own_connection_and_all_queries_share_one(server: Server, make: Call) -> None:
    make(settings_for(server), ["submit", *["query"] * 19])
    assert server.connections == 2


def test_a_server_that_closes_idle_connections_makes_no_submit_unknown(server: Server, make: Call) -> None:
    server.closes_after = 1
    make(settings_for(server), ["query", "submit", "query", "submit", "submit", "query"])
    assert [action for action in server.actions if action.endswith("SubmitTask")] == [
        "CVSync2AsyncSubmitTask"
    ] * 3


def test_a_query_on_a_connection_that_the_server_closed_is_sent_again(server: Server, make: Call) -> None:
    server.closes_after = 2
    make(settings_for(server), ["query"] * 6)
    assert len(server.actions) == 6
    assert server.connections == 3


@pytest.mark.parametrize("calls", [["submit"], ["query"]], ids=lambda calls: calls[0])
def test_a_request_that_breaks_on_a_new_connection_is_not_sent_again(
    server: Server, make: Call, calls: list[str]
) -> None:
    server.closes_after = 0
    with pytest.raises(NoReplyError) as raised:
        make(settings_for(server), calls)
    assert not certainly_not_accepted(raised.value)
    assert server.connections == 1


@pytest.mark.parametrize("make", [calls_sync, calls_async])
def test_a_submit_that_was_signed_again_is_not_repeated(server: Server, make: Call) -> None:
    """The second signature makes a second request of one call, and that one breaks."""

    def refuse_clock(handler: Handler) -> None:
        server.closes_after = 0
        body = json.dumps(
            {
                "ResponseMetadata": {
                    "Error": {"CodeN": 100006, "Code": "InvalidTimestamp", "Message": "expired"}
                }
            }
        ).encode()
        handler.send_response(400)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    server.answer = refuse_clock
    with pytest.raises(NoReplyError):
        make(settings_for(server), ["submit"])
    assert server.connections == 2


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("make", [calls_sync, calls_async])
def test_a_submit_counts_as_sent_when_its_first_byte_is_sent(server: Server, make: Call) -> None:
    sent: list[str] = []
    make(settings_for(server), ["submit"], lambda: sent.append("byte"))
    assert sent == ["byte"]
    nowhere = settings_for(server, endpoint=f"http://127.0.0.1:{unused_port()}/")
    with pytest.raises(NotSentError):
        make(nowhere, ["submit"], lambda: sent.append("nowhere"))
    refusing = settings_for(
        server, endpoint="https://api.example.com/", proxy=f"http://127.0.0.1:{server.server_address[1]}"
    )
    with pytest.raises(NotSentError):  # The server does not know CONNECT.
        make(refusing, ["submit"], lambda: sent.append("proxy"))
    server.closes_after = 0
    with pytest.raises(NoReplyError):
        make(settings_for(server), ["submit"], lambda: sent.append("broken"))
    assert sent == ["byte", "broken"]


def test_aiohttp_reports_no_failure_as_certainly_not_sent(server: Server) -> None:
    nowhere = settings_for(server, endpoint=f"http://127.0.0.1:{unused_port()}/")
    sent: list[str] = []
    with pytest.raises(NoReplyError) as raised:
        calls_over_aiohttp(nowhere, ["submit"], lambda: sent.append("byte"))
    assert not certainly_not_accepted(raised.value)
    assert sent == ["byte"]

    def greet(handler: Handler) -> None:
        handler.wfile.write(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")

    server.answer = greet
    with pytest.raises(NoReplyError):
        calls_over_aiohttp(settings_for(server), ["query"])


@pytest.mark.parametrize("transport", ["httpx", "aiohttp"])
def test_a_cancelled_query_leaves_no_half_read_connection(server: Server, transport: str) -> None:

    def half(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n{" % len(REPLY))
        server.half_sent.set()
        server.closing.wait()

    async def story() -> None:
        async with AsyncJimengClient(settings_for(server, transport=transport)) as client:
            await client.query(KEY, "7")
            server.answer = half
            query = asyncio.create_task(client.query(KEY, "7"))
            await asyncio.to_thread(server.half_sent.wait)
            query.cancel()
            with pytest.raises(asyncio.CancelledError):
                await query
            server.answer = whole
            assert (await client.query(KEY, "7")).status_word == "generating"
        assert server.connections == 2

    asyncio.run(story())


def test_the_kept_connection_of_a_worker_has_a_time_limit_too(server: Server) -> None:
    """The second thread must know the connection although this request did not make it."""

    def drip(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        while not server.closing.wait(0.2):
            handler.wfile.write(b"x")

    with JimengClient(settings_for(server, timeout_seconds=1.0)) as client:
        client.query(KEY, "7")
        server.answer = drip
        with pytest.raises(NoReplyError, match="ReadTimeout"):
            client.query(KEY, "7")
        assert server.connections == 1
        server.answer = whole
        assert client.query(KEY, "7").status_word == "generating"


def test_tls_checks_the_certificate_of_the_api(server: Server, make: Call, tmp_path: Path) -> None:
    ca = certificate(tmp_path, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    endpoint = f"https://localhost:{server.server_address[1]}/"
    make(settings_for(server, endpoint=endpoint, verify=str(ca)), ["submit", "query", "query"])
    assert len(server.actions) == 3
    with pytest.raises((NotSentError, NoReplyError)):
        make(settings_for(server, endpoint=endpoint), ["query"])
    assert len(server.actions) == 3


def test_a_header_that_cannot_be_sent_is_not_quoted(server: Server, make: Call) -> None:
    chosen = settings_for(server, auth="bearer", secret_key="SECRET\nX: 1")
    with pytest.raises((NoReplyError, NotSentError, ValueError)) as raised:
        make(chosen, ["query"])
    assert "SECRET" not in str(raised.value)
