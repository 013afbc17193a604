# SPDX-License-Identifier: Apache-2.0
"""A TCP relay that stops in the middle of an upload, so that a test can end the sender there."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self

from tests.harness.processes import LOOPBACK

_BLOCK = 64 * 1024


class Relay:
    """Passes everything on to a port, until so many bytes went there. Then it reads nothing and passes nothing on."""

    def __init__(self, target_port: int, *, silent_after: int) -> None:
        self._target_port = target_port
        self._left = silent_after
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self.silent = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        with self._lock:
            for one in self._sockets:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection((LOOPBACK, self._target_port))
            except OSError:
                return
            with self._lock:
                self._sockets += [client, server]
            threading.Thread(target=self._pump, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, False), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_BLOCK):
                if counted and not self._may_pass(len(data)):
                    return
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def _may_pass(self, count: int) -> bool:
        with self._lock:
            self._left -= count
            if self._left < 0:
                self.silent.set()
            return self._left >= 0
