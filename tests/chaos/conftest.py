# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _not_measured() -> Iterator[None]:
    """Measure no coverage here: these tests are long, and what they run is measured in the tests of its module."""
    measuring = "coverage" in sys.modules and sys.modules["coverage"].Coverage.current()
    if measuring:
        measuring.stop()
    yield
    if measuring:
        measuring.start()
