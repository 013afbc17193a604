# SPDX-License-Identifier: Apache-2.0
"""What a task tells: every key of XCom, the functions that write and read them, and the metrics.

Metrics for Airflow's ``Stats`` hold counts, seconds, bytes and money, by model; never a prompt or an id. All are below
``jimeng.``: counters ``submitted``, ``adopted``, ``busy``, ``landed``, ``failed`` (tag ``code``), ``landed_bytes`` and
``cost_fen`` (hundredths of a CNY); timers ``render_seconds`` and ``queue_seconds``.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pendulum
from airflow.providers.common.compat.sdk import Stats
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

from airflow_provider_jimeng.core.envelope import readable
from airflow_provider_jimeng.core.errors import (
    ApiError,
    ConcurrencyLimitedError,
    JimengError,
    LedgerError,
    RateLimitedError,
    UnknownSubmitError,
)
from airflow_provider_jimeng.core.messages import landing_fields
from airflow_provider_jimeng.core.outcomes import UNKNOWN_SUBMIT, Outcome
from airflow_provider_jimeng.core.record import RecordState
from airflow_provider_jimeng.core.render import PAYLOAD_VERSION, Render, cost_in_words, format_money
from airflow_provider_jimeng.core.submit_messages import not_submitted, refusal_of, slot_refusal
from airflow_provider_jimeng.core.texts import shorten
from airflow_provider_jimeng.hooks.render_argument import bare_render
from airflow_provider_jimeng.operators.lineage import LineageOperator

if TYPE_CHECKING:
    from datetime import datetime

    from airflow.providers.common.compat.sdk import BaseOperator, Context

    from airflow_provider_jimeng.core.parameters import RenderRequest
    from airflow_provider_jimeng.core.record import Record
    from airflow_provider_jimeng.core.render import RenderEvent, RenderManifest

log = logging.getLogger(__name__)

TASK_ID = "task_id"
"""The vendor's id of the render."""
RENDER = "jimeng_render"
"""The render payload, with outcome, code, message and advice after a failure."""
REFUSAL = "jimeng_refusal"
"""The request, and why nothing was submitted: the API refused it, or no slot came free."""
INTENT = "jimeng_intent"
"""The record of a submit whose outcome is unknown."""
EARLIER = "jimeng_earlier"
"""What the task instance paid for before its last render."""
ESTIMATED_COST = "estimated_cost_cny"
"""The cost that a submit is expected to have, as text; null if the price is unknown."""
QUOTE = "quote"
"""The quote of a plan."""
RESCUE = "jimeng_rescue"
"""The summary of a rescue."""
RETURN_VALUE = "return_value"
"""What ``execute`` returns: Airflow's own key."""

_ASKED_TEXTS = ("model", "prompt", "aspect_ratio", "jimeng_conn_id")
_ASKED_NUMBERS = ("duration", "seed", "take")
_LONGEST_TEXT = 2000
_WHOLE = re.compile(r"-?[0-9]{1,10}")

_TRY_IS_OVER = re.compile(r"task instance\b.*\bnot found", re.IGNORECASE | re.DOTALL)
"""Airflow's API server answers this to a try that it does not know any more."""


# --- written ----------------------------------------------------------------------------------------------------------


def push(ti: Any, key: str, value: Any) -> None:
    """Push a value to XCom. A push that fails does not fail a task that has paid.

    :raises LedgerError: this try is not the latest one of its task instance any more.
    """
    with harmless(f"The push of {key} to XCom"):
        try:
            ti.xcom_push(key=key, value=value)
        except Exception as error:
            if _TRY_IS_OVER.search(str(error)):
                raise LedgerError(f"Another try of this task has begun since ({error}).") from error
            raise


def push_own(ti: Any, key: str, payload: Mapping[str, Any]) -> None:
    """Push a payload, for a mapped task with its map index, so that a report need not ask every instance.

    :raises LedgerError: as :func:`push` does.
    """
    index = getattr(ti, "map_index", -1)
    push(ti, key, payload if index < 0 else {**payload, "map_index": index})


