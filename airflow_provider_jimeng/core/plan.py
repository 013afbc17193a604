# SPDX-License-Identifier: Apache-2.0
"""Makes checked requests of the rows of a campaign, with version numbers, and the arguments of the mapped tasks.

Other modules read the files, open the images and look up which rows are paid already.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.arguments import TEMPLATE_MARKS, as_mapping, is_absent, read_text, shown
from airflow_provider_jimeng.core.catalogue import (
    CAMERA_STRENGTHS,
    CAMERA_TEMPLATES,
    DEFAULT_MODEL,
    find_model,
)
from airflow_provider_jimeng.core.columns import COLUMNS
from airflow_provider_jimeng.core.connection_settings import DEFAULT_ENDPOINT
from airflow_provider_jimeng.core.errors import ParameterError, UnreadableImageError
from airflow_provider_jimeng.core.frames import Frame, check_links, check_same_ratio
from airflow_provider_jimeng.core.output_path import check_lengths, is_inside, read_output_path, split_uri
from airflow_provider_jimeng.core.parameters import RenderRequest
from airflow_provider_jimeng.core.texts import MAX_TEXT_LENGTH, shorten

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.catalogue import ModelSpec
    from airflow_provider_jimeng.core.rows import Problem, Row


_TARGET_COLUMNS = ("output_name", "output_path")
_RENDER_COLUMNS = tuple(column for column in COLUMNS if column not in _TARGET_COLUMNS)
_PLACEHOLDER_LINK = "https://placeholder.invalid/"


def target_of(row: Row, output_path: str | None) -> str | None:
    """Return where a row's video is saved: the directory, or the directory and the row's own name."""
    texts = {name: _settle(name, row.values.get(name)) for name in _TARGET_COLUMNS}
    folder = read_output_path(texts["output_path"]) or output_path
    name = read_text("output_name", texts["output_name"])
    if name is None:
        return folder
    if folder is None or not folder.endswith("/"):
        raise ParameterError(
            "output_name", f"{shown(name)} needs an output_path that is a directory and ends in /."
        )
    if not is_inside(name):
        raise ParameterError(
            "output_name", f"{shown(name)} is not a name below output_path, such as shots/kite.mp4."
        )
    path = folder + (name if name.lower().endswith(".mp4") else f"{name}.mp4")
    check_lengths("output_name", *split_uri(path))
    return path


def request_of(
    values: Mapping[str, Any], defaults: Mapping[str, Any], catalogue: Mapping[str, ModelSpec]
) -> tuple[RenderRequest | None, list[ParameterError]]:
    """Return the request, ``None`` if it is refused, and the errors of its arguments.

    After an error a valid value takes the place of the wrong one, so that every wrong argument is named.
    """
    arguments = {name: value for name, value in values.items() if name in _RENDER_COLUMNS}
    try:
        names = (values.get("model"), defaults.get("model"), DEFAULT_MODEL)
        spec = find_model(next(model for model in names if not is_absent(model)), catalogue)
    except ParameterError as error:
        return None, [error]
    arguments = {**_fitting(spec, arguments, defaults), **arguments, "model": spec.name}
    refused: dict[str, ParameterError] = {}
    for name, value in [*arguments.items()]:
        try:
            arguments[name] = _settle(name, value)
        except ParameterError as error:
            refused[name] = error
            arguments.update(_valid(spec, name))
    while True:
        try:
            arguments["extra_body"] = as_mapping("extra_body", arguments.get("extra_body"))
            request = RenderRequest.build(**arguments, catalogue=catalogue)
        except ParameterError as error:
            if error.argument in refused:
                return None, [*refused.values()]
            refused[error.argument] = error
            arguments.update(_valid(spec, error.argument))
        else:
            return (None if refused else request), [*refused.values()]


def _fitting(spec: ModelSpec, arguments: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults that a row's model takes."""
    frame = "first_frame" in arguments or not is_absent(defaults.get("first_frame"))
    follows_frame = frame and spec.max_images >= 1 and spec.min_images == 0
    takes = {
        "aspect_ratio": bool(spec.aspect_ratios) and not follows_frame,
        "first_frame": spec.max_images >= 1,
        "last_frame": spec.max_images >= 2,
        "camera_template": spec.camera,
        "camera_strength": spec.camera,
    }
    return {name: value for name, value in defaults.items() if takes.get(name, True) and not is_absent(value)}


def _valid(spec: ModelSpec, argument: str) -> dict[str, Any]:
    """Return a value that the model certainly takes, in place of a refused argument."""
    if argument in ("first_frame", "last_frame"):
        links = (
            _PLACEHOLDER_LINK if spec.min_images >= 1 else None,
            _PLACEHOLDER_LINK if spec.min_images >= 2 else None,
        )
        return {"first_frame": links[0], "last_frame": links[1]}
    if argument == "prompt":
        return {"prompt": "placeholder"}
    if argument in ("camera_template", "camera_strength") and spec.camera:
        return {argument: (CAMERA_TEMPLATES if argument == "camera_template" else CAMERA_STRENGTHS)[0]}
    return {argument: None}


