"""The operator at the end of a DAG that brings home what was paid for and not landed. It never pays."""

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
from airflow_provider_jimeng.operators.submitting import DEFAULT_RETRIES
from airflow_provider_jimeng.retry import airflow_errors, with_default_policy

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_jimeng.hooks.jimeng import JimengHook
    from airflow_provider_jimeng.operators.salvage import Salvage
    from airflow_provider_jimeng.storage.target import OutputPath, Target

DEFAULT_WAIT_TIMEOUT = 600


class JimengRescueOperator(BaseOperator):
    """Land every render that was paid for, is not landed, and is still kept by the API; list what cannot be.

    Two sources: the render payloads that tasks left in XCom (``jimeng_render``; they stay when a task has failed),
    and the record objects under the output path. A render of either is landed once. Nothing is ever submitted, and no
    record of another task is changed: its own next try, or a Clear, finds the file and returns it. Temporary files of
    landings that were killed more than a day ago are removed.

    XCom: ``return_value`` and ``jimeng_rescue``, a JSON summary: ``landed`` and ``already_landed`` (manifests),
    ``running``, ``failed`` (unbilled) and ``lost`` (renders with ``message``), ``unknown`` (intents whose submit was
    never answered: who, when, model, estimated cost, what to check), ``problems`` (text). The task fails while there
    are problems that another try may mend.

    :param output_path: directory URI ending in ``/``: the records in it and in the directories below are read, and
        renders whose own place is not there, or not known, are landed in it.
    :param task_ids: tasks whose XCom to read; their records too. Without it, every record under ``output_path``.
    :param dag_id: DAG of ``task_ids``; default: this one. Without ``task_ids`` it limits the records.
    :param run_id: run of ``task_ids``; default: this one. Without ``task_ids`` it limits the records.
    :param wait_timeout: seconds to wait for renders that still run; 0 lists them only.
    :param compare_bytes: read every landed video to find altered ones; by default the sizes are compared.
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
        output_path: OutputPath,
        task_ids: str | Sequence[str] | None = None,
        dag_id: str | None = None,
        run_id: str | None = None,
        output_conn_id: str | None = None,
        wait_timeout: float | str = DEFAULT_WAIT_TIMEOUT,
        aigc_meta: dict[str, str] | None = None,
        require_tagged: bool = False,
        compare_bytes: bool | str = False,
        trigger_rule: str = "all_done",
        retries: int | None = DEFAULT_RETRIES,
        retry_policy: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            trigger_rule=trigger_rule, retries=retries, **with_default_policy(kwargs, retry_policy)
        )
        self.task_ids = task_ids
        self.source_dag_id = dag_id
        self.source_run_id = run_id
        self.output_path = path_as_text(output_path)
        self.output_conn_id = output_conn_id
        self.wait_timeout = wait_timeout
        self.aigc_meta = aigc_meta
        self.require_tagged = require_tagged
        self.compare_bytes = compare_bytes

    def execute(self, context: Context) -> dict[str, Any]:
        """Land what can be landed and return the summary."""
        with airflow_errors(self):
            return self._rescue(context)

    def hook_for(self, jimeng_conn_id: str) -> JimengHook:
        """Return the hook of a connection that paid for a render."""
        from airflow_provider_jimeng.hooks.jimeng import JimengHook

        return JimengHook(jimeng_conn_id=jimeng_conn_id)

    def _rescue(self, context: Context) -> dict[str, Any]:
        from airflow_provider_jimeng.operators.salvage import Salvage
        from airflow_provider_jimeng.storage.names import check_names
        from airflow_provider_jimeng.storage.target import Target

        folder = Target.of(self.output_path, self.output_conn_id)
        if not folder.is_directory:
            raise ParameterError(
                "output_path", f"{shown(folder.output_path)} must be a directory: end it with /."
            )
        check_names(folder)
        wait_timeout = read_seconds("wait_timeout", self.wait_timeout)
        salvage = Salvage(
            folder=folder,
            hook_for=self.hook_for,
            aigc_meta=check_aigc_meta(as_mapping("aigc_meta", self.aigc_meta)),
            require_tagged=as_bool("require_tagged", self.require_tagged),
            compare_bytes=as_bool("compare_bytes", self.compare_bytes),
        )
        self._collect(context, salvage, folder)
        summary = salvage.run(deadline=time.time() + wait_timeout)
        xcom.push_result(context["ti"], xcom.RESCUE, summary)
        counts = ", ".join(
            f"{len(items)} {kind}" for kind, items in summary.items() if isinstance(items, list)
        )
        self.log.info("Rescue: %s.", counts.replace("_", " "))
        for item in (*summary["unknown"], *summary["lost"]):
            self.log.warning("%s", item["message"])
        if summary["problems"]:
            problems = " ".join(summary["problems"])
            if salvage.unconnected == len(summary["problems"]):
                raise MissingConnectionError(problems)
            raise LandingError(
                f"{len(summary['problems'])} of the rescue's findings need another try, which is free: {problems}"
            )
        return summary

    def _collect(self, context: Context, salvage: Salvage, folder: Target) -> None:
        from airflow_provider_jimeng.operators.salvage import flattened
        from airflow_provider_jimeng.storage.claim import remove_dead_parts
        from airflow_provider_jimeng.storage.record_tree import all_records

        ti = context["ti"]
        names = [self.task_ids] if isinstance(self.task_ids, str) else list(self.task_ids or ())
        dag_id, run_id = self.source_dag_id, self.source_run_id
        if names:
            dag_id, run_id = dag_id or ti.dag_id, run_id or ti.run_id
        for name in names:
            owner = (str(dag_id), str(run_id), name)
            for payload in flattened(xcom.pull_of(ti, xcom.RENDER, owner)):
                salvage.add_payload(payload, owner=owner)
            for payload in flattened(xcom.pull_of(ti, xcom.RETURN_VALUE, owner)):
                if "sha256" in payload and "task_id" in payload:
                    salvage.add_payload(payload, owner=owner)
            for payload in flattened(xcom.pull_of(ti, xcom.INTENT, owner)):
                salvage.add_intent(payload)
        records, problems = all_records(folder, visit=remove_dead_parts)
        salvage.summary["problems"] += [str(problem) for problem in problems]
        salvage.add_records(
            record
            for record in records
            if (not names or record.key.task_id in names)
            and dag_id in (None, "", record.key.dag_id)
            and run_id in (None, "", record.key.run_id)
        )
