"""What one task of a campaign left in XCom: how it ended, what that means, and what to do about it.

A task leaves ``jimeng_render`` (a render payload, with the outcome if the render did not end well), the manifest that it
returns, ``jimeng_refusal`` if the API refused the submit or no slot came free, and ``jimeng_intent`` if the outcome of a
submit is unknown. These values stay when the task fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.event import NOTHING_SUBMITTED, Billed, Outcome, ending_of
from airflow_provider_jimeng.core.messages import explain
from airflow_provider_jimeng.core.render import RenderManifest, parse_time

if TYPE_CHECKING:
    import pendulum


class End(StrEnum):
    """How a task ended. Only ``landed`` and ``reused`` left a video."""

    LANDED = "landed"
    REUSED = "reused"
    FAILED = "failed"
    UNFINISHED = "unfinished"
    NO_RENDER = "no_render"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEnd:
    """What one task instance left. ``map_index`` is ``None`` if it is not known or the task is not mapped.

    ``render`` and ``manifest`` are payloads; ``render`` can also be a refusal or an intent. ``asked`` holds the arguments
    from a plan. ``earlier`` lists the renders that the task paid for before, each with ``state``, ``task_id``,
    ``submitted_at`` and ``cost_cny``.
    """

    task: str
    map_index: int | None = None
    render: Mapping[str, Any] | None = None
    manifest: Mapping[str, Any] | None = None
    asked: Mapping[str, Any] | None = None
    earlier: tuple[Mapping[str, Any], ...] = ()

    @property
    def label(self) -> str:
        """The task instance as people name it, e.g. ``render[3]``."""
        return self.task if self.map_index is None else f"{self.task}[{self.map_index}]"

    @property
    def known(self) -> Mapping[str, Any]:
        """All that is known of the request and the video."""
        return {**(self.asked or {}), **(self.render or {}), **(self.manifest or {})}

    @property
    def render_id(self) -> str | None:
        """The vendor's id of the render, if one was accepted."""
        found = self.known.get("task_id")
        return None if found is None else str(found)

    def end(self, since: pendulum.DateTime) -> End:
        """Return how it ended; a video that was paid before ``since`` was reused."""
        if self.manifest is not None:
            return End.REUSED if parse_time(self.manifest["submitted_at"]) < since else End.LANDED
        if not self.render or self.outcome == Outcome.SLOT_TIMED_OUT:
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
        """Whether nobody knows if what the task submitted is billed."""
        return ending_of(self.outcome).billed is Billed.UNKNOWN

    def meaning(self) -> tuple[str, str]:
        """Return what went wrong and what to do about it."""
        explanation = explain(self.render) if self.render else NOTHING_SUBMITTED
        return explanation.meaning, explanation.advice


def merge_ends(ends: Iterable[TaskEnd]) -> list[TaskEnd]:
    """Return one end per render, although the tasks that submit, wait for and save it each left something.

    The instances of one mapped task stay separate even if they share a render.
    """
    merged: dict[tuple[str, int], TaskEnd] = {}
    seen: dict[tuple[str, str], int] = {}
    for end in ends:
        key = ("", len(merged))
        if end.render_id is not None:
            number = seen[end.task, end.render_id] = seen.get((end.task, end.render_id), 0) + 1
            key = (end.render_id, number)
        before = merged.get(key)
        merged[key] = end if before is None else _both(before, end)
    return list(merged.values())


def manifest_or_none(payload: Any) -> Mapping[str, Any] | None:
    """Return what a task returned if it is a manifest, else ``None``."""
    try:
        RenderManifest.from_payload(payload)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return payload if isinstance(payload, Mapping) else None


def _both(before: TaskEnd, after: TaskEnd) -> TaskEnd:
    """Return both as one: the name of the task that submitted, and the latest news of the render."""
    news = after.render and (after.render.get("outcome") or after.render.get("message"))
    later = after.render if news else before.render
    return TaskEnd(
        task=before.task,
        map_index=before.map_index,
        render=later or after.render,
        manifest=after.manifest or before.manifest,
        asked=before.asked or after.asked,
        earlier=before.earlier + after.earlier,
    )
