# SPDX-License-Identifier: Apache-2.0
"""The command ``python -m airflow_provider_jimeng.emulator``, which runs the emulator as a server."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from airflow_provider_jimeng.emulator.emulator import JimengEmulator
from airflow_provider_jimeng.emulator.faults import FaultError, load_faults
from airflow_provider_jimeng.emulator.gateway import LINK_SHAPES, QUERY_SHAPES, SUBMIT_SHAPES
from airflow_provider_jimeng.emulator.videos import check_libraries


def build_parser(prog: str = "python -m airflow_provider_jimeng.emulator") -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="An emulator of the Jimeng video API. It needs no account and costs nothing. Its videos are test pictures.",
    )
    declare_options(parser.add_argument)
    return parser


def declare_options(add: Callable[..., object]) -> None:
    """Call ``add`` for every option, as ``add_argument`` of a parser is called."""
    add("--host", default="127.0.0.1", help="address to listen on (default %(default)s: only this machine)")
    add("--port", type=_port, default=8787, help="port; 0 uses a free one (default %(default)s)")
    add("--access-key", default="AKEMULATOR", help="Access Key ID of the one account (default %(default)s)")
    add("--secret-key", default="SKEMULATOR", help="its Secret Access Key (default %(default)s)")
    add("--session-token", help="its session token; if it is set, every request needs it")
    add("--bearer", metavar="TOKEN", help="serve a Bearer gateway with this token at /jimeng/, too")
    add(
        "--gateway-submit", choices=SUBMIT_SHAPES, default="native", help="shape of its responses to a submit"
    )
    add("--gateway-query", choices=QUERY_SHAPES, default="native", help="shape of its responses to a query")
    add(
        "--gateway-links",
        choices=LINK_SHAPES,
        default="direct",
        help="where its links lead; own links need the token",
    )
    add(
        "--render-seconds",
        type=_seconds,
        default=3.0,
        help="seconds from submit to done (default %(default)s)",
    )
    add(
        "--max-concurrent",
        type=_limit,
        default=2,
        help='renders in flight per req_key; 0 or "none" means no limit (default %(default)s)',
    )
    add(
        "--max-qps",
        type=_limit,
        default=5,
        help='submits and queries per second; 0 or "none" means no limit (default %(default)s)',
    )
    add(
        "--url-lifetime",
        type=_seconds,
        default=3600.0,
        help="seconds until a video link expires (default %(default)s)",
    )
    add("--faults", type=Path, metavar="FILE", help="file with a JSON list of faults, see docs/emulator.md")
    add(
        "--unactivated",
        action="append",
        default=[],
        metavar="MODEL",
        help="a model that the account has not activated; can be repeated",
    )


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError("expected 0 to 65535")
    return port


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError("expected seconds, 0 or more")
    return seconds


def _limit(text: str) -> int | None:
    if text.lower() == "none":
        return None
    limit = int(text)
    if limit < 0:
        raise argparse.ArgumentTypeError('expected a whole number, 0 or "none" for no limit')
    return limit or None


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Serve until SIGTERM or SIGINT. Return 0, or 2 if the server cannot start.

    :param prog: how the command is called, for its help.
    """
    parser = build_parser(prog) if prog else build_parser()
    return serve(parser.parse_args(arguments))


def serve(options: argparse.Namespace) -> int:
    """Serve with parsed options until SIGTERM or SIGINT. Return 0, or 2 if the server cannot start."""
    try:
        check_libraries()
        emulator = JimengEmulator(
            access_key=options.access_key,
            secret_key=options.secret_key,
            session_token=options.session_token,
            bearer=options.bearer,
            gateway_submit=options.gateway_submit,
            gateway_query=options.gateway_query,
            gateway_links=options.gateway_links,
            render_seconds=options.render_seconds,
            max_concurrent=options.max_concurrent,
            max_qps=options.max_qps,
            url_lifetime=options.url_lifetime,
            faults=load_faults(options.faults) if options.faults else (),
            unactivated=options.unactivated,
        )
    except (FaultError, ImportError) as error:
        return _fail(str(error))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    server = emulator.serve(options.host, options.port)
    try:
        server.start()
    except OSError as error:
        return _fail(f"cannot listen on {options.host}:{options.port}: {error.strerror or error}")
    print(f"Jimeng emulator ready on {server.url} (bill: GET {server.url}/_emulator/bill)", flush=True)
    while not stop.wait(0.5):
        pass  # Python handles signals in this thread only, so it must not block for long.
    server.stop()
    return 0


def _fail(message: str) -> int:
    print(f"emulator: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
