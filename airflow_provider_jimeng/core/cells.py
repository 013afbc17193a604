# SPDX-License-Identifier: Apache-2.0
"""One cell of a row, as Excel, a data frame or JSON leaves it: absent, a text, a number, or what Excel made of it.

Excel reads the ratio ``16:9`` as a time. It keeps a time of the day or a fraction of a day, and shows ``16:09``. It
reads ``9/16`` as a date. YAML 1.1 reads ``16:9`` as a number of minutes. Each ratio that a model renders can be recognized
in all of these forms, except a date with two meanings.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any

from airflow_provider_jimeng.core.arguments import is_absent, is_visible
from airflow_provider_jimeng.core.catalogue import MODELS
from airflow_provider_jimeng.core.errors import ParameterError

_MISSING_WORDS = frozenset({"nan", "NaN", "NaT", "<NA>"})
"""The text that pandas makes of a missing value."""
_ZERO_WIDTH = "\u00a0\u00ad\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\u3000\ufeff"
_RETYPE = "Format the column as text, type the value again, and save the file."
_NUMBERS = frozenset({"duration", "seed", "take"})
_EXCEL_ERRORS = frozenset(
    {"#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NUM!", "#NULL!", "#SPILL!", "#CALC!", "#FIELD!"}
)
_HASHES = re.compile(r"#{3,}")
_AS_TEXT = re.compile(r'="(.*)"', re.DOTALL)
_ROUNDED = re.compile(r"-?\d(?:\.\d+)?E\+\d+", re.IGNORECASE)
_SECONDS = re.compile(r"(\d+(?:\.0+)?)\s*(?:s|sec|secs|seconds?|秒钟?)", re.IGNORECASE)


def trim(text: str) -> str:
    """Return a text without the white space and zero-width characters at its ends."""
    return text.strip(string.whitespace + _ZERO_WIDTH)


def is_missing(value: Any) -> bool:
    """Return whether a value means a missing one: ``None``, NaN, NaT, pandas' NA, or their text."""
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
    """Return whether a cell is empty."""
    return is_missing(value) or is_absent(value)


