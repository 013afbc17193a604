# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import datetime as dt
import gzip
import ipaddress
import logging
import ssl
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from airflow_provider_jimeng.client.media import admitted_addresses, fetch_file, open_media
from airflow_provider_jimeng.client.settings import ClientSettings
from airflow_provider_jimeng.client.transport import first_reply
from airflow_provider_jimeng.core.errors import (
    JimengError,
    LandingError,
    MediaHostRefusedError,
    NoReplyError,
    NotSentError,
    SettingsError,
)
from tests.harness.media_server import MediaServer, Request, cut, dripping, raw, reply, stalled, whole

DATA = bytes(range(256)) * 1000
VENDOR = "https://visual.volcengineapi.com/"


def fetch(url: str, settings: ClientSettings, *, start: int = 0, etag: str | None = None) -> bytes:
    with open_media(url, settings=settings, start=start, etag=etag) as stream:
        return b"".join(stream.chunks)


def settings_of(server: MediaServer) -> ClientSettings:
    return ClientSettings(endpoint=server.endpoint, timeout_seconds=5)


def admitted(url: str, *, endpoint: str = VENDOR, hosts: tuple[str, ...] = ()) -> tuple[str, ...]:
    return admitted_addresses(httpx.URL(url), ClientSettings(endpoint=endpoint, media_hosts=hosts))


def test_a_download_carries_no_key_and_no_cookie() -> None:
    with MediaServer(answers=[reply(302, Location="/next", Set_Cookie="a=b"), whole(DATA)]) as server:
        assert fetch(server.url, settings_of(server)) == DATA
    first, second = server.seen
    for seen in (first, second):
        assert {name.lower() for name in seen.headers} == {"host", "user-agent", "accept", "accept-encoding"}
        assert seen.headers["Accept-Encoding"] == "identity"
    assert first.path.endswith("video.mp4?sign=SECRET")
    assert second.path == "/next"


def test_an_open_reply_tells_status_length_and_etag() -> None:
    with (
        MediaServer(answers=[whole(DATA)]) as server,
        open_media(server.url, settings=settings_of(server)) as stream,
    ):
        assert (stream.status, stream.start, stream.total, stream.etag) == (200, 0, len(DATA), '"v1"')
        assert stream.where == f"{server.endpoint}/…/video.mp4"
        assert "SECRET" not in repr(stream)


def test_a_download_goes_on_from_a_byte_if_the_file_is_the_same() -> None:
    with MediaServer(answers=[whole(DATA)]) as server:
        with open_media(server.url, settings=settings_of(server), start=1000, etag='"v1"') as stream:
            assert (stream.status, stream.start, stream.total) == (206, 1000, len(DATA))
            assert b"".join(stream.chunks) == DATA[1000:]
        with open_media(server.url, settings=settings_of(server), start=1000, etag='"v0"') as stream:
            assert (stream.status, stream.start) == (200, 0)
    assert server.seen[0].headers["If-Range"] == '"v1"'


def test_a_weak_etag_is_not_used_as_a_condition() -> None:
    with MediaServer(answers=[whole(DATA)]) as server:
        fetch(server.url, settings_of(server), start=5, etag='W/"v1"')
    assert "If-Range" not in server.seen[0].headers


@pytest.mark.parametrize(
    ("headers", "extent"),
    [
        ({"Content_Range": "bytes 5-9/10"}, (5, 10)),
        ({"Content_Range": "bytes 5-9/*"}, (5, None)),
        ({"Content_Range": "bytes */10"}, (None, 10)),
        ({"Content_Range": "lines 5-9/10"}, (None, None)),
        ({}, (None, None)),
    ],
)
def test_a_partial_reply_says_where_it_begins_or_nothing(
    headers: dict[str, str], extent: tuple[int | None, int | None]
) -> None:
    with (
        MediaServer(answers=[reply(206, b"56789", **headers)]) as server,
        open_media(server.url, settings=settings_of(server), start=5) as stream,
    ):
        assert (stream.start, stream.total) == extent


