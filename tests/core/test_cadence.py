from __future__ import annotations

import random

import pytest

from airflow_provider_jimeng.core.catalogue import TYPICAL_RENDER_SECONDS
from airflow_provider_jimeng.core.limits import spread
from airflow_provider_jimeng.core.polling import (
    BLIND_SECONDS,
    CLOSEST,
    EARLY_LOOKS,
    FARTHEST,
    OVERDUE,
    REMEMBERED,
    TRUSTED_FROM,
    WIDEST,
    WIDEST_GUESS,
    Cadence,
)


class Waiter:
    """An object that waits for a render."""


def taught(*durations: tuple[float | None, float]) -> Cadence:
    """Return a cadence that knows these renders: the age when each was last seen running, and when done."""
    cadence = Cadence()
    for pending_at, done_at in durations:
        cadence.learn(pending_at=pending_at, done_at=done_at)
    return cadence


def test_at_first_the_range_of_the_vendor_is_used() -> None:
    cadence = Cadence()

    assert not cadence.known
    assert (cadence.shortest, cadence.longest) == TYPICAL_RENDER_SECONDS
    assert cadence.wait_at(60) == WIDEST_GUESS
    assert cadence.wait_at(290) < cadence.wait_at(200) < WIDEST_GUESS


def test_a_render_younger_than_the_vendors_minute_is_queried_twice() -> None:
    cadence = Cadence()

    assert cadence.wait_at(0) == EARLY_LOOKS[0]
    assert cadence.wait_at(11) == EARLY_LOOKS[1] - 11
    assert cadence.wait_at(33) == 60 + WIDEST_GUESS - 33


def test_an_early_query_that_came_before_its_time_is_not_repeated() -> None:
    assert Cadence().wait_at(EARLY_LOOKS[1] * 0.85) > EARLY_LOOKS[1]


def test_queries_begin_shortly_before_the_shortest_known_duration() -> None:
    cadence = taught(*[(98.0, 100.0)] * 20)

    assert 90 < cadence.shortest < 98
    assert 90 < cadence.wait_at(5) + 5 < 100


def test_long_known_durations_never_stop_the_queries_for_long() -> None:
    assert taught(*[(3590.0, 3600.0)] * 20).wait_at(11) == BLIND_SECONDS


def test_a_few_durations_within_the_vendors_range_narrow_it_little() -> None:
    few, many = taught((198, 200), (199, 201)), taught(*[(198.0, 200.0)] * (TRUSTED_FROM + 1))

    assert 60 < few.shortest < 80
    assert 190 < many.shortest < 198


def test_two_durations_outside_the_vendors_range_replace_it() -> None:
    cadence = taught((28, 30), (29, 31))

    assert 20 < cadence.shortest < 28
    assert cadence.wait_at(30) == CLOSEST


def test_a_duration_that_can_lie_within_the_vendors_range_does_not_replace_it() -> None:
    assert taught((33, 72), (33, 72)).shortest == pytest.approx(58.3, abs=0.1)


def test_a_narrow_range_has_short_steps_and_a_wide_one_has_steps_that_shrink() -> None:
    narrow = taught(*[(58.0, 60.0), (59.0, 61.0)] * 10)
    wide = taught(*[(65.0, 67.0), (230.0, 240.0)] * 10)

    assert narrow.wait_at(60) == CLOSEST
    assert wide.wait_at(65) == pytest.approx(WIDEST, abs=0.5)
    assert wide.wait_at(65) > wide.wait_at(150) > wide.wait_at(230)


def test_the_first_renders_to_end_say_little_about_many_that_began_together() -> None:
    waiting = [Waiter() for _ in range(5)]
    cadence = taught((60, 62), (61, 63))
    for each in waiting:
        cadence.join(each)

    assert cadence.wait_at(65) > 11
    waiting.clear()
    assert cadence.wait_at(65) == OVERDUE


def test_an_overdue_render_is_queried_less_and_less() -> None:
    cadence = taught((28, 30), (29, 31))

    assert cadence.wait_at(40) == cadence.wait_at(299) == OVERDUE
    assert OVERDUE < cadence.wait_at(400) < FARTHEST
    assert cadence.wait_at(3600) == FARTHEST


def test_a_render_that_the_first_query_finds_done_moves_the_first_query_forward() -> None:
    cadence = taught((58, 60), (59, 61))
    before = cadence.shortest

    cadence.learn(pending_at=None, done_at=60)

    assert cadence.shortest < before


def test_a_render_that_the_first_query_finds_done_is_ignored_while_nothing_is_known() -> None:
    assert not taught((None, 11), (None, 11), (None, 11)).known


def test_a_render_that_was_adopted_long_after_its_end_is_ignored() -> None:
    cadence = taught((58, 60), (59, 61))

    cadence.learn(pending_at=None, done_at=3600)

    assert cadence.longest == 61


def test_only_the_latest_durations_count() -> None:
    cadence = taught((28, 30), *[(88.0, 90.0)] * REMEMBERED)

    assert cadence.shortest > 85


@pytest.mark.parametrize("learns", [True, False], ids=["known model", "unknown model"])
def test_renders_of_one_to_four_minutes_take_few_queries_and_are_noticed_soon(learns: bool) -> None:
    drawn, renders = random.Random(7), 400
    cadence, queries, delays = Cadence(), 0, 0.0
    for _ in range(renders):
        duration, pending_at = drawn.uniform(60, 240), None
        cadence = cadence if learns else Cadence()
        age = max(11.0, cadence.blind_wait(0.0))
        while age < duration:
            queries, pending_at, age = queries + 1, age, age + spread(cadence.wait_at(age), drawn.random())
        queries, delays = queries + 1, delays + age - duration
        cadence.learn(pending_at=pending_at, done_at=age)

    assert queries / renders <= 12
    assert delays / renders <= 5
