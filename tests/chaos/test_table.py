# SPDX-License-Identifier: Apache-2.0
"""Every row of the chaos table, as one killed, confused or cleared task after the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.acts import ACTS, BETWEEN, NEED_A_DEFERRAL, play
from tests.chaos.documented import is_documented
from tests.chaos.rows import ONE_TASK_ONLY, ROWS, Row
from tests.harness.lab import Tally, open_lab


def by_name(row: Row) -> str:
    return row.name


def check(row: Row, tally: Tally) -> None:
    assert is_documented(row, tally), (
        f"{tally}: docs/reliability.md says otherwise; if that is right, rows.py"
    )
    assert tally.billed <= row.renders_allowed


@pytest.mark.parametrize("row", ROWS, ids=by_name)
def test_a_row_comes_to_what_the_table_says(row: Row, tmp_path: Path) -> None:
    with open_lab(tmp_path) as lab:
        play(row, lab)
        check(row, lab.tally())


@pytest.mark.parametrize("row", ROWS, ids=by_name)
def test_a_row_comes_to_the_same_below_airflow_3_3(row: Row, tmp_path: Path) -> None:
    with open_lab(tmp_path, below_3_3=True) as lab:
        play(row, lab)
        check(row, lab.tally())


@pytest.mark.parametrize("row", [row for row in ROWS if row.slug not in NEED_A_DEFERRAL], ids=by_name)
def test_a_row_comes_to_the_same_when_the_task_waits_on_its_worker(row: Row, tmp_path: Path) -> None:
    with open_lab(tmp_path) as lab:
        lab.options["deferrable"] = False
        play(row, lab)
        check(row, lab.tally())


@pytest.mark.parametrize("row", [row for row in ROWS if row.slug not in ONE_TASK_ONLY], ids=by_name)
def test_a_row_comes_to_the_same_when_three_tasks_divide_the_work(row: Row, tmp_path: Path) -> None:
    with open_lab(tmp_path, render_seconds=60) as lab:  # the second task has to begin while it still renders
        lab.chained = True
        play(row, lab)
        check(row, lab.tally())


def test_every_act_belongs_to_a_row_and_every_name_is_its_own() -> None:
    assert {*ACTS, *BETWEEN} <= {row.slug for row in ROWS}
    assert len({row.name for row in ROWS}) == len(ROWS)
