# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, strategies as st

from airflow_provider_jimeng.client.auth import (
    Credentials,
    Scope,
    Signer,
    canonical_query,
    sign,
    signed_host,
    signing_key,
)

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "data" / "signing_vectors.json").read_text()
)["vectors"]
OURS = Credentials(access_key="AKTEST", secret_key="SKTEST")
SCOPE = Scope(region="cn-north-1", service="cv")


def credentials_of(vector: dict[str, Any]) -> Credentials:
    return Credentials(
        access_key=vector["access_key"],
        secret_key=vector["secret_key"],
        session_token=vector["session_token"],
    )


def scope_of(vector: dict[str, Any]) -> Scope:
    return Scope(region=vector["region"], service=vector["service"])


def arguments_of(vector: dict[str, Any]) -> dict[str, Any]:
    return {
        "method": vector["method"],
        "host": vector["host"],
        "path": vector["path"],
        "query": urlencode(vector["query"]),
        "content_type": vector["unsigned_request_headers"]["Content-Type"],
        "body": bytes.fromhex(vector["body_utf8_hex"]),
        "x_date": vector["x_date"],
    }


def test_every_vector_gives_the_published_header(subtests: pytest.Subtests) -> None:
    for vector in VECTORS:
        with subtests.test(vector=vector["name"]):
            headers = sign(**arguments_of(vector), credentials=credentials_of(vector), scope=scope_of(vector))
            assert headers["Authorization"] == vector["authorization"]
            assert headers["X-Content-Sha256"] == vector["x_content_sha256"]
            assert headers["X-Date"] == vector["x_date"]
            assert headers.get("X-Security-Token") == vector["session_token"]


def test_every_vector_gives_the_published_key(subtests: pytest.Subtests) -> None:
    for vector in VECTORS:
        with subtests.test(vector=vector["name"]):
            key = signing_key(vector["secret_key"], vector["x_date"][:8], scope_of(vector))
            assert key.hex() == vector["signing_key_hex"]


def official_signature(vector: dict[str, Any]) -> str:
    """The same request signed by the vendor's own SDK."""
    from volcengine.auth.SignerV4 import SignerV4
    from volcengine.auth.SignParam import SignParam
    from volcengine.Credentials import Credentials as OfficialCredentials

    param = SignParam()
    param.host, param.method, param.path = vector["host"], vector["method"], vector["path"]
    param.body, param.query = bytes.fromhex(vector["body_utf8_hex"]), dict(vector["query"])
    param.header_list = dict(vector["unsigned_request_headers"])
    param.date = datetime.strptime(vector["x_date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    param.is_sign_url = False
    official = OfficialCredentials(
        vector["access_key"],
        vector["secret_key"],
        vector["service"],
        vector["region"],
        vector["session_token"] or "",
    )
    return str(SignerV4.sign_only(param, official).authorization)


@pytest.mark.filterwarnings("default::SyntaxWarning")
@given(
    body=st.binary(max_size=200),
    query=st.dictionaries(st.text(min_size=1, max_size=8), st.text(min_size=1, max_size=12), max_size=4),
    host=st.sampled_from(["visual.volcengineapi.com", "localhost:8080", "a.example:443", "a.example:80"]),
    token=st.none() | st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40),
    day=st.dates(min_value=date(2000, 1, 1)),
)
def test_the_vendors_own_signer_agrees_on_any_request(
    body: bytes, query: dict[str, str], host: str, token: str | None, day: Any
) -> None:
    vector: dict[str, Any] = {
        "method": "POST",
        "host": host,
        "path": "/",
        "query": query,
        "unsigned_request_headers": {"Content-Type": "application/json", "Host": host},
        "body_utf8_hex": body.hex(),
        "access_key": "AKTEST",
        "secret_key": "SKTEST==",
        "session_token": token,
        "region": "cn-north-1",
        "service": "cv",
        "x_date": f"{day.year:04d}{day.month:02d}{day.day:02d}T030405Z",
    }
    headers = sign(**arguments_of(vector), credentials=credentials_of(vector), scope=scope_of(vector))
    assert headers["Authorization"] == official_signature(vector)


def test_the_order_of_the_query_does_not_matter() -> None:
    assert canonical_query("b=2&a=1") == canonical_query("a=1&b=2") == "a=1&b=2"


def test_a_query_is_encoded_once_however_it_was_encoded() -> None:
    assert canonical_query("Note=a+b%2fc~d%2Be") == "Note=a%20b%2Fc~d%2Be"


def test_an_empty_path_is_signed_as_the_root() -> None:
    arguments = arguments_of(VECTORS[0])
    root = sign(**arguments, credentials=OURS, scope=SCOPE)
    assert sign(**{**arguments, "path": ""}, credentials=OURS, scope=SCOPE) == root


def test_default_ports_are_left_out_of_the_signed_host(subtests: pytest.Subtests) -> None:
    cases: list[tuple[str, str]] = [
        ("a.example", "a.example"),
        ("a.example:80", "a.example"),
        ("a.example:443", "a.example"),
        ("a.example:8443", "a.example:8443"),
        ("[::1]:443", "[::1]"),
        ("[::80]", "[::80]"),
    ]
    for host, signed in cases:
        with subtests.test(host=repr(host), signed=repr(signed)):
            assert signed_host(host) == signed


def test_a_signer_changes_its_key_with_the_day_and_keeps_one() -> None:
    signer = Signer(OURS, SCOPE)
    arguments = arguments_of(VECTORS[0])
    days = ["20260102T235959Z", "20260103T000000Z", "20260102T235959Z"]
    seen = [signer.sign(**{**arguments, "x_date": day}) for day in days]
    assert seen[0] == seen[2] != seen[1]
    for day, headers in zip(days, seen, strict=True):
        assert headers == sign(**{**arguments, "x_date": day}, credentials=OURS, scope=SCOPE)


def test_no_secret_shows_in_a_repr() -> None:
    secret = Credentials(access_key="AKTEST", secret_key="top-secret", session_token="sts-token")
    signer = Signer(secret, SCOPE)
    signer.sign(**arguments_of(VECTORS[0]))
    for shown in (repr(secret), str(secret), repr(signer)):
        assert "top-secret" not in shown
        assert "sts-token" not in shown
        assert signing_key("top-secret", "20260102", SCOPE).hex() not in shown
