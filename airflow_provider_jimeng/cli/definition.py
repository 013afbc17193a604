# SPDX-License-Identifier: Apache-2.0
"""The commands as Airflow (3.2 and newer) adds them to its own command line: ``airflow jimeng …``."""

from __future__ import annotations

import argparse
import sys
from functools import partial

from airflow.cli.cli_config import ActionCommand, Arg, CLICommand, GroupCommand

from airflow_provider_jimeng.cli.commands import (
    COMMANDS,
    EMULATOR,
    EMULATOR_HELP,
    PROGRAM,
    SUMMARY,
    Command,
)


def get_jimeng_cli_commands() -> list[CLICommand]:
    """Return the group ``jimeng`` with every command but ``completion``, which Airflow has for its own command line."""
    ours = [
        ActionCommand(
            name=command.name,
            help=command.help,
            func=partial(_run, command),
            args=tuple(Arg(flags=each.flags, **each.settings) for each in command.options),
        )
        for command in COMMANDS
        if command.name != "completion"
    ]
    return [GroupCommand(name=PROGRAM, help=SUMMARY, subcommands=[*ours, _emulator()])]


def _run(command: Command, args: argparse.Namespace) -> None:
    """Run a command and end the process with its exit code, which Airflow would ignore."""
    from airflow_provider_jimeng.cli.account import inside_airflow
    from airflow_provider_jimeng.cli.main import run

    inside_airflow()
    args.again = ["airflow", *sys.argv[1:]]
    sys.exit(run(command, args))


def _emulator() -> ActionCommand:
    from airflow_provider_jimeng.emulator.__main__ import declare_options

    options: list[Arg] = []
    declare_options(lambda *flags, **settings: options.append(Arg(flags=flags, **settings)))
    return ActionCommand(
        name=EMULATOR,
        help=EMULATOR_HELP,
        func=_serve,
        args=tuple(options),
    )


def _serve(args: argparse.Namespace) -> None:
    from airflow_provider_jimeng.emulator.__main__ import serve

    sys.exit(serve(args))
