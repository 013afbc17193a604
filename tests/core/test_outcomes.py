# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pendulum
import pytest
from hypothesis import given, strategies as st

from airflow_provider_jimeng.core.errors import (
    JimengError,
    LandingError,
    ParameterError,
    SettingsError,
    UnreadableImageError,
)
from airflow_provider_jimeng.core.outcomes import (
    NOT_SUBMITTED,
    UNKNOWN_SUBMIT,
    Billed,
    Explanation,
    Outcome,
    ending_of,
)
from airflow_provider_jimeng.core.render import RenderEvent
from airflow_provider_jimeng.core.submit_messages import STOPPED, not_submitted

STORED_V1 = {
    "version": 1,
    "outcome": "failed",
    "polls": 7,
    "task_id": "7392616336519610409",
    "req_key": "jimeng_t2v_v30",
    "code": "50511",
    "message": "Post Img Risk Not Pass",
    "request_id": "202601020304050607",
    "queued_seconds": 12.5,
    "render_seconds": 61.0,
}


def test_a_stored_first_version_still_loads() -> None:
    assert RenderEvent.from_payload(STORED_V1) == RenderEvent(
        outcome=Outcome.FAILED,
        task_id="7392616336519610409",
        req_key="jimeng_t2v_v30",
        code="50511",
        message="Post Img Risk Not Pass",
        request_id="202601020304050607",
        polls=7,
        queued_seconds=12.5,
        render_seconds=61.0,
    )


def test_a_task_that_stopped_before_its_submit_says_why_and_what_to_do(subtests: pytest.Subtests) -> None:
    at = pendulum.datetime(2026, 1, 2)
    cases: dict[JimengError, Explanation] = {
        UnreadableImageError("first_frame", "gone"): STOPPED[UnreadableImageError],
        ParameterError("seed", "no"): STOPPED[ParameterError],
        SettingsError("no key"): STOPPED[SettingsError],
        LandingError("elsewhere"): ending_of(NOT_SUBMITTED),
    }
    for error, explanation in cases.items():
        with subtests.test(error=type(error).__name__):
            left = not_submitted({"model": "t2v_720p"}, error, at)
            assert (left["model"], left["message"]) == ("t2v_720p", str(error))
            assert (left["meaning"], left["advice"]) == (explanation.meaning, explanation.advice)


def test_a_stored_first_version_is_what_is_written_today() -> None:
    assert RenderEvent.from_payload(STORED_V1).to_payload() == STORED_V1


def test_the_outcomes_are_the_contract() -> None:
    assert [outcome.value for outcome in Outcome] == [
        "succeeded",
        "failed",
        "expired",
        "not_found",
        "no_link",
        "timed_out",
        "lost_contact",
        "slot_free",
        "slot_timed_out",
    ]


def test_each_outcome_says_whether_it_is_billed_and_whether_the_render_is_over() -> None:
    facts = {
        outcome: (ending_of(outcome).billed, ending_of(outcome).over)
        for outcome in [*Outcome, UNKNOWN_SUBMIT, ""]
    }
    assert facts == {
        "succeeded": (Billed.YES, False),
        "failed": (Billed.NO, True),
        "expired": (Billed.UNKNOWN, True),
        "not_found": (Billed.UNKNOWN, True),
        "no_link": (Billed.UNKNOWN, False),
        "timed_out": (Billed.UNKNOWN, False),
        "lost_contact": (Billed.UNKNOWN, False),
        "slot_free": (Billed.NO, True),
        "slot_timed_out": (Billed.NO, True),
        "unknown_submit": (Billed.UNKNOWN, False),
        "": (Billed.UNKNOWN, False),
    }
    assert ending_of("a word of a later version") == ending_of(Outcome.FAILED)


def test_a_wait_can_continue_only_if_the_api_may_still_work_on_the_render() -> None:
    continuing = {outcome for outcome in Outcome if outcome.ending.can_continue}
    assert continuing == {Outcome.NO_LINK, Outcome.TIMED_OUT, Outcome.LOST_CONTACT}


def test_absent_values_are_left_out() -> None:
    assert RenderEvent(outcome=Outcome.SLOT_FREE).to_payload() == {
        "version": 1,
        "outcome": "slot_free",
        "polls": 0,
    }


def test_a_later_versions_fields_are_ignored_and_an_outcome_is_enough() -> None:
    assert RenderEvent.from_payload({"version": 2, "outcome": "expired", "novel": [1]}) == RenderEvent(
        outcome=Outcome.EXPIRED
    )


def test_an_unknown_outcome_is_refused() -> None:
    with pytest.raises(ValueError, match="melted"):
        RenderEvent.from_payload({"outcome": "melted"})


TEXTS = st.none() | st.text()
SECONDS = st.none() | st.floats(0, 1e6)


@given(
    st.builds(
        RenderEvent,
        outcome=st.sampled_from(Outcome),
        task_id=TEXTS,
        req_key=TEXTS,
        code=TEXTS,
        message=TEXTS,
        request_id=TEXTS,
        polls=st.integers(0, 10_000),
        queued_seconds=SECONDS,
        render_seconds=SECONDS,
        queued_seconds_min=SECONDS,
        render_seconds_min=SECONDS,
        waiting_since=SECONDS,
    )
)
def test_an_event_survives_the_way_through_json(event: RenderEvent) -> None:
    assert RenderEvent.from_payload(json.loads(json.dumps(event.to_payload()))) == event