def push_refusal(task: Any, ti: Any, error: JimengError) -> None:
    """Push why a task stopped before its submit."""
    push(ti, REFUSAL, not_submitted(_arguments(task), error, pendulum.now("UTC")))


def _arguments(task: Any) -> dict[str, Any]:
    """Return the arguments of a task as far as they can be read: one of them can be what was refused."""
    arguments: dict[str, Any] = {}
    for name in _ASKED_TEXTS:
        value = getattr(task, name)
        arguments[name] = shorten(value, _LONGEST_TEXT) if isinstance(value, str) else None
    for name in _ASKED_NUMBERS:
        written = str(getattr(task, name)).strip()
        arguments[name] = int(written) if _WHOLE.fullmatch(written) else None
    return arguments


def push_result(ti: Any, key: str, value: Any) -> None:
    """Push a value that the task exists for. A push that fails does fail the task, which has paid for nothing."""
    ti.xcom_push(key=key, value=value)


def add_to_outlets(operator: BaseOperator, context: Context, uri: str, extra: Mapping[str, Any]) -> None:
    """Add what a task made to its lineage and to the asset events of its outlets. An alias gets an asset with the URI of the file."""
    from airflow.providers.common.compat.sdk import Asset, AssetAlias

    if isinstance(operator, LineageOperator):
        operator.made_files = extra.get("derivatives") or [extra]
    for outlet in operator.outlets or ():
        if isinstance(outlet, AssetAlias):
            context["outlet_events"][outlet].add(Asset(uri=uri), extra=dict(extra))
        elif isinstance(outlet, Asset):
            context["outlet_events"][outlet].extra.update(extra)


# --- read -------------------------------------------------------------------------------------------------------------


def pull_own(ti: Any, task_id: str, key: str) -> Any:
    """Return what this task instance pushed before, for example before it deferred; ``None`` if it cannot be read."""
    with harmless(f"The pull of {key} from XCom"):
        return ti.xcom_pull(task_ids=task_id, key=key, map_indexes=ti.map_index)
    return None


def pull_of(ti: Any, key: str, owner: tuple[str, str, str]) -> Any:
    """Return what a task of any DAG run left under a key; a mapped task gives a list.

    :param owner: the DAG id, the run id and the task id.
    """
    dag_id, run_id, task_id = owner
    if AIRFLOW_V_3_0_PLUS:
        return ti.xcom_pull(task_ids=[task_id], key=key, dag_id=dag_id, run_id=run_id)
    if run_id == ti.run_id:  # Airflow 2 pulls from the current run only
        return ti.xcom_pull(task_ids=[task_id], key=key, dag_id=dag_id)
    from airflow.models.xcom import XCom
    from airflow.utils.session import create_session

    with create_session() as session:
        rows = XCom.get_many(run_id=run_id, key=key, task_ids=[task_id], dag_ids=[dag_id], session=session)
        return [XCom.deserialize_value(row) for row in rows.with_entities(XCom.map_index, XCom.value)]


def pull_all(context: Context, task_id: str, key: str) -> list[Any]:
    """Return what the instances of a task of this run left under a key, without the instances that left nothing."""
    values = context["ti"].xcom_pull(task_ids=[task_id], key=key)
    return [value for value in values or () if value is not None]


def pull_by_index(
    context: Context, task_id: str, key: str, count: int, *, renders: Mapping[int, Any] | None = None
) -> dict[int, Any]:
    """Return what the instances left, by their map index, with one or two calls however many left nothing.

    Airflow returns the values in the order of the instances, but not whose they are. A value that a task pushed says so.
    For a value that a task returned, the states of the instances say so, or else ``renders``. Only values that an older
    version pushed are pulled one by one.

    :param renders: the render payloads of the instances, to place what the instances returned.
    """
    values = pull_all(context, task_id, key)
    if len(values) == count:
        return dict(enumerate(values))
    if not values:
        return {}
    own = {
        value["map_index"]: value for value in values if isinstance(value, Mapping) and "map_index" in value
    }
    if len(own) == len(values):
        return own
    if renders is not None:
        succeeded = [index for index, state in _states(context, task_id).items() if state == "success"]
        placed = dict(zip(sorted(succeeded), values, strict=False))
        if len(succeeded) != len(values) or not _fit(placed, renders):
            placed = _by_render(values, renders)
        if placed:
            return placed
    pull = context["ti"].xcom_pull
    pulled = ((index, pull(task_ids=task_id, key=key, map_indexes=index)) for index in range(count))
    return {index: value for index, value in pulled if value is not None}


