# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import given, strategies as st

from airflow_provider_jimeng.core.envelope import (
    MAX_DEPTH,
    MAX_MESSAGE_LENGTH,
    Envelope,
    code_text,
    error_object,
    first_text,
    opened,
    readable,
)

if TYPE_CHECKING:
    import pytest


def read(reply: Any, http_status: int = 200) -> Envelope:
    return Envelope.read(http_status, json.dumps(reply).encode())


def test_a_yes_is_understood_in_every_dialect(subtests: pytest.Subtests) -> None:
    cases: list[Any] = [10000, "10000", 10000.0, "success", "SUCCESS", "0", 0, 200, "ok"]
    for code in cases:
        with subtests.test(code=repr(code)):
            assert read({"code": code}).succeeded


def test_nothing_else_is_a_yes(subtests: pytest.Subtests) -> None:
    cases: list[Any] = [None, "", True, 1, "10000.0", {"a": 1}, [10000]]
    for code in cases:
        with subtests.test(code=repr(code)):
            assert not read({"code": code}).succeeded


def test_a_code_is_text_whatever_it_was(subtests: pytest.Subtests) -> None:
    cases: list[tuple[Any, str | None]] = [
        (1.5, "1.5"),
        ("  x ", "x"),
        ([1], "[1]"),
        (None, None),
        (" ", None),
    ]
    for value, text in cases:
        with subtests.test(value=repr(value), text=repr(text)):
            assert code_text(value) == text


def test_an_endless_code_is_cut() -> None:
    assert code_text("x" * 1000) == "x" * 80


def test_an_error_beside_a_code_of_success_is_an_error() -> None:
    reply = read({"code": 10000, "error": {"message": "no"}})

    assert reply.refused
    assert not reply.succeeded
    assert str(reply.error()) == "no (code none, HTTP 200)"


def test_an_empty_error_is_none(subtests: pytest.Subtests) -> None:
    cases: list[Any] = [None, "", {}, [], {"code": "", "message": ""}, {"Code": "", "CodeN": 0}]
    for error in cases:
        with subtests.test(error=repr(error)):
            assert error_object({"error": error}) == {}
            assert not read({"code": 10000, "error": error, "ResponseMetadata": {"Error": error}}).refused


def test_answers_wrapped_in_answers_are_followed_so_far_and_no_further() -> None:
    reply: dict[str, Any] = {"status": "innermost"}
    for _ in range(10):
        reply = {"data": reply}

    assert len(read(reply).layers()) == MAX_DEPTH


def test_an_answer_without_data_speaks_of_a_render_only_if_it_is_good_and_names_one(
    subtests: pytest.Subtests,
) -> None:
    cases: list[tuple[dict[str, Any], int, bool]] = [
        ({"task_id": "1", "status": "failed"}, 200, True),
        ({"id": "1", "status": "failed"}, 200, True),
        ({"video_url": "https://a.example/1.mp4"}, 200, True),
        ({"status": "failed"}, 200, False),
        ({"id": "1", "status": "failed"}, 502, False),
        ({"data": {}, "status": "failed"}, 200, False),
    ]
    for reply, http_status, flat in cases:
        with subtests.test(reply=repr(reply), http_status=repr(http_status), flat=repr(flat)):
            assert read(reply, http_status).layers() == ([reply] if flat else [])


def test_the_message_is_found_under_either_name() -> None:
    assert read({"message": "a"}).message == "a"
    assert read({"msg": "b"}).message == "b"
    assert read({}).message == ""


def test_the_first_text_is_text_or_a_whole_number(subtests: pytest.Subtests) -> None:
    cases: list[tuple[tuple[Any, ...], str | None]] = [
        ((None, "", "  ", "a"), "a"),
        ((True, 5), "5"),
        ((None, [], {}), None),
        (("\ud83d",), "?"),
    ]
    for values, text in cases:
        with subtests.test(values=repr(values), text=repr(text)):
            assert first_text(*values) == text


def test_an_object_is_found_in_a_list_of_one_and_in_its_json_text() -> None:
    for written in ({"a": 1}, [{"a": 1}], '{"a": 1}', ' {"a": 1}', ['{"a": 1}']):
        assert opened(written) == {"a": 1}
    for nothing in (
        None,
        5,
        "text",
        "{half",
        "[" * 100_000,
        '{"a":' * 100_000,
        [{"a": 1}, {"b": 2}],
        [],
        "[1]",
    ):
        assert opened(nothing) == {}


def test_a_long_message_of_nothing_but_links_is_cut_before_it_is_searched() -> None:
    assert len(readable("http://" * 500_000) or "") <= 1001


def test_a_message_gives_away_no_signed_link(subtests: pytest.Subtests) -> None:
    cases: list[tuple[str | None, str | None]] = [
        (None, None),
        ("plain", "plain"),
        ("get https://a.example/i.png?X-Sig=s&b=1 failed", "get https://a.example/i.png?… failed"),
        ('"http://a.example#frag", then', '"http://a.example?…", then'),
        ("half \ud83d", "half ?"),
    ]
    for message, text in cases:
        with subtests.test(message=repr(message), text=repr(text)):
            assert readable(message) == text


@given(st.text())
def test_a_message_is_bounded_and_can_be_written(message: str) -> None:
    text = readable(message * 50)

    assert text is not None
    assert len(text.encode()) >= 0
    assert len(text) <= MAX_MESSAGE_LENGTH + 1
    assert readable(text) == text
