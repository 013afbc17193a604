# SPDX-License-Identifier: Apache-2.0
"""The emulator behind a socket: a threading HTTP server with keep-alive that can cut connections.

That a chunked body gets 411 is a guess (L): no known client of the API sends one.
"""

from __future__ import annotations

import contextlib
import re
import selectors
import socket
import socketserver
import struct
import sys
import threading
from http.client import responses
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_jimeng.emulator.messages import ConnectionCut, NoResponse, Request, Response

if TYPE_CHECKING:
    from types import TracebackType

    from airflow_provider_jimeng.emulator.emulator import JimengEmulator

MAX_READ_BYTES = 64 * 1024 * 1024
"""A longer body is not read: the response is 413, and the connection is closed. The API's own limit is smaller."""
_LENGTH = re.compile(r"\d{1,18}", re.ASCII)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], emulator: JimengEmulator) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)
        self.emulator = emulator
        self.stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()

    def server_bind(self) -> None:
        """Bind without the base class's look-up of the host's name, which can take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection, so that it can be closed when the server stops, and serve it in a thread."""
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection and close it."""
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print the error, unless the client has closed the connection."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def end_connections(self) -> None:
        """Close all open connections, so that their threads end."""
        self.stopping.set()
        with self._open_lock:
            still_open = list(self._open)
        for connection in still_open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server
    connection: socket.socket

    def log_message(self, *_: Any) -> None:
        """Log nothing."""

    def _answer(self) -> None:
        if "transfer-encoding" in self.headers:
            self._send(Response(status=411, body=b"Length Required\n"), close=True)
            return
        length = self.headers.get("content-length", "0")
        if not _LENGTH.fullmatch(length) or int(length) > MAX_READ_BYTES:
            self._send(Response(status=413, body=b"Content Too Large\n"), close=True)
            return
        request = Request(
            method=self.command,
            target=self.path,
            headers=tuple(self.headers.items()),
            body=self.rfile.read(int(length)),
        )
        result = self.server.emulator.handle(request)
        if isinstance(result, Response):
            if result.delay_seconds:
                self.server.stopping.wait(result.delay_seconds)
            self._send(result, close=result.content_length > len(result.body))
        elif isinstance(result, NoResponse):
            self._wait_for_client(result.seconds)
            self.close_connection = True
        else:
            self._cut(result)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _answer  # noqa: N815  names that http.server looks for

    def _send(self, response: Response, *, close: bool) -> None:
        """Send the head and the body in one write."""
        lines = [f"HTTP/1.1 {response.status} {responses.get(response.status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in response.headers]
        lines.append(f"Content-Length: {response.content_length}")
        if close:
            self.close_connection = True
        lines += ["Connection: close"] if self.close_connection else []
        head = "\r\n".join((*lines, "", "")).encode("latin-1")
        self.wfile.write(head if self.command == "HEAD" else head + response.body)

    def _wait_for_client(self, seconds: float) -> None:
        """Keep the connection open until the client closes it, the time is over, or the server stops."""
        waited = 0.0
        with selectors.DefaultSelector() as selector:
            selector.register(self.connection, selectors.EVENT_READ)
            while waited < seconds and not self.server.stopping.is_set():
                if selector.select(0) and not self.connection.recv(1, socket.MSG_PEEK):
                    return
                step = min(0.05, seconds - waited)
                self.server.stopping.wait(step)
                waited += step

    def _cut(self, cut: ConnectionCut) -> None:
        self.close_connection = True
        if cut.how == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            # The server would shut the connection down in order first, so it is closed here.
            self.rfile.close()
            socket.close(self.connection.detach())


class EmulatorServer:
    """A server of an emulator. ``with emulator.serve() as server:`` starts it, and ``server.url`` is its address."""

    def __init__(self, emulator: JimengEmulator, host: str, port: int) -> None:
        self.emulator = emulator
        self._address = (host, port)
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """Return the port that it listens on."""
        return int(self._running.server_address[1])

    @property
    def url(self) -> str:
        """Return scheme, host and port."""
        host = self._address[0]
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def _running(self) -> _Server:
        if self._server is None:
            raise RuntimeError("The emulator is not being served. Use `with emulator.serve() as server:`.")
        return self._server

    def start(self) -> Self:
        """Listen, and serve in a thread.

        :raises OSError: the port is in use, or the host is not an address of this machine.
        """
        self._server = _Server(self._address, self.emulator)
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.05},
            name="jimeng-emulator",
            daemon=True,
        )
        self._thread.start()
        self.emulator.url = self.url
        return self

    def stop(self) -> None:
        """Stop serving, close all connections and free the port. A second call does nothing."""
        server, thread = self._server, self._thread
        self._server = self._thread = None
        if server is None or thread is None:
            return
        self.emulator.url = None
        server.shutdown()
        server.end_connections()
        server.server_close()
        thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
