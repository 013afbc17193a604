"""A campaign's budget: every row checked and quoted before the first submit."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import pendulum
from airflow.providers.common.compat.sdk import BaseOperator, ObjectStoragePath, conf

from airflow_provider_jimeng.core.arguments import read_text, shown
from airflow_provider_jimeng.core.catalogue import DEFAULT_MODEL
from airflow_provider_jimeng.core.errors import ParameterError, TargetTakenError, UnreadableRowsError
from airflow_provider_jimeng.core.output_path import path_as_text, read_output_path
from airflow_provider_jimeng.core.plan import (
    PlannedRow,
    RowState,
    SeenFrame,
    check_length,
    draft_rows,
    number_takes,
    refusal,
)
from airflow_provider_jimeng.core.quote import check_cap, make_quote, quote_table
from airflow_provider_jimeng.core.render import format_time
from airflow_provider_jimeng.core.rows import Problem, Row, rows_of_file, rows_of_list
from airflow_provider_jimeng.failure import airflow_errors
from airflow_provider_jimeng.operators.submitting import DEFAULT_RETRIES, as_bool

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_jimeng.hooks.jimeng import JimengHook
    from airflow_provider_jimeng.storage.target import OutputPath


DEFAULT_CONNECTION = "jimeng_default"
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

    Every row is checked, its images are opened, and all that is wrong is said at once. Identical rows become
    different takes. A row whose video lies under ``output_path`` already costs nothing and is returned all the same:
    its task returns that video. No rows at all return an empty list, whose mapped task Airflow skips.

    XCom: ``quote`` (rows, new, landed, running, cost_cny, at_risk_cny, by_model, quoted_at) and ``return_value`` (a list
    of dicts).

    :param rows: list of dicts, or the path or URI of a CSV (with a header), JSONL or JSON file that
        ``ObjectStoragePath`` opens. Columns: ``prompt``, ``model``, ``duration``, ``aspect_ratio`` (or ``ratio``),
        ``seed``, ``first_frame`` (or ``image``), ``last_frame``, ``camera_template``, ``camera_strength``, ``take``,
        ``extra_body``, ``output_name`` (below ``output_path``), ``output_path``.
    :param max_cost_cny: refuse a campaign that may cost more, or whose cost is unknown. Renders that run already count,
        for one that fails is paid anew.
    :param output_path: directory URI ending in ``/`` for all rows; with it, rows that are paid already are found.
    :param output_conn_id: Airflow connection of the storage.
    :param rows_conn_id: Airflow connection of the storage of the ``rows`` file.
    :param overwrite: let a row replace the file of another request under its ``output_name``.
    :param jimeng_conn_id: Airflow connection of type ``jimeng``, whose prices and models count.

    Defaults for rows that leave them blank, where the row's model takes them: ``model``, ``duration``,
    ``aspect_ratio``, ``seed``, ``first_frame``, ``last_frame``, ``camera_template``, ``camera_strength``,
    ``extra_body``; see :class:`~airflow_provider_jimeng.operators.video.JimengGenerateVideoOperator`.
    """

    template_fields: Sequence[str] = (
        "rows",
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

    def __init__(
        self,
        *,
        rows: Any,
        max_cost_cny: float | str | None = None,
        output_path: OutputPath | None = None,
        output_conn_id: str | None = None,
        rows_conn_id: str | None = None,
        overwrite: bool = False,
        jimeng_conn_id: str = DEFAULT_CONNECTION,
        model: str = DEFAULT_MODEL,
        duration: int | str | None = None,
        aspect_ratio: str | None = None,
        seed: int | str | None = None,
        first_frame: str | None = None,
        last_frame: str | None = None,
        camera_template: str | None = None,
        camera_strength: str | None = None,
        extra_body: dict[str, Any] | None = None,
        retries: int | None = DEFAULT_RETRIES,
        **kwargs: Any,
    ) -> None:
        super().__init__(retries=retries, **kwargs)
        self.rows = rows
        self.max_cost_cny = max_cost_cny
        self.output_path = path_as_text(output_path)
        self.output_conn_id = output_conn_id
        self.rows_conn_id = rows_conn_id
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

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Check, quote, and return one dict of arguments per row."""
        with airflow_errors(self):
            planned = self._plan()
            quote = make_quote(planned)
            quoted_at = format_time(pendulum.now("UTC"))
            context["ti"].xcom_push(key="quote", value={**quote.to_payload(), "quoted_at": quoted_at})
            self.log.info("The campaign before it starts:\n%s", quote_table(quote))
            check_cap(quote, self.max_cost_cny)
            if not planned:
                self.log.warning("There are no rows. Airflow skips a task that is mapped over nothing.")
            return [item.kwargs(self._common(item)) for item in planned]

    def _plan(self) -> list[PlannedRow]:
        """Return every row, checked, numbered and looked up; or refuse them with all that is wrong."""
        from airflow_provider_jimeng.storage.names import check_names
        from airflow_provider_jimeng.storage.target import Target

        self.output_path = read_output_path(self.output_path)
        self.output_conn_id = read_text("output_conn_id", self.output_conn_id)
        if self.output_path and not self.output_path.endswith("/"):
            raise ParameterError(
                "output_path",
                f"{shown(self.output_path)} names a file; a campaign needs a directory, ending in /.",
            )
        if self.output_path:
            check_names(Target.of(self.output_path, self.output_conn_id))
        rows = self._rows()
        check_length(len(rows), conf.getint("core", "max_map_length", fallback=1024))
        planned, problems = draft_rows(
            rows,
            defaults={name: getattr(self, name) for name in _DEFAULTS},
            output_path=self.output_path or None,
            catalogue=self._catalogue(),
        )
        planned = self._open_images(planned, problems)
        planned, more = number_takes(planned)
        problems += more
        planned = self._look_up(planned, problems)
        if problems:
            raise refusal(problems, len(rows))
        return planned

    def _rows(self) -> list[Row]:
        rows = self.rows
        if isinstance(rows, str) and rows.lstrip().startswith("["):
            rows = _parse(rows)
        if isinstance(rows, str) or hasattr(rows, "read_bytes"):
            return self._rows_of_file(str(rows))
        if isinstance(rows, Mapping | bytes) or not isinstance(rows, Iterable):
            raise ParameterError(
                "rows",
                f"expected a list of dicts or the path of a CSV or JSONL file, got {type(rows).__name__}.",
            )
        return rows_of_list(rows)

    def _rows_of_file(self, name: str) -> list[Row]:
        from airflow_provider_jimeng.images import FOR_GOOD

        try:
            # Below Airflow 3 a connection of None hides the one that stands in the URL.
            options = {"conn_id": self.rows_conn_id} if self.rows_conn_id else {}
            path = ObjectStoragePath(name, **options)
            content = path.read_bytes()
        except Exception as error:
            said = f"{name} cannot be read ({type(error).__name__}: {error})."
            if isinstance(error, FOR_GOOD):
                raise ParameterError("rows", said) from error
            raise UnreadableRowsError("rows", f"{said} A retry may read it.") from error
        return rows_of_file(path.name, content)

    def _catalogue(self) -> Mapping[str, Any]:
        return self.hook_for(self.jimeng_conn_id).settings.catalogue

    def _open_images(self, planned: Iterable[PlannedRow], problems: list[Problem]) -> list[PlannedRow]:
        """Open every image, each once, and keep what tells it apart."""
        from airflow_provider_jimeng.images import open_images

        seen: dict[str, SeenFrame] = {}
        opened: list[PlannedRow] = []
        for item in planned:
            frames = item.request.frames_to_open
            warnings = item.request.warnings
            try:
                if any(frame.reference not in seen for frame in frames.values()):
                    request = open_images(item.request)
                    warnings = request.warnings
                    for frame in (request.first_frame, request.last_frame):
                        if frame is not None:
                            seen[frame.reference] = SeenFrame.of(frame)
                opened.append(
                    item.with_images({name: seen[frame.reference] for name, frame in frames.items()})
                )
            except ParameterError as error:
                problems.append(item.row.problem(error.argument, error.reason, retryable=error.retryable))
            for warning in warnings:
                self.log.warning("Row %d: %s", item.row.number, warning)
        return opened

    def _look_up(self, planned: Iterable[PlannedRow], problems: list[Problem]) -> list[PlannedRow]:
        """Find what is paid already, how it stands, and names that other requests hold."""
        from airflow_provider_jimeng.operators.standing import Standing
        from airflow_provider_jimeng.storage.landing import Target, refuse_taken
        from airflow_provider_jimeng.storage.names import check_names
        from airflow_provider_jimeng.storage.paid import PaidRenders

        paid = PaidRenders(output_conn_id=self.output_conn_id, now=pendulum.now("UTC"))
        standing = Standing(hook_for=self.hook_for)
        overwrite = as_bool("overwrite", self.overwrite)
        found: list[PlannedRow] = []
        for item in planned:
            state, note = RowState.NEW, None
            if item.output_path is not None:
                try:
                    check_names(Target.of(item.output_path, self.output_conn_id))
                except ParameterError as error:
                    problems.append(item.row.problem(error.argument, error.reason))
                    continue
                fingerprint = item.fingerprint()
                known = paid.look_up(fingerprint, item.output_path)
                state, note = known.state, known.note
                if state is RowState.RUNNING and known.render is not None:
                    state, note = standing.of(known.render)
                if state is not RowState.LANDED and not overwrite:
                    try:
                        refuse_taken(
                            Target(output_path=item.output_path, output_conn_id=self.output_conn_id),
                            fingerprint,
                            *([known.render] if known.render else []),
                        )
                    except TargetTakenError as error:
                        problems.append(item.row.problem("output_name", str(error)))
            if note:
                self.log.warning("Row %d: %s", item.row.number, note)
            found.append(replace(item, state=state))
        return found

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


def _parse(text: str) -> Any:
    """Read a list that a template turned into text."""
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError):
            continue
    raise ParameterError("rows", "is text that is no list. Pass the list itself, or the path of a file.")
