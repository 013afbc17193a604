"""What one task of a campaign left behind: how it ended, what that means, and what to do about it.

Tasks leave in XCom, and it stays when a task fails: ``jimeng_render`` (a render payload, and how it ended if it did not
end well), the manifest that a task returns, ``jimeng_refusal`` where the API refused the submit or no slot came free, and
``jimeng_intent`` where nobody knows what became of a submit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.codes import entry_for
from airflow_provider_jimeng.core.event import Outcome
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


UNKNOWN_SUBMIT = "unknown_submit"
"""The outcome of a ``jimeng_intent``."""
_CLEAR = "Clear the task: it goes on with the same render and pays nothing."
_ON_LOST = 'To pay for a new render, set on_lost="resubmit" and clear the task.'
_MEANINGS: Mapping[str, tuple[End, str, str]] = {
    Outcome.SUCCEEDED: (End.UNFINISHED, "The video is done and billed, and was not landed.", _CLEAR),
    Outcome.FAILED: (End.FAILED, "The render failed.", "Read the message and the task's log."),
    Outcome.EXPIRED: (
        End.FAILED,
        "The render lapsed before it was landed. It may have been billed.",
        _ON_LOST,
    ),
    Outcome.NOT_FOUND: (End.FAILED, "The API no longer knows the render. It may have been billed.", _ON_LOST),
    Outcome.NO_LINK: (
        End.UNFINISHED,
        "The API says that the render is done and gives no link to its video. It may have been billed.",
        "Clear the task: it asks again for the link and pays nothing.",
    ),
    Outcome.TIMED_OUT: (End.UNFINISHED, "The render was not finished when the task stopped waiting.", _CLEAR),
    Outcome.LOST_CONTACT: (
        End.UNFINISHED,
        "The API refused the connection's credentials while the render ran.",
        "Repair the connection, then clear the task within 11 hours of the submit: it pays nothing more.",
    ),
    Outcome.SLOT_TIMED_OUT: (
        End.NO_RENDER,
        "No render slot came free in time. Nothing was billed.",
        "Clear the task to wait again.",
    ),
    UNKNOWN_SUBMIT: (
        End.UNFINISHED,
        "A submit was sent and its answer was lost: a render may be running, and be billed, under an unknown id.",
        'Check the console\'s task list and bill. Then set on_unknown_submit="resubmit" and clear the task.',
    ),
    "": (
        End.UNFINISHED,
        "The render was submitted, and its task ended without saying what became of it.",
        _CLEAR,
    ),
}
_NOTHING_SUBMITTED = (
    "The task ended before a render was accepted: an argument or a connection was refused, or it never ran.",
    "Read the task's log. Nothing of it was billed, unless the log says that an outcome is unknown.",
)
MAY_BE_BILLED = frozenset(
    {
        "",
        UNKNOWN_SUBMIT,
        Outcome.EXPIRED,
        Outcome.NOT_FOUND,
        Outcome.NO_LINK,
        Outcome.TIMED_OUT,
        Outcome.LOST_CONTACT,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEnd:
    """What one task instance left. ``map_index`` is ``None`` where it is not known or the task is not mapped.

    ``render`` and ``manifest`` are its payloads (or a refusal or an intent in the render's place), ``asked`` the arguments
    that a plan gave it, ``earlier`` what it paid for before: ``state``, ``task_id``, ``submitted_at``, ``cost_cny`` of each.
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
        if not self.render:
            return End.NO_RENDER
        return _MEANINGS.get(self.outcome, _MEANINGS[Outcome.FAILED])[0]

    @property
    def outcome(self) -> str:
        """How the wait ended, in the words of :class:`Outcome`; empty if nothing is known."""
        return str((self.render or {}).get("outcome") or "")

    @property
    def code(self) -> str | None:
        """The API's code, if it gave one."""
        code = (self.render or {}).get("code")
        return None if code is None else str(code)

    def meaning(self) -> tuple[str, str]:
        """Return what went wrong and what to do about it."""
        if not self.render:
            return _NOTHING_SUBMITTED
        render, entry = self.render, entry_for(self.code)
        if entry is not None and self.outcome != Outcome.SLOT_TIMED_OUT:
            return entry.meaning, str(render.get("advice") or entry.advice)
        _, meaning, advice = _MEANINGS.get(self.outcome, _MEANINGS[Outcome.FAILED])
        return meaning, str(render.get("advice") or advice)


def merge_ends(ends: Iterable[TaskEnd]) -> list[TaskEnd]:
    """Tell each render once, where the tasks that submit, wait for and land it each left something.

    Task instances of one mapped task stay apart even when they share a render.
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
    """Return what a task returned if it is a manifest."""
    try:
        RenderManifest.from_payload(payload)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return payload if isinstance(payload, Mapping) else None


def _both(before: TaskEnd, after: TaskEnd) -> TaskEnd:
    """Keep the name of the task that submitted, and the latest word on the render."""
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
