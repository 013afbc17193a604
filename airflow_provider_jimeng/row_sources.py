# SPDX-License-Identifier: Apache-2.0
"""Reads the rows of a campaign: from a list, a data frame, a file in any store, or a link.

openpyxl, which reads Excel workbooks, is in the extra ``[excel]``.
"""

from __future__ import annotations

import importlib.util
import io
import logging
import re
import warnings
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_jimeng.client.media import fetch_file
from airflow_provider_jimeng.core.arguments import is_absent, is_link, parse_text, read_text
from airflow_provider_jimeng.core.columns import read_ignored
from airflow_provider_jimeng.core.errors import ParameterError, TransportError, UnreadableRowsError
from airflow_provider_jimeng.core.frames import host_of
from airflow_provider_jimeng.core.rows import ENDINGS, Row, rows_of_file, rows_of_list, rows_of_table
from airflow_provider_jimeng.core.texts import shorten, without_queries
from airflow_provider_jimeng.images import PERMANENT_ERRORS, absolute_path

if TYPE_CHECKING:
    from openpyxl.worksheet.worksheet import Worksheet

    from airflow_provider_jimeng.core.rows import Line

log = logging.getLogger(__name__)

MAX_FILE_BYTES = 64 * 1024 * 1024
"""A workbook can contain pictures. The rows themselves have some hundred kilobytes."""
_OTHER_SHEETS = ("xls", "xlsb", "ods", "numbers", "et", "gsheet")
_LOST_SLASH = re.compile(r"[a-z][a-z0-9+.-]+:/(?!/)", re.IGNORECASE)
_LONGEST_READ = 20_000
_LONGEST_SHOWN = 400
_TRY_LATER = (408, 425, 429)
_WORKBOOKS = ("xlsx", "xlsm")
MAX_XML_BYTES = 128 * 1024 * 1024
"""The limit of a workbook's unpacked XML. That of a campaign has some hundred kilobytes."""
_MOST_LINES = 1_048_576
"""An Excel sheet has no more."""
_PROLOG_BYTES = 1024
_ZIP = b"PK"
_OLD_OFFICE = b"\xd0\xcf\x11\xe0"
_MERGED = re.compile(rb'<(?:\w+:)?mergeCell\s+ref="([A-Z]{1,3})(\d{1,7}):([A-Z]{1,3})(\d{1,7})"')


def read_rows(
    rows: Any, *, conn_id: str | None = None, sheet: str | None = None, ignore_columns: Any = None
) -> list[Row]:
    """Return the rows of a list, of a data frame, or of the file that a path, URI or link names.

    :param conn_id: Airflow connection of the store in which the file lies.
    :param sheet: which sheet of an Excel workbook to read; ``None``: the first one that is not hidden.
    :param ignore_columns: names of columns that are not for the renders.
    :raises ParameterError: the rows cannot be read as a whole. A problem of one row is in the row.
    """
    ignored = read_ignored(ignore_columns)
    if isinstance(rows, str) and rows.lstrip().startswith("["):
        rows = _parse(rows)
    if isinstance(rows, str) or hasattr(rows, "read_bytes"):
        return _rows_of_path(rows, conn_id, None if is_absent(sheet) else sheet, ignored)
    if rows is None:
        raise ParameterError("rows", _EMPTY)
    rows = _records(rows)
    if isinstance(rows, Mapping | bytes) or not isinstance(rows, Iterable):
        raise ParameterError(
            "rows",
            f"expected a list of dicts or the path of a CSV or JSONL file, got {type(rows).__name__}.",
        )
    return rows_of_list(rows, ignored)


_EMPTY = "is empty. Give a list of dicts, or the path of a file."


