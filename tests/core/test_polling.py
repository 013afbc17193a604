# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
import random
from typing import Any

import pendulum
import pytest
from hypothesis import given, settings, strategies as st

from airflow_provider_jimeng.core.catalogue import RETENTION_SECONDS, TYPICAL_RENDER_SECONDS
from airflow_provider_jimeng.core.codes import BUSINESS_CODES, GATEWAY_CODES
from airflow_provider_jimeng.core.envelope import error_for
from airflow_provider_jimeng.core.errors import (
    AuthenticationError,
    JimengError,
    NoReplyError,
    NotSentError,
    RedirectedError,
    SettingsError,
    UnreadableReplyError,
)
from airflow_provider_jimeng.core.limits import spread
from airflow_provider_jimeng.core.outcomes import Outcome
from airflow_provider_jimeng.core.polling import (
    BLIND_SECONDS,
    CLOSEST,
    EARLY_LOOKS,
    FARTHEST,
    MAX_BACK_OFF,
    OVERDUE,
    REMEMBERED,
    TRUSTED_FROM,
    WIDEST,
    WIDEST_GUESS,
    Cadence,
    Finish,
    Poller,
    Wait,
)
from airflow_provider_jimeng.core.render import (
    SAFE_RETENTION_SECONDS,
    RenderEvent,
    RenderStatus,
    deadline_for,
    kept_until,
)
from airflow_provider_jimeng.core.wire import QueryReply


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


START = 1_767_323_045.0
MIDDLE = 0.5
"""The jitter that changes nothing."""
ALL_CODES = [*BUSINESS_CODES.values(), *GATEWAY_CODES.values()]
Answer = QueryReply | JimengError

DONE = QueryReply(
    status=RenderStatus.DONE, status_word="done", video_url="https://a.example/1.mp4", request_id="r"
)
QUEUED = QueryReply(status=RenderStatus.IN_QUEUE, status_word="in_queue")
GENERATING = QueryReply(status=RenderStatus.GENERATING, status_word="generating")
NOT_FOUND = QueryReply(status=RenderStatus.NOT_FOUND, status_word="not_found", request_id="r")
NO_LINK = QueryReply(status=RenderStatus.DONE, status_word="done")
NOVEL = QueryReply(status=RenderStatus.UNKNOWN, status_word="simmering")
EXPIRED = QueryReply(status=RenderStatus.EXPIRED, status_word="expired")
HICCUPS: list[JimengError] = [
    NotSentError("no route"),
    NoReplyError("cut"),
    UnreadableReplyError("a page", http_status=502),
    error_for("novel", "m", http_status=400),
    *(
        error_for(code, "m", http_status=200)
        for code in (50429, 50430, 50500, 50501, 100001, 100014, 100018, 100019)
    ),
]


def name_of(value: Any) -> str:
    return f"{type(value).__name__} {getattr(value, 'code', '') or getattr(value, 'status_word', '')}"


def poller(**more: Any) -> Poller:
    given: dict[str, Any] = {
        "task_id": "1",
        "req_key": "k",
        "submitted_at": START,
        "deadline": START + SAFE_RETENTION_SECONDS,
    }
    return Poller(**(given | more))


class Clock:
    """A wait, on a clock that only moves when the poller says so."""

    def __init__(self, waiter: Poller, *, now: float = START, jitter: float = MIDDLE) -> None:
        self.poller, self.now, self.jitter = waiter, now, jitter
        self.waits: list[Wait] = []

    def see(self, answer: Answer) -> Wait | Finish:
        decision = self.poller.decide(answer, self.now, self.jitter)
        if isinstance(decision, Wait):
            self.waits.append(decision)
            assert decision.seconds > 0
            assert self.now + decision.seconds <= self.poller.deadline + 1e-6
            self.now += decision.seconds
        return decision

    def end(self, answer: Answer, *, at_most: int = 100_000) -> RenderEvent:
        for _ in range(at_most):
            decision = self.see(answer)
            if isinstance(decision, Finish):
                return decision.event
        raise AssertionError(f"still waiting after {at_most} polls")


# --- the schedule -----------------------------------------------------------------------------------------------------


def test_a_wait_is_spread_by_a_fifth(subtests: pytest.Subtests) -> None:
    cases: list[tuple[float, float]] = [(0.0, 8), (0.5, 10), (1.0, 12)]
    for jitter, seconds in cases:
        with subtests.test(jitter=repr(jitter), seconds=repr(seconds)):
            assert spread(10, jitter) == pytest.approx(seconds)


