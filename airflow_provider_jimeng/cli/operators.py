# SPDX-License-Identifier: Apache-2.0
"""The operators and the hook of DAG files, as the command line uses them: without a DAG and without a task instance."""

from __future__ import annotations

import logging
import os
import secrets
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pendulum

from airflow_provider_jimeng.cli.account import ENVIRONMENT, environment_settings, is_inside_airflow
from airflow_provider_jimeng.cli.board import NO_SLOT, SAVED, SAVING, SUBMITTING, Line
from airflow_provider_jimeng.cli.console import hide
from airflow_provider_jimeng.core.errors import MissingConnectionError
from airflow_provider_jimeng.hooks.connection_cache import mask
from airflow_provider_jimeng.hooks.jimeng import JimengHook
from airflow_provider_jimeng.operators.payment import Busy, wait_for_slot
from airflow_provider_jimeng.operators.plan import JimengPlanOperator
from airflow_provider_jimeng.operators.video import JimengGenerateVideoOperator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_jimeng.client.settings import ClientSettings
    from airflow_provider_jimeng.core.plan import PlannedRow
    from airflow_provider_jimeng.core.record import Record
    from airflow_provider_jimeng.core.render import Render, RenderEvent
    from airflow_provider_jimeng.core.wire import QueryReply
    from airflow_provider_jimeng.hooks.jimeng import RenderOrId
    from airflow_provider_jimeng.operators.records import Paid
    from airflow_provider_jimeng.operators.submission import Submission

log = logging.getLogger(__name__)
DAG_ID = "command-line"
"""The name of the command line in records, where tasks have the id of their DAG."""


class CommandHook(JimengHook):
    """A hook whose connection can be the environment.

    ``on_reply`` is called with each answer to a query.
    """

    on_reply: Callable[[QueryReply], None] | None = None

    @property
    def settings(self) -> ClientSettings:
        """The settings of the environment, or of the Airflow connection."""
        if self._settings is None and self.jimeng_conn_id == ENVIRONMENT:
            self._settings = environment_settings()
            mask(self._settings)
        try:
            settings = super().settings
        except MissingConnectionError as error:
            if is_inside_airflow():
                raise
            raise MissingConnectionError(
                f"{error} `jimeng` finds connections in the environment and in secrets back ends. A connection that was saved "
                "in Airflow's UI is read by `airflow jimeng …` (Airflow 3.2 and newer)."
            ) from None
        hide(settings.secrets)
        return settings

    def query(
        self,
        render_or_id: RenderOrId,
        model: str | None = None,
        *,
        aigc_meta: Mapping[str, str] | None = None,
    ) -> QueryReply:
        """Ask what became of a render, and report the answer."""
        reply = super().query(render_or_id, model, aigc_meta=aigc_meta)
        if self.on_reply is not None:
            self.on_reply(reply)
        return reply

    def for_render(self, render: Any) -> CommandHook:
        """Return the hook of the connection that pays for a render. It reports to the same receiver."""
        hook = super().for_render(render)
        hook.on_reply = self.on_reply
        return hook


@dataclass(slots=True, kw_only=True)
class LocalRun:
    """One render of one process, with the attributes of a task instance that the operators use.

    Each run has an id of its own, so that processes that begin the same request at the same moment see each other's
    records. The record has the fingerprint and the take of the request.
    """

    task_id: str
    run_id: str = field(
        default_factory=lambda: (
            f"{pendulum.now('UTC'):%Y-%m-%dT%H:%M:%SZ}/{secrets.token_hex(4)}/{own_process()}"
        )
    )
    dag_id: str = DAG_ID
    map_index: int = -1
    try_number: int = 1
    max_tries: int = 0
    pushed: dict[str, Any] = field(default_factory=dict)

    def xcom_push(self, key: str, value: Any, **_: Any) -> None:
        """Keep a value for the messages of this process."""
        self.pushed[key] = value

    def xcom_pull(self, *_: Any, **__: Any) -> None:
        """Return ``None``, because no value is kept after the process."""


def own_process() -> str:
    """Return a name that no other process has, also on other machines. It is empty if the system gives none."""
    return _name_of(os.getpid()) or ""


def has_ended(record: Record) -> bool:
    """Return whether the process that began a submit has certainly ended, so that nobody waits for its answer.

    This can only be known for a process of this machine in the same container.
    """
    if record.key.dag_id != DAG_ID:
        return False
    name = record.key.run_id.rpartition("/")[2]
    machine, _, process = name.rpartition("-p")
    this_machine, _, _ = own_process().rpartition("-p")
    if not machine or machine != this_machine:
        return False
    number = process.partition("-")[0]
    return number.isdigit() and _name_of(int(number)) != name


