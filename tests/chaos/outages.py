# SPDX-License-Identifier: Apache-2.0
"""Outages: what a task needs is killed or frozen while tasks pay for renders, and comes back after a while. Pure data."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from typing import Any

ANSWER, LOOKUP, POST = "answer", "look-up", "post"
"""Where tasks are when the outage begins: waiting for the answer to their submit, before they read their connection,
and between the record of their intent and the POST."""
API_SERVER, POSTGRES, STORE = "API server", "PostgreSQL", "store of the videos"
STORE_CONNECTION = "outage_store"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Tasks of one DAG that stand at the same point when the outage begins; `options` go to the operator."""

    slug: str
    at: str
    count: int
    store: str | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def output(self) -> str:
        """Where its videos go, in a DAG file."""
        if self.store is None:
            return f"file://__HOME__/videos/{self.slug}/"
        place = {"s3": "renders", "sftp": "127.0.0.1"}[self.store]  # the bucket or the host
        return f"{self.store}://{STORE_CONNECTION}@{place}/{self.slug}/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """Who is away, how and for how long, and which tasks run then; their renders take `render_seconds`."""

    victim: str
    number: signal.Signals
    seconds: float
    groups: tuple[Group, ...]
    render_seconds: float = 30.0

    @property
    def what(self) -> str:
        """Say it for people."""
        return f"{self.victim} {self.number.name} for {self.seconds:.0f} s"


OUTAGES: dict[str, Outage] = {
    "killed": Outage(
        victim=API_SERVER,
        number=signal.SIGKILL,
        seconds=100,
        groups=(Group(slug="killed", at=ANSWER, count=8),),
    ),
    "frozen": Outage(
        victim=API_SERVER,
        number=signal.SIGSTOP,
        seconds=100,
        groups=(Group(slug="frozen", at=ANSWER, count=8),),
    ),
    "before": Outage(
        victim=API_SERVER,
        number=signal.SIGSTOP,
        seconds=60,
        groups=(
            Group(slug="before_lookup", at=LOOKUP, count=4),
            Group(slug="before_post", at=POST, count=4),
        ),
    ),
    "database": Outage(
        victim=POSTGRES,
        number=signal.SIGSTOP,
        seconds=100,
        groups=(Group(slug="database", at=ANSWER, count=8),),
    ),
    "sftp": Outage(
        victim=STORE,
        number=signal.SIGSTOP,
        seconds=100,
        groups=(Group(slug="sftp", at=ANSWER, count=8, store="sftp"),),
    ),
    "s3": Outage(
        victim=STORE,
        number=signal.SIGSTOP,
        seconds=100,
        groups=(Group(slug="s3", at=ANSWER, count=8, store="s3"),),
    ),
}
OFTEN: dict[str, Any] = {"retries": 8, "retry_delay": 10, "poll_interval": 2}
SHORT_OUTAGE = Outage(
    victim=API_SERVER,
    number=signal.SIGKILL,
    seconds=40,
    groups=(
        Group(slug="away_at_answer", at=ANSWER, count=3, options=OFTEN),
        Group(slug="away_at_look_up", at=LOOKUP, count=2, options=OFTEN),
        Group(slug="away_at_post", at=POST, count=2, options=OFTEN),
    ),
    render_seconds=12,
)
"""The same in short, for a stack whose heartbeats are watched closely."""
DAGS = """
from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG
from airflow_provider_jimeng.operators.video import JimengGenerateVideoOperator


def halt(name):
    folder = Path("__HOME__") / "halts" / name
    if not (folder / "go").exists():
        (folder / str(os.getpid())).touch()
    while not (folder / "go").exists():
        time.sleep(0.1)


class HaltsBeforeLookUp(JimengGenerateVideoOperator):
    def execute(self, context):
        halt(self.dag_id)
        return super().execute(context)


class HaltsBeforePost(JimengGenerateVideoOperator):
    def hook_for(self, jimeng_conn_id):
        hook = super().hook_for(jimeng_conn_id)
        submit = hook.submit

        def submit_late(*arguments, **options):
            halt(self.dag_id)
            return submit(*arguments, **options)

        hook.submit = submit_late
        return hook


KINDS = {"answer": JimengGenerateVideoOperator, "look-up": HaltsBeforeLookUp, "post": HaltsBeforePost}

for slug, (at, count, output, options) in __GROUPS__.items():
    with DAG(f"chaos_{slug}", schedule=None):
        if "retry_delay" in options:
            options["retry_delay"] = timedelta(seconds=options["retry_delay"])
        KINDS[at].partial(task_id="render", output_path=output, deferrable=True, **options).expand(
            prompt=[f"{slug}: a kite, number {i}" for i in range(count)]
        )
"""


def outage_dags(*outages: Outage) -> str:
    """Return the file with the DAGs of outages."""
    groups = {
        group.slug: (group.at, group.count, group.output, group.options)
        for outage in outages
        for group in outage.groups
    }
    return DAGS.replace("__GROUPS__", repr(groups))
