from __future__ import annotations

import math
from datetime import date, time
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from airflow_provider_jimeng.core.cells import is_missing, read_cell, trim
from airflow_provider_jimeng.core.errors import ParameterError


def test_every_kind_of_missing_value_is_absent(subtests: pytest.Subtests) -> None:
    cases: list[Any] = [
        None,
        math.nan,
        np.nan,
        np.float32("nan"),
        pd.NA,
        pd.NaT,
        np.datetime64("NaT"),
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
        ("seed", "1.23E+09", r"seed: 1\.23E\+09 is what Excel makes of a long number"),
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
