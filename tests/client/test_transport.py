# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

import httpx
import pytest

from airflow_provider_jimeng.client.async_client import AsyncJimengClient
from airflow_provider_jimeng.client.settings import ClientSettings
from airflow_provider_jimeng.client.sync_client import Exchange, JimengClient, Requests
from airflow_provider_jimeng.client.transport import (
    open_async_transport,
    open_transport,
    proxy_for,
    tls_context,
    translated,
)
from airflow_provider_jimeng.core.errors import (
    InputRejectedError,
    JimengError,
    NoReplyError,
    NotSentError,
    RedirectedError,
    SettingsError,
    UnreadableReplyError,
)
from airflow_provider_jimeng.core.parameters import RenderRequest
from airflow_provider_jimeng.core.wire import Call, certainly_not_accepted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from airflow_provider_jimeng.core.wire import SubmitReply

SECRET = "SKVERYSECRET"
REQUEST = httpx.Request(
    "POST", "https://visual.volcengineapi.com/", headers={"Authorization": f"Bearer {SECRET}"}
)
NOT_SENT = (
    httpx.ConnectError("[Errno 111] Connection refused"),
    httpx.ConnectTimeout("timed out"),
    httpx.PoolTimeout(""),
    httpx.ProxyError("407 Proxy Authentication Required"),
    httpx.UnsupportedProtocol("Request URL has an unsupported protocol 'ftp://'."),
    httpx.InvalidURL("Invalid port"),
)
NO_REPLY = (
    httpx.ReadTimeout("timed out"),
    httpx.WriteTimeout("timed out"),
    httpx.ReadError("[Errno 104] Connection reset by peer"),
    httpx.WriteError("[Errno 32] Broken pipe"),
    httpx.CloseError(""),
    httpx.RemoteProtocolError("Server disconnected without sending a response."),
    httpx.LocalProtocolError(f"Illegal header value b'Bearer {SECRET}'"),
    httpx.DecodingError("Error -3 while decompressing data"),
    httpx.TooManyRedirects("Exceeded maximum allowed redirects."),
)


def settings(**changes: object) -> ClientSettings:
    given: dict[str, object] = {"access_key": "AKTEST", "secret_key": SECRET, **changes}
    return ClientSettings(**given)  # type: ignore[arg-type]


def test_an_error_before_sending_shows_that_nothing_was_accepted() -> None:
    for error in NOT_SENT:
        ours = translated(error, "api.example.com")
        assert isinstance(ours, NotSentError)
        assert certainly_not_accepted(ours)
        assert "api.example.com" in str(ours)
        assert type(error).__name__ in str(ours)


def test_any_other_error_leaves_open_whether_a_request_was_accepted() -> None:
    for error in NO_REPLY:
        ours = translated(error, "api.example.com")
        assert isinstance(ours, NoReplyError)
        assert not certainly_not_accepted(ours)
        assert SECRET not in str(ours)


def exchange() -> Exchange:
    return Exchange(Call(action="Action", version="1", body=b""), Requests(settings()))


def every_httpx_error() -> Iterator[type[Exception]]:
    found: list[type[Exception]] = [httpx.HTTPError, httpx.InvalidURL, httpx.StreamError]
    while found:
        kind = found.pop()
        found.extend(kind.__subclasses__())
        yield kind


def test_every_error_of_httpx_becomes_one_of_ours() -> None:
    for kind in every_httpx_error():
        error = kind.__new__(kind)
        Exception.__init__(error, "text")
        with pytest.raises((NotSentError, NoReplyError)) as raised, exchange():
            raise error
        assert raised.value.__suppress_context__, f"a printed traceback would show the request: {kind}"


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(ZeroDivisionError), exchange():
        raise ZeroDivisionError


def query_sync(
    chosen: ClientSettings, handler: Callable[[httpx.Request], httpx.Response] | None = None
) -> object:
    transport = None if handler is None else httpx.MockTransport(handler)
    with JimengClient(chosen, transport=transport) as client:
        return client.query("jimeng_t2v_v30", "7")


