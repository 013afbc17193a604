# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from airflow_provider_jimeng.emulator.messages import Request, Response
from airflow_provider_jimeng.emulator.verify import Keyring, canonical_request, check_signature
from tests.emulator.support import NOON, QUERY, SUBMIT, T2V, Account, make_account

VECTORS = json.loads(
    (Path(__file__).parents[1] / "data" / "signing_vectors.json").read_text(encoding="utf-8")
)["vectors"]


def keyring_of(vector: dict[str, Any]) -> Keyring:
    return Keyring(
        access_key=vector["access_key"],
        secret_key=vector["secret_key"],
        session_token=vector["session_token"],
        region=vector["region"],
        service=vector["service"],
    )


def request_of(vector: dict[str, Any], **changes: Any) -> Request:
    headers = {
        **vector["unsigned_request_headers"],
        "X-Date": vector["x_date"],
        "X-Content-Sha256": vector["x_content_sha256"],
        "Authorization": vector["authorization"],
    }
    if vector["session_token"]:
        headers["X-Security-Token"] = vector["session_token"]
    query = "&".join(
        f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in vector["query"].items()
    )
    request = Request(
        method=vector["method"],
        target=f"{vector['path']}?{query}",
        headers=tuple(headers.items()),
        body=bytes.fromhex(vector["body_utf8_hex"]),
    )
    return replace(request, **changes)


def signed_at(vector: dict[str, Any]) -> float:
    return datetime.strptime(vector["x_date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()


def test_every_published_vector_is_accepted(subtests: pytest.Subtests) -> None:
    for vector in VECTORS:
        with subtests.test(vector=vector["name"]):
            assert check_signature(request_of(vector), keyring_of(vector), signed_at(vector)) is None


def test_the_canonical_text_is_that_of_the_vector(subtests: pytest.Subtests) -> None:
    for vector in VECTORS:
        with subtests.test(vector=vector["name"]):
            request = request_of(vector)
            names = tuple(vector["signed_headers"].split(";"))
            canonical = canonical_request(request, "/", names, vector["x_content_sha256"])
            assert canonical == vector["canonical_request"]


def test_a_changed_body_breaks_every_vector(subtests: pytest.Subtests) -> None:
    for vector in VECTORS:
        with subtests.test(vector=vector["name"]):
            request = request_of(vector, body=bytes.fromhex(vector["body_utf8_hex"]) + b" ")
            refusal = check_signature(request, keyring_of(vector), signed_at(vector))
            assert refusal is not None
            assert refusal.code == 100010


def gateway_error(account: Account, request: Request) -> tuple[int, int, str]:
    outcome = account.emulator.handle(request)
    assert isinstance(outcome, Response)
    assert dict(outcome.headers)["X-Tt-Logid"]
    metadata = json.loads(outcome.body)["ResponseMetadata"]
    assert set(metadata) == {"RequestId", "Action", "Version", "Service", "Region", "Error"}
    return outcome.status, metadata["Error"]["CodeN"], metadata["Error"]["Message"]


def with_header(request: Request, name: str, value: str | None) -> Request:
    others = tuple((key, text) for key, text in request.headers if key != name)
    return replace(request, headers=others if value is None else (*others, (name, value)))


@pytest.mark.parametrize(
    ("signing", "expected"),
    [
        ({"access_key": "AKOTHER"}, (401, 100009)),
        ({"secret_key": "wrong"}, (401, 100010)),
        ({"service": "visual"}, (404, 100007)),
        ({"region": "cn-beijing"}, (401, 100010)),
        ({"session_token": "token"}, (401, 100026)),
        ({"sent_at": NOON - 901}, (400, 100006)),
        ({"sent_at": NOON + 901}, (400, 100006)),
    ],
    ids=str,
)
def test_a_wrong_key_service_region_token_or_date_is_refused(
    signing: dict[str, Any], expected: tuple[int, int]
) -> None:
    account = make_account()
    status, code, message = gateway_error(account, account.request(SUBMIT, T2V, **signing))
    assert (status, code) == expected
    if code == 100007:
        assert message == "This service[visual] not found."
    assert account.emulator.bill()["refused"] == {str(code): 1}


@pytest.mark.parametrize("skew", [-900, 900])
def test_a_clock_that_is_fifteen_minutes_wrong_is_accepted(skew: int) -> None:
    account = make_account()
    assert account.response(SUBMIT, T2V, sent_at=NOON + skew)[1]["code"] == 10000


def test_without_a_skew_limit_any_date_is_accepted() -> None:
    account = make_account(max_skew_seconds=None)
    assert account.response(SUBMIT, T2V, sent_at=1e9)[1]["code"] == 10000


def test_x_expires_shortens_the_validity() -> None:
    account = make_account()
    account.headers["X-Expires"] = "60"
    assert account.response(SUBMIT, T2V, sent_at=NOON - 59)[1]["code"] == 10000
    assert gateway_error(account, account.request(SUBMIT, T2V, sent_at=NOON - 61))[1] == 100006


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("Authorization", None, (401, 100003)),
        ("Authorization", "  ", (401, 100003)),
        ("Authorization", "Bearer abc", (400, 100024)),
        (
            "Authorization",
            "HMAC-SHA256 Credential=a/20260102/cn-north-1/cv/request, Signature=00",
            (400, 100024),
        ),
        (
            "Authorization",
            "HMAC-SHA256 Credential=a/20260102/cn-north-1/cv/request, SignedHeaders=host",
            (401, 100005),
        ),
        ("Authorization", "HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=00", (400, 100025)),
        ("X-Date", None, (400, 100004)),
        ("X-Date", "yesterday", (400, 100006)),
        ("X-Date", "20261399T000000Z", (400, 100006)),
        ("X-Date", "20260103T000000Z", (400, 100025)),
        ("Host", "elsewhere.example", (401, 100010)),
        ("Content-Type", "application/json; charset=utf-8", (401, 100010)),
        ("Content-Type", None, (401, 100010)),
        ("X-Content-Sha256", "0" * 64, (401, 100010)),
    ],
)
def test_a_missing_or_malformed_header_is_refused(
    name: str, value: str | None, expected: tuple[int, int]
) -> None:
    account = make_account()
    request = with_header(account.request(QUERY, {"req_key": "jimeng_t2v_v30", "task_id": "1"}), name, value)
    assert gateway_error(account, request)[:2] == expected