def test_a_render_of_usual_length_takes_few_polls_and_is_noticed_soon(subtests: pytest.Subtests) -> None:
    render_seconds_cases: list[float] = [60, 90, 120, 180, 240, 300]
    jitters: list[float] = [0.0, 0.5, 0.999]
    for render_seconds in render_seconds_cases:
        for jitter in jitters:
            with subtests.test(render_seconds=repr(render_seconds), jitter=repr(jitter)):
                clock = Clock(poller(), jitter=jitter)
                clock.now += clock.poller.first_wait(clock.now, jitter, not_before=START + 11)
                while clock.now < START + render_seconds:
                    clock.see(GENERATING)
                event = clock.end(DONE)

                assert event.polls <= render_seconds / 7 + 3
                assert clock.now - START - render_seconds <= 20


def test_a_render_that_takes_hours_is_asked_about_twice_a_minute_at_most() -> None:
    clock = Clock(poller())
    event = clock.end(GENERATING)

    assert event.polls <= SAFE_RETENTION_SECONDS / 30 + 40


def test_what_one_wait_learns_spares_the_next_its_early_polls() -> None:
    cadence = Cadence()
    polls = []
    for _ in range(10):
        clock = Clock(poller(cadence=cadence))
        clock.now += clock.poller.first_wait(clock.now, MIDDLE, not_before=START + 11)
        while clock.now < START + 120:
            clock.see(GENERATING)
        polls.append(clock.end(DONE).polls)

    assert polls[-1] <= polls[0] / 2


def test_only_a_finished_render_teaches() -> None:
    cadence = Cadence()
    for answer in (EXPIRED, NOT_FOUND, QueryReply(status=RenderStatus.FAILED)):
        clock = Clock(poller(cadence=cadence))
        clock.see(GENERATING)
        clock.end(answer)

    assert not cadence.known


def test_a_number_fixes_the_interval(subtests: pytest.Subtests) -> None:
    cases: list[float] = [0.5, 10, 300]
    for interval in cases:
        with subtests.test(interval=repr(interval)):
            clock = Clock(poller(poll_interval=interval))
            for answer in (QUEUED, GENERATING, NOVEL, NO_LINK, NOT_FOUND):
                clock.see(answer)

            assert {wait.seconds for wait in clock.waits} == {interval}


def test_no_interval_makes_a_loop_spin(subtests: pytest.Subtests) -> None:
    cases: list[float] = [0, -5, 1e-9, math.nan]
    for interval in cases:
        with subtests.test(interval=repr(interval)):
            assert isinstance(Clock(poller(poll_interval=interval), jitter=0.0).see(GENERATING), Wait)


def test_the_jitter_still_tells_old_renders_apart() -> None:
    late = START + 10_000

    assert poller().decide(GENERATING, late, 0.6) != poller().decide(GENERATING, late, 0.9)


# --- the deadline -----------------------------------------------------------------------------------------------------


def test_a_deadline_is_the_earlier_of_patience_and_what_the_api_keeps() -> None:
    assert deadline_for(now=START, wait_timeout=21_600, submitted_at=START) == START + 21_600
    assert deadline_for(now=START + 30_000, wait_timeout=21_600, submitted_at=START) == START + 41_400
    assert deadline_for(now=START, wait_timeout=math.inf, submitted_at=START) == START + 41_400
    assert deadline_for(now=START, wait_timeout=math.nan, submitted_at=START) == START + 41_400


def test_whatever_settles_nothing_is_waited_out_until_the_deadline_and_no_further(
    subtests: pytest.Subtests,
) -> None:
    cases: list[Answer] = [QUEUED, GENERATING, NOVEL, *HICCUPS]
    for answer in cases:
        with subtests.test(answer=name_of(answer)):
            clock = Clock(poller(deadline=START + 3600))
            event = clock.end(answer)

            assert event.outcome is Outcome.TIMED_OUT
            assert clock.now == pytest.approx(START + 3600)
            assert event.polls == len(clock.waits) + 1
            assert event.message is not None
            assert event.message.startswith("the last answer was: ")


def test_a_render_that_is_done_at_the_deadline_is_done() -> None:
    assert Clock(poller(deadline=START)).end(DONE).outcome is Outcome.SUCCEEDED