def test_a_refusal_is_yielded_and_not_raised() -> None:
    with (
        MediaServer(answers=[reply(403, b"expired")]) as server,
        open_media(server.url, settings=settings_of(server)) as stream,
    ):
        assert stream.status == 403


def test_a_video_in_an_encoding_nobody_asked_for_is_refused() -> None:
    with (
        MediaServer(answers=[reply(200, b"x", Content_Encoding="aws-chunked, br")]) as server,
        pytest.raises(LandingError, match="Content-Encoding 'br'"),
    ):
        fetch(server.url, settings_of(server))


def test_a_body_that_is_cut_is_no_reply() -> None:
    with (
        MediaServer(answers=[cut(DATA, after=500)]) as server,
        pytest.raises(NoReplyError, match=r"/…/video\.mp4 was sent"),
    ):
        fetch(server.url, settings_of(server))


@pytest.mark.parametrize("after", [0, 500])
def test_a_host_that_falls_silent_is_given_up_after_the_timeout(after: int) -> None:
    with MediaServer(answers=[stalled(DATA, after=after)]) as server:
        settings = ClientSettings(endpoint=server.endpoint, timeout_seconds=0.2)
        with pytest.raises(NoReplyError, match="ReadTimeout"):
            fetch(server.url, settings)


def test_a_host_that_speaks_no_http_is_no_reply() -> None:
    with MediaServer(answers=[raw(b"SSH-2.0-OpenSSH\r\n\r\n")]) as server, pytest.raises(NoReplyError):
        fetch(server.url, settings_of(server))


def test_a_host_that_is_not_there_was_not_reached() -> None:
    with MediaServer(answers=[whole(DATA)]) as server:
        settings, url = settings_of(server), server.url
    with pytest.raises(NotSentError, match="Cannot reach http://127"):
        fetch(url, settings)


def test_redirects_are_followed_up_to_a_limit() -> None:
    with (
        MediaServer(answers=[reply(302, Location="/a?sign=SECRET")]) as server,
        pytest.raises(LandingError, match="more than 5 redirects") as caught,
    ):
        fetch(server.url, settings_of(server))
    assert len(server.seen) == 6
    assert "SECRET" not in str(caught.value)


def test_a_redirect_without_a_target_is_an_answer() -> None:
    with (
        MediaServer(answers=[reply(302)]) as server,
        open_media(server.url, settings=settings_of(server)) as stream,
    ):
        assert stream.status == 302


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/?sign=SECRET",
        "https://10.0.0.8/internal?sign=SECRET",
        "http://[::ffff:169.254.169.254]/x?sign=SECRET",
        "//192.168.1.1/router?sign=SECRET",
        "https://user:SECRET@example.com/",
        "file:///etc/passwd?sign=SECRET",
    ],
)
def test_a_redirect_to_a_place_that_is_not_allowed_is_not_followed(location: str) -> None:
    with (
        MediaServer(answers=[reply(302, Location=location)]) as server,
        pytest.raises(MediaHostRefusedError) as caught,
    ):
        fetch(server.url, settings_of(server))
    assert len(server.seen) == 1
    assert "SECRET" not in str(caught.value)


TOKEN = "sk-gateway"


def tokens(server: MediaServer) -> list[str | None]:
    return [seen.headers.get("Authorization") for seen in server.seen]


def gateway_settings(server: MediaServer, **changes: Any) -> ClientSettings:
    given = {
        "endpoint": f"{server.endpoint}/jimeng/",
        "timeout_seconds": 5,
        "auth": "bearer",
        "secret_key": TOKEN,
        **changes,
    }
    return ClientSettings(**given)


def test_a_gateways_token_goes_along_to_its_own_links_and_nothing_else_does() -> None:
    answers = [reply(302, Location="/next", Set_Cookie="a=b"), whole(DATA)]
    with MediaServer(answers=answers) as server:
        fetch(f"{server.endpoint}/v1/videos/7/content", gateway_settings(server))
    assert tokens(server) == [f"Bearer {TOKEN}"] * 2
    names = {name.lower() for seen in server.seen for name in seen.headers}
    assert names == {"host", "user-agent", "accept", "accept-encoding", "authorization"}


