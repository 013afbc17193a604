# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from airflow_provider_jimeng.core.codes import (
    BUSINESS_CODES,
    GATEWAY_CODES,
    MISSING_TASK_STATUSES,
    ErrorKind,
    lookup,
)
from airflow_provider_jimeng.core.envelope import error_for
from airflow_provider_jimeng.core.errors import (
    ApiError,
    AuthenticationError,
    ConcurrencyLimitedError,
    InputModeratedError,
    InputRejectedError,
    OutputModeratedError,
    PermissionDeniedError,
    RateLimitedError,
    ServerError,
    UnknownCodeError,
)

ALL_CODES = [*BUSINESS_CODES.values(), *GATEWAY_CODES.values()]

# Number, HTTP status, a new submit may pass, a query's answer ends the render: the vendor's pages, column by column.
DOCUMENTED = [
    (50411, 400, False, True),
    (50511, 400, True, True),
    (50412, 400, False, True),
    (50512, 400, False, True),
    (50413, 400, False, True),
    (50513, 400, False, True),
    (50514, 400, False, True),
    (50516, 400, True, True),
    (50517, 400, True, True),
    (50518, 400, False, True),
    (50519, 400, True, True),
    (50520, 400, False, True),
    (50521, 400, False, True),
    (50522, 400, False, True),
    (50429, 429, True, False),
    (50430, 429, True, False),
    (50500, 500, True, False),
    (50501, 500, True, False),
    (50200, 400, False, True),
    (50201, 400, False, True),
    (50204, 400, False, True),
    (50205, 400, False, True),
    (50206, 400, False, True),
    (50207, 400, False, True),
    (50209, 400, False, True),
    (50210, 400, False, True),
    (50211, 400, False, True),
    (50213, 400, False, True),
    (50214, 400, False, True),
    (50215, 400, False, True),
    (60102, 400, False, True),
    (60208, 400, False, True),
    (50400, 401, False, False),
    (50402, 404, False, False),
    (30403, 200, False, False),
    (30404, 200, False, False),
    (100001, 500, True, False),
    (100002, 400, False, False),
    (100003, 401, False, False),
    (100004, 400, False, False),
    (100005, 401, False, False),
    (100006, 400, False, False),
    (100007, 404, False, False),
    (100008, 404, False, False),
    (100009, 401, False, False),
    (100010, 401, False, False),
    (100012, 403, False, False),
    (100013, 403, False, False),
    (100014, 500, True, False),
    (100015, 502, True, False),
    (100016, 504, True, False),
    (100018, 429, True, False),
    (100019, 503, True, False),
    (100020, 405, False, False),
    (100024, 400, False, False),
    (100025, 400, False, False),
    (100026, 401, False, False),
]


def test_every_documented_code_has_its_row(subtests: pytest.Subtests) -> None:
    for code, http_status, retryable, fails_render in DOCUMENTED:
        with subtests.test(
            code=repr(code),
            http_status=repr(http_status),
            retryable=repr(retryable),
            fails_render=fails_render,
        ):
            entry = lookup(code)

            assert entry is not None
            assert (entry.code, entry.http_status) == (code, http_status)
            assert (entry.retryable, entry.fails_render) == (retryable, fails_render)


def test_the_table_has_no_other_rows() -> None:
    assert {entry.code for entry in ALL_CODES} == {row[0] for row in DOCUMENTED}


def test_every_row_says_what_it_means_and_what_to_do(subtests: pytest.Subtests) -> None:
    for entry in ALL_CODES:
        with subtests.test(entry=str(entry.code)):
            assert entry.message
            assert entry.meaning.endswith(".")
            assert entry.advice.endswith(".")
            assert entry.confidence in {"H", "M", "L"}


def test_a_row_is_found_by_number_by_text_and_by_name(subtests: pytest.Subtests) -> None:
    for entry in ALL_CODES:
        with subtests.test(entry=str(entry.code)):
            assert lookup(entry.code) is entry
            assert lookup(f" {entry.code} ") is entry
            if entry.name:
                assert lookup(entry.name) is entry
                assert lookup(entry.name.upper()) is entry


def test_the_error_of_a_row_is_of_its_kind_and_carries_everything(subtests: pytest.Subtests) -> None:
    for entry in ALL_CODES:
        with subtests.test(entry=str(entry.code)):
            error = error_for(str(entry.code), entry.message, request_id="r1", http_status=entry.http_status)

            assert type(error) is entry.kind.error_class
            assert error.retryable is entry.retryable
            assert (error.code, error.message, error.request_id) == (str(entry.code), entry.message, "r1")
            assert error.http_status == entry.http_status
            assert error.entry is entry
            assert str(error) == (
                f"{entry.meaning} {entry.advice} "
                f"The API said: {entry.message} (code {entry.code}, HTTP {entry.http_status}, request id r1)"
            )


