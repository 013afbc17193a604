# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, strategies as st

from airflow_provider_jimeng.core.codes import BUSINESS_CODES, GATEWAY_CODES, CodeEntry, ErrorKind
from airflow_provider_jimeng.core.errors import (
    ApiError,
    AuthenticationError,
    ConcurrencyLimitedError,
    InputModeratedError,
    InputRejectedError,
    JimengError,
    LedgerError,
    NoReplyError,
    NotSentError,
    OutputModeratedError,
    ParameterError,
    PermissionDeniedError,
    RateLimitedError,
    ServerError,
    SettingsError,
    UnknownCodeError,
    UnreadableReplyError,
)
from airflow_provider_jimeng.core.parameters import RenderRequest
from airflow_provider_jimeng.core.render import RenderStatus
from airflow_provider_jimeng.core.wire import (
    Call,
    CancelReply,
    QueryReply,
    SubmitReply,
    cancel_call,
    certainly_not_accepted,
    parse_cancel,
    parse_query,
    parse_submit,
    query_call,
    submit_call,
)

TASK = "7392616336519610409"
URL = "https://v26-vvecloud.yangyi08.com/a/b/c.mp4?a=0&l=1"
ALL_CODES = [*BUSINESS_CODES.values(), *GATEWAY_CODES.values()]
METADATA = {
    "RequestId": "r-meta",
    "Action": "CVSync2AsyncGetResult",
    "Version": "2022-08-31",
    "Service": "cv",
    "Region": "cn-north-1",
}


def code_of(entry: CodeEntry) -> str:
    return str(entry.code)


def encode(reply: Any) -> bytes:
    return json.dumps(reply).encode()


def success(data: Any) -> dict[str, Any]:
    return {
        "code": 10000,
        "data": data,
        "message": "Success",
        "request_id": "r1",
        "status": 10000,
        "time_elapsed": "64.2ms",
    }


def refusal(entry: CodeEntry) -> dict[str, Any]:
    """An error as the API, or the gateway before it, words it."""
    if entry.gateway:
        error = {"CodeN": entry.code, "Code": entry.name, "Message": "no"}
        return {"ResponseMetadata": METADATA | {"RequestId": "r1", "Error": error}}
    return {
        "code": entry.code,
        "data": None,
        "message": entry.message,
        "request_id": "r1",
        "status": entry.code,
        "time_elapsed": "1ms",
    }


def submit(reply: Any, http_status: int = 200) -> SubmitReply:
    return parse_submit(http_status, encode(reply))


def query(reply: Any, http_status: int = 200) -> QueryReply:
    return parse_query(http_status, encode(reply))


def refused_submit(reply: Any, http_status: int = 200) -> JimengError:
    with pytest.raises(JimengError) as caught:
        submit(reply, http_status)
    return caught.value


def refused_query(reply: Any, http_status: int = 200) -> JimengError:
    with pytest.raises(JimengError) as caught:
        query(reply, http_status)
    return caught.value


# --- calls ------------------------------------------------------------------------------------------------------------


def test_a_submit_is_the_requests_body_and_its_action_stands_in_the_query_string() -> None:
    request = RenderRequest.build(prompt="一只猫")
    call = submit_call(request)

    assert (call.action, call.version) == ("CVSync2AsyncSubmitTask", "2022-08-31")
    assert json.loads(call.body) == request.body()
    assert "一只猫".encode() in call.body


def test_a_query_names_key_and_task() -> None:
    call = query_call(req_key="jimeng_t2v_v30", task_id=TASK)

    assert (call.action, call.version) == ("CVSync2AsyncGetResult", "2022-08-31")
    assert json.loads(call.body) == {"req_key": "jimeng_t2v_v30", "task_id": TASK}


def test_a_query_asks_for_the_label_in_a_json_string() -> None:
    meta = {"producer_id": "p", "content_propagator": "平台"}
    body = json.loads(query_call(req_key="k", task_id=TASK, aigc_meta=meta).body)

    assert isinstance(body["req_json"], str)
    assert json.loads(body["req_json"]) == {"aigc_meta": meta}


