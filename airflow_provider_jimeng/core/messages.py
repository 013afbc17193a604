# SPDX-License-Identifier: Apache-2.0
"""Messages about renders that did not end well: what happened, what it can have cost, what to do.

The facts come from the outcomes (:mod:`.outcomes`), the error classes (:mod:`.errors`) and the code table (:mod:`.codes`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from airflow_provider_jimeng.core import gateways, outcomes, submit_messages
from airflow_provider_jimeng.core.codes import BUSINESS_CODES, GATEWAY_CODES, GATEWAY_WORDS, entry_for
from airflow_provider_jimeng.core.envelope import TOO_LARGE
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
from airflow_provider_jimeng.core.outcomes import Billed, Explanation, Outcome, ending_of
from airflow_provider_jimeng.core.render import (
    Render,
    RenderEvent,
    RenderManifest,
    format_money,
    landable_until,
)

TAKE_UNLABELLED = (
    "Clear the task without require_tagged to use that file, "
    'or set on_rerun="render" and clear the task to pay for a new one.'
)
_TAKE_UNLABELLED_ZH = (
    '请取消 require_tagged 并清除任务以使用该文件，或设置 on_rerun="render" 并清除任务以付费重新生成。'
)
_RENDER_ERRORS = {
    error_class.outcome: error_class
    for error_class in (
        RenderFailedError,
        RenderExpiredError,
        RenderNotFoundError,
        RenderTimedOutError,
        LostContactError,
        NoLinkError,
    )
}


# --- in both languages ------------------------------------------------------------------------------------------------


def explanations() -> list[Explanation]:
    """Return every explanation that a user can see, in both languages."""
    codes = [*BUSINESS_CODES.values(), *GATEWAY_CODES.values(), *GATEWAY_WORDS.values(), TOO_LARGE]
    return [*codes, *gateways.explanations(), *outcomes.explanations(), *submit_messages.STOPPED.values()]


def _chinese() -> dict[str, str]:
    chinese = {TAKE_UNLABELLED: _TAKE_UNLABELLED_ZH}
    for each in explanations():
        chinese[each.meaning] = each.meaning_zh
        chinese[each.advice] = each.advice_zh
    return chinese


_CHINESE = _chinese()


def explain(payload: Mapping[str, Any]) -> Explanation:
    """Return what a render payload, a refusal or an intent means, and what to do about it.

    What the task itself wrote there counts more than the tables, because the task knew more than the code. A text that the tables do
    not have is the same in both languages.
    """
    outcome = str(payload.get("outcome") or "")
    code = payload.get("code")
    over = outcome == Outcome.SLOT_TIMED_OUT  # the code says "busy", but the wait is over
    entry = None if over or code is None else entry_for(str(code))
    known: Explanation = ending_of(outcome) if entry is None else entry
    meaning, advice = (str(payload.get(name) or "") for name in ("meaning", "advice"))
    if meaning:
        known = replace(known, meaning=meaning, meaning_zh=_CHINESE.get(meaning, meaning))
    if advice:
        known = replace(known, advice=advice, advice_zh=_CHINESE.get(advice, advice))
    return known


# --- renders that did not end well ------------------------------------------------------------------------------------


def render_error(
    event: RenderEvent, render: Render, *, on_lost: str = "fail", submits: bool = True
) -> RenderError:
    """Return a task's error for a wait that did not succeed; the message says what the next try does.

    :param submits: the task submitted the render itself, so that its next try can submit another one.
    """
    resubmits = submits and on_lost == "resubmit"
    retryable: bool | None = None
    ending = event.outcome.ending
    if event.outcome is Outcome.FAILED:
        entry = entry_for(event.code)
        retryable = submits and entry is not None and entry.retryable
        then = (
            "A retry starts a new render."
            if retryable
            else "A retry would fail again, so the task does not retry."
        )
        if not submits:
            then = "Clear the task that submitted it to start a new render."
    elif ending.over:
        retryable = resubmits
        then = ending.advice if submits else ending.advice.replace("the task", "the task that submitted it")
        if resubmits:
            then = "The next try submits, and pays, again."
    else:
        then = {
            Outcome.LOST_CONTACT: "The render is kept. Repair the connection and clear the task before {until}: the task "
            "continues with this render without paying again.",
            Outcome.NO_LINK: "Nothing new is paid: the next try, or a Clear before {until}, asks for the link again, free.",
        }.get(
            event.outcome,
            "The render is kept: the next try, or a Clear before {until}, continues with it without paying again.",
        ).format(until=landable_until(render))
    cost = format_money(render.estimated_cost_cny)
    price = " an unknown amount" if cost is None else f" about {cost} CNY"
    happened = _what_happened(event, f"Render {render.task_id} ({render.model})", price)
    return _RENDER_ERRORS[event.outcome](f"{happened} {then}{_said(event)}", event=event, retryable=retryable)


def wait_error(event: RenderEvent) -> RenderError:
    """Return the error for a script whose wait did not succeed."""
    retryable: bool | None = None
    then = " Wait for the same render again: nothing is paid twice."
    if event.outcome is Outcome.FAILED:
        entry = entry_for(event.code)
        retryable = entry is not None and entry.retryable
    if event.outcome.ending.over:
        then = ""
    elif event.outcome is Outcome.LOST_CONTACT:
        then = " Repair the connection and wait for the same render again: nothing is paid twice."
    happened = _what_happened(event, f"Render {event.task_id}", "")
    return _RENDER_ERRORS[event.outcome](f"{happened}{then}{_said(event)}", event=event, retryable=retryable)


def _what_happened(event: RenderEvent, name: str, price: str) -> str:
    within = f"{name[0].lower()}{name[1:]}"
    billed = f"It might have been billed{price}."
    match event.outcome:
        case Outcome.FAILED:
            entry = entry_for(event.code)
            meaning = f" {entry.meaning} {entry.advice}" if entry else ""
            return f"{name} failed. It is not billed.{meaning}"
        case Outcome.EXPIRED:
            return f"{name} expired before its video was saved. {billed}"
        case Outcome.NOT_FOUND:
            return (
                f"The API does not know {within}. The render is older than 12 hours or was cancelled, or its id or model "
                f"is wrong. {billed}"
            )
        case Outcome.LOST_CONTACT:
            return f"The API refused the connection's credentials while {within} was running."
        case Outcome.NO_LINK:
            return f"{name} is done, but the API gives no link to its video. {billed}"
    return f"{name} was not finished when the wait ended; {event.message or 'the API had not answered'}."


def _said(event: RenderEvent) -> str:
    """Return the API's own words on an end that they explain. They come last: Airflow does not wrap lines of a log."""
    explains = event.outcome in (Outcome.FAILED, Outcome.LOST_CONTACT, Outcome.NO_LINK)
    return f" The API said: {answer_of(event)}." if explains else ""