def test_a_wait_that_begins_after_its_deadline_asks_once() -> None:
    event = Clock(poller(deadline=START - 1)).end(GENERATING)

    assert (event.outcome, event.polls) == (Outcome.TIMED_OUT, 1)


def test_a_render_that_the_api_forgot_long_ago_is_not_found_rather_than_late() -> None:
    old = poller()

    assert Clock(old, now=START + RETENTION_SECONDS).end(NOT_FOUND).outcome is Outcome.NOT_FOUND


def test_a_render_that_should_still_be_kept_is_late_rather_than_not_found() -> None:
    assert Clock(poller(), now=START + SAFE_RETENTION_SECONDS).end(NOT_FOUND).outcome is Outcome.TIMED_OUT


def test_it_can_be_said_until_when_a_render_is_kept() -> None:
    assert kept_until(pendulum.datetime(2026, 1, 2, 11, 4, tz="Asia/Shanghai")) == "14:34 UTC on 2026-01-02"


def test_a_deadline_that_is_no_number_ends_the_wait() -> None:
    assert isinstance(poller(deadline=math.nan).decide(GENERATING, START, MIDDLE), Finish)


# --- the ends ---------------------------------------------------------------------------------------------------------


def test_a_finished_render_succeeds_and_its_event_holds_no_link() -> None:
    clock = Clock(poller())
    clock.see(QUEUED)
    clock.see(QUEUED)
    clock.see(GENERATING)
    first, second, third = (wait.seconds for wait in clock.waits)
    event = clock.end(DONE)

    assert event == RenderEvent(
        outcome=Outcome.SUCCEEDED,
        task_id="1",
        req_key="k",
        request_id="r",
        polls=4,
        queued_seconds=round(first + second, 3),
        render_seconds=round(third, 3),
        queued_seconds_min=round(first, 3),
        render_seconds_min=0.0,
    )
    assert "example" not in str(event.to_payload())


def test_a_render_never_seen_running_has_no_times() -> None:
    event = Clock(poller()).end(DONE)

    assert (event.queued_seconds, event.render_seconds) == (None, None)


def test_a_submitter_whose_clock_is_ahead_makes_no_negative_times() -> None:
    clock = Clock(poller(submitted_at=START + 100))
    clock.see(GENERATING)

    assert clock.end(DONE).queued_seconds == 0.0


def test_an_expired_render_ends_at_once() -> None:
    event = Clock(poller()).end(EXPIRED)

    assert (event.outcome, event.polls) == (Outcome.EXPIRED, 1)


def test_done_without_a_link_ends_after_a_quarter_of_an_hour_and_names_the_field(
    subtests: pytest.Subtests,
) -> None:
    intervals: list[float | None] = [None, 5.0, 400.0, 7200.0]
    jitters: list[float] = [0.0, 0.5, 0.999]
    for interval in intervals:
        for jitter in jitters:
            with subtests.test(interval=repr(interval), jitter=repr(jitter)):
                clock = Clock(poller(poll_interval=interval), jitter=jitter)
                clock.see(GENERATING)
                began = clock.now
                event = clock.end(NO_LINK)

                assert event.outcome is Outcome.NO_LINK
                assert clock.now == pytest.approx(began + 900)
                assert "data.video_url" in str(event.message)


def test_the_quarter_of_an_hour_begins_with_the_first_answer_without_a_link_of_this_wait() -> None:
    clock = Clock(poller(poll_interval=10))
    began = clock.now
    for answer in (NO_LINK, NoReplyError("cut"), GENERATING, error_for(50429, "busy")):
        clock.see(answer)

    assert clock.end(NO_LINK).outcome is Outcome.NO_LINK
    assert clock.now == pytest.approx(began + 900)
    assert isinstance(poller().decide(NO_LINK, clock.now, MIDDLE), Wait)


def test_a_link_that_comes_late_is_taken() -> None:
    clock = Clock(poller())
    for _ in range(10):
        clock.see(NO_LINK)

    assert clock.end(DONE).outcome is Outcome.SUCCEEDED


def test_a_wait_that_times_out_first_tells_that_only_the_link_was_missing() -> None:
    event = Clock(poller(deadline=START + 600)).end(NO_LINK)

    assert (event.outcome, event.message) == (Outcome.TIMED_OUT, "the last answer was: done, but no link yet")