def test_a_cancel_has_its_own_version() -> None:
    call = cancel_call(req_key="k", task_id=TASK)

    assert (call.action, call.version) == ("CVCancelTask", "2024-06-06")
    assert json.loads(call.body) == {"req_key": "k", "task_id": TASK}


def test_bodies_and_links_stay_out_of_reprs() -> None:
    assert "secret" not in repr(Call(action="a", version="v", body=b"secret"))
    assert "yangyi08" not in repr(QueryReply(status=RenderStatus.DONE, video_url=URL))


# --- submit -----------------------------------------------------------------------------------------------------------


def test_a_task_id_with_http_2xx_is_an_accepted_submit(subtests: pytest.Subtests) -> None:
    cases: list[Any] = [
        success({"task_id": TASK}),
        {"ResponseMetadata": METADATA, "Result": success({"task_id": TASK})},
        {"ResponseMetadata": METADATA, "data": {"task_id": TASK}},
        {"ResponseMetadata": METADATA, "Result": {"task_id": TASK}},
        {"task_id": TASK},
        {
            "id": TASK,
            "task_id": TASK,
            "object": "video",
            "model": "jimeng_t2v_v30",
            "status": "queued",
            "progress": 0,
            "created_at": 1767323045,
            "error": {"message": "", "code": ""},
        },
        {"id": TASK, "object": "video"},
        {"code": "success", "message": "", "data": TASK},
        {"code": "10000", "data": {"task_id": TASK}},
        {"code": 10000.0, "data": {"task_id": TASK}},
        {"code": 10000, "data": {"task_id": int(TASK)}},
        {"code": 10000, "data": {"task_id": f" {TASK}\n"}},
        {"code": "", "data": {"task_id": TASK}},
        {"code": 12345, "data": {"task_id": TASK}},
        {"code": 50500, "data": {"task_id": TASK}},
    ]
    for reply in cases:
        with subtests.test(reply=repr(reply)):
            assert submit(reply).task_id == TASK
            assert submit(reply, 201).task_id == TASK


def test_the_code_of_success_outweighs_the_http_status() -> None:
    assert submit(success({"task_id": TASK}), 500).task_id == TASK


def test_the_request_id_is_found_in_either_envelope() -> None:
    assert submit(success({"task_id": TASK})).request_id == "r1"
    assert submit({"ResponseMetadata": METADATA, "data": {"task_id": TASK}}).request_id == "r-meta"
    assert submit({"ResponseMetadata": METADATA, "Result": {"code": 10000, "data": {"task_id": TASK}}}) == (
        SubmitReply(task_id=TASK, request_id="r-meta")
    )


def test_a_refused_submit_is_the_error_of_its_code(subtests: pytest.Subtests) -> None:
    for entry in ALL_CODES:
        with subtests.test(entry=code_of(entry)):
            error = refused_submit(refusal(entry), entry.http_status)

            assert type(error) is entry.kind.error_class
            assert isinstance(error, ApiError)
            assert error.entry is entry
            assert (error.request_id, error.http_status) == ("r1", entry.http_status)


def test_only_a_server_error_leaves_open_whether_a_submit_was_accepted(subtests: pytest.Subtests) -> None:
    for entry in ALL_CODES:
        with subtests.test(entry=code_of(entry)):
            error = refused_submit(refusal(entry), entry.http_status)

            assert certainly_not_accepted(error) is (entry.kind is not ErrorKind.SERVER)


