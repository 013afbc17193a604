# SPDX-License-Identifier: Apache-2.0
"""The commands of the pages that newcomers read first, run as printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.newcomer import PYTHON, ROOT, Reader, built_wheel, quick_start
from tests.harness.processes import wait_for_port

pytestmark = pytest.mark.real


@pytest.mark.nightly
def test_the_quick_start_makes_a_video_and_its_connection_can_be_tested_as_printed(tmp_path: Path) -> None:
    wheels = built_wheel(tmp_path / "dist")
    newcomer = Reader(ROOT / "README.md", tmp_path, wheels)
    quick_start(newcomer)
    shell = "source videos/bin/activate\n"
    pages = {
        name: Reader(ROOT / "docs" / f"{name}.md", tmp_path, wheels) for name in ("install", "connection")
    }
    newcomer.type(shell + "".join(pages["install"].shell_blocks[:4]))  # the fifth is for the repository
    *add, test = pages["connection"].shell_blocks
    newcomer.type(shell + "".join(add))
    _install, emulator, connection, _standalone = newcomer.shell_blocks[0].splitlines()
    with newcomer.running("emulator", f"{emulator.removesuffix(' &')} --port {newcomer.port}") as server:
        wait_for_port(newcomer.port, server, timeout_seconds=60)
        tested = newcomer.type(f"{shell}export AIRFLOW__CORE__TEST_CONNECTION=Enabled\n{connection}\n{test}")
    assert "Connection success!" in tested


def test_the_first_page_to_learn_from_makes_a_video_as_printed(tmp_path: Path) -> None:
    reader = Reader(ROOT / "docs" / "first_video.md", tmp_path, built_wheel(tmp_path / "dist"))
    install, emulator, connection, run, look, _account = reader.shell_blocks
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "first_video.py").write_text(reader.dag, encoding="utf-8")
    reader.type(install.replace("python -m venv", f"{PYTHON} -m venv", 1))
    with reader.running("emulator", f"{emulator.rstrip()} --port {reader.port}") as server:
        wait_for_port(reader.port, server, timeout_seconds=60)
        found = reader.type(connection + run + look).splitlines()[-1]
    assert found.endswith(".mp4")
    assert Path(found).stat().st_size > 0
