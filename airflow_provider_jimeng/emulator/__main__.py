"""``python -m airflow_provider_jimeng.emulator``: the API in a box, behind a socket."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from airflow_provider_jimeng.emulator.emulator import JimengEmulator
from airflow_provider_jimeng.emulator.faults import FaultError, load_faults
from airflow_provider_jimeng.emulator.gateway import LINK_SHAPES, QUERY_SHAPES, SUBMIT_SHAPES
from airflow_provider_jimeng.emulator.media import check_libraries


def options() -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Return every option: its flags, and what ``add_argument`` takes beside them."""
    yield (
        ("--host",),
        {"default": "127.0.0.1", "help": "address to bind (default %(default)s: this machine only)"},
    )
    yield (
        ("--port",),
        {"type": _port, "default": 8787, "help": "port; 0 takes a free one (default %(default)s)"},
    )
    yield (
        ("--access-key",),
        {"default": "AKEMULATOR", "help": "Access Key ID of the one account (default %(default)s)"},
    )
    yield ("--secret-key",), {"default": "SKEMULATOR", "help": "its Secret Access Key (default %(default)s)"}
    yield ("--session-token",), {"help": "its session token: then every request needs it"}
    yield (
        ("--bearer",),
        {"metavar": "TOKEN", "help": "also serve a Bearer gateway at /jimeng/ with this token"},
    )
    shapes = (("submit", SUBMIT_SHAPES), ("query", QUERY_SHAPES))
    for what, choices in shapes:
        flags = (f"--gateway-{what}",)
        yield flags, {"choices": choices, "default": "native", "help": f"shape of its {what} replies"}
    yield (
        ("--gateway-links",),
        {"choices": LINK_SHAPES, "default": "direct", "help": "own: its links need the token"},
    )
    yield (
        ("--render-seconds",),
        {"type": _seconds, "default": 3.0, "help": "from submit to done (default %(default)s)"},
    )
    limits = (
        ("--max-concurrent", 2, "renders in flight per req_key"),
        ("--max-qps", 5, "submits and queries a second"),
    )
    for flag, default, what in limits:
        text = f'{what}, 0 or "none" for any number (default %(default)s)'
        yield (flag,), {"type": _limit, "default": default, "help": text}
    yield (
        ("--url-lifetime",),
        {
            "type": _seconds,
            "default": 3600.0,
            "help": "seconds until a video link dies (default %(default)s)",
        },
    )
    yield (
        ("--faults",),
        {"type": Path, "metavar": "FILE", "help": "JSON list of faults, see docs/emulator.md"},
    )
    yield (
        ("--unactivated",),
        {
            "action": "append",
            "default": [],
            "metavar": "MODEL",
            "help": "a model that is not opened; repeatable",
        },
    )


def build_parser(prog: str = "python -m airflow_provider_jimeng.emulator") -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="An emulator of the Jimeng video API. No account, no cost: the videos are test pictures.",
    )
    for flags, settings in options():
        parser.add_argument(*flags, **settings)
    return parser


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
    """Serve until SIGTERM or SIGINT; 0 after a clean end, 2 when it cannot start.

    :param prog: how the command is called, for its help.
    """
    parser = build_parser(prog) if prog else build_parser()
    return serve(parser.parse_args(arguments))


def serve(options: argparse.Namespace) -> int:
    """Serve with parsed options until SIGTERM or SIGINT; 0 after a clean end, 2 when it cannot start."""
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
        pass  # a signal that reached another thread is handled when this one wakes
    server.stop()
    return 0


def _fail(message: str) -> int:
    print(f"emulator: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
