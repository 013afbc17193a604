# SPDX-License-Identifier: Apache-2.0
"""The report of a campaign: how each task ended, how many videos there are, what they cost, and failures by what to do.

A task leaves in XCom ``jimeng_render`` (a render payload, with the outcome if the render did not end well), the manifest
that it returns, ``jimeng_refusal`` if the API refused the submit or no slot came free, and ``jimeng_intent`` if the
outcome of a submit is unknown. These values stay when the task fails.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.arguments import is_link
from airflow_provider_jimeng.core.frames import bare_link
from airflow_provider_jimeng.core.messages import explain
from airflow_provider_jimeng.core.outcomes import (
    NOT_SUBMITTED,
    NOTHING_SUBMITTED,
    Billed,
    Explanation,
    Outcome,
    ending_of,
)
from airflow_provider_jimeng.core.render import (
    PAYLOAD_VERSION,
    format_money,
    format_time,
    parse_money,
    parse_time,
    total_cost,
)

if TYPE_CHECKING:
    import pendulum


_TASKS_NAMED = 100
_LABEL = re.compile(r"(.+?)(?:\[(\d{1,9})\])?", re.DOTALL)


class End(StrEnum):
    """How a task ended. Only ``landed`` and ``reused`` left a video."""

    LANDED = "landed"
    REUSED = "reused"
    FAILED = "failed"
    UNFINISHED = "unfinished"
    NO_RENDER = "no_render"


_IN_WORDS = {
    End.LANDED: "saved",
    End.REUSED: "reused",
    End.FAILED: "failed",
    End.UNFINISHED: "unfinished",
    End.NO_RENDER: "without a render",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEnd:
    """What one task instance left. ``map_index`` is ``None`` if it is not known or the task is not mapped.

    ``render`` and ``manifest`` are payloads; ``render`` can also be a refusal or an intent. ``arguments`` contains the arguments
    from a plan. ``earlier`` lists the renders that the task paid for before, each with ``state``, ``task_id``,
    ``submitted_at`` and ``cost_cny``.
    """

    task: str
    map_index: int | None = None
    render: Mapping[str, Any] | None = None
    manifest: Mapping[str, Any] | None = None
    arguments: Mapping[str, Any] | None = None
    earlier: tuple[Mapping[str, Any], ...] = ()

    @property
    def label(self) -> str:
        """The task instance as people name it, e.g. ``render[3]``."""
        return self.task if self.map_index is None else f"{self.task}[{self.map_index}]"

    @property
    def known(self) -> Mapping[str, Any]:
        """All that is known of the request and the video."""
        return {**(self.arguments or {}), **(self.render or {}), **(self.manifest or {})}

    @property
    def render_id(self) -> str | None:
        """The vendor's id of the render, if one was accepted."""
        task_id = self.known.get("task_id")
        return None if task_id is None else str(task_id)

    def end(self, since: pendulum.DateTime) -> End:
        """Return how the task ended. A video that was paid before ``since`` was reused."""
        if self.manifest is not None:
            return End.REUSED if parse_time(self.manifest["submitted_at"]) < since else End.LANDED
        if not self.render or self.outcome in (Outcome.SLOT_TIMED_OUT, NOT_SUBMITTED):
            return End.NO_RENDER
        return End.FAILED if ending_of(self.outcome).over else End.UNFINISHED

    @property
    def outcome(self) -> str:
        """How the wait ended, as a value of :class:`Outcome` or ``unknown_submit``; empty if nothing is known."""
        return str((self.render or {}).get("outcome") or "")

    @property
    def code(self) -> str | None:
        """The API's code, if it gave one."""
        code = (self.render or {}).get("code")
        return None if code is None else str(code)

    @property
    def may_be_billed(self) -> bool:
        """Whether it is unknown if the submit of the task is billed."""
        return ending_of(self.outcome).billed is Billed.UNKNOWN

    @property
    def explanation(self) -> Explanation:
        """What went wrong and what to do about it."""
        return explain(self.render) if self.render else NOTHING_SUBMITTED

    def meaning(self) -> tuple[str, str]:
        """Return what went wrong and what to do about it, in English."""
        return self.explanation.meaning, self.explanation.advice