def test_the_class_follows_the_number(subtests: pytest.Subtests) -> None:
    cases: list[tuple[int, type[ApiError]]] = [
        (50411, InputModeratedError),
        (50413, InputModeratedError),
        (60208, InputModeratedError),
        (50511, OutputModeratedError),
        (50516, OutputModeratedError),
        (50520, InputModeratedError),
        (50215, InputRejectedError),
        (60102, InputRejectedError),
        (50429, RateLimitedError),
        (100018, RateLimitedError),
        (50430, ConcurrencyLimitedError),
        (50400, PermissionDeniedError),
        (100012, PermissionDeniedError),
        (100010, AuthenticationError),
        (100006, AuthenticationError),
        (50500, ServerError),
        (100016, ServerError),
    ]
    for code, error_class in cases:
        with subtests.test(code=repr(code), error_class=repr(error_class)):
            assert type(error_for(code, "")) is error_class


def test_the_number_decides_and_not_the_text_of_the_message() -> None:
    assert isinstance(error_for(50511, "Text Risk Not Pass"), OutputModeratedError)


def test_the_number_decides_and_not_the_http_status(subtests: pytest.Subtests) -> None:
    cases: list[int] = [200, 400, 404, 429, 500]
    for http_status in cases:
        with subtests.test(http_status=repr(http_status)):
            assert type(error_for(50429, "", http_status=http_status)) is RateLimitedError


def test_a_textual_name_means_the_same_as_its_numeric_kin(subtests: pytest.Subtests) -> None:
    cases: list[tuple[str, int]] = [
        ("InvalidClientTokenId", 100009),
        ("LackProjectPolicy", 100012),
        ("InternalServiceError", 100014),
        ("AccountFlowLimitExceeded", 100018),
        ("InvalidParameter", 50200),
        ("InvalidSignature", 100010),
        ("QuotaExceeded", 50430),
        ("ContentFiltered", 50412),
        ("AUTH_FAILED", 100009),
        ("KEY_EXPIRED", 100009),
        ("KEY_REVOKED", 100009),
        ("INVALID_SIGNATURE", 100010),
        ("RATE_LIMITED", 100018),
        ("UPSTREAM_FAILED", 100015),
        ("DATABASE_ERROR", 100014),
        ("AUDIT_FAILED", 100014),
        ("INTERNAL_ERROR", 100014),
        ("fail_to_fetch_task", 100014),
        ("insufficient_quota", 50400),
        ("insufficient_user_quota", 50400),
    ]
    for name, kin in cases:
        with subtests.test(name=repr(name), kin=repr(kin)):
            assert lookup(name) is lookup(kin)


@pytest.mark.parametrize("name", ["invalid_request", "VALIDATION_FAILED"])
def test_a_gateways_complaint_about_a_request_never_ends_a_render(name: str) -> None:
    entry = lookup(name)

    assert entry is not None
    assert entry.kind is ErrorKind.INPUT_REJECTED
    assert not entry.fails_render


def test_a_missing_task_is_no_error_of_the_table() -> None:
    assert all(lookup(name) is None for name in MISSING_TASK_STATUSES)


def test_an_unlisted_code_has_no_row(subtests: pytest.Subtests) -> None:
    cases: list[int | str | None] = [None, True, "", "new_api_error", 50415, "50415", -1, "9" * 5000]
    for code in cases:
        with subtests.test(code=repr(code)):
            assert lookup(code) is None


def test_an_unlisted_code_falls_back_on_the_http_status(subtests: pytest.Subtests) -> None:
    cases: list[tuple[int | None, type[ApiError]]] = [
        (None, UnknownCodeError),
        (200, UnknownCodeError),
        (400, UnknownCodeError),
        (404, UnknownCodeError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (429, RateLimitedError),
        (500, ServerError),
        (503, ServerError),
    ]
    for http_status, error_class in cases:
        with subtests.test(http_status=repr(http_status), error_class=repr(error_class)):
            error = error_for("something_new", "m", http_status=http_status)

            assert type(error) is error_class
            assert error.entry is None


@given(st.one_of(st.none(), st.integers(), st.text()), st.one_of(st.none(), st.integers(100, 599)))
def test_any_code_makes_an_api_error(code: int | str | None, http_status: int | None) -> None:
    error = error_for(code, "m", http_status=http_status)

    assert isinstance(error, ApiError)
    assert str(error)