def _records(rows: Any) -> Any:
    """Return a data frame of pandas, polars or Arrow as a list of dicts, and anything else as it is."""
    if isinstance(rows, Mapping):
        return rows
    names = getattr(rows, "column_names", getattr(rows, "columns", None))
    method = next((name for name in ("to_dicts", "to_pylist", "to_dict") if hasattr(rows, name)), None)
    if names is None or method is None:
        return rows
    labels = [str(name) for name in names]
    twice = next((name for name in labels if labels.count(name) > 1), None)
    if twice is not None:
        raise ParameterError("rows", f"the data frame has the column {twice!r} twice. Keep one of them.")
    return rows.to_dict("records") if method == "to_dict" else getattr(rows, method)()


def _rows_of_path(rows: Any, conn_id: str | None, sheet: str | None, ignored: Collection[str]) -> list[Row]:
    name = read_text("rows", str(rows))
    if name is None:
        raise ParameterError("rows", _EMPTY)
    if "\n" in name or "\r" in name:
        raise ParameterError("rows", "is text of several lines. Give a list of dicts, or the path of a file.")
    if _LOST_SLASH.match(name):
        raise ParameterError(
            "rows",
            f"{name!r} has one slash after the scheme, because pathlib.Path removes the other. Give a URI as text.",
        )
    if is_link(name) and not host_of(name):
        raise ParameterError("rows", f"{name!r} is not a complete link.")
    shown = shorten(without_queries(name[:_LONGEST_READ]), _LONGEST_SHOWN)
    ending = _ending(name, shown)
    if ending in _WORKBOOKS:
        _check_library(shown)
    if is_link(name) and not conn_id:
        content = _fetch(name, shown)
    else:
        content = _read(rows if isinstance(rows, ObjectStoragePath) else name, shown, conn_id)
    if len(content) > MAX_FILE_BYTES:
        raise ParameterError("rows", f"{shown} has more than {MAX_FILE_BYTES:,} bytes. Split it.")
    file_name = shown.removesuffix("?…").rstrip("/").rpartition("/")[2]
    if ending in _WORKBOOKS:
        return rows_of_table(_sheet_lines(file_name, content, sheet), ignored)
    return rows_of_file(file_name, content, ignored, warn=log.warning)


def _ending(name: str, shown: str) -> str:
    """Return the ending of a file's name. For a link, it is the ending of the path.

    :raises ParameterError: no file with this ending is read.
    """
    path = name.partition("#")[0].partition("?")[0] if "://" in name else name
    ending = path.rpartition("/")[2].rpartition(".")[2].lower()
    if ending in (*ENDINGS, *_WORKBOOKS):
        return ending
    if ending in _OTHER_SHEETS:
        raise ParameterError(
            "rows",
            f"{shown}: .{ending} files are not read. Save the sheet as .xlsx, or export it as “CSV UTF-8”.",
        )
    endings = ", ".join(f".{known}" for known in (*ENDINGS, *_WORKBOOKS))
    raise ParameterError("rows", f"{shown} is not a file of rows. Its name must end in one of {endings}.")


def _fetch(link: str, shown: str) -> bytes:
    try:
        status, content = fetch_file(link, MAX_FILE_BYTES)
    except TransportError as error:
        reason = str(error)
    else:
        if 200 <= status < 300:
            return content
        if status < 500 and status not in _TRY_LATER:
            raise ParameterError(
                "rows", f"{shown} cannot be read: the server answers HTTP {status}. Is the link still valid?"
            )
        reason = f"the server answers HTTP {status}."
    raise UnreadableRowsError("rows", f"{shown} cannot be read: {reason} A retry might read it.")


def _read(place: ObjectStoragePath | str, shown: str, conn_id: str | None) -> bytes:
    """Read a file of a store. Errors of stores can quote a signed link, so none of them is kept as a cause."""
    try:
        # Below Airflow 3, a connection of None hides the connection in the URL.
        options = {"conn_id": conn_id} if conn_id else {}
        path = (
            place
            if isinstance(place, ObjectStoragePath)
            else ObjectStoragePath(absolute_path(place), **options)
        )
        with path.open("rb") as file:
            return bytes(file.read(MAX_FILE_BYTES + 1))
    except Exception as error:  # noqa: BLE001  each store has its own classes
        is_permanent = isinstance(error, PERMANENT_ERRORS)
        reason = f"{shown} cannot be read ({type(error).__name__}: {error})."
    if is_permanent:
        raise ParameterError("rows", reason)
    raise UnreadableRowsError("rows", f"{reason} A retry might read it.")