def _settle(argument: str, value: Any) -> Any:
    r"""Return a value that Airflow does not change when it renders the arguments of the mapped task as templates.

    A template in a row would run on the worker, with all its connections, so it is refused. Line ends become ``\n``.
    """
    if isinstance(value, str):
        mark = next((mark for mark in TEMPLATE_MARKS if mark in value), None)
        if mark is not None:
            raise ParameterError(
                argument,
                f"contains {mark!r}, which Airflow would run as a template in the mapped task. Remove it.",
            )
        return value.replace("\r\n", "\n").replace("\r", "\n")
    if isinstance(value, Mapping):
        return {_settle(argument, key): _settle(argument, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_settle(argument, item) for item in value]
    return value


_LONGEST_END = 100
_ROWS_NAMED = 10
_LONGEST_COLUMN = 40
MAX_LOG_LINES = 1_000
"""A campaign can have tens of thousands of bad rows. Airflow stores every line of a log."""


class RowState(StrEnum):
    """What a row costs: ``new`` is paid by this campaign, the others were paid before.

    ``done`` is not saved yet. ``running`` can still fail, unbilled, and then costs what a new one does.
    """

    NEW = "new"
    LANDED = "landed"
    DONE = "done"
    RUNNING = "running"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedFrame(Frame):
    """An image file that was read and checked, without its bytes: all images of a campaign can exceed the memory."""

    sha256: str

    @classmethod
    def of(cls, frame: Frame) -> OpenedFrame:
        """Return an opened image without its bytes."""
        return cls(
            reference=frame.reference,
            format=frame.format,
            width=frame.width,
            height=frame.height,
            orientation=frame.orientation,
            sha256=frame.identity(),
        )

    def identity(self) -> str:
        """Return the SHA-256 of the bytes that were read."""
        return self.sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRow:
    """A row that can be paid. ``take`` is the author's, if there is one, until :func:`number_takes` numbers every row."""

    row: Row
    request: RenderRequest
    output_path: str | None = None
    take: int | None = None
    state: RowState = RowState.NEW

    def with_images(self, images: Mapping[str, OpenedFrame]) -> PlannedRow:
        """Return the row with its image files, by argument, that were read."""
        first = images.get("first_frame", self.request.first_frame)
        last = images.get("last_frame", self.request.last_frame)
        if first is not None and last is not None:
            check_same_ratio(first, last)
        return replace(self, request=replace(self.request, first_frame=first, last_frame=last))

    @property
    def fingerprint(self) -> str:
        """Return the fingerprint of the request with this version number."""
        return replace(self.request, take=self.take or 1).fingerprint

    def kwargs(self, common: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of the mapped task. ``common`` is added to those of every row."""
        request = self.request
        frames = {"first_frame": request.first_frame, "last_frame": request.last_frame}
        optional: dict[str, Any] = {
            "prompt": request.prompt,
            "aspect_ratio": request.aspect_ratio,
            **{name: frame.reference for name, frame in frames.items() if frame is not None},
            "camera_template": request.camera_template,
            "camera_strength": request.camera_strength,
            "extra_body": dict(request.extra_body),
            "output_path": self.output_path,
        }
        return {
            "model": request.spec.name,
            "duration": request.duration,
            "seed": request.seed,
            "take": self.take or 1,
            **{name: value for name, value in optional.items() if value},
            **common,
        }


def draft_rows(
    rows: Iterable[Row],
    *,
    defaults: Mapping[str, Any],
    output_path: str | None,
    catalogue: Mapping[str, ModelSpec],
    endpoint: str = DEFAULT_ENDPOINT,
) -> tuple[list[PlannedRow], list[Problem]]:
    """Check every row as far as possible without opening a file.

    :param defaults: arguments for rows that leave them blank. A default that a row's model does not take is not used.
    :param endpoint: the URL of the API, which fetches image links itself.
    """
    planned: list[PlannedRow] = []
    problems: list[Problem] = []
    targets: dict[str, int] = {}
    for row in rows:
        row_problems = [*row.problems]
        target = None
        try:
            target = target_of(row, output_path)
        except ParameterError as error:
            row_problems.append(row.problem(error.argument, error.reason))
        if target is not None and not target.endswith("/"):
            other = targets.setdefault(target, row.number)
            if other != row.number:
                message = f"{target} is the file of row {other} already. Give another name."
                row_problems.append(row.problem("output_name", message))
        request, refusals = request_of(row.values, defaults, catalogue)
        if request is not None:
            try:
                check_links(request, endpoint)
            except ParameterError as error:
                refusals.append(error)
        named = {problem.field for problem in row_problems}
        row_problems += [
            row.problem(error.argument, error.reason) for error in refusals if error.argument not in named
        ]
        problems += row_problems
        if request is not None and not row_problems:
            take = request.take if "take" in row.values else None
            planned.append(
                PlannedRow(row=row, request=replace(request, take=1), output_path=target, take=take)
            )
    return planned, problems


def number_takes(planned: Sequence[PlannedRow]) -> tuple[list[PlannedRow], list[Problem]]:
    """Give identical rows different version numbers. The author's numbers stay; the others get the lowest free ones."""
    taken: dict[str, dict[int, int]] = {}
    problems: list[Problem] = []
    asked = [replace(item, take=1).fingerprint for item in planned]
    for item, same in zip(planned, asked, strict=True):
        if item.take is not None:
            other = taken.setdefault(same, {}).setdefault(item.take, item.row.number)
            if other != item.row.number:
                message = f"{item.take} is the number of row {other} already, which asks for the same video. Give each another number."
                problems.append(item.row.problem("take", message))
    numbered: list[PlannedRow] = []
    lowest: dict[str, int] = {}
    for item, same in zip(planned, asked, strict=True):
        take = item.take
        if take is None:
            used, take = taken.setdefault(same, {}), lowest.get(same, 1)
            while take in used:
                take += 1
            used[take], lowest[same] = item.row.number, take + 1
        numbered.append(replace(item, take=take))
    return numbered, problems


def check_length(rows: int, longest: int) -> None:
    """Refuse more rows than Airflow can map."""
    if rows > longest:
        raise ParameterError(
            "rows",
            f"{rows} rows are more than the {longest} that this Airflow maps at most. Raise [core] max_map_length, "
            "or split the rows into several plans. Nothing was submitted or paid.",
        )


def refusal(problems: Sequence[Problem], rows: int) -> ParameterError:
    """Return the one error that names the bad rows, in the order of the rows; retryable if every problem is.

    A problem that many rows have is named once. The error can be too short for all of them, so the caller writes
    :func:`log_lines` to the log.
    """
    bad = len({problem.row for problem in problems})
    lines = problem_lines(problems)
    are = "row is" if bad == 1 else "rows are"
    head = f"{bad} {are} refused, of {rows}. Nothing was submitted or paid."
    room = MAX_TEXT_LENGTH - len(head) - _LONGEST_END
    shown = 0
    while shown < len(lines) and len(lines[shown]) + 3 <= room:
        room -= len(lines[shown]) + 3
        shown += 1
    text = "\n".join([head, *(f"  {line}" for line in lines[:shown])])
    if shown < len(lines):
        more = len(lines) - shown
        listed = (
            ", which the task's log lists."
            if len(lines) <= MAX_LOG_LINES
            else f". The task's log lists the first {MAX_LOG_LINES}."
        )
        text += f"\n  and {more} more problems{listed}"
    kind = UnreadableImageError if all(problem.retryable for problem in problems) else ParameterError
    return kind("rows", text)


def log_lines(problems: Sequence[Problem]) -> list[str]:
    """Return the first of :func:`problem_lines`. If there are more, the last line says how many rows have which problem."""
    lines = problem_lines(problems)
    if len(lines) <= MAX_LOG_LINES:
        return lines
    columns = Counter(shorten(name, _LONGEST_COLUMN) for name, _ in {(p.field, p.row) for p in problems})
    most = columns.most_common(_ROWS_NAMED)
    parts = ", ".join(f"{name} in {rows} {'row' if rows == 1 else 'rows'}" for name, rows in most)
    end = f", and {len(columns) - len(most)} more columns" if len(columns) > len(most) else ""
    more = len(lines) - MAX_LOG_LINES
    return [*lines[:MAX_LOG_LINES], f"{more} more lines are left out. In all: {parts}{end}."]


def problem_lines(problems: Iterable[Problem]) -> list[str]:
    """Return one line for each problem, in the order of the rows, with the rows that have it."""
    same: dict[str, list[Problem]] = {}
    for problem in sorted(problems, key=lambda problem: problem.row):
        same.setdefault(problem.what, []).append(problem)
    lines = []
    for what, (first, *others) in same.items():
        line = f"{first.where}, {what}"
        if others:
            numbers = [str(problem.row) for problem in others[:_ROWS_NAMED]]
            more = ", …" if len(others) > _ROWS_NAMED else ""
            rows = "1 more row" if len(others) == 1 else f"{len(others)} more rows"
            line += f" (The same in {rows}: {', '.join(numbers)}{more})"
        lines.append(line)
    return lines
