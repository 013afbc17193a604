# SPDX-License-Identifier: Apache-2.0
"""What the doctor has found: a fact, what is assumed of it, what the account shows, and whether both agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airflow_provider_jimeng.core.assumptions import ASSUMPTIONS

YES, NO, OPEN = "yes", "no", "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One row. ``agrees`` is ``None`` if nothing is assumed, or nothing can be concluded from what was seen."""

    name: str
    fact: str
    assumed: str = ""
    confidence: str = ""
    source: str = ""
    seen: str
    agrees: bool | None = None

    def to_payload(self) -> dict[str, Any]:
        """Return the row as plain JSON data."""
        return {
            "name": self.name,
            "fact": self.fact,
            "assumed": self.assumed,
            "confidence": self.confidence,
            "source": self.source,
            "seen": self.seen,
            "agrees": self.agrees,
        }

    def row(self) -> tuple[str, str, str, str]:
        """Return the row of the table."""
        assumed = f"{self.assumed} ({self.confidence})" if self.confidence else self.assumed
        verdict = OPEN if self.agrees is None else YES if self.agrees else NO
        return self.fact, assumed, self.seen, verdict if self.assumed or self.agrees is not None else ""


COLUMNS = ("fact", "assumed (confidence)", "seen", "agrees?")


def finding(name: str, seen: str, agrees: bool | None, *, assumed: str | None = None) -> Finding:  # noqa: FBT001 - a verdict
    """Return the finding about an assumption.

    :param assumed: what is assumed for this case, if it is more precise than the table.
    """
    known = ASSUMPTIONS[name]
    return Finding(
        name=name,
        fact=known.fact,
        assumed=known.assumed if assumed is None else assumed,
        confidence=known.confidence,
        source=known.source,
        seen=seen,
        agrees=agrees,
    )


def as_assumed(name: str, seen: str) -> Finding:
    """Return the finding about an answer, which agrees if it is the assumed one."""
    return finding(name, seen, seen == ASSUMPTIONS[name].assumed)


def fact(name: str, text: str, seen: str, agrees: bool | None = None, *, assumed: str = "") -> Finding:  # noqa: FBT001
    """Return a finding about the account or the network, of which the package assumes nothing beyond ``assumed``."""
    return Finding(name=name, fact=text, assumed=assumed, seen=seen, agrees=agrees)
