"""What a waiting trigger tells its task: an outcome and ids, never a link."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

PAYLOAD_VERSION = 1


class Outcome(StrEnum):
    """How a wait ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    EXPIRED = "expired"
    NOT_FOUND = "not_found"
    NO_LINK = "no_link"
    TIMED_OUT = "timed_out"
    LOST_CONTACT = "lost_contact"
    SLOT_FREE = "slot_free"
    SLOT_TIMED_OUT = "slot_timed_out"


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderEvent:
    """The end of one wait.

    ``code``, ``message`` and ``request_id`` are the API's own, where it gave them. ``polls`` counts the queries of
    this wait; ``queued_seconds`` and ``render_seconds`` are as seen between polls, ``None`` where never seen.
    ``waiting_since`` (epoch seconds) rides along with the slot outcomes.
    """

    outcome: Outcome
    task_id: str | None = None
    req_key: str | None = None
    code: str | None = None
    message: str | None = None
    request_id: str | None = None
    polls: int = 0
    queued_seconds: float | None = None
    render_seconds: float | None = None
    waiting_since: float | None = None

    def to_payload(self) -> dict[str, Any]:
        """Return the event as plain JSON data; absent values are left out."""
        payload: dict[str, Any] = {
            "version": PAYLOAD_VERSION,
            "outcome": self.outcome.value,
            "polls": self.polls,
        }
        for name in _OPTIONAL:
            value = getattr(self, name)
            if value is not None:
                payload[name] = value
        return payload

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> RenderEvent:
        """Read :meth:`to_payload` back; fields of a later version are ignored."""
        return cls(
            outcome=Outcome(payload["outcome"]),
            polls=int(payload.get("polls") or 0),
            **{name: payload.get(name) for name in _OPTIONAL},
        )


_OPTIONAL = (
    "task_id",
    "req_key",
    "code",
    "message",
    "request_id",
    "queued_seconds",
    "render_seconds",
    "waiting_since",
)
