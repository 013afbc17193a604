# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import traceback
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_jimeng.core.errors import (
    JimengError,
    LandingError,
    MissingConnectionError,
    ParameterError,
    RenderFailedError,
    TargetTakenError,
    UnknownSubmitError,
)
from airflow_provider_jimeng.operators.base import airflow_errors

WITH_POLICY, WITHOUT = SimpleNamespace(retry_policy=object()), SimpleNamespace(retry_policy=None)


def test_the_error_or_its_class_says_whether_a_retry_may_help(subtests: pytest.Subtests) -> None:
    cases: list[tuple[JimengError, bool]] = [
        (ParameterError("seed", "is bad"), False),
        (LandingError("cut"), True),
        (TargetTakenError("taken"), False),
        (RenderFailedError("moderated", retryable=True), True),
        (RenderFailedError("moderated", retryable=False), False),
        (RenderFailedError("moderated"), False),
        (UnknownSubmitError("cut"), False),
        (UnknownSubmitError("cut", retryable=True), True),
    ]
    for error, helps in cases:
        with subtests.test(error=repr(error), helps=repr(helps)):
            assert error.retryable is helps


def test_without_a_policy_what_no_retry_mends_fails_for_good() -> None:
    with (
        pytest.raises(AirflowFailException, match="ParameterError: seed: is bad") as caught,
        airflow_errors(WITHOUT),
    ):
        raise ParameterError("seed", "is bad")
    assert isinstance(caught.value.__cause__, ParameterError)


def test_without_a_policy_what_a_retry_may_mend_is_left_to_airflow() -> None:
    with pytest.raises(LandingError), airflow_errors(WITHOUT):
        raise LandingError("cut")


@pytest.mark.parametrize("operator", [WITH_POLICY, WITHOUT])
def test_errors_of_others_pass_through_unchanged(operator: SimpleNamespace) -> None:
    with pytest.raises(ZeroDivisionError), airflow_errors(operator):
        raise ZeroDivisionError


def test_with_a_policy_every_error_reaches_it_as_it_is() -> None:
    with pytest.raises(ParameterError), airflow_errors(WITH_POLICY):
        raise ParameterError("seed", "is bad")


@pytest.mark.parametrize("operator", [WITH_POLICY, WITHOUT])
def test_an_unusable_connection_is_told_without_the_frames_below(operator: SimpleNamespace) -> None:
    def deep(levels: int) -> None:
        if levels:
            deep(levels - 1)
        raise MissingConnectionError("The connection 'nowhere' does not exist.")

    with (
        pytest.raises((MissingConnectionError, AirflowFailException), match="'nowhere'") as caught,
        airflow_errors(operator),
    ):
        deep(30)
    assert len(traceback.format_exception(caught.value)) < 12
