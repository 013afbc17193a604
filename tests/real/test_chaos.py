# SPDX-License-Identifier: Apache-2.0
"""What ends or freezes processes from outside, on one real Airflow with PostgreSQL and four triggerers, of which the last one is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.documented import is_documented
from tests.chaos.outage_runs import perform_outage
from tests.chaos.outages import SHORT_OUTAGE, outage_dags
from tests.chaos.real import MAPPED, chaos_dags, many, open_site, perform
from tests.chaos.rows import PROCESS_ROWS
from tests.harness.lab import Tally

pytestmark = [pytest.mark.real, pytest.mark.chaos]

MANY = 12


def test_whatever_ends_a_process_costs_one_render_and_lands_one_file(tmp_path: Path) -> None:
    dags = chaos_dags({**MAPPED, "many": MANY}), outage_dags(SHORT_OUTAGE)
    with open_site(tmp_path, *dags, triggerers=4) as site:
        tallies = perform(site)
        endings = perform_outage(site, SHORT_OUTAGE)
        tallies |= {slug: ending.tally for slug, ending in endings.items()}
        stale = [row.slug for row in PROCESS_ROWS if not is_documented(row, tallies[row.slug])]
        assert not stale, {slug: tallies[slug] for slug in stale}
        assert all(endings[group.slug].is_right(group) for group in SHORT_OUTAGE.groups), endings
        assert not any(ending.failed for ending in endings.values()), endings
        result = many(site, MANY)
    assert result["killed"]
    assert result["failed"] == 0
    assert result["tally"] == Tally(accepted=MANY, billed=MANY, landed=MANY, state="success")