def query_async(
    chosen: ClientSettings, handler: Callable[[httpx.Request], httpx.Response] | None = None
) -> object:
    async def query() -> object:
        transport = None if handler is None else httpx.MockTransport(handler)
        async with AsyncJimengClient(chosen, transport=transport) as client:
            return await client.query("jimeng_t2v_v30", "7")

    return asyncio.run(query())


@pytest.fixture(params=[query_sync, query_async], ids=["sync", "async"])
def query(request: pytest.FixtureRequest) -> Callable[..., object]:
    chosen: Callable[..., object] = request.param
    return chosen


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_port_nobody_listens_at_was_not_reached(query: Callable[..., object]) -> None:
    with pytest.raises(NotSentError, match=r"Cannot reach 127\.0\.0\.1:\d+ \(ConnectError"):
        query(settings(endpoint=f"http://127.0.0.1:{closed_port()}/"))


def test_a_name_nobody_knows_was_not_reached(query: Callable[..., object]) -> None:
    with pytest.raises(NotSentError):
        query(settings(endpoint="http://no-such-host.invalid/", proxy=f"http://127.0.0.1:{closed_port()}"))


def test_a_listener_that_speaks_no_tls_was_not_reached(query: Callable[..., object]) -> None:
    from airflow_provider_jimeng.emulator import JimengEmulator

    with JimengEmulator().serve() as server, pytest.raises(NotSentError, match="set schema to http"):
        query(settings(endpoint=server.url.replace("http://", "https://") + "/"))


def test_no_redirect_is_followed(query: Callable[..., object]) -> None:
    hosts = []

    def redirect(request: httpx.Request) -> httpx.Response:
        hosts.append(request.url.host)
        return httpx.Response(307, headers={"Location": "https://evil.example.com/"})

    with pytest.raises(UnreadableReplyError, match="307"):
        query(settings(), redirect)
    assert hosts == ["visual.volcengineapi.com"]


def submit_sync(chosen: ClientSettings, handler: Callable[[httpx.Request], httpx.Response]) -> SubmitReply:
    with JimengClient(chosen, transport=httpx.MockTransport(handler)) as client:
        return client.submit(RenderRequest.build(prompt="a red kite"))


def submit_async(chosen: ClientSettings, handler: Callable[[httpx.Request], httpx.Response]) -> SubmitReply:
    async def submit() -> SubmitReply:
        async with AsyncJimengClient(chosen, transport=httpx.MockTransport(handler)) as client:
            return await client.submit(RenderRequest.build(prompt="a red kite"))

    return asyncio.run(submit())


AUTHS = [{}, {"auth": "bearer", "endpoint": "https://gateway.example:8443/jimeng/"}]


LOCATIONS = {
    "https://www.example.com/x/?sign=SECRET#f": "redirects to https://www.example.com (",
    "http://user:SECRET@[2001:db8::1]:8080/SECRET": "redirects to http://[2001:db8::1]:8080 (",
    " //cdn.example.com?SECRET ": "redirects to https://cdn.example.com (",
    "/login?next=SECRET": "redirects to another path of the same host",
    "?SECRET": "redirects to another path of the same host",
    "ftp://files.example.com/SECRET": "an address that is not http(s)",
    "https://[SECRET": "an address that is not a URL",
    "https://a.example:SECRET/": "an address that is not a URL",
}


