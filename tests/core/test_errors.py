# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

from airflow_provider_jimeng.core import errors
from airflow_provider_jimeng.core.codes import lookup
from airflow_provider_jimeng.core.errors import (
    ApiError,
    JimengError,
    ParameterError,
    RenderError,
    RenderFailedError,
    UnknownSubmitError,
    UnreadableReplyError,
)
from airflow_provider_jimeng.core.outcomes import Outcome
from airflow_provider_jimeng.core.render import RenderEvent

if TYPE_CHECKING:
    import pytest

ALL_ERRORS = [
    value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)
]

RETRYABLE = {
    "UnreadableImageError",
    "UnreadableRowsError",
    "TransportError",
    "NotSentError",
    "NoLinkError",
    "NoReplyError",
    "UnreadableReplyError",
    "OutputModeratedError",
    "RateLimitedError",
    "ConcurrencyLimitedError",
    "ServerError",
    "RenderTimedOutError",
    "LandingError",
    "LinkRefusedError",
    "DamagedMediaError",
    "MissingLabelError",
    "LedgerError",
}


def test_every_error_is_a_jimeng_error_with_a_fixed_retryability_and_a_consequence(
    subtests: pytest.Subtests,
) -> None:
    for error_class in ALL_ERRORS:
        with subtests.test(error_class=error_class.__name__):
            assert issubclass(error_class, JimengError)
            assert error_class.retryable is (error_class.__name__ in RETRYABLE)
            assert error_class.__doc__


def test_a_refused_argument_names_itself() -> None:
    error = ParameterError("seed", "is too high.")

    assert (error.argument, error.reason, str(error)) == ("seed", "is too high.", "seed: is too high.")
    assert isinstance(error, ValueError)


def test_an_api_error_without_anything_still_reads() -> None:
    assert str(ApiError("")) == "no message (code none)"


EVENT = RenderEvent(outcome=Outcome.FAILED, task_id="1", code="50511")


def test_an_error_survives_the_way_between_processes(subtests: pytest.Subtests) -> None:
    cases: list[JimengError] = [
        ParameterError("seed", "is too high."),
        UnreadableReplyError("half a page", http_status=502),
        ApiError("m", code="50511", request_id="r", http_status=400, entry=lookup(50511)),
        RenderError("m", event=EVENT),
        RenderFailedError("m", event=EVENT, retryable=True),
        UnknownSubmitError("m", retryable=True),
    ]
    for error in cases:
        with subtests.test(error=type(error).__name__):
            copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - its own dump

            assert type(copy) is type(error)
            assert str(copy) == str(error)
            assert vars(copy) == vars(error)