def test_a_submit_that_was_not_clearly_accepted(subtests: pytest.Subtests) -> None:
    cases: list[tuple[Any, int, type[JimengError], bool]] = [
        ({"code": "50430", "message": "m", "data": None}, 500, ConcurrencyLimitedError, True),
        ({"code": "50412", "message": "m", "data": None}, 500, InputModeratedError, True),
        ({"code": "fail_to_fetch_task", "data": None}, 500, ServerError, False),
        ({"code": "invalid_request", "data": None}, 400, InputRejectedError, True),
        ({"code": "novel", "data": None}, 500, ServerError, False),
        ({"code": "novel", "data": None}, 400, UnknownCodeError, True),
        ({"code": "novel", "data": None}, 408, UnknownCodeError, False),
        ({"code": "novel", "data": None}, 200, UnknownCodeError, False),
        ({"code": 50430, "data": {"task_id": TASK}}, 200, ConcurrencyLimitedError, True),
        (
            {"error": {"message": "no (request id: 1)", "type": "new_api_error", "code": ""}},
            401,
            AuthenticationError,
            True,
        ),
        ({"error": {"message": "no", "type": "new_api_error"}}, 403, PermissionDeniedError, True),
        ({"error": {"message": "no", "type": "new_api_error"}}, 400, UnknownCodeError, True),
        ({"error": {"message": "no", "type": "new_api_error"}}, 503, ServerError, False),
        ({"error": {"message": "saturated"}}, 429, RateLimitedError, True),
        (
            {"error": {"message": "no", "type": "insufficient_user_quota", "code": ""}},
            403,
            PermissionDeniedError,
            True,
        ),
        ({"error": {"code": "RATE_LIMITED", "message": "no"}}, 429, RateLimitedError, True),
        ({"error": {"code": "UPSTREAM_FAILED", "message": "no"}}, 502, ServerError, False),
        ({"error": "not json"}, 400, UnknownCodeError, True),
        ({"error": "later", "task_id": TASK}, 200, ServerError, False),
        ({"code": 7, "task_id": TASK}, 400, ServerError, False),
        ({"code": 50411, "task_id": TASK}, 400, InputModeratedError, True),
        ({"id": "req-1", "error": "no"}, 401, AuthenticationError, True),
        (success(None), 200, ServerError, False),
        (success({"task_id": ""}), 200, ServerError, False),
        (success({"task_id": 0}), 200, ServerError, False),
        (success("try again later"), 200, ServerError, False),
        (success(None), 400, ServerError, False),
        ({"code": 7, "data": "no-money", "msg": "no"}, 200, UnknownCodeError, False),
        ({"data": {"task_id": TASK}}, 400, ServerError, False),
        ({}, 200, UnreadableReplyError, False),
        ({"id": TASK}, 302, UnreadableReplyError, False),
        ({}, 502, ServerError, False),
        ([], 200, UnreadableReplyError, False),
        ("ok", 200, UnreadableReplyError, False),
    ]
    for reply, http_status, error_class, certain in cases:
        with subtests.test(
            reply=repr(reply),
            http_status=repr(http_status),
            error_class=repr(error_class),
            certain=repr(certain),
        ):
            error = refused_submit(reply, http_status)

            assert type(error) is error_class
            assert certainly_not_accepted(error) is certain


def test_a_yes_without_an_id_keeps_the_request_id_that_support_asks_for() -> None:
    error = refused_submit(success({}))

    assert isinstance(error, ServerError)
    assert (error.code, error.request_id) == ("10000", "r1")


HTML = b"<html><body>502 Bad Gateway</body></html>"


def test_a_no_that_names_a_task_tells_which() -> None:
    assert f"has the task {TASK} beside a refusal" in str(refused_submit({"task_id": TASK}, 500))


def test_what_is_no_json_object_is_unreadable(subtests: pytest.Subtests) -> None:
    contents: list[bytes] = [
        HTML,
        b"",
        b"  ",
        b'{"code":10000,"data":{"task_id":"73',
        b"\xff\xfe\x00",
        b"null",
    ]
    http_status_cases: list[int] = [200, 302, 404, 502]
    for content in contents:
        for http_status in http_status_cases:
            with subtests.test(content=repr(content), http_status=repr(http_status)):
                for parse in (parse_submit, parse_query, parse_cancel):
                    with pytest.raises(UnreadableReplyError) as caught:
                        parse(http_status, content)
                    assert caught.value.http_status == http_status


def test_429_is_throttling_whatever_page_comes_with_it() -> None:
    with pytest.raises(RateLimitedError):
        parse_submit(429, HTML)


def test_a_document_nested_without_end_is_unreadable() -> None:
    with pytest.raises(UnreadableReplyError):
        parse_query(200, b'{"data":' * 100_000)


def test_a_code_of_five_thousand_digits_is_an_unknown_code() -> None:
    assert isinstance(refused_query({"code": "9" * 5000}), UnknownCodeError)


