# SPDX-License-Identifier: Apache-2.0
"""The columns of a row: their names, and one cell as Excel, a data frame or JSON leaves it.

A cell is absent, a text, a number, or what Excel made of it. Excel reads the ratio ``16:9`` as a time. It keeps a time of
the day or a fraction of a day, and shows ``16:09``. It reads ``9/16`` as a date. YAML 1.1 reads ``16:9`` as a number of
minutes. Each ratio that a model renders can be recognized in all of these forms, except a date with two meanings.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from difflib import get_close_matches
from typing import Any

from airflow_provider_jimeng.core.arguments import is_absent, is_visible
from airflow_provider_jimeng.core.catalogue import MODELS, REFUSED_ARGUMENTS
from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.core.texts import shorten

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "prompt": ("提示词", "提示语", "视频提示词", "画面描述", "视频描述"),
    "model": ("模型", "模型名称", "视频模型"),
    "duration": ("时长", "视频时长", "秒数"),
    "aspect_ratio": ("ratio", "比例", "宽高比", "画面比例", "视频比例", "画幅"),
    "seed": ("种子", "随机种子", "种子值"),
    "first_frame": ("image", "首帧", "首帧图", "首帧图片", "首图"),
    "last_frame": ("尾帧", "尾帧图", "尾帧图片", "末帧", "尾图"),
    "camera_template": ("运镜", "运镜模板", "运镜方式"),
    "camera_strength": ("运镜强度",),
    "take": ("版本", "版次"),
    "extra_body": ("额外参数", "附加参数"),
    "output_name": ("output", "name", "文件名", "文件名称", "输出文件名", "视频文件名"),
    "output_path": ("输出路径", "输出目录", "保存路径", "保存目录"),
}
"""The columns of a row, with the other names of each. All except the last two are arguments of a render."""

_UNIT = re.compile(r"\(.*?\)$|\[.*?\]$")
_BLANKS = re.compile(r"[\s_-]+")
_SEPARATORS = re.compile(r"[,，、;；\n]")
_LONGEST_NAME = 200
_LONGEST_SHOWN = 80


def plain_name(name: Any) -> str:
    """Return a column's name in lower case, without a unit in brackets, ``*``, ``:`` and white space around it."""
    text = unicodedata.normalize("NFKC", str(name)[:_LONGEST_NAME])
    text = "".join(character for character in text if unicodedata.category(character) not in ("Cf", "Cc"))
    text = _UNIT.sub("", text.strip().strip("*:").strip()).strip("*: ")
    return _BLANKS.sub("_", text.lower()).strip("_")


_NAMES: Mapping[str, str] = {
    plain_name(name): column for column, aliases in COLUMNS.items() for name in (column, *aliases)
}


def column_of(name: Any) -> str | None:
    """Return the column that a name means; ``None`` if no column has it."""
    return _NAMES.get(plain_name(name))


def unknown_column(name: Any) -> str:
    """Return the message for a name that is not a column. It names the nearest column."""
    plain = plain_name(name)
    if plain in REFUSED_ARGUMENTS:
        return f"is refused: {REFUSED_ARGUMENTS[plain]}"
    nearest = get_close_matches(plain[:_LONGEST_SHOWN], _NAMES, n=1)
    if nearest:
        return f"is not a column. Did you mean {nearest[0]}? If not, add it to ignore_columns."
    return f"is not a column. The columns are {', '.join(COLUMNS)}. If it is not for the renders, add it to ignore_columns."


def read_ignored(names: Any) -> frozenset[str]:
    """Return the names of columns to ignore. A text can list several of them between commas.

    :raises ParameterError: it is neither text nor a list of texts.
    """
    if names is None:
        return frozenset()
    if isinstance(names, str):
        names = _SEPARATORS.split(names.strip().strip("[]"))
    if isinstance(names, Mapping | bytes) or not isinstance(names, Iterable):
        raise ParameterError("ignore_columns", f"expected names of columns, got {type(names).__name__}.")
    plain = (plain_name(str(name).strip().strip("'\"")) for name in names)
    return frozenset(name for name in plain if name and name != "none")


def check_header(header: Iterable[Any]) -> None:
    """Refuse a table if no name in its header is a column. It is another table, or it begins further below.

    :raises ParameterError: the message shows the header.
    """
    names = [str(name).strip() for name in header if str(name).strip()]
    if not any(column_of(name) for name in names):
        shown = shorten(", ".join(shorten(repr(name), _LONGEST_SHOWN) for name in names), 400)
        raise ParameterError(
            "rows",
            f"no column is in the first line that is not blank. The line is: {shown}. "
            f"The header must be the first line, with names of these columns: {', '.join(COLUMNS)}.",
        )


# --- one cell ---------------------------------------------------------------------------------------------------------

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
    """Return whether a value is missing: ``None``, NaN, NaT, pandas' NA, or the text of one of them."""
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

    :raises ParameterError: Excel changed it to another value.
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
            column, f"contains the date or time '{value}', to which Excel changed the text. {_RETYPE}"
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
            "contains only #. Excel saves that if the column is too narrow. Make the column wider and save the file again.",
        )
    if column == "prompt":
        return text
    if column in _NUMBERS and _ROUNDED.fullmatch(plain):
        raise ParameterError(column, f"{plain} is a long number that Excel has rounded. {_RETYPE}")
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

    :raises ParameterError: Excel changed it to a value that can mean two ratios, or none.
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
        if match := pattern.fullmatch(text):
            month = match["month"]
            number = _MONTHS.index(month) + 1 if month in _MONTHS else int(month)
            return _of_date(value, month=number, day=int(match["day"]))
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
        f"'{value}' is a ratio that Excel changed to a date or a time. The ratio cannot be recovered from it. "
        "Format the column as text, type the ratio again (16:9), and save the file.",
    )
