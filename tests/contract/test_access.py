# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jimeng.core.catalogue import MODELS
from airflow_provider_jimeng.core.errors import AuthenticationError, InputRejectedError
from tests.contract.sample_requests import request_for

if TYPE_CHECKING:
    from tests.contract.conftest import Maker

SPEC = MODELS["t2v_720p"]


def test_temporary_credentials_are_accepted_with_their_token(make_api: Maker) -> None:
    api = make_api(session_token="STS/token+==", connection={"extra": {"session_token": "STS/token+=="}})
    assert api.submit(request_for(SPEC)).task_id


@pytest.mark.parametrize(
    ("connection", "name"),
    [
        ({"login": "AKOTHER"}, "InvalidAccessKey"),
        ({"password": "SKOTHER"}, "SignatureDoesNotMatch"),
        ({"extra": {"session_token": "STALE"}}, "InvalidSecretToken"),
        ({"extra": {"region": "cn-beijing"}}, "SignatureDoesNotMatch"),
    ],
    ids=["key", "secret", "token", "region"],
)
def test_what_is_wrong_with_the_credentials_is_told_apart(
    make_api: Maker, connection: dict[str, Any], name: str
) -> None:
    api = make_api(connection=connection)
    with pytest.raises(AuthenticationError) as raised:
        api.submit(request_for(SPEC))
    assert raised.value.entry is not None
    assert raised.value.entry.name == name


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"connection": {"extra": {"service": "visual"}}}, "ServiceNotFound"),
        ({"path": "/api"}, "InvalidActionOrVersion"),
    ],
    ids=["service", "path"],
)
def test_a_wrong_service_or_path_is_named(make_api: Maker, wrong: dict[str, Any], name: str) -> None:
    api = make_api(**wrong)
    with pytest.raises(InputRejectedError) as raised:
        api.query(SPEC.req_key, "7")
    assert raised.value.entry is not None
    assert raised.value.entry.name == name


@pytest.mark.parametrize("ahead", [-7200.0, 7200.0])
def test_a_skewed_clock_costs_one_refusal_and_no_second_render(make_api: Maker, ahead: float) -> None:
    api = make_api()
    api.clock.ahead = ahead
    first = api.submit(request_for(SPEC))
    assert api.query(SPEC.req_key, first.task_id).status_word == "in_queue"
    bill = api.emulator.bill()
    assert (bill["submits"], bill["accepted"], bill["queries"]) == (2, 1, 1)
