# SPDX-License-Identifier: Apache-2.0
"""Reads and writes records as version 0.1.0 does, with its wheel in another process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Self

from tests.harness.processes import unmeasured_environment
from tests.meta.tree import ROOT

WHEEL = ROOT / "tests" / "data" / "airflow_provider_jimeng-0.1.0-py3-none-any.whl"

_PROGRAM = """
import json, sys
import airflow_provider_jimeng
assert airflow_provider_jimeng.__version__ == "0.1.0" and ".whl" in airflow_provider_jimeng.__file__
from airflow_provider_jimeng.core.record import Record
from airflow_provider_jimeng.storage.ledger import RecordObjects
from airflow_provider_jimeng.storage.target import Target

for line in sys.stdin:
    task = json.loads(line)
    objects = RecordObjects(Target(output_path=task["folder"]))
    for payload in task["write"]:
        objects.write(Record.from_payload(payload))
    found = objects.of_request(task["look_for"]) if task["look_for"] else []
    print("FOUND " + json.dumps([record.to_payload() for record in found]), flush=True)
"""


class Version010:
    """A process that answers one call after another, from `with` to the end of the block."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            cwd=WHEEL.parent,  # not the project, which would be imported instead
            env=unmeasured_environment() | {"PYTHONPATH": str(WHEEL)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def call(
        self, folder: str, *, write: Sequence[dict[str, Any]] = (), look_for: str | None = None
    ) -> list[dict[str, Any]]:
        """Write records as 0.1.0 does. Return the records of a request that it finds afterwards, the best first."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(
            json.dumps({"folder": folder, "write": list(write), "look_for": look_for}),
            file=self._process.stdin,
            flush=True,
        )
        for line in self._process.stdout:
            if line.startswith("FOUND "):
                return list(json.loads(line.removeprefix("FOUND ")))
        raise AssertionError("0.1.0 ended without an answer")
