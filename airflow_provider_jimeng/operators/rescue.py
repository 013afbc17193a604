# SPDX-License-Identifier: Apache-2.0
"""The operator at the end of a DAG that saves what was paid for and not saved. It never pays."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_jimeng.core.arguments import as_bool, as_mapping, read_seconds, shown
from airflow_provider_jimeng.core.errors import LandingError, MissingConnectionError, ParameterError
from airflow_provider_jimeng.core.output_path import path_as_text
from airflow_provider_jimeng.core.parameters import check_aigc_meta
from airflow_provider_jimeng.operators import xcom
from airflow_provider_jimeng.operators.base import DEFAULT_RETRIES, airflow_errors, with_default_policy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from os import PathLike
    from typing import Unpack

    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath, RetryPolicy, XComArg

    from airflow_provider_jimeng.hooks.jimeng import JimengHook
    from airflow_provider_jimeng.operators.arguments import TaskArguments
    from airflow_provider_jimeng.operators.unsaved_renders import UnsavedRenders
    from airflow_provider_jimeng.storage.output import OutputPath

__all__ = ["JimengRescueOperator"]

DEFAULT_WAIT_TIMEOUT = 600
MAX_LISTED = 100
"""The length of each list in XCom. A directory gets more renders each month, and the summary is pushed twice."""
_PROBLEMS_NAMED = 20


class JimengRescueOperator(BaseOperator):
    """Save every render that was paid for, is not saved, and is still kept by the API; list the others.

    It reads two sources: the render payloads that tasks pushed to XCom (``jimeng_render``, which stays after a failure),
    and the record objects under the output path. Each render is saved once. The operator submits nothing and changes no
    record of another task: the next try of that task, or a Clear, finds the file and returns it. Temporary files of
    downloads that were killed more than a day ago are removed.

    XCom: ``return_value`` and ``jimeng_rescue``, a JSON summary: ``landed`` and ``already_landed`` (manifests),
    ``running``, ``failed`` (unbilled) and ``lost`` (renders with ``message``), ``unknown`` (intents whose submit
    got no response: task instance, time, model, estimated cost, what to check), ``problems`` (text), each with at most 100 entries;
    and ``counts``, the full number of each. ``jimeng rescue --json`` lists all. The task fails while there are problems
    that another try can solve.

    :param output_path: directory URI that ends in ``/``. The task reads the records in it and in the directories below.
        A render whose own place is elsewhere or unknown is saved in this directory.
    :param task_ids: tasks whose XCom and records are read. Default: every record under ``output_path``.
    :param dag_id: DAG of ``task_ids``; default: this one. Without ``task_ids`` it limits the records.
    :param run_id: run of ``task_ids``; default: this one. Without ``task_ids`` it limits the records.
    :param output_conn_id: Airflow connection of the storage.
    :param wait_timeout: seconds to wait for renders that still run; 0 only lists them.
    :param aigc_meta: implicit label, as for the submitting operators; default: the label of the connection.
    :param require_tagged: save only videos that the API has labelled.
    :param compare_bytes: read every saved video to find altered ones; by default only sizes are compared.
    """

    template_fields: Sequence[str] = (
        "task_ids",
        "source_dag_id",
        "source_run_id",
        "output_path",
        "output_conn_id",
        "wait_timeout",
        "aigc_meta",
        "require_tagged",
        "compare_bytes",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"aigc_meta": "json"}
    ui_color = "#e8f0fe"

    def __init__(
        self,
        *,
        output_path: str | PathLike[str] | ObjectStoragePath | XComArg,
        task_ids: str | Iterable[str] | XComArg | None = None,
        dag_id: str | XComArg | None = None,
        run_id: str | XComArg | None = None,
        output_conn_id: str | XComArg | None = None,
        wait_timeout: float | str | XComArg = DEFAULT_WAIT_TIMEOUT,
        aigc_meta: Mapping[str, str] | str | XComArg | None = None,
        require_tagged: bool | str | XComArg = False,
        compare_bytes: bool | str | XComArg = False,
        trigger_rule: str = "all_done",
        retries: int | None = DEFAULT_RETRIES,
        retry_policy: RetryPolicy | None = None,
        **kwargs: Unpack[TaskArguments],
    ) -> None:
        super().__init__(
            trigger_rule=trigger_rule, retries=retries, **with_default_policy(kwargs, retry_policy)
        )
        self.task_ids: Any = task_ids
        self.source_dag_id = dag_id
        self.source_run_id = run_id
        self.output_path = path_as_text(output_path)
        self.output_conn_id = output_conn_id
        self.wait_timeout = wait_timeout
        self.aigc_meta = aigc_meta
        self.require_tagged = require_tagged
        self.compare_bytes = compare_bytes

    def execute(self, context: Context) -> dict[str, Any]:
        """Save what can be saved and return the summary."""
        with airflow_errors(self):
            return self._rescue(context)

    def hook_for(self, jimeng_conn_id: str) -> JimengHook:
        """Return the hook of a connection that paid for a render."""
        from airflow_provider_jimeng.hooks.jimeng import JimengHook

        return JimengHook(jimeng_conn_id=jimeng_conn_id)

    def _rescue(self, context: Context) -> dict[str, Any]:
        from airflow_provider_jimeng.operators.unsaved_renders import UnsavedRenders
        from airflow_provider_jimeng.storage.output import OutputPath, check_names

        folder = OutputPath.of(self.output_path, self.output_conn_id)
        if not folder.is_directory:
            raise ParameterError(
                "output_path", f"{shown(folder.output_path)} must be a directory: end it with /."
            )
        check_names(folder)
        wait_timeout = read_seconds("wait_timeout", self.wait_timeout)
        unsaved = UnsavedRenders(
            folder=folder,
            hook_for=self.hook_for,
            aigc_meta=check_aigc_meta(as_mapping("aigc_meta", self.aigc_meta)),
            require_tagged=as_bool("require_tagged", self.require_tagged),
            compare_bytes=as_bool("compare_bytes", self.compare_bytes),
        )
        self._collect(context, unsaved, folder)
        summary = bounded(unsaved.run(deadline=time.time() + wait_timeout))
        xcom.push_result(context["ti"], xcom.RESCUE, summary)
        counts: dict[str, int] = summary["counts"]
        self.log.info("Rescue: %s.", ", ".join(f"{n} {kind}" for kind, n in counts.items()).replace("_", " "))
        if max(counts.values()) > MAX_LISTED:
            self.log.info("XCom has the first %d of each list. `jimeng rescue --json` lists all.", MAX_LISTED)
        for item in (*summary["unknown"], *summary["lost"]):
            self.log.warning("%s", item["message"])
        if summary["problems"]:
            problems = " ".join(summary["problems"][:_PROBLEMS_NAMED])
            if counts["problems"] > _PROBLEMS_NAMED:
                problems += f" And {counts['problems'] - _PROBLEMS_NAMED} more, see jimeng_rescue in XCom."
            if unsaved.unconnected == counts["problems"]:
                raise MissingConnectionError(problems)
            raise LandingError(
                f"{counts['problems']} of the rescue's findings need another try, which is free: {problems}"
            )
        return summary

    def _collect(self, context: Context, unsaved: UnsavedRenders, folder: OutputPath) -> None:
        from airflow_provider_jimeng.operators.unsaved_renders import flattened
        from airflow_provider_jimeng.storage.paid import all_records

        ti = context["ti"]
        names = [self.task_ids] if isinstance(self.task_ids, str) else list(self.task_ids or ())
        dag_id, run_id = self.source_dag_id, self.source_run_id
        if names:
            dag_id, run_id = dag_id or ti.dag_id, run_id or ti.run_id
        for name in names:
            owner = (str(dag_id), str(run_id), name)
            for payload in flattened(xcom.pull_of(ti, xcom.RENDER, owner)):
                unsaved.add_payload(payload, owner=owner)
            for payload in flattened(xcom.pull_of(ti, xcom.RETURN_VALUE, owner)):
                if "sha256" in payload and "task_id" in payload:
                    unsaved.add_payload(payload, owner=owner)
            for payload in flattened(xcom.pull_of(ti, xcom.INTENT, owner)):
                unsaved.add_intent(payload)
        records, problems = all_records(folder, visit=unsaved.visit)
        unsaved.summary["problems"] += [str(problem) for problem in problems]
        unsaved.add_records(
            record
            for record in records
            if (not names or record.key.task_id in names)
            and dag_id in (None, "", record.key.dag_id)
            and run_id in (None, "", record.key.run_id)
        )


def bounded(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return a summary with the first entries of each list, and with the length of each list in ``counts``."""
    lists = {kind: items for kind, items in summary.items() if isinstance(items, list)}
    counts = {kind: len(items) for kind, items in lists.items()}
    return {**summary, **{kind: items[:MAX_LISTED] for kind, items in lists.items()}, "counts": counts}
