"""Why nothing is submitted now: what an earlier submit may have cost, and the way out."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.deadlines import kept_until, landable_until
from airflow_provider_jimeng.core.errors import (
    ApiError,
    JimengError,
    LandingError,
    LedgerError,
    NoLinkError,
    RenderNotFoundError,
)
from airflow_provider_jimeng.core.event import PAYLOAD_VERSION, Outcome
from airflow_provider_jimeng.core.record import RecordState
from airflow_provider_jimeng.core.render import Render, format_money, format_time, parse_time

if TYPE_CHECKING:
    import pendulum

    from airflow_provider_jimeng.core.parameters import RenderRequest
    from airflow_provider_jimeng.core.record import Record
    from airflow_provider_jimeng.storage.ledger import Ledger
    from airflow_provider_jimeng.storage.output import OutputPath

log = logging.getLogger(__name__)

CHECK = "Check the console's task list and bill: the API cannot be asked for renders whose id is unknown."
_UNKNOWN_COST = "an unknown amount of"


def summary_of(request: RenderRequest) -> dict[str, Any]:
    """Return what an intent keeps of its request: enough to find the render in the vendor's console."""
    return {
        "model": request.spec.name,
        "req_key": request.spec.req_key,
        "prompt": request.prompt,
        "seed": request.seed,
        "duration": request.duration,
        "estimated_cost_cny": format_money(request.estimated_cost()),
    }


def refusal_of(request: RenderRequest, error: ApiError, refused_at: pendulum.DateTime) -> dict[str, Any]:
    """Return what a submit that the API refused leaves in XCom: the request, the API's words, what to do."""
    return {
        "version": PAYLOAD_VERSION,
        **summary_of(request),
        "refused_at": format_time(refused_at),
        "outcome": Outcome.FAILED.value,
        "code": error.code,
        "message": error.message,
        "request_id": error.request_id,
        "advice": None if error.entry is None else error.entry.advice,
    }


def owner_of(record: Record) -> str:
    """Return the task instance of a record, for a message."""
    key = record.key
    index = "" if key.map_index < 0 else f"[{key.map_index}]"
    return f"{key.dag_id}.{key.task_id}{index}, run {key.run_id}"


def is_replaced(ledger: Ledger, own: Record | None, render: Render) -> bool:
    """Return whether the record tells of another submit than the render's by now; an unreadable one replaces nothing.

    :param own: the record as this try knows it. It may know the id of a render that could not be recorded.
    """
    try:
        there = ledger.read() if ledger.keeps else None
    except LedgerError as error:
        log.warning("%s The render %s is paid for, and this try goes on with it.", error, render.task_id)
        return False
    if there is None or (own is not None and there.same_submit(own)):
        return False
    return there.render is None or there.render.get("task_id") != render.task_id


def refuse_replaced(ledger: Ledger, own: Record | None, render: Render, target: OutputPath) -> None:
    """Refuse to land a render in a full file name that a newer submit of the same task is going to land in.

    :raises LandingError: nothing was written.
    """
    if is_replaced(ledger, own, render):
        raise LandingError(
            f"The render {render.task_id} was not landed: a newer try of this task has begun another submit, whose "
            f"video belongs in {target.output_path}. JimengRescueOperator lands the older video in a directory."
        )


def unknown_now(record: Record, error: Exception, *, on_unknown_submit: str) -> str:
    """Say what a submit whose answer is missing means."""
    return f"{error} {_may_run(record)} {CHECK} {_then(on_unknown_submit)}"


def unknown_before(record: Record) -> str:
    """Say why the intent of an earlier try, or of another task, stops this one."""
    return (
        f"An earlier submit, begun at {record.intent_at} by {owner_of(record)}, was never answered or its answer was "
        f"lost. {_may_run(record)} {CHECK} Nothing was submitted now. {_then('fail')}"
    )


