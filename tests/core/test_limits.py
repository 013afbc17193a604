# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_jimeng.core.envelope import error_for
from airflow_provider_jimeng.core.errors import JimengError, NotSentError
from airflow_provider_jimeng.core.limits import (
    LEAD_SECONDS,
    READY_SECONDS,
    SETTLE_SECONDS,
    SHORTEST_QUERY_PAUSE,
    TRY_WHEN_FREE_SECONDS,
    TRY_WHEN_FULL_SECONDS,
    TRY_WHEN_THROTTLED_SECONDS,
    Waiter,
    choose,
    ends_soon,
    frees_slot,
    longest_query_pause,
    pause_between_tries,
    running_at_once,
)
from airflow_provider_jimeng.core.render import RenderStatus
from airflow_provider_jimeng.core.wire import QueryReply

if TYPE_CHECKING:
    import pytest

NOW = 1_000.0


def waiter(since: float = 0.0, **values: object) -> Waiter:
    return Waiter(**{"since": since, "not_before": since + SETTLE_SECONDS, **values})  # type: ignore[arg-type]


def test_nobody_is_chosen_where_nobody_waits() -> None:
    assert choose([], now=NOW, turns={}) is None


def test_the_longest_wait_goes_first() -> None:
    early, late = waiter(10), waiter(20)

    assert choose([late, early], now=NOW, turns={}) is early


def test_the_heavier_task_goes_before_the_longer_wait() -> None:
    light, heavy = waiter(10), waiter(20, priority_weight=5)

    assert choose([light, heavy], now=NOW, turns={}) is heavy


def test_dags_of_the_same_weight_go_in_turn() -> None:
    first, second = waiter(10, dag_id="a"), waiter(20, dag_id="b")

    assert choose([first, second], now=NOW, turns={"a": 0}) is second
    assert choose([first, second], now=NOW, turns={"a": 0, "b": 1}) is first


def test_who_deferred_a_moment_ago_stands_back_while_there_is_anyone_else() -> None:
    fresh, settled = waiter(0, not_before=NOW + 3, priority_weight=9), waiter(20)

    assert choose([fresh, settled], now=NOW, turns={}) is settled


def test_of_those_who_all_deferred_a_moment_ago_the_first_to_settle_goes() -> None:
    later, sooner = waiter(0, not_before=NOW + 9), waiter(5, not_before=NOW + 2)

    assert choose([later, sooner], now=NOW, turns={}) is sooner


def test_a_waiter_knows_when_its_last_submit_was_refused() -> None:
    assert waiter(50).refused_at == 50


def test_tries_are_rare_while_all_known_slots_are_taken(subtests: pytest.Subtests) -> None:
    cases: list[tuple[int, int, bool, float]] = [
        (0, 0, False, TRY_WHEN_FREE_SECONDS),
        (0, 2, False, TRY_WHEN_FREE_SECONDS),
        (1, 2, False, TRY_WHEN_FREE_SECONDS),
        (2, 2, False, TRY_WHEN_FULL_SECONDS),
        (2, 2, True, TRY_WHEN_THROTTLED_SECONDS),
    ]
    for running, peak, throttled, pause in cases:
        with subtests.test(
            running=repr(running), peak=repr(peak), throttled=repr(throttled), pause=repr(pause)
        ):
            assert pause_between_tries(running=running, peak=peak, throttled=throttled) == pause


ABOUT_30 = [(29.0, 31.0)]


def test_without_a_known_duration_nobody_is_woken_ahead() -> None:
    assert not ends_soon([], 25.0)


def test_a_task_is_woken_ahead_when_a_worker_can_just_start_before_the_end() -> None:
    assert not ends_soon(ABOUT_30, 29.0 - LEAD_SECONDS - 1)
    assert not ends_soon(ABOUT_30, 29.2 - LEAD_SECONDS)
    assert ends_soon(ABOUT_30, 30.0 - LEAD_SECONDS)


def test_nobody_is_woken_ahead_for_a_render_that_is_older_than_all_known_ones() -> None:
    assert not ends_soon(ABOUT_30, 31.0)


def test_nobody_stands_ready_while_an_end_is_possible_but_not_likely() -> None:
    wide = [(float(age), age + 1.0) for age in range(60, 240)]
    assert not ends_soon(wide, 100.0)
    assert ends_soon(wide, 240.0 - LEAD_SECONDS - READY_SECONDS)


def test_of_two_usual_durations_the_first_one_is_expected_and_then_the_second() -> None:
    two = [(60.0, 61.0), (60.0, 61.0), (110.0, 111.0)]
    assert ends_soon(two, 61.0 - LEAD_SECONDS)
    assert not ends_soon(two, 80.0)
    assert ends_soon(two, 111.0 - LEAD_SECONDS)


def test_a_duration_of_which_both_ages_are_the_same_is_no_obstacle() -> None:
    assert ends_soon([(60.0, 60.0)], 59.0)


def test_renders_are_queried_at_a_bounded_rate_while_tasks_wait(subtests: pytest.Subtests) -> None:
    for running, waiting, pause in [(1, 1, SHORTEST_QUERY_PAUSE), (8, 3, 16.0), (8, 0, float("inf"))]:
        with subtests.test(running=repr(running), waiting=repr(waiting)):
            assert longest_query_pause(running=running, waiting=waiting) == pause


def test_a_render_counts_as_running_beside_another_only_if_it_was_seen_running_since() -> None:
    assert running_at_once([]) == 0
    assert running_at_once([(10.0, 10.0)]) == 1
    assert running_at_once([(0.0, 12.0), (10.0, 10.0)]) == 2
    assert running_at_once([(0.0, 9.0), (10.0, 10.0)]) == 1


def test_the_end_of_a_render_frees_its_slot_whatever_the_end_is() -> None:
    free = {status for status in RenderStatus if frees_slot(QueryReply(status=status, status_word=""))}
    ended = {RenderStatus.DONE, RenderStatus.FAILED, RenderStatus.EXPIRED, RenderStatus.NOT_FOUND}
    assert free == ended


def test_an_error_frees_a_slot_only_if_it_ends_the_render() -> None:
    errors: list[JimengError] = [NotSentError("no route"), error_for("novel", "m", http_status=400)]
    assert not any(map(frees_slot, errors))
    assert frees_slot(error_for(50511, "m", http_status=400))
    assert not frees_slot(error_for(50429, "m", http_status=429))
