# SPDX-License-Identifier: Apache-2.0
"""``jimeng doctor``: compares what this package assumes with what an account shows."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from airflow_provider_jimeng import __version__
from airflow_provider_jimeng.cli.account import conn_id_of, settings_for
from airflow_provider_jimeng.cli.console import is_terminal, note, show_json, show_table
from airflow_provider_jimeng.cli.findings import COLUMNS
from airflow_provider_jimeng.cli.free_checks import FreeChecks
from airflow_provider_jimeng.cli.main import (
    INTERRUPTED,
    OTHER,
    REFUSED,
    as_payload,
    exit_code,
    report,
)
from airflow_provider_jimeng.core.arguments import read_amount
from airflow_provider_jimeng.core.catalogue import find_model
from airflow_provider_jimeng.core.errors import JimengError, ParameterError
from airflow_provider_jimeng.core.render import cost_in_words

if TYPE_CHECKING:
    from decimal import Decimal

    from airflow_provider_jimeng.client.settings import ClientSettings


def doctor(args: argparse.Namespace) -> int:
    """Check what is free, and with ``--pay`` one real render too. The report holds neither keys nor signed links."""
    settings = settings_for(args)
    if args.pay:
        _consent(args, settings)
    findings = list(FreeChecks(settings=settings).run())
    reached = any(each.name in ("signature", "token") and each.agrees for each in findings)
    problem: JimengError | None = None
    if args.pay and reached:
        from airflow_provider_jimeng.cli.paid_checks import PaidChecks

        checks = PaidChecks(
            settings=settings, conn_id=conn_id_of(args), model=args.pay, max_cost_cny=args.max_cost
        )
        try:
            checks.run()
        except JimengError as error:
            problem = error
        except KeyboardInterrupt:
            paid = f" The render {checks.paid.task_id} is paid." if checks.paid else ""
            note(f"Interrupted.{paid} The same command goes on with what is paid, free.")
            return INTERRUPTED
        findings += checks.findings
    if args.json:
        show_json(
            {
                "version": 1,
                "package": __version__,
                "endpoint": settings.endpoint,
                "paid": bool(args.pay and reached),
                "findings": [each.to_payload() for each in findings],
                "error": None if problem is None else as_payload(problem, exit_code(problem, paid=True)),
            }
        )
    else:
        show_table(COLUMNS, [each.row() for each in findings])
    if problem is not None:
        return report(problem, as_json=False, paid=True)
    wrong = [each.fact for each in findings if each.agrees is False]
    if wrong and not args.json:
        note(f"{len(wrong)} facts differ from what is assumed: {', '.join(wrong)}.")
    if args.pay and not reached:
        note("Nothing was paid: the account cannot be used.")
    refused = any(each.name in ("signature", "token") and each.agrees is False for each in findings)
    return REFUSED if refused else OTHER if wrong else 0


def _consent(args: argparse.Namespace, settings: ClientSettings) -> None:
    """Ask twice before the payment.

    :raises ParameterError: there is no cap, the render costs more, or nobody agrees.
    """
    spec = find_model(args.pay, settings.catalogue)
    if not args.max_cost:
        raise ParameterError("--max-cost", "is missing: --pay needs a cap in CNY.")
    cap, price = read_amount("--max-cost", args.max_cost), spec.price_cny_per_second
    cost: Decimal | None = None if price is None else price * spec.durations[0]
    if cost is None or cost > cap:
        raise ParameterError(
            "--max-cost", f"one render of {spec.name} costs about {cost_in_words(cost)}. Nothing was paid."
        )
    if args.yes:
        return
    if not is_terminal(sys.stdin):
        raise ParameterError("--yes", "is missing: there is no terminal to ask before the payment.")
    for question in (
        f"This pays for one render of {spec.name}: about {cost_in_words(cost)}. Go on?",
        "It is a real payment, by your account. Are you sure?",
    ):
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise ParameterError("--pay", "was not confirmed. Nothing was paid.")
