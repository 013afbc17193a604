# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jimeng.core.catalogue import MODELS
from airflow_provider_jimeng.core.codes import BUSINESS_CODES, GATEWAY_CODES
from airflow_provider_jimeng.core.errors import (
    ApiError,
    ConcurrencyLimitedError,
    JimengError,
    NoReplyError,
    PermissionDeniedError,
    RateLimitedError,
    ServerError,
    UnreadableReplyError,
)
from airflow_provider_jimeng.core.wire import certainly_not_accepted
from tests.contract.sample_requests import request_for

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.codes import CodeEntry
    from tests.contract.conftest import Api, Maker

SPEC = MODELS["t2v_720p"]
CALLS = ("submit", "query", "cancel")
CODES = [*BUSINESS_CODES.values(), *GATEWAY_CODES.values()]


def do(api: Api, where: str) -> Any:
    if where == "submit":
        return api.submit(request_for(SPEC))
    if where == "query":
        return api.query(SPEC.req_key, "7392616336519610409")
    return api.cancel(SPEC.req_key, "7392616336519610409")


def refuse(api: Api, where: str, entry: CodeEntry) -> None:
    """Let the API refuse one call with a code, and check the error."""
    api.emulator.faults.clear()
    api.emulator.reset()
    api.emulator.faults.add(where=where, what="error_before", code=entry.code)
    with pytest.raises(ApiError) as raised:
        do(api, where)
    error = raised.value
    assert type(error) is entry.kind.error_class
    assert error.entry is entry
    assert error.code in (str(entry.code), entry.name)
    assert error.http_status == entry.http_status
    assert error.request_id
    assert entry.message.split(":")[0] in str(error)
    assert entry.advice in str(error)
    assert api.emulator.bill()["accepted"] == 0


def test_every_code_is_raised_as_its_row_says(memory_api: Api, subtests: pytest.Subtests) -> None:
    for entry in CODES:
        for where in CALLS:
            with subtests.test(code=entry.code, where=where):
                refuse(memory_api, where, entry)


def test_each_kind_of_error_is_raised_over_every_transport(api: Api, subtests: pytest.Subtests) -> None:
    for entry in {(entry.kind, entry.gateway): entry for entry in CODES}.values():
        for where in CALLS:
            with subtests.test(code=entry.code, where=where):
                refuse(api, where, entry)


@pytest.mark.parametrize("http_status", [404, 429])
def test_the_code_decides_and_not_the_http_status(make_api: Maker, http_status: int) -> None:
    api = make_api(
        faults=[{"where": "query", "what": "error_before", "code": 50429, "http_status": http_status}]
    )
    with pytest.raises(RateLimitedError) as raised:
        do(api, "query")
    assert raised.value.http_status == http_status


def test_a_code_that_no_table_lists_is_kept_as_it_is(make_api: Maker) -> None:
    api = make_api(faults=[{"where": "query", "what": "error_before", "code": 59999, "message": "brand new"}])
    with pytest.raises(ApiError, match="brand new") as raised:
        do(api, "query")
    assert (raised.value.code, raised.value.entry) == ("59999", None)


def test_a_model_that_is_not_opened_is_a_missing_permission(make_api: Maker) -> None:
    api = make_api(unactivated=[SPEC.name])
    with pytest.raises(PermissionDeniedError, match="not opened"):
        do(api, "submit")


def test_more_renders_than_slots_are_refused_as_busy(make_api: Maker) -> None:
    api = make_api(max_concurrent=1)
    do(api, "submit")
    with pytest.raises(ConcurrencyLimitedError):
        do(api, "submit")
    assert api.emulator.bill()["accepted"] == 1


def test_more_requests_than_the_rate_are_refused_for_the_rate(make_api: Maker) -> None:
    api = make_api(max_qps=2)
    do(api, "query")
    do(api, "query")
    with pytest.raises(RateLimitedError):
        do(api, "query")


TROUBLE: dict[str, tuple[dict[str, Any], type[JimengError], bool]] = {
    "closed before": ({"what": "cut_before"}, NoReplyError, False),
    "reset before": ({"what": "cut_before", "how": "reset"}, NoReplyError, False),
    "closed after": ({"what": "cut_after"}, NoReplyError, True),
    "reset after": ({"what": "cut_after", "how": "reset"}, NoReplyError, True),
    "silent before": ({"what": "hang_before", "seconds": 30.0}, NoReplyError, False),
    "silent after": ({"what": "hang_after", "seconds": 30.0}, NoReplyError, True),
    "500 after": ({"what": "error_after", "code": 50500}, ServerError, True),
    "html 502 before": ({"what": "error_before"}, UnreadableReplyError, False),
    "html 502 after": ({"what": "error_after"}, UnreadableReplyError, True),
    "html 200": ({"what": "garbage", "body": "html"}, UnreadableReplyError, True),
    "half a document": ({"what": "garbage", "body": "half_json"}, UnreadableReplyError, True),
    "nothing": ({"what": "garbage", "body": "empty"}, UnreadableReplyError, True),
}


def patience(fault: dict[str, Any]) -> dict[str, Any]:
    """Return a connection that soon tires of silence; of what ends at once, never, however slow the machine."""
    return {"extra": {"timeout_seconds": 2}} if fault["what"].startswith("hang") else {}


@pytest.mark.parametrize("name", TROUBLE)
def test_a_submit_whose_answer_is_lost_is_never_taken_for_one_that_was_not_sent(
    make_api: Maker, name: str
) -> None:
    fault, kind, accepted = TROUBLE[name]
    api = make_api(faults=[{"where": "submit", **fault}], connection=patience(fault))
    with pytest.raises(kind) as raised:
        do(api, "submit")
    assert not certainly_not_accepted(raised.value)
    bill = api.emulator.bill()
    assert bill["submits"] == 1, "a paid submit must never be repeated by the client"
    assert bill["accepted"] == accepted


@pytest.mark.parametrize("name", TROUBLE)
def test_a_query_in_trouble_can_be_asked_again(make_api: Maker, name: str) -> None:
    fault, kind, _ = TROUBLE[name]
    api = make_api(faults=[{"where": "query", "nth": 1, **fault}], connection=patience(fault))
    task_id = api.submit(request_for(SPEC)).task_id
    with pytest.raises(kind) as raised:
        api.query(SPEC.req_key, task_id)
    assert raised.value.retryable
    assert api.query(SPEC.req_key, task_id).status_word == "in_queue"


def test_no_error_text_holds_a_key_or_a_body(make_api: Maker) -> None:
    for fault in ("cut_after", "error_after", "garbage", "hang_after"):
        api = make_api(
            faults=[{"where": "submit", "what": fault}],
            connection={"extra": {"timeout_seconds": 1}},
            secret_key="SKVERYSECRET",
        )
        with pytest.raises(JimengError) as raised:
            do(api, "submit")
        shown = f"{raised.value!r} {raised.value}"
        for secret in ("SKVERYSECRET", "red kite", "Signature="):
            assert secret not in shown
