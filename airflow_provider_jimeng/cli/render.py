# SPDX-License-Identifier: Apache-2.0
"""``jimeng render``: one video, or those of a list."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.cli.account import conn_id_of, poll_interval, wait_timeout
from airflow_provider_jimeng.cli.board import FAILED, SAVED, Board, Line
from airflow_provider_jimeng.cli.commands import folder_path_of, output_path_of, place_of, read_label
from airflow_provider_jimeng.cli.console import note, say, show_fields, show_json
from airflow_provider_jimeng.cli.main import INTERRUPTED, OTHER, UNSAVED, as_payload, exit_code, unexpected
from airflow_provider_jimeng.core.catalogue import DEFAULT_MODEL
from airflow_provider_jimeng.core.errors import JimengError, ParameterError, UnknownSubmitError
from airflow_provider_jimeng.core.parameters import refuse_arguments
from airflow_provider_jimeng.core.render import cost_in_words, landable_until

if TYPE_CHECKING:
    from airflow_provider_jimeng.cli.operators import CommandPlan, CommandRender, Gate
    from airflow_provider_jimeng.core.render import Render

SAME_REQUEST = "same request; `--take 2` pays for another video"


@dataclass(slots=True, kw_only=True)
class Job:
    """One video of the command, and its result."""

    operator: CommandRender
    line: Line
    result: dict[str, Any] | None = None
    error: JimengError | None = None
    crash: BaseException | None = None

    @property
    def code(self) -> int:
        """The exit code for this video alone."""
        if self.error is None:
            return 0 if self.crash is None else OTHER
        paid = self.line.render is not None and self.line.state != SAVED
        return exit_code(self.error, paid=paid)


@dataclass(slots=True, kw_only=True)
class Work:
    """The videos of a command, rendered by a few threads.

    The main thread moves the bars and takes Ctrl-C. So an interrupt never falls between a payment and its record.
    """

    jobs: list[Job]
    gate: Gate
    board: Board
    wait: bool
    parallel: int
    _left: deque[Job] = field(default_factory=deque)

    def run(self) -> None:
        """Render every video.

        :raises KeyboardInterrupt: after the payments that were under way have been answered.
        """
        self._left.extend(self.jobs)
        threads = [
            threading.Thread(target=self._work, name=f"jimeng render {number}", daemon=True)
            for number in range(max(1, min(self.parallel, len(self.jobs))))
        ]
        with self.board:
            for thread in threads:
                thread.start()
            try:
                self.board.watch(threads)
            except KeyboardInterrupt:
                if self.gate.is_busy:
                    note("A submit is under way. Waiting for its answer, so that nothing paid is lost.")
                try:
                    self.gate.close()
                finally:
                    self.board.mute()
                raise

    def _work(self) -> None:
        from airflow_provider_jimeng.cli.operators import StoppedError

        while True:
            try:
                job = self._left.popleft()
            except IndexError:
                return
            try:
                job.result = job.operator.run(wait=self.wait)
            except StoppedError:
                return
            except JimengError as error:
                job.error = error
                job.line.set(FAILED)
            except BaseException as error:  # noqa: BLE001 - the main thread reports it
                job.crash = error
                job.line.set(FAILED)


def request_arguments(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options that describe the video, as arguments of the operators.

    :raises ParameterError: the API does not have the option, although other clients have it.
    """
    refuse_arguments({"fps": args.fps} if args.fps else {})
    return {
        "model": args.model or DEFAULT_MODEL,
        "duration": args.duration,
        "aspect_ratio": args.aspect_ratio,
        "seed": args.seed,
        "first_frame": place_of(args.image),
        "last_frame": place_of(args.tail_image),
        "camera_template": args.camera_template,
        "camera_strength": args.camera_strength,
    }


def plan_of(
    args: argparse.Namespace, described: dict[str, Any], *, conn_id: str, output: str | None
) -> CommandPlan:
    """Return the operator that checks and quotes the rows of a list."""
    from airflow_provider_jimeng.cli.operators import CommandPlan

    return CommandPlan(
        task_id="plan",
        rows=place_of(args.rows) or "",
        rows_sheet=args.sheet,
        ignore_columns=args.ignore_columns,
        max_cost_cny=args.max_cost,
        output_path=None if output is None else folder_path_of(output),
        overwrite=getattr(args, "overwrite", False),
        jimeng_conn_id=conn_id,
        **described,
    )


def plan_rows(args: argparse.Namespace, described: dict[str, Any], *, conn_id: str) -> list[dict[str, Any]]:
    """Check and quote every row of ``--rows``; return the arguments of their renders.

    :raises ParameterError: a row is wrong, or the list costs more than ``--max-cost``. Nothing was paid.
    """
    from airflow_provider_jimeng.core.quote import check_cap, make_quote, quote_table

    plan = plan_of(args, described, conn_id=conn_id, output=args.output)
    planned = plan.plan()
    quoted = make_quote(planned)
    if not args.json:
        note(quote_table(quoted))
    check_cap(quoted, args.max_cost)
    return [{**plan.arguments_of(item), "jimeng_conn_id": conn_id} for item in planned]


