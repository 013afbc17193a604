# SPDX-License-Identifier: Apache-2.0
"""A campaign's budget: every row checked and quoted before the first submit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import pendulum
from airflow.providers.common.compat.sdk import BaseOperator, conf, mask_secret

from airflow_provider_jimeng.core.arguments import DEFAULT_CONNECTION, as_bool, is_link, read_text, shown
from airflow_provider_jimeng.core.catalogue import DEFAULT_MODEL
from airflow_provider_jimeng.core.errors import LandingError, LedgerError, ParameterError
from airflow_provider_jimeng.core.output_path import path_as_text, read_output_path
from airflow_provider_jimeng.core.plan import (
    OpenedFrame,
    PlannedRow,
    RowState,
    check_length,
    draft_rows,
    log_lines,
    number_takes,
    refusal,
)
from airflow_provider_jimeng.core.quote import check_cap, make_quote, quote_table
from airflow_provider_jimeng.core.render import format_time
from airflow_provider_jimeng.links import JimengCampaignLink
from airflow_provider_jimeng.operators.base import DEFAULT_RETRIES, airflow_errors, check_plan_literals
from airflow_provider_jimeng.operators.xcom import QUOTE, push_result

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from decimal import Decimal
    from os import PathLike
    from typing import Unpack

    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath, XComArg

    from airflow_provider_jimeng.core.rows import Problem
    from airflow_provider_jimeng.hooks.jimeng import JimengHook
    from airflow_provider_jimeng.hooks.render_status import RenderStatusLookUp
    from airflow_provider_jimeng.operators.arguments import DataFrame, PlanArguments
    from airflow_provider_jimeng.storage.paid import PaidRenders

__all__ = ["JimengPlanOperator"]


_ENOUGH_FAILURES = 3
"""After so many failures in succession the plan stops: the store is probably unavailable."""
_NOTE = "note"
"""The name that a warning about a whole row has in place of a column."""
_DEFAULTS = (
    "model",
    "duration",
    "aspect_ratio",
    "seed",
    "first_frame",
    "last_frame",
    "camera_template",
    "camera_strength",
    "extra_body",
)


class JimengPlanOperator(BaseOperator):
    """Check and quote a whole campaign, and return the arguments of its renders. It submits and pays nothing.

    ``JimengGenerateVideoOperator.partial(task_id=…, deferrable=True).expand_kwargs(plan.output)`` renders it; what a
    row carries (model, output_path, …) must not be given to ``partial`` as well. Without that, it is a quote.

    The plan checks every row, opens its images, and lists all that is wrong in one error. Identical rows become
    different takes. A row whose video is already under ``output_path`` costs nothing. It is returned too, and its task
    returns that video. If there are no rows, the plan warns and returns an empty list; Airflow skips the mapped task.

    XCom: ``quote`` (rows, new, landed, running, cost_cny, at_risk_cny, by_model, quoted_at) and ``return_value`` (a list
    of dicts).

    :param rows: list of dicts, data frame, or the path, URI or http(s) link of a table (``.csv``, ``.tsv``, ``.txt``,
        ``.xlsx``) with a header, or of a JSONL or JSON file. Columns: ``prompt``, ``model``, ``duration``,
        ``aspect_ratio`` (or ``ratio``), ``seed``, ``first_frame`` (or ``image``), ``last_frame``, ``camera_template``,
        ``camera_strength``, ``take``, ``extra_body``, ``output_name`` (below ``output_path``), ``output_path``.
    :param rows_sheet: name of the sheet of an Excel workbook; by default the first one that is not hidden.
    :param ignore_columns: names of columns that are not for the renders; any other unknown column is refused.
    :param max_cost_cny: refuse a campaign that can cost more, or whose cost is unknown. Renders that still run count too,
        because a render that fails is paid for again.
    :param output_path: directory URI that ends in ``/``, for all rows. The plan finds the rows in it that are already paid for.
    :param output_conn_id: Airflow connection of the storage.
    :param rows_conn_id: Airflow connection of the storage of the ``rows`` file.
    :param overwrite: let a row replace the file of another request under its ``output_name``.
    :param jimeng_conn_id: Airflow connection of type ``jimeng``. Its prices and models are used.

    Defaults for rows that leave them blank, where the row's model takes them: ``model``, ``duration``,
    ``aspect_ratio``, ``seed``, ``first_frame``, ``last_frame``, ``camera_template``, ``camera_strength``,
    ``extra_body``; see :class:`~airflow_provider_jimeng.operators.video.JimengGenerateVideoOperator`.
    """

    template_fields: Sequence[str] = (
        "rows",
        "rows_sheet",
        "ignore_columns",
        "max_cost_cny",
        "output_path",
        "output_conn_id",
        "rows_conn_id",
        "overwrite",
        "jimeng_conn_id",
        *_DEFAULTS,
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"extra_body": "json"}
    ui_color = "#e6f4ea"
    operator_extra_links = (JimengCampaignLink(),)

    def __init__(
        self,
        *,
        rows: Iterable[Mapping[str, Any]] | DataFrame | str | PathLike[str] | ObjectStoragePath | XComArg,
        rows_sheet: str | XComArg | None = None,
        ignore_columns: str | Iterable[str] | XComArg | None = None,
        max_cost_cny: float | Decimal | str | XComArg | None = None,
        output_path: str | PathLike[str] | ObjectStoragePath | XComArg | None = None,
        output_conn_id: str | XComArg | None = None,
        rows_conn_id: str | XComArg | None = None,
        overwrite: bool | str | XComArg = False,
        jimeng_conn_id: str | XComArg = DEFAULT_CONNECTION,
        model: str | XComArg = DEFAULT_MODEL,
        duration: int | str | XComArg | None = None,
        aspect_ratio: str | XComArg | None = None,
        seed: int | str | XComArg | None = None,
        first_frame: str | PathLike[str] | XComArg | None = None,
        last_frame: str | PathLike[str] | XComArg | None = None,
        camera_template: str | XComArg | None = None,
        camera_strength: str | XComArg | None = None,
        extra_body: Mapping[str, Any] | str | XComArg | None = None,
        retries: int | None = DEFAULT_RETRIES,
        **kwargs: Unpack[PlanArguments],
    ) -> None:
        super().__init__(retries=retries, **kwargs)
        self.rows = rows
        self.rows_sheet: Any = rows_sheet
        self.ignore_columns = ignore_columns
        self.max_cost_cny = max_cost_cny
        self.output_path = path_as_text(output_path)
        self.output_conn_id: Any = output_conn_id
        self.rows_conn_id: Any = rows_conn_id
        self.overwrite = overwrite
        self.jimeng_conn_id = jimeng_conn_id
        self.model = model
        self.duration = duration
        self.aspect_ratio = aspect_ratio
        self.seed = seed
        self.first_frame = first_frame
        self.last_frame = last_frame
        self.camera_template = camera_template
        self.camera_strength = camera_strength
        self.extra_body = extra_body
        check_plan_literals(self)

    def render_template_fields(self, context: Context, jinja_env: Any = None) -> None:
        """Render the arguments, and mask the query of a link to ``rows``: Airflow shows rendered arguments in its UI."""
        super().render_template_fields(context, jinja_env)
        if isinstance(self.rows, str) and is_link(self.rows) and (query := self.rows.partition("?")[2]):
            mask_secret(query)

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Check, quote, and return one dict of arguments per row."""
        with airflow_errors(self):
            planned = self._plan()
            quote = make_quote(planned)
            quoted_at = format_time(pendulum.now("UTC"))
            push_result(context["ti"], QUOTE, {**quote.to_payload(), "quoted_at": quoted_at})
            self.log.info("The campaign before it starts:\n%s", quote_table(quote))
            check_cap(quote, self.max_cost_cny)
            if not planned:
                self.log.warning("There are no rows. Airflow skips a task that is mapped over no rows.")
            return [item.kwargs(self._common(item)) for item in planned]

    def _plan(self) -> list[PlannedRow]:
        """Return every row, checked, numbered and looked up.

        :raises ParameterError: the message names every problem.
        """
        from airflow_provider_jimeng.row_sources import read_rows

        folder = self._folder()
        rows = read_rows(
            self.rows,
            conn_id=self.rows_conn_id,
            sheet=self.rows_sheet,
            ignore_columns=self.ignore_columns,
        )
        settings = self.hook_for(str(self.jimeng_conn_id)).settings
        check_length(len(rows), conf.getint("core", "max_map_length", fallback=1024))
        planned, problems = draft_rows(
            rows,
            defaults={name: getattr(self, name) for name in _DEFAULTS},
            output_path=folder,
            catalogue=settings.catalogue,
            endpoint=settings.endpoint,
        )
        notes: list[Problem] = []
        try:
            planned = self._open_images(planned, problems, notes)
            planned, more = number_takes(planned)
            problems += more
            planned = self._look_up(planned, problems, notes)
        finally:
            for line in log_lines(notes):
                self.log.warning("%s", line)
        if problems:
            raise self._refusal(problems, len(rows))
        return planned

    def _folder(self) -> str | None:
        """Return the directory for all rows, ``None`` without one."""
        from airflow_provider_jimeng.storage.output import OutputPath, check_names

        self.output_path = folder = read_output_path(self.output_path)
        self.output_conn_id = read_text("output_conn_id", self.output_conn_id)
        if folder is None:
            return None
        if not folder.endswith("/"):
            raise ParameterError(
                "output_path", f"{shown(folder)} names a file; a campaign needs a directory, which ends in /."
            )
        check_names(OutputPath.of(folder, self.output_conn_id))
        return folder

    def _refusal(self, problems: Sequence[Problem], rows: int) -> ParameterError:
        """Return the error that names the bad rows. What it has no room for is in the log."""
        error = refusal(problems, rows)
        lines = log_lines(problems)
        if lines[-1] not in str(error):
            for line in lines:
                self.log.error("%s", line)
        return error

    def _open_images(
        self, planned: Iterable[PlannedRow], problems: list[Problem], notes: list[Problem]
    ) -> list[PlannedRow]:
        """Open each image once, and keep what identifies it.

        :param notes: gets the warnings about rows.
        """
        from airflow_provider_jimeng.images import open_images

        images: dict[str, OpenedFrame] = {}
        refused: dict[tuple[str, ...], ParameterError] = {}
        opened: list[PlannedRow] = []
        for item in planned:
            frames = item.request.frames_to_open
            warnings = item.request.warnings
            references = tuple(frame.reference for frame in frames.values())
            try:
                if references in refused:
                    raise refused[references]
                if any(frame.reference not in images for frame in frames.values()):
                    request = open_images(item.request)
                    warnings = request.warnings
                    for frame in (request.first_frame, request.last_frame):
                        if frame is not None:
                            images[frame.reference] = OpenedFrame.of(frame)
                opened.append(
                    item.with_images({name: images[frame.reference] for name, frame in frames.items()})
                )
            except ParameterError as error:
                refused[references] = error
                problems.append(item.row.problem(error.argument, error.reason, retryable=error.retryable))
            notes += [item.row.problem(_NOTE, warning) for warning in warnings]
        return opened

    def _look_up(
        self, planned: Sequence[PlannedRow], problems: list[Problem], notes: list[Problem]
    ) -> list[PlannedRow]:
        """Find the renders that are paid already, their state, and names that files of other requests have.

        :param notes: gets the warnings about rows.
        :raises LedgerError: the records cannot be read, and no row is wrong in itself.
        """
        from airflow_provider_jimeng.hooks.render_status import RenderStatusLookUp
        from airflow_provider_jimeng.storage.paid import PaidRenders

        paid = PaidRenders(output_conn_id=self.output_conn_id, now=pendulum.now("UTC"), rows=len(planned))
        statuses = RenderStatusLookUp(hook_for=self.hook_for)
        looked_up: list[PlannedRow] = []
        failures = 0
        for item in planned:
            try:
                looked_up.append(self._look_up_row(item, paid, statuses, notes))
                failures = 0
            except (ParameterError, LandingError) as error:
                field, reason = "output_name", str(error)
                if isinstance(error, ParameterError):
                    field, reason = error.argument, error.reason
                problems.append(item.row.problem(field, reason, retryable=error.retryable))
                failures += error.retryable
            except LedgerError as error:
                if not problems:
                    raise
                self.log.warning("The records cannot be read: %s", error)
                break
            if failures >= _ENOUGH_FAILURES:
                break
        return looked_up

    def _look_up_row(
        self, item: PlannedRow, paid: PaidRenders, statuses: RenderStatusLookUp, notes: list[Problem]
    ) -> PlannedRow:
        from airflow_provider_jimeng.storage.output import OutputPath, check_names, refuse_taken

        if item.output_path is None:
            return item
        check_names(OutputPath.of(item.output_path, self.output_conn_id))
        fingerprint = item.fingerprint
        known = paid.look_up(fingerprint, item.output_path)
        state, note = known.state, known.note
        if state is RowState.RUNNING and known.render is not None:
            state, note = statuses.of(known.render)
        if note:
            notes.append(item.row.problem(_NOTE, note))
        if state is not RowState.LANDED and not as_bool("overwrite", self.overwrite):
            target = OutputPath(output_path=item.output_path, output_conn_id=self.output_conn_id)
            if not paid.is_free(target):
                refuse_taken(target, fingerprint, *([known.render] if known.render else []))
        return replace(item, state=state)

    def hook_for(self, jimeng_conn_id: str) -> JimengHook:
        """Return the hook of a connection."""
        from airflow_provider_jimeng.hooks.jimeng import JimengHook

        return JimengHook(jimeng_conn_id=jimeng_conn_id)

    def _common(self, item: PlannedRow) -> dict[str, Any]:
        common: dict[str, Any] = {}
        if item.output_path is not None:
            common["reuse"] = "output_path"
            if self.output_conn_id:
                common["output_conn_id"] = self.output_conn_id
            if as_bool("overwrite", self.overwrite):
                common["overwrite"] = True
        if self.jimeng_conn_id != DEFAULT_CONNECTION:
            common["jimeng_conn_id"] = self.jimeng_conn_id
        return common