def test_a_wait_that_times_out_tells_the_error_that_came_last() -> None:
    event = Clock(poller(deadline=START + 600)).end(NoReplyError("the line to the API was cut"))

    assert "the line to the API was cut" in str(event.message)


def test_a_failed_render_ends_at_once_with_the_reason() -> None:
    failed = QueryReply(status=RenderStatus.FAILED, code="50500", message="no", request_id="r")
    event = Clock(poller()).end(failed)

    assert (event.outcome, event.code, event.message, event.request_id) == (
        Outcome.FAILED,
        "50500",
        "no",
        "r",
    )


def test_a_queries_error_ends_a_render_only_if_the_code_table_says_so(subtests: pytest.Subtests) -> None:
    for entry in ALL_CODES:
        with subtests.test(entry=str(entry.code)):
            error = error_for(entry.code, entry.message, request_id="r", http_status=entry.http_status)
            decision = poller().decide(error, START, MIDDLE)

            if entry.fails_render:
                assert isinstance(decision, Finish)
                assert decision.event.outcome is Outcome.FAILED
                assert (decision.event.code, decision.event.message) == (str(entry.code), entry.message)
                assert decision.event.request_id == "r"
            else:
                assert isinstance(decision, Wait)


# --- not found --------------------------------------------------------------------------------------------------------


def test_not_found_counts_only_when_it_is_repeated() -> None:
    clock = Clock(poller())
    event = clock.end(NOT_FOUND)

    assert event.outcome is Outcome.NOT_FOUND
    assert event.request_id == "r"
    assert event.polls >= 3
    assert 20 <= clock.now - START <= 60


def test_not_found_right_after_the_submit_is_forgotten_once_the_render_is_seen() -> None:
    clock = Clock(poller())
    for answer in (NOT_FOUND, NOT_FOUND, GENERATING, NOT_FOUND, NOT_FOUND, GENERATING):
        assert isinstance(clock.see(answer), Wait)

    assert clock.end(DONE).outcome is Outcome.SUCCEEDED


def test_a_hiccup_between_neither_confirms_nor_refutes_not_found() -> None:
    clock = Clock(poller())
    clock.see(NOT_FOUND)
    for _ in range(5):
        assert isinstance(clock.see(NoReplyError("cut")), Wait)
    clock.see(NOT_FOUND)

    assert isinstance(clock.see(NOT_FOUND), Finish)


def test_not_found_is_asked_again_soon_even_of_an_old_render() -> None:
    usual = poller().decide(GENERATING, START + 3000, MIDDLE)
    decision = poller().decide(NOT_FOUND, START + 3000, MIDDLE)

    assert usual == Wait(seconds=30.0, note="generating")
    assert decision == Wait(seconds=10.0, note="not found; asking again to be sure")


def test_beyond_what_the_api_keeps_the_count_alone_confirms() -> None:
    waiter = poller(deadline=math.inf)
    late = START + RETENTION_SECONDS

    assert isinstance(waiter.decide(NOT_FOUND, late, MIDDLE), Wait)
    assert isinstance(waiter.decide(NOT_FOUND, late, MIDDLE), Wait)
    assert isinstance(waiter.decide(NOT_FOUND, late, MIDDLE), Finish)


# --- hiccups and refusals ---------------------------------------------------------------------------------------------


def test_a_hiccup_is_backed_off_from_and_then_forgotten(subtests: pytest.Subtests) -> None:
    for hiccup in HICCUPS:
        with subtests.test(hiccup=name_of(hiccup)):
            clock = Clock(poller())
            for _ in range(7):
                clock.see(hiccup)
            waits = [wait.seconds for wait in clock.waits]

            assert waits == sorted(waits)
            assert waits[0] == Cadence().wait_at(0)
            assert waits[-1] == MAX_BACK_OFF
            assert not any(wait.renew_connection for wait in clock.waits)
            clock.see(GENERATING)
            clock.see(hiccup)
            assert clock.waits[-1].seconds == clock.waits[-2].seconds <= 30
            assert clock.end(DONE).outcome is Outcome.SUCCEEDED


UNLISTED = [
    error_for(code, "m", http_status=status) for code in (50202, 50410, 50599) for status in (400, 500)
]


def test_an_unlisted_code_among_those_that_fail_renders_is_believed_when_it_is_repeated(
    subtests: pytest.Subtests,
) -> None:
    for error in UNLISTED:
        with subtests.test(error=name_of(error)):
            clock = Clock(poller())
            for between in (QUEUED, NoReplyError("cut")):
                clock.see(error)
                clock.see(error)
                clock.see(between)
            event = clock.end(error)
            assert (event.outcome, event.code, event.polls) == (Outcome.FAILED, error.code, 9)


