# SPDX-License-Identifier: Apache-2.0
"""The output of `make demo`: the states while it waits, the saved files, the bill, and the next commands."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HEARTBEAT_SECONDS = 15.0
WORDS = {None: "not yet", "up_for_retry": "retry soon", "success": "saved"}


@dataclass(slots=True, kw_only=True)
class Progress:
    """Shows the state of each mapped task: in place on a terminal, otherwise as a line for each change."""

    task_id: str
    _started: float = field(default_factory=time.monotonic, init=False)
    _last_text: str = field(default="", init=False)
    _last_time: float = field(default=0.0, init=False)

    def show(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Print the states if one of them has changed."""
        mapped = [row for row in rows if row["task_id"] == self.task_id and row["map_index"] >= 0]
        text = (
            "  ".join(f"[{row['map_index']}] {describe(row):<11}" for row in mapped) or "reading the prompts"
        )
        elapsed = time.monotonic() - self._started
        if sys.stdout.isatty():
            sys.stdout.write(f"\r\033[K{elapsed:4.0f} s  {text}")
        elif text != self._last_text or elapsed - self._last_time >= HEARTBEAT_SECONDS:
            sys.stdout.write(f"{elapsed:4.0f} s  {text}\n")
            self._last_text, self._last_time = text, elapsed
        sys.stdout.flush()


def describe(row: Mapping[str, Any]) -> str:
    """Return a word or two for the state of a task instance. For a deferred one, it is the reason of the wait."""
    state = row["state"]
    if state == "deferred":
        classpath = str((row.get("trigger") or {}).get("classpath", ""))
        return "no slot yet" if "slot" in classpath.lower() else "rendering"
    return WORDS.get(state, str(state))


@dataclass(frozen=True, slots=True, kw_only=True)
class Landed:
    """One video on disk, and its cost from the manifest."""

    path: Path
    size: int
    width: int
    height: int
    seconds: float
    frames: int
    cost_cny: Decimal | None
    prompt: str
    problem: str | None = None


def inspect(manifest: Mapping[str, Any]) -> Landed:
    """Decode every frame of the file that a manifest names."""
    path = Path(unquote(urlsplit(manifest["uri"]).path))
    cost = manifest.get("cost_cny")
    width, height, frames, rate, problem = _decode(path)
    return Landed(
        path=path,
        size=path.stat().st_size if path.exists() else 0,
        width=width,
        height=height,
        seconds=frames / rate,
        frames=frames,
        cost_cny=None if cost is None else Decimal(cost),
        prompt=str(manifest.get("prompt") or ""),
        problem=problem,
    )


def _decode(path: Path) -> tuple[int, int, int, float, str | None]:
    """Return width, height, decoded frames, frames per second, and the problem of the file."""
    import av

    try:
        with av.open(str(path)) as media:
            stream = media.streams.video[0]
            frames = sum(1 for _ in media.decode(stream))
            rate = float(stream.average_rate or 24)
            return stream.width, stream.height, frames, rate, None if frames else "it has no frames"
    except (OSError, av.FFmpegError, IndexError) as error:
        return 0, 0, 0, 24.0, str(error)


def landed_table(landed: Sequence[Landed], root: Path) -> list[str]:
    """Return the lines of a table of landed files."""
    rows = [("file", "size", "resolution", "duration", "frames", "cost", "prompt")]
    rows += [
        (
            str(video.path.relative_to(root) if video.path.is_relative_to(root) else video.path),
            f"{video.size / 1024:.0f} KiB",
            f"{video.width}x{video.height}",
            f"{video.seconds:.2f} s",
            str(video.frames),
            "?" if video.cost_cny is None else f"CNY {video.cost_cny:.2f}",
            video.prompt if len(video.prompt) <= 34 else f"{video.prompt[:33]}…",
        )
        for video in landed
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    known = [video.cost_cny for video in landed if video.cost_cny is not None]
    return [
        lines[0],
        "-" * len(lines[0]),
        *lines[1:],
        f"the manifests add up to CNY {sum(known, Decimal(0)):.2f}",
    ]


def bill_lines(bill: Mapping[str, Any]) -> list[str]:
    """Return the bill of the emulator for the same campaign."""
    peak = bill["peak_in_flight"]
    in_flight = peak["total"] if isinstance(peak, dict) else peak
    counts = f"{bill['submits']} submits, {bill['accepted']} accepted, {bill['billed']} billed"
    cost = f"CNY {Decimal(str(bill['cost_cny'])):.2f}"
    return [
        f"the emulator's bill     {cost}  ({counts}, {bill['queries']} queries, at most {in_flight} in flight)"
    ]


DOCTOR = (
    "VOLC_ACCESSKEY=… VOLC_SECRETKEY=… .venv/bin/jimeng doctor",
    "with your keys: check your account, at no cost",
)
MODELS = (".venv/bin/jimeng models", "the models, their limits and their list prices")


def next_commands() -> list[str]:
    """Return three commands for the folder of the repository, after a demo that has stopped everything."""
    again = ("make demo KEEP=1", "the same again, and then see the videos on the page Renders in Airflow")
    return _commands(again, MODELS, DOCTOR)


def next_commands_while_kept(connection: Mapping[str, Any]) -> list[str]:
    """Return three commands for another terminal, while the emulator of this connection runs."""
    setting = json.dumps({"conn_type": "jimeng", **connection})
    render = f"AIRFLOW_CONN_JIMENG_DEFAULT='{setting}' .venv/bin/jimeng render 'A kite over a snowy village'"
    return _commands((render, "your own prompt, on the emulator"), MODELS, DOCTOR)


def _commands(*commands: tuple[str, str]) -> list[str]:
    """Return two lines for each command: what it does, and the command, which can be copied as a line."""
    return [line for command, what in commands for line in (f"  # {what}", f"  {command}")]