def _states(context: Context, task_id: str) -> dict[int, str]:
    """Return the states of the instances of a task in this run, by map index, with one call."""
    ti: Any = context["ti"]
    if hasattr(ti, "get_task_states"):
        of_runs = ti.get_task_states(dag_id=ti.dag_id, task_ids=[task_id], run_ids=[ti.run_id])
        named = of_runs.get(ti.run_id, {}).items()
        states = {name.removeprefix(f"{task_id}_"): str(state) for name, state in named}
        return {int(index): state for index, state in states.items() if index.isdecimal()}
    dag_run: Any = context["dag_run"]  # Airflow 2: a task has access to the database
    return {ti.map_index: str(ti.state) for ti in dag_run.get_task_instances() if ti.task_id == task_id}


def _fit(placed: Mapping[int, Any], renders: Mapping[int, Any]) -> bool:
    return all(index not in renders or _id(value) == _id(renders[index]) for index, value in placed.items())


def _by_render(values: Iterable[Any], renders: Mapping[int, Any]) -> dict[int, Any]:
    """Return values by the index of the instance that announced the same render; nothing if one has no such instance."""
    owners: dict[Any, list[int]] = {}
    for index in sorted(renders, reverse=True):
        owners.setdefault(_id(renders[index]), []).append(index)
    placed: dict[int, Any] = {}
    for value in values:
        if not owners.get(_id(value)):
            return {}
        placed[owners[_id(value)].pop()] = value
    return placed


def _id(payload: Any) -> Any:
    return payload.get("task_id") if isinstance(payload, Mapping) else None


