# SPDX-License-Identifier: Apache-2.0
"""What stands for a task instance where there is no Airflow: the names in the record, and what would go to XCom."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pendulum

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.record import Record

DAG_ID = "command-line"
"""The name of the command line in records, where tasks have the id of their DAG."""


@dataclass(slots=True, kw_only=True)
class LocalRun:
    """One render of one process, with the attributes of a task instance that the operators use.

    Each run has an id of its own, so that processes that begin the same request at the same moment see each other's
    records. Which request it is, its fingerprint and take say.
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
        """Keep a value, for the messages of this process."""
        self.pushed[key] = value

    def xcom_pull(self, *_: Any, **__: Any) -> None:
        """Return ``None``: nothing outlives the process."""


def own_process() -> str:
    """Return a name of this process that no other process has, also on another machine; empty if there is none."""
    return _name_of(os.getpid()) or ""


def has_ended(record: Record) -> bool:
    """Return whether the process that began a submit has certainly ended, so that nobody waits for its answer.

    Only a process of this machine, seen from the same container, can be judged.
    """
    if record.key.dag_id != DAG_ID:
        return False
    name = record.key.run_id.rpartition("/")[2]
    place, _, rest = name.rpartition("-p")
    here, _, _ = own_process().rpartition("-p")
    if not place or place != here:
        return False
    number = rest.partition("-")[0]
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