def slot_error(event: RenderEvent, model: str) -> SlotTimedOutError:
    """Return the error for a wait for a render slot that timed out."""
    last = f" The API said: {answer_of(event)}." if event.message else ""
    return SlotTimedOutError(
        f"No slot for {model} came free within max_wait_for_slot. Nothing was submitted or billed. "
        f"{event.outcome.ending.advice}{last}",
        event=event,
    )


def answer_of(event: RenderEvent) -> str:
    """Return what the API answered: message, code and request id, as far as it gave them."""
    parts = [
        f"code {event.code}" if event.code else "",
        f"request id {event.request_id}" if event.request_id else "",
    ]
    details = ", ".join(part for part in parts if part)
    return (event.message or "no message") + (f" ({details})" if details else "")


def outcome_fields(event: RenderEvent) -> dict[str, Any]:
    """Return what ``jimeng_render`` says about a wait, beside the render."""
    fields = {"outcome": event.outcome.value, "code": event.code, "message": event.message}
    return {**fields, "advice": explain(fields).advice}


# --- videos that could not be saved -----------------------------------------------------------------------------------


def landing_fields(
    error: JimengError, outcome: Outcome | None, *, advice: str | None = None
) -> dict[str, Any]:
    """Return what ``jimeng_render`` says, beside the render, about a video that could not be saved.

    :param outcome: how the render ended, ``None`` if that is not known.
    :param advice: by default the advice of the code table, if the API gave a code.
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
    """Return how a render ended, if the failure to save its video shows that, else ``None``."""
    if isinstance(error, RenderNotFoundError):
        return Outcome.NOT_FOUND
    done = isinstance(error, LandingError) and error.billed is Billed.YES
    return Outcome.SUCCEEDED if done else None


def unlabelled_for_good(landed: RenderManifest) -> RenderNotFoundError:
    """Return the error for a saved file that cannot be downloaded again with the required label."""
    return RenderNotFoundError(
        f"{landed.uri} was saved without the implicit AIGC label. The API no longer keeps its render, so the video cannot "
        f"be downloaded again with a label. The file stays as it is, and nothing new was paid. {TAKE_UNLABELLED}"
    )
