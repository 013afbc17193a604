"""The same render by three tasks: submit, wait, download. Each is tried again by itself, as in a DAG."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.operators.video import JimengDownloadVideoOperator
from airflow_provider_jimeng.sensors.video import JimengVideoSensor
from tests.chaos.stage import Stage

if TYPE_CHECKING:
    from tests.chaos.lab import Lab

ONE_TASK_ONLY = frozenset(
    {
        # Another task is tried again than the one whose arguments change.
        "template-changes",
        "argument-gone",
        # A retry of the sensor cannot pay again for what the submit task lost.
        "render-gone",
        "lapsed",
        "moderated-output",
        # What only a task does that submits and lands: it reads the record when the render is done.
        "ledger-unreadable",
        "ledger-damaged",
        "ledger-unreadable-then",
        "ledger-damaged-then",
        "storage-refuses-video",
        "storage-refuses-manifest",
        "store-refuses-id",
        "database-restored",
        "xcom-refuses",
        "twin-between",
        # Only the submit task has a record, and it does not say that the file is home: the API is asked.
        "success-old",
        "same-request-twice",
        "run-deleted",
        # The tries that overlap are those of one task.
        "older-try-before-landing",
        "older-try-in-download",
        "older-try-in-download-cleared",
        "older-try-in-download-paid",
        "six-land-one-render",
    }
)
"""Rows that come to something else, or make no sense, where the work is divided; tests of the operators tell how."""


@dataclass(slots=True)
class Chain(Stage):
    """Three task instances that look like one: itself is the submit task, whose end is followed by the others."""

    lab: Lab | None = None
    followers: list[Stage] = field(default_factory=list)

    def run(self) -> str:
        """Run the tasks one after the other, each to its end; the state is that of the last that ran."""
        state = Stage.run(self)  # a bare super() does not know a slotted class
        for name, make in (("wait", self._wait), ("download", self._download)):
            if state != "success":
                break
            follower = self._follower(name)
            follower.make_operator = make
            follower.retries = self.retries
            state = follower.run()
        self.state = state
        return state

    def clear(self) -> None:
        """Clear all three tasks."""
        Stage.clear(self)
        for follower in self.followers:
            follower.retries = self.retries
            follower.clear()

    def _follower(self, name: str) -> Stage:
        for follower in self.followers:
            if follower.task_id == name:
                return follower
        made = Stage(
            self.make_operator, task_id=name, has_store=self.has_store, blows=self.blows, run_id=self.run_id
        )
        self.followers.append(made)
        return made

    def _wait(self) -> Any:
        lab = self._lab()
        deferrable = lab.options.get("deferrable", True)
        return JimengVideoSensor(
            task_id="wait", render=self.result, poll_interval=0.03, poke_interval=0.05, deferrable=deferrable
        )

    def _download(self) -> Any:
        lab = self._lab()
        return JimengDownloadVideoOperator(
            task_id="download",
            render=self.result,
            output_path=lab.output_path,
            output_conn_id=lab.output_conn_id,
        )

    def _lab(self) -> Lab:
        assert self.lab is not None
        return self.lab