def test_what_is_certain_after_a_failed_submit(subtests: pytest.Subtests) -> None:
    cases: list[tuple[JimengError, bool]] = [
        (NotSentError("no connection"), True),
        (ParameterError("seed", "is too high"), True),
        (SettingsError("no key"), True),
        (NoReplyError("cut"), False),
        (LedgerError("cannot write"), False),
        (UnreadableReplyError("page", http_status=200), False),
        (UnreadableReplyError("page", http_status=302), False),
        (UnreadableReplyError("page", http_status=408), False),
        (UnreadableReplyError("page", http_status=499), False),
        (UnreadableReplyError("page", http_status=500), False),
        (UnreadableReplyError("page", http_status=502), False),
        (UnreadableReplyError("page", http_status=504), False),
        (UnreadableReplyError("page", http_status=301), True),
        (UnreadableReplyError("page", http_status=307), True),
        (UnreadableReplyError("page", http_status=308), True),
        (UnreadableReplyError("page", http_status=403), True),
        (UnreadableReplyError("page", http_status=404), True),
        (UnreadableReplyError("page", http_status=413), True),
        (UnknownCodeError("m", code="novel"), False),
        (RateLimitedError("m", http_status=429), True),
        (OutputModeratedError("m", code="50511", http_status=400), True),
    ]
    for error, certain in cases:
        with subtests.test(error=repr(error), certain=repr(certain)):
            assert certainly_not_accepted(error) is certain


# --- query ------------------------------------------------------------------------------------------------------------


def test_a_status_is_its_word(subtests: pytest.Subtests) -> None:
    cases: list[tuple[Any, RenderStatus]] = [
        ("in_queue", RenderStatus.IN_QUEUE),
        ("generating", RenderStatus.GENERATING),
        ("processing", RenderStatus.GENERATING),
        ("done", RenderStatus.DONE),
        ("not_found", RenderStatus.NOT_FOUND),
        ("expired", RenderStatus.EXPIRED),
        ("success", RenderStatus.DONE),
        ("failed", RenderStatus.FAILED),
        ("fail", RenderStatus.FAILED),
        (" Done ", RenderStatus.DONE),
        ("simmering", RenderStatus.UNKNOWN),
        ("", RenderStatus.UNKNOWN),
        (None, RenderStatus.UNKNOWN),
        (10000, RenderStatus.UNKNOWN),
    ]
    for word, status in cases:
        with subtests.test(word=repr(word), status=repr(status)):
            assert query(success({"status": word})).status is status


def test_a_finished_render_has_link_label_and_request_id() -> None:
    data = {
        "status": "done",
        "video_url": URL,
        "aigc_meta_tagged": True,
        "resp_data": "",
        "binary_data_base64": [],
        "image_urls": None,
    }

    assert query(success(data)) == QueryReply(
        status=RenderStatus.DONE, status_word="done", video_url=URL, aigc_meta_tagged=True, request_id="r1"
    )


def test_a_wrapped_answer_reads_the_same() -> None:
    reply = query({"ResponseMetadata": METADATA, "Result": success({"status": "done", "video_url": URL})})

    assert (reply.status, reply.video_url, reply.request_id) == (RenderStatus.DONE, URL, "r1")


def test_a_label_that_is_not_said_plainly_is_unknown(subtests: pytest.Subtests) -> None:
    cases: list[Any] = [None, "true", 1]
    for tagged in cases:
        with subtests.test(tagged=repr(tagged)):
            assert query(success({"status": "done", "aigc_meta_tagged": tagged})).aigc_meta_tagged is None


def test_done_without_a_link_is_done_without_a_link() -> None:
    url: Any
    for url in (
        None,
        "",
        "pending",
        "N/A",
        "tos://bucket/key",
        "data:video/mp4;base64,AAAA",
        [],
        {},
        [{}],
        5,
    ):
        reply = query(success({"status": "done", "video_url": url}))
        assert (reply.status, reply.video_url) == (RenderStatus.DONE, None)


@pytest.mark.parametrize("data", [{"video_url": URL}, {"status": "ripe", "video_url": URL}])
def test_a_link_means_done_where_the_word_is_missing_or_unknown(data: dict[str, Any]) -> None:
    assert query(success(data)).status is RenderStatus.DONE


