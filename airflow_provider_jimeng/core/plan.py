"""A campaign before it is paid: rows become checked requests, takes, a quote, and what the mapped tasks get.

Reading files, opening images and looking up what is paid already happens outside; here is what follows from it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any

from airflow_provider_jimeng.core.arguments import is_absent, read_amount, read_text
from airflow_provider_jimeng.core.catalogue import (
    CAMERA_STRENGTHS,
    CAMERA_TEMPLATES,
    DEFAULT_MODEL,
    ModelSpec,
    find_model,
)
from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.core.event import PAYLOAD_VERSION
from airflow_provider_jimeng.core.parameters import RenderRequest
from airflow_provider_jimeng.core.render import format_money
from airflow_provider_jimeng.core.rows import COLUMNS, Problem, Row

_TARGET_COLUMNS = ("output_name", "output_path")
RENDER_COLUMNS = tuple(column for column in COLUMNS if column not in _TARGET_COLUMNS)
_PLACEHOLDER_LINK = "https://placeholder.invalid/"


class RowState(StrEnum):
    """What a row will cost: ``new`` is paid by this campaign, the others were paid before."""

    NEW = "new"
    LANDED = "landed"
    RUNNING = "running"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRow:
    """A row that may be paid. ``take`` is the author's until :func:`number_takes`, then everybody has one."""

    row: Row
    request: RenderRequest
    output_path: str | None = None
    take: int | None = None
    state: RowState = RowState.NEW

    def fingerprint(self) -> str:
        """Return the fingerprint of the request as this take."""
        return replace(self.request, take=self.take or 1).fingerprint()

    def kwargs(self, common: Mapping[str, Any]) -> dict[str, Any]:
        """Return the mapped task's arguments; ``common`` is added to every row's."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelQuote:
    """One model's part. ``new`` of the ``rows`` are to be paid; ``cost`` in CNY is ``None`` where unknown."""

    rows: int
    new: int
    cost: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What a campaign costs before it starts; ``cost`` in CNY is ``None`` if one price is unknown."""

    rows: int
    new: int
    landed: int
    running: int
    cost: Decimal | None
    by_model: Mapping[str, ModelQuote]

    def to_payload(self) -> dict[str, Any]:
        """Return the quote as plain JSON data."""
        return {
            "version": PAYLOAD_VERSION,
            "rows": self.rows,
            "new": self.new,
            "landed": self.landed,
            "running": self.running,
            "cost_cny": format_money(self.cost),
            "by_model": {
                name: {"rows": part.rows, "new": part.new, "cost_cny": format_money(part.cost)}
                for name, part in self.by_model.items()
            },
        }


def draft_rows(
    rows: Iterable[Row],
    *,
    defaults: Mapping[str, Any],
    output_path: str | None,
    catalogue: Mapping[str, ModelSpec],
) -> tuple[list[PlannedRow], list[Problem]]:
    """Check every row as far as that goes without opening anything.

    :param defaults: arguments for rows that leave them blank; one that a row's model does not take is not used.
    """
    planned: list[PlannedRow] = []
    problems: list[Problem] = []
    targets: dict[str, int] = {}
    for row in rows:
        found = [*row.problems]
        values, target = dict(row.values), None
        try:
            target = _target(row, output_path)
            if target is not None and not target.endswith("/"):
                other = targets.setdefault(target, row.number)
                if other != row.number:
                    raise ParameterError(
                        "output_name", f"{target} is row {other}'s already. Give another name."
                    )
        except ParameterError as error:
            found.append(row.problem(error.argument, error.reason))
        request, refusals = _build(values, defaults, catalogue)
        found += [row.problem(error.argument, error.reason) for error in refusals]
        problems += found
        if request is not None and not found:
            take = request.take if "take" in values else None
            planned.append(
                PlannedRow(row=row, request=replace(request, take=1), output_path=target, take=take)
            )
    return planned, problems


def number_takes(planned: Sequence[PlannedRow]) -> tuple[list[PlannedRow], list[Problem]]:
    """Make identical rows different takes: the author's own numbers stay, the others get the lowest free ones."""
    taken: dict[str, dict[int, int]] = {}
    problems: list[Problem] = []
    asked = [replace(item, take=1).fingerprint() for item in planned]
    for item, same in zip(planned, asked, strict=True):
        if item.take is not None:
            other = taken.setdefault(same, {}).setdefault(item.take, item.row.number)
            if other != item.row.number:
                message = (
                    f"{item.take} is row {other}'s already, which asks for the same video. Number them apart."
                )
                problems.append(item.row.problem("take", message))
    numbered: list[PlannedRow] = []
    for item, same in zip(planned, asked, strict=True):
        take = item.take
        if take is None:
            used = taken.setdefault(same, {})
            take = next(number for number in range(1, len(planned) + 1) if number not in used)
            used[take] = item.row.number
        numbered.append(replace(item, take=take))
    return numbered, problems


def make_quote(planned: Iterable[PlannedRow]) -> Quote:
    """Add up what the new rows cost."""
    rows: dict[str, list[PlannedRow]] = {}
    for item in planned:
        rows.setdefault(item.request.spec.name, []).append(item)
    states = Counter(item.state for items in rows.values() for item in items)
    by_model = {
        name: ModelQuote(
            rows=len(items),
            new=sum(item.state is RowState.NEW for item in items),
            cost=_total(item.request.estimated_cost() for item in items if item.state is RowState.NEW),
        )
        for name, items in sorted(rows.items())
    }
    return Quote(
        rows=states.total(),
        new=states[RowState.NEW],
        landed=states[RowState.LANDED],
        running=states[RowState.RUNNING],
        cost=_total(part.cost for part in by_model.values()),
        by_model=by_model,
    )


