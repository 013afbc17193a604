# SPDX-License-Identifier: Apache-2.0
"""Every command and option, declared once: for ``jimeng``'s parser, for Airflow's, and for the page of the docs.

At the end are the functions that read the values of options that several commands share.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAM = "jimeng"
SUMMARY = "Render videos with Jimeng AI, pay for each of them once, and check your account."
DEFAULT_OUTPUT = "./generated_videos/"
EXIT_CODES: Mapping[int, str] = {
    0: "done",
    1: "another error, for example a network that is down",
    2: "usage: an argument, the connection or a row is wrong; nothing was sent",
    3: "the API refused the request; nothing was paid",
    4: "the render failed, or the API no longer knows it",
    5: "a submit was sent, and it is unknown whether the API accepted it",
    6: "paid, but not saved yet; the same command continues, free",
    130: "interrupted",
}


@dataclass(frozen=True, slots=True)
class Option:
    """One argument of a command: its flags, and the other arguments of ``add_argument``."""

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
        function: Callable[[argparse.Namespace], int] = getattr(
            import_module(f"airflow_provider_jimeng.cli.{module}"), name
        )
        return function


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
MAX_COST = option("--max-cost", metavar="CNY", help="refuse a cost above this, or an unknown cost")
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
        option("--rows", metavar="FILE", help="render all rows of a .csv, .tsv, .xlsx, .jsonl or .json file"),
        *SHEET,
        option(
            "--parallel",
            type=int,
            default=4,
            metavar="N",
            help="rows that are rendered at a time (default %(default)s)",
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
        help="show the status of a render",
        handler="free:query",
        options=(
            *RENDER_ID,
            option(
                "--link",
                action="store_true",
                help="also show the link; everybody who has it can load the video for an hour",
            ),
            *COMMON,
        ),
    ),
    Command(
        name="download",
        help="save the video of a finished render; free",
        handler="free:download",
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
        handler="free:cancel",
        options=(*RENDER_ID, *COMMON),
    ),
    Command(
        name="models",
        help="list the models, what they take and what they cost",
        handler="free:models",
        options=(
            option("--conn", metavar="ID", help="show the models and prices of an Airflow connection"),
            JSON,
            VERBOSE,
        ),
    ),
    Command(
        name="quote",
        help="check every row of a list and say what it costs; nothing is paid",
        handler="free:quote",
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
        handler="free:rescue",
        options=(
            option(
                "output_path", metavar="OUTPUT_PATH", help="directory or URI that the renders were saved to"
            ),
            option(
                "--wait",
                metavar="SECONDS",
                default="0",
                help="how long to wait for renders that still run (default %(default)s)",
            ),
            LABEL,
            *COMMON,
        ),
    ),
    Command(
        name="finish",
        help="make saved videos fit to publish: visible label, poster, preview, other sizes",
        handler="free:finish",
        options=(
            option("video", nargs="+", metavar="VIDEO", help="path or URI of a saved video"),
            option("--label", metavar="TEXT", help="text of the visible label (default AI生成)"),
            option("--no-label", action="store_true", help="draw no visible label"),
            option(
                "--position",
                metavar="PLACE",
                help="top-left, top, top-right, center, bottom-left, bottom or bottom-right (default)",
            ),
            option(
                "--throughout", action="store_true", help="show the label throughout (default: the first 2 s)"
            ),
            option("--font", metavar="FILE", help="font of the label (default: one that has all characters)"),
            option(
                "--poster", action="store_true", help="save the sharpest frame of the first second as JPEG"
            ),
            option(
                "--preview",
                action="store_true",
                help="save a sheet of small frames with a WebVTT track, for scrubbing",
            ),
            option(
                "--rendition",
                action="append",
                metavar="FIELDS",
                help="another version, such as ratio=9:16,size=1080,fit=blur; can be given several times. Fields: name, "
                "ratio, size, fit, focus=0.3/0.5, kbps, crf, preset, faststart",
            ),
            option(
                "--concat",
                metavar="NAME",
                help="join all videos into one file of this name, beside the first",
            ),
            option("--cross-fade", metavar="SECONDS", help="with --concat: fade into the next video"),
            option("--audio", metavar="FILE", help="file with the sound of the new files"),
            option(
                "--require-implicit",
                action="store_true",
                help="refuse a video without an implicit label (AIGC)",
            ),
            option("--threads", metavar="N", help="threads of the decoder, and of the encoder (default 2)"),
            JSON,
            VERBOSE,
        ),
    ),
    Command(
        name="doctor",
        help="compare the account and the API with what this package assumes",
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
        handler="main:completion",
        options=(option("shell", choices=("bash", "zsh", "fish", "tcsh", "powershell"), help="your shell"),),
    ),
)
EMULATOR = "emulator"
EMULATOR_HELP = "run an emulator of the API, without an account and without cost"


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


def output_path_of(text: str) -> str:
    """Return an output path: a path is made absolute, and ends in / unless it names an .mp4 file; a URI stays."""
    if "://" in text:
        return text
    is_file = text.lower().endswith(".mp4") and not Path(text).expanduser().is_dir()
    absolute = str(Path(text).expanduser().absolute())
    return absolute if is_file else f"{absolute.rstrip('/')}/"


def folder_path_of(text: str) -> str:
    """Return the path or URI of a directory, ending in /."""
    return f"{(text if '://' in text else str(Path(text).expanduser().absolute())).rstrip('/')}/"


def place_of(text: str | None) -> str | None:
    """Return the path of a file to read, made absolute; a link or a URI stays as it is."""
    if not text or "://" in text:
        return text or None
    return str(Path(text).expanduser().absolute())


def read_label(text: str | None) -> dict[str, Any] | None:
    """Return the implicit label of ``--aigc-meta``."""
    if not text:
        return None
    try:
        label = json.loads(text)
    except ValueError:
        label = None
    if not isinstance(label, dict):
        raise ParameterError(
            "--aigc-meta", 'expected a JSON object such as {"producer_id": "…", "content_propagator": "…"}.'
        )
    return label
