# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import inspect
from typing import TYPE_CHECKING, Any

from hypothesis import given, strategies as st

from airflow_provider_jimeng.core import errors
from airflow_provider_jimeng.core.columns import unknown_column
from airflow_provider_jimeng.core.errors import (
    ApiError,
    JimengError,
    ParameterError,
    UnreadableReplyError,
)
from airflow_provider_jimeng.core.frames import read_reference
from airflow_provider_jimeng.core.outcomes import Outcome
from airflow_provider_jimeng.core.parameters import RenderRequest
from airflow_provider_jimeng.core.render import RenderEvent
from airflow_provider_jimeng.core.texts import (
    MAX_TEXT_LENGTH,
    fit,
    shorten,
    without_queries,
)

if TYPE_CHECKING:
    import pytest

SECRET = "d34db33f"
ALL_ERRORS = [
    value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, JimengError)
]


def build(error_class: type[JimengError], text: str) -> JimengError:
    """Make an error whose every text is hostile."""
    if issubclass(error_class, ParameterError):
        return error_class(text, text)
    if issubclass(error_class, UnreadableReplyError):
        return error_class(text, http_status=502)
    if issubclass(error_class, ApiError):
        return error_class(text, code=text, request_id=text, http_status=400)
    if issubclass(error_class, errors.RenderError):
        return error_class(text, event=RenderEvent(outcome=Outcome.FAILED))
    return error_class(text)


HOSTILE = {
    "a report of 605,451 characters": ("row: note is unknown. " * 30_000)[:605_451],
    "an image as base64": "first_frame: " + "QUJD/+9" * 1_200_000 + "= Give a path or a link.",
    "nothing but one word": "A" * 9_000_000,
    "a presigned link without end": f"https://b.example/x.png?X-Amz-Signature={SECRET}" * 50_000,
    "links side by side": f"see https://b.example/x.png?sign={SECRET} " * 20_000,
    "slashes": "/" * 100_000 + f"?x={SECRET}",
    "question marks": "?" * 100_000 + f"x={SECRET}",
    "schemes": "://" * 40_000 + f"?x={SECRET}",
    "half characters": "\ud83d" * 10_000,
}


def test_no_error_is_longer_than_a_log_line_may_be_or_holds_a_query(subtests: pytest.Subtests) -> None:
    for name, hostile in HOSTILE.items():
        for error_class in ALL_ERRORS:
            with subtests.test(name=name, error_class=error_class.__name__):
                error = build(error_class, hostile)

                for text in (str(error), *(arg for arg in error.args if isinstance(arg, str))):
                    assert len(text) <= MAX_TEXT_LENGTH < 4_000 - len("SomeLongNameOfAnError: ")
                    assert SECRET not in text
                    assert text.encode()


def test_an_error_whose_text_is_replaced_afterwards_is_bounded_too() -> None:
    error = errors.LandingError("short")
    error.args = ("x" * 10_000 + f" https://a.example/?sign={SECRET} Clear the task.",)

    assert len(str(error)) <= MAX_TEXT_LENGTH
    assert SECRET not in str(error)


def test_what_happened_and_what_to_do_stay_readable() -> None:
    text = "rows: 3,000 columns are unknown." + " column x1;" * 50_000 + " Remove them from the file."

    assert fit(text).startswith("rows: 3,000 columns are unknown.")
    assert fit(text).endswith("Remove them from the file.")
    assert f"shortened, {len(text):,} characters" in fit(text)


