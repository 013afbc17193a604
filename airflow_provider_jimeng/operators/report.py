"""What became of a campaign: JSON for programs, one page for people."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pendulum
from airflow.providers.common.compat.sdk import AirflowFailException, BaseOperator

from airflow_provider_jimeng.core.arguments import as_bool, shown
from airflow_provider_jimeng.core.errors import JimengError, ParameterError
from airflow_provider_jimeng.core.output_path import path_as_text, read_output_path
from airflow_provider_jimeng.core.report import Report
from airflow_provider_jimeng.core.report_page import Sight, render_page
from airflow_provider_jimeng.core.task_end import End
from airflow_provider_jimeng.operators.submitting import DEFAULT_RETRIES
from airflow_provider_jimeng.operators.xcom import RETURN_VALUE, push_result
from airflow_provider_jimeng.retry import airflow_errors

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_jimeng.storage.target import OutputPath, Target

REPORT_NAME = "jimeng-report.html"
_PAGE = ".html"


class JimengReportOperator(BaseOperator):
    """Gather what the renders of this run came to, failures included, into JSON and a self-contained HTML page.

    It runs when all tasks before it are done, whatever became of them (``trigger_rule="all_done"``). Airflow judges a
    run by its last tasks, so a report that succeeds turns a run with failed renders green:
    ``fail_if_incomplete=True`` writes the report and then fails.

    XCom: ``return_value``: counts (tasks, landed, reused, failed, unfinished, no_render), cost (planned, actual,
    earlier, open; CNY), failures by meaning with what to do, and the URIs of both files.

    :param task_ids: tasks to report on; by default all of this package that run before this one.
    :param output_path: directory URI ending in ``/``, or the page's file name ending in ``.html``; the JSON lies
        beside it. Without it nothing is written.
    :param output_conn_id: Airflow connection of the storage.
    :param contact_sheet: show first frames. With the extra ``[report]`` they are part of the page; without it the page
        plays the videos that lie in its directory or below.
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

    def __init__(
        self,
        *,
        task_ids: str | Iterable[str] | None = None,
        output_path: OutputPath | None = None,
        output_conn_id: str | None = None,
        contact_sheet: bool = True,
        fail_if_incomplete: bool = False,
        trigger_rule: str = "all_done",
        retries: int | None = DEFAULT_RETRIES,
        **kwargs: Any,
    ) -> None:
        super().__init__(trigger_rule=trigger_rule, retries=retries, **kwargs)
        self.task_ids = task_ids
        self.output_path = path_as_text(output_path, ending=_PAGE)
        self.output_conn_id = output_conn_id
        self.contact_sheet = contact_sheet
        self.fail_if_incomplete = fail_if_incomplete

    def execute(self, context: Context) -> dict[str, Any]:
        """Gather, write, and return the summary."""
        with airflow_errors(self):
            target = self._target()
            report = self._gather(context)
            uris = self._write(report, target) if target is not None else {"html": None, "json": None}
        summary = {**report.summary(), "uris": uris}
        counts = summary["counts"]
        self.log.info("Counts: %s. Cost: %s. Files: %s.", counts, summary["cost"], uris)
        for group in summary["failures"]:
            self.log.warning("%d × %s %s", group["count"], group["meaning"], group["advice"])
        missing = len(report.of(End.FAILED, End.UNFINISHED, End.NO_RENDER))
        if missing and as_bool("fail_if_incomplete", self.fail_if_incomplete):
            push_result(context["ti"], RETURN_VALUE, summary)
            raise AirflowFailException(
                f"{missing} of {len(report.ends)} videos are missing; see the report above."
            )
        return summary

    def _target(self) -> Target | None:
        """Return the page's file name as a target; ``None`` if nothing is to be written."""
        from airflow_provider_jimeng.storage.names import check_names
        from airflow_provider_jimeng.storage.target import Target

        path = read_output_path(self.output_path, ending=_PAGE)
        if path is None:
            return None
        path += REPORT_NAME if path.endswith("/") else ""
        if not path.endswith(_PAGE):
            raise ParameterError(
                "output_path",
                f"{shown(path)} is neither a directory, ending in /, nor a file name ending in {_PAGE}.",
            )
        target = Target.of(path, self.output_conn_id)
        check_names(target)
        return target

    def _gather(self, context: Context) -> Report:
        from airflow_provider_jimeng.operators.xcom import read_ends, read_quote, tasks_to_read

        asked = [self.task_ids] if isinstance(self.task_ids, str) else self.task_ids
        tasks = tasks_to_read(self, None if asked is None else list(asked))
        if not tasks:
            raise ParameterError(
                "task_ids", "no render task comes before the report. Name the tasks to report on."
            )
        quoted = read_quote(self, context)
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

    def _write(self, report: Report, target: Target) -> dict[str, str]:
        page = target.file()
        data = page.beside(page.name.removesuffix(_PAGE) + ".json")
        sights = self._sights(report, target) if as_bool("contact_sheet", self.contact_sheet) else {}
        content = json.dumps(report.to_payload(), ensure_ascii=False, indent=1) + "\n"
        data.write(content.encode(), secrets.token_hex(8))
        page.write(render_page(report, sights).encode(), secrets.token_hex(8))
        return {"html": page.uri, "json": data.uri}

    def _sights(self, report: Report, target: Target) -> dict[str, Sight]:
        """Return what there is to see of every landed video."""
        from airflow_provider_jimeng.first_frames import can_decode, first_frame
        from airflow_provider_jimeng.storage.target import Target

        decodes = can_decode()
        if not decodes:
            self.log.info(
                "No first frames, the page plays the videos instead: pip install 'airflow-provider-jimeng[report]'"
            )
        folder = target.file().uri.rpartition("/")[0] + "/"
        conn_id = target.output_conn_id or target.url_conn_id
        sights: dict[str, Sight] = {}
        for task in report.of(End.LANDED, End.REUSED):
            uri = str(task.known["uri"])
            path = uri.removeprefix(folder) if uri.startswith(folder) else None
            picture = None
            try:
                if decodes:
                    picture = first_frame(Target(output_path=uri, output_conn_id=conn_id).file())
            except JimengError as error:
                self.log.warning("No first frame of %s: %s", uri, error)
            sights[uri] = Sight(path=path, picture=picture)
        return sights
