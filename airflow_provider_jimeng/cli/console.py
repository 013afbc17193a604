# SPDX-License-Identifier: Apache-2.0
"""Prints the results on stdout, everything else on stderr, and no secrets."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO

HIDDEN = "***"
_secrets: set[str] = set()
_results: list[TextIO] = []
"""The stream of the results. Everything else that is printed on stdout goes to stderr in the meantime."""


@contextmanager
def results_alone_on_stdout() -> Iterator[None]:
    """Send what libraries print or log on stdout to stderr, so that a program can read the results."""
    stdout = sys.stdout
    _results.append(stdout)
    # Airflow 3.2 logs to stdout what its database library says. Its handler exists before `airflow jimeng` begins.
    # The handlers of Airflow 2.11 and 3.0 hold no stream: they print to what is stdout at that moment.
    moved = [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler) and vars(handler).get("stream") is stdout
    ]
    for handler in moved:
        handler.setStream(sys.stderr)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        for handler in moved:
            handler.setStream(stdout)
        _results.pop()


def results() -> TextIO:
    """Return the stream of the results."""
    return _results[-1] if _results else sys.stdout


def hide(secrets: Iterable[str]) -> None:
    """Replace these texts by asterisks in everything that is printed from now on."""
    for secret in secrets:
        _secrets.update({secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]})


def redact(text: str) -> str:
    """Return a text without the secrets that are known."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def is_terminal(stream: TextIO) -> bool:
    """Return whether a stream is a terminal, so that a table or a bar makes sense."""
    try:
        return stream.isatty()
    except ValueError:  # The stream is closed.
        return False


def say(text: str) -> None:
    """Print a line on stdout."""
    print(redact(text), file=results(), flush=True)


def note(text: str) -> None:
    """Print a line on stderr."""
    print(redact(text), file=sys.stderr, flush=True)


def show_json(payload: Any) -> None:
    """Print one JSON document on stdout."""
    say(json.dumps(payload, ensure_ascii=False, indent=2))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows as a table in a terminal. Otherwise print a header and lines whose fields are separated by tabs."""
    texts = [[redact(_text(value)) for value in row] for row in rows]
    if not is_terminal(results()):
        for line in (list(columns), *texts):
            say("\t".join(line))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns)
    for line in texts:
        table.add_row(*map(Text, line))
    Console(file=results()).print(table)


def show_fields(fields: Mapping[str, Any]) -> None:
    """Print names and values, one pair a line."""
    width = max(map(len, fields))
    for name, value in fields.items():
        say(f"{name + ':':<{width + 1}} {_text(value)}")


def _text(value: Any) -> str:
    return "" if value is None else " ".join(str(value).split())


class LogLines(logging.Handler):
    """Prints log records on stderr. While bars are shown, they replace the printer."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.printer = note

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record as a line."""
        prefix = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        self.printer(prefix + record.getMessage())


def log_to_stderr(level: int) -> LogLines:
    """Send the log of this package to stderr, and nowhere else. Return the handler."""
    handler = LogLines(level)
    logger = logging.getLogger("airflow_provider_jimeng")
    for former in [each for each in logger.handlers if isinstance(each, LogLines)]:
        logger.removeHandler(former)
    logger.addHandler(handler)
    logger.setLevel(min(level, logging.WARNING))
    logger.propagate = False
    return handler
