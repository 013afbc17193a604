# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import json
import logging
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import httpx
import pendulum
import pytest

from airflow_provider_jimeng.client.auth import (
    BearerAuth,
    Credentials,
    Scope,
    Signer,
    VolcAuth,
    auth_for,
    sign,
)
from airflow_provider_jimeng.client.settings import ClientSettings

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = Credentials(access_key="AKTEST", secret_key="SKTEST", session_token="STS")
SCOPE = Scope(region="cn-north-1", service="cv")
NOW = pendulum.datetime(2026, 1, 2, 3, 4, 5)
URL = "https://visual.volcengineapi.com/?Action=CVSync2AsyncGetResult&Version=2022-08-31"
BODY = b'{"task_id":"7"}'
QUEUED = httpx.Response(200, json={"code": 10000, "data": {"status": "in_queue"}, "request_id": "r"})


def clock_refusal(server: pendulum.DateTime | None) -> httpx.Response:
    error = {"CodeN": 100006, "Code": "InvalidTimestamp", "Message": "expired"}
    headers = {} if server is None else {"Date": formatdate(server.timestamp(), usegmt=True)}
    return httpx.Response(400, json={"ResponseMetadata": {"RequestId": "r", "Error": error}}, headers=headers)


class Server:
    """Answers with the replies it is given, one after the other, and keeps what it was sent."""

    def __init__(self, *replies: httpx.Response) -> None:
        self.replies = list(replies)
        self.seen: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(
            httpx.Request(request.method, request.url, headers=request.headers.raw, content=request.content)
        )
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        return httpx.Response(reply.status_code, content=reply.content, headers=reply.headers)


def post_sync(server: Server, auth: httpx.Auth, url: str = URL) -> httpx.Response:
    with httpx.Client(transport=httpx.MockTransport(server)) as client:
        return client.post(url, content=BODY, headers={"Content-Type": "application/json"}, auth=auth)


def post_async(server: Server, auth: httpx.Auth, url: str = URL) -> httpx.Response:
    async def post() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.MockTransport(server)) as client:
            return await client.post(
                url, content=BODY, headers={"Content-Type": "application/json"}, auth=auth
            )

    return asyncio.run(post())


@pytest.fixture(params=[post_sync, post_async], ids=["sync", "async"])
def post(request: pytest.FixtureRequest) -> Callable[..., httpx.Response]:
    chosen: Callable[..., httpx.Response] = request.param
    return chosen


def expected(**changes: Any) -> dict[str, str]:
    arguments: dict[str, Any] = {
        "method": "POST",
        "host": "visual.volcengineapi.com",
        "path": "/",
        "query": "Action=CVSync2AsyncGetResult&Version=2022-08-31",
        "content_type": "application/json",
        "body": BODY,
        "credentials": SECRET,
        "scope": SCOPE,
        "x_date": "20260102T030405Z",
    }
    return sign(**{**arguments, **changes})


def test_what_is_sent_is_what_is_signed(post: Callable[..., httpx.Response]) -> None:
    server = Server(QUEUED)
    post(server, VolcAuth(Signer(SECRET, SCOPE), NOW.timestamp))
    (sent,) = server.seen
    for name, value in expected().items():
        assert sent.headers[name] == value
    assert sent.headers["X-Security-Token"] == "STS"


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("http://localhost:8787/?Action=a&Version=b", "localhost:8787", "/"),
        ("http://gw.example.com:443/?Action=a&Version=b", "gw.example.com", "/"),
        ("https://gw.example.com/base/v1/?Version=b&Action=a", "gw.example.com", "/base/v1/"),
        ("https://gw.example.com/a%20b?Action=a&Version=b", "gw.example.com", "/a%20b"),
    ],
)
def test_host_and_path_are_signed_as_they_are_sent(
    post: Callable[..., httpx.Response], url: str, host: str, path: str
) -> None:
    server = Server(QUEUED)
    post(server, VolcAuth(Signer(SECRET, SCOPE), NOW.timestamp), url)
    (sent,) = server.seen
    assert sent.headers["Host"] == host
    signed = expected(host=host, path=path, query="Action=a&Version=b")
    assert sent.headers["Authorization"] == signed["Authorization"]


