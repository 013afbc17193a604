# SPDX-License-Identifier: Apache-2.0
"""Reads the rows of a campaign from a list of dicts, a table, or the bytes of a file.

Only the form is checked here: which cell belongs to which argument. The problems are collected, so that one message
can name all of them.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_jimeng.core.columns import (
    check_header,
    column_of,
    is_blank,
    is_missing,
    plain_name,
    read_cell,
    unknown_column,
)
from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.core.texts import fit, shorten

_TABLES = ("csv", "tsv", "txt")
_JSON_LINES = ("jsonl", "ndjson")
_JSON_LISTS = ("json",)
ENDINGS = (*_TABLES, *_JSON_LINES, *_JSON_LISTS)

Line = tuple[int, list[Any]]
"""A line's number in the file, counted from 1, and its cells."""

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SIGNATURES = (
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook. The name of an Excel workbook ends in .xlsx"),
    (b"\xd0\xcf\x11\xe0", "an old or an encrypted Office document. Save it as .xlsx without a password"),
    (b"%PDF", "a PDF document"),
    (b"\x1f\x8b", "compressed by gzip. Unpack it"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"{\\rtf", "an RTF document"),
    (b"SQLite format 3", "an SQLite database"),
    (b"PAR1", "a Parquet file"),
)
_HEAD_BYTES = 256
_LEAST_ASCII = 8
"""A table has a delimiter, a line end or a Latin letter at least every few characters."""
_DELIMITERS = ",;\t|"
_EXCEL_HINT = re.compile(r"sep=(.)", re.IGNORECASE)
_QUOTED = re.compile(r'"[^"]*"')
_LINE_END = re.compile(r"\r\n|\r|\n")
_SAVE_AS = "Save it as UTF-8; Excel calls that “CSV UTF-8”."
_LEAST_COMMON = 0.5
"""In GBK text from China, nearly all characters are in GB 2312. In Big5 text that is read as GBK, a quarter is."""
_FEWEST_HANGUL = 4
_LONGEST_FIELD = 100
_LONGEST_PROBLEM = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is wrong with one row. ``row`` counts from 1, without the header and blank lines. ``line`` is the line in the file.

    ``retryable``: the next try can succeed without a change of the row.
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
    """One row: its values by column, and the problems of its form."""

    number: int
    line: int | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def problem(self, column: str, message: str, *, retryable: bool = False) -> Problem:
        """Return a problem of this row."""
        return Problem(row=self.number, line=self.line, field=column, message=message, retryable=retryable)