def test_a_download_that_goes_on_takes_the_token_along_too() -> None:
    with MediaServer(answers=[whole(DATA)]) as server:
        fetch(server.url, gateway_settings(server), start=1000, etag='"v1"')
    assert (tokens(server), server.ranges()) == ([f"Bearer {TOKEN}"], ["bytes=1000-"])


def test_after_a_redirect_to_another_origin_the_token_stays_at_home() -> None:
    with MediaServer(answers=[whole(DATA)]) as other:
        away = reply(302, Location=other.url)
        with MediaServer(answers=[away]) as server:
            assert fetch(server.url, gateway_settings(server)) == DATA
    assert (tokens(server), tokens(other)) == ([f"Bearer {TOKEN}"], [None])


def test_the_token_does_not_come_back_from_another_origin() -> None:
    with MediaServer(answers=[whole(DATA)]) as other, MediaServer(answers=[whole(DATA)]) as server:
        server.answers = [reply(302, Location=other.url), whole(DATA)]
        other.answers = [reply(302, Location=server.url)]
        assert fetch(server.url, gateway_settings(server)) == DATA
    assert (tokens(server), tokens(other)) == ([f"Bearer {TOKEN}", None], [None])


def test_a_link_elsewhere_gets_no_token_on_any_hop() -> None:
    with MediaServer(answers=[whole(DATA)]) as server, MediaServer(answers=[reply(302)]) as other:
        other.answers = [reply(302, Location=server.url)]
        assert fetch(other.url, gateway_settings(server)) == DATA
    assert (tokens(server), tokens(other)) == ([None], [None])


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST"])
def test_another_name_of_the_same_machine_is_another_origin(host: str) -> None:
    with MediaServer(answers=[whole(DATA)]) as server:
        fetch(f"http://{host}:{server.port}/v.mp4", gateway_settings(server))
    assert tokens(server) == [None]


def test_a_host_in_capital_letters_is_the_same_origin() -> None:
    with MediaServer(answers=[whole(DATA)]) as server:
        settings = gateway_settings(server, endpoint=f"http://localhost:{server.port}/jimeng/")
        fetch(f"HTTP://LocalHost:{server.port}/v.mp4", settings)
    assert tokens(server) == [f"Bearer {TOKEN}"]


def test_a_signed_connection_sends_nothing_to_links_of_its_endpoint() -> None:
    with MediaServer(answers=[whole(DATA)]) as server:
        settings = ClientSettings(access_key="AK", secret_key=TOKEN, endpoint=f"{server.endpoint}/")
        fetch(server.url, settings)
    assert tokens(server) == [None]


def test_a_redirects_link_reaches_no_log_at_debug_level_either(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with MediaServer(answers=[reply(302, Location="/next?sign=SECRET"), whole(DATA)]) as server:
        fetch(server.url, settings_of(server))
    assert "SECRET" not in caplog.text


@pytest.mark.parametrize("url", ["https://x:port/?sign=SECRET", "https://a\0b/"])
def test_a_link_that_is_no_url_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(LandingError, match="is not a URL") as caught:
        fetch(url, ClientSettings())
    assert "SECRET" not in str(caught.value)


def test_nothing_of_a_link_reaches_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with MediaServer(answers=[reply(302, Location="/a?sign=SECRET"), whole(DATA)]) as server:
        fetch(server.url, settings_of(server))
        assert len(server.seen) == 2
    assert "SECRET" not in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        "https://93.184.216.34/v.mp4",
        "https://[2606:2800:220:1::1]/v.mp4",
        "https://[::ffff:93.184.216.34]/v.mp4",
        "https://[64:ff9b::5db8:d822]/v.mp4",
    ],
)
def test_any_public_https_host_may_serve_media(url: str) -> None:
    assert len(admitted(url)) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://93.184.216.34/v.mp4",
        "https://127.0.0.1/v.mp4",
        "https://127.1/v.mp4",
        "https://2130706433/v.mp4",
        "https://localhost/v.mp4",
        "https://0.0.0.0/v.mp4",
        "https://10.1.2.3/v.mp4",
        "https://172.16.0.1/v.mp4",
        "https://192.168.0.1/v.mp4",
        "https://169.254.169.254/v.mp4",
        "https://100.64.0.1/v.mp4",
        "https://224.0.1.1/v.mp4",
        "https://240.0.0.1/v.mp4",
        "https://[::1]/v.mp4",
        "https://[fe80::1]/v.mp4",
        "https://[fec0::1]/v.mp4",
        "https://[fd00::1]/v.mp4",
        "https://[ff0e::1]/v.mp4",
        "https://[::ffff:10.0.0.1]/v.mp4",
        "https://[64:ff9b::a00:1]/v.mp4",
        "https://[2002:a00:1::]/v.mp4",
    ],
)
def test_plain_http_and_private_addresses_are_refused(url: str) -> None:
    with pytest.raises(MediaHostRefusedError, match=r"add '.*' to media_hosts"):
        admitted(url)


