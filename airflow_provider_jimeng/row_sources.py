# SPDX-License-Identifier: Apache-2.0
"""Where a campaign's rows come from: a list, a data frame, a file in any store, a link."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_jimeng.client.media import fetch_file
from airflow_provider_jimeng.core.arguments import is_absent, is_link, parse_text, read_text
from airflow_provider_jimeng.core.errors import ParameterError, TransportError, UnreadableRowsError
from airflow_provider_jimeng.core.frames import host_of
from airflow_provider_jimeng.core.row_text import ENDINGS
from airflow_provider_jimeng.core.rows import Row, read_ignored, rows_of_file, rows_of_list, rows_of_table
from airflow_provider_jimeng.core.texts import shorten, without_queries
from airflow_provider_jimeng.images import FOR_GOOD
from airflow_provider_jimeng.spreadsheet import ENDINGS as WORKBOOKS, check_library, sheet_lines

log = logging.getLogger(__name__)

MAX_FILE_BYTES = 64 * 1024 * 1024
"""A workbook may hold pictures; the rows themselves have some hundred kilobytes."""
_OTHER_SHEETS = ("xls", "xlsb", "ods", "numbers", "et", "gsheet")
_LOST_SLASH = re.compile(r"[a-z][a-z0-9+.-]+:/(?!/)", re.IGNORECASE)
_LONGEST_READ = 20_000
_LONGEST_SHOWN = 400
_TRY_LATER = (408, 425, 429)


def read_rows(
    rows: Any, *, conn_id: str | None = None, sheet: str | None = None, ignore_columns: Any = None
) -> list[Row]:
    """Return the rows of a list, of a data frame, or of the file that a path, URI or link names.

    :param conn_id: Airflow connection of the store in which the file lies.
    :param sheet: which sheet of an Excel workbook to read; ``None``: the first one that is not hidden.
    :param ignore_columns: names of columns that are not for the renders.
    :raises ParameterError: the rows cannot be read as a whole; what is wrong with one row is told by the row.
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
        raise ParameterError("rows", f"the data frame has the column {twice!r} twice. Keep one.")
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
            f"{name!r} has one slash behind the scheme: pathlib.Path drops the other. Give a URI as text.",
        )
    if is_link(name) and not host_of(name):
        raise ParameterError("rows", f"{name!r} is no complete link.")
    shown = shorten(without_queries(name[:_LONGEST_READ]), _LONGEST_SHOWN)
    ending = _ending(name, shown)
    if ending in WORKBOOKS:
        check_library(shown)
    if is_link(name) and not conn_id:
        content = _fetch(name, shown)
    else:
        content = _read(rows if isinstance(rows, ObjectStoragePath) else name, shown, conn_id)
    if len(content) > MAX_FILE_BYTES:
        raise ParameterError("rows", f"{shown} has more than {MAX_FILE_BYTES:,} bytes. Split it.")
    file_name = shown.removesuffix("?…").rstrip("/").rpartition("/")[2]
    if ending in WORKBOOKS:
        return rows_of_table(sheet_lines(file_name, content, sheet), ignored)
    return rows_of_file(file_name, content, ignored, warn=log.warning)


def _ending(name: str, shown: str) -> str:
    """Return a file's ending, of a link that of its path; nothing is read before it is known.

    :raises ParameterError: the file cannot be read, or not with this ending.
    """
    path = name.partition("#")[0].partition("?")[0] if "://" in name else name
    ending = path.rpartition("/")[2].rpartition(".")[2].lower()
    if ending in (*ENDINGS, *WORKBOOKS):
        return ending
    if ending in _OTHER_SHEETS:
        raise ParameterError(
            "rows", f"{shown}: .{ending} is not read. Save the sheet as .xlsx, or export it as “CSV UTF-8”."
        )
    endings = ", ".join(f".{known}" for known in (*ENDINGS, *WORKBOOKS))
    raise ParameterError("rows", f"{shown} has none of the endings that are read: {endings}.")


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
    raise UnreadableRowsError("rows", f"{shown} cannot be read: {reason} A retry may read it.")


def _read(place: ObjectStoragePath | str, shown: str, conn_id: str | None) -> bytes:
    """Read a file of a store. Errors of stores may quote a signed link, so none is kept as a cause."""
    try:
        # Below Airflow 3 a connection of None hides the one that stands in the URL.
        options = {"conn_id": conn_id} if conn_id else {}
        path = (
            place if isinstance(place, ObjectStoragePath) else ObjectStoragePath(_absolute(place), **options)
        )
        with path.open("rb") as file:
            return bytes(file.read(MAX_FILE_BYTES + 1))
    except Exception as error:  # noqa: BLE001  no two stores agree on their classes
        for_good = isinstance(error, FOR_GOOD)
        reason = f"{shown} cannot be read ({type(error).__name__}: {error})."
    if for_good:
        raise ParameterError("rows", reason)
    raise UnreadableRowsError("rows", f"{reason} A retry may read it.")


def _absolute(name: str) -> str:
    """Return a path that was given without a scheme, made absolute: Airflow 2 takes it from the root."""
    return name if "://" in name else str(Path(name).expanduser().absolute())


def _parse(text: str) -> Any:
    """Read a list that a template turned into text."""
    try:
        return parse_text(text)
    except ValueError:
        raise ParameterError(
            "rows", "is text that is not a list. Pass the list itself, or the path of a file."
        ) from None
