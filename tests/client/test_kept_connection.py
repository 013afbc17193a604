from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from airflow_provider_jimeng.client.kept_connection import KeptConnection
from airflow_provider_jimeng.client.replies import MAX_REPLY_BYTES

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Peer:
    """Answers each request of each connection by the next of its answers, and counts the connections."""

    def __init__(self, *answers: bytes | Answer) -> None:
        self.answers = list(answers)
        self.connections = 0
        self.requests: list[bytes] = []
        self.url = ""

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.answers:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
                answer = self.answers.pop(0)
                if isinstance(answer, bytes):
                    self.requests.append(head + await reader.readexactly(length))
                    writer.write(answer)
                else:
                    await answer(reader, writer)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def listening(peer: Peer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Peer]:
    server = await asyncio.start_server(peer.talk, "127.0.0.1", 0, ssl=tls)
    peer.url = f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}/path?Action=A"
    try:
        yield peer
    finally:
        server.close()


def asked(url: str, *, body: bytes = b"{}", headers: Any = None, **seconds: float) -> httpx.Request:
    phases = {"connect": 5.0, "write": 5.0, "read": 5.0, **seconds}
    return httpx.Request("POST", url, content=body, headers=headers, extensions={"timeout": phases})


@asynccontextmanager
async def connection(
    url: str, *, tls: ssl.SSLContext | None = None, keepalive_seconds: float = 20.0
) -> AsyncIterator[KeptConnection]:
    kept = KeptConnection(url, tls=tls or ssl.create_default_context(), keepalive_seconds=keepalive_seconds)
    try:
        yield kept
    finally:
        await kept.aclose()


async def one(*answers: bytes | Answer, body: bytes = b"{}", **seconds: float) -> httpx.Response:
    """Ask once and return the reply."""
    async with listening(Peer(*answers)) as peer, connection(peer.url) as kept:
        return await kept.handle_async_request(asked(peer.url, body=body, **seconds))


def test_a_request_is_one_message_and_its_reply_is_whole() -> None:
    async def story() -> None:
        async with listening(Peer(OK)) as peer, connection(peer.url) as kept:
            reply = await kept.handle_async_request(
                asked(peer.url, body=b'{"a":1}', headers={"X-Date": "20260102T030405Z"})
            )
            assert (reply.status_code, reply.content) == (200, b"ok")
            head, body = peer.requests[0].split(b"\r\n\r\n")
            assert head.startswith(b"POST /path?Action=A HTTP/1.1\r\nHost: 127.0.0.1:")
            assert b"X-Date: 20260102T030405Z" in head.splitlines()
            assert body == b'{"a":1}'

    asyncio.run(story())


def test_requests_that_follow_each_other_share_the_connection() -> None:
    async def story() -> None:
        async with listening(Peer(OK, OK, OK)) as peer, connection(peer.url) as kept:
            for _ in range(3):
                await kept.handle_async_request(asked(peer.url))
            assert peer.connections == 1

    asyncio.run(story())


async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer, and end the connection as an API does that keeps none."""
    writer.write(OK)
    writer.close()


async def say_more(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer, and a little later once more without being asked."""
    writer.write(OK)
    await asyncio.sleep(0.02)
    writer.write(OK)


@pytest.mark.parametrize(
    "ending", [hang_up, say_more, OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")]
)
def test_a_connection_that_cannot_go_on_is_made_anew(ending: bytes | Answer) -> None:
    async def story() -> None:
        async with listening(Peer(ending, OK)) as peer, connection(peer.url) as kept:
            await kept.handle_async_request(asked(peer.url))
            await asyncio.sleep(0.1)
            assert (await kept.handle_async_request(asked(peer.url))).content == b"ok"
            assert peer.connections == 2

    asyncio.run(story())


def test_a_connection_that_was_idle_for_too_long_is_made_anew() -> None:
    async def story() -> None:
        async with listening(Peer(OK, OK)) as peer, connection(peer.url, keepalive_seconds=0.05) as kept:
            await kept.handle_async_request(asked(peer.url))
            await asyncio.sleep(0.1)
            await kept.handle_async_request(asked(peer.url))
            assert peer.connections == 2

    asyncio.run(story())


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK,
        hang_up,
    ],
    ids=["chunked", "early hints", "closed after it"],
)
def test_a_reply_may_come_in_any_of_the_ways_of_http(answer: bytes | Answer) -> None:
    assert asyncio.run(one(answer)).content == b"ok"


