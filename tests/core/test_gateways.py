# SPDX-License-Identifier: Apache-2.0
"""What a refusal of a new-api gateway means: the shapes are those of its public code."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from airflow_provider_jimeng.core.errors import (
    ApiError,
    AuthenticationError,
    ConcurrencyLimitedError,
    InputModeratedError,
    InputRejectedError,
    JimengError,
    PermissionDeniedError,
    RateLimitedError,
    ServerError,
    UnknownCodeError,
    UnreadableReplyError,
)
from airflow_provider_jimeng.core.wire import certainly_not_accepted, parse_query, parse_submit

SATURATED = "当前分组上游负载已饱和，请稍后再试"


def api(code: int, message: str = "m") -> str:
    """Return the body of a refusal of the API, as text."""
    return json.dumps({"code": code, "data": None, "message": message, "request_id": "r1", "status": code})


def wrapped(message: str, code: str = "fail_to_fetch_task") -> dict[str, Any]:
    return {"code": code, "message": message, "data": None}


def own(code: str = "", message: str = "no (request id: 1)") -> dict[str, Any]:
    return {"error": {"message": message, "type": "new_api_error", "code": code}}


def refused(reply: Any, http_status: int, *, bearer: bool = True) -> JimengError:
    content = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
    with pytest.raises(JimengError) as caught:
        parse_submit(http_status, content, bearer=bearer)
    return caught.value


def test_a_busy_account_is_waited_for() -> None:
    error = refused(wrapped(SATURATED), 429)

    assert type(error) is ConcurrencyLimitedError
    assert SATURATED in str(error)


def test_every_429_is_waited_for(subtests: pytest.Subtests) -> None:
    cases: list[tuple[Any, type[ApiError]]] = [
        (wrapped(api(50430)), ConcurrencyLimitedError),
        (wrapped(api(50429)), RateLimitedError),
        (wrapped("", code="429"), RateLimitedError),
        (wrapped(SATURATED, code="do_response_failed"), ConcurrencyLimitedError),
        (own(), RateLimitedError),
        (b"", RateLimitedError),
        (b"<html>slow down</html>", RateLimitedError),
        ({"error": "saturated"}, RateLimitedError),
        ({"code": "upstream_failed"}, RateLimitedError),
    ]
    for reply, error_class in cases:
        with subtests.test(reply=repr(reply), error_class=repr(error_class)):
            assert type(refused(reply, 429)) is error_class


def test_a_wrapped_refusal_is_that_of_the_api(subtests: pytest.Subtests) -> None:
    codes: list[tuple[int, int, type[ApiError]]] = [
        (50412, 400, InputModeratedError),
        (50411, 400, InputModeratedError),
        (50205, 400, InputRejectedError),
        (50400, 401, PermissionDeniedError),
        (100009, 401, AuthenticationError),
        (50430, 429, ConcurrencyLimitedError),
        (50412, 500, InputModeratedError),
    ]
    bearers: list[bool] = [True, False]
    for code, http_status, error_class in codes:
        for bearer in bearers:
            with subtests.test(
                code=repr(code),
                http_status=repr(http_status),
                error_class=repr(error_class),
                bearer=repr(bearer),
            ):
                error = refused(wrapped(api(code, "no ☹")), http_status, bearer=bearer)

                assert type(error) is error_class
                assert isinstance(error, ApiError)
                assert (error.code, error.message, error.request_id) == (str(code), "no ☹", "r1")
                assert error.http_status == http_status
                assert certainly_not_accepted(error)


GATEWAY_OF_THE_VENDOR = json.dumps(
    {
        "ResponseMetadata": {
            "RequestId": "r2",
            "Error": {"Code": "AccessDenied", "CodeN": 100013, "Message": "m"},
        }
    }
)
BODY = api(50412)
DISGUISES = {
    "words before and after": f"status_code=400, body: {BODY}: and more",
    "an empty object before": f"{{}} {{x}} {BODY}",
    "another object before": f'{{"trace":1}} {BODY}',
    "escaped": json.dumps(BODY),
    "escaped twice, with words": f"upstream said {json.dumps(json.dumps(BODY))}",
    "wrapped twice": json.dumps(wrapped(BODY)),
    "wrapped three times": json.dumps(wrapped(json.dumps(wrapped(BODY)))),
    "broken at its end": BODY[:-10],
    "a line break inside": BODY.replace("m", "a\nb", 1).replace("a\nbessage", "message"),
    "behind an error object": json.dumps(
        {"error": {"message": BODY, "type": "upstream_error", "code": "bad"}}
    ),
    "masked": '{"code":50412,"message":"see https://***.com/*** ,"data":null}',
}


def test_a_wrapped_refusal_is_found_in_any_disguise(subtests: pytest.Subtests) -> None:
    for name, disguise in DISGUISES.items():
        with subtests.test(name=repr(name)):
            error = refused(wrapped(disguise), 400)

            assert isinstance(error, InputModeratedError)
            assert error.code == "50412"


def test_a_refusal_in_the_message_of_an_error_object_is_found() -> None:
    error = refused({"error": {"message": BODY, "type": "upstream_error", "code": "bad_response"}}, 400)

    assert isinstance(error, InputModeratedError)


def test_a_refusal_by_the_vendors_own_gateway_is_found() -> None:
    error = refused(wrapped(GATEWAY_OF_THE_VENDOR), 403)

    assert isinstance(error, PermissionDeniedError)
    assert (error.code, error.request_id) == ("AccessDenied", "r2")


def test_the_outer_request_id_stands_in_for_a_missing_one() -> None:
    error = refused({**wrapped('{"code":50412}'), "request_id": "outer"}, 400)

    assert isinstance(error, ApiError)
    assert error.request_id == "outer"


def test_a_refusal_that_names_no_cause_is_that_of_its_http_status(subtests: pytest.Subtests) -> None:
    http_status_cases: list[tuple[int, type[ApiError]]] = [
        (400, UnknownCodeError),
        (401, AuthenticationError),
        (402, PermissionDeniedError),
        (403, PermissionDeniedError),
        (404, UnknownCodeError),
        (405, UnknownCodeError),
        (413, InputRejectedError),
        (415, UnknownCodeError),
        (422, UnknownCodeError),
    ]
    messages: list[str] = [
        "请求上游地址失败",
        "",
        api(50500),
        api(50415),
        '{"a":1}',
        "{" * 100,
        '"code": "novel"',
    ]
    for http_status, error_class in http_status_cases:
        for message in messages:
            with subtests.test(
                http_status=repr(http_status), error_class=repr(error_class), message=repr(message)
            ):
                error = refused(wrapped(message), http_status)

                assert type(error) is error_class
                assert certainly_not_accepted(error)


def test_what_is_escaped_without_end_is_read_so_far_and_no_further() -> None:
    text = BODY
    for _ in range(6):
        text = json.dumps(text)

    assert type(refused(wrapped(text), 400)) is UnknownCodeError


def test_what_says_neither_yes_nor_no_inside_is_not_listened_to() -> None:
    assert not certainly_not_accepted(refused(wrapped('{"code":null}'), 200))


def test_a_yes_inside_a_no_leaves_a_submit_open(subtests: pytest.Subtests) -> None:
    cases: list[int] = [200, 400, 413, 500]
    for http_status in cases:
        with subtests.test(http_status=repr(http_status)):
            inside = json.dumps({"code": 10000, "data": {"task_id": "7392616336519610409"}})

            assert not certainly_not_accepted(refused(wrapped(inside), http_status))


def test_these_statuses_of_a_gateway_say_certainly_not(subtests: pytest.Subtests) -> None:
    http_status_cases: list[int] = [400, 401, 402, 403, 404, 405, 413, 415, 422]
    replys: list[Any] = [
        b"<html>no</html>",
        b"",
        {"code": "upstream_failed"},
        {"error": "no"},
        {"code": 50500},
        {},
    ]
    for http_status in http_status_cases:
        for reply in replys:
            with subtests.test(http_status=repr(http_status), reply=repr(reply)):
                assert certainly_not_accepted(refused(reply, http_status))


def test_any_other_4xx_of_a_gateway_leaves_a_submit_open(subtests: pytest.Subtests) -> None:
    http_status_cases: list[int] = [408, 409, 410, 418, 423, 425, 451, 499]
    replys: list[Any] = [b"<html>no</html>", {"code": 50500}, {"error": "no"}, {}]
    for http_status in http_status_cases:
        for reply in replys:
            with subtests.test(http_status=repr(http_status), reply=repr(reply)):
                assert not certainly_not_accepted(refused(reply, http_status))


def test_a_4xx_in_a_shape_of_the_gateway_is_a_refusal(subtests: pytest.Subtests) -> None:
    http_status_cases: list[int] = [409, 410, 418, 423, 451]
    replys: list[Any] = [wrapped("no"), own()]
    for http_status in http_status_cases:
        for reply in replys:
            with subtests.test(http_status=repr(http_status), reply=repr(reply)):
                assert certainly_not_accepted(refused(reply, http_status))


def test_what_may_have_been_sent_on_stays_open(subtests: pytest.Subtests) -> None:
    http_status_cases: list[int] = [408, 499, 500, 502, 503, 504, 524]
    replys: list[Any] = [
        wrapped("no"),
        wrapped("Post timeout", code="do_request_failed"),
        wrapped(api(10000)),
        wrapped(f"body: {api(10000)}: cannot unmarshal", code="unmarshal_response_body_failed"),
        wrapped(api(50500)),
        wrapped(f"Post failed, sent: {api(50412)}", code="do_request_failed"),
        wrapped("no channel", code="get_channel_failed"),
        own(),
        own("do_request_failed"),
        own("get_channel_failed"),
        b"<html>bad gateway</html>",
    ]
    for http_status in http_status_cases:
        for reply in replys:
            with subtests.test(http_status=repr(http_status), reply=repr(reply)):
                error = refused(reply, http_status)

                assert not certainly_not_accepted(error)


def test_a_failure_inside_the_api_keeps_its_code() -> None:
    error = refused(wrapped(api(50500)), 500)

    assert type(error) is ServerError
    assert error.code == "50500"


def test_a_gateway_without_a_channel_sent_nothing_on(subtests: pytest.Subtests) -> None:
    codes: list[str] = ["model_not_found", "MODEL_NOT_FOUND", "system_cpu_overloaded"]
    bearers: list[bool] = [True, False]
    for code in codes:
        for bearer in bearers:
            with subtests.test(code=repr(code), bearer=repr(bearer)):
                error = refused(own(code), 503, bearer=bearer)

                assert isinstance(error, PermissionDeniedError)
                assert certainly_not_accepted(error)
                assert error.retryable
                assert "did not forward the request" in str(error)


def test_neither_did_the_gateway_behind_a_gateway() -> None:
    error = refused(wrapped(json.dumps(own("model_not_found"))), 503)

    assert certainly_not_accepted(error)
    assert "did not forward the request" in str(error)


def test_only_the_gateways_own_503_says_so(subtests: pytest.Subtests) -> None:
    cases: list[tuple[Any, int]] = [
        (own("model_not_found"), 500),
        (own("model_not_found"), 502),
        ({"error": {"message": "no", "type": "upstream_error", "code": "model_not_found"}}, 503),
        (wrapped("no", code="model_not_found"), 503),
    ]
    for reply, http_status in cases:
        with subtests.test(reply=repr(reply), http_status=repr(http_status)):
            assert not certainly_not_accepted(refused(reply, http_status))


# --- advice -----------------------------------------------------------------------------------------------------------


def test_what_the_gateway_refuses_is_mended_at_the_gateway(subtests: pytest.Subtests) -> None:
    replys: list[tuple[Any, int, type[ApiError], str]] = [
        (
            wrapped("用户额度不足", "insufficient_user_quota"),
            403,
            PermissionDeniedError,
            "Top up the account",
        ),
        (wrapped("no", "pre_consume_token_quota_failed"), 403, PermissionDeniedError, "Top up the account"),
        (own("insufficient_quota"), 403, PermissionDeniedError, "Top up the account"),
        (own(message="该令牌已过期"), 401, AuthenticationError, "Check at the gateway the token"),
        (own(), 403, PermissionDeniedError, "Check at the gateway which models"),
        (own(), 402, PermissionDeniedError, "Check at the gateway which models"),
        ({"error": {"code": "KEY_EXPIRED", "message": "m"}}, 401, AuthenticationError, "Put a valid token"),
    ]
    bearers: list[bool] = [True, False]
    for reply, http_status, error_class, advice in replys:
        for bearer in bearers:
            with subtests.test(
                reply=repr(reply),
                http_status=repr(http_status),
                error_class=repr(error_class),
                advice=repr(advice),
                bearer=bearer,
            ):
                error = refused(reply, http_status, bearer=bearer)

                assert type(error) is error_class
                assert isinstance(error, ApiError)
                assert error.entry is not None
                assert error.entry.advice.startswith(advice)
                assert advice in str(error)
                assert "Volcengine" not in str(error)
                assert "session token" not in str(error)


def test_rights_that_the_gateway_lacks_at_the_api_are_its_operators_part() -> None:
    error = refused(wrapped(api(50400)), 401)

    assert "The API refused the account of the gateway." in str(error)
    assert "Ask the operator of the gateway" in str(error)
    assert "The operator has to do this: Open the model in the Volcengine console" in str(error)


def test_a_token_that_the_gateway_sent_on_is_its_operators_part_too(subtests: pytest.Subtests) -> None:
    cases: list[str] = ["", json.dumps(own()), json.dumps(wrapped("no"))]
    for inner in cases:
        with subtests.test(inner=repr(inner)):
            error = refused(wrapped(inner), 401)

            assert isinstance(error, AuthenticationError)
            assert str(error).count("Ask the operator of the gateway") == 1


def test_a_request_that_is_too_large_is_told_so_with_the_remedy() -> None:
    for reply in (
        b"<html>413</html>",
        b"",
        wrapped("too large", "read_request_body_failed"),
        own(),
        {"a": 1},
    ):
        for bearer in (True, False):
            error = refused(reply, 413, bearer=bearer)
            assert type(error) is InputRejectedError
            assert not error.retryable
            assert certainly_not_accepted(error)
            assert "Send smaller images, or http(s) links to them." in str(error)


# --- queries ----------------------------------------------------------------------------------------------------------


def test_a_wrapped_refusal_of_a_query_says_nothing_about_the_render(subtests: pytest.Subtests) -> None:
    http_status_cases: list[int] = [200, 400, 401, 403, 404, 500, 503]
    codes: list[int] = [50411, 50412, 50511, 50400, 100009]
    for http_status in http_status_cases:
        for code in codes:
            with subtests.test(http_status=repr(http_status), code=repr(code)):
                with pytest.raises(ServerError) as caught:
                    parse_query(http_status, json.dumps(wrapped(api(code))).encode())
                assert caught.value.entry is not None
                assert not caught.value.entry.fails_render


def test_a_throttled_query_slows_down() -> None:
    with pytest.raises(RateLimitedError):
        parse_query(429, json.dumps(wrapped(SATURATED)).encode())


def test_a_gateway_that_has_no_channel_now_does_not_end_a_wait() -> None:
    with pytest.raises(ServerError):
        parse_query(503, json.dumps(own("model_not_found")).encode())


def test_a_413_on_a_query_ends_no_render() -> None:
    with pytest.raises(InputRejectedError) as caught:
        parse_query(413, b"<html>413</html>")
    assert caught.value.entry is not None
    assert not caught.value.entry.fails_render


# --- anything ---------------------------------------------------------------------------------------------------------


@given(st.text(), st.integers(200, 599))
def test_any_message_is_an_error_of_ours(message: str, http_status: int) -> None:
    error = refused(wrapped(message), http_status)

    assert isinstance(error, ApiError)
    assert len(str(error)) < 4_000


def test_an_endless_message_is_read_so_far_and_no_further(subtests: pytest.Subtests) -> None:
    cases: list[str] = [
        "{" * 200_000,
        '{"code":' * 200_000,
        "\\" * 200_000,
        '\\"' * 200_000,
        api(50412, "x" * 600_000),
    ]
    for message in cases:
        with subtests.test(message=repr(message)):
            assert len(str(refused(wrapped(message), 400))) < 4_000


def test_a_page_with_an_odd_status_stays_unreadable() -> None:
    assert type(refused(b"", 404)) is UnreadableReplyError
    assert type(refused(b"", 502)) is UnreadableReplyError
