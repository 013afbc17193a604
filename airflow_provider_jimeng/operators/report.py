# SPDX-License-Identifier: Apache-2.0
"""The operator that reports on a campaign: JSON for programs, one page for people."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pendulum
from airflow.providers.common.compat.sdk import AirflowFailException, BaseOperator

from airflow_provider_jimeng.core.arguments import as_bool, shown
from airflow_provider_jimeng.core.errors import JimengError, ParameterError
from airflow_provider_jimeng.core.outcomes import UNKNOWN_SUBMIT
from airflow_provider_jimeng.core.output_path import path_as_text, read_output_path
from airflow_provider_jimeng.core.render import manifest_or_none, parse_money, parse_time
from airflow_provider_jimeng.core.report import End, Report, TaskEnd, merge_ends
from airflow_provider_jimeng.links import JimengCampaignLink
from airflow_provider_jimeng.operators.base import DEFAULT_RETRIES, JimengSubmittingOperator, airflow_errors
from airflow_provider_jimeng.operators.xcom import (
    EARLIER,
    INTENT,
    QUOTE,
    REFUSAL,
    RENDER,
    RETURN_VALUE,
    pull_all,
    pull_by_index,
    push_result,
)
from airflow_provider_jimeng.report_page import MAX_VIDEOS, Preview, render_page

if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike
    from typing import Unpack

    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath, XComArg

    from airflow_provider_jimeng.operators.arguments import ReportArguments
    from airflow_provider_jimeng.storage.output import OutputPath

__all__ = ["JimengReportOperator"]

REPORT_NAME = "jimeng-report.html"
_PAGE = ".html"


class JimengReportOperator(BaseOperator):
    """Report on all renders of this run, failures included, as JSON and as a self-contained HTML page.

    The task runs when all tasks before it are done, failed or not (``trigger_rule="all_done"``). Airflow takes the state
    of a run from its last tasks, so a successful report makes a run with failed renders successful. To prevent that,
    set ``fail_if_incomplete=True``: the task then writes the report and fails.

    XCom: ``return_value``: counts (tasks, landed, reused, failed, unfinished, no_render), cost (planned, actual,
    earlier, open; CNY), failures by meaning with what to do and the names of at most 100 tasks each, and the URIs of both
    files. The JSON file has all tasks.

    :param task_ids: tasks to report on; by default all tasks of this package that run before this one.
    :param output_path: directory URI that ends in ``/``, or file name of the page that ends in ``.html``. The JSON file
        is saved beside the page. Without an output path, the task writes no file.
    :param output_conn_id: Airflow connection of the storage.
    :param contact_sheet: show a picture of each video: its poster, if one lies beside it, or else its first frame. With
        the extra ``[media]`` the pictures are a part of the page. Without it, the page plays the videos in its directory and
        below.
    :param fail_if_incomplete: fail, after the report is written, if a video is missing.
    """

    template_fields: Sequence[str] = (
        "task_ids",
        "output_path",
        "output_conn_id",
        "contact_sheet",
        "fail_if_incomplete",
    )
    ui_color = "#fff4e0"
    operator_extra_links = (JimengCampaignLink(),)

    def __init__(
        self,
        *,
        task_ids: str | Iterable[str] | XComArg | None = None,
        output_path: str | PathLike[str] | ObjectStoragePath | XComArg | None = None,
        output_conn_id: str | XComArg | None = None,
        contact_sheet: bool | str | XComArg = True,
        fail_if_incomplete: bool | str | XComArg = False,
        trigger_rule: str = "all_done",
        retries: int | None = DEFAULT_RETRIES,
        **kwargs: Unpack[ReportArguments],
    ) -> None:
        super().__init__(trigger_rule=trigger_rule, retries=retries, **kwargs)
        self.task_ids: Any = task_ids
        self.output_path = path_as_text(output_path, ending=_PAGE)
        self.output_conn_id = output_conn_id
        self.contact_sheet = contact_sheet
        self.fail_if_incomplete = fail_if_incomplete

    def execute(self, context: Context) -> dict[str, Any]:
        """Read the XComs of the tasks, write the report, and return its summary."""
        with airflow_errors(self):
            target = self._target()
            report = self._gather(context)
            uris = self._write(report, target) if target is not None else {"html": None, "json": None}
        summary = {**report.summary(), "uris": uris}
        self.log.info("The campaign:\n%s", report.table())
        for group in summary["failures"]:
            self.log.warning("%d × %s %s", group["count"], group["meaning"], group["advice"])
        if uris["html"]:
            self.log.info("The report is saved: %s", uris["html"])
        missing = len(report.of(End.FAILED, End.UNFINISHED, End.NO_RENDER))
        if missing and as_bool("fail_if_incomplete", self.fail_if_incomplete):
            push_result(context["ti"], RETURN_VALUE, summary)
            raise AirflowFailException(
                f"{missing} of {len(report.ends)} videos are missing; see the report above."
            )
        return summary

    def _target(self) -> OutputPath | None:
        """Return the page's file name as a target, or ``None`` without an output path."""
        from airflow_provider_jimeng.storage.output import OutputPath, check_names

        path = read_output_path(self.output_path, ending=_PAGE)
        if path is None:
            return None
        path += REPORT_NAME if path.endswith("/") else ""
        if not path.endswith(_PAGE):
            raise ParameterError(
                "output_path",
                f"{shown(path)} is neither a directory, which ends in /, nor a file name that ends in {_PAGE}.",
            )
        target = OutputPath.of(path, self.output_conn_id)
        check_names(target)
        return target

    def _gather(self, context: Context) -> Report:
        task_ids = [self.task_ids] if isinstance(self.task_ids, str) else self.task_ids
        tasks = _tasks_to_read(self, None if task_ids is None else list(task_ids))
        if not tasks:
            raise ParameterError(
                "task_ids", "no render task comes before the report. Name the tasks to report on."
            )
        quoted = _read_quote(self, context)
        dag_run: Any = context["dag_run"]
        began = getattr(dag_run, "run_after", None) or dag_run.start_date
        return Report(
            dag_id=context["ti"].dag_id,
            run_id=context["ti"].run_id,
            generated_at=pendulum.now("UTC"),
            since=quoted.since or pendulum.instance(began),
            planned=quoted.cost,
            quoted=bool(quoted.plans),
            ends=tuple(read_ends(tasks, context)),
        )

    def _write(self, report: Report, target: OutputPath) -> dict[str, str]:
        page = target.file()
        data = page.beside(page.name.removesuffix(_PAGE) + ".json")
        previews = self._previews(report, target) if as_bool("contact_sheet", self.contact_sheet) else {}
        content = json.dumps(report.to_payload(), ensure_ascii=False, indent=1) + "\n"
        data.write(content.encode(), secrets.token_hex(8))
        page.write(render_page(report, previews).encode(), secrets.token_hex(8))
        return {"html": page.uri, "json": data.uri}

    def _previews(self, report: Report, target: OutputPath) -> dict[str, Preview]:
        """Return the preview of every saved video that the page shows, by URI."""
        from airflow_provider_jimeng.finishing.pictures import can_decode, first_frame, saved_poster
        from airflow_provider_jimeng.storage.output import OutputPath

        decodes = can_decode()
        if not decodes:
            self.log.info(
                "The page shows no pictures and plays the videos instead. For pictures: "
                "pip install 'airflow-provider-jimeng[media]'"
            )
        folder = target.file().uri.rpartition("/")[0] + "/"
        conn_id = target.output_conn_id or target.url_conn_id
        previews: dict[str, Preview] = {}
        for task in report.of(End.LANDED, End.REUSED)[:MAX_VIDEOS]:
            uri = str(task.known["uri"])
            path = uri.removeprefix(folder) if uri.startswith(folder) else None
            picture = None
            try:
                if decodes:
                    file = OutputPath(output_path=uri, output_conn_id=conn_id).file()
                    picture = saved_poster(file, str(task.known.get("sha256"))) or first_frame(file)
            except JimengError as error:
                self.log.warning("No picture of %s: %s", uri, error)
            previews[uri] = Preview(path=path, picture=picture)
        return previews