def test_a_link_means_nothing_while_the_word_says_otherwise() -> None:
    assert query(success({"status": "generating", "video_url": URL})).status is RenderStatus.GENERATING


def test_a_success_that_says_nothing_is_an_unknown_status(subtests: pytest.Subtests) -> None:
    cases: list[Any] = [None, {}, [], "text", {"status": 7}]
    for data in cases:
        with subtests.test(data=repr(data)):
            assert query(success(data)).status is RenderStatus.UNKNOWN


def test_an_answer_with_neither_code_nor_task_is_unreadable(subtests: pytest.Subtests) -> None:
    cases: list[Any] = [{}, {"ResponseMetadata": METADATA}, {"status": 10000}, {"status": "failed"}]
    for reply in cases:
        with subtests.test(reply=repr(reply)):
            assert isinstance(refused_query(reply), UnreadableReplyError)


def test_a_queries_error_is_the_error_of_its_code(subtests: pytest.Subtests) -> None:
    for entry in ALL_CODES:
        with subtests.test(entry=code_of(entry)):
            error = refused_query(refusal(entry), entry.http_status)

            assert type(error) is entry.kind.error_class
            assert isinstance(error, ApiError)
            assert error.entry is entry


def test_the_code_decides_and_not_the_http_status(subtests: pytest.Subtests) -> None:
    cases: list[int] = [200, 404, 429]
    for http_status in cases:
        with subtests.test(http_status=repr(http_status)):
            assert isinstance(refused_query({"code": 50429, "data": None}, http_status), RateLimitedError)
            assert query(success({"status": "generating"}), http_status).status is RenderStatus.GENERATING


def test_a_gateways_error_goes_by_name_first_and_by_number_then(subtests: pytest.Subtests) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"Code": "SignatureDoesNotMatch", "Message": "m"}, "SignatureDoesNotMatch"),
        ({"CodeN": 100010, "Code": "SomethingNew", "Message": "m"}, "100010"),
        ({"CodeN": 100010, "Message": "m"}, "100010"),
    ]
    for error, code in cases:
        with subtests.test(error=repr(error), code=repr(code)):
            caught = refused_query({"ResponseMetadata": METADATA | {"Error": error}}, 401)

            assert isinstance(caught, AuthenticationError)
            assert (caught.code, caught.message, caught.request_id) == (code, "m", "r-meta")


@pytest.mark.parametrize("code", ["task_not_exist", "TaskNotFound"])
def test_a_gateway_that_knows_no_such_task_says_not_found(code: str) -> None:
    reply = query({"code": code, "message": "no", "data": None}, 400)

    assert (reply.status, reply.status_word) == (RenderStatus.NOT_FOUND, code)


def gateway(status: str, upstream: Any = None, **task: Any) -> dict[str, Any]:
    """A new-api gateway's answer: its task, which holds the API's answer."""
    return {
        "code": "success",
        "message": "",
        "data": {
            "task_id": TASK,
            "platform": "51",
            "action": "generate",
            "status": status,
            "fail_reason": "",
            "progress": "100%",
            "data": upstream,
        }
        | task,
    }


def test_a_gateways_words_are_understood(subtests: pytest.Subtests) -> None:
    cases: list[tuple[str, RenderStatus]] = [
        ("NOT_START", RenderStatus.IN_QUEUE),
        ("SUBMITTED", RenderStatus.IN_QUEUE),
        ("QUEUED", RenderStatus.IN_QUEUE),
        ("IN_PROGRESS", RenderStatus.GENERATING),
        ("SUCCESS", RenderStatus.DONE),
        ("FAILURE", RenderStatus.FAILED),
        ("UNKNOWN", RenderStatus.UNKNOWN),
    ]
    for word, status in cases:
        with subtests.test(word=repr(word), status=repr(status)):
            assert query(gateway(word)).status is status


