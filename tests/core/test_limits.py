# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from airflow_provider_jimeng.core.envelope import error_for
from airflow_provider_jimeng.core.errors import JimengError, NotSentError
from airflow_provider_jimeng.core.limits import (
    BURST_SECONDS,
    LEAD_SECONDS,
    READY_SECONDS,
    SETTLE_SECONDS,
    SHORTEST_QUERY_PAUSE,
    TRY_WHEN_FREE_SECONDS,
    TRY_WHEN_FULL_SECONDS,
    TRY_WHEN_THROTTLED_SECONDS,
    RateLimiter,
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


def starts(limiter: RateLimiter, count: int, *, routine: bool, now: float = 0.0) -> list[float]:
    """Let one caller after the other ask, sleep as told, and start."""
    times = []
    for _ in range(count):
        while seconds := limiter.delay(now, routine=routine):
            now += seconds
        times.append(now)
    return times


def test_requests_are_spaced_by_the_configured_rate() -> None:
    assert starts(RateLimiter(5.0), 4, routine=False) == pytest.approx([0.0, 0.2, 0.4, 0.6])


def test_routine_polls_use_at_most_four_fifths_of_the_rate() -> None:
    assert starts(RateLimiter(5.0), 5, routine=True) == pytest.approx([0.0, 0.25, 0.5, 0.75, 1.0])


def test_a_submit_does_not_queue_behind_polls() -> None:
    limiter = RateLimiter(5.0)
    starts(limiter, 20, routine=True)
    polls_until = starts(limiter, 1, routine=True, now=5.0)[0]
    assert limiter.delay(polls_until, routine=True) == pytest.approx(0.25)
    assert limiter.delay(polls_until, routine=False) == pytest.approx(0.2)


def test_a_pause_leaves_no_credit_behind() -> None:
    limiter = RateLimiter(5.0)
    starts(limiter, 3, routine=False)
    assert starts(limiter, 3, routine=False, now=60.0) == pytest.approx([60.0, 60.2, 60.4])


def test_a_high_rate_starts_what_is_due_within_a_moment_together() -> None:
    limiter = RateLimiter(1000.0)
    assert [limiter.delay(0.0, routine=False) for _ in range(50)] == [0.0] * 50
    later = [limiter.delay(0.0, routine=False) for _ in range(3)]
    assert any(seconds > BURST_SECONDS for seconds in later)


def test_a_refusal_halves_the_rate_and_pauses_everybody() -> None:
    limiter = RateLimiter(4.0)
    limiter.delay(0.0, routine=True)
    limiter.refused(0.0, 0.1)
    assert limiter.rate == 2.0
    assert limiter.delay(0.1, routine=True) == pytest.approx(0.5)
    assert limiter.delay(0.1, routine=False) == pytest.approx(0.5)


def test_refusals_of_requests_that_were_already_out_count_once() -> None:
    limiter = RateLimiter(4.0)
    for started in (0.0, 0.05, 0.1):
        limiter.refused(started, 0.2)
    assert limiter.rate == 2.0
    limiter.refused(0.3, 0.4)
    assert limiter.rate == 1.0


def test_the_rate_never_falls_to_nothing() -> None:
    limiter = RateLimiter(5.0)
    for second in range(100):
        limiter.refused(second, second + 0.5)
    assert limiter.rate == pytest.approx(0.1)


def test_the_rate_recovers_step_by_step_and_not_beyond_the_configured_one() -> None:
    limiter = RateLimiter(5.0)
    limiter.refused(0.0, 0.1)
    limiter.accepted()
    assert limiter.rate == pytest.approx(2.6)
    for _ in range(100):
        limiter.accepted()
    assert limiter.rate == 5.0


def test_another_ceiling_holds_at_once_and_a_slowed_down_rate_creeps_up_to_it() -> None:
    limiter = RateLimiter(10.0)
    limiter.cap(4.0)
    assert limiter.rate == 4.0
    limiter.refused(0.0, 0.1)
    limiter.cap(20.0)
    assert limiter.rate == 2.0
    for _ in range(100):
        limiter.accepted()
    assert limiter.rate == 20.0


@given(
    rate=st.floats(0.1, 50.0),
    kinds=st.lists(st.booleans(), min_size=2, max_size=60),
)
def test_no_second_ever_sees_more_starts_than_the_rate_and_one_burst_allow(
    rate: float, kinds: list[bool]
) -> None:
    limiter = RateLimiter(rate)
    now, times = 0.0, []
    for routine in kinds:
        while seconds := limiter.delay(now, routine=routine):
            now += seconds
        times.append(now)
    for first in times:
        within = [time for time in times if first <= time < first + 1.0]
        assert len(within) <= rate * (1.0 + BURST_SECONDS) + 2


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
