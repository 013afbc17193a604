"""What ends tasks from outside, on one real Airflow with PostgreSQL and four triggerers, of which the last one is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.documented import is_documented
from tests.chaos.lab import Tally
from tests.chaos.real import MAPPED, many, open_site, perform
from tests.chaos.rows import PROCESS_ROWS

pytestmark = [pytest.mark.real, pytest.mark.chaos]

MANY = 12


def test_whatever_ends_a_process_costs_one_render_and_lands_one_file(tmp_path: Path) -> None:
    with open_site(tmp_path, {**MAPPED, "many": MANY}, triggerers=4) as site:
        tallies = perform(site)
        stale = [row.slug for row in PROCESS_ROWS if not is_documented(row, tallies[row.slug])]
        assert not stale, {slug: tallies[slug] for slug in stale}
        result = many(site, MANY)
    assert result["killed"]
    assert result["failed"] == 0
    assert result["tally"] == Tally(accepted=MANY, billed=MANY, landed=MANY, state="success")
