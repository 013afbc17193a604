"""What a script is told when a render it waited for did not end well."""

from __future__ import annotations

from airflow_provider_jimeng.core.codes import lookup
from airflow_provider_jimeng.core.errors import (
    LostContactError,
    NoLinkError,
    RenderError,
    RenderExpiredError,
    RenderFailedError,
    RenderNotFoundError,
    RenderTimedOutError,
)
from airflow_provider_jimeng.core.event import Outcome, RenderEvent


def error_of(event: RenderEvent) -> RenderError:
    """Return the error for a wait that did not succeed."""
    name = f"Render {event.task_id}"
    details = [
        f"{key} {value}" for key, value in (("code", event.code), ("request id", event.request_id)) if value
    ]
    said = (event.message or "no message") + (f" ({', '.join(details)})" if details else "")
    match event.outcome:
        case Outcome.FAILED:
            entry = lookup(event.code)
            help_ = f" {entry.meaning} {entry.advice}" if entry else ""
            return RenderFailedError(
                f"{name} failed: {said}.{help_} It is not billed.",
                event=event,
                new_try_may_help=entry is not None and entry.retryable,
            )
        case Outcome.EXPIRED:
            return RenderExpiredError(f"{name} expired. It may have been billed.", event=event)
        case Outcome.NOT_FOUND:
            return RenderNotFoundError(
                f"{name} is not known to the API: the id or the model is wrong, or it is older than 12 hours. "
                "It may have been billed.",
                event=event,
            )
        case Outcome.LOST_CONTACT:
            return LostContactError(
                f"The API refused the connection's credentials while {name} was running: {said}. Repair the "
                "connection and wait for the same render again; nothing is paid twice.",
                event=event,
            )
        case Outcome.NO_LINK:
            return NoLinkError(
                f"{name} is done, but without a link to its video: {said}. It may have been billed. Wait for the same "
                "render again: the API is asked for the link again, and nothing is paid twice.",
                event=event,
            )
    return RenderTimedOutError(
        f"{name} did not finish in time ({said}). Wait for the same render again; nothing is paid twice.",
        event=event,
    )