# --- the XComs of the tasks of the run--------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Quoted:
    """The plans of a run together. ``cost`` is in CNY, ``None`` if unknown; ``since`` is when the first plan was made."""

    cost: Decimal | None
    since: pendulum.DateTime | None
    plans: int


def _tasks_to_read(operator: BaseOperator, task_ids: Sequence[str] | None) -> list[Any]:
    """Return the tasks with these ids, or else all upstream tasks of this package; those that submit come first."""
    dag = operator.get_dag()
    if dag is None:
        raise ParameterError("task_ids", "the report does not belong to a DAG.")
    if task_ids is None:
        tasks = [task for task in operator.get_flat_relatives(upstream=True) if _is_ours(task)]
    else:
        unknown = [name for name in task_ids if not dag.has_task(name)]
        if unknown:
            raise ParameterError("task_ids", f"this DAG has no task {', '.join(map(repr, unknown))}.")
        tasks = [dag.get_task(name) for name in task_ids]
    return sorted(tasks, key=lambda task: (len(task.get_flat_relative_ids(upstream=True)), task.task_id))


def _read_quote(operator: BaseOperator, context: Context) -> _Quoted:
    """Return the quotes of the plans upstream of this task as one."""
    quotes: list[Mapping[str, Any]] = []
    for task in operator.get_flat_relatives(upstream=True):
        if _is_plan(task):
            quotes += pull_all(context, task.task_id, QUOTE)
    costs = [parse_money(quote["cost_cny"]) for quote in quotes]
    known = [cost for cost in costs if cost is not None]
    return _Quoted(
        cost=sum(known, Decimal(0)) if quotes and len(known) == len(costs) else None,
        since=min((parse_time(quote["quoted_at"]) for quote in quotes), default=None),
        plans=len(quotes),
    )


