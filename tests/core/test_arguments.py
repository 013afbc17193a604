# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import math
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given, strategies as st

from airflow_provider_jimeng.core.arguments import (
    as_bool,
    as_mapping,
    is_absent,
    is_visible,
    read_amount,
    read_seconds,
    read_text,
    read_whole,
    shown,
)
from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.core.frames import read_reference


class OpenablePath(PurePosixPath):
    """Stands for what a storage library hands over as a path."""

    def open(self) -> None: ...


def whole(value: Any) -> int:
    return read_whole("take", value, 1, lowest=-1, highest=100, remedy="takes are numbered")


def test_what_a_template_leaves_of_nothing_is_absent(subtests: pytest.Subtests) -> None:
    cases: list[Any] = [None, "", "  ", "None", " None "]
    for value in cases:
        with subtests.test(value=repr(value)):
            assert is_absent(value)
            assert read_text("prompt", value) is None
            assert read_reference("first_frame", value) is None
            assert whole(value) == 1


def test_a_whole_number_may_come_as_rendered_text(subtests: pytest.Subtests) -> None:
    cases: list[Any] = [5, "5", " 5 ", 5.0, "5.0", Decimal(5), "05"]
    for value in cases:
        with subtests.test(value=repr(value)):
            assert whole(value) == 5


def test_anything_else_is_no_whole_number(subtests: pytest.Subtests) -> None:
    cases: list[Any] = [
        5.5,
        "5.5",
        "five",
        "nan",
        "inf",
        True,
        "True",
        -2,
        101,
        "1e999999999",
        "1e-99",
        [5],
        {},
    ]
    for value in cases:
        with (
            subtests.test(value=repr(value)),
            pytest.raises(
                ParameterError, match=r"take: expected a whole number from -1 to 100, .*; takes are numbered"
            ),
        ):
            whole(value)


def test_an_amount_may_come_as_text_or_number(subtests: pytest.Subtests) -> None:
    cases: list[tuple[Any, str]] = [("20", "20"), (7.5, "7.5"), (0, "0"), (Decimal("1.20"), "1.20")]
    for value, amount in cases:
        with subtests.test(value=repr(value), amount=repr(amount)):
            assert read_amount("max_cost_cny", value) == Decimal(amount)


def test_anything_else_is_no_amount(subtests: pytest.Subtests) -> None:
    cases: list[Any] = ["cheap", -1, "nan", "inf", True, [], math.nan]
    for value in cases:
        with subtests.test(value=repr(value)):
            with pytest.raises(ParameterError, match="max_cost_cny: expected an amount in CNY"):
                read_amount("max_cost_cny", value)


def test_seconds_are_read_as_templates_leave_them(subtests: pytest.Subtests) -> None:
    cases: list[tuple[Any, float]] = [("1.5", 1.5), (0, 0.0), (60, 60.0), (" 7 ", 7.0)]
    for value, seconds in cases:
        with subtests.test(value=repr(value), seconds=repr(seconds)):
            assert read_seconds("wait_timeout", value) == seconds


def test_what_is_no_number_of_seconds_is_refused_by_name(subtests: pytest.Subtests) -> None:
    cases: list[Any] = ["soon", None, -1, "nan", "inf", math.inf, True, [], 10**400]
    for value in cases:
        with subtests.test(value=repr(value)):
            with pytest.raises(ParameterError, match="wait_timeout: expected a number of seconds"):
                read_seconds("wait_timeout", value)


def test_text_with_half_a_character_is_refused_for_it_cannot_be_sent() -> None:
    with pytest.raises(ParameterError, match="prompt: has half a character at position 4"):
        read_text("prompt", "cat \ud83d")


def test_a_reference_is_kept_as_it_is(subtests: pytest.Subtests) -> None:
    cases: list[tuple[Any, str]] = [
        (" /data/cat.jpg ", "/data/cat.jpg"),
        ("https://a.example/cat.jpg?sig=1", "https://a.example/cat.jpg?sig=1"),
        ("s3://conn@bucket/cat.png", "s3://conn@bucket/cat.png"),
        (OpenablePath("/data/cat.jpg"), "/data/cat.jpg"),
    ]
    for value, reference in cases:
        with subtests.test(value=repr(value), reference=repr(reference)):
            assert read_reference("first_frame", value) == reference


def test_what_is_no_reference_is_refused(subtests: pytest.Subtests) -> None:
    cases: list[Any] = [b"\xff\xd8", ["a.jpg"], {"url": "a"}, 5]
    for value in cases:
        with subtests.test(value=repr(value)):
            with pytest.raises(ParameterError, match="first_frame: expected text"):
                read_reference("first_frame", value)


def test_a_data_uri_is_refused_without_being_repeated() -> None:
    with pytest.raises(ParameterError, match="data: URI; give a file") as caught:
        read_reference("first_frame", "data:image/png;base64,AAAA")

    assert "AAAA" not in str(caught.value)


def test_an_image_given_as_itself_is_refused_in_short(subtests: pytest.Subtests) -> None:
    cases: list[tuple[Any, str]] = [
        (
            base64.b64encode(b"\xff\xd8\xff\xe0" + bytes(5_000_000)).decode(),
            "is an image in base64; give a file",
        ),
        ("data:image/png;base64," + "A" * 8_000_000, "is a data: URI; give a file"),
        (b"\xff\xd8\xff" * 1_000_000, "expected text, got bytes; give a file"),
        (bytearray(5_000_000), "expected text, got bytes; give a file"),
        (memoryview(bytes(10)), "expected text, got bytes; give a file"),
        ("x" * 8_000_000, "has 8,000,000 characters and is not a path or a link; give a file"),
        ([b"x" * 1_000_000], "expected text, got"),
    ]
    for value, says in cases:
        with subtests.test(value=repr(value), says=repr(says)):
            with pytest.raises(ParameterError, match=f"^first_frame: {says}") as caught:
                read_reference("first_frame", value)
            assert len(str(caught.value)) < 300
            assert not caught.value.retryable