def test_any_other_unlisted_code_is_waited_out(subtests: pytest.Subtests) -> None:
    cases: list[int | str | None] = [50300, 50600, 59999, 5041, 504100, "strange", None]
    for code in cases:
        with subtests.test(code=repr(code)):
            assert Clock(poller(deadline=START + 600)).end(error_for(code, "m")).outcome is Outcome.TIMED_OUT


def test_a_hiccup_never_makes_the_polls_denser_than_asked_for() -> None:
    assert poller(poll_interval=300).decide(NoReplyError("cut"), START, MIDDLE) == Wait(
        seconds=300, note="no usable answer, asking again: NoReplyError: cut"
    )


REFUSALS: list[JimengError] = [
    *(
        error_for(code, "no", request_id="r")
        for code in (100009, 100010, 100026, 50400, 100012, 100007, "invalid_request")
    ),
    error_for(None, "no", http_status=401),
    error_for(None, "no", http_status=403),
    SettingsError("the connection has no key"),
    RedirectedError("https://a.example redirects to https://b.example", http_status=301),
]


def test_refused_access_is_confirmed_with_the_connection_read_anew(subtests: pytest.Subtests) -> None:
    jitters: list[float] = [0.0, 0.5, 1.0]
    for refusal in REFUSALS:
        for jitter in jitters:
            with subtests.test(refusal=name_of(refusal), jitter=jitter):
                clock = Clock(poller(), jitter=jitter)
                event = clock.end(refusal)

                assert event.outcome is Outcome.LOST_CONTACT
                assert event.polls == 3
                assert event.message
                assert clock.now - START >= 60
                assert all(wait.renew_connection for wait in clock.waits)
                assert [wait.note is not None for wait in clock.waits] == [True, False]


def test_refusals_with_anything_else_between_them_do_not_add_up(subtests: pytest.Subtests) -> None:
    cases: list[Answer] = [GENERATING, NOVEL, NoReplyError("cut"), error_for(50429, "m")]
    for good in cases:
        with subtests.test(good=name_of(good)):
            refused = AuthenticationError("no", code="100010")
            clock = Clock(poller(deadline=START + 3000))
            while clock.now < START + 2000:
                assert isinstance(clock.see(refused), Wait)
                assert isinstance(clock.see(refused), Wait)
                assert isinstance(clock.see(good), Wait)

            assert clock.end(DONE).outcome is Outcome.SUCCEEDED


# --- notes ------------------------------------------------------------------------------------------------------------


def test_trouble_that_comes_and_goes_is_told_once_until_the_state_changes() -> None:
    clock = Clock(poller())
    busy, cut = error_for(50429, "slow down"), NoReplyError("cut")
    for seen in (QUEUED, busy, QUEUED, busy, cut, QUEUED, busy, GENERATING, busy, GENERATING, busy):
        clock.see(seen)
    told = [wait.note.split(":")[0] for wait in clock.waits if wait.note]
    again = "no usable answer, asking again"
    assert told == ["in_queue", again, again, again, "generating", again]


def test_the_end_says_what_was_seen_last_even_if_it_was_told_before() -> None:
    clock = Clock(poller(deadline=START + 100))
    for seen in (QUEUED, error_for(50429, "slow down"), QUEUED):
        clock.see(seen)
    assert "in_queue" in str(clock.end(QUEUED).message)


def test_only_a_change_is_worth_a_line() -> None:
    clock = Clock(poller())
    answers: list[Answer] = [
        QUEUED,
        QUEUED,
        GENERATING,
        GENERATING,
        NOVEL,
        NOVEL,
        NO_LINK,
        NoReplyError("a"),
        NoReplyError("b"),
    ]
    for seen in answers:
        clock.see(seen)

    assert [wait.note for wait in clock.waits] == [
        "in_queue",
        None,
        "generating",
        None,
        "unknown status 'simmering'",
        None,
        "done, but no link yet",
        "no usable answer, asking again: NoReplyError: a",
        None,
    ]


# --- anything ---------------------------------------------------------------------------------------------------------

