"""One cell of a row, as Excel, a data frame or JSON leaves it: absent, a text, a number, or what Excel made of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, time, timedelta
from typing import Any

from airflow_provider_jimeng.core.arguments import is_absent
from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.core.ratios import read_ratio
from airflow_provider_jimeng.core.texts import trim

_MISSING_WORDS = frozenset({"nan", "NaN", "NaT", "<NA>"})
"""What pandas makes of a missing value when everything becomes text."""
_RETYPE = "Format the column as text, type the value again, and save the file."
_NUMBERS = frozenset({"duration", "seed", "take"})
_EXCEL_ERRORS = frozenset(
    {"#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NUM!", "#NULL!", "#SPILL!", "#CALC!", "#FIELD!"}
)
_HASHES = re.compile(r"#{3,}")
_AS_TEXT = re.compile(r'="(.*)"', re.DOTALL)
_ROUNDED = re.compile(r"-?\d(?:\.\d+)?E\+\d+", re.IGNORECASE)
_SECONDS = re.compile(r"(\d+(?:\.0+)?)\s*(?:s|sec|secs|seconds?|秒钟?)", re.IGNORECASE)


def is_missing(value: Any) -> bool:
    """Whether a value stands for a missing one: ``None``, NaN, NaT, pandas' NA, or their text."""
    if value is None:
        return True
    if isinstance(value, str):
        return value.strip() in _MISSING_WORDS
    try:
        return bool(value != value)  # noqa: PLR0124  NaN and NaT differ from themselves
    except TypeError:  # pandas' NA answers neither yes nor no
        return type(value).__name__ == "NAType"
    except ValueError:  # an array
        return False


def is_blank(value: Any) -> bool:
    """Whether nothing stands in a cell."""
    return is_missing(value) or is_absent(value)


def read_cell(column: str, value: Any) -> Any:
    """Return a cell's value as the argument of a render takes it; ``None`` if it is absent.

    :raises ParameterError: Excel put something in its place.
    """
    if hasattr(value, "dtype") and not isinstance(value, str):  # a number of numpy
        value = value.item() if getattr(value, "ndim", 1) == 0 else value.tolist()
    if is_blank(value):
        return None
    if column == "aspect_ratio":
        return read_ratio(value)
    if isinstance(value, str):
        return _read_text(column, value)
    if isinstance(value, date | time | timedelta):
        raise ParameterError(
            column, f"holds the date or time '{value}', which Excel made of the text. {_RETYPE}"
        )
    if column in _NUMBERS or isinstance(value, bool | Mapping) or not isinstance(value, int | float):
        return value
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _read_text(column: str, text: str) -> Any:
    if as_text := _AS_TEXT.fullmatch(text.strip()):
        text = as_text[1]
    plain = text.strip()
    if plain in _EXCEL_ERRORS:
        raise ParameterError(column, f"holds Excel's error {plain}. Correct the formula, or clear the cell.")
    if _HASHES.fullmatch(plain):
        raise ParameterError(
            column,
            "holds only #: Excel saves that if the column is too narrow. Widen the column and save again.",
        )
    if column == "prompt":
        return text
    if column in _NUMBERS and _ROUNDED.fullmatch(plain):
        raise ParameterError(column, f"{plain} is what Excel makes of a long number. {_RETYPE}")
    if column == "duration" and (seconds := _SECONDS.fullmatch(trim(plain))):
        return seconds[1]
    return trim(text) or None
