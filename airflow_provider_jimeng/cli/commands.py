# SPDX-License-Identifier: Apache-2.0
"""Every command and option, declared once: for ``jimeng``'s parser, for Airflow's, and for the page of the docs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAM = "jimeng"
SUMMARY = "Render videos with Jimeng AI, pay once for each, and find out what is true about your account."
DEFAULT_OUTPUT = "./generated_videos/"
EXIT_CODES: Mapping[int, str] = {
    0: "done",
    1: "another error, for example a network that is down",
    2: "usage: an argument, the connection or a row is wrong; nothing was sent",
    3: "the API refused the request; nothing was paid",
    4: "the render failed, or the API no longer knows it",
    5: "a submit was sent, and nobody knows whether the API accepted it",
    6: "paid, but not saved yet; the same command goes on, free",
    130: "interrupted",
}


@dataclass(frozen=True, slots=True)
class Option:
    """One argument of a command: its flags, and what ``add_argument`` takes beside them."""

    flags: tuple[str, ...]
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command.

    :param handler: ``module:function`` below this package. It takes the parsed arguments and returns an exit code.
    """

    name: str
    help: str
    handler: str
    options: Sequence[Option] = field(default_factory=tuple)

    def load(self) -> Callable[[argparse.Namespace], int]:
        """Import the module of the command and return its function."""
        module, _, name = self.handler.partition(":")
        found: Callable[[argparse.Namespace], int] = getattr(
            import_module(f"airflow_provider_jimeng.cli.{module}"), name
        )
        return found


def option(*flags: str, **settings: Any) -> Option:
    """Return an option. Flags that begin with a dash are optional."""
    return Option(flags, settings)


JSON = option("--json", action="store_true", help="print one JSON document instead of text")
VERBOSE = option(
    "--verbose", action="store_true", help="log every step, and the traceback of an unexpected error"
)
CONN = option(
    "--conn",
    metavar="ID",
    help="Airflow connection, from AIRFLOW_CONN_… or a secrets back end (default: jimeng_default if "
    "AIRFLOW_CONN_JIMENG_DEFAULT is set, else VOLC_ACCESSKEY and VOLC_SECRETKEY, else ~/.volc/credentials or "
    "~/.volc/config)",
)
COMMON = (CONN, JSON, VERBOSE)
RENDER_ID = (
    option("id", metavar="ID", help="id of the render"),
    option("--model", "--mode", required=True, help="model of the render: short name or req_key"),
)
OUTPUT = option(
    "--output",
    metavar="PATH",
    default=DEFAULT_OUTPUT,
    help="file ending in .mp4, directory or URI (default %(default)s)",
)
MAX_COST = option("--max-cost", metavar="CNY", help="refuse what costs more, or whose cost is unknown")
LABEL = option(
    "--aigc-meta",
    metavar="JSON",
    help='implicit label, such as \'{"producer_id": …, "content_propagator": …}\'',
)
SHEET = (
    option(
        "--sheet",
        metavar="NAME",
        help="sheet of an Excel workbook (default: the first one that is not hidden)",
    ),
    option(
        "--ignore-columns",
        metavar="NAMES",
        help="columns of the rows that are not for the renders, separated by commas",
    ),
)
REQUEST = (
    option(
        "--model",
        "--mode",
        help="short name or req_key, see `jimeng models` (default t2v_720p)",
    ),
    option("--duration", metavar="SECONDS", help="5 or 10 (default 5)"),
    option("--aspect-ratio", metavar="W:H", help="for example 16:9, for models that take one"),
    option("--image", metavar="IMAGE", help="first frame: path, link or URI"),
    option("--tail-image", metavar="IMAGE", help="last frame, for models that take two images"),
    option("--camera-template", metavar="NAME", help="camera movement, for i2v_recamera_720p"),
    option("--camera-strength", metavar="NAME", help="weak, medium or strong, for i2v_recamera_720p"),
    option("--seed", metavar="NUMBER", help="-1 is random (default)"),
    option("--fps", metavar="NUMBER", help="refused: every model renders 24 frames a second"),
)
AGAIN = ("fail", "resubmit")

