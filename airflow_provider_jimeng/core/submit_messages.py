# SPDX-License-Identifier: Apache-2.0
"""Messages about a submit that was refused, whose outcome is unknown, or that did not begin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.errors import (
    LedgerError,
    MissingConnectionError,
    NotSentError,
    ParameterError,
    SettingsError,
    UnreadableImageError,
)
from airflow_provider_jimeng.core.outcomes import NOT_SUBMITTED, Explanation, Outcome, ending_of
from airflow_provider_jimeng.core.record import RecordState
from airflow_provider_jimeng.core.render import (
    PAYLOAD_VERSION,
    Render,
    format_time,
    kept_until,
    landable_until,
    parse_time,
)

if TYPE_CHECKING:
    import pendulum

    from airflow_provider_jimeng.core.errors import ApiError, JimengError
    from airflow_provider_jimeng.core.parameters import RenderRequest
    from airflow_provider_jimeng.core.record import Record
    from airflow_provider_jimeng.core.render import RenderEvent

_CLEAR = "Repair it as the message says, then clear the task."
_CLEAR_ZH = "请按消息提示修正，然后清除任务。"
STOPPED: Mapping[type[JimengError], Explanation] = {
    UnreadableImageError: Explanation(
        meaning="An input image could not be read. Nothing was submitted or billed.",
        meaning_zh="无法读取输入图片，未提交请求，未计费。",
        advice="Check the image and its storage, then clear the task.",
        advice_zh="请检查图片及其存储，然后清除任务。",
    ),
    ParameterError: Explanation(
        meaning="An argument was refused. Nothing was submitted or billed.",
        meaning_zh="参数被拒绝，未提交请求，未计费。",
        advice=_CLEAR,
        advice_zh=_CLEAR_ZH,
    ),
    MissingConnectionError: Explanation(
        meaning="The Airflow connection does not exist. Nothing was submitted or billed.",
        meaning_zh="Airflow 连接不存在，未提交请求，未计费。",
        advice="Add the connection, then clear the task.",
        advice_zh="请添加该连接，然后清除任务。",
    ),
    SettingsError: Explanation(
        meaning="The Airflow connection cannot be used. Nothing was submitted or billed.",
        meaning_zh="Airflow 连接无法使用，未提交请求，未计费。",
        advice=_CLEAR,
        advice_zh=_CLEAR_ZH,
    ),
    NotSentError: Explanation(
        meaning="The request did not reach the API. Nothing was billed.",
        meaning_zh="请求未到达 API，未计费。",
        advice="Check the network and the endpoint of the connection. A retry submits again.",
        advice_zh="请检查网络与连接的端点，重试会再次提交。",
    ),
    LedgerError: Explanation(
        meaning="The record of what was paid could not be used, so nothing was submitted now.",
        meaning_zh="无法使用付费记录，因此本次未提交请求。",
        advice="Read the message. A retry reads the record again.",
        advice_zh="请查看消息，重试会再次读取记录。",
    ),
}
"""Why a task stopped before its submit, by the class of its error. The first class that fits counts."""
CHECK = "Check the task list and the bill in the console: the API cannot list renders whose id is unknown."


def refusal_of(request: RenderRequest, error: ApiError, refused_at: pendulum.DateTime) -> dict[str, Any]:
    """Return what a refused submit leaves in XCom: the request, the API's answer, its meaning and the advice."""
    return _refusal(request.summary(), Outcome.FAILED, error, error.entry, refused_at)


def slot_refusal(
    summary: Mapping[str, Any], ended: RenderEvent, refused_at: pendulum.DateTime
) -> dict[str, Any]:
    """Return what a wait without a free slot leaves in XCom, in the form of :func:`refusal_of`."""
    return _refusal(summary, ended.outcome, ended, ended.outcome.ending, refused_at)


def not_submitted(
    summary: Mapping[str, Any], error: JimengError, refused_at: pendulum.DateTime
) -> dict[str, Any]:
    """Return what a task that stopped before its submit leaves in XCom, in the form of :func:`refusal_of`."""
    kinds = (entry for error_class, entry in STOPPED.items() if isinstance(error, error_class))
    explanation = next(kinds, ending_of(NOT_SUBMITTED))
    return {
        "version": PAYLOAD_VERSION,
        **summary,
        "refused_at": format_time(refused_at),
        "outcome": NOT_SUBMITTED,
        "code": None,
        "message": str(error),
        "request_id": None,
        "meaning": explanation.meaning,
        "advice": explanation.advice,
    }