def _parse(text: str) -> Any:
    """Read a list that a template turned into text."""
    try:
        return parse_text(text)
    except ValueError:
        raise ParameterError(
            "rows", "is text that is not a list. Pass the list itself, or the path of a file."
        ) from None


# --- Excel workbooks -------------------------------------------------------------------------------------------------


def _check_library(name: str) -> None:
    """Refuse a workbook if openpyxl is not installed.

    :raises ParameterError: the message says what to install, or how to do without.
    """
    if importlib.util.find_spec("openpyxl") is None:
        raise ParameterError(
            "rows",
            f"{name} is an Excel workbook, and openpyxl, which reads workbooks, is not installed. Run "
            "pip install 'airflow-provider-jimeng[excel]', or save the sheet as “CSV UTF-8”.",
        )


def _sheet_lines(name: str, content: bytes, sheet: str | None) -> list[Line]:
    """Return the lines of a sheet that hold something: their numbers and their cells, formulas as last calculated.

    :param sheet: the sheet's name; ``None``: the first one that is not hidden.
    :raises ParameterError: the file is not a workbook, is too large, or has no such sheet.
    """
    if content.startswith(_OLD_OFFICE):
        raise ParameterError(
            "rows",
            f"{name} has a password, or an old version of Excel saved it. Save it as .xlsx without a password.",
        )
    if not content.startswith(_ZIP):
        raise ParameterError(
            "rows",
            f"{name} is not an Excel workbook, although its ending says so. A link can lead to a page that asks for a login.",
        )
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # openpyxl warns about parts that it does not keep, but nothing is written back
        try:
            _check_size(name, content)
            return [*_lines(name, content, sheet)]
        except ParameterError:
            raise
        except Exception as error:  # noqa: BLE001  a broken part can raise any class
            reason = f"{type(error).__name__}: {error}"
    raise ParameterError(
        "rows", f"{name} cannot be read as an Excel workbook ({reason}). Save it again, or as “CSV UTF-8”."
    )


def _check_size(name: str, content: bytes) -> None:
    """Refuse a workbook that is too large, before it is unpacked. ZIP members never unpack to more than they declare."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = [part for part in archive.infolist() if part.filename.lower().endswith((".xml", ".rels"))]
        size = sum(part.file_size for part in parts)
        if size > MAX_XML_BYTES:
            raise ParameterError(
                "rows",
                f"{name} unpacks to {size:,} bytes; the limit is {MAX_XML_BYTES:,}. Copy the rows to a new "
                "workbook: the formats of empty cells can make it large.",
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


def _sheet(name: str, sheets: list[Any], title: str | None) -> Worksheet:
    visible = [sheet for sheet in sheets if sheet.sheet_state == "visible"]
    if title is None:
        return (visible or sheets)[0]
    for sheet in sheets:
        if sheet.title.strip() == title.strip():
            return sheet
    names = ", ".join(repr(sheet.title) for sheet in sheets)
    raise ParameterError("rows_sheet", f"{name} has no sheet {title!r}. Its sheets are: {names}.")


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

    merged: dict[int, list[tuple[int, int]]] = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        xml = archive.read(sheet._worksheet_path)  # noqa: SLF001  the read-only mode has no merged cells
    for left, top, _, bottom in _MERGED.findall(xml):
        if int(bottom) > int(top):
            column = column_index_from_string(left.decode()) - 1
            merged.setdefault(int(top), []).append((column, int(bottom)))
    return merged