def _name_of(process: int) -> str | None:
    """Return the name of a living process: machine since its start, container, number and start of the process."""
    try:
        boot = (
            Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip().replace("-", "")[:12]
        )
        space = os.readlink("/proc/self/ns/pid").strip("pid:[]")  # noqa: PTH115 - the link leads to no path
        fields = (
            Path(f"/proc/{process}/stat")
            .read_text(encoding="utf-8", errors="replace")
            .rpartition(")")[2]
            .split()
        )
    except OSError:
        return None
    state, started = fields[0], fields[19]
    return None if state in "ZX" else f"{boot}-{space}-p{process}-{started}"


class StoppedError(Exception):
    """The user has interrupted the command, so nothing more is paid."""


class Gate:
    """Lets threads pay until it is closed, and knows whether a payment is under way."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._paying = 0
        self._closed = False

    @contextmanager
    def paying(self) -> Iterator[None]:
        """Pay in this block.

        :raises StoppedError: the gate is closed.
        """
        with self._changed:
            if self._closed:
                raise StoppedError
            self._paying += 1
        try:
            yield
        finally:
            with self._changed:
                self._paying -= 1
                self._changed.notify_all()

    @property
    def is_busy(self) -> bool:
        """Whether a payment is under way: its answer is not known yet."""
        return self._paying > 0

    def close(self) -> None:
        """Refuse new payments, and wait for those that are under way."""
        with self._changed:
            self._closed = True
            while self._paying:
                self._changed.wait(0.5)  # so that a second Ctrl-C is handled


class CommandRender(JimengGenerateVideoOperator):
    """Renders one video of the command line. Its ``execute`` is not called: :meth:`run` needs no task instance.

    It adopts what another process has paid for under the output path, because ``reuse`` is ``output_path``.
    """

    line: Line
    gate: Gate

    @property
    def log(self) -> Any:
        """The log of this package, which the command line prints."""
        return log

    @classmethod
    def of(cls, line: Line, gate: Gate, **arguments: Any) -> CommandRender:
        """Return the operator for arguments of :class:`JimengGenerateVideoOperator`."""
        operator = cls(task_id="render", **{**arguments, "reuse": "output_path", "deferrable": False})
        operator.line, operator.gate = line, gate
        return operator

    def run(self, *, wait: bool = True) -> dict[str, Any]:
        """Adopt or pay, wait and save; return the manifest. Without ``wait``, return the render as soon as it is paid."""
        context = cast("Context", {"ti": LocalRun(task_id=self.task_id)})
        with self.submission(context) as submission:
            if not wait:
                return self.pay(submission).render.to_payload()
            manifest = self._generate(submission)
        self.line.set(SAVED)
        return manifest

    def hook_for(self, jimeng_conn_id: str) -> CommandHook:
        """Return a hook that reads the environment too, and moves the bar."""
        hook = CommandHook(jimeng_conn_id=jimeng_conn_id)
        hook.on_reply = self.line.on_reply
        return hook

    @contextmanager
    def submission(self, context: Context) -> Iterator[Submission]:
        """Yield the submission. It does not wait for the submit of a process that was killed."""
        with super().submission(context) as submission:
            submission.others.has_ended = has_ended
            yield submission

    def pay(self, submission: Submission, waiting_since: float | None = None) -> Paid:
        """Return the paid render. A payment that has begun is not interrupted."""
        while True:
            if (paid := submission.adopt()) is not None:
                self.line.paid(paid.render, adopted=paid.adopted)
                return paid
            with self.gate.paying():
                self.line.set(SUBMITTING)
                answer = submission.submit()
                if not isinstance(answer, Busy):
                    self.line.paid(answer.render, adopted=answer.adopted)
                    return answer
            self.line.set(NO_SLOT)
            waiting_since = wait_for_slot(self, submission, answer.error, waiting_since)

    def _wait(self, submission: Submission, render: Render) -> RenderEvent:
        ended = super()._wait(submission, render)
        self.line.set(SAVING)
        return ended


class CommandPlan(JimengPlanOperator):
    """Plans the rows of the command line. Its ``execute`` is not called."""

    @property
    def log(self) -> Any:
        """The log of this package, which the command line prints."""
        return log

    def hook_for(self, jimeng_conn_id: str) -> CommandHook:
        """Return a hook that reads the environment too."""
        return CommandHook(jimeng_conn_id=jimeng_conn_id)

    def plan(self) -> list[PlannedRow]:
        """Return every row, checked and looked up.

        :raises ParameterError: the message names every bad row and its problems.
        """
        return self._plan()

    def arguments_of(self, item: PlannedRow) -> dict[str, Any]:
        """Return the arguments of the operator that renders a row."""
        return item.kwargs(self._common(item))