def test_the_endpoints_own_host_may_be_private_and_speak_http_on_any_port() -> None:
    assert admitted("http://10.0.0.5:9000/v.mp4", endpoint="http://10.0.0.5:8787/") == ()


def test_the_endpoints_machine_may_be_named_in_another_way() -> None:
    assert admitted("http://127.0.0.1:9000/v.mp4", endpoint="http://localhost:8787/") == ("127.0.0.1",)
    with pytest.raises(MediaHostRefusedError):
        admitted("http://127.0.0.2:9000/v.mp4", endpoint="http://localhost:8787/")


@pytest.mark.parametrize(
    "entry",
    ["10.0.0.5", "10.0.0.5:9000", "10.0.0.0/24", "10.0.0.5/32", "*"],
)
def test_a_listed_host_may_be_private(entry: str) -> None:
    hosts = ("other.example.com", entry)
    if entry == "*":
        with pytest.raises(MediaHostRefusedError):
            admitted("http://10.0.0.5:9000/v.mp4", hosts=hosts)
    else:
        assert admitted("http://10.0.0.5:9000/v.mp4", hosts=hosts) in ((), ("10.0.0.5",))


def test_a_listed_port_is_that_port_only() -> None:
    assert admitted("https://10.0.0.5/v.mp4", hosts=("10.0.0.5:443",)) == ()
    assert admitted("http://[fd00::1]/v.mp4", hosts=("[fd00::1]:80",)) == ()
    with pytest.raises(MediaHostRefusedError):
        admitted("http://10.0.0.5:9001/v.mp4", hosts=("10.0.0.5:9000",))


def test_a_listed_domain_means_the_hosts_below_it() -> None:
    assert admitted("http://v3-web.cdn.internal/v.mp4", hosts=("*.cdn.internal",)) == ()
    with pytest.raises(MediaHostRefusedError):
        admitted("https://93.184.216.34/v.mp4", hosts=("*.cdn.internal",))


def test_a_list_allows_only_what_it_lists_and_a_star_adds_the_public() -> None:
    with pytest.raises(MediaHostRefusedError, match="does not list"):
        admitted("https://93.184.216.34/v.mp4", hosts=("other.example.com",))
    assert admitted("https://93.184.216.34/v.mp4", hosts=("other.example.com", "*")) == ("93.184.216.34",)


def test_a_name_that_cannot_be_looked_up_was_not_reached() -> None:
    with pytest.raises(NotSentError, match=r"no-such-host\.invalid cannot be looked up"):
        fetch("https://no-such-host.invalid/v.mp4?sign=SECRET", ClientSettings())


def test_behind_a_proxy_the_proxy_looks_names_up() -> None:
    with MediaServer(answers=[whole(DATA)]) as proxy:
        settings = ClientSettings(media_hosts=("media.invalid",), proxy=proxy.endpoint, timeout_seconds=5)
        assert fetch("http://media.invalid/v.mp4?sign=SECRET", settings) == DATA
        assert proxy.seen[0].path == "http://media.invalid/v.mp4?sign=SECRET"
        with pytest.raises(NotSentError, match="Cannot reach https://no-such-host") as caught:
            fetch("https://no-such-host.invalid/v.mp4?sign=SECRET", ClientSettings(proxy=proxy.endpoint))
    assert "SECRET" not in str(caught.value)


