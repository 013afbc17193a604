"""Everything that tasks exchange through XCom: each key, and the functions that write and read them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

from airflow_provider_jimeng.core.errors import LedgerError, ParameterError
from airflow_provider_jimeng.core.event import UNKNOWN_SUBMIT
from airflow_provider_jimeng.core.render import parse_money, parse_time
from airflow_provider_jimeng.core.task_end import TaskEnd, manifest_or_none, merge_ends
from airflow_provider_jimeng.metrics import harmless

if TYPE_CHECKING:
    import pendulum
    from airflow.providers.common.compat.sdk import BaseOperator, Context

    from airflow_provider_jimeng.core.render import RenderManifest

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


def push_result(ti: Any, key: str, value: Any) -> None:
    """Push a value that the task exists for. A push that fails does fail the task, which has paid for nothing."""
    ti.xcom_push(key=key, value=value)


def publish(operator: BaseOperator, context: Context, manifest: RenderManifest) -> dict[str, Any]:
    """Add the manifest to the asset events of the task's outlets, as their extra, and return its payload."""
    payload = manifest.to_payload()
    add_to_outlets(operator, context, manifest.uri, payload)
    return payload


def add_to_outlets(operator: BaseOperator, context: Context, uri: str, extra: Mapping[str, Any]) -> None:
    """Add what a task made to the asset events of its outlets. An alias gets an asset with the URI of the file."""
    from airflow.providers.common.compat.sdk import Asset, AssetAlias

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Quoted:
    """The plans of a run together. ``cost`` is in CNY, ``None`` if unknown; ``since`` is when the first plan was made."""

    cost: Decimal | None
    since: pendulum.DateTime | None
    plans: int


def tasks_to_read(operator: BaseOperator, task_ids: Sequence[str] | None) -> list[Any]:
    """Return the tasks with these ids, or else all upstream tasks of this package; those that submit come first."""
    dag = operator.get_dag()
    if dag is None:
        raise ParameterError("task_ids", "the report belongs to no DAG.")
    if task_ids is None:
        found = [task for task in operator.get_flat_relatives(upstream=True) if _is_ours(task)]
    else:
        unknown = [name for name in task_ids if not dag.has_task(name)]
        if unknown:
            raise ParameterError("task_ids", f"this DAG has no task {', '.join(map(repr, unknown))}.")
        found = [dag.get_task(name) for name in task_ids]
    return sorted(found, key=lambda task: (len(task.get_flat_relative_ids(upstream=True)), task.task_id))


def read_quote(operator: BaseOperator, context: Context) -> Quoted:
    """Return the quotes of the plans upstream of this task as one."""
    quotes: list[Mapping[str, Any]] = []
    for task in operator.get_flat_relatives(upstream=True):
        if _is_plan(task):
            quotes += _all(context, task.task_id, QUOTE)
    costs = [parse_money(quote["cost_cny"]) for quote in quotes]
    known = [cost for cost in costs if cost is not None]
    return Quoted(
        cost=sum(known, Decimal(0)) if quotes and len(known) == len(costs) else None,
        since=min((parse_time(quote["quoted_at"]) for quote in quotes), default=None),
        plans=len(quotes),
    )


def read_ends(tasks: Iterable[Any], context: Context) -> list[TaskEnd]:
    """Return what every instance of the tasks left. An instance of a submitting task counts even if it left nothing."""
    ends: list[TaskEnd] = []
    for task in tasks:
        if _has_no_rows(task, context):
            continue
        count = _count(context, task.task_id)
        mapped = hasattr(task, "partial_kwargs") or count > 1
        left = {
            key: _by_index(context, task.task_id, key, count)
            for key in (RENDER, RETURN_VALUE, REFUSAL, INTENT)
        }
        earlier = _earlier(context, task.task_id)
        asked = _asked(task, context, count)
        for index in range(count):
            manifest = manifest_or_none(left[RETURN_VALUE].get(index))
            render = left[RENDER].get(index)
            if left[RETURN_VALUE].get(index) is None and _submits(task):
                render = _stopped(left[REFUSAL].get(index), left[INTENT].get(index), render)
            if render is not None or manifest is not None or _submits(task):
                end = TaskEnd(
                    task=task.task_id,
                    map_index=index if mapped else None,
                    render=render,
                    manifest=manifest,
                    asked=asked.get(index),
                    earlier=earlier.get(index if mapped else -1, ()),
                )
                ends.append(end)
    return merge_ends(ends)


