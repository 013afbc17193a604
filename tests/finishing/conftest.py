# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Saved = Callable[..., Path]


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    """Save the bytes of a video, or of a file with sound, in the test's directory."""

    def save(content: bytes, name: str = "kite.mp4") -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return save