def test_a_skewed_clock_is_corrected_once_and_remembered(
    post: Callable[..., httpx.Response], caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(clock_refusal(NOW.add(hours=2)), QUEUED)
    auth = VolcAuth(Signer(SECRET, SCOPE), NOW.timestamp)
    with caplog.at_level(logging.WARNING):
        assert post(server, auth).status_code == 200
    assert [sent.headers["X-Date"] for sent in server.seen] == ["20260102T030405Z", "20260102T050405Z"]
    assert auth.offset_seconds == 7200
    assert "by -7200 s" in caplog.text
    post(server, auth)
    assert server.seen[2].headers["X-Date"] == "20260102T050405Z"


def test_a_clock_that_is_refused_again_is_not_tried_a_third_time(post: Callable[..., httpx.Response]) -> None:
    server = Server(clock_refusal(NOW.add(hours=2)))
    assert post(server, VolcAuth(Signer(SECRET, SCOPE), NOW.timestamp)).status_code == 400
    assert len(server.seen) == 2


@pytest.mark.parametrize("date", [None, "no date at all"])
def test_without_the_servers_date_nothing_is_sent_again(
    post: Callable[..., httpx.Response], date: str | None
) -> None:
    refusal = clock_refusal(None)
    if date is not None:
        refusal.headers["Date"] = date
    server = Server(refusal)
    assert post(server, VolcAuth(Signer(SECRET, SCOPE), NOW.timestamp)).status_code == 400
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "reply",
    [
        httpx.Response(
            401, json={"ResponseMetadata": {"Error": {"CodeN": 100010, "Code": "SignatureDoesNotMatch"}}}
        ),
        httpx.Response(500, json={"code": 50500, "message": "Internal Error", "data": None}),
        httpx.Response(502, text="<html>"),
        httpx.Response(404, json={"code": "task_not_exist", "message": "", "data": None}),
    ],
    ids=["signature", "server", "html", "missing"],
)
def test_no_other_refusal_is_sent_again(post: Callable[..., httpx.Response], reply: httpx.Response) -> None:
    reply.headers["Date"] = formatdate(NOW.add(hours=2).timestamp(), usegmt=True)
    server = Server(reply)
    assert post(server, VolcAuth(Signer(SECRET, SCOPE), NOW.timestamp)).status_code == reply.status_code
    assert len(server.seen) == 1


def test_a_gateway_gets_its_token_and_no_signature(post: Callable[..., httpx.Response]) -> None:
    server = Server(QUEUED)
    post(server, BearerAuth("sk-token"))
    (sent,) = server.seen
    assert sent.headers["Authorization"] == "Bearer sk-token"
    assert "X-Date" not in sent.headers


def test_the_settings_choose_the_authentication() -> None:
    volc = auth_for(ClientSettings(access_key="AK", secret_key="SK"))
    assert isinstance(volc, VolcAuth)
    bearer = auth_for(ClientSettings(auth="bearer", secret_key="sk-token"))
    assert isinstance(bearer, BearerAuth)


def test_no_secret_shows_in_a_repr() -> None:
    for auth in (VolcAuth(Signer(SECRET, SCOPE)), BearerAuth("sk-token")):
        assert "SKTEST" not in repr(auth)
        assert "sk-token" not in repr(auth)


def test_the_vendors_sdk_verifies_what_leaves(post: Callable[..., httpx.Response]) -> None:
    """The other direction: the official signer recomputes the signature from the request as it was received."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from volcengine.auth.SignerV4 import SignerV4
        from volcengine.auth.SignParam import SignParam
        from volcengine.Credentials import Credentials as OfficialCredentials

    server = Server(QUEUED)
    post(server, VolcAuth(Signer(SECRET, SCOPE), NOW.timestamp))
    (sent,) = server.seen
    param = SignParam()
    param.host, param.method, param.path = sent.headers["Host"], sent.method, sent.url.path
    param.body, param.query = sent.content, dict(sent.url.params)
    param.header_list = {"Content-Type": sent.headers["Content-Type"], "Host": sent.headers["Host"]}
    param.date = pendulum.from_format(sent.headers["X-Date"], "YYYYMMDD[T]HHmmss[Z]")
    param.is_sign_url = False
    official = OfficialCredentials("AKTEST", "SKTEST", "cv", "cn-north-1", "STS")
    assert SignerV4.sign_only(param, official).authorization == sent.headers["Authorization"]
    assert json.loads(sent.content) == {"task_id": "7"}