def test_a_link_in_any_coding_loses_its_query(subtests: pytest.Subtests) -> None:
    cases: list[tuple[str, str]] = [
        ("get https://a.example/i.png?X-Sig=s&b=1 failed", "get https://a.example/i.png?… failed"),
        ("s3://b/k.mp4?versionId=1", "s3://b/k.mp4?…"),
        ("oss://b/k.mp4?abc", "oss://b/k.mp4?…"),
        ("//cdn.example/k.mp4?abc.", "//cdn.example/k.mp4?…"),
        ("/v/k.mp4?X-Tos-Signature=1 is old", "/v/k.mp4?… is old"),
        ("k.mp4&Expires=1&Signature=2", "k.mp4&…"),
        ("https%3A%2F%2Fa.example%2Fk%3Fsign%3D1 x", "https%3A%2F%2Fa.example%2Fk%3F… x"),
        ("https%253A%252F%252Fa.example%252Fk%253Fsign%253D1", "https%253A%252F%252Fa.example%252Fk%253F…"),
        (r'"https:\/\/a.example\/k?a=1\u0026sign=2"', r'"https:\/\/a.example\/k?…"'),
        (r'{"url":"https://a.example/k\u003fsign\u003d2"}', r'{"url":"https://a.example/k\u003f…"}'),
        ("https://a.example/k?a='b'&sign=2", "https://a.example/k?…'b'&…"),
        ("https://a.example/k?prompt=a b&X-Amz-Signature=2", "https://a.example/k?… b&…"),
        ("X-Amz-Signature=2 was refused", "X-Amz-Signature=… was refused"),
        ("https://AK:SK@a.example/k", "https://…@a.example/k"),
        ("jimeng://:sk-1@gateway.example/?auth=bearer", "jimeng://…@gateway.example/?…"),
        ("请看https://a.example/k?sign=1，然后重试", "请看https://a.example/k?…，然后重试"),
    ]
    for text, shown in cases:
        with subtests.test(text=repr(text), shown=repr(shown)):
            assert without_queries(text) == shown
            assert without_queries(shown) == shown


def test_normal_text_stays_as_it_is(subtests: pytest.Subtests) -> None:
    cases: list[str] = [
        "Is the host right? Check it.",
        "What is it?",
        "See https://docs.example/page for more. Why?",
        "open https://docs.example/what? Then retry",
        "https://medium.example/@someone/a",
        "Q&A and R&D",
        "1 < 2 && 3 == 3",
        "mail me@a.example",
        "视频里有什么？",
        "path /a//b and //c",
    ]
    for text in cases:
        with subtests.test(text=repr(text)):
            assert without_queries(text) == text


@given(st.text(), st.text(alphabet="/?&=#%3F2a:@ \"'.…"))
def test_a_text_that_is_fit_stays_as_it_is(text: str, marks: str) -> None:
    once = fit((text + marks) * 20)

    assert fit(once) == once


def test_a_long_text_keeps_its_head_and_its_tail() -> None:
    short = shorten("a" * 500 + "b" * 500, 100)
    assert len(short) == 100
    assert short.startswith("aaa")
    assert short.endswith("bbb")
    assert "(shortened, 1,000 characters)" in short
    assert shorten("kite", 100) == "kite"


def test_no_refusal_is_long_or_shows_a_query_whatever_came_in() -> None:
    secret = "https://h/a.png?sig=SECRET "
    error = ParameterError("x" * 10_000, f"got {secret * 10_000!r}")
    assert len(str(error)) <= MAX_TEXT_LENGTH
    assert len(error.argument) <= 200
    assert "SECRET" not in str(error) + error.reason
    assert fit(str(error)) == str(error)


def test_a_refusal_can_be_kept_by_every_database() -> None:
    assert str(ParameterError("a\0b", "c\x1bd\ud800\ne")) == "a\ufffdb: c\ufffdd?\ne"


def test_no_refusal_takes_long_whatever_came_in(subtests: pytest.Subtests) -> None:
    cases: list[str] = ["x", "(", ",", "a,", "https://", "?", "a:/"]
    for unit in cases:
        with subtests.test(unit=repr(unit)):
            text = unit * 1_000_000
            assert len(str(ParameterError(text, text))) <= MAX_TEXT_LENGTH
            assert len(unknown_column(text)) < 500
            with contextlib.suppress(ParameterError):
                read_reference("first_frame", text)


ARGUMENTS = sorted(set(inspect.signature(RenderRequest.build).parameters) - {"catalogue"})


def test_no_argument_is_quoted_at_length_or_with_a_signature(subtests: pytest.Subtests) -> None:
    values: list[Any] = [
        f"https://b.example/x.png?X-Amz-Signature={SECRET}",
        "QUJD/+9" * 1_200_000,
        {"a": f"https://b.example/x.png?sign={SECRET}"},
        [f"s3://b/x.png?sign={SECRET}"] * 5_000,
    ]
    for name in ARGUMENTS:
        for value in values:
            with subtests.test(name=repr(name), value=repr(value)):
                given: dict[str, Any] = {"prompt": "a kite", "model": "i2v_recamera_720p", name: value}
                try:
                    request = RenderRequest.build(**given)
                except JimengError as error:
                    texts = [str(error), *map(str, error.args)]
                else:
                    texts = list(request.warnings)

                assert all(len(text) <= MAX_TEXT_LENGTH and SECRET not in text for text in texts)
