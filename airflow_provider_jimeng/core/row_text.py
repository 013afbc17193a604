# SPDX-License-Identifier: Apache-2.0
"""Reads the bytes of a file of rows as text, and the text as lines of cells or as JSON values."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Iterator
from typing import Any

from airflow_provider_jimeng.core.errors import ParameterError

TABLES = ("csv", "tsv", "txt")
JSON_LINES = ("jsonl", "ndjson")
JSON_LISTS = ("json",)
ENDINGS = (*TABLES, *JSON_LINES, *JSON_LISTS)

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
    (b"PK\x03\x04", "a ZIP archive, or an Excel workbook. An Excel workbook ends in .xlsx"),
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
"""In GBK text from China nearly all characters are of the common set GB 2312; in Big5 read as GBK a quarter is."""
_FEWEST_HANGUL = 4


def check_content(name: str, content: bytes) -> None:
    """Refuse a file that is certainly not text, whatever its name ends in.

    :raises ParameterError: it is not text. The message says what it is.
    """
    for signature, kind in _SIGNATURES:
        if content.startswith(signature):
            raise ParameterError("rows", f"{name} is not what its ending says: it is {kind}.")


def decode(name: str, content: bytes) -> tuple[str, str]:
    """Return a file's text and its encoding: UTF-8, UTF-16 and UTF-32, or GB 18030, as Excel saves in China.

    :raises ParameterError: it is none of them, or it is not clear which. Wrong characters would be paid for.
    """
    encoding = next((encoding for bom, encoding in _BOMS if content.startswith(bom)), None)
    encoding = encoding or _utf_16_without_mark(content[:_HEAD_BYTES]) or "utf-8"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise ParameterError(
                "rows", f"{name} begins as {encoding} and is broken at byte {error.start}. {_SAVE_AS}"
            ) from None
        text, encoding = _gb_18030(name, content, error.start), "gb18030"
    if text.lstrip()[:1] == "<":
        raise ParameterError(
            "rows",
            f"{name} is a web page or XML. Perhaps the link leads to a page that asks for a login. Give the file itself.",
        )
    return text, encoding


def table_lines(name: str, text: str) -> Iterator[Line]:
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
            f"{name} cannot be read from line {line} on: {error}. A quote inside a quoted text is written twice, and each one that opens is "
            "closed.",
        ) from None


def json_lines(text: str) -> Iterator[tuple[int, Any]]:
    """Yield the number and the value of each line of a JSON Lines text. A broken line has the error as value."""
    for line, content in enumerate(_LINE_END.split(text), start=1):
        if content.strip():
            try:
                yield line, json.loads(content)
            except (ValueError, RecursionError) as error:
                yield line, error


def json_list(name: str, text: str) -> list[Any]:
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
    """Return which UTF-16 a text is whose ASCII characters, such as delimiters, show it by zero bytes."""
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) < max(2, len(head) / _LEAST_ASCII, 4 * min(even, odd)):
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def _gb_18030(name: str, content: bytes, bad_byte: int) -> str:
    """Return the text if it is Chinese in GB 18030 (GBK) beyond reasonable doubt."""
    refused = ParameterError(
        "rows", f"{name} is not UTF-8 (byte {bad_byte}), and not clearly GBK either. {_SAVE_AS}"
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
    """Return whether most of the characters that are not ASCII are valid UTF-8."""
    text = content.decode(errors="replace")
    broken = text.count("\ufffd")
    return sum(not character.isascii() for character in text) - broken > broken


def _is_common(character: str) -> bool:
    try:
        return bool(character.encode("gb2312"))
    except UnicodeEncodeError:
        return False


def _is_hangul(text: str) -> bool:
    """Return whether the bytes can be Korean text too, because both encodings use the same bytes."""
    try:
        korean = text.encode("gb18030").decode("euc_kr")
    except UnicodeDecodeError:
        return False
    return len(korean) >= _FEWEST_HANGUL and all("가" <= character <= "힣" for character in korean)