def test_a_gateways_link_is_found_wherever_it_stands(subtests: pytest.Subtests) -> None:
    cases: list[Any] = [
        gateway("SUCCESS", success({"status": "done", "video_url": URL, "aigc_meta_tagged": True})),
        gateway("UNKNOWN", success({"status": "done", "video_url": URL, "aigc_meta_tagged": True})),
        gateway("SUCCESS", result_url=URL, aigc_meta_tagged=True),
        gateway("SUCCESS", fail_reason=URL, aigc_meta_tagged=True),
        {
            "code": 10000,
            "data": {"task_id": "local", "status": "done", "video_url": URL, "aigc_meta_tagged": True},
        },
        {"id": TASK, "object": "video", "status": "completed", "video_url": URL, "aigc_meta_tagged": True},
    ]
    for reply in cases:
        with subtests.test(reply=repr(reply)):
            found = query(reply)

            assert (found.status, found.video_url, found.aigc_meta_tagged) == (RenderStatus.DONE, URL, True)


def test_the_apis_own_link_comes_before_a_gateways() -> None:
    upstream = success({"status": "done", "video_url": URL})

    assert (
        query(gateway("SUCCESS", upstream, result_url="https://gw.example/v1/videos/1/content")).video_url
        == URL
    )


def test_a_status_inside_is_read_where_the_gateway_has_no_word_for_it() -> None:
    assert query(gateway("UNKNOWN", success({"status": "generating"}))).status is RenderStatus.GENERATING


def test_a_failure_inside_a_gateways_success_ends_the_render() -> None:
    inner = {
        "code": 50511,
        "message": "Post Img Risk Not Pass",
        "data": {"status": "done"},
        "request_id": "r-in",
    }
    error = refused_query(gateway("SUCCESS", inner))

    assert isinstance(error, OutputModeratedError)
    assert (error.code, error.request_id) == ("50511", "r-in")


def test_a_gateways_failure_says_why() -> None:
    reply = query(gateway("FAILURE", fail_reason="upstream gave up, see https://a.example/x?sig=1"))

    assert (reply.status, reply.code) == (RenderStatus.FAILED, None)
    assert reply.message == "upstream gave up, see https://a.example/x?…"


def test_a_gateways_failure_is_final_whatever_code_it_met_last() -> None:
    reply = query(gateway("FAILURE", {"code": 50430, "message": "busy", "data": None}))

    assert (reply.status, reply.code, reply.message) == (RenderStatus.FAILED, "50430", "busy")


def test_an_error_object_inside_the_data_is_read() -> None:
    error = {"code": "ContentFiltered", "message": "no"}

    assert isinstance(
        refused_query({"code": "success", "data": {"status": "FAILURE", "error": error}}), InputModeratedError
    )
    reply = query({"id": TASK, "status": "failed", "error": {"code": "boom", "message": "it broke"}})
    assert (reply.status, reply.code, reply.message) == (RenderStatus.FAILED, "boom", "it broke")


def test_done_with_a_code_that_is_no_success_has_failed(subtests: pytest.Subtests) -> None:
    cases: list[Any] = [50500, "50501", 59999, "novel"]
    for code in cases:
        with subtests.test(code=repr(code)):
            reply = query({"code": code, "message": "no", "data": {"status": "done"}, "request_id": "r1"})

            assert (reply.status, reply.code, reply.message) == (RenderStatus.FAILED, str(code), "no")


def test_done_with_a_link_and_an_unlisted_code_is_landed_rather_than_lost() -> None:
    reply = query({"code": 20000, "data": {"status": "done", "video_url": URL}})

    assert (reply.status, reply.video_url) == (RenderStatus.DONE, URL)


def test_done_beside_throttling_or_refused_access_settles_nothing(subtests: pytest.Subtests) -> None:
    cases: list[int] = [50429, 50430, 50400, 100010]
    for code in cases:
        with subtests.test(code=repr(code)):
            assert isinstance(refused_query({"code": code, "data": {"status": "done"}}), ApiError)


def test_a_known_word_counts_beside_an_unlisted_code_and_not_beside_a_listed_one(
    subtests: pytest.Subtests,
) -> None:
    cases: list[str] = ["expired", "not_found", "generating"]
    for word in cases:
        with subtests.test(word=repr(word)):
            assert query({"code": 40404, "data": {"status": word}}, 404).status == word
            assert isinstance(refused_query({"code": 50500, "data": {"status": word}}, 500), ServerError)


