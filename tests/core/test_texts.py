from __future__ import annotations

import contextlib

import pytest

from airflow_provider_jimeng.core.arguments import read_reference
from airflow_provider_jimeng.core.columns import unknown_column
from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.core.texts import (
    LONGEST_MESSAGE,
    first_control,
    for_message,
    hide_queries,
    is_visible,
    shorten,
    trim,
)


@pytest.mark.parametrize(
    "text",
    ["\u200b\u200d", "\ufeff", "\u3000\u00a0", "\ufe0f", "\u2800", "\u3164\u115f", "\x07", "\u00ad\u2060"],
)
def test_no_character_of_an_empty_looking_text_is_visible(text: str) -> None:
    assert not any(map(is_visible, text))


@pytest.mark.parametrize("character", "a风é。🪁$\U0001fae9")
def test_letters_signs_and_emojis_are_visible(character: str) -> None:
    assert is_visible(character)


def test_blanks_and_zero_width_characters_around_a_text_are_cut_and_nothing_else() -> None:
    assert trim("\ufeff \u200bcafe\u0301 ❤\ufe0f\u200b\n") == "cafe\u0301 ❤\ufe0f"
    assert trim("a\0") == "a\0"


def test_the_first_control_character_is_found_and_line_ends_are_none() -> None:
    assert first_control("a\tb\r\nc") is None
    assert first_control("a\nb\0\0") == 3
    assert first_control("a\x85") == 1


def test_a_long_text_keeps_its_head_and_its_tail() -> None:
    short = shorten("a" * 500 + "b" * 500, 100)
    assert len(short) == 100
    assert short.startswith("aaa")
    assert short.endswith("bbb")
    assert "(1,000 characters)" in short
    assert shorten("kite", 100) == "kite"


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("https://h/a.csv?X-Sig=1&b=2", "https://h/a.csv?…"),
        ("got 'https://h/a?sig=1', twice", "got 'https://h/a?…', twice"),
        ("https://user:word@h/a#part", "https://h/a?…"),
        ("s3://conn@bucket/a?versionId=1 is", "s3://conn@bucket/a?… is"),
        ("What? No link", "What? No link"),
        ("https://h/a", "https://h/a"),
    ],
)
def test_queries_and_users_of_links_are_hidden(text: str, hidden: str) -> None:
    assert hide_queries(text) == hidden
    assert hide_queries(hidden) == hidden


def test_no_refusal_is_long_or_shows_a_query_whatever_came_in() -> None:
    secret = "https://h/a.png?sig=SECRET "
    error = ParameterError("x" * 10_000, f"got {secret * 10_000!r}")
    assert len(str(error)) <= LONGEST_MESSAGE
    assert len(error.argument) <= 200
    assert "SECRET" not in str(error) + error.reason
    assert for_message(str(error)) == str(error)


def test_a_refusal_can_be_kept_by_every_database() -> None:
    assert str(ParameterError("a\0b", "c\x1bd\ud800\ne")) == "a\ufffdb: c\ufffdd?\ne"


@pytest.mark.parametrize("unit", ["x", "(", ",", "a,", "https://", "?", "a:/"])
def test_no_refusal_takes_long_whatever_came_in(unit: str) -> None:
    text = unit * 1_000_000
    assert len(str(ParameterError(text, text))) <= LONGEST_MESSAGE
    assert len(unknown_column(text)) < 500
    with contextlib.suppress(ParameterError):
        read_reference("first_frame", text)
