"""What to tell people when a render did not end well: what happened, what it may have cost, what comes next."""

from __future__ import annotations

from typing import Any

from airflow_provider_jimeng.core.codes import CodeEntry, entry_for
from airflow_provider_jimeng.core.deadlines import landable_until
from airflow_provider_jimeng.core.errors import (
    ApiError,
    JimengError,
    LandingError,
    LostContactError,
    NoLinkError,
    RenderError,
    RenderExpiredError,
    RenderFailedError,
    RenderNotFoundError,
    RenderTimedOutError,
    SlotTimedOutError,
)
from airflow_provider_jimeng.core.event import Outcome, RenderEvent
from airflow_provider_jimeng.core.render import Render, RenderManifest, format_money

TAKE_UNLABELLED = 'Clear the task without require_tagged to take that file, or set on_rerun="render" and clear it to pay for a new one.'
WAIT_AGAIN = "Clear the task to wait again, raise max_wait_for_slot, or see what else uses the account."
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
        case Outcome.NO_LINK:
            return NoLinkError(
                f"{name} is done, but without a link to its video: {said(event)}. It may have been billed {price}, and "
                f"nothing new is paid: the next try, or a Clear before {landable_until(render)}, asks for the link "
                "again, free.",
                event=event,
            )
        case _:
            return RenderTimedOutError(
                f"{name} was not finished when the wait ended; {last_answer(event)}. Nothing is lost: the next try, or "
                f"a Clear before {landable_until(render)}, goes on with this render without paying again.",
                event=event,
            )


def slot_error(event: RenderEvent, model: str) -> SlotTimedOutError:
    """Return the error for a wait for a render slot that was in vain."""
    last = f": {said(event)}" if event.message else ""
    return SlotTimedOutError(
        f"No slot for {model} came free within max_wait_for_slot{last}. Nothing was submitted or billed. {WAIT_AGAIN}",
        event=event,
    )


def advice_for(event: RenderEvent) -> str | None:
    """Return what the code table advises for the code of an event."""
    entry = entry_for(event.code)
    return None if entry is None else entry.advice


def outcome_fields(event: RenderEvent) -> dict[str, Any]:
    """Return what ``jimeng_render`` says of a wait beside the render."""
    return {
        "outcome": event.outcome.value,
        "code": event.code,
        "message": event.message,
        "advice": advice_for(event),
    }


def landing_fields(
    error: JimengError, outcome: Outcome | None, *, advice: str | None = None
) -> dict[str, Any]:
    """Return what ``jimeng_render`` says, beside the render, of a video that could not be landed.

    :param outcome: how the render ended, ``None`` where that is not known.
    :param advice: by default the code table's, where the API gave a code.
    """
    answer = next((each for each in (error, error.__cause__) if isinstance(each, ApiError)), None)
    code = None if answer is None else answer.code
    entry = entry_for(code)
    return {
        "outcome": None if outcome is None else outcome.value,
        "code": code,
        "message": str(error),
        "advice": entry.advice if advice is None and entry is not None else advice,
    }


def end_behind(error: JimengError) -> Outcome | None:
    """Return how a render ended, as far as the failure of its landing tells; ``None`` if it does not."""
    if isinstance(error, RenderNotFoundError):
        return Outcome.NOT_FOUND
    ended_well = isinstance(error, LandingError) and not isinstance(error, NoLinkError)
    return Outcome.SUCCEEDED if ended_well else None


def lacks_label(landed: RenderManifest, *, required: bool) -> bool:
    """Whether a landed file is without the implicit AIGC label that is required of it."""
    return required and landed.aigc_meta_tagged is not True


def success_of(landed: RenderManifest) -> RenderEvent:
    """Return the end of the wait for a render as its manifest tells it."""
    return RenderEvent(
        outcome=Outcome.SUCCEEDED,
        task_id=landed.task_id,
        req_key=landed.req_key,
        polls=landed.polls or 0,
        queued_seconds=landed.queued_seconds,
        render_seconds=landed.render_seconds,
    )


def unlabelled_for_good(landed: RenderManifest) -> RenderNotFoundError:
    """Return the error for a landed file that cannot be fetched again with the label that is required of it."""
    return RenderNotFoundError(
        f"{landed.uri} was landed without the implicit AIGC label, and the API no longer keeps its render, so it cannot "
        f"be fetched again with one. The file stays as it is, and nothing new was paid. {TAKE_UNLABELLED}"
    )


def said(event: RenderEvent) -> str:
    """Return the API's own words: message, code and request id, as far as given."""
    parts = [
        f"code {event.code}" if event.code else "",
        f"request id {event.request_id}" if event.request_id else "",
    ]
    details = ", ".join(part for part in parts if part)
    return (event.message or "no message") + (f" ({details})" if details else "")


def last_answer(event: RenderEvent) -> str:
    """Return what the API answered last before a wait timed out, as a clause."""
    return event.message or "the API had not answered"


def _failed(name: str, event: RenderEvent, *, submits: bool) -> RenderFailedError:
    entry: CodeEntry | None = entry_for(event.code)
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
