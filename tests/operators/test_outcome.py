# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from decimal import Decimal
from typing import Any

import pendulum
import pytest

from airflow_provider_jimeng.core.envelope import error_for as api_error
from airflow_provider_jimeng.core.errors import (
    LandingError,
    LostContactError,
    NoLinkError,
    RenderError,
    RenderExpiredError,
    RenderFailedError,
    RenderNotFoundError,
    RenderTimedOutError,
    SlotTimedOutError,
)
from airflow_provider_jimeng.core.messages import (
    answer_of,
    landing_fields,
    outcome_fields,
    render_error,
    slot_error,
)
from airflow_provider_jimeng.core.outcomes import Outcome
from airflow_provider_jimeng.core.render import Render, RenderEvent


def make_render(**changes: Any) -> Render:
    given: dict[str, Any] = {
        "task_id": "7392616336519610409",
        "req_key": "key",
        "model": "t2v_720p",
        "jimeng_conn_id": "jimeng_default",
        "submitted_at": pendulum.datetime(2026, 1, 2, 3, 4, 5),
        "fingerprint": "f" * 64,
        "estimated_cost_cny": Decimal("1.40"),
    }
    return Render(**{**given, **changes})


def error_for(outcome: Outcome, code: str | None = None, **options: Any) -> RenderError:
    return render_error(RenderEvent(outcome=outcome, code=code), make_render(), **options)


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (Outcome.FAILED, RenderFailedError),
        (Outcome.EXPIRED, RenderExpiredError),
        (Outcome.NOT_FOUND, RenderNotFoundError),
        (Outcome.LOST_CONTACT, LostContactError),
        (Outcome.NO_LINK, NoLinkError),
        (Outcome.TIMED_OUT, RenderTimedOutError),
    ],
)
def test_every_bad_end_has_an_error_that_names_the_render(outcome: Outcome, kind: type[RenderError]) -> None:
    error = error_for(outcome)
    assert type(error) is kind
    assert "7392616336519610409" in str(error)


@pytest.mark.parametrize("outcome", [Outcome.EXPIRED, Outcome.NOT_FOUND])
def test_a_lost_render_names_its_cost_and_needs_consent(outcome: Outcome) -> None:
    assert "1.40 CNY" in str(error_for(outcome))
    assert not error_for(outcome).retryable
    assert error_for(outcome, on_lost="resubmit").retryable
    assert "submits, and pays, again" in str(error_for(outcome, on_lost="resubmit"))
    assert "the task that submitted it" in str(error_for(outcome, submits=False, on_lost="resubmit"))
    unknown = render_error(RenderEvent(outcome=outcome), make_render(estimated_cost_cny=None))
    assert "an unknown amount" in str(unknown)


@pytest.mark.parametrize("outcome", [Outcome.LOST_CONTACT, Outcome.NO_LINK, Outcome.TIMED_OUT])
def test_a_render_that_goes_on_says_until_when_it_can_be_fetched(outcome: Outcome) -> None:
    assert "14:34 UTC on 2026-01-02" in str(error_for(outcome))
    of_an_id_alone = render_error(RenderEvent(outcome=outcome), make_render(fingerprint=None))
    assert "before 12 hours after its submit" in str(of_an_id_alone)


def test_a_render_without_a_link_may_be_billed_and_is_asked_for_again() -> None:
    error = render_error(
        RenderEvent(outcome=Outcome.NO_LINK, message="nothing in data.video_url"), make_render()
    )
    assert error.retryable
    assert error.event is not None
    for words in ("might have been billed about 1.40 CNY", "data.video_url", "again, free"):
        assert words in str(error)


def test_a_wait_that_timed_out_tells_the_last_answer() -> None:
    late = RenderEvent(outcome=Outcome.TIMED_OUT, message="the last answer was: generating")
    assert "the last answer was: generating" in str(render_error(late, make_render()))
    assert "had not answered" in str(error_for(Outcome.TIMED_OUT))


@pytest.mark.parametrize(
    ("code", "helps"), [("50511", True), ("50413", False), ("99999", False), (None, False)]
)
def test_the_code_decides_whether_a_failed_render_is_tried_again(code: str | None, *, helps: bool) -> None:
    assert error_for(Outcome.FAILED, code).retryable is helps
    assert not error_for(Outcome.FAILED, code, submits=False).retryable


def test_a_wait_for_a_slot_that_was_in_vain_cost_nothing() -> None:
    error = slot_error(RenderEvent(outcome=Outcome.SLOT_TIMED_OUT, message="busy"), "t2v_720p")
    assert isinstance(error, SlotTimedOutError)
    assert "Nothing was submitted or billed" in str(error)


def test_the_apis_own_words_are_kept_with_code_and_request_id() -> None:
    event = RenderEvent(outcome=Outcome.FAILED, code="50511", message="Post Img Risk", request_id="2026")
    assert answer_of(event) == "Post Img Risk (code 50511, request id 2026)"
    assert answer_of(RenderEvent(outcome=Outcome.FAILED)) == "no message"
    assert outcome_fields(event)["advice"]
    assert "on_lost" in str(outcome_fields(RenderEvent(outcome=Outcome.EXPIRED))["advice"])


def test_a_failed_landing_tells_the_code_of_the_answer_behind_it() -> None:
    denied = api_error(50400, "Access Denied")
    lost = LostContactError("no link")
    lost.__cause__ = denied
    for error in (denied, lost):
        told = landing_fields(error, Outcome.SUCCEEDED)
        assert (told["code"], told["message"]) == ("50400", str(error))
        assert str(told["advice"]).startswith("Open the model")
    told = landing_fields(LandingError("disk full"), None, advice="Make room.")
    assert told == {"outcome": None, "code": None, "message": "disk full", "advice": "Make room."}