def refused_redirect(
    submit: Callable[..., object], auth: dict[str, str], http_status: int, location: str
) -> RedirectedError:
    sent = []

    def redirect(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(http_status, headers={"Location": location}, html="<html>moved</html>")

    with pytest.raises(RedirectedError) as raised:
        submit(settings(**auth), redirect)
    assert len(sent) == 1
    return raised.value


@pytest.mark.parametrize("auth", AUTHS, ids=["volc", "bearer"])
@pytest.mark.parametrize("submit", [submit_sync, submit_async])
def test_a_redirected_submit_is_certainly_not_accepted(
    submit: Callable[..., object], auth: dict[str, str]
) -> None:
    for http_status in (301, 302, 307, 308):
        error = refused_redirect(submit, auth, http_status, "https://www.example.com/")
        assert f"HTTP {http_status}" in str(error)
        assert certainly_not_accepted(error)
        assert not error.retryable


def test_a_refused_redirect_names_its_target_without_a_secret() -> None:
    for location, named in LOCATIONS.items():
        text = str(refused_redirect(submit_sync, {}, 302, location))
        assert named in text
        assert "in host of the connection" in text
        assert "SECRET" not in text


def test_a_see_other_may_point_at_the_result_of_a_submit() -> None:
    def see_other(request: httpx.Request) -> httpx.Response:
        return httpx.Response(303, headers={"Location": "/tasks/1"})

    with pytest.raises(UnreadableReplyError) as raised:
        submit_sync(settings(), see_other)
    assert not certainly_not_accepted(raised.value)


@pytest.mark.parametrize("auth", AUTHS, ids=["volc", "bearer"])
@pytest.mark.parametrize("submit", [submit_sync, submit_async])
def test_a_submit_that_is_too_large_for_a_proxy_says_what_to_do(
    submit: Callable[..., object], auth: dict[str, str]
) -> None:
    def too_large(request: httpx.Request) -> httpx.Response:
        return httpx.Response(413, html="<html>413 Request Entity Too Large</html>")

    with pytest.raises(InputRejectedError, match="Send smaller images, or http") as raised:
        submit(settings(**auth), too_large)
    assert certainly_not_accepted(raised.value)
    assert not raised.value.retryable


def test_no_cookie_is_kept(query: Callable[..., object]) -> None:
    def sets_one(request: httpx.Request) -> httpx.Response:
        assert "Cookie" not in request.headers
        return httpx.Response(200, json={"code": 10000, "data": {}}, headers={"Set-Cookie": "a=b; Path=/"})

    with JimengClient(settings(), transport=httpx.MockTransport(sets_one)) as client:
        for _ in range(2):
            client.query("jimeng_t2v_v30", "7")
    query(settings(), sets_one)


def test_the_debug_line_says_action_status_request_id_and_time_alone(
    query: Callable[..., object], caplog: pytest.LogCaptureFixture
) -> None:
    reply = {"code": 10000, "data": {"status": "in_queue"}, "request_id": "2026R"}
    with caplog.at_level(logging.DEBUG):
        query(settings(), lambda _: httpx.Response(200, json=reply))
        with pytest.raises(NoReplyError):
            query(settings(), raises(httpx.ReadTimeout("timed out")))
        with pytest.raises(Exception, match="Internal Error"):
            query(
                settings(),
                lambda _: httpx.Response(
                    500, json={"code": 50500, "message": "Internal Error", "request_id": "2026E"}
                ),
            )
    ours = [
        record.getMessage() for record in caplog.records if record.name.startswith("airflow_provider_jimeng")
    ]
    assert [line.partition(" after ")[0] for line in ours] == [
        "CVSync2AsyncGetResult: HTTP 200",
        "CVSync2AsyncGetResult: ReadTimeout",
        "CVSync2AsyncGetResult: HTTP 500",
    ]
    assert [line.partition("request id ")[2] for line in ours] == ["2026R)", "None)", "2026E)"]
    for secret in (SECRET, "AKTEST", "Signature", "task_id"):
        assert secret not in caplog.text


def raises(error: Exception) -> Callable[[httpx.Request], httpx.Response]:
    def handler(request: httpx.Request) -> httpx.Response:
        raise error

    return handler


def test_httpx_writes_no_line_per_request_of_ours_and_keeps_its_other_lines(
    query: Callable[..., object], caplog: pytest.LogCaptureFixture
) -> None:
    reply = httpx.MockTransport(lambda _: httpx.Response(200, json={"code": 10000, "data": {}}))
    with caplog.at_level(logging.INFO, logger="httpx"):
        query(settings(), reply.handler)
        assert "HTTP Request" not in caplog.text
        with httpx.Client(transport=reply) as another:
            another.get("https://example.com/")
    assert "HTTP Request: GET https://example.com/" in caplog.text


def test_a_tls_context_is_built_once() -> None:
    verify = True
    assert tls_context(verify) is tls_context(verify)
    insecure = tls_context(verify=False)
    assert insecure.verify_mode is ssl.CERT_NONE


def test_a_ca_bundle_may_be_a_file_or_a_directory(tmp_path: Path) -> None:
    import certifi

    assert isinstance(tls_context(certifi.where()), ssl.SSLContext)
    assert isinstance(tls_context(str(tmp_path)), ssl.SSLContext)
    with pytest.raises(SettingsError, match=r"^extra\.verify: .*cannot be read"):
        tls_context(str(tmp_path / "missing.pem"))


def test_every_phase_of_a_request_has_a_timeout() -> None:
    phases = Requests(settings(timeout_seconds=4.0)).timeout
    assert phases == {"connect": 4.0, "read": 4.0, "write": 4.0, "pool": 4.0}
    phases = Requests(settings()).timeout
    assert phases == {"connect": 10.0, "read": 30.0, "write": 30.0, "pool": 30.0}


@pytest.mark.parametrize(
    ("endpoint", "proxy", "used"),
    [
        ("https://visual.volcengineapi.com/", None, "http://corp.example.com:3128"),
        ("http://gw.example.com/", None, "http://all.example.com:3128"),
        ("https://direct.example.com/", None, None),
        ("http://127.0.0.1:8787/", None, None),
        ("https://visual.volcengineapi.com/", "http://own.example.com:3128", "http://own.example.com:3128"),
        ("https://direct.example.com/", "http://own.example.com:3128", "http://own.example.com:3128"),
    ],
)
def test_proxies_of_the_environment_count_unless_the_endpoint_is_local_or_a_proxy_is_given(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, proxy: str | None, used: str | None
) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "http://corp.example.com:3128")
    monkeypatch.setenv("all_proxy", "all.example.com:3128")
    monkeypatch.setenv("no_proxy", "direct.example.com")
    assert proxy_for(settings(proxy=proxy), endpoint) == used


