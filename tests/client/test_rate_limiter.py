# SPDX-License-Identifier: Apache-2.0
"""When the next request of an account can start."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from airflow_provider_jimeng.client.async_client import BURST_SECONDS, RateLimiter


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
