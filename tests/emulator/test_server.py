# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jimeng.emulator import JimengEmulator
from tests.emulator.support import QUERY, SUBMIT, T2V, signed_headers

if TYPE_CHECKING:
    from airflow_provider_jimeng.emulator.server import EmulatorServer


@pytest.fixture
def server() -> Iterator[EmulatorServer]:
    with JimengEmulator(render_seconds=0).serve() as running:
        yield running


def test_the_official_sdk_works_over_the_socket(server: EmulatorServer) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from volcengine.visual.VisualService import VisualService

    keyring = server.emulator.keyring
    service = VisualService()
    service.set_ak(keyring.access_key)
    service.set_sk(keyring.secret_key)
    service.set_host(f"127.0.0.1:{server.port}")
    service.set_scheme("http")
    body = {**T2V, "prompt": "一只猫 🌙"}
    task_id = service.cv_sync2async_submit_task(body)["data"]["task_id"]
    response = service.cv_sync2async_get_result({"req_key": T2V["req_key"], "task_id": task_id})
    assert response["data"]["status"] == "done"
    server.emulator.render_seconds = 100
    task_id = service.cv_sync2async_submit_task(body)["data"]["task_id"]
    assert service.cv_cancel_task({"req_key": T2V["req_key"], "task_id": task_id})["code"] == 10000
    service.set_sk("wrong")
    with pytest.raises(Exception, match="SignatureDoesNotMatch"):
        service.cv_sync2async_submit_task(body)
    service.session.close()


def test_a_connection_is_kept_alive(server: EmulatorServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    own = set()
    for _ in range(3):
        connection.request("GET", "/_emulator/health")
        assert json.loads(connection.getresponse().read())["status"] == "ok"
        own.add(connection.sock.getsockname())
    assert len(own) == 1
    connection.close()


def raw(server: EmulatorServer, text: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(text)
        received = b""
        with suppress(TimeoutError):
            while chunk := connection.recv(65536):
                received += chunk
        return received


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"411"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", b"413"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", b"413"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n", b"413"),
        (b"nonsense\r\n\r\n", b"400"),
    ],
    ids=["chunked", "large", "larger", "no-number", "no-http"],
)
def test_what_cannot_be_read_is_refused_and_the_connection_closed(
    server: EmulatorServer, head: bytes, status: bytes
) -> None:
    assert status in raw(server, head).split(b"\r\n")[0]


def test_a_client_can_ask_to_close_the_connection(server: EmulatorServer) -> None:
    response = raw(server, b"HEAD /_emulator/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"Connection: close" in response
    assert response.endswith(b"\r\n\r\n")


def test_a_client_that_disconnects_causes_no_error(
    server: EmulatorServer, capfd: pytest.CaptureFixture[str]
) -> None:
    server.emulator.faults.add(where="submit", what="hang_before")
    raw_body = json.dumps(T2V).encode()
    headers = signed_headers(
        server.emulator, SUBMIT, raw_body, sent_at=time.time(), host=f"127.0.0.1:{server.port}"
    )
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    text = f"POST /?Action={SUBMIT[0]}&Version={SUBMIT[1]} HTTP/1.1\r\n{head}Content-Length: {len(raw_body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(text.encode() + raw_body)
        wait_until(lambda: server.emulator.bill()["submits"] == 1)
        connection.sendall(b"something more")
        time.sleep(0.1)
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf")
    time.sleep(0.2)
    assert capfd.readouterr() == ("", "")


def wait_until(condition: Any, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_error_in_the_emulator_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    def broken_clock() -> float:
        raise RuntimeError("no clock here")

    with JimengEmulator(clock=broken_clock).serve() as server:
        assert raw(server, b"GET /_emulator/health HTTP/1.1\r\nHost: x\r\n\r\n") == b""
        wait_until(lambda: "no clock here" in capfd.readouterr().err)


def test_stopping_closes_waiting_and_idle_connections_at_once() -> None:
    emulator = JimengEmulator(faults=[{"where": "submit", "what": "hang_before"}])
    with ExitStack() as stack:
        server = emulator.serve().start()
        idle = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        connection.request("POST", f"/?Action={SUBMIT[0]}&Version={SUBMIT[1]}", body=b"{}")
        wait_until(lambda: emulator.bill()["submits"] == 1)
        port = server.port
        server.stop()
        server.stop()
        assert idle.recv(1) == b""
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            connection.getresponse()
        connection.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


def test_a_server_has_an_address_only_while_it_runs() -> None:
    emulator = JimengEmulator()
    server = emulator.serve()
    with pytest.raises(RuntimeError, match="not being served"):
        _ = server.url
    with server:
        assert emulator.url == server.url == f"http://127.0.0.1:{server.port}"
        with pytest.raises(OSError, match="in use"):
            JimengEmulator().serve(port=server.port).start()
    assert emulator.url is None


def test_the_server_can_listen_on_ipv6() -> None:
    emulator = JimengEmulator()
    with emulator.serve("::1") as server:
        assert server.url == f"http://[::1]:{server.port}"
        connection = http.client.HTTPConnection("::1", server.port)
        connection.request("GET", "/_emulator/health")
        assert connection.getresponse().status == 200
        connection.close()


def test_hundreds_of_connections_are_served_at_once() -> None:
    emulator = JimengEmulator(render_seconds=100)
    with emulator.serve() as server:
        host = f"127.0.0.1:{server.port}"
        body = json.dumps(T2V).encode()
        submit = signed_headers(emulator, SUBMIT, body, sent_at=time.time(), host=host)
        query_body = json.dumps({"req_key": T2V["req_key"], "task_id": "1"}).encode()
        query = signed_headers(emulator, QUERY, query_body, sent_at=time.time(), host=host)
        connections = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=30) for _ in range(250)]

        def send_requests(own: list[http.client.HTTPConnection]) -> None:
            for connection in own:
                for call, raw_body, headers in ((SUBMIT, body, submit), (QUERY, query_body, query)):
                    connection.request("POST", f"/?Action={call[0]}&Version={call[1]}", raw_body, headers)
                    response = connection.getresponse()
                    statuses.append(response.status)
                    response.read()

        statuses: list[int] = []
        threads = [
            threading.Thread(target=send_requests, args=(connections[start::5],)) for start in range(5)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for connection in connections:
            connection.close()
    assert statuses == [200] * 500
    assert emulator.bill()["accepted"] == 250
