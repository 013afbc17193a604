# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from airflow_provider_jimeng.core.catalogue import MODELS
from airflow_provider_jimeng.core.columns import is_missing, read_cell, read_ratio, trim
from airflow_provider_jimeng.core.errors import ParameterError


def test_every_kind_of_missing_value_is_absent(subtests: pytest.Subtests) -> None:
    cases: list[Any] = [
        None,
        math.nan,
        np.nan,
        np.float32("nan"),
        pd.NA,
        pd.NaT,
        np.datetime64("NaT", "s"),
        Decimal("NaN"),
        "nan",
        "<NA>",
    ]
    for value in cases:
        with subtests.test(value=repr(value)):
            assert is_missing(value)
            assert read_cell("seed", value) is None
            assert read_cell("prompt", value) is None


def test_other_values_are_not_missing(subtests: pytest.Subtests) -> None:
    cases: list[Any] = [0, "", "kite", False, [], {}, np.array([1, 2]), np.int64(0)]
    for value in cases:
        with subtests.test(value=repr(value)):
            assert not is_missing(value)


def test_what_refuses_to_be_compared_is_not_missing() -> None:
    class Odd:
        def __ne__(self, other: object) -> bool:
            raise TypeError

        __hash__ = None  # type: ignore[assignment]

    assert not is_missing(Odd())


def test_a_cell_is_read_as_the_argument_takes_it(subtests: pytest.Subtests) -> None:
    cases: list[tuple[str, Any, Any]] = [
        ("seed", np.int64(5), 5),
        ("duration", np.float64(5.0), 5.0),
        ("seed", "7", "7"),
        ("extra_body", {"a": 1}, {"a": 1}),
        ("extra_body", np.array([1, 2]), [1, 2]),
        ("output_name", 1001, "1001"),
        ("output_name", 1001.0, "1001"),
        ("output_name", np.str_("kite"), "kite"),
        ("prompt", 7.5, "7.5"),
        ("prompt", math.inf, "inf"),
        ("prompt", True, True),
        ("prompt", ' a "kite" ', ' a "kite" '),
        ("prompt", "\u200b", "\u200b"),
        ("output_name", '="0016"', "0016"),
        ("model", "\ufeff t2v_720p\u200b", "t2v_720p"),
        ("seed", "\u200b", None),
        ("aspect_ratio", time(16, 9), "16:9"),
        ("duration", "5秒", "5"),
        ("duration", "10 s", "10"),
        ("duration", "5.0 sec", "5.0"),
        ("duration", "long", "long"),
    ]
    for column, value, read in cases:
        with subtests.test(column=repr(column), value=repr(value), read=repr(read)):
            assert read_cell(column, value) == read


def test_what_excel_put_in_the_place_of_a_value_is_refused(subtests: pytest.Subtests) -> None:
    cases: list[tuple[str, Any, str]] = [
        ("prompt", "#N/A", "prompt: contains Excel's error #N/A"),
        ("first_frame", " #REF! ", "first_frame: contains Excel's error #REF!"),
        ("seed", "########", "seed: contains only #"),
        ("seed", "1.23E+09", r"seed: 1\.23E\+09 is a long number that Excel has rounded"),
        ("output_name", date(2026, 3, 1), "output_name: contains the date or time '2026-03-01'"),
        ("duration", time(5), "duration: contains the date or time"),
    ]
    for column, value, says in cases:
        with subtests.test(column=repr(column), value=repr(value), says=repr(says)):
            with pytest.raises(ParameterError, match=says):
                read_cell(column, value)


def test_blanks_and_zero_width_characters_around_a_text_are_cut_and_nothing_else() -> None:
    assert trim("\ufeff \u200bcafe\u0301 ❤\ufe0f\u200b\n") == "cafe\u0301 ❤\ufe0f"
    assert trim("a\0") == "a\0"


RATIOS = MODELS["t2v_720p"].aspect_ratios


def test_a_ratio_is_read_however_people_write_it(subtests: pytest.Subtests) -> None:
    forms: list[str] = [
        "{a}:{b}",
        "{a}：{b}",
        "{a}∶{b}",
        "{a}/{b}",
        "{a}x{b}",
        "{a} X {b}",
        "{a}×{b}",
        "{a}-{b}",
        "{a}比{b}",
        "'{a}:{b}",
    ]
    for ratio in RATIOS:
        for form in forms:
            with subtests.test(ratio=repr(ratio), form=repr(form)):
                across, down = ratio.split(":")
                assert read_ratio(form.format(a=across, b=down)) == ratio