def _refusal(
    summary: Mapping[str, Any],
    outcome: Outcome,
    answer: ApiError | RenderEvent,
    explanation: Explanation | None,
    refused_at: pendulum.DateTime,
) -> dict[str, Any]:
    return {
        "version": PAYLOAD_VERSION,
        **summary,
        "refused_at": format_time(refused_at),
        "outcome": outcome.value,
        "code": answer.code,
        "message": answer.message,
        "request_id": answer.request_id,
        "meaning": None if explanation is None else explanation.meaning,
        "advice": None if explanation is None else explanation.advice,
    }


def owner_of(record: Record) -> str:
    """Return the task instance of a record, for a message."""
    key = record.key
    index = "" if key.map_index < 0 else f"[{key.map_index}]"
    return f"{key.dag_id}.{key.task_id}{index}, run {key.run_id}"


def cost_of(request: Mapping[str, Any] | None) -> str | None:
    """Return the estimated cost of a request's summary, in CNY, as text; ``None`` if it is unknown."""
    cost = (request or {}).get("estimated_cost_cny")
    return None if cost is None else str(cost)


def unknown_now(record: Record, error: Exception, *, on_unknown_submit: str) -> str:
    """Return the message for a submit whose answer is missing."""
    then = 'The next try submits, and can pay, again, because on_unknown_submit="resubmit" allows it.'
    if on_unknown_submit != "resubmit":
        then = _NO_SUBMIT
    return f"{error} {_might_run(record)} {CHECK} {then}"


def unknown_before(record: Record) -> str:
    """Return the message for a try that an intent of an earlier try, or of another task, stops."""
    return (
        f"An earlier submit by {owner_of(record)} began at {record.intent_at}, and its answer is unknown. "
        f"{_might_run(record)} {CHECK} Nothing was submitted now. {_NO_SUBMIT}"
    )


_NO_SUBMIT = (
    'Neither a retry nor a Clear submits while on_unknown_submit="fail". To pay for a new render, set '
    'on_unknown_submit="resubmit" and clear the task.'
)


def _might_run(record: Record) -> str:
    cost = cost_of(record.request) or "an unknown amount of"
    return f"A render might be running, and might be billed about {cost} CNY. {found_by_hand(record)}"


def found_by_hand(record: Record) -> str:
    """Return how to save the video of a render that shows up in the console, and until when that is possible."""
    until = kept_until(parse_time(record.intent_at))
    return (
        f"If the render shows up in the console's task list, JimengDownloadVideoOperator(render_id=…, model=…) saves its "
        f"video, free, until {until}."
    )


def changed(record: Record) -> str:
    """Return the message for a try that asks for another video than the try before it."""
    if record.state is RecordState.INTENT or record.render is None:
        other = f"the submit that began at {record.intent_at}, whose outcome is unknown"
        until = ""
    else:
        render = Render.from_payload(record.render)
        other = f"the render {render.task_id} that is already paid for"
        until = f" That render can be saved until {landable_until(render)}."
    return (
        f"This try asks for another video than {other}. An argument changes between tries, for example a template with the "
        "current time, a random value, or a file that was replaced. Nothing was submitted. Make the argument stable and "
        "clear the task: it continues with what is paid if the request is the same again. Otherwise it starts the changed "
        f"request.{until}"
    )


def claimed(record: Record, output_path: str) -> str:
    """Return the message for a file name that another task instance has taken; nothing is paid for it."""
    if record.state is RecordState.LANDED:
        what = "has already saved its own render of this run there"
    elif record.render is None:
        what = f"began at {record.intent_at} to submit a render that it saves there"
    else:
        what = f"has paid for the render {record.render['task_id']}, which it saves there"
    return (
        f"{output_path} is taken: {owner_of(record)}, {what}. Nothing was submitted. Give each task instance its own name, "
        "for example with {{ ti.map_index }} in output_path. Or give a directory ending in /, in which each render has its "
        "own name. overwrite=True replaces the file."
    )


def under_way(record: Record) -> str:
    """Return the message for a try that leaves a request to another task, which submits it right now."""
    return (
        f"{owner_of(record)}, is submitting the same request now (since {record.intent_at}). Nothing was submitted here, "
        'because of reuse="output_path": the next try adopts that render, free.'
    )


def unreadable(error: Exception) -> str:
    """Return the message for a record that cannot be read."""
    return (
        f"{error} Nothing was submitted now, because a record that cannot be read can be the record of a paid render. The "
        "next try reads it again."
    )


def argument_refused(record: Record, error: Exception) -> str:
    """Return the message for a cleared task whose arguments are refused, although it paid for a render before."""
    render = Render.from_payload(record.render or {})
    return (
        f"{error} The render {render.task_id} that this task paid for stays recorded and can be saved until "
        f"{landable_until(render)}: repair the argument and clear the task, or use JimengRescueOperator."
    )
