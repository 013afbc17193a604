# SPDX-License-Identifier: Apache-2.0
"""A newcomer who types the commands of a page. The wheel of this repository takes the place of the package index."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness.processes import Service, free_port, stop_all, wait_for_port

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
DAG_ID = "example_jimeng_text_to_video"
LONGEST_SECONDS = 600.0
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"


class Reader:
    """Types the commands of a page in an empty folder and in the virtual environment `videos`."""

    def __init__(self, page: Path, folder: Path, wheels: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.saved = folder / page.stem
        text = page.read_text(encoding="utf-8")
        text = text.replace("8787", str(self.port)).replace("/tmp/jimeng", str(self.saved))  # noqa: S108
        blocks = FENCE.findall(text)
        self.shell_blocks = [code for kind, code in blocks if kind in ("sh", "bash")]
        self.dag = next((code for kind, code in blocks if kind == "python"), "")
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON"))
        }
        port = free_port()
        self.env = {
            **kept,
            "PIP_FIND_LINKS": f"{wheels} {os.environ.get('PIP_FIND_LINKS', '')}",
            "AIRFLOW_HOME": str(folder / f"airflow-{page.stem}"),
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__BASE_URL": f"http://localhost:{port}",
        }

    def type(self, script: str) -> str:
        """Run a script and return what it prints."""
        done = subprocess.run(
            ["bash", "-euc", script],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout

    @contextmanager
    def running(self, name: str, script: str) -> Iterator[Service]:
        """Run a script in another terminal."""
        service = Service(
            name=name,
            argv=["bash", "-euc", f"cd '{self.folder}'\nsource videos/bin/activate\n{script}"],
            env=self.env,
            log_file=self.folder / f"{name}.log",
        )
        service.start()
        try:
            yield service
        finally:
            stop_all([service])


def built_wheel(folder: Path) -> Path:
    """Build the wheel of this repository and return the folder that it is in."""
    command = ["-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True)
    return folder


def quick_start(reader: Reader) -> float:
    """Follow the quick start of the README. Return the seconds from `airflow standalone` to the saved video."""
    (reader.folder / "dags").mkdir()
    install, emulator, connection, standalone = reader.shell_blocks[0].splitlines()
    (reader.folder / "dags" / "first_video.py").write_text(reader.dag, encoding="utf-8")
    reader.type(f"{PYTHON} -m venv videos\nsource videos/bin/activate\n{install}")
    with reader.running("emulator", f"{emulator.removesuffix(' &')} --port {reader.port}") as server:
        wait_for_port(reader.port, server, timeout_seconds=60)
        started = time.monotonic()
        with reader.running("airflow", f"{connection}\n{standalone}") as airflow:
            _trigger(reader, airflow)
            _wait_until(airflow, lambda: list(reader.saved.rglob("*.mp4.json")))
            return time.monotonic() - started


def _trigger(reader: Reader, airflow: Service) -> None:
    """Start the DAG as soon as Airflow knows it. The UI unpauses it with the same click.

    ``dags unpause`` succeeds without doing anything if Airflow does not know the DAG yet, so the trigger comes first.
    """
    command = f"source videos/bin/activate; airflow dags trigger {DAG_ID} && airflow dags unpause {DAG_ID}"

    def started() -> bool:
        done = subprocess.run(
            ["bash", "-uc", command],
            cwd=reader.folder,
            env=reader.env,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode == 0

    _wait_until(airflow, started)


def _wait_until(airflow: Service, happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + LONGEST_SECONDS
    while not happened():
        airflow.check()
        assert time.monotonic() < deadline, airflow.log_tail()
        time.sleep(1)