@pytest.mark.parametrize("open_it", [open_transport, open_async_transport])
def test_a_proxy_that_httpx_cannot_use_names_the_field(open_it: Callable[[ClientSettings], object]) -> None:
    with pytest.raises(SettingsError, match=r"^extra\.proxy: .*httpx\[socks\]"):
        open_it(settings(proxy="socks5://proxy.example.com:1080"))
    with pytest.raises(SettingsError, match=r"^extra\.proxy, or .*expected a URL"):
        open_it(settings(proxy="gopher://proxy.example.com"))
    with pytest.raises(SettingsError, match=r"^extra\.verify: "):
        open_it(settings(verify="/no/such/bundle.pem"))


def test_a_client_that_is_not_open_says_how_to_use_it() -> None:
    with pytest.raises(RuntimeError, match="with block"):
        JimengClient(settings()).query("jimeng_t2v_v30", "7")


def test_a_client_may_be_closed_more_than_once() -> None:
    client = JimengClient(settings(), transport=httpx.MockTransport(lambda _: httpx.Response(200)))
    with client:
        pass
    client.__exit__()


def test_the_http_libraries_log_no_header_of_ours(
    query: Callable[..., object], caplog: pytest.LogCaptureFixture
) -> None:
    from airflow_provider_jimeng.emulator import JimengEmulator

    with JimengEmulator().serve() as server, caplog.at_level(logging.DEBUG), suppress(JimengError):
        query(settings(endpoint=f"{server.url}/"))
    lines = [r.getMessage() for r in caplog.records if r.name.startswith(("httpx", "httpcore"))]
    assert not [line for line in lines if "headers" in line]
