"""Waiting until the account has a render slot free: in the triggerer, or on the worker."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

import pendulum

from airflow_provider_jimeng.core.deadlines import in_words, spread
from airflow_provider_jimeng.core.errors import ParameterError, RateLimitedError, SettingsError
from airflow_provider_jimeng.core.event import PAYLOAD_VERSION, Outcome, RenderEvent
from airflow_provider_jimeng.core.messages import slot_error
from airflow_provider_jimeng.core.render import format_time
from airflow_provider_jimeng.core.slots import (
    SETTLE_SECONDS,
    TRY_WHEN_FREE_SECONDS,
    TRY_WHEN_THROTTLED_SECONDS,
)
from airflow_provider_jimeng.core.submit_messages import summary_of

if TYPE_CHECKING:
    from typing import NoReturn

    from airflow_provider_jimeng.core.errors import ApiError
    from airflow_provider_jimeng.operators.checkout import Checkout
    from airflow_provider_jimeng.operators.submitting import JimengSubmittingOperator


def defer_for_slot(
    operator: JimengSubmittingOperator,
    error: ApiError,
    *,
    req_key: str,
    waiting_since: float | None,
    max_wait: float,
) -> NoReturn:
    """Leave the worker and come back through ``resume_submit`` when a slot is likely free."""
    from airflow_provider_jimeng.triggers.slot import JimengSlotTrigger

    since = _begin(operator, error, "", waiting_since=waiting_since, max_wait=max_wait)
    trigger: Any = JimengSlotTrigger(
        req_key=req_key,
        jimeng_conn_id=operator.jimeng_conn_id,
        waiting_since=since,
        not_before=time.time() + SETTLE_SECONDS,
        deadline=since + max_wait,
        priority_weight=operator.priority_weight,
        dag_id=operator.dag_id,
        throttled=isinstance(error, RateLimitedError),
    )
    operator.defer(trigger=trigger, method_name="resume_submit")
    raise AssertionError  # defer() always raises


def sleep_for_slot(
    operator: JimengSubmittingOperator, error: ApiError, *, waiting_since: float | None, max_wait: float
) -> float:
    """Sleep on the worker until a slot is likely free; return when the wait began."""
    since = _begin(operator, error, " on the worker", waiting_since=waiting_since, max_wait=max_wait)
    throttled = isinstance(error, RateLimitedError)
    pause = TRY_WHEN_THROTTLED_SECONDS if throttled else TRY_WHEN_FREE_SECONDS
    time.sleep(max(0.0, min(spread(pause, random.random()), since + max_wait - time.time())))
    return since


def slot_refusal(checkout: Checkout, model: Any, ended: RenderEvent) -> dict[str, Any]:
    """Return what a wait for a slot that was in vain leaves in XCom: the request, the API's words, what to do."""
    try:
        asked = summary_of(checkout.request)
    except (
        ParameterError,
        SettingsError,
    ):  # what could be read before the wait need not be readable after it
        asked = {"model": str(model)}
    return {
        "version": PAYLOAD_VERSION,
        **asked,
        "refused_at": format_time(pendulum.now("UTC")),
        "outcome": ended.outcome.value,
        "code": ended.code,
        "message": ended.message,
        "request_id": ended.request_id,
        "advice": ended.outcome.ending.advice,
    }


def _begin(
    operator: JimengSubmittingOperator,
    error: ApiError,
    where: str,
    *,
    waiting_since: float | None,
    max_wait: float,
) -> float:
    """Return when the wait began; one that begins now is said once.

    :raises SlotTimedOutError: it has lasted as long as it may.
    """
    now = time.time()
    if waiting_since is None:
        why = (
            "the account sends as many requests a second as it may"
            if isinstance(error, RateLimitedError)
            else "the account renders as many videos at a time as it may"
        )
        operator.log.info(
            "Waiting%s for a free slot (up to %s): %s. The API said: %s",
            *(where, in_words(max_wait), why, error.said),
        )
        waiting_since = now
    if now >= waiting_since + max_wait:
        last = RenderEvent(
            outcome=Outcome.SLOT_TIMED_OUT,
            code=error.code,
            message=error.message,
            request_id=error.request_id,
        )
        raise slot_error(last, operator.model)
    return waiting_since
