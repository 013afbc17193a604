"""The rows of a campaign as somebody wrote them: a list of dicts, or the text of a CSV or JSON file.

Nothing is judged here but the form: which cell belongs to which argument. What is wrong is collected, so that all
of it can be said at once.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from airflow_provider_jimeng.core.arguments import is_absent
from airflow_provider_jimeng.core.catalogue import REFUSED_ARGUMENTS
from airflow_provider_jimeng.core.errors import ParameterError

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "prompt": (),
    "model": (),
    "duration": (),
    "aspect_ratio": ("ratio",),
    "seed": (),
    "first_frame": ("image",),
    "last_frame": (),
    "camera_template": (),
    "camera_strength": (),
    "take": (),
    "extra_body": (),
    "output_name": ("output", "name"),
    "output_path": (),
}
"""What a row may hold, with other names that are understood. All but the last two are arguments of a render."""

_NAMES: Mapping[str, str] = {
    name: column for column, aliases in COLUMNS.items() for name in (column, *aliases)
}
_DELIMITERS = ",;\t"
_BLANKS = re.compile(r"[\s-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is wrong with one row. ``row`` counts from 1 without header and blank lines; ``line`` is the file's.

    ``retryable``: it may be over by the next try.
    """

    row: int
    line: int | None = None
    field: str
    message: str
    retryable: bool = False

    def __str__(self) -> str:
        where = f"row {self.row}" + ("" if self.line is None else f" (line {self.line})")
        return f"{where}, {self.field}: {self.message}"


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


def rows_of_list(rows: Iterable[Any]) -> list[Row]:
    """Read rows given as a list of dicts."""
    return [_row(number, None, values) for number, values in enumerate(rows, start=1)]


def rows_of_file(name: str, content: bytes) -> list[Row]:
    """Read rows from a file: ``.csv`` or ``.tsv`` with a header, ``.jsonl`` or ``.ndjson``, or ``.json`` (a list).

    :raises ParameterError: the file as a whole cannot be read.
    """
    readers = {
        "csv": _read_csv,
        "tsv": _read_csv,
        "jsonl": _read_lines,
        "ndjson": _read_lines,
        "json": _read_json,
    }
    reader = readers.get(name.rpartition(".")[2].lower())
    if reader is None:
        raise ParameterError(
            "rows",
            f"{name} has none of the endings that are read: {', '.join('.' + ending for ending in readers)}.",
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ParameterError(
            "rows",
            f"{name} is no UTF-8 (byte {error.start}). Save it as UTF-8; Excel calls that “CSV UTF-8”.",
        ) from None
    try:
        return reader(text)
    except ParameterError:
        raise
    except (csv.Error, ValueError, RecursionError) as error:
        raise ParameterError("rows", f"{name} cannot be read: {error}.") from None


def _read_csv(text: str) -> list[Row]:
    first_line = text.lstrip().partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first_line.count)
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True
    )
    header: list[str] | None = None
    rows: list[Row] = []
    line = 1
    for cells in reader:
        if any(cell.strip() for cell in cells):
            if header is None:
                header = [cell.strip() for cell in cells]
            else:
                rows.append(_csv_row(len(rows) + 1, line, header, cells))
        line = reader.line_num + 1
    return rows


def _csv_row(number: int, line: int, header: list[str], cells: list[str]) -> Row:
    row = _row(number, line, {name: cell for name, cell in zip(header, cells, strict=False) if cell.strip()})
    surplus = [cell for cell in cells[len(header) :] if cell.strip()]
    problems = [*row.problems]
    if surplus:
        problems.append(
            row.problem(
                "cells",
                f"has {len(cells)} cells, the header {len(header)}. Quote texts that hold the delimiter.",
            )
        )
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        problems.append(row.problem(twice or "header", "stands twice in the header. Keep one."))
    return Row(number=number, line=line, values=row.values, problems=tuple(problems))


def _read_lines(text: str) -> list[Row]:
    rows: list[Row] = []
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        number = len(rows) + 1
        try:
            rows.append(_row(number, line, json.loads(content)))
        except (ValueError, RecursionError) as error:
            problem = Problem(row=number, line=line, field="row", message=f"is no JSON: {error}.")
            rows.append(Row(number=number, line=line, problems=(problem,)))
    return rows


def _read_json(text: str) -> list[Row]:
    rows = json.loads(text)
    if not isinstance(rows, list):
        raise ParameterError("rows", f"expected a JSON list of objects, got {type(rows).__name__}.")
    return rows_of_list(rows)


def _row(number: int, line: int | None, given: Any) -> Row:
    if not isinstance(given, Mapping):
        message = f"expected a dict such as {{'prompt': '…'}}, got {type(given).__name__}."
        return Row(
            number=number, line=line, problems=(Problem(row=number, line=line, field="row", message=message),)
        )
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, value in given.items():
        column = _NAMES.get(_BLANKS.sub("_", str(name).strip().lower()))
        if column is None:
            problems.append(Problem(row=number, line=line, field=str(name), message=_unknown(str(name))))
        elif column in values:
            twice = f"is given twice, once by another name ({name}). Keep one."
            problems.append(Problem(row=number, line=line, field=column, message=twice))
        elif not is_absent(value):
            values[column] = value
    return Row(number=number, line=line, values=values, problems=tuple(problems))


def _unknown(name: str) -> str:
    if name in REFUSED_ARGUMENTS:
        return f"is refused: {REFUSED_ARGUMENTS[name]}"
    nearest = get_close_matches(name.lower(), _NAMES, n=1)
    if nearest:
        return f"is no column. Did you mean {nearest[0]}?"
    return f"is no column. A row takes {', '.join(COLUMNS)}."