def _earlier(context: Context, task_id: str) -> dict[int, tuple[Mapping[str, Any], ...]]:
    """Return what each instance of a task paid for before its last render, by its map index."""
    found = _all(context, task_id, EARLIER)
    return {int(payload["map_index"]): tuple(payload["renders"]) for payload in found}


def _has_no_rows(task: Any, context: Context) -> bool:
    """Return whether a task is mapped over a plan without rows: Airflow keeps one skipped instance, which is not a render."""
    if not hasattr(task, "partial_kwargs"):
        return False
    plans = [source for source in task.iter_mapped_dependencies() if _is_plan(source)]
    quotes = [quote for plan in plans for quote in _all(context, plan.task_id, QUOTE)]
    return bool(quotes) and not any(quote["rows"] for quote in quotes)


def _stopped(refusal: Any, intent: Any, render: Any) -> dict[str, Any] | None:
    """Return what a task left that did not succeed: a refusal, a submit with an unknown outcome, or a render.

    :param render: the render that the task left. It counts if the task submitted nothing after it.
    """
    if refusal is not None and _is_later(refusal["refused_at"], render):
        return dict(refusal)
    if intent is not None and _is_later(intent["intent_at"], render):
        request = intent.get("request") or {}
        return {**request, "outcome": UNKNOWN_SUBMIT, "message": intent.get("message")}
    return None if render is None else dict(render)


def _is_later(moment: str, render: Any) -> bool:
    return render is None or parse_time(moment) >= parse_time(render["submitted_at"])


def _asked(task: Any, context: Context, count: int) -> dict[int, Mapping[str, Any]]:
    """Return the arguments that a plan gave each instance of a task that is mapped over it."""
    if not hasattr(task, "partial_kwargs"):
        return {}
    for source in task.iter_mapped_dependencies():
        if _is_plan(source):
            rows = [row for rows in _all(context, source.task_id, RETURN_VALUE) for row in rows]
            return dict(enumerate(rows)) if len(rows) == count else {}
    return {}


def _count(context: Context, task_id: str) -> int:
    """Return how many instances a task has in this run."""
    ti = context["ti"]
    if hasattr(ti, "get_ti_count"):
        return int(ti.get_ti_count(dag_id=ti.dag_id, task_ids=[task_id], run_ids=[ti.run_id]))
    dag_run: Any = context["dag_run"]  # Airflow 2: a task has access to the database
    return sum(found.task_id == task_id for found in dag_run.get_task_instances())


def _all(context: Context, task_id: str, key: str) -> list[Any]:
    found = context["ti"].xcom_pull(task_ids=[task_id], key=key)
    return [value for value in found or () if value is not None]


def _by_index(context: Context, task_id: str, key: str, count: int) -> dict[int, Any]:
    """Return what the instances left, by their index: with one pull if all of them left something, else with many."""
    values = _all(context, task_id, key)
    if len(values) == count:
        return dict(enumerate(values))
    if not values:  # Airflow logs an error for each value that does not exist
        return {}
    pull = context["ti"].xcom_pull
    found = ((index, pull(task_ids=task_id, key=key, map_indexes=index)) for index in range(count))
    return {index: value for index, value in found if value is not None}


# The modules of the operators import this one, so they are imported where they are used.


def _is_plan(task: Any) -> bool:
    from airflow_provider_jimeng.operators.plan import JimengPlanOperator

    return _is_a(task, JimengPlanOperator)


def _submits(task: Any) -> bool:
    from airflow_provider_jimeng.operators.base import JimengSubmittingOperator

    return _is_a(task, JimengSubmittingOperator)


def _is_ours(task: Any) -> bool:
    from airflow_provider_jimeng.operators.video import JimengDownloadVideoOperator
    from airflow_provider_jimeng.sensors.video import JimengVideoSensor

    return _submits(task) or _is_a(task, JimengVideoSensor, JimengDownloadVideoOperator)


def _is_a(task: Any, *classes: type) -> bool:
    found = getattr(task, "operator_class", None) if hasattr(task, "partial_kwargs") else type(task)
    return isinstance(found, type) and issubclass(found, classes)
