"""What the tasks of a run left in XCom, read back by a task that comes after them, whatever their state is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.core.render import parse_money, parse_time
from airflow_provider_jimeng.core.task_end import UNKNOWN_SUBMIT, TaskEnd, manifest_or_none, merge_ends
from airflow_provider_jimeng.operators.base import JimengSubmittingOperator
from airflow_provider_jimeng.operators.plan import JimengPlanOperator
from airflow_provider_jimeng.operators.video import JimengDownloadVideoOperator
from airflow_provider_jimeng.sensors.video import JimengVideoSensor

if TYPE_CHECKING:
    import pendulum
    from airflow.providers.common.compat.sdk import BaseOperator, Context

_OURS = (JimengSubmittingOperator, JimengVideoSensor, JimengDownloadVideoOperator)
_MEANT_TO_RENDER = (JimengSubmittingOperator,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quoted:
    """The plans of a run together: ``cost`` in CNY, ``None`` where unknown; ``since`` is when the first was made."""

    cost: Decimal | None
    since: pendulum.DateTime | None
    plans: int


def tasks_to_read(operator: BaseOperator, task_ids: Sequence[str] | None) -> list[Any]:
    """Return the tasks that are asked for, else all of this package that run before, those that submit first."""
    dag = operator.get_dag()
    if dag is None:
        raise ParameterError("task_ids", "the report belongs to no DAG.")
    if task_ids is None:
        found = [task for task in operator.get_flat_relatives(upstream=True) if _is_a(task, _OURS)]
    else:
        unknown = [name for name in task_ids if not dag.has_task(name)]
        if unknown:
            raise ParameterError("task_ids", f"this DAG has no task {', '.join(map(repr, unknown))}.")
        found = [dag.get_task(name) for name in task_ids]
    return sorted(found, key=lambda task: (len(task.get_flat_relative_ids(upstream=True)), task.task_id))


def read_quote(operator: BaseOperator, context: Context) -> Quoted:
    """Return what the plans before this task announced."""
    quotes: list[Mapping[str, Any]] = []
    for task in operator.get_flat_relatives(upstream=True):
        if _is_a(task, (JimengPlanOperator,)):
            quotes += _all(context, task.task_id, "quote")
    costs = [parse_money(quote["cost_cny"]) for quote in quotes]
    known = [cost for cost in costs if cost is not None]
    return Quoted(
        cost=sum(known, Decimal(0)) if quotes and len(known) == len(costs) else None,
        since=min((parse_time(quote["quoted_at"]) for quote in quotes), default=None),
        plans=len(quotes),
    )


def read_ends(tasks: Iterable[Any], context: Context) -> list[TaskEnd]:
    """Return what every instance of the tasks left; one that left nothing counts if it was meant to render."""
    ends: list[TaskEnd] = []
    for task in tasks:
        if _has_no_rows(task, context):
            continue
        count = _count(context, task.task_id)
        mapped = hasattr(task, "partial_kwargs") or count > 1
        renders = _by_index(context, task.task_id, "jimeng_render", count)
        returned = _by_index(context, task.task_id, "return_value", count)
        earlier = _earlier(context, task.task_id)
        asked = _asked(task, context, count)
        stopped = {
            key: _by_index(context, task.task_id, key, count) for key in ("jimeng_refusal", "jimeng_intent")
        }
        for index in range(count):
            manifest = manifest_or_none(returned.get(index))
            render = renders.get(index)
            if returned.get(index) is None and _is_a(task, _MEANT_TO_RENDER):
                render = _stopped(
                    stopped["jimeng_refusal"].get(index), stopped["jimeng_intent"].get(index), render
                )
            if render is not None or manifest is not None or _is_a(task, _MEANT_TO_RENDER):
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
    found = _all(context, task_id, "jimeng_earlier")
    return {int(payload["map_index"]): tuple(payload["renders"]) for payload in found}


def _has_no_rows(task: Any, context: Context) -> bool:
    """Whether a task is mapped over a plan without rows: Airflow keeps one skipped instance of it, which is no render."""
    if not hasattr(task, "partial_kwargs"):
        return False
    plans = [source for source in task.iter_mapped_dependencies() if _is_a(source, (JimengPlanOperator,))]
    quotes = [quote for plan in plans for quote in _all(context, plan.task_id, "quote")]
    return bool(quotes) and not any(quote["rows"] for quote in quotes)


def _stopped(refusal: Any, intent: Any, render: Any) -> dict[str, Any] | None:
    """Return what a task left that did not succeed: the API's refusal, or a submit whose outcome nobody knows.

    :param render: the render that it left in XCom; it counts if nothing was asked for after it.
    """
    if refusal is not None and _is_later(refusal["refused_at"], render):
        return dict(refusal)
    if intent is not None and _is_later(intent["intent_at"], render):
        request = intent.get("request") or {}
        return {**request, "outcome": UNKNOWN_SUBMIT, "message": intent.get("message")}
    return None if render is None else dict(render)


def _is_later(moment: str, render: Any) -> bool:
    return render is None or parse_time(moment) >= parse_time(render["submitted_at"])


def _is_a(task: Any, classes: tuple[type, ...]) -> bool:
    found = getattr(task, "operator_class", None) if hasattr(task, "partial_kwargs") else type(task)
    return isinstance(found, type) and issubclass(found, classes)


def _asked(task: Any, context: Context, count: int) -> dict[int, Mapping[str, Any]]:
    """Return the arguments that a plan gave each instance of a task that is mapped over it."""
    if not hasattr(task, "partial_kwargs"):
        return {}
    for source in task.iter_mapped_dependencies():
        if _is_a(source, (JimengPlanOperator,)):
            rows = [row for rows in _all(context, source.task_id, "return_value") for row in rows]
            return dict(enumerate(rows)) if len(rows) == count else {}
    return {}


def _count(context: Context, task_id: str) -> int:
    """Return how many instances a task has in this run."""
    ti = context["ti"]
    if hasattr(ti, "get_ti_count"):
        return int(ti.get_ti_count(dag_id=ti.dag_id, task_ids=[task_id], run_ids=[ti.run_id]))
    dag_run: Any = context["dag_run"]  # before Airflow 3, a task may ask the database
    return sum(found.task_id == task_id for found in dag_run.get_task_instances())


def _all(context: Context, task_id: str, key: str) -> list[Any]:
    found = context["ti"].xcom_pull(task_ids=[task_id], key=key)
    return [value for value in found or () if value is not None]


def _by_index(context: Context, task_id: str, key: str, count: int) -> dict[int, Any]:
    """Return what instances left, by their index: at once if all did, else asking for each."""
    values = _all(context, task_id, key)
    if len(values) == count:
        return dict(enumerate(values))
    if not values:  # Airflow logs an error for each one that is asked for and was not left
        return {}
    pull = context["ti"].xcom_pull
    found = ((index, pull(task_ids=task_id, key=key, map_indexes=index)) for index in range(count))
    return {index: value for index, value in found if value is not None}
