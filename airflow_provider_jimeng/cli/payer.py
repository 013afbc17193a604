# SPDX-License-Identifier: Apache-2.0
"""The operator of the command line: the one of DAG files, without a DAG."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from airflow_provider_jimeng.cli.board import NO_SLOT, SAVED, SAVING, SUBMITTING, Line
from airflow_provider_jimeng.cli.hook import CommandHook
from airflow_provider_jimeng.cli.local_run import LocalRun, has_ended
from airflow_provider_jimeng.operators.payment import Busy, wait_for_slot
from airflow_provider_jimeng.operators.video import JimengGenerateVideoOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_jimeng.core.render import Render, RenderEvent
    from airflow_provider_jimeng.operators.records import Paid
    from airflow_provider_jimeng.operators.submission import Submission

log = logging.getLogger(__name__)


class StoppedError(Exception):
    """The user interrupts; nothing more is paid."""


class Gate:
    """Lets threads pay until it is closed, and knows when no payment is under way any more."""

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
        """Let nobody pay any more, and wait for the payments that are under way."""
        with self._changed:
            self._closed = True
            while self._paying:
                self._changed.wait(0.5)  # so that a second Ctrl-C is handled


class CommandRender(JimengGenerateVideoOperator):
    """Renders one video of the command line. Its ``execute`` is not called: :meth:`run` needs no task instance.

    What another process, or an earlier one, has paid for under the output path counts: ``reuse`` is ``output_path``.
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
        """Yield the way to a paid render. A submit of a process that was killed is not waited for."""
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
