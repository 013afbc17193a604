# SPDX-License-Identifier: Apache-2.0
"""A media host on a real socket. A test sets the answers, one for each request. The last answer is repeated."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Answer = Callable[["Request"], None]


class Request(BaseHTTPRequestHandler):
    """One request. The answers write to it."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        host = self.server.host
        with host.lock:
            host.seen.append(Seen(path=self.path, headers=dict(self.headers)))
            answer = host.answers.pop(0) if len(host.answers) > 1 else host.answers[0]
        answer(self)

    def do_CONNECT(self) -> None:
        """Answer the request that a proxy gets."""
        self.do_GET()

    def begin(self, status: int, **headers: str | int) -> None:
        """Send the status and the headers. Underscores in names become dashes."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def hang_up(self) -> None:
        """Close the connection."""
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *arguments: Any) -> None:
        """Log nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    host: MediaServer


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A request that arrived."""

    path: str
    headers: dict[str, str]


@dataclass(slots=True, kw_only=True)
class MediaServer:
    """The host, as a context. `answers` can be replaced while it runs."""

    answers: list[Answer]
    seen: list[Seen] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    tls: ssl.SSLContext | None = None
    closing: threading.Event = field(default_factory=threading.Event)
    _server: _Server = field(init=False)

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), Request)
        self._server.host = self
        if self.tls is not None:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    @property
    def endpoint(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """A link with a secret in its query, as the links of the vendor have."""
        return f"{self.endpoint}/5a5a/66ff/video.mp4?sign=SECRET"

    def ranges(self) -> list[str | None]:
        """Return the Range header of each request."""
        return [seen.headers.get("Range") for seen in self.seen]


def whole(data: bytes, etag: str = '"v1"') -> Answer:
    """Send the file, with ranges, as a correct host does."""
    return cut(data, after=len(data), etag=etag)


def cut(data: bytes, *, after: int, etag: str = '"v1"') -> Answer:
    """Send the file as `whole` does, but close the connection after so many bytes of the body."""

    def answer(request: Request) -> None:
        start = _start(request, etag)
        if start is None:
            request.begin(200, Content_Length=len(data), ETag=etag)
        elif start >= len(data):
            request.begin(416, Content_Range=f"bytes */{len(data)}", Content_Length=0)
            return
        else:
            span = f"bytes {start}-{len(data) - 1}/{len(data)}"
            request.begin(206, Content_Length=len(data) - start, Content_Range=span, ETag=etag)
        body = data[start or 0 :]
        request.wfile.write(body[:after])
        if after < len(body):
            request.hang_up()

    return answer


def without_ranges(data: bytes, *, after: int | None = None) -> Answer:
    """Send the file from its first byte, also if a range was requested. Cut it after so many bytes."""

    def answer(request: Request) -> None:
        request.begin(200, Content_Length=len(data))
        request.wfile.write(data[:after])
        if after is not None:
            request.hang_up()

    return answer


def without_length(data: bytes) -> Answer:
    """Send the file without its length. The end of the connection is the end of the file."""

    def answer(request: Request) -> None:
        request.begin(200, Connection="close")
        request.wfile.write(data)
        request.hang_up()

    return answer


def stalled(data: bytes, *, after: int) -> Answer:
    """Send the file up to a byte, and then nothing until the server stops."""

    def answer(request: Request) -> None:
        request.begin(200, Content_Length=len(data))
        request.wfile.write(data[:after])
        request.wfile.flush()
        request.server.host.closing.wait()

    return answer


def reply(status: int, body: bytes = b"", **headers: str | int) -> Answer:
    """Send a fixed reply."""

    def answer(request: Request) -> None:
        request.begin(status, Content_Length=len(body), **headers)
        request.wfile.write(body)

    return answer


def raw(data: bytes) -> Answer:
    """Send bytes that are not necessarily HTTP."""

    def answer(request: Request) -> None:
        request.wfile.write(data)
        request.hang_up()

    return answer


def _start(request: Request, etag: str) -> int | None:
    asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
    if asked is None or request.headers.get("If-Range", etag) != etag:
        return None
    return int(asked.group(1))


def dripping(*, head: bytes = b"HTTP/1.1 200 OK\r\nX: ", drops: bytes = b"x") -> Answer:
    """Send the beginning of a reply, and then one byte after the other within the timeout, until the server stops."""

    def answer(request: Request) -> None:
        request.close_connection = True
        try:
            request.wfile.write(head)
            while not request.server.host.closing.wait(0.1):
                request.wfile.write(drops)
        except OSError:
            return

    return answer