def rows_of_list(rows: Iterable[Any], ignored: Collection[str] = ()) -> list[Row]:
    """Return the rows of a list of dicts. A dict that has only missing values is left out, because data frames have such rows.

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
        raise ParameterError(
            "rows",
            f"{name} is not a file of rows. Its name must end in one of {', '.join(f'.{each}' for each in ENDINGS)}.",
        )
    _check_content(name, content)
    text, encoding = _decode(name, content)
    if encoding == "gb18030":
        warn(f"{name} is not UTF-8. It is read as GB 18030 (GBK), as Excel saves CSV files in China.")
    if ending in _TABLES:
        return rows_of_table(_table_lines(name, text), ignored)
    if ending not in _JSON_LINES:
        return rows_of_list(_json_list(name, text), ignored)
    rows: list[Row] = []
    for line, value in _json_lines(text):
        number = len(rows) + 1
        if isinstance(value, Exception):
            problem = Problem(row=number, line=line, field="row", message=f"is not JSON: {value}.")
            rows.append(Row(number=number, line=line, problems=(problem,)))
        else:
            rows.append(_row(number, line, value, ignored))
    return rows


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
        message = f"has {nameless[-1]} cells, and the header has {len(header)}. Put texts that contain the delimiter in quotation marks."
    else:
        message = f"column {nameless[0]} has a value but no name in the header. Give the column a name, or clear the cell."
    problem = row.problem("cells", message)
    return Row(number=number, line=line, values=row.values, problems=(*row.problems, problem))


def _row(number: int, line: int | None, values: Any, ignored: Collection[str]) -> Row:
    if isinstance(values, Mapping):
        return _pairs(number, line, values.items(), ignored)
    message = f"expected a dict such as {{'prompt': '…'}}, got {type(values).__name__}."
    problem = Problem(row=number, line=line, field="row", message=message)
    return Row(number=number, line=line, problems=(problem,))


def _pairs(number: int, line: int | None, pairs: Iterable[tuple[Any, Any]], ignored: Collection[str]) -> Row:
    """Return the row of named values. If one column has values under two names, that is a problem of the row."""
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
            message = f"has a value twice, once under the other name {name}. Keep one of them."
        elif column in values:
            message = "is in the header twice. Keep one of them."
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


# --- from bytes to lines ----------------------------------------------------------------------------------------------


def _check_content(name: str, content: bytes) -> None:
    """Refuse a file that is certainly not text.

    :raises ParameterError: it is not text. The message says what it is.
    """
    for signature, kind in _SIGNATURES:
        if content.startswith(signature):
            raise ParameterError("rows", f"{name} does not match the ending of its name. It is {kind}.")


def _decode(name: str, content: bytes) -> tuple[str, str]:
    """Return a file's text and its encoding: UTF-8, UTF-16 and UTF-32, or GB 18030, as Excel saves in China.

    :raises ParameterError: it has another encoding, or the encoding is not clear. Wrong characters would be paid for.
    """
    encoding = next((encoding for bom, encoding in _BOMS if content.startswith(bom)), None)
    encoding = encoding or _utf_16_without_mark(content[:_HEAD_BYTES]) or "utf-8"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise ParameterError(
                "rows",
                f"{name} begins as {encoding} text and has an invalid byte at {error.start}. {_SAVE_AS}",
            ) from None
        text, encoding = _gb_18030(name, content, error.start), "gb18030"
    if text.lstrip()[:1] == "<":
        raise ParameterError(
            "rows",
            f"{name} is a web page or an XML file. The link might lead to a page that asks for a login. Give the file itself.",
        )
    return text, encoding


def _table_lines(name: str, text: str) -> Iterator[Line]:
    """Yield the lines of a CSV text. The delimiter is the one that occurs most often in the first line.

    :raises ParameterError: a line breaks the rules of CSV. The message names it.
    """
    text = text.lstrip("\ufeff")
    first = _LINE_END.split(text.lstrip(" \r\n"), maxsplit=1)[0]
    hint = _EXCEL_HINT.fullmatch(_LINE_END.split(text, maxsplit=1)[0].strip())
    delimiter = hint[1] if hint else max(_DELIMITERS, key=_QUOTED.sub("", first).count)
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=delimiter != "\t"
    )
    line = 1
    try:
        for cells in reader:
            if not (hint and line == 1):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise ParameterError(
            "rows",
            f"{name} cannot be read from line {line} on: {error}. Close each quotation mark. Write a quotation mark inside a quoted "
            f"text twice.",
        ) from None


def _json_lines(text: str) -> Iterator[tuple[int, Any]]:
    """Yield the number and the value of each line of a JSON Lines text. A broken line has the error as value."""
    for line, content in enumerate(_LINE_END.split(text), start=1):
        if content.strip():
            try:
                yield line, json.loads(content)
            except (ValueError, RecursionError) as error:
                yield line, error


def _json_list(name: str, text: str) -> list[Any]:
    """Return the list that is written in a JSON text.

    :raises ParameterError: it is not a list. The message names the line that is not JSON, or the type.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ParameterError(
            "rows", f"{name} cannot be read: {error.msg} in line {error.lineno}, column {error.colno}."
        ) from None
    except (ValueError, RecursionError) as error:
        raise ParameterError("rows", f"{name} cannot be read: {error}.") from None
    if not isinstance(values, list):
        raise ParameterError("rows", f"{name}: expected a JSON list of objects, got {type(values).__name__}.")
    return values


def _utf_16_without_mark(head: bytes) -> str | None:
    """Return the byte order of a UTF-16 text without a mark. Its ASCII characters, such as delimiters, have zero bytes."""
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) < max(2, len(head) / _LEAST_ASCII, 4 * min(even, odd)):
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def _gb_18030(name: str, content: bytes, bad_byte: int) -> str:
    """Return the text if it is almost certainly Chinese in GB 18030 (GBK)."""
    refused = ParameterError(
        "rows", f"{name} is not UTF-8 (byte {bad_byte}), and not clearly GBK. {_SAVE_AS}"
    )
    if _is_damaged_utf_8(content):
        raise refused
    try:
        text = content.decode("gb18030")
    except UnicodeDecodeError:
        raise refused from None
    foreign = [character for character in text if not character.isascii()]
    common = sum(_is_common(character) for character in foreign)
    if common < len(foreign) * _LEAST_COMMON or any("ぁ" <= character <= "ヿ" for character in foreign):
        raise refused
    if _is_hangul("".join(foreign)):
        raise refused
    return text


def _is_damaged_utf_8(content: bytes) -> bool:
    """Return whether most characters outside ASCII are valid UTF-8."""
    text = content.decode(errors="replace")
    broken = text.count("\ufffd")
    return sum(not character.isascii() for character in text) - broken > broken


def _is_common(character: str) -> bool:
    try:
        return bool(character.encode("gb2312"))
    except UnicodeEncodeError:
        return False


def _is_hangul(text: str) -> bool:
    """Return whether the bytes can also be Korean text, because both encodings use the same bytes."""
    try:
        korean = text.encode("gb18030").decode("euc_kr")
    except UnicodeDecodeError:
        return False
    return len(korean) >= _FEWEST_HANGUL and all("가" <= character <= "힣" for character in korean)
