# SPDX-License-Identifier: Apache-2.0
"""What the documents say of a row, beside what came of it."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from docs.tables import ROOT, chaos_line

if TYPE_CHECKING:
    from tests.chaos.rows import Row
    from tests.harness.lab import Tally


def is_documented(row: Row, tally: Tally) -> bool:
    """Does docs/reliability.md say of a row what was counted?"""
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    return chaos_line(replace(row, **asdict(tally))) in text.splitlines()