def changed(record: Record) -> str:
    """Say why a try that asks for something else than the one before it stops."""
    if record.state is RecordState.INTENT or record.render is None:
        of = f"the submit begun at {record.intent_at}, whose outcome is unknown"
        until = ""
    else:
        render = Render.from_payload(record.render)
        of = f"the render {render.task_id} that is paid for already"
        until = f" That render can be landed until {landable_until(render)}."
    return (
        f"This try asks for another video than {of}: an argument changes by itself between tries (a template with the "
        "current time, a random value, a file that was replaced). Nothing was submitted. Make the argument stable and "
        f"clear the task: it goes on with what is paid if the request is the same again, else it starts the changed one.{until}"
    )


def claimed(record: Record, output_path: str) -> str:
    """Say why nothing is paid for a file name that another task instance has taken."""
    if record.state is RecordState.LANDED:
        what = "has landed its own render of this run there"
    elif record.render is None:
        what = f"began at {record.intent_at} to submit a render that lands there"
    else:
        what = f"has paid for the render {record.render['task_id']}, which lands there"
    return (
        f"{output_path} is taken: {owner_of(record)}, {what}. Nothing was submitted. Give each task instance its own name, "
        "for example with {{ ti.map_index }} in output_path, or a directory ending in /, in which every render has its own; "
        "overwrite=True replaces the file."
    )


def under_way(record: Record) -> str:
    """Say why a try leaves a request to another task that is submitting it right now."""
    return (
        f"{owner_of(record)}, submits the same request at this moment (since {record.intent_at}). Nothing was submitted "
        'here, as reuse="output_path" asks for: the next try adopts that render, free.'
    )


@contextmanager
def kept(render: Render) -> Iterator[None]:
    """Add to a failed landing that the paid render is kept, for how long, and what lands it."""
    try:
        yield
    except RenderNotFoundError:
        raise
    except JimengError as error:
        then = (
            "a retry, or a Clear, lands it"
            if error.retryable
            else "clear the task when that is settled: it lands it"
        )
        until = landable_until(render)
        text = f"{error} The render {render.task_id} is paid for and kept until {until}; {then} without paying again."
        if isinstance(error, ApiError):  # which speaks in the API's words alone
            raise NoLinkError(text) from error
        error.args = (text,)
        raise


def unreadable(error: Exception) -> str:
    """Say what it means that the record of what was paid cannot be read."""
    return (
        f"{error} Nothing was submitted now, for a record that cannot be read may be one of a paid render; the next try "
        "reads it again."
    )


def argument_refused(record: Record, error: Exception) -> str:
    """Say that a paid render stays recorded although the arguments of a cleared task are refused."""
    render = Render.from_payload(record.render or {})
    return (
        f"{error} The render {render.task_id} that this task paid for stays recorded and can be landed until "
        f"{landable_until(render)}: repair the argument and clear the task, or use JimengRescueOperator."
    )


def found_by_hand(record: Record) -> str:
    """Say how a render that shows up in the console is brought home, and until when."""
    until = kept_until(parse_time(record.intent_at))
    return (
        f"If it shows up in the console's task list, JimengDownloadVideoOperator(render_id=…, model=…) lands it, free, "
        f"until {until}."
    )


def cost_of(request: Mapping[str, Any] | None) -> str | None:
    """Return the estimated cost of a request's summary, in CNY, as text; ``None`` if unknown."""
    cost = (request or {}).get("estimated_cost_cny")
    return None if cost is None else str(cost)


def _may_run(record: Record) -> str:
    cost = cost_of(record.request) or _UNKNOWN_COST
    return f"A render may be running, and may be billed about {cost} CNY. {found_by_hand(record)}"


def _then(on_unknown_submit: str) -> str:
    if on_unknown_submit == "resubmit":
        return 'The next try submits, and may pay, again, as on_unknown_submit="resubmit" allows.'
    return (
        'Neither a retry nor a Clear submits while on_unknown_submit="fail". To pay for a new render, set '
        'on_unknown_submit="resubmit" and clear the task.'
    )