def test_a_ratio_that_excel_took_for_a_time_is_read_in_every_form_of_it(subtests: pytest.Subtests) -> None:
    for ratio in RATIOS:
        with subtests.test(ratio=repr(ratio)):
            hour, minute = map(int, ratio.split(":"))
            half, chinese = ("AM", "上午") if hour < 12 else ("PM", "下午")
            twelve = hour % 12 or 12
            forms: list[Any] = [
                f"{hour}:{minute:02}",
                f"{hour:02}:{minute:02}:00",
                f"{hour:02}：{minute:02}：00",
                f"{twelve}:{minute:02}:00 {half}",
                f"{twelve}:{minute:02} {half.lower()}",
                f"{chinese}{twelve}:{minute:02}:00",
                f"{hour}时{minute:02}分",
                f"{hour}时{minute:02}分00秒",
                f"1900-01-00 {hour:02}:{minute:02}:00",
                f"1899-12-30 {hour:02}:{minute:02}:00",
                time(hour, minute),
                timedelta(hours=hour, minutes=minute),
                datetime(1899, 12, 30, hour, minute),  # noqa: DTZ001  Excel knows no time zones
                (hour * 60 + minute) / 1440,
                f"{(hour * 60 + minute) / 1440:.4f}",
                f"{(hour * 60 + minute) / 1440:.15f}",
            ]
            assert [read_ratio(form) for form in forms] == [ratio] * len(forms)


def test_a_ratio_that_was_calculated_or_that_yaml_read_is_told_from_the_number(
    subtests: pytest.Subtests,
) -> None:
    for ratio in RATIOS:
        with subtests.test(ratio=repr(ratio)):
            across, down = map(int, ratio.split(":"))
            assert read_ratio(across / down) == ratio
            assert read_ratio(f"{across / down:.2f}") == ratio
            assert read_ratio(across * 60 + down) == ratio


def test_a_date_that_can_mean_one_ratio_only_is_read(subtests: pytest.Subtests) -> None:
    cases: list[tuple[Any, str]] = [
        ("1月1日", "1:1"),
        ("9月21日", "21:9"),
        ("2026年9月21日", "21:9"),
        ("Sep-21", "21:9"),
        (date(2026, 1, 1), "1:1"),
        (datetime(2026, 9, 21), "21:9"),  # noqa: DTZ001
    ]
    for value, ratio in cases:
        with subtests.test(value=repr(value), ratio=repr(ratio)):
            assert read_ratio(value) == ratio


def test_what_excel_made_of_a_ratio_is_refused_with_the_cause_if_it_may_mean_two_or_none(
    subtests: pytest.Subtests,
) -> None:
    cases: list[Any] = [
        "9月16日",
        "2026/9/16",
        "2026-09-16 00:00:00",
        "16-Sep",
        "16-Sep-26",
        "Sep-16",
        "3月4日",
        "5月5日",
        date(2026, 9, 16),
        datetime(2026, 9, 16),  # noqa: DTZ001
        datetime(2026, 9, 16, 12, 30),  # noqa: DTZ001
        time(16, 9, 5),
        timedelta(hours=16, minutes=9, seconds=5),
        "16:09:05",
        0.5,
        "0.51",
    ]
    for value in cases:
        with subtests.test(value=repr(value)):
            with pytest.raises(ParameterError, match=r"aspect_ratio: .*Excel .*Format the column as text"):
                read_ratio(value)


def test_anything_else_is_left_to_the_model_to_refuse(subtests: pytest.Subtests) -> None:
    cases: list[tuple[Any, str]] = [
        ("2:1", "2:1"),
        (time(3, 2), "3:2"),
        (" wide ", "wide"),
        (True, "True"),
        (7, "7"),
        ([], "[]"),
        (float("inf"), "inf"),
    ]
    for value, text in cases:
        with subtests.test(value=repr(value), text=repr(text)):
            assert read_ratio(value) == text


def test_a_number_beyond_all_bounds_is_left_to_the_model_to_refuse() -> None:
    assert read_ratio(10**400) == str(10**400)