ANSWERS = st.sampled_from([QUEUED, GENERATING, NOVEL, NO_LINK, NOT_FOUND, *HICCUPS, *REFUSALS])
JITTER = st.floats(0, 1, exclude_max=True)


@settings(max_examples=50)
@given(
    st.lists(ANSWERS, min_size=1, max_size=30),
    JITTER,
    st.floats(0, SAFE_RETENTION_SECONDS),
    st.none() | st.floats(30, 1000),
)
def test_any_sequence_of_answers_ends_by_the_deadline(
    answers: list[Answer], jitter: float, patience: float, interval: float | None
) -> None:
    clock = Clock(poller(deadline=START + patience, poll_interval=interval), jitter=jitter)
    for step in range(20_000):
        decision = clock.see(answers[step % len(answers)])
        if isinstance(decision, Finish):
            break
    else:
        raise AssertionError("still waiting")

    assert clock.now <= START + patience + 1e-6
    assert decision.event.outcome in {
        Outcome.TIMED_OUT,
        Outcome.NOT_FOUND,
        Outcome.NO_LINK,
        Outcome.LOST_CONTACT,
    }
    assert decision.event.polls == step + 1


@given(st.lists(st.sampled_from([QUEUED, GENERATING, NOVEL, *HICCUPS]), max_size=200), JITTER)
def test_no_hiccup_and_no_unknown_word_ever_ends_a_render_before_its_deadline(
    answers: list[Answer], jitter: float
) -> None:
    clock = Clock(poller(), jitter=jitter)
    for answer in answers:
        decision = clock.see(answer)
        if isinstance(decision, Finish):
            assert decision.event.outcome is Outcome.TIMED_OUT
            assert clock.now >= clock.poller.deadline - 1e-6
            return

    assert isinstance(clock.see(DONE), Finish)


@given(ANSWERS, JITTER, st.floats(START - 1e6, START + 1e6), st.none() | st.floats(allow_nan=True))
def test_a_wait_is_positive_and_never_beyond_the_deadline(
    answer: Answer, jitter: float, now: float, interval: float | None
) -> None:
    waiter = poller(poll_interval=interval)
    decision = waiter.decide(answer, now, jitter)

    if isinstance(decision, Wait):
        assert now < waiter.deadline
        assert 0 < decision.seconds <= waiter.deadline - now
    assert 0 <= waiter.first_wait(now, jitter, not_before=now + 11) <= max(0.0, waiter.deadline - now)


def test_the_first_poll_waits_until_something_can_be_ready() -> None:
    cadence = Cadence()
    for _ in range(2):
        cadence.learn(pending_at=100, done_at=101)

    assert poller().first_wait(START, MIDDLE, not_before=START + 13) == 13
    assert 60 < poller(cadence=cadence).first_wait(START, MIDDLE, not_before=START + 11) < 101
    assert poller(cadence=cadence, poll_interval=5).first_wait(START, MIDDLE, not_before=START + 11) == 11


def test_the_longest_pause_counts_from_the_age_at_which_an_end_is_possible() -> None:
    waiting = poller(cadence=taught((58.0, 60.0), (58.0, 60.0)), longest_pause=lambda: 3.0)
    shortest = waiting.cadence.shortest

    early = waiting.decide(GENERATING, START + 20, MIDDLE)
    due = waiting.decide(GENERATING, START + 150, MIDDLE)

    assert isinstance(early, Wait)
    assert early.seconds == pytest.approx(min(waiting.cadence.wait_at(20), shortest - 20 + 3))
    assert isinstance(due, Wait)
    assert due.seconds == 3.0


def test_while_no_duration_is_known_every_age_is_possible() -> None:
    decision = poller(longest_pause=lambda: 3.0).decide(GENERATING, START + 13, MIDDLE)

    assert isinstance(decision, Wait)
    assert decision.seconds == 3.0


def test_the_longest_pause_shortens_no_interval_that_the_author_sets_and_no_back_off() -> None:
    fixed = poller(poll_interval=30.0, longest_pause=lambda: 3.0)
    troubled = poller(longest_pause=lambda: 3.0)
    back_offs = [troubled.decide(NotSentError("no route"), START + 60 + turn, MIDDLE) for turn in range(4)]

    assert fixed.decide(GENERATING, START + 60, MIDDLE).seconds == 30.0  # type: ignore[union-attr]
    assert [wait.seconds for wait in back_offs if isinstance(wait, Wait)] == [3.0, 6.0, 12.0, 24.0]