def check_cap(quote: Quote, max_cost_cny: Any) -> None:
    """Refuse a campaign that costs more than the cap, or nobody knows how much.

    :raises ParameterError: naming cost, cap and remedy.
    """
    if is_absent(max_cost_cny):
        return
    cap = read_amount("max_cost_cny", max_cost_cny)
    if quote.cost is None:
        unknown = ", ".join(name for name, part in quote.by_model.items() if part.cost is None)
        raise ParameterError(
            "max_cost_cny",
            f"the price of {unknown} is unknown, so no cap can hold. Set it in the connection's extra under prices, or "
            "remove the cap. Nothing was submitted or paid.",
        )
    if quote.cost > cap:
        raise ParameterError(
            "max_cost_cny",
            f"the campaign costs about {format_money(quote.cost)} CNY for {quote.new} new renders, over the cap of "
            f"{format_money(cap)}. Raise the cap, shorten the renders, or leave rows out. Nothing was submitted or "
            "paid.",
        )


def check_length(rows: int, longest: int) -> None:
    """Refuse more rows than Airflow maps."""
    if rows > longest:
        raise ParameterError(
            "rows",
            f"{rows} rows are more than the {longest} that this Airflow maps at most. Raise [core] max_map_length, "
            "or split the rows into several plans. Nothing was submitted or paid.",
        )


def refusal(problems: Sequence[Problem], rows: int) -> ParameterError:
    """Return the one error that names every bad row, in the order of the rows."""
    bad = len({problem.row for problem in problems})
    lines = [f"  {problem}" for problem in sorted(problems, key=lambda problem: problem.row)]
    are = "row is" if bad == 1 else "rows are"
    head = f"{bad} {are} refused, of {rows}. Nothing was submitted or paid.\n"
    return ParameterError("rows", head + "\n".join(lines))


def quote_table(quote: Quote) -> str:
    """Return the quote as lines of text for a log."""
    lines = [f"{'model':<22}{'rows':>6}{'new':>6}{'CNY':>12}"]
    for name, part in (*quote.by_model.items(), ("total", quote)):
        lines.append(f"{name:<22}{part.rows:>6}{part.new:>6}{format_money(part.cost) or 'unknown':>12}")
    lines.append(f"landed already: {quote.landed}; paid already and on the way: {quote.running}")
    return "\n".join(lines)


def _total(costs: Iterable[Decimal | None]) -> Decimal | None:
    total = Decimal(0)
    for cost in costs:
        if cost is None:
            return None
        total += cost
    return total


def _target(row: Row, output_path: str | None) -> str | None:
    """Return where a row's video goes: the directory, or the directory and the row's own name."""
    folder = read_text("output_path", row.values.get("output_path")) or output_path
    name = read_text("output_name", row.values.get("output_name"))
    if name is None:
        return folder
    if folder is None or not folder.endswith("/"):
        raise ParameterError(
            "output_name", f"{name!r} needs an output_path that is a directory and ends in /."
        )
    parts = name.split("/")
    if (
        "://" in name
        or "\\" in name
        or any(part in ("", ".", "..") or part.startswith(".") for part in parts)
    ):
        raise ParameterError("output_name", f"{name!r} is no name below output_path, such as shots/kite.mp4.")
    return folder + (name if name.lower().endswith(".mp4") else f"{name}.mp4")


def _build(
    values: dict[str, Any], defaults: Mapping[str, Any], catalogue: Mapping[str, ModelSpec]
) -> tuple[RenderRequest | None, list[ParameterError]]:
    """Build the request; after a refusal go on with a harmless value, so that every bad argument is named."""
    arguments = {name: value for name, value in values.items() if name in RENDER_COLUMNS}
    refusals: list[ParameterError] = []
    try:
        model = next(
            (m for m in (values.get("model"), defaults.get("model")) if not is_absent(m)), DEFAULT_MODEL
        )
        spec = find_model(model, catalogue)
        arguments = {**_fitting(spec, arguments, defaults), **arguments, "model": spec.name}
    except ParameterError as error:
        return None, [error]
    for _ in RENDER_COLUMNS:
        try:
            arguments["extra_body"] = _read_json("extra_body", arguments.get("extra_body"))
            request = RenderRequest.build(**arguments, catalogue=catalogue)
        except ParameterError as error:
            refusals.append(error)
            arguments.update(_harmless(spec, error.argument))
        else:
            return (None if refusals else request), refusals
    return None, refusals


def _fitting(spec: ModelSpec, arguments: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults that a row's model takes."""
    takes = {
        "aspect_ratio": bool(spec.aspect_ratios) and (spec.min_images > 0 or "first_frame" not in arguments),
        "first_frame": spec.max_images >= 1,
        "last_frame": spec.max_images >= 2,
        "camera_template": spec.camera,
        "camera_strength": spec.camera,
    }
    return {name: value for name, value in defaults.items() if takes.get(name, True) and not is_absent(value)}


def _harmless(spec: ModelSpec, argument: str) -> dict[str, Any]:
    """Return values in place of a refused argument that the model certainly takes."""
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


def _read_json(argument: str, value: Any) -> Any:
    """Read an object that stands in a cell as JSON text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value.strip() else None
    except ValueError:
        raise ParameterError(argument, f"expected an object or its JSON text, got {value!r}.") from None
