"""The records as version 0.1.0 reads and writes them: its wheel, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from tests.meta.tree import ROOT

WHEEL = ROOT / "tests" / "data" / "airflow_provider_jimeng-0.1.0-py3-none-any.whl"

_PROGRAM = """
import json, sys
import airflow_provider_jimeng
assert airflow_provider_jimeng.__version__ == "0.1.0" and ".whl" in airflow_provider_jimeng.__file__
from airflow_provider_jimeng.core.record import Record
from airflow_provider_jimeng.storage.ledger import RecordObjects
from airflow_provider_jimeng.storage.target import Target

task = json.loads(sys.stdin.read())
objects = RecordObjects(Target(output_path=task["folder"]))
for payload in task["write"]:
    objects.write(Record.from_payload(payload))
found = objects.of_request(task["look_for"]) if task["look_for"] else []
print("FOUND " + json.dumps([record.to_payload() for record in found]))
"""


def run_0_1_0(
    folder: str, *, write: Sequence[dict[str, Any]] = (), look_for: str | None = None
) -> list[dict[str, Any]]:
    """Write records as 0.1.0 does, and return what it finds of a request afterwards, the best first."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        input=json.dumps({"folder": folder, "write": list(write), "look_for": look_for}),
        cwd=folder,  # not the project, which would be imported instead
        env={**os.environ, "PYTHONPATH": str(WHEEL)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    return list(json.loads(line.removeprefix("FOUND ")))