def test_no_proxys_error_in_json_ends_a_render(subtests: pytest.Subtests) -> None:
    http_status_cases: list[int] = [400, 404, 500, 502, 503, 504]
    pages: list[Any] = [
        {"status": "failed", "message": "upstream unavailable"},
        {"status": "fail", "error": "bad gateway"},
        {"status": "expired", "id": "trace-1"},
        {"code": "novel", "status": "failed"},
        {"error": {"code": "novel", "message": "no"}, "status": "not_found"},
        {"code": "invalid_request", "message": "no", "data": None},
        {"status": 500, "error": "Internal Server Error", "path": "/"},
    ]
    for http_status in http_status_cases:
        for page in pages:
            with subtests.test(http_status=repr(http_status), page=repr(page)):
                error = refused_query(page, http_status)

                assert isinstance(error, ApiError)
                assert error.entry is None or not error.entry.fails_render


# --- cancel -----------------------------------------------------------------------------------------------------------


def test_a_cancel_is_done_or_refused_by_its_code() -> None:
    assert parse_cancel(200, encode(success(None))) == CancelReply(request_id="r1")
    with pytest.raises(PermissionDeniedError):
        parse_cancel(401, encode({"code": 50400, "data": None}))
    with pytest.raises(UnknownCodeError):
        parse_cancel(200, b"{}")


# --- anything ---------------------------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [
        "done",
        "generating",
        "failed",
        "SUCCESS",
        "FAILURE",
        "novel",
        "",
        URL,
        TASK,
        "50511",
        "50430",
        "success",
        "\ud83d",
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | WORDS
KEYS = st.sampled_from(
    [
        "code",
        "data",
        "status",
        "message",
        "task_id",
        "id",
        "request_id",
        "error",
        "Error",
        "ResponseMetadata",
        "Result",
        "Code",
        "CodeN",
        "type",
        "video_url",
        "fail_reason",
        "aigc_meta_tagged",
    ]
)
ANSWERS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=6,
)
ANSWER = st.dictionaries(KEYS, ANSWERS, max_size=5)
HTTP = st.sampled_from([200, 201, 302, 307, 400, 401, 403, 404, 408, 429, 499, 500, 502, 503, 504])


def check_anything(http_status: int, content: bytes) -> None:
    for parse, reply_class in (
        (parse_submit, SubmitReply),
        (parse_query, QueryReply),
        (parse_cancel, CancelReply),
    ):
        answer: Any
        try:
            answer = parse(http_status, content)
        except (ApiError, UnreadableReplyError) as error:
            answer = error
        assert isinstance(answer, reply_class | ApiError | UnreadableReplyError)
        assert str(answer).encode()
        if isinstance(answer, JimengError):
            assert certainly_not_accepted(answer) in (True, False)


@given(HTTP, st.binary())
@example(200, b'{"code":1e400}')
@example(200, b'{"code":NaN}')
@example(200, b"[" * 200_000)
@example(200, b"9" * 5000)
@example(200, b"\xef\xbb\xbf{}")
def test_any_bytes_are_an_answer_or_an_error_of_ours(http_status: int, content: bytes) -> None:
    check_anything(http_status, content)


@given(HTTP, ANSWER)
def test_any_json_is_an_answer_or_an_error_of_ours(http_status: int, answer: dict[str, Any]) -> None:
    check_anything(http_status, json.dumps(answer).encode())


@given(HTTP, ANSWER, st.integers(0, 100))
def test_a_document_cut_anywhere_is_an_answer_or_an_error_of_ours(
    http_status: int, answer: dict[str, Any], cut: int
) -> None:
    content = json.dumps(answer).encode()
    check_anything(http_status, content[: len(content) * cut // 100])


@given(st.sampled_from([200, 201]), ANSWER)
def test_an_id_in_a_2xx_is_never_dropped_as_certainly_not_accepted_without_a_refusal(
    http_status: int, answer: dict[str, Any]
) -> None:
    answer = {
        key: value
        for key, value in answer.items()
        if key not in ("error", "Error", "Result", "ResponseMetadata")
    }
    answer |= {"code": 10000, "data": {"task_id": TASK}}

    assert parse_submit(http_status, json.dumps(answer).encode()).task_id == TASK
