from __future__ import annotations

import random

import pytest

from airflow_provider_jimeng.core.cadence import BLIND_SECONDS, CLOSE, CLOSEST, FARTHEST, REMEMBERED, Cadence
from airflow_provider_jimeng.core.catalogue import TYPICAL_RENDER_SECONDS


def taught(*seen: tuple[float | None, float]) -> Cadence:
    cadence = Cadence()
    for pending_at, done_at in seen:
        cadence.learn(pending_at=pending_at, done_at=done_at)
    return cadence


def test_nothing_is_known_at_first_and_the_vendors_minutes_stand_in() -> None:
    cadence = Cadence()

    assert not cadence.known
    assert cadence.shortest == 0
    assert cadence.longest == TYPICAL_RENDER_SECONDS[1]
    assert cadence.wait_at(20) == CLOSE


def test_nothing_is_asked_before_the_shortest_duration_seen() -> None:
    cadence = taught((58, 60), (70, 72))

    assert cadence.wait_at(11) == pytest.approx(58 * 0.97 - 11)


def test_what_was_learnt_never_silences_the_queries_for_long() -> None:
    assert taught((3590, 3600), (3500, 3600)).wait_at(11) == BLIND_SECONDS


def test_a_narrow_range_is_asked_closely() -> None:
    assert taught((28, 30), (29, 31)).wait_at(29) == CLOSEST


def test_a_wide_range_is_asked_less_closely_so_that_few_queries_do() -> None:
    assert taught((55, 60), (230, 240)).wait_at(100) == pytest.approx((240 - 55 * 0.97) / 20)
    assert taught((55, 60), (590, 600)).wait_at(100) == CLOSE


def test_an_overdue_render_is_asked_less_and_less() -> None:
    cadence = taught((28, 30), (29, 31))

    assert cadence.wait_at(40) == CLOSE
    assert CLOSE < cadence.wait_at(131) < FARTHEST
    assert cadence.wait_at(3600) == FARTHEST


def test_a_render_found_done_at_the_first_look_moves_the_start_down() -> None:
    cadence = taught((58, 60), (59, 61))
    before = cadence.shortest

    cadence.learn(pending_at=None, done_at=60)

    assert cadence.shortest < before


def test_a_render_found_done_at_the_first_look_teaches_nothing_while_nothing_is_known() -> None:
    assert not taught((None, 11), (None, 11), (None, 11)).known


def test_a_render_that_was_adopted_long_after_its_end_teaches_nothing() -> None:
    cadence = taught((58, 60), (59, 61))

    cadence.learn(pending_at=None, done_at=3600)

    assert cadence.longest == 61


def test_only_the_latest_durations_count() -> None:
    cadence = taught((28, 30), *[(88.0, 90.0)] * REMEMBERED)

    assert cadence.shortest == pytest.approx(88 * 0.97)


def test_renders_of_one_to_four_minutes_cost_few_queries_and_are_noticed_soon() -> None:
    drawn = random.Random(7)
    cadence, queries, delays = Cadence(), 0, 0.0
    for _ in range(400):
        duration, age, pending_at = drawn.uniform(60, 240), max(11.0, cadence.shortest), None
        while age < duration:
            queries, pending_at, age = queries + 1, age, age + cadence.wait_at(age)
        queries, delays = queries + 1, delays + age - duration
        cadence.learn(pending_at=pending_at, done_at=age)

    assert queries / 400 <= 12
    assert delays / 400 <= 5
