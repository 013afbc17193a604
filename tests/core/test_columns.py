from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.core.rows import COLUMNS, check_header, column_of, read_ignored, unknown_column


def test_every_column_is_known_by_all_its_names_and_has_a_chinese_one() -> None:
    for column, aliases in COLUMNS.items():
        assert {column_of(name) for name in (column, *aliases)} == {column}
        assert any(not alias.isascii() for alias in aliases)


def test_a_name_is_known_with_what_people_put_around_it(subtests: pytest.Subtests) -> None:
    cases: list[tuple[Any, str | None]] = [
        (" Output Name ", "output_name"),
        ("first-frame", "first_frame"),
        ("\ufeffPROMPT\u200b", "prompt"),
        ("时长（秒）", "duration"),
        ("duration [s]", "duration"),
        ("*提示词", "prompt"),
        ("提示词：", "prompt"),
        ("提示词*（必填）", "prompt"),
        ("ｓｅｅｄ", "seed"),
        ("", None),
        ("备注", None),
        (7, None),
    ]
    for name, column in cases:
        with subtests.test(name=repr(name), column=repr(column)):
            assert column_of(name) == column


def test_an_unknown_name_is_told_with_the_nearest_one_or_with_all() -> None:
    assert unknown_column("aspect_rato").startswith("is not a column. Did you mean aspect_ratio?")
    assert "视频描述" in unknown_column("视频描叙")
    assert "24 frames a second" in unknown_column("FPS")
    assert all(column in unknown_column("x" * 5000) for column in COLUMNS)
    assert len(unknown_column("x" * 5000)) < 400


def test_ignored_columns_come_as_text_or_as_a_list(subtests: pytest.Subtests) -> None:
    cases: list[tuple[Any, set[str]]] = [
        (None, set()),
        ("", set()),
        ("None", set()),
        ("note, SKU，备注", {"note", "sku", "备注"}),
        ('["Note 1", "sku"]', {"note_1", "sku"}),
        (("note", "sku "), {"note", "sku"}),
        ({"note"}, {"note"}),
    ]
    for given, names in cases:
        with subtests.test(given=repr(given), names=repr(names)):
            assert read_ignored(given) == names


def test_what_is_no_list_of_names_is_refused(subtests: pytest.Subtests) -> None:
    cases: list[Any] = [7, {"note": 1}, b"note"]
    for given in cases:
        with subtests.test(given=repr(given)):
            with pytest.raises(ParameterError, match="ignore_columns: expected names of columns"):
                read_ignored(given)


def test_a_header_without_any_column_is_refused_as_it_was_read() -> None:
    check_header(["备注", "prompt"])
    with pytest.raises(
        ParameterError, match=r"does not name any of the columns. It reads: 'Access denied', 'x"
    ):
        check_header(["Access denied", "", "x" * 100_000])