def render(args: argparse.Namespace) -> int:
    """Render one video or a list, and save it."""
    from airflow_provider_jimeng.cli.operators import CommandRender, Gate

    described = request_arguments(args)
    conn_id, gate = conn_id_of(args), Gate()
    board = Board(quiet=args.json, log_lines=args.log_lines)
    common = _common(args)
    if args.rows:
        if args.prompt:
            raise ParameterError("PROMPT", "cannot be combined with --rows. Give one of them.")
        rows = plan_rows(args, described, conn_id=conn_id)
    else:
        rows = [
            {
                **described,
                "prompt": args.prompt,
                "take": args.take or 1,
                "jimeng_conn_id": conn_id,
                "max_cost_cny": args.max_cost,
                "output_path": output_path_of(args.output),
            }
        ]
    jobs = []
    for row in rows:
        line = board.add(str(row.get("prompt") or row.get("model") or ""))
        jobs.append(Job(operator=CommandRender.of(line, gate, **{**common, **row}), line=line))
    work = Work(jobs=jobs, gate=gate, board=board, wait=not args.no_wait, parallel=args.parallel)
    try:
        work.run()
    except KeyboardInterrupt:
        if gate.is_busy:
            note(
                "There was no answer to a submit. Run the same command again: it says whether the outcome is known."
            )
        return _interrupted(args, jobs)
    return _report(args, jobs)


def _common(args: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments that are the same for every row."""
    common: dict[str, Any] = {
        "aigc_meta": read_label(args.aigc_meta),
        "on_unknown_submit": args.on_unknown_submit,
        "on_lost": args.on_lost,
        "overwrite": args.overwrite,
        "poll_interval": poll_interval(),
    }
    if (longest := wait_timeout()) is not None:
        common["wait_timeout"] = longest
    return common


def _report(args: argparse.Namespace, jobs: list[Job]) -> int:
    code = max((job.code for job in jobs), default=0)
    if args.json:
        payloads = [_payload(job) for job in jobs]
        show_json({"renders": payloads, "exit_code": code} if args.rows else payloads[0])
    for job in jobs:
        if job.crash is not None:
            unexpected(job.crash, verbose=args.verbose)
        elif job.error is not None:
            note(f"jimeng: {job.error}{_remedy(args, job)}")
        elif not args.json:
            _show(args, job)
    if args.open:
        for job in jobs:
            if job.error is None and job.result is not None and "uri" in job.result:
                _open(job.result["uri"])
    return code


def _payload(job: Job) -> dict[str, Any]:
    payload = {**(job.result or {}), "adopted": job.line.adopted, "exit_code": job.code}
    if job.crash is not None:
        return {**payload, "error": type(job.crash).__name__, "message": str(job.crash)}
    if job.error is None:
        return payload
    known = {} if job.line.render is None else job.line.render.to_payload()
    return {**known, **payload, **as_payload(job.error, job.code)}


def _show(args: argparse.Namespace, job: Job) -> None:
    """Print a saved video, or a render that is paid for."""
    result = job.result or {}
    if job.line.adopted:
        note(f"Nothing was paid: {SAME_REQUEST}.")
    if args.no_wait:
        say(f"Paid: render {result['task_id']} ({result['estimated_cost_cny'] or 'unknown'} CNY).")
        note(f"Save it before {landable_until(_render_of(job))} with: {command_again(args)}")
        return
    path = str(result["uri"]).removeprefix("file://")
    say(path)
    seed = result.get("seed")
    show_fields(
        {
            "Prompt": result.get("prompt"),
            "Duration": f"{result.get('duration')} s",
            "Mode": result.get("model"),
            "FPS": result.get("fps"),
            "Save path": path,
            "Cost": f"{result.get('cost_cny') or 'unknown'} CNY",
            "Seed": "random" if seed in (None, -1) else seed,
        }
    )


def _render_of(job: Job) -> Render:
    if job.line.render is None:
        raise ValueError("Nothing is paid yet.")
    return job.line.render


def _remedy(args: argparse.Namespace, job: Job) -> str:
    """Return the remedy on the command line, because the message names arguments of a DAG file."""
    if isinstance(job.error, UnknownSubmitError):
        return (
            " On the command line: `jimeng download ID --model MODEL` saves a render that the console shows, and "
            "--on-unknown-submit resubmit pays for a new one."
        )
    if job.code == UNSAVED and job.line.render is not None:
        until = landable_until(job.line.render)
        return f" On the command line: this saves it, free, until {until}: {command_again(args)}"
    return ""


def command_again(args: argparse.Namespace) -> str:
    """Return the command to run again, without options that must not be repeated. Signed links are not printed."""
    words = [word for word in args.again if word != "--no-wait"]
    if any("://" in word and "?" in word for word in words):
        return "the same command again"
    return shlex.join(words)


def _interrupted(args: argparse.Namespace, jobs: list[Job]) -> int:
    """Print what is paid, until when it is kept, and the command that continues."""
    unsaved = [job for job in jobs if job.line.render is not None and job.line.state not in (SAVED, FAILED)]
    if args.json:
        show_json(
            {
                "interrupted": True,
                "paid": [_render_of(job).to_payload() for job in unsaved],
                "exit_code": INTERRUPTED,
            }
        )
    if not unsaved:
        note("Interrupted. No paid video is left to save.")
        return INTERRUPTED
    for job in unsaved:
        paid = _render_of(job)
        note(
            f"Interrupted. Paid: render {paid.task_id} ({cost_in_words(paid.estimated_cost_cny)}). "
            f"The API keeps it until {landable_until(paid)}."
        )
    note(f"To continue without paying again: {command_again(args)}")
    return INTERRUPTED


def _open(uri: str) -> None:
    """Open a saved video with the default program of the desktop. The program does not get the keys of the account."""
    import os

    from airflow_provider_jimeng.cli.account import VARIABLES

    programs = {"darwin": "open", "win32": "explorer"}
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in VARIABLES and not name.startswith("AIRFLOW_CONN_")
    }
    try:
        subprocess.Popen(  # noqa: S603 - the path of a file that was just saved
            [programs.get(sys.platform, "xdg-open"), uri.removeprefix("file://")],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except OSError as error:
        note(f"The video cannot be opened: {error}")