def read_ends(tasks: Iterable[Any], context: Context) -> list[TaskEnd]:
    """Return the end of every instance of the tasks. An instance of a submitting task counts even without any XCom."""
    ends: list[TaskEnd] = []
    for task in tasks:
        if _has_no_rows(task, context):
            continue
        count = _count(context, task.task_id)
        mapped = hasattr(task, "partial_kwargs") or count > 1
        values = {key: pull_by_index(context, task.task_id, key, count) for key in (RENDER, REFUSAL, INTENT)}
        values[RETURN_VALUE] = pull_by_index(
            context, task.task_id, RETURN_VALUE, count, renders=values[RENDER]
        )
        earlier = _earlier(context, task.task_id)
        arguments = _arguments(task, context, count)
        for index in range(count):
            manifest = manifest_or_none(values[RETURN_VALUE].get(index))
            render = values[RENDER].get(index)
            if values[RETURN_VALUE].get(index) is None and _submits(task):
                render = _stopped(values[REFUSAL].get(index), values[INTENT].get(index), render)
            if render is not None or manifest is not None or _submits(task):
                end = TaskEnd(
                    task=task.task_id,
                    map_index=index if mapped else None,
                    render=render,
                    manifest=manifest,
                    arguments=arguments.get(index),
                    earlier=earlier.get(index if mapped else -1, ()),
                )
                ends.append(end)
    return merge_ends(ends)


def _earlier(context: Context, task_id: str) -> dict[int, tuple[Mapping[str, Any], ...]]:
    """Return what each instance of a task paid for before its last render, by its map index."""
    payloads = pull_all(context, task_id, EARLIER)
    return {int(payload["map_index"]): tuple(payload["renders"]) for payload in payloads}


def _has_no_rows(task: Any, context: Context) -> bool:
    """Return whether a task is mapped over a plan without rows. Airflow keeps one skipped instance, which has no render."""
    if not hasattr(task, "partial_kwargs"):
        return False
    plans = [source for source in task.iter_mapped_dependencies() if _is_plan(source)]
    quotes = [quote for plan in plans for quote in pull_all(context, plan.task_id, QUOTE)]
    return bool(quotes) and not any(quote["rows"] for quote in quotes)


def _stopped(refusal: Any, intent: Any, render: Any) -> dict[str, Any] | None:
    """Return the end of a task that did not succeed: a refusal, a submit with an unknown outcome, or a render.

    :param render: the last render of the task. It counts if the task submitted nothing after it.
    """
    if refusal is not None and _is_later(refusal["refused_at"], render):
        return dict(refusal)
    if intent is not None and _is_later(intent["intent_at"], render):
        request = intent.get("request") or {}
        return {**request, "outcome": UNKNOWN_SUBMIT, "message": intent.get("message")}
    return None if render is None else dict(render)


def _is_later(moment: str, render: Any) -> bool:
    return render is None or parse_time(moment) >= parse_time(render["submitted_at"])


def _arguments(task: Any, context: Context, count: int) -> dict[int, Mapping[str, Any]]:
    """Return the arguments that a plan gave each instance of a task that is mapped over it."""
    if not hasattr(task, "partial_kwargs"):
        return {}
    for source in task.iter_mapped_dependencies():
        if _is_plan(source):
            rows = [row for rows in pull_all(context, source.task_id, RETURN_VALUE) for row in rows]
            return dict(enumerate(rows)) if len(rows) == count else {}
    return {}


def _count(context: Context, task_id: str) -> int:
    """Return how many instances a task has in this run."""
    ti = context["ti"]
    if hasattr(ti, "get_ti_count"):
        return int(ti.get_ti_count(dag_id=ti.dag_id, task_ids=[task_id], run_ids=[ti.run_id]))
    dag_run: Any = context["dag_run"]  # Airflow 2: a task has access to the database
    return sum(ti.task_id == task_id for ti in dag_run.get_task_instances())


def _is_plan(task: Any) -> bool:
    from airflow_provider_jimeng.operators.plan import JimengPlanOperator

    return _is_a(task, JimengPlanOperator)


def _submits(task: Any) -> bool:
    return _is_a(task, JimengSubmittingOperator)


def _is_ours(task: Any) -> bool:
    from airflow_provider_jimeng.operators.video import JimengDownloadVideoOperator
    from airflow_provider_jimeng.sensors.video import JimengVideoSensor

    return _submits(task) or _is_a(task, JimengVideoSensor, JimengDownloadVideoOperator)


def _is_a(task: Any, *classes: type) -> bool:
    operator_class = getattr(task, "operator_class", None) if hasattr(task, "partial_kwargs") else type(task)
    return isinstance(operator_class, type) and issubclass(operator_class, classes)
