# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.command_line import ACCESS_KEY, SECRET_KEY, CommandLine, SteppedEmulator


@pytest.fixture
def emulator() -> Iterator[SteppedEmulator]:
    emulator = SteppedEmulator(access_key=ACCESS_KEY, secret_key=SECRET_KEY, render_seconds=0.5)
    with emulator.serve():
        yield emulator


@pytest.fixture(scope="session")
def airflow_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("airflow")


@pytest.fixture
def jimeng(emulator: SteppedEmulator, tmp_path: Path, airflow_home: Path) -> CommandLine:
    """The command line, with the keys of the emulator in its environment."""
    assert emulator.url is not None
    return CommandLine(home=tmp_path, url=emulator.url, settings={"AIRFLOW_HOME": str(airflow_home)})
