# SPDX-License-Identifier: Apache-2.0
"""The commands of docs/first_video.md, run in order in an empty folder, with the wheel in place of a package index."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.processes import Service, free_port, stop_all, wait_for_port

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "first_video.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def test_the_page_about_the_first_video_makes_one(tmp_path: Path) -> None:
    subprocess.run(
        [
            sys.executable,
            "-m",
            "hatchling",
            "build",
            "--target",
            "wheel",
            "--directory",
            str(tmp_path / "dist"),
        ],
        cwd=ROOT,
        check=True,
    )
    port = free_port()
    saved = "/tmp/jimeng"  # noqa: S108 - where the page saves its videos
    text = TEXT.replace("8787", str(port)).replace(saved, str(tmp_path / "jimeng"))
    install, emulator, connection, run, look, _account = (
        code for kind, code in FENCE.findall(text) if kind == "sh"
    )
    (dag,) = (code for kind, code in FENCE.findall(text) if kind == "python")
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "first_video.py").write_text(dag, encoding="utf-8")
    links = f"{tmp_path / 'dist'} {os.environ.get('PIP_FIND_LINKS', '')}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON"))}
    env = {**kept, "PIP_FIND_LINKS": links, "AIRFLOW_HOME": str(tmp_path / "airflow")}

    def shell(script: str) -> str:
        done = subprocess.run(
            ["bash", "-euc", script], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout

    start = f"python{sys.version_info.major}.{sys.version_info.minor}"
    shell(install.replace("python -m venv", f"{start} -m venv", 1))
    server = Service(
        name="emulator",
        argv=["bash", "-euc", f"source '{tmp_path}/videos/bin/activate'\n{emulator.rstrip()} --port {port}"],
        env=env,
        log_file=tmp_path / "emulator.log",
    )
    server.start()
    try:
        wait_for_port(port, server, timeout_seconds=60)
        found = shell(connection + run + look).splitlines()[-1]
    finally:
        stop_all([server])
    assert found.endswith(".mp4")
    assert Path(found).stat().st_size > 0