def hand_signed(account: Account, names: tuple[str, ...], *, path: str = "/") -> Request:
    """Return a request signed without the SDK, with any headers in any order."""
    body = json.dumps(T2V).encode()
    x_date = f"{datetime.fromtimestamp(account.clock(), UTC):%Y%m%dT%H%M%SZ}"
    headers = {"host": "emulator.test", "x-date": x_date, "content-type": "application/json"}
    digest = hashlib.sha256(body).hexdigest()
    canonical = "\n".join(
        (
            "POST",
            path,
            f"Action={SUBMIT[0]}&Version={SUBMIT[1]}",
            "".join(f"{name}:{headers[name]}\n" for name in names),
            ";".join(names),
            digest,
        )
    )
    scope = f"{x_date[:8]}/cn-north-1/cv/request"
    text = f"HMAC-SHA256\n{x_date}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = account.emulator.keyring.secret_key.encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    credential = f"{account.emulator.keyring.access_key}/{scope}"
    headers["authorization"] = (
        f"HMAC-SHA256 Credential={credential}, SignedHeaders={';'.join(names)}, Signature={signature}"
    )
    headers["x-traffic-tag"] = "unsigned"
    return Request(
        method="POST",
        target=f"{path}?Action={SUBMIT[0]}&Version={SUBMIT[1]}",
        headers=tuple(headers.items()),
        body=body,
    )


@pytest.mark.parametrize(
    "names", [("host", "x-date"), ("x-date", "host"), ("x-date", "content-type", "host")], ids=";".join
)
def test_two_signed_headers_in_any_order_are_enough(names: tuple[str, ...]) -> None:
    account = make_account()
    outcome = account.emulator.handle(hand_signed(account, names))
    assert isinstance(outcome, Response)
    assert outcome.status == 200


@pytest.mark.parametrize("names", [("host",), ("x-date",)], ids=";".join)
def test_host_and_date_must_be_signed(names: tuple[str, ...]) -> None:
    account = make_account()
    assert gateway_error(account, hand_signed(account, names))[:2] == (401, 100010)


def test_an_account_with_a_session_token_needs_it() -> None:
    account = make_account(session_token="sts-token")
    assert account.response(SUBMIT, T2V)[1]["code"] == 10000
    assert gateway_error(account, account.request(SUBMIT, T2V, session_token="old"))[:2] == (401, 100026)


def test_action_in_the_body_is_a_missing_parameter() -> None:
    account = make_account()
    body = {**T2V, "Action": SUBMIT[0], "Version": SUBMIT[1]}
    assert gateway_error(account, replace(account.request(SUBMIT, body), target="/"))[:2] == (400, 100002)
    request = replace(account.request(SUBMIT, body), target=f"/?Action={SUBMIT[0]}")
    assert gateway_error(account, request) == (400, 100002, "The query string has no Version.")


def test_unknown_actions_paths_and_methods_are_refused() -> None:
    account = make_account()
    assert gateway_error(account, account.request(("CVProcess", "2022-08-31"), T2V))[:2] == (404, 100008)
    assert gateway_error(account, account.request((SUBMIT[0], "2020-01-01"), T2V))[:2] == (404, 100008)
    request = account.request(SUBMIT, T2V)
    assert gateway_error(account, replace(request, target="/api" + request.target))[:2] == (404, 100008)
    assert gateway_error(account, replace(request, method="GET"))[:2] == (405, 100020)


def test_the_keyring_does_not_show_its_secrets() -> None:
    keyring = Keyring(access_key="AK", secret_key="the-secret", session_token="the-token")
    assert "the-" not in repr(keyring)
