from __future__ import annotations

import random

import pytest

from airflow_provider_jimeng.core.cadence import (
    BLIND_SECONDS,
    CLOSEST,
    FARTHEST,
    GLANCES,
    OVERDUE,
    REMEMBERED,
    TRUSTED_FROM,
    WIDEST,
    WIDEST_GUESS,
    Cadence,
)
from airflow_provider_jimeng.core.catalogue import TYPICAL_RENDER_SECONDS


class Somebody:
    """Waits for a render."""


def taught(*seen: tuple[float | None, float]) -> Cadence:
    cadence = Cadence()
    for pending_at, done_at in seen:
        cadence.learn(pending_at=pending_at, done_at=done_at)
    return cadence


def test_nothing_is_known_at_first_and_the_vendors_minutes_stand_in() -> None:
    cadence = Cadence()

    assert not cadence.known
    assert (cadence.shortest, cadence.longest) == TYPICAL_RENDER_SECONDS
    assert cadence.wait_at(60) == WIDEST_GUESS
    assert cadence.wait_at(290) < cadence.wait_at(200) < WIDEST_GUESS


def test_before_the_vendors_minute_it_is_looked_at_twice_and_no_more() -> None:
    cadence = Cadence()

    assert cadence.wait_at(0) == GLANCES[0]
    assert cadence.wait_at(11) == GLANCES[1] - 11
    assert cadence.wait_at(33) == 60 + WIDEST_GUESS - 33


def test_nothing_is_asked_before_the_shortest_duration_seen() -> None:
    cadence = taught(*[(98.0, 100.0)] * 20)

    assert 90 < cadence.shortest < 98
    assert 90 < cadence.wait_at(5) + 5 < 100


def test_what_was_learnt_never_silences_the_queries_for_long() -> None:
    assert taught(*[(3590.0, 3600.0)] * 20).wait_at(11) == BLIND_SECONDS


def test_a_few_durations_within_the_vendors_minutes_do_not_narrow_them_much() -> None:
    few, many = taught((198, 200), (199, 201)), taught(*[(198.0, 200.0)] * (TRUSTED_FROM + 1))

    assert 60 < few.shortest < 80
    assert 190 < many.shortest < 198


def test_durations_that_contradict_the_vendor_are_believed_at_once() -> None:
    cadence = taught((28, 30), (29, 31))

    assert 20 < cadence.shortest < 28
    assert cadence.wait_at(30) == CLOSEST


def test_a_duration_that_may_agree_with_the_vendor_does_not_contradict_him() -> None:
    assert taught((33, 72), (33, 72)).shortest == pytest.approx(58.3, abs=0.1)


def test_a_narrow_range_is_asked_closely_and_a_wide_one_in_steps_that_shrink() -> None:
    narrow = taught(*[(58.0, 60.0), (59.0, 61.0)] * 10)
    wide = taught(*[(65.0, 67.0), (230.0, 240.0)] * 10)

    assert narrow.wait_at(60) == CLOSEST
    assert wide.wait_at(65) == pytest.approx(WIDEST, abs=0.5)
    assert wide.wait_at(65) > wide.wait_at(150) > wide.wait_at(230)


def test_of_many_that_began_together_the_first_to_end_say_little() -> None:
    waiting = [Somebody() for _ in range(5)]
    cadence = taught((60, 62), (61, 63))
    for each in waiting:
        cadence.join(each)

    assert cadence.wait_at(65) > 11
    waiting.clear()
    assert cadence.wait_at(65) == OVERDUE


def test_an_overdue_render_is_asked_less_and_less() -> None:
    cadence = taught((28, 30), (29, 31))

    assert cadence.wait_at(40) == cadence.wait_at(299) == OVERDUE
    assert OVERDUE < cadence.wait_at(400) < FARTHEST
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

    assert cadence.shortest > 85


@pytest.mark.parametrize("renders", [100, 400])
def test_renders_of_one_to_four_minutes_cost_few_queries_and_are_noticed_soon(renders: int) -> None:
    drawn = random.Random(7)
    cadence, queries, delays = Cadence(), 0, 0.0
    for _ in range(renders):
        duration, pending_at = drawn.uniform(60, 240), None
        age = max(11.0, cadence.blind_wait(0.0))
        while age < duration:
            queries, pending_at, age = queries + 1, age, age + cadence.wait_at(age)
        queries, delays = queries + 1, delays + age - duration
        cadence.learn(pending_at=pending_at, done_at=age)

    assert queries / renders <= 12
    assert delays / renders <= 5
