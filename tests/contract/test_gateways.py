# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jimeng.core.catalogue import MODELS
from airflow_provider_jimeng.core.errors import (
    ApiError,
    AuthenticationError,
    ConcurrencyLimitedError,
    OutputModeratedError,
    RateLimitedError,
)
from airflow_provider_jimeng.core.render import RenderStatus
from airflow_provider_jimeng.emulator.gateway import QUERY_SHAPES, SUBMIT_SHAPES
from tests.contract.sample_requests import request_for

if TYPE_CHECKING:
    from tests.contract.conftest import Maker

SPEC = MODELS["t2v_720p"]
SHAPES = [
    {"gateway_submit": submit, "gateway_query": query}
    for submit, query in itertools.product(SUBMIT_SHAPES, QUERY_SHAPES)
]


def shape_name(shape: dict[str, str]) -> str:
    return "-".join(shape.values())


@pytest.mark.parametrize("shape", SHAPES, ids=shape_name)
def test_a_render_goes_its_way_through_every_gateway(make_api: Maker, shape: dict[str, Any]) -> None:
    api = make_api(bearer="sk-token", **shape)
    task_id = api.submit(request_for(SPEC)).task_id
    assert api.query(SPEC.req_key, task_id).status is RenderStatus.IN_QUEUE
    api.clock.ahead = 50
    assert api.query(SPEC.req_key, task_id).status in (RenderStatus.GENERATING, RenderStatus.UNKNOWN)
    api.clock.ahead = 101
    done = api.query(SPEC.req_key, task_id, aigc_meta={"producer_id": "p", "content_propagator": "c"})
    assert (done.status, done.aigc_meta_tagged) == (RenderStatus.DONE, True)
    assert done.video_url is not None


@pytest.mark.parametrize("shape", SHAPES, ids=shape_name)
def test_a_failed_render_is_told_by_every_gateway(make_api: Maker, shape: dict[str, Any]) -> None:
    api = make_api(bearer="sk-token", faults=[{"where": "render", "what": "fail"}], **shape)
    task_id = api.submit(request_for(SPEC)).task_id
    api.clock.ahead = 101
    with pytest.raises(OutputModeratedError):
        api.query(SPEC.req_key, task_id)


@pytest.mark.parametrize("shape", SHAPES, ids=shape_name)
def test_an_unknown_task_is_not_found_through_every_gateway(make_api: Maker, shape: dict[str, Any]) -> None:
    api = make_api(bearer="sk-token", **shape)
    assert api.query(SPEC.req_key, "7").status is RenderStatus.NOT_FOUND


@pytest.mark.parametrize("shape", SHAPES, ids=shape_name)
def test_a_full_house_is_busy_through_every_gateway(make_api: Maker, shape: dict[str, Any]) -> None:
    api = make_api(bearer="sk-token", max_concurrent=1, **shape)
    api.submit(request_for(SPEC))
    with pytest.raises((ConcurrencyLimitedError, RateLimitedError)):
        api.submit(request_for(SPEC))
    assert api.emulator.bill()["accepted"] == 1


def test_a_wrong_token_is_an_authentication_error(make_api: Maker) -> None:
    api = make_api(bearer="sk-token", connection={"password": "sk-other"})
    with pytest.raises(AuthenticationError) as raised:
        api.submit(request_for(SPEC))
    assert "sk-other" not in str(raised.value)


def test_a_gateway_that_knows_no_cancel_refuses_it(make_api: Maker) -> None:
    api = make_api(bearer="sk-token")
    task_id = api.submit(request_for(SPEC)).task_id
    with pytest.raises(ApiError):
        api.cancel(SPEC.req_key, task_id)