RENDER = Command(
    name="render",
    help="render a video, or adopt the one that is paid for, and save it",
    handler="render:render",
    options=(
        option("prompt", nargs="?", metavar="PROMPT", help="what the video shows, in Chinese or English"),
        *REQUEST,
        option(
            "--take", metavar="NUMBER", help="2, 3, … pays for another video of the same request (default 1)"
        ),
        LABEL,
        MAX_COST,
        OUTPUT,
        option("--rows", metavar="FILE", help="render a whole list: .csv, .tsv, .xlsx, .jsonl or .json"),
        *SHEET,
        option(
            "--parallel",
            type=int,
            default=4,
            metavar="N",
            help="rows in work at a time (default %(default)s)",
        ),
        option(
            "--on-unknown-submit",
            choices=AGAIN,
            default="fail",
            help="after a submit whose outcome is unknown: stop (default), or pay again",
        ),
        option(
            "--on-lost",
            choices=AGAIN,
            default="fail",
            help="if the API no longer knows a paid render: stop (default), or pay again",
        ),
        option("--overwrite", action="store_true", help="replace a file of another request"),
        option(
            "--no-wait",
            action="store_true",
            help="submit and return; the same command without it saves the video",
        ),
        option("--open", action="store_true", help="open the saved video"),
        *COMMON,
    ),
)
COMMANDS: tuple[Command, ...] = (
    RENDER,
    Command(
        name="query",
        help="ask what became of a render",
        handler="one_render:query",
        options=(
            *RENDER_ID,
            option(
                "--link",
                action="store_true",
                help="show the link too: whoever has it can load the video for an hour",
            ),
            *COMMON,
        ),
    ),
    Command(
        name="download",
        help="save the video of a finished render; free",
        handler="one_render:download",
        options=(
            *RENDER_ID,
            OUTPUT,
            LABEL,
            option("--overwrite", action="store_true", help="replace a file of another request"),
            *COMMON,
        ),
    ),
    Command(
        name="cancel",
        help="cancel a render that still waits in the queue",
        handler="one_render:cancel",
        options=(*RENDER_ID, *COMMON),
    ),
    Command(
        name="models",
        help="list the models, what they take and what they cost",
        handler="catalogue:models",
        options=(
            option("--conn", metavar="ID", help="show the models and prices of an Airflow connection"),
            JSON,
            VERBOSE,
        ),
    ),
    Command(
        name="quote",
        help="check every row of a list and say what it costs; nothing is paid",
        handler="rows:quote",
        options=(
            option("rows", metavar="ROWS", help=".csv, .tsv, .xlsx, .jsonl or .json file, or a link"),
            *REQUEST,
            MAX_COST,
            option(
                "--output",
                metavar="PATH",
                help="directory of the videos: rows that are paid already cost nothing",
            ),
            *SHEET,
            *COMMON,
        ),
    ),
    Command(
        name="rescue",
        help="save every paid video below a directory that is not saved yet",
        handler="rescue:rescue",
        options=(
            option(
                "output_path", metavar="OUTPUT_PATH", help="directory or URI that the renders were saved to"
            ),
            option(
                "--wait",
                metavar="SECONDS",
                default="0",
                help="wait so long for renders that still run (default %(default)s)",
            ),
            LABEL,
            *COMMON,
        ),
    ),
    Command(
        name="doctor",
        help="check the account and the API against what this package assumes",
        handler="doctor:doctor",
        options=(
            option("--pay", metavar="MODEL", help="also pay for one render of this model"),
            MAX_COST,
            option("--yes", action="store_true", help="do not ask before the payment"),
            *COMMON,
        ),
    ),
    Command(
        name="completion",
        help="print the completion script of a shell",
        handler="completion:completion",
        options=(option("shell", choices=("bash", "zsh", "fish", "tcsh", "powershell"), help="your shell"),),
    ),
)
EMULATOR = "emulator"
EMULATOR_HELP = "serve an emulator of the API: no account, no cost"


def build_parser(prog: str = PROGRAM) -> argparse.ArgumentParser:
    """Return the parser of the command line. The emulator has options of its own, see :mod:`.main`."""
    codes = "\n".join(f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES.items())
    parser = argparse.ArgumentParser(
        prog=prog,
        description=SUMMARY,
        epilog=f"exit codes:\n{codes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        sub = commands.add_parser(command.name, help=command.help, description=command.help)
        for each in command.options:
            sub.add_argument(*each.flags, **each.settings)
        sub.set_defaults(handler=command)
    commands.add_parser(EMULATOR, help=EMULATOR_HELP, add_help=False)
    return parser
