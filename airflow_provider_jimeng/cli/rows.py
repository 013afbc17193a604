# SPDX-License-Identifier: Apache-2.0
"""``jimeng quote``, and the rows of ``jimeng render``: the checks and the quote of the plan operator."""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING, Any

import pendulum

from airflow_provider_jimeng.cli.account import conn_id_of
from airflow_provider_jimeng.cli.console import note, show_json, show_table
from airflow_provider_jimeng.cli.hook import CommandHook
from airflow_provider_jimeng.cli.paths import folder_path_of, place_of
from airflow_provider_jimeng.cli.render import request_arguments
from airflow_provider_jimeng.core.quote import Quote, check_cap, make_quote, quote_table
from airflow_provider_jimeng.core.render import format_money, format_time
from airflow_provider_jimeng.operators.plan import JimengPlanOperator

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.plan import PlannedRow


class CommandPlan(JimengPlanOperator):
    """Plans the rows of the command line. Its ``execute`` is not called."""

    @property
    def log(self) -> Any:
        """The log of this package, which the command line prints."""
        return logging.getLogger(__name__)

    def hook_for(self, jimeng_conn_id: str) -> CommandHook:
        """Return a hook that reads the environment too."""
        return CommandHook(jimeng_conn_id=jimeng_conn_id)

    def plan(self) -> list[PlannedRow]:
        """Return every row, checked and looked up.

        :raises ParameterError: naming every bad row, and what is wrong with it.
        """
        return self._plan()

    def arguments_of(self, item: PlannedRow) -> dict[str, Any]:
        """Return the arguments of the operator that renders a row."""
        return item.kwargs(self._common(item))


def _plan_of(
    args: argparse.Namespace, described: dict[str, Any], *, conn_id: str, output: str | None
) -> CommandPlan:
    return CommandPlan(
        task_id="plan",
        rows=place_of(args.rows) or "",
        rows_sheet=args.sheet,
        ignore_columns=args.ignore_columns,
        max_cost_cny=args.max_cost,
        output_path=None if output is None else folder_path_of(output),
        overwrite=getattr(args, "overwrite", False),
        jimeng_conn_id=conn_id,
        **described,
    )


def plan_rows(args: argparse.Namespace, described: dict[str, Any], *, conn_id: str) -> list[dict[str, Any]]:
    """Check and quote every row of ``--rows``; return the arguments of their renders.

    :raises ParameterError: a row is wrong, or the list costs more than ``--max-cost``. Nothing was paid.
    """
    plan = _plan_of(args, described, conn_id=conn_id, output=args.output)
    planned = plan.plan()
    quoted = make_quote(planned)
    if not args.json:
        note(quote_table(quoted))
    check_cap(quoted, args.max_cost)
    return [{**plan.arguments_of(item), "jimeng_conn_id": conn_id} for item in planned]


def quote(args: argparse.Namespace) -> int:
    """Check every row and say what the list costs. Nothing is submitted or paid."""
    plan = _plan_of(args, request_arguments(args), conn_id=conn_id_of(args), output=args.output)
    quoted = make_quote(plan.plan())
    if args.json:
        show_json({**quoted.to_payload(), "quoted_at": format_time(pendulum.now("UTC"))})
    else:
        _show(quoted)
    check_cap(quoted, args.max_cost)
    return 0


def _show(quoted: Quote) -> None:
    rows = [
        (name, part.rows, part.new, format_money(part.cost) or "unknown")
        for name, part in quoted.by_model.items()
    ]
    rows.append(("total", quoted.rows, quoted.new, format_money(quoted.cost) or "unknown"))
    show_table(("model", "rows", "new", "CNY"), rows)
    note(f"saved already: {quoted.landed}; paid already and on the way: {quoted.running}")
    if quoted.at_risk != 0:
        note(f"more, if all fail that still run: {format_money(quoted.at_risk) or 'unknown'} CNY")
