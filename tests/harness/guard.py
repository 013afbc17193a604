# SPDX-License-Identifier: Apache-2.0
"""Raises an error if code blocks an event loop, because a blocked loop stops every deferred task of the company."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOCKET_CALLS = ("connect", "accept", "recv", "recv_into", "recvfrom", "send", "sendall", "sendto")


class BlockingCallError(AssertionError):
    """A thread whose event loop was running made a call that waits."""


@contextmanager
def loop_guard() -> Iterator[list[str]]:
    """Replace the waiting calls of the standard library while the block runs. Yield the offences, which also raise.

    Only blocking sockets count: an event loop works with non-blocking ones and resolves names in a thread.
    """
    offences: list[str] = []
    with ExitStack() as undo:
        for owner, name in ((time, "sleep"), (socket, "getaddrinfo")):
            _replace(owner, name, _guarded_function(getattr(owner, name), name, offences), undo)
        for name in SOCKET_CALLS:
            original = getattr(socket.socket, name)
            _replace(socket.socket, name, _guarded_method(original, name, offences), undo)
        yield offences


def _replace(owner: Any, name: str, guarded: Callable[..., Any], undo: ExitStack) -> None:
    if name in vars(owner):
        undo.callback(setattr, owner, name, vars(owner)[name])
    else:
        undo.callback(delattr, owner, name)
    setattr(owner, name, guarded)


def _guarded_function(original: Callable[..., Any], name: str, offences: list[str]) -> Callable[..., Any]:
    def guarded(*arguments: Any, **options: Any) -> Any:
        _refuse_in_a_loop(f"{name}()", offences)
        return original(*arguments, **options)

    return guarded


def _guarded_method(original: Callable[..., Any], name: str, offences: list[str]) -> Callable[..., Any]:
    def guarded(self: socket.socket, *arguments: Any, **options: Any) -> Any:
        if self.gettimeout() != 0:
            _refuse_in_a_loop(f"{name}() of a blocking socket", offences)
        return original(self, *arguments, **options)

    return guarded


def _refuse_in_a_loop(what: str, offences: list[str]) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    offences.append(what)
    raise BlockingCallError(f"{what} inside a running event loop")
