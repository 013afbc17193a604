"""The rows of a campaign as somebody wrote them: a list of dicts, a table, or the content of a file.

Nothing is judged here but the form: which cell belongs to which argument. What is wrong is collected, so that all
of it can be said at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_jimeng.core.cells import is_blank, is_missing, read_cell
from airflow_provider_jimeng.core.columns import COLUMNS, check_header, column_of, plain_name, unknown_column
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

__all__ = ["COLUMNS", "Problem", "Row", "rows_of_file", "rows_of_list", "rows_of_table"]

_LONGEST_FIELD = 100
_LONGEST_PROBLEM = 600


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

    @property
    def where(self) -> str:
        """The row, and its line in the file."""
        return f"row {self.row}" + ("" if self.line is None else f" (line {self.line})")

    @property
    def what(self) -> str:
        """What is wrong, as a message may show it."""
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
    """Read rows given as a list of dicts. One that holds nothing but missing values is none: data frames have such.

    :param ignored: names of columns that are not for the renders, as :func:`~.columns.read_ignored` returns them.
    """
    return [
        _row(number, None, values, ignored)
        for number, values in enumerate(rows, start=1)
        if not (isinstance(values, Mapping) and values and all(map(is_missing, values.values())))
    ]


def rows_of_table(lines: Iterable[Line], ignored: Collection[str] = ()) -> list[Row]:
    """Read rows from the lines of a table, the header first; blank lines and blank columns are none.

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
    """Read rows from a file: a table (``.csv``, ``.tsv``, ``.txt``), ``.jsonl`` or ``.ndjson``, or ``.json`` (a list).

    :param warn: is told what somebody should know of a file that can be read.
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
        message = f"has {nameless[-1]} cells, the header {len(header)}. Quote texts that hold the delimiter."
    else:
        message = f"column {nameless[0]} has a value but no name in the header. Name it, or clear the cell."
    problem = row.problem("cells", message)
    return Row(number=number, line=line, values=row.values, problems=(*row.problems, problem))


def _row(number: int, line: int | None, given: Any, ignored: Collection[str]) -> Row:
    if isinstance(given, Mapping):
        return _pairs(number, line, given.items(), ignored)
    message = f"expected a dict such as {{'prompt': '…'}}, got {type(given).__name__}."
    problem = Problem(row=number, line=line, field="row", message=message)
    return Row(number=number, line=line, problems=(problem,))


def _pairs(number: int, line: int | None, pairs: Iterable[tuple[Any, Any]], ignored: Collection[str]) -> Row:
    """Sort named values by column; a name may come twice."""
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
            message = f"is given twice, once by another name ({name}). Keep one."
        elif column in values:
            message = "stands twice in the header. Keep one."
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
