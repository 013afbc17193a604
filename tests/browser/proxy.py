# SPDX-License-Identifier: Apache-2.0
"""A plain reverse proxy: it passes requests on and knows nothing about the server behind it."""

from __future__ import annotations

import contextlib
import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"}


@contextlib.contextmanager
def forwarding_proxy(port: int, backend_port: int) -> Iterator[None]:
    """Listen on 127.0.0.1:`port` and pass everything on to `backend_port`."""

    class Handler(BaseHTTPRequestHandler):
        def forward(self) -> None:
            with contextlib.suppress(ConnectionError):  # a browser can close the connection early
                self.pass_on()

        def pass_on(self) -> None:
            backend = http.client.HTTPConnection("127.0.0.1", backend_port, timeout=120)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
            headers |= {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http"}
            backend.request(self.command, self.path, body=body, headers=headers)
            with contextlib.closing(backend):
                reply = backend.getresponse()
                content = reply.read()
            self.send_response(reply.status)
            for name, value in reply.getheaders():
                if name.lower() not in {*HOP_BY_HOP, "content-length"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_HEAD = forward  # noqa: N815  the names that the base class calls

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = False  # on leaving, wait for running requests
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
