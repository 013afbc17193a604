# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.lab import Lab, open_lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """An emulator and a directory for videos, behind `jimeng_default`."""
    with open_lab(tmp_path) as opened:
        yield opened
