"""What ends tasks from outside, on a real Airflow with PostgreSQL and several triggerers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.lab import Tally
from tests.chaos.real import differences, many, open_site, perform

pytestmark = [pytest.mark.real, pytest.mark.chaos]

MAPPED = {
    "triggerer_terminated": ("long", 4),
    "triggerer_killed": ("long", 4),
    "triggerer_stopped": ("long", 4),
}


def test_whatever_ends_a_process_costs_one_render_and_lands_one_file(tmp_path: Path) -> None:
    with open_site(tmp_path, MAPPED) as site:
        assert not differences(perform(site))


def test_forty_mapped_renders_survive_the_kill_of_a_triggerer(tmp_path: Path) -> None:
    with open_site(tmp_path, {"many": ("short", 40)}) as site:
        result = many(site, 40)
    assert result["killed"]
    assert result["failed"] == 0
    assert result["tally"] == Tally(accepted=40, billed=40, landed=40, state="success")
