# SPDX-License-Identifier: Apache-2.0
"""The rows of a campaign as somebody wrote them: a list of dicts, a table, or the content of a file.

Only the form is checked here: which cell belongs to which argument. Problems are collected, so that one message names
all of them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from airflow_provider_jimeng.core.catalogue import REFUSED_ARGUMENTS
from airflow_provider_jimeng.core.cells import is_blank, is_missing, read_cell
from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.core.row_text import (
    ENDINGS,
    JSON_LINES,
    TABLES,
    Line,
    check_content,
    decode,
    json_lines,
    json_list,
    table_lines,
)
from airflow_provider_jimeng.core.texts import fit, shorten

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
    """Return the message for a name that is not a column, with the nearest one that is."""
    plain = plain_name(name)
    if plain in REFUSED_ARGUMENTS:
        return f"is refused: {REFUSED_ARGUMENTS[plain]}"
    nearest = get_close_matches(plain[:_LONGEST_SHOWN], _NAMES, n=1)
    if nearest:
        return f"is not a column. Did you mean {nearest[0]}? If not, add it to ignore_columns."
    return f"is not a column. A row takes {', '.join(COLUMNS)}. Add it to ignore_columns if it is not for the renders."


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
    """Refuse a table whose header does not name a column: it is another table, or it begins further below.

    :raises ParameterError: no name is a column. The message shows the header.
    """
    names = [str(name).strip() for name in header if str(name).strip()]
    if not any(column_of(name) for name in names):
        shown = shorten(", ".join(shorten(repr(name), _LONGEST_SHOWN) for name in names), 400)
        raise ParameterError(
            "rows",
            f"the first line that is not blank does not name any of the columns. It reads: {shown}. "
            f"The header must come first and name columns: {', '.join(COLUMNS)}.",
        )


__all__ = ["COLUMNS", "Problem", "Row", "rows_of_file", "rows_of_list", "rows_of_table"]

_LONGEST_FIELD = 100
_LONGEST_PROBLEM = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is wrong with one row. ``row`` counts from 1, without header and blank lines; ``line`` counts lines of the file.

    ``retryable``: it can be solved by the next try.
    """

    row: int
    line: int | None = None
    field: str
    message: str
    retryable: bool = False

    @property
    def where(self) -> str:
        """The row, and its line in the file."""
        return f"row {self.row}" + ("" if self.line is None else f" (line {self.line})")

    @property
    def what(self) -> str:
        """What is wrong, shortened for a message."""
        return f"{shorten(self.field, _LONGEST_FIELD)}: {shorten(fit(self.message), _LONGEST_PROBLEM)}"

    def __str__(self) -> str:
        return f"{self.where}, {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row: its values by column, and what is wrong with its form."""

    number: int
    line: int | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def problem(self, column: str, message: str, *, retryable: bool = False) -> Problem:
        """Return a problem of this row."""
        return Problem(row=self.number, line=self.line, field=column, message=message, retryable=retryable)


def rows_of_list(rows: Iterable[Any], ignored: Collection[str] = ()) -> list[Row]:
    """Return the rows of a list of dicts. A dict that has only missing values is left out, because data frames have such.

    :param ignored: names of columns that are not for the renders, as :func:`read_ignored` returns them.
    """
    return [
        _row(number, None, values, ignored)
        for number, values in enumerate(rows, start=1)
        if not (isinstance(values, Mapping) and values and all(map(is_missing, values.values())))
    ]


def rows_of_table(lines: Iterable[Line], ignored: Collection[str] = ()) -> list[Row]:
    """Return the rows of a table, whose first line is the header. Blank lines and blank columns are left out.

    :raises ParameterError: no name in the header is a column.
    """
    header: list[str] | None = None
    rows: list[Row] = []
    for line, cells in lines:
        if all(map(is_blank, cells)):
            continue
        if header is None:
            header = [str(cell).strip() if plain_name(cell) and not is_blank(cell) else "" for cell in cells]
            check_header(header)
            while not header[-1]:
                header.pop()
        else:
            rows.append(_table_row(len(rows) + 1, line, header, cells, ignored))
    return rows


