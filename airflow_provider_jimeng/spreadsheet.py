# SPDX-License-Identifier: Apache-2.0
"""Reads the lines of an Excel workbook's sheet, with the library openpyxl, which is an extra."""

from __future__ import annotations

import importlib.util
import io
import re
import warnings
import zipfile
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.errors import ParameterError

if TYPE_CHECKING:
    from openpyxl.worksheet.worksheet import Worksheet

    from airflow_provider_jimeng.core.row_text import Line

ENDINGS = ("xlsx", "xlsm")
MAX_XML_BYTES = 128 * 1024 * 1024
"""What a workbook's XML may unpack to; a campaign has some hundred kilobytes."""
_MOST_LINES = 1_048_576
"""An Excel sheet has no more."""
_PROLOG_BYTES = 1024
_ZIP = b"PK"
_OLD_OFFICE = b"\xd0\xcf\x11\xe0"
_MERGED = re.compile(rb'<(?:\w+:)?mergeCell\s+ref="([A-Z]{1,3})(\d{1,7}):([A-Z]{1,3})(\d{1,7})"')


def check_library(name: str) -> None:
    """Refuse a workbook where openpyxl is not installed.

    :raises ParameterError: with what to install, or how to do without.
    """
    if importlib.util.find_spec("openpyxl") is None:
        raise ParameterError(
            "rows",
            f"{name} is an Excel workbook, and openpyxl, which reads it, is not installed. Run "
            "pip install 'airflow-provider-jimeng[excel]', or save the sheet as “CSV UTF-8”.",
        )


def sheet_lines(name: str, content: bytes, sheet: str | None) -> list[Line]:
    """Return the lines of a sheet that hold something: their numbers and their cells, formulas as last calculated.

    :param sheet: the sheet's name; ``None``: the first one that is not hidden.
    :raises ParameterError: the file is not a workbook, is too large, or has no such sheet.
    """
    if content.startswith(_OLD_OFFICE):
        raise ParameterError(
            "rows", f"{name} has a password, or is of an old Excel. Save it as .xlsx without a password."
        )
    if not content.startswith(_ZIP):
        raise ParameterError(
            "rows",
            f"{name} is not an Excel workbook, whatever its ending says. A link may lead to a page that asks for a login.",
        )
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # openpyxl warns of what it does not keep, and nothing is written back
        try:
            _check_size(name, content)
            return [*_lines(name, content, sheet)]
        except ParameterError:
            raise
        except Exception as error:  # noqa: BLE001  openpyxl raises whatever a broken part comes to
            reason = f"{type(error).__name__}: {error}"
    raise ParameterError(
        "rows", f"{name} cannot be read as an Excel workbook ({reason}). Save it again, or as “CSV UTF-8”."
    )


def _check_size(name: str, content: bytes) -> None:
    """Refuse what unpacks to too much, before it does; ZIP members never unpack to more than they declare."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = [part for part in archive.infolist() if part.filename.lower().endswith((".xml", ".rels"))]
        size = sum(part.file_size for part in parts)
        if size > MAX_XML_BYTES:
            raise ParameterError(
                "rows",
                f"{name} unpacks to {size:,} bytes; {MAX_XML_BYTES:,} is the most that is read. Copy the rows to a new "
                "workbook: formats of empty cells may fill it.",
            )
        for part in parts:
            with archive.open(part) as file:
                if b"<!DOCTYPE" in file.read(_PROLOG_BYTES):
                    raise ParameterError(
                        "rows", f"{name} is not an Excel workbook: its XML defines entities."
                    )


def _lines(name: str, content: bytes, sheet: str | None) -> Iterator[Line]:
    from openpyxl import load_workbook

    calculated = load_workbook(io.BytesIO(content), read_only=True, data_only=True, keep_links=False)
    written = load_workbook(io.BytesIO(content), read_only=True, keep_links=False)
    values = _sheet(name, calculated.worksheets, sheet)
    formulas = next(other for other in written.worksheets if other.title == values.title)
    merged = _merged(content, values)
    above: dict[int, tuple[int, Any]] = {}
    for worksheet in (values, formulas):
        worksheet.reset_dimensions()  # some programs declare a wrong size
    both = zip(values.iter_rows(values_only=True), formulas.iter_rows(values_only=True), strict=True)
    for number, (cells, texts) in enumerate(islice(both, _MOST_LINES), start=1):
        line = [_cell(name, number, *pair) for pair in zip(cells, texts, strict=True)]
        if not any(cell is not None and str(cell).strip() for cell in line):
            continue
        for column, (bottom, value) in above.items():
            if number <= bottom:
                line += [None] * (column + 1 - len(line))
                line[column] = value
        for column, bottom in merged.get(number, ()):
            above[column] = (bottom, line[column] if column < len(line) else None)
        yield number, line


def _sheet(name: str, sheets: list[Any], wanted: str | None) -> Worksheet:
    shown = [sheet for sheet in sheets if sheet.sheet_state == "visible"]
    if wanted is None:
        return (shown or sheets)[0]
    for sheet in sheets:
        if sheet.title.strip() == wanted.strip():
            return sheet
    names = ", ".join(repr(sheet.title) for sheet in sheets)
    raise ParameterError("rows_sheet", f"{name} has no sheet {wanted!r}. Its sheets are: {names}.")


def _cell(name: str, line: int, value: Any, written: Any) -> Any:
    if value is None and isinstance(written, str) and written.startswith("="):
        raise ParameterError(
            "rows",
            f"{name}, line {line}: the result of the formula {written[:80]!r} is not saved in the file. Open the workbook in "
            "Excel and save it there, or replace the formula by its value.",
        )
    return value


def _merged(content: bytes, sheet: Any) -> dict[int, list[tuple[int, int]]]:
    """Return the cells that are merged with those below: by their line, each one's column index and last line."""
    from openpyxl.utils import column_index_from_string

    found: dict[int, list[tuple[int, int]]] = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        xml = archive.read(sheet._worksheet_path)  # noqa: SLF001  the read-only mode does not tell of merged cells
    for left, top, _, bottom in _MERGED.findall(xml):
        if int(bottom) > int(top):
            column = column_index_from_string(left.decode()) - 1
            found.setdefault(int(top), []).append((column, int(bottom)))
    return found