async def without_a_length(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\no")
    await asyncio.sleep(0.02)
    writer.write(b"k")
    writer.close()


def test_a_reply_without_a_length_ends_with_its_connection() -> None:
    assert asyncio.run(one(without_a_length)).content == b"ok"


async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def stop_half_way(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK[:-1])
    writer.close()


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(2)
    plain: socket.socket = writer.get_extra_info("socket")
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A head whose bytes come one by one, each in time."""
    for byte in OK:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (say_nothing, httpx.RemoteProtocolError, "without sending a response"),
        (stop_half_way, httpx.RemoteProtocolError, "incomplete|without sending complete"),
        (reset, httpx.ReadError, "reset"),
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", httpx.RemoteProtocolError, "illegal"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", httpx.RemoteProtocolError, "SWITCH"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000, httpx.RemoteProtocolError, "too long"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (MAX_REPLY_BYTES + 1), httpx.ReadError, "longer than"),
        (drip, httpx.ReadTimeout, "not whole in time"),
    ],
    ids=["nothing", "half", "reset", "no http", "another protocol", "long head", "endless", "drip"],
)
def test_what_goes_wrong_is_raised_as_httpx_does(
    answer: bytes | Answer, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        asyncio.run(one(answer, read=0.3))


def test_a_port_nobody_listens_at_and_a_name_nobody_has_are_no_connection() -> None:
    async def ask(url: str) -> None:
        async with connection(url) as kept:
            await kept.handle_async_request(asked(url))

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for url in (f"http://127.0.0.1:{port}/", "http://no-such-host.invalid/", f"http://{'x' * 64}.example/"):
        with pytest.raises(httpx.ConnectError):
            asyncio.run(ask(url))


def test_a_handshake_that_does_not_end_is_no_connection() -> None:
    async def story() -> None:
        async with listening(Peer()) as peer:
            with socket.socket() as mute:
                mute.bind(("127.0.0.1", 0))
                mute.listen()
                url = f"https://127.0.0.1:{mute.getsockname()[1]}/"
                async with connection(url) as kept:
                    with pytest.raises(httpx.ConnectTimeout):
                        await kept.handle_async_request(asked(url, connect=0.1))
            async with connection(peer.url.replace("http:", "https:")) as kept:
                with pytest.raises(httpx.ConnectError):
                    await kept.handle_async_request(asked(peer.url.replace("http:", "https:")))

    asyncio.run(story())


def certificate(folder: Path) -> Path:
    """Make a key and a certificate for 127.0.0.1 in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "both.pem"
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


def test_tls_checks_who_answers(tmp_path: Path) -> None:
    pem = certificate(tmp_path)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(pem)

    async def story() -> None:
        async with listening(Peer(OK, OK), server) as peer:
            async with connection(peer.url, tls=ssl.create_default_context(cafile=str(pem))) as kept:
                for _ in range(2):
                    assert (await kept.handle_async_request(asked(peer.url))).content == b"ok"
            assert peer.connections == 1
            async with connection(peer.url) as kept:
                with pytest.raises(httpx.ConnectError, match="certificate"):
                    await kept.handle_async_request(asked(peer.url))

    asyncio.run(story())


async def never_read(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    reader._transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.sleep(1)


async def read_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(0.3)
    await reader.readexactly(LARGE)
    writer.write(OK)


async def refuse_at_once(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
    await asyncio.sleep(0.3)


LARGE = 16 * 1024 * 1024


def test_writing_has_a_limit_of_its_own_and_reading_begins_after_it() -> None:
    body = b"x" * LARGE
    with pytest.raises(httpx.WriteTimeout):
        asyncio.run(one(never_read, body=body, write=0.2))
    assert asyncio.run(one(read_slowly, body=body, read=0.2)).content == b"ok"


def test_a_peer_that_refuses_before_it_has_read_all_is_heard() -> None:
    async def story() -> None:
        async with listening(Peer(refuse_at_once, OK)) as peer, connection(peer.url) as kept:
            reply = await kept.handle_async_request(asked(peer.url, body=b"x" * LARGE))
            assert reply.status_code == 413
            assert (await kept.handle_async_request(asked(peer.url))).status_code == 200
            assert peer.connections == 2, "what was not read is not taken for the next request"

    asyncio.run(story())


def test_a_request_that_is_left_takes_its_connection_along() -> None:
    async def story() -> None:
        async with listening(Peer(drip, OK)) as peer, connection(peer.url) as kept:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(kept.handle_async_request(asked(peer.url)), 0.1)
            assert (await kept.handle_async_request(asked(peer.url))).content == b"ok"
            assert peer.connections == 2

    asyncio.run(story())


def test_a_header_that_cannot_be_sent_is_not_quoted() -> None:
    async def story() -> None:
        async with listening(Peer(OK)) as peer, connection(peer.url) as kept:
            with pytest.raises(httpx.LocalProtocolError) as raised:
                await kept.handle_async_request(asked(peer.url, headers={"Authorization": "Bearer SECRET\n"}))
            assert "SECRET" not in str(raised.value)

    asyncio.run(story())


def test_a_request_without_limits_is_waited_for() -> None:
    async def story() -> None:
        async with listening(Peer(OK)) as peer, connection(peer.url) as kept:
            assert (
                await kept.handle_async_request(httpx.Request("POST", peer.url, content=b""))
            ).content == b"ok"

    asyncio.run(story())
