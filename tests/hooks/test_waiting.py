# SPDX-License-Identifier: Apache-2.0
"""Polls of an event loop start together."""

from __future__ import annotations

import pytest

from airflow_provider_jimeng.hooks.waiting import until_next_tick

NOW = 1_800_000_000.03


@pytest.mark.parametrize("seconds", [0.5, 1.0, 7.31, 180.0])
def test_a_pause_ends_on_a_full_tenth_of_a_second_and_never_early(seconds: float) -> None:
    pause = until_next_tick(seconds, NOW)
    assert seconds <= pause < seconds + 0.11
    assert round((NOW + pause) * 10, 3) % 1 == pytest.approx(0, abs=1e-3)


def test_a_short_pause_stays_as_it_is() -> None:
    assert until_next_tick(0.2, NOW) == 0.2