def merge_ends(ends: Iterable[TaskEnd]) -> list[TaskEnd]:
    """Return one end per render, although the tasks that submit, wait for and save it each left something.

    The instances of one mapped task stay separate even if they share a render.
    """
    merged: dict[tuple[str, int], TaskEnd] = {}
    counts: dict[tuple[str, str], int] = {}
    for end in ends:
        key = ("", len(merged))
        if end.render_id is not None:
            number = counts[end.task, end.render_id] = counts.get((end.task, end.render_id), 0) + 1
            key = (end.render_id, number)
        before = merged.get(key)
        merged[key] = end if before is None else _both(before, end)
    return list(merged.values())


def _both(before: TaskEnd, after: TaskEnd) -> TaskEnd:
    """Return both as one: the name of the task that submitted, and the latest state of the render."""
    news = after.render and (after.render.get("outcome") or after.render.get("message"))
    later = after.render if news else before.render
    return TaskEnd(
        task=before.task,
        map_index=before.map_index,
        render=later or after.render,
        manifest=after.manifest or before.manifest,
        arguments=before.arguments or after.arguments,
        earlier=before.earlier + after.earlier,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """Tasks without a video for the same reason."""

    code: str | None
    outcome: str
    explanation: Explanation
    tasks: tuple[TaskEnd, ...]

    def to_payload(self, *, at_most: int | None = None) -> dict[str, Any]:
        """Return the group as plain JSON data, with the names of ``at_most`` tasks."""
        return {
            "code": self.code,
            "outcome": self.outcome or None,
            "meaning": self.explanation.meaning,
            "advice": self.explanation.advice,
            "count": len(self.tasks),
            "tasks": [task.label for task in self.tasks[:at_most]],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A whole campaign. Money is in CNY, and ``None`` if a price is unknown.

    ``planned`` is the plan's quote; ``quoted``: there was a plan. ``actual`` is the cost of this run's renders,
    ``earlier`` the cost of the reused ones, ``open`` what renders without a known end might still cost.
    """

    dag_id: str
    run_id: str
    generated_at: pendulum.DateTime
    since: pendulum.DateTime
    planned: Decimal | None
    quoted: bool
    ends: tuple[TaskEnd, ...]

    def of(self, *ends: End) -> list[TaskEnd]:
        """Return the tasks that ended in one of these ways, in the order of ``self.ends``."""
        return [task for task in self.ends if task.end(self.since) in ends]

    @property
    def actual(self) -> Decimal | None:
        """The cost of this run's videos, including those that are not saved or were replaced by another render."""
        done = [task for task in self.of(End.UNFINISHED) if task.outcome == Outcome.SUCCEEDED]
        costs = [_cost(task) for task in _once([*self.of(End.LANDED), *done])]
        return total_cost([*costs, *self._replaced("landed")])

    @property
    def earlier(self) -> Decimal | None:
        """The cost that earlier runs paid for the reused videos."""
        return total_cost(_cost(task) for task in _once(self.of(End.REUSED)))

    @property
    def open(self) -> Decimal | None:
        """The possible cost of renders whose end is unknown or that the API lost, including replaced ones."""
        lost = [task for task in self.of(End.UNFINISHED, End.FAILED) if task.may_be_billed]
        return total_cost([*(_cost(task) for task in _once(lost)), *self._replaced("submitted", "lost")])

    def _replaced(self, *states: str) -> list[Decimal | None]:
        """Return the costs of replaced renders that were in one of these states when the next render replaced them."""
        reported = {task.render_id for task in self.ends}
        earlier = {str(item["task_id"]): item for task in self.ends for item in task.earlier}
        return [
            parse_money(item["cost_cny"])
            for task_id, item in earlier.items()
            if task_id not in reported and item["state"] in states
        ]

    def failures(self) -> list[Failures]:
        """Return the tasks without a video, grouped by reason, the largest group first."""
        groups: dict[tuple[str | None, str, str, str], list[TaskEnd]] = {}
        for task in self.of(End.FAILED, End.UNFINISHED, End.NO_RENDER):
            groups.setdefault((task.code, task.outcome, *task.meaning()), []).append(task)
        failures = [
            Failures(code=code, outcome=outcome, explanation=tasks[0].explanation, tasks=tuple(tasks))
            for (code, outcome, _, _), tasks in groups.items()
        ]
        return sorted(failures, key=lambda group: -len(group.tasks))

    def summary(self) -> dict[str, Any]:
        """Return counts, costs and failures as plain JSON data, small enough for XCom however many tasks failed."""
        return {
            "version": PAYLOAD_VERSION,
            "dag_id": self.dag_id,
            "run_id": self.run_id,
            "generated_at": format_time(self.generated_at),
            "counts": {"tasks": len(self.ends), **{end.value: len(self.of(end)) for end in End}},
            "cost": {
                "planned_cny": format_money(self.planned),
                "actual_cny": format_money(self.actual),
                "earlier_cny": format_money(self.earlier),
                "open_cny": format_money(self.open),
            },
            "failures": [group.to_payload(at_most=_TASKS_NAMED) for group in self.failures()],
        }

    def table(self) -> str:
        """Return the counts and the costs as lines of text for a log."""
        costs = {"planned": self.planned, "paid": self.actual, "paid by earlier runs": self.earlier}
        costs |= {"perhaps billed": self.open}
        lines = [f"{'tasks':<22}{len(self.ends):>6}"]
        lines += [f"{_IN_WORDS[end]:<22}{len(self.of(end)):>6}" for end in End]
        lines += [f"CNY {name:<18}{format_money(cost) or 'unknown':>12}" for name, cost in costs.items()]
        return "\n".join(lines)

    def to_payload(self) -> dict[str, Any]:
        """Return the summary and every task's payloads as plain JSON data."""
        renders = [
            {
                "task": task.label,
                "end": task.end(self.since).value,
                "asked": _unsigned(task.arguments),
                "render": None if task.render is None else dict(task.render),
                "manifest": None if task.manifest is None else dict(task.manifest),
                "earlier": [dict(item) for item in task.earlier],
            }
            for task in self.ends
        ]
        failures = [group.to_payload() for group in self.failures()]
        since = format_time(self.since)
        return {
            **self.summary(),
            "failures": failures,
            "since": since,
            "quoted": self.quoted,
            "renders": renders,
        }

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> Report:
        """Read :meth:`to_payload` back.

        A report of 0.1.0 does not say since when a video counts as new. Its own videos say so: the earliest of them.

        :raises ValueError: it is something else.
        """
        try:
            ends = tuple(_read_end(entry) for entry in payload["renders"])
            planned = parse_money(payload["cost"]["planned_cny"])
            made = parse_time(payload["generated_at"])
            own = [
                entry["manifest"]["submitted_at"]
                for entry in payload["renders"]
                if entry["end"] == End.LANDED
            ]
            return cls(
                dag_id=str(payload["dag_id"]),
                run_id=str(payload["run_id"]),
                generated_at=made,
                since=parse_time(payload["since"])
                if "since" in payload
                else min(map(parse_time, own), default=made),
                planned=planned,
                quoted=bool(payload.get("quoted", planned is not None)),
                ends=ends,
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"this is not a report ({type(error).__name__}: {error})") from None


def _read_end(entry: Mapping[str, Any]) -> TaskEnd:
    """Return the end of a task as the file of a report has it."""
    task, index = _LABEL.fullmatch(entry["task"]).groups()  # type: ignore[union-attr]  # callers handle AttributeError
    manifest = entry["manifest"]
    return TaskEnd(
        task=task,
        map_index=None if index is None else int(index),
        render=None if entry["render"] is None else dict(entry["render"]),
        manifest=None if manifest is None else {**manifest, "submitted_at": str(manifest["submitted_at"])},
        arguments=None if entry["asked"] is None else dict(entry["asked"]),
        earlier=tuple(dict(item) for item in entry.get("earlier") or ()),
    )


def _unsigned(arguments: Any) -> Any:
    """Return arguments without the query and user of any link in them, because a link can be signed."""
    if isinstance(arguments, Mapping):
        return {key: value if key == "prompt" else _unsigned(value) for key, value in arguments.items()}
    if isinstance(arguments, list):
        return [_unsigned(value) for value in arguments]
    if not isinstance(arguments, str) or not is_link(arguments):
        return arguments
    try:
        return bare_link(arguments)
    except ValueError:
        return "a link that cannot be read"


def _once(tasks: Sequence[TaskEnd]) -> list[TaskEnd]:
    """Return one task for each render: task instances that share a render pay for it once."""
    return list({task.render_id or task.label: task for task in tasks}.values())


def _cost(task: TaskEnd) -> Decimal | None:
    if task.manifest is not None and task.manifest.get("cost_cny") is not None:
        return parse_money(task.manifest["cost_cny"])
    return parse_money(task.known.get("estimated_cost_cny"))
