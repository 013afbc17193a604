# SPDX-License-Identifier: Apache-2.0
"""The session on the page of the docs is what the commands print."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING

import pytest

from tests.meta.tree import ROOT

if TYPE_CHECKING:
    from tests.harness.command_line import CommandLine, SteppedEmulator

PAGE = ROOT / "docs" / "command-line.md"
ROWS = "prompt,model,duration\nA paper boat on a lake,t2v_720p,5\nA lighthouse in a storm,t2v_1080p,10\n"
COMMANDS = (
    "jimeng render 'A paper boat on a lake' --output films/",
    "jimeng render 'A paper boat on a lake' --output films/",
    "jimeng quote rows.csv --output films/",
    "jimeng render --rows rows.csv --output films/ --max-cost 5",
    "jimeng render 'A lighthouse in a storm' --model t2v_1080p --duration 10 --output films/ --no-wait",
    "jimeng render 'A paper boat on a lake' --fps 30",
    "jimeng rescue films/",
)
POLLED = re.compile(r": (in queue|generating|saving)$")


def play(jimeng: CommandLine, commands: Iterable[str]) -> str:
    """Run commands one after the other; return what they print."""
    (jimeng.work / "rows.csv").write_text(ROWS)
    lines = []
    for command in commands:
        done = jimeng.run(*shlex.split(command)[1:])
        printed = (done.out + done.err).replace(str(jimeng.work), "/home/me")
        lines += [f"$ {command}", *printed.splitlines()]
    return "\n".join(lines)


def comparable(session: str) -> list[str]:
    """Return the lines of a session without numbers, and without the states that a query may miss."""
    kept = [line for line in session.splitlines() if not POLLED.search(line)]
    return [re.sub(r"\d+", "0", line) for line in kept]


@pytest.mark.waits
def test_the_session_of_the_docs_is_what_the_commands_print(
    jimeng: CommandLine, emulator: SteppedEmulator
) -> None:
    emulator.render_seconds = 0  # The last command finds the render of --no-wait done.
    (block,) = re.findall(r"^```console\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    commands = [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
    assert tuple(commands) == COMMANDS
    assert sorted(comparable(play(jimeng, commands))) == sorted(comparable(block))
