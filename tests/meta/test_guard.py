# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import socket
import time

import pytest

from tests.harness.guard import BlockingCallError, loop_guard


def test_sleeping_inside_a_running_loop_is_refused() -> None:
    async def sleeper() -> None:
        time.sleep(0)  # noqa: ASYNC251 - the very thing the guard is for

    with loop_guard() as offences, pytest.raises(BlockingCallError):
        asyncio.run(sleeper())
    assert offences == ["sleep()"]


def test_sleeping_in_a_thread_beside_the_loop_is_allowed() -> None:
    async def patient() -> None:
        await asyncio.to_thread(time.sleep, 0)

    with loop_guard() as offences:
        asyncio.run(patient())
    assert offences == []


def test_a_blocking_connect_inside_a_running_loop_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        async def caller() -> None:
            with socket.socket() as blocking:
                blocking.connect(server.getsockname())

        with loop_guard() as offences, pytest.raises(BlockingCallError):
            asyncio.run(caller())
    assert offences == ["connect() of a blocking socket"]


def test_streams_of_the_loop_itself_are_allowed() -> None:
    async def talk() -> bytes:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.read(5))
            writer.close()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"hello")
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            return answer

    with loop_guard() as offences:
        assert asyncio.run(talk()) == b"hello"
    assert offences == []


def test_the_guard_leaves_nothing_behind() -> None:
    def waiting_calls() -> tuple[object, ...]:
        return (
            time.sleep,
            socket.getaddrinfo,
            socket.socket.connect,
            socket.socket.accept,
            socket.socket.sendall,
        )

    before = waiting_calls()
    with loop_guard():
        assert not set(before) & set(waiting_calls())
    assert waiting_calls() == before