def test_a_value_is_quoted_in_short_and_without_a_query() -> None:
    assert shown("a'b") == repr("a'b")
    assert shown("s3://bucket/x?X-Signature=abc") == "'s3://bucket/x?…'"
    assert shown("/d/why?.mp4") == "'/d/why?.mp4'"
    assert shown("x" * 1_000) == repr("x" * 120 + "…")
    assert shown(b"x" * 1_000_000) == "b'" + "x" * 118 + "…"
    assert shown({"a": 1}) == "{'a': 1}"


def test_a_link_without_a_host_is_refused(subtests: pytest.Subtests) -> None:
    cases: list[str] = ["https://", "http://[::1", "https:///cat.jpg"]
    for value in cases:
        with subtests.test(value=repr(value)), pytest.raises(ParameterError, match="is not a complete link"):
            read_reference("first_frame", value)


def test_two_links_or_paths_in_one_text_are_refused(subtests: pytest.Subtests) -> None:
    cases: list[str] = [
        "https://a.example/1.png https://a.example/2.png?sig=SECRET",
        "https://a.example/1.png,https://a.example/2.png?sig=SECRET",
        "https://a.example/1.png；s3://bucket/2.png?sig=SECRET",
        '["https://a.example/1.png", "https://a.example/2.png?sig=SECRET"]',
        "a.png\nb.png",
    ]
    for value in cases:
        with subtests.test(value=repr(value)):
            with pytest.raises(
                ParameterError, match=r"first_frame: .* is more than one link or path"
            ) as caught:
                read_reference("first_frame", value)
            assert "SECRET" not in str(caught.value)


def test_a_link_inside_another_one_is_part_of_it(subtests: pytest.Subtests) -> None:
    cases: list[str] = [
        "https://a.example/get?url=https://b.example/1.png",
        "https://a.example/fetch/https://b.example/1.png",
        "a b.png",
    ]
    for value in cases:
        with subtests.test(value=repr(value)):
            assert read_reference("first_frame", value) == value


def test_a_control_character_is_refused_with_its_place(subtests: pytest.Subtests) -> None:
    cases: list[str] = ["\0", "\x1b", "\x0b", "\x7f", "\x85"]
    for character in cases:
        with (
            subtests.test(character=repr(character)),
            pytest.raises(
                ParameterError, match=rf"prompt: .*U\+{ord(character):04X} at position 7, after 'a\\nkite '"
            ),
        ):
            read_text("prompt", f"a\nkite {character} b")


def test_tabs_and_line_ends_are_text() -> None:
    assert read_text("prompt", "a\tkite\r\nb") == "a\tkite\r\nb"


ANYTHING: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.lists(st.integers())
)


@given(ANYTHING)
def test_any_value_is_read_or_refused_by_name(value: Any) -> None:
    for read in (whole, lambda v: read_text("take", v), lambda v: read_reference("take", v)):
        refused = None
        try:
            read(value)
        except ParameterError as error:
            refused = error
        assert refused is None or refused.argument == "take"


def test_truth_values_may_come_from_a_template(subtests: pytest.Subtests) -> None:
    cases: list[tuple[Any, bool]] = [
        (True, True),
        (None, False),
        ("True", True),
        ("no", False),
        ("", False),
        (1, True),
    ]
    for value, truth in cases:
        with subtests.test(value=repr(value), truth=repr(truth)):
            assert as_bool("overwrite", value) is truth


def test_what_is_no_truth_value_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="overwrite"):
        as_bool("overwrite", "perhaps")


def test_a_dict_may_come_from_a_template_in_json_or_in_python_notation(subtests: pytest.Subtests) -> None:
    cases: list[str] = [
        '{"a": "x", "b": null}',
        "{'a': 'x', 'b': None}",
        " {'a': 'x',\n 'b': None} ",
    ]
    for text in cases:
        with subtests.test(text=repr(text)):
            assert as_mapping("aigc_meta", text) == {"a": "x", "b": None}


def test_a_dict_may_be_absent(subtests: pytest.Subtests) -> None:
    cases: list[Any] = [None, "", " ", "None"]
    for value in cases:
        with subtests.test(value=repr(value)):
            assert as_mapping("aigc_meta", value) is None


def test_what_is_no_dict_is_refused_in_a_short_message(subtests: pytest.Subtests) -> None:
    cases: list[Any] = ["{", "[1]", "5", "nonsense", "{'a': f()}", "[" * 5000, 5, ["a"], "{[]: 1}"]
    for value in cases:
        with subtests.test(value=repr(value)):
            assert as_mapping("aigc_meta", {"a": 1}) == {"a": 1}
            with pytest.raises(ParameterError, match="aigc_meta: expected a dict") as refused:
                as_mapping("aigc_meta", value)
            assert len(str(refused.value)) < 250


def test_no_character_of_an_empty_looking_text_is_visible(subtests: pytest.Subtests) -> None:
    cases: list[str] = [
        "\u200b\u200d",
        "\ufeff",
        "\u3000\u00a0",
        "\ufe0f",
        "\u2800",
        "\u3164\u115f",
        "\x07",
        "\u00ad\u2060",
    ]
    for text in cases:
        with subtests.test(text=repr(text)):
            assert not any(map(is_visible, text))


def test_letters_signs_and_emojis_are_visible(subtests: pytest.Subtests) -> None:
    for character in "a风é。🪁$\U0001fae9":
        with subtests.test(character=repr(character)):
            assert is_visible(character)
