# SPDX-License-Identifier: Apache-2.0
"""A new-api gateway between the tasks and the API: what it refuses costs nothing, and what it keeps is landed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_jimeng.core.errors import (
    AuthenticationError,
    ConcurrencyLimitedError,
    InputModeratedError,
    PermissionDeniedError,
    UnknownSubmitError,
)
from airflow_provider_jimeng.emulator.gateway import QUERY_SHAPES, SUBMIT_SHAPES
from airflow_provider_jimeng.triggers.slot import JimengSlotTrigger
from tests.harness.lab import CONNECTION, Lab, open_lab

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_jimeng.core.errors import JimengError
    from tests.harness.fake_airflow import FakeTask

TOKEN = "sk-gateway"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """An emulator behind a gateway whose links are its own."""
    with open_lab(tmp_path, bearer=TOKEN, gateway_links="own") as opened:
        through_the_gateway(opened)
        yield opened


def through_the_gateway(lab: Lab) -> None:
    os.environ[CONNECTION] = lab.emulator.connection_json(
        auth="bearer", timeout_seconds=30, max_requests_per_second=1000
    )


def refuse(lab: Lab, what: str, **fault: Any) -> None:
    lab.emulator.faults.add(where="submit", what=what, times=1, **fault)


def failed(lab: Lab, kind: type[JimengError]) -> FakeTask:
    """Run a task that fails, without a try after it and without a bill."""
    stage = lab.task(retries=3)
    assert stage.run() == "failed"
    (error,) = stage.errors
    assert type(error) is kind
    assert stage.record() is None
    assert lab.emulator.bill()["accepted"] == 0
    return stage


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize("query", QUERY_SHAPES)
@pytest.mark.parametrize("submit", SUBMIT_SHAPES)
def test_a_render_is_paid_once_and_landed_from_a_link_that_needs_the_token(
    tmp_path: Path, submit: str, query: str, deferrable: bool
) -> None:
    options: dict[str, Any] = {"gateway_submit": submit, "gateway_query": query, "gateway_links": "own"}
    with open_lab(tmp_path, bearer=TOKEN, **options) as lab:
        through_the_gateway(lab)
        lab.options = {"deferrable": deferrable}
        assert lab.task().run() == "success"
        tally = lab.tally()
        assert (tally.accepted, tally.billed, tally.landed) == (1, 1, 1)
        assert lab.emulator.bill()["media_requests_with_authorization"] == 0, (
            "beyond the gateway it is a leak"
        )
        assert not any(TOKEN.encode() in content for content in lab.files().values())


def test_a_download_that_was_cut_goes_on_with_the_token(lab: Lab) -> None:
    lab.emulator.faults.add(where="media", what="cut", nth=1)
    assert lab.task().run() == "success"
    assert lab.tally().landed == 1
    task = next(iter(lab.emulator.bill()["by_task"].values()))
    assert task["media_downloads"] == 2


def test_a_busy_gateway_is_waited_for_and_no_submit_becomes_unknown(lab: Lab) -> None:
    refuse(lab, "error_before", code=50430)
    stage = lab.task()
    stage.try_number, stage.max_tries, stage.store.latest = 1, 1, "try-1"
    with pytest.raises(TaskDeferred) as deferral:
        lab.generate().execute(stage._context(stage._task_instance()))
    assert isinstance(deferral.value.trigger, JimengSlotTrigger)
    assert stage.record() is None


@pytest.mark.parametrize("shape", ["native", "code", "openai", "nested", "words"])
def test_a_refused_prompt_fails_at_once_in_whatever_shape(lab: Lab, shape: str) -> None:
    refuse(lab, "gateway_wraps", shape=shape)
    stage = failed(lab, InputModeratedError)
    refusal = stage.xcom("jimeng_refusal")
    assert (refusal["code"], refusal["advice"]) == ("50412", "Change the prompt.")


def test_a_model_that_is_not_opened_is_for_the_operator_of_the_gateway(lab: Lab) -> None:
    refuse(lab, "error_before", code=50400)
    stage = failed(lab, PermissionDeniedError)
    assert stage.xcom("jimeng_refusal")["advice"].startswith("Ask the operator of the gateway")


@pytest.mark.parametrize(
    ("reason", "kind"), [("quota", PermissionDeniedError), ("expired_token", AuthenticationError)]
)
def test_what_the_gateway_itself_refuses_is_mended_there(
    lab: Lab, reason: str, kind: type[JimengError]
) -> None:
    refuse(lab, "gateway_refuses", reason=reason)
    stage = failed(lab, kind)
    said = f"{stage.errors[0]} {json.dumps(stage.xcom('jimeng_refusal'))}"
    assert "at the gateway" in said
    assert "Volcengine" not in said


@pytest.mark.parametrize("reason", ["no_channel", "overloaded"])
def test_a_gateway_without_a_channel_is_tried_again_by_a_retry(lab: Lab, reason: str) -> None:
    refuse(lab, "gateway_refuses", reason=reason)
    stage = lab.task()
    assert stage.run() == "success"
    assert [type(error) for error in stage.errors] == [PermissionDeniedError]
    assert lab.tally().accepted == 1


@pytest.mark.parametrize("code", [50500, 100016])
def test_a_failure_behind_the_gateway_stays_an_unknown_submit(lab: Lab, code: int) -> None:
    refuse(lab, "error_after", code=code)
    stage = lab.task()
    assert stage.run() == "failed"
    assert all(isinstance(error, UnknownSubmitError) for error in stage.errors)
    assert lab.emulator.bill()["accepted"] == 1


@pytest.mark.parametrize("code", [50411, 50511, 50400])
def test_a_wrapped_refusal_of_a_query_ends_no_render(lab: Lab, code: int) -> None:
    lab.emulator.faults.add(where="query", what="gateway_wraps", shape="nested", code=code, nth=[1, 2])
    lab.options = {"poll_interval": 0.03}
    assert lab.task().run() == "success"
    assert lab.tally().billed == 1


def test_a_busy_gateway_in_a_script_is_the_error_that_says_so(lab: Lab) -> None:
    from airflow_provider_jimeng.hooks.jimeng import JimengHook

    refuse(lab, "error_before", code=50430)
    with pytest.raises(ConcurrencyLimitedError):
        JimengHook().submit_text_to_video(prompt="a red kite")
