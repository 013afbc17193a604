# SPDX-License-Identifier: Apache-2.0
"""A mail server that keeps the mails that it gets."""

from __future__ import annotations

import email
import json
import socketserver
import threading
from contextlib import contextmanager
from email import policy
from typing import TYPE_CHECKING, Any

from tests.harness.processes import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import EmailMessage


class MailServer(socketserver.ThreadingTCPServer):
    """Accepts each mail that it is sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((LOOPBACK, 0), _Session)
        self.mails: list[EmailMessage] = []

    @property
    def connection(self) -> str:
        """The Airflow connection to this server, as JSON."""
        extra = {"disable_ssl": True, "disable_tls": True, "timeout": 30, "retry_limit": 1}
        return json.dumps(
            {"conn_type": "smtp", "host": LOOPBACK, "port": self.server_address[1], "extra": extra}
        )


class _Session(socketserver.StreamRequestHandler):
    server: Any

    def handle(self) -> None:
        self._say("220 ready")
        for line in self.rfile:
            verb = line[:4].upper()
            if verb == b"DATA":
                self._say("354 go on")
                content = b"".join(iter(self.rfile.readline, b".\r\n"))
                self.server.mails.append(email.message_from_bytes(content, policy=policy.default))
            self._say("221 bye" if verb == b"QUIT" else "250 fine")
            if verb == b"QUIT":
                return

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


@contextmanager
def mail_server() -> Iterator[MailServer]:
    """Serve until the block ends."""
    with MailServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
