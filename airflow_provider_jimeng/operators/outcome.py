"""What to tell people when a render did not end well: what happened, what it may have cost, what comes next."""

from __future__ import annotations

from typing import Any

from airflow_provider_jimeng.core.codes import CodeEntry, lookup
from airflow_provider_jimeng.core.deadlines import landable_until
from airflow_provider_jimeng.core.errors import (
    LostContactError,
    RenderError,
    RenderExpiredError,
    RenderFailedError,
    RenderNotFoundError,
    RenderTimedOutError,
    SlotTimedOutError,
)
from airflow_provider_jimeng.core.event import Outcome, RenderEvent
from airflow_provider_jimeng.core.render import Render, format_money

_RESUBMIT = 'To pay for a new one, set on_lost="resubmit" and clear {task}.'


def render_error(
    event: RenderEvent, render: Render, *, on_lost: str = "fail", submits: bool = True
) -> RenderError:
    """Return the error for a wait that did not succeed; its text says what the next try will do.

    :param submits: the task that is told is the one that submitted the render, so that its next try may replace it.
    """
    name = f"Render {render.task_id} ({render.model})"
    cost = format_money(render.estimated_cost_cny)
    price = "an unknown amount" if cost is None else f"about {cost} CNY"
    again = submits and on_lost == "resubmit"
    task = "the task" if submits else "the task that submitted it"
    lost = "The next try submits, and pays, again." if again else _RESUBMIT.format(task=task)
    match event.outcome:
        case Outcome.FAILED:
            return _failed(name, event, submits=submits)
        case Outcome.EXPIRED:
            return RenderExpiredError(
                f"{name} expired before its video was landed; it may have been billed {price}. {lost}",
                event=event,
                new_try_may_help=again,
            )
        case Outcome.NOT_FOUND:
            return RenderNotFoundError(
                f"The API no longer knows {name[0].lower()}{name[1:]}, as it does 12 hours after the submit, or once it was cancelled; it may have "
                f"been billed {price}. {lost}",
                event=event,
                new_try_may_help=again,
            )
        case Outcome.LOST_CONTACT:
            return LostContactError(
                f"The API refused our credentials while {name[0].lower()}{name[1:]} was running: {said(event)}. Nothing is "
                f"lost: repair the connection and clear the task before {landable_until(render)}, and it goes on with "
                "this render without paying again.",
                event=event,
            )
        case _:
            return RenderTimedOutError(
                f"{name} was still running at the deadline. Nothing is lost: the next try, or a Clear before "
                f"{landable_until(render)}, goes on with this render without paying again.",
                event=event,
            )


def slot_error(event: RenderEvent, model: str) -> SlotTimedOutError:
    """Return the error for a wait for a render slot that was in vain."""
    last = f": {said(event)}" if event.message else ""
    return SlotTimedOutError(
        f"No slot for {model} came free within max_wait_for_slot{last}. Nothing was submitted or billed. Clear the task "
        "to wait again, raise max_wait_for_slot, or see what else uses the account.",
        event=event,
    )


def advice_for(event: RenderEvent) -> str | None:
    """Return what the code table advises for the code of an event."""
    entry = lookup(event.code)
    return None if entry is None else entry.advice


def outcome_fields(event: RenderEvent) -> dict[str, Any]:
    """Return what ``jimeng_render`` says of a wait beside the render."""
    return {
        "outcome": event.outcome.value,
        "code": event.code,
        "message": event.message,
        "advice": advice_for(event),
    }


def said(event: RenderEvent) -> str:
    """Return the API's own words: message, code and request id, as far as given."""
    parts = [
        f"code {event.code}" if event.code else "",
        f"request id {event.request_id}" if event.request_id else "",
    ]
    details = ", ".join(part for part in parts if part)
    return (event.message or "no message") + (f" ({details})" if details else "")


def _failed(name: str, event: RenderEvent, *, submits: bool) -> RenderFailedError:
    entry: CodeEntry | None = lookup(event.code)
    retryable = submits and entry is not None and entry.retryable
    meaning = f" {entry.meaning} {entry.advice}" if entry else ""
    if not submits:
        then = "Clear the task that submitted it to start a fresh render."
    else:
        then = (
            "A retry starts a fresh render." if retryable else "A retry would fail again, so there is none."
        )
    return RenderFailedError(
        f"{name} failed: {said(event)}.{meaning} It is not billed. {then}",
        event=event,
        new_try_may_help=retryable,
    )
