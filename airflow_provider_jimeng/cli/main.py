# SPDX-License-Identifier: Apache-2.0
"""The entry points: read the arguments, run the command, and turn every error into a message and an exit code.

``jimeng …`` begins in :func:`main`, and ``airflow jimeng …`` in :func:`get_jimeng_cli_commands`.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from airflow_provider_jimeng.cli.commands import (
    COMMANDS,
    EMULATOR,
    EMULATOR_HELP,
    PROGRAM,
    SUMMARY,
    Command,
    build_parser,
)
from airflow_provider_jimeng.cli.console import log_to_stderr, note, results_alone_on_stdout, say, show_json
from airflow_provider_jimeng.core.errors import (
    ApiError,
    JimengError,
    LandingError,
    LostContactError,
    ParameterError,
    RenderError,
    RenderTimedOutError,
    SettingsError,
    SlotTimedOutError,
    UnknownSubmitError,
)

if TYPE_CHECKING:
    from airflow.cli.cli_config import CLICommand

OTHER, USAGE, REFUSED, FAILED, UNKNOWN, UNSAVED, INTERRUPTED = 1, 2, 3, 4, 5, 6, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``jimeng`` with these arguments, by default those of the process; return the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == [EMULATOR]:
        from airflow_provider_jimeng.emulator.__main__ import main as serve

        return serve(words[1:], prog=f"{PROGRAM} {EMULATOR}")
    parser = build_parser()
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(parser)  # answers the shell, and ends the process
    args = parser.parse_args(words)
    args.again = [PROGRAM, *words]
    if "airflow" not in sys.modules:  # Airflow before 3.3 logs what it loads.
        os.environ.setdefault("AIRFLOW__LOGGING__LOGGING_LEVEL", "WARNING")
    return run(args.handler, args)


def completion(args: argparse.Namespace) -> int:
    """Print the script by which a shell completes the command line. argcomplete comes with Airflow."""
    from argcomplete.shell_integration import shellcode

    say(shellcode([PROGRAM], shell=args.shell))
    return 0


def get_jimeng_cli_commands() -> list[CLICommand]:
    """Return the group ``jimeng`` for Airflow's own command line (Airflow 3.2 and newer).

    It has every command except ``completion``, because Airflow completes its own command line.
    """
    from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand

    from airflow_provider_jimeng.emulator.__main__ import declare_options, serve

    ours = [
        ActionCommand(
            name=command.name,
            help=command.help,
            func=partial(_run_in_airflow, command),
            args=tuple(Arg(flags=each.flags, **each.settings) for each in command.options),
        )
        for command in COMMANDS
        if command.name != "completion"
    ]
    options: list[Arg] = []
    declare_options(lambda *flags, **settings: options.append(Arg(flags=flags, **settings)))
    emulator = ActionCommand(
        name=EMULATOR,
        help=EMULATOR_HELP,
        func=lambda args: sys.exit(serve(args)),
        args=tuple(options),
    )
    return [GroupCommand(name=PROGRAM, help=SUMMARY, subcommands=[*ours, emulator])]


def _run_in_airflow(command: Command, args: argparse.Namespace) -> None:
    """Run a command and end the process with its exit code, which Airflow would ignore."""
    from airflow_provider_jimeng.cli.account import inside_airflow

    inside_airflow()
    args.again = ["airflow", *sys.argv[1:]]
    sys.exit(run(command, args))


@contextmanager
def _without_httpx_command() -> Iterator[None]:
    """Prevent httpx from importing its own command line, with click, pygments and rich. It takes a third of the import."""
    name = "httpx._main"
    added = name not in sys.modules and "httpx" not in sys.modules
    if added:
        sys.modules[name] = None  # type: ignore[assignment]  # httpx treats a failed import as a missing extra
    try:
        yield
    finally:
        if added and sys.modules.get(name) is None:
            del sys.modules[name]


def run(command: Command, args: argparse.Namespace) -> int:
    """Run a command and return its exit code. A failure is one message on stderr, or a JSON document."""
    as_json, verbose = getattr(args, "json", False), getattr(args, "verbose", False)
    args.log_lines = log_to_stderr(logging.INFO if verbose else logging.WARNING)
    try:
        with results_alone_on_stdout(), _without_httpx_command():
            return command.load()(args)
    except KeyboardInterrupt:
        note("Interrupted.")
        return INTERRUPTED
    except BrokenPipeError:  # The reader of a pipe has closed it, as `| head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OTHER
    except JimengError as error:
        return report(error, as_json=as_json)
    except Exception as error:  # noqa: BLE001 - a person sees one line, and the traceback with --verbose
        if as_json:
            show_json({"error": type(error).__name__, "message": str(error), "exit_code": OTHER})
        return unexpected(error, verbose=verbose)


def unexpected(error: BaseException, *, verbose: bool) -> int:
    """Report an error that is not a JimengError. Its traceback shows lines of code, and no values."""
    if verbose:
        note("".join(traceback.format_exception(error)))
    note(f"{PROGRAM}: unexpected error, please report it: {type(error).__name__}: {error}")
    return OTHER


def report(error: JimengError, *, as_json: bool, paid: bool = False, code: int | None = None) -> int:
    """Print what went wrong and what to do. Return the exit code, by default that of the error."""
    code = exit_code(error, paid=paid) if code is None else code
    if as_json:
        show_json(as_payload(error, code))
    note(f"{PROGRAM}: {error}")
    return code


def as_payload(error: JimengError, code: int) -> dict[str, object]:
    """Return an error as plain JSON data."""
    api = error if isinstance(error, ApiError) else None
    return {
        "error": type(error).__name__,
        "message": str(error),
        "code": api.code if api else None,
        "request_id": api.request_id if api else None,
        "retryable": error.retryable,
        "exit_code": code,
    }


def exit_code(error: JimengError, *, paid: bool = False) -> int:
    """Return the exit code of an error.

    :param paid: whether a render is paid for and not saved.
    """
    match error:
        case UnknownSubmitError():
            return UNKNOWN
        case SlotTimedOutError():
            return REFUSED
        case RenderTimedOutError() | LostContactError():
            return UNSAVED
        case LandingError():
            return UNSAVED if paid or error.retryable else USAGE
        case RenderError():
            return FAILED
        case ApiError():
            return FAILED if error.entry is not None and error.entry.fails_render and paid else REFUSED
        case ParameterError() | SettingsError():
            return UNSAVED if paid else USAGE
    return UNSAVED if paid else OTHER
