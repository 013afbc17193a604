# SPDX-License-Identifier: Apache-2.0
"""Completion of the command line in a shell, by argcomplete, which Airflow brings."""

from __future__ import annotations

import argparse

from airflow_provider_jimeng.cli.commands import PROGRAM
from airflow_provider_jimeng.cli.console import say


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell, which asks for the words that can follow, and end the process."""
    import argcomplete

    argcomplete.autocomplete(parser)


def completion(args: argparse.Namespace) -> int:
    """Print the script that a shell reads."""
    from argcomplete.shell_integration import shellcode

    say(shellcode([PROGRAM], shell=args.shell))
    return 0
