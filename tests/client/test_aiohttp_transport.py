from __future__ import annotations

import asyncio
import gzip
import socket
import sys
from typing import Any

import aiohttp
import httpx
import pytest

from airflow_provider_jimeng.client.aiohttp_transport import Unsure
from airflow_provider_jimeng.client.clients import AsyncJimengClient
from airflow_provider_jimeng.client.http import open_async_transport
from airflow_provider_jimeng.client.settings import ClientSettings
from airflow_provider_jimeng.core.errors import NoReplyError, SettingsError
from airflow_provider_jimeng.core.wire import certainly_not_accepted


def settings(**changes: Any) -> ClientSettings:
    return ClientSettings(**{"access_key": "AK", "secret_key": "SK", "transport": "aiohttp", **changes})


async def query(chosen: ClientSettings, transport: httpx.AsyncBaseTransport | None = None) -> Any:
    async with AsyncJimengClient(chosen, transport=transport) as client:
        return await client.query("jimeng_t2v_v30", "7")


def test_even_a_port_nobody_listens_at_is_not_taken_for_certainly_unsent() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(NoReplyError) as raised:
        asyncio.run(query(settings(endpoint=f"http://127.0.0.1:{port}/")))
    assert not certainly_not_accepted(raised.value)


async def spoken(line: bytes) -> Any:
    """Ask a peer that answers every request with the same bytes."""

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(line)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(peer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        return await query(settings(endpoint=f"http://127.0.0.1:{port}/"))


def test_a_peer_that_speaks_no_http_is_an_answer_that_never_came() -> None:
    with pytest.raises(NoReplyError):
        asyncio.run(spoken(b"SSH-2.0-OpenSSH_9.9\r\n\r\n"))


def test_a_compressed_reply_is_unpacked_once() -> None:
    body = gzip.compress(b'{"code":10000,"data":{"status":"generating"}}')
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert asyncio.run(spoken(head + body)).status_word == "generating"


class Failing(httpx.AsyncBaseTransport):
    def __init__(self, error: Exception) -> None:
        self.error = error

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectTimeout("Server disconnected"),
        httpx.ConnectError("refused"),
        httpx.ProxyError("refused"),
        httpx.UnsupportedProtocol("what"),
        httpx.ReadTimeout("late"),
        aiohttp.ClientError("odd"),
        OSError("odd"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_nothing_that_goes_wrong_is_taken_for_unsent(error: Exception) -> None:
    transport = Unsure(Failing(error), (aiohttp.ClientError, OSError))
    with pytest.raises(NoReplyError, match=type(error).__name__):
        asyncio.run(query(settings(), transport))


def test_the_two_transports_are_not_shared() -> None:
    async def story() -> None:
        async with (
            AsyncJimengClient(settings()) as one,
            AsyncJimengClient(settings(transport="httpx")) as other,
        ):
            assert one._channel._line is not other._channel._line

    asyncio.run(story())


def test_a_proxy_of_the_connection_is_used() -> None:
    for proxy in (None, "http://proxy.example.com:3128"):
        transport = open_async_transport(settings(proxy=proxy))
        assert isinstance(transport, Unsure)
        inner: Any = transport._inner
        used = inner._inner.proxy
        assert (str(used.url) if used else None) == proxy


def test_without_the_extra_the_field_and_the_remedy_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx_aiohttp", None)
    with pytest.raises(SettingsError, match=r"^extra\.transport: .*\[aiohttp\]"):
        open_async_transport(settings())
