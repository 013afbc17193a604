# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.command_line import (
    ACCESS_KEY,
    SECRET_KEY,
    CommandLine,
    SteppedEmulator,
    airflow_environment,
)
from tests.harness.warm_command import WarmCommand, warm_command


@pytest.fixture
def emulator() -> Iterator[SteppedEmulator]:
    emulator = SteppedEmulator(access_key=ACCESS_KEY, secret_key=SECRET_KEY, render_seconds=0.5)
    with emulator.serve():
        yield emulator


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmCommand]:
    """The process that the commands of all tests are forked from."""
    with warm_command(airflow_environment(tmp_path_factory.mktemp("airflow"))) as process:
        yield process


@pytest.fixture
def jimeng(emulator: SteppedEmulator, tmp_path: Path, warm: WarmCommand) -> CommandLine:
    """The command line, with the keys of the emulator in its environment."""
    assert emulator.url is not None
    return CommandLine(home=tmp_path, url=emulator.url, warm=warm)
