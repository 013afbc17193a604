# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jimeng.core.errors import (
    ConcurrencyLimitedError,
    JimengError,
    LandingError,
    LedgerError,
    NoReplyError,
    ParameterError,
    RateLimitedError,
    RenderFailedError,
    RenderTimedOutError,
    UnknownSubmitError,
)
from airflow_provider_jimeng.operators.rescue import JimengRescueOperator
from airflow_provider_jimeng.operators.video import (
    JimengDownloadVideoOperator,
    JimengGenerateVideoOperator,
    JimengSubmitVideoOperator,
)
from airflow_provider_jimeng.retry import LONGER_BY, RETRY_POLICIES_EXIST, JimengRetryPolicy
from airflow_provider_jimeng.sensors.video import JimengVideoSensor

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import RetryDecision

TASKS: list[tuple[type[Any], dict[str, Any]]] = [
    (JimengSubmitVideoOperator, {"prompt": "x"}),
    (JimengGenerateVideoOperator, {"prompt": "x", "output_path": "/v/"}),
    (JimengDownloadVideoOperator, {"render": {}, "output_path": "/v/"}),
    (JimengVideoSensor, {"render": {}}),
    (JimengRescueOperator, {"output_path": "/v/"}),
]


def decide(error: BaseException) -> RetryDecision:
    return JimengRetryPolicy().evaluate(error, 1, 3, None)


def _delay_of(decision: RetryDecision) -> float:
    assert decision.action.value == "retry"
    assert decision.retry_delay is not None
    return decision.retry_delay.total_seconds()


def test_what_may_pass_is_tried_again_after_a_delay_of_its_own(subtests: pytest.Subtests) -> None:
    cases: list[tuple[JimengError, int]] = [
        (RenderTimedOutError("late"), 0),
        (RateLimitedError("slow down"), 30),
        (ConcurrencyLimitedError("busy"), 60),
        (NoReplyError("cut"), 30),
        (LandingError("cut"), 30),
        (LedgerError("unreadable"), 30),
    ]
    for error, seconds in cases:
        with subtests.test(error=repr(error), seconds=repr(seconds)):
            delays = {_delay_of(decide(error)) for _ in range(20)}
            assert all(seconds <= delay <= seconds * (1 + LONGER_BY) for delay in delays)
            assert len(delays) > 1 or not seconds  # tasks of one moment drift apart


def test_what_no_retry_mends_fails_at_once(subtests: pytest.Subtests) -> None:
    cases: list[JimengError] = [
        ParameterError("seed", "is bad"),
        RenderFailedError("moderated", retryable=False),
        UnknownSubmitError("cut"),
    ]
    for error in cases:
        with subtests.test(error=repr(error)):
            decision = decide(error)
            assert decision.action.value == "fail"
            assert type(error).__name__ in str(decision.reason)


def test_the_rest_follows_the_rules_of_the_task(subtests: pytest.Subtests) -> None:
    cases: list[Exception] = [
        ZeroDivisionError(),
        RenderFailedError("moderated", retryable=True),
        UnknownSubmitError("cut", retryable=True),
    ]
    for error in cases:
        with subtests.test(error=repr(error)):
            assert decide(error).action.value == "default"


@pytest.mark.parametrize("name", ["TaskDeferralError", "TaskDeferralTimeout"])
def test_a_wait_that_airflow_interrupted_is_taken_up_at_once(name: str) -> None:
    decision = decide(type(name, (Exception,), {})())
    assert (decision.action.value, decision.retry_delay and decision.retry_delay.total_seconds()) == (
        "retry",
        10,
    )


def test_the_policy_survives_the_way_into_a_serialized_dag() -> None:
    policy = JimengRetryPolicy()
    assert isinstance(JimengRetryPolicy.deserialize(policy.serialize()), JimengRetryPolicy)


def test_every_task_has_the_policy_unless_the_author_gives_another(subtests: pytest.Subtests) -> None:
    for task, arguments in TASKS:
        with subtests.test(task=repr(task), arguments=repr(arguments)):

            class Other(JimengRetryPolicy):
                pass

            assert RETRY_POLICIES_EXIST
            assert type(task(task_id="t", **arguments).retry_policy) is JimengRetryPolicy
            assert type(task(task_id="t", retry_policy=Other(), **arguments).retry_policy) is Other
            assert (
                type(task(task_id="t", default_args={"retry_policy": Other()}, **arguments).retry_policy)
                is Other
            )


def test_every_task_is_tried_again_once_unless_the_author_says_otherwise(subtests: pytest.Subtests) -> None:
    for task, arguments in TASKS:
        with subtests.test(task=repr(task), arguments=repr(arguments)):
            assert task(task_id="t", **arguments).retries == 1
            assert task(task_id="t", retries=0, **arguments).retries == 0
            assert task(task_id="t", default_args={"retries": 4}, **arguments).retries == 4


def test_without_retry_policies_in_airflow_none_is_passed_on() -> None:
    """Airflow below 3.3, for which a module without the two names stands in, in a process of its own."""
    code = """
import sys, types
import airflow.providers.common.compat.sdk as sdk
older = types.ModuleType(sdk.__name__)
older.__getattr__ = lambda name: getattr(sdk, name) if not name.startswith("Retry") else (_ for _ in ()).throw(AttributeError(name))
older.AirflowFailException = sdk.AirflowFailException
sys.modules[sdk.__name__] = older
from airflow_provider_jimeng import retry
assert not retry.RETRY_POLICIES_EXIST
from airflow_provider_jimeng.operators.base import with_default_policy
assert with_default_policy({"pool": "p"}, None) == {"pool": "p"}
"""
    subprocess.run([sys.executable, "-c", code], check=True)