# --- what a task that submits tells -----------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class Announcements:
    """Pushes to the XCom of one task instance, and counts for metrics.

    :param output_path: where the video is to be saved. A rescue reads it from the render's payload.
    :param announced_cost: the ``estimated_cost_cny`` that this try has pushed already.
    """

    ti: Any
    task_id: str
    output_path: str | None
    announced_cost: str | None = None

    def cost(self, request: RenderRequest) -> str:
        """Push ``estimated_cost_cny``, right before the submit, unless XCom has it; return the cost in words."""
        amount, words = format_money(request.estimated_cost), cost_in_words(request.estimated_cost)
        if amount is None or amount != self.announced_cost:
            push(self.ti, ESTIMATED_COST, amount)
            self.announced_cost = amount
        return words

    def paid(self, render: Render, record: Record | None) -> None:
        """Push a paid render, and what this task instance paid for before it."""
        self._push(render.task_id, render.to_payload() if record is None else dict(record.render or {}))
        self.earlier(render, record)

    def render(self, render: Render, **more: Any) -> None:
        """Push ``task_id`` and ``jimeng_render``."""
        self._push(render.task_id, render.to_payload(), **more)

    def _push(self, task_id: str, payload: Mapping[str, Any], **more: Any) -> None:
        place = {"output_path": self.output_path} if self.output_path else {}
        push(self.ti, TASK_ID, task_id)
        push_own(self.ti, RENDER, {**payload, **place, **more})

    @contextmanager
    def failures(self, render: Render, outcome: Outcome | None) -> Iterator[None]:
        """Push why the video of a render was not saved or not accepted, whatever error ends the block.

        :param outcome: how the render ended, ``None`` if that is not known.
        """
        try:
            yield
        except JimengError as error:
            self.render(render, **landing_fields(error, outcome))
            raise

    def earlier(self, render: Render | None, record: Record | None) -> None:
        """Push ``jimeng_earlier``: what this task instance paid for in other tries, or before a Clear."""
        known = None if render is None else render.task_id
        if record is None or (
            not record.previous and known and (record.render or {}).get("task_id") == known
        ):
            return
        earlier = record.bill(except_id=known)
        if earlier:
            payload = {"version": PAYLOAD_VERSION, "map_index": self.ti.map_index, "renders": earlier}
            push(self.ti, EARLIER, payload)

    def failure(self, request: RenderRequest, error: JimengError, record: Record | None) -> None:
        """Push and count why no render was paid for; ``jimeng_intent`` if one might have been paid for nevertheless.

        :param record: the intent of a submit whose outcome is unknown, if there is one.
        """
        model = request.spec.name
        if isinstance(error, ConcurrencyLimitedError | RateLimitedError):
            count("busy", model)
        elif isinstance(error, UnknownSubmitError):
            count("failed", model, code=UNKNOWN_SUBMIT)
            if record is not None and record.state is RecordState.INTENT:
                push_own(self.ti, INTENT, {**record.to_payload(), "message": str(error)})
        elif isinstance(error, ApiError):
            count("failed", model, code=error.code or Outcome.FAILED.value)
            push_own(self.ti, REFUSAL, refusal_of(request, error, pendulum.now("UTC")))

    def no_slot(self, request: RenderRequest | None, model: str, ended: RenderEvent) -> None:
        """Push and count that no slot became free.

        :param request: ``None`` if the arguments cannot be read any more; ``model`` names it then.
        """
        summary = {"model": model} if request is None else request.summary()
        count("failed", summary["model"], code=ended.outcome.value)
        push_own(self.ti, REFUSAL, slot_refusal(summary, ended, pendulum.now("UTC")))

    def render_of(self, ended: RenderEvent, *, jimeng_conn_id: str) -> Render:
        """Return the render that a wait was for, as this task announced it before the wait."""
        payload = pull_own(self.ti, self.task_id, RENDER)
        if isinstance(payload, Mapping) and payload.get("task_id") == ended.task_id:
            with suppress(ValueError):
                return Render.from_payload(payload)
        return bare_render(ended.task_id, req_key=str(ended.req_key), jimeng_conn_id=jimeng_conn_id)


# --- metrics ----------------------------------------------------------------------------------------------------------


@contextmanager
def harmless(what: str) -> Iterator[None]:
    """Log an error of a metric or of an XCom back end instead of raising it, so that no paid render is lost."""
    try:
        yield
    except JimengError:
        raise
    except Exception as error:  # noqa: BLE001 - metrics and XCom back ends raise classes of their own
        why = readable(str(error), at_most=300)
        log.warning("%s failed (%s: %s). The task goes on.", what, type(error).__name__, why)


def count(name: str, model: str, **tags: str) -> None:
    """Count one event."""
    with harmless("A metric"):
        Stats.incr(f"jimeng.{name}", tags={"model": model, **tags})


def count_end(render: Render, event: RenderEvent) -> None:
    """Count a render that did not end well, by its code or outcome."""
    count("failed", render.model, code=event.code or event.outcome.value)


def count_landing(manifest: RenderManifest, *, since: datetime, again: bool = False) -> None:
    """Count a saved video: bytes, seconds and cost.

    :param since: when the task began. A video that was saved before is already counted.
    :param again: the render was saved before and its file is gone, so its cost is already counted.
    """
    if manifest.landed_at < since:
        return
    with harmless("A metric"):
        _count_landed(manifest, again=again)


def _count_landed(manifest: RenderManifest, *, again: bool) -> None:
    tags = {"model": manifest.model}
    Stats.incr("jimeng.landed", tags=tags)
    Stats.incr("jimeng.landed_bytes", manifest.bytes, tags=tags)
    if manifest.cost_cny is not None and not again:
        Stats.incr("jimeng.cost_fen", round(manifest.cost_cny * 100), tags=tags)
    for name, seconds in (("render", manifest.render_seconds), ("queue", manifest.queued_seconds)):
        if seconds is not None:
            Stats.timing(f"jimeng.{name}_seconds", timedelta(seconds=seconds), tags=tags)