def read_cell(column: str, value: Any) -> Any:
    """Return a cell's value as the argument of a render takes it; ``None`` if it is absent.

    :raises ParameterError: Excel changed it to something else.
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
            column, f"contains the date or time '{value}', which Excel made of the text. {_RETYPE}"
        )
    if column in _NUMBERS or isinstance(value, bool | Mapping) or not isinstance(value, int | float):
        return value
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _read_text(column: str, text: str) -> Any:
    if as_text := _AS_TEXT.fullmatch(text.strip()):
        text = as_text[1]
    plain = text.strip()
    if plain in _EXCEL_ERRORS:
        raise ParameterError(
            column, f"contains Excel's error {plain}. Correct the formula, or clear the cell."
        )
    if _HASHES.fullmatch(plain):
        raise ParameterError(
            column,
            "contains only #: Excel saves that if the column is too narrow. Widen the column and save again.",
        )
    if column == "prompt":
        return text
    if column in _NUMBERS and _ROUNDED.fullmatch(plain):
        raise ParameterError(column, f"{plain} is what Excel makes of a long number. {_RETYPE}")
    if column == "duration" and (seconds := _SECONDS.fullmatch(trim(plain))):
        return seconds[1]
    return trim(text) or None


_KNOWN = tuple(dict.fromkeys(ratio for spec in MODELS.values() for ratio in spec.aspect_ratios))
_MINUTES_A_DAY = 24 * 60
_CLOSE_MINUTES = 0.3
_CLOSE_QUOTIENT = 0.005
_YEAR_OF_TIMES = 1900
"""Excel counts days from here: a moment before 1901 is a time without a date."""
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_SPELLINGS = str.maketrans(
    {
        **dict.fromkeys("∶꞉ː", ":"),
        **dict.fromkeys("×✕✖╳", "x"),
        **dict.fromkeys("–—−‐‑", "-"),
        **dict.fromkeys("'\"‘’“”`", None),
    }
)
_PAIR = re.compile(r"0*(\d{1,2})[:/x*比-]0*(\d{1,2})")
_CLOCK = re.compile(
    r"(?:1899-12-3[01]t?|1900[-/]0?1[-/]0?[01]t?)?(?P<before>am|pm)?(?P<hour>\d{1,2})[:时](?P<minute>\d{1,2})"
    r"(?:[:分](?P<second>\d{1,2}(?:\.\d+)?)秒?|分)?(?P<after>am|pm)?"
)
_NUMBER = re.compile(r"\d*\.?\d+")
_DATES = (
    re.compile(r"(?:\d{2,4}[-/.年])?(?P<month>\d{1,2})月(?P<day>\d{1,2})日?"),
    re.compile(r"\d{4}[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})(?:t?0?0:00(?::00(?:\.0+)?)?)?"),
    re.compile(rf"(?P<day>\d{{1,2}})-(?P<month>{'|'.join(_MONTHS)})[a-z]*(?:-\d{{2,4}})?"),
    re.compile(rf"(?P<month>{'|'.join(_MONTHS)})[a-z]*-(?P<day>\d{{1,2}})"),
)


def read_ratio(value: Any) -> str:
    """Return a ratio as ``16:9``. Anything else is returned as text, and the check of the model refuses it.

    :raises ParameterError: Excel changed it to something that can mean two ratios, or does not mean one.
    """
    if isinstance(value, datetime) and value.year <= _YEAR_OF_TIMES:
        value = value.time()
    if isinstance(value, datetime) and value.time() != time():
        raise _excel(value)
    if isinstance(value, date):
        return _of_date(value, month=value.month, day=value.day)
    if isinstance(value, time):
        value = timedelta(hours=value.hour, minutes=value.minute, seconds=value.second)
    if isinstance(value, timedelta):
        hours, rest = divmod(value, timedelta(hours=1))
        if rest % timedelta(minutes=1):
            raise _excel(value)
        return f"{hours}:{rest // timedelta(minutes=1)}"
    if isinstance(value, str):
        return _of_text(value)
    if isinstance(value, bool):
        return str(value)
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return str(value).strip()
    return _of_number(value, number)


def _of_text(value: str) -> str:
    plain = unicodedata.normalize("NFKC", value.translate(_SPELLINGS)).translate(_SPELLINGS).lower()
    text = "".join(character for character in plain if is_visible(character))
    text = text.replace("上午", "am").replace("下午", "pm").replace("a.m.", "am").replace("p.m.", "pm")
    if pair := _PAIR.fullmatch(text):
        return f"{int(pair[1])}:{int(pair[2])}"
    if clock := _CLOCK.fullmatch(text):
        hour, half = int(clock["hour"]), clock["before"] or clock["after"]
        if half:
            hour = hour % 12 + (12 if half == "pm" else 0)
        if float(clock["second"] or 0):
            raise _excel(value)
        return f"{hour}:{int(clock['minute'])}"
    if _NUMBER.fullmatch(text):
        return _of_number(value, float(text))
    for pattern in _DATES:
        if found := pattern.fullmatch(text):
            month = found["month"]
            number = _MONTHS.index(month) + 1 if month in _MONTHS else int(month)
            return _of_date(value, month=number, day=int(found["day"]))
    return value.strip()


def _of_number(value: Any, number: float) -> str:
    """Return the ratio of which a number is the fraction of a day, the quotient, or the minutes."""
    for ratio in _KNOWN:
        across, down = map(int, ratio.split(":"))
        minutes = across * 60 + down
        if (
            abs(number * _MINUTES_A_DAY - minutes) < _CLOSE_MINUTES
            or abs(number - across / down) < _CLOSE_QUOTIENT
            or number == minutes
        ):
            return ratio
    if 0 < number < 1:
        raise _excel(value)
    return str(value).strip()


def _of_date(value: Any, *, month: int, day: int) -> str:
    meant = {f"{month}:{day}", f"{day}:{month}"} & set(_KNOWN)
    if len(meant) != 1:
        raise _excel(value)
    return meant.pop()


def _excel(value: Any) -> ParameterError:
    return ParameterError(
        "aspect_ratio",
        f"'{value}' is what Excel makes of a ratio that it reads as a date or a time. The original cannot be recovered "
        "from it. Format the column as text, type the ratio again (16:9), and save the file.",
    )