def rows_of_file(
    name: str,
    content: bytes,
    ignored: Collection[str] = (),
    warn: Callable[[str], None] = lambda _: None,
) -> list[Row]:
    """Return the rows of a file: a table (``.csv``, ``.tsv``, ``.txt``), ``.jsonl`` or ``.ndjson``, or ``.json`` (a list).

    :param warn: is called with a warning about a file that can be read.
    :raises ParameterError: the file as a whole cannot be read.
    """
    ending = name.rpartition(".")[2].lower()
    if ending not in ENDINGS:
        raise ParameterError("rows", f"{name} has none of the endings that are read: {_listed(ENDINGS)}.")
    check_content(name, content)
    text, encoding = decode(name, content)
    if encoding == "gb18030":
        warn(f"{name} is not UTF-8. It is read as GB 18030 (GBK), as Excel saves CSV files in China.")
    if ending in TABLES:
        return rows_of_table(table_lines(name, text), ignored)
    if ending not in JSON_LINES:
        return rows_of_list(json_list(name, text), ignored)
    rows: list[Row] = []
    for line, found in json_lines(text):
        number = len(rows) + 1
        if isinstance(found, Exception):
            problem = Problem(row=number, line=line, field="row", message=f"is not JSON: {found}.")
            rows.append(Row(number=number, line=line, problems=(problem,)))
        else:
            rows.append(_row(number, line, found, ignored))
    return rows


def _listed(endings: Iterable[str]) -> str:
    return ", ".join(f".{ending}" for ending in endings)


def _table_row(
    number: int, line: int, header: list[str], cells: Sequence[Any], ignored: Collection[str]
) -> Row:
    filled = [index for index, cell in enumerate(cells) if not is_blank(cell)]
    pairs = [(header[index], cells[index]) for index in filled if index < len(header) and header[index]]
    row = _pairs(number, line, pairs, ignored)
    nameless = [index + 1 for index in filled if index >= len(header) or not header[index]]
    if not nameless:
        return row
    if nameless[-1] > len(header):
        message = (
            f"has {nameless[-1]} cells, the header {len(header)}. Quote texts that contain the delimiter."
        )
    else:
        message = f"column {nameless[0]} has a value but no name in the header. Name it, or clear the cell."
    problem = row.problem("cells", message)
    return Row(number=number, line=line, values=row.values, problems=(*row.problems, problem))


def _row(number: int, line: int | None, values: Any, ignored: Collection[str]) -> Row:
    if isinstance(values, Mapping):
        return _pairs(number, line, values.items(), ignored)
    message = f"expected a dict such as {{'prompt': '…'}}, got {type(values).__name__}."
    problem = Problem(row=number, line=line, field="row", message=message)
    return Row(number=number, line=line, problems=(problem,))


def _pairs(number: int, line: int | None, pairs: Iterable[tuple[Any, Any]], ignored: Collection[str]) -> Row:
    """Return the row of named values. A column that has two names is a problem of the row."""
    values: dict[str, Any] = {}
    names: dict[str, str] = {}
    problems: list[Problem] = []
    for label, value in pairs:
        name = str(label).strip()
        if plain_name(name) in ignored or is_blank(value):
            continue
        column = column_of(name)
        message = None
        if column is None:
            message = unknown_column(name)
        elif names.setdefault(column, name) != name:
            message = f"is there twice, once by another name ({name}). Keep one."
        elif column in values:
            message = "is in the header twice. Keep one."
        if message is None and column is not None:
            try:
                values[column] = read_cell(column, value)
            except ParameterError as error:
                message = error.reason
        if message is not None:
            problem = Problem(row=number, line=line, field=column or name, message=message)
            problems.append(problem)
    present = {column: value for column, value in values.items() if value is not None}
    return Row(number=number, line=line, values=present, problems=tuple(problems))