def test_behind_a_proxy_a_private_address_is_still_refused() -> None:
    with pytest.raises(MediaHostRefusedError):
        fetch("https://10.0.0.1/v.mp4", ClientSettings(proxy="http://127.0.0.1:9"))


def test_the_environments_proxy_is_used_unless_it_is_told_not_to(monkeypatch: pytest.MonkeyPatch) -> None:
    with MediaServer(answers=[whole(DATA)]) as proxy:
        monkeypatch.setenv("http_proxy", f"127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "direct.invalid")
        settings = ClientSettings(media_hosts=("media.invalid", "direct.invalid"), timeout_seconds=5)
        assert fetch("http://media.invalid/v.mp4", settings) == DATA
        with pytest.raises(NotSentError):
            fetch("http://direct.invalid/v.mp4", settings)
        assert len(proxy.seen) == 1


def test_a_socks_proxy_without_its_package_or_its_server_is_named() -> None:
    settings = ClientSettings(media_hosts=("media.invalid",), proxy="socks5://127.0.0.1:9", timeout_seconds=1)
    with pytest.raises((SettingsError, NotSentError)):
        fetch("http://media.invalid/v.mp4", settings)


def test_an_address_that_cannot_be_connected_to_is_followed_by_the_next() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        if request.url.host == "192.0.2.3":
            return httpx.Response(200)
        raise (
            httpx.ConnectError("refused") if request.url.host == "192.0.2.1" else httpx.ConnectTimeout("slow")
        )

    requests = [httpx.Request("GET", f"https://192.0.2.{number}/") for number in (1, 2, 3, 4)]
    assert first_reply(httpx.MockTransport(answer), requests).status_code == 200
    assert asked == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    with pytest.raises(httpx.ConnectError):
        first_reply(httpx.MockTransport(answer), requests[:1])


def test_a_certificate_is_checked_for_the_name_although_the_address_is_connected_to(tmp_path: Path) -> None:
    ca = certificate(tmp_path, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca)
    with MediaServer(answers=[whole(DATA)], tls=context) as server:
        nets = ("127.0.0.0/8", "::1/128")
        url = f"https://localhost:{server.port}/v.mp4"
        settings = ClientSettings(media_hosts=nets, verify=str(ca), timeout_seconds=5)
        assert fetch(url, settings) == DATA
        assert server.seen[0].headers["Host"] == f"localhost:{server.port}"
        for refused_url, refused in (
            (url.replace("localhost", "127.0.0.1"), settings),
            (url, ClientSettings(media_hosts=nets, timeout_seconds=5)),
        ):
            with pytest.raises(NotSentError, match="CERTIFICATE_VERIFY_FAILED"):
                fetch(refused_url, refused)
        assert fetch(url, ClientSettings(media_hosts=nets, verify=False, timeout_seconds=5)) == DATA


def test_every_failure_of_a_download_is_one_of_ours() -> None:
    answers = [cut(DATA, after=3), raw(b"\0"), raw(b""), reply(200, Content_Encoding="br")]
    with ExitStack() as stack:
        for answer in answers:
            server = stack.enter_context(MediaServer(answers=[answer]))
            with pytest.raises(JimengError):
                fetch(server.url, settings_of(server))


def certificate(folder: Path, name: str) -> Path:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(tz=dt.UTC)
    names: list[x509.GeneralName] = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("192.0.2.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


def test_a_head_that_drips_is_given_up_in_time() -> None:
    with MediaServer(answers=[dripping()]) as server, pytest.raises(NoReplyError, match="Timeout"):
        fetch(server.url, ClientSettings(endpoint=server.endpoint, timeout_seconds=0.5))


def test_a_head_that_drips_over_tls_is_given_up_in_time(tmp_path: Path) -> None:
    ca = certificate(tmp_path, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca)
    with MediaServer(answers=[dripping()], tls=context) as server:
        nets = ("127.0.0.0/8", "::1/128")
        settings = ClientSettings(media_hosts=nets, timeout_seconds=0.5, verify=str(ca))
        with pytest.raises(NoReplyError, match="Timeout"):
            fetch(f"https://localhost:{server.port}/v.mp4", settings)


@pytest.mark.parametrize(("scheme", "error"), [("http", NoReplyError), ("https", NotSentError)])
def test_a_proxy_whose_head_drips_is_given_up_in_time(scheme: str, error: type[JimengError]) -> None:
    with MediaServer(answers=[dripping()]) as server:
        settings = ClientSettings(
            timeout_seconds=0.5, proxy=server.endpoint, media_hosts=("cdn.example.com",)
        )
        with pytest.raises(error, match="Timeout"):
            fetch(f"{scheme}://cdn.example.com/1.mp4", settings)


@pytest.mark.parametrize(
    "framing",
    [b"Transfer-Encoding: chunked\r\n\r\n5;", b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\nX: "],
    ids=["within the size of a chunk", "within the trailer"],
)
def test_a_body_that_drips_without_a_byte_of_the_file_is_given_up_in_time(framing: bytes) -> None:
    answer = dripping(head=b"HTTP/1.1 200 OK\r\n" + framing)
    with MediaServer(answers=[answer]) as server, pytest.raises(NoReplyError, match="Timeout"):
        fetch(server.url, ClientSettings(endpoint=server.endpoint, timeout_seconds=0.5))


def test_a_body_that_arrives_slowly_may_take_longer_than_the_timeout() -> None:
    def slow(request: Request) -> None:
        request.begin(200, Content_Length=20)
        for _ in range(20):
            request.wfile.write(b"x")
            request.server.host.closing.wait(0.1)

    with MediaServer(answers=[slow]) as server:
        assert fetch(server.url, ClientSettings(endpoint=server.endpoint, timeout_seconds=0.5)) == b"x" * 20


@pytest.mark.parametrize("coding", ["aws-chunked", "identity", "binary", "AWS-Chunked, identity", ""])
def test_a_coding_that_changes_nothing_is_none(coding: str) -> None:
    with (
        MediaServer(answers=[reply(200, DATA, Content_Encoding=coding)]) as server,
        open_media(server.url, settings=settings_of(server)) as stream,
    ):
        assert (stream.codings, stream.total) == ((), len(DATA))
        assert b"".join(stream.chunks) == DATA


def test_a_packed_video_is_unpacked_and_has_no_length_of_its_own() -> None:
    packed = gzip.compress(DATA)
    with (
        MediaServer(answers=[reply(200, packed, Content_Encoding="aws-chunked, GZIP")]) as server,
        open_media(server.url, settings=settings_of(server)) as stream,
    ):
        assert (stream.codings, stream.total) == (("gzip",), None)
        assert b"".join(stream.chunks) == DATA


def test_a_packed_video_that_is_cut_or_broken_is_no_whole_answer() -> None:
    packed = gzip.compress(DATA)
    for body in (packed[:-4], packed[:300] + bytes(300) + packed[600:]):
        with (
            MediaServer(answers=[reply(200, body, Content_Encoding="gzip")]) as server,
            pytest.raises(NoReplyError, match=r"DecodingError: the packed body is (cut|broken)"),
        ):
            fetch(server.url, settings_of(server))


def test_a_file_is_read_to_one_byte_beyond_the_bound_and_no_key_goes_along() -> None:
    with MediaServer(answers=[reply(200, b"a" * 1_000_000)]) as server:
        assert fetch_file(server.url, 10) == (200, b"a" * 11)
        assert "Authorization" not in server.seen[0].headers


def test_the_content_of_a_refusal_is_not_read() -> None:
    with MediaServer(answers=[reply(403, b"no")]) as server:
        assert fetch_file(server.url, 10) == (403, b"")
