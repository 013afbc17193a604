# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jimeng.core.catalogue import (
    CAMERA_STRENGTHS,
    CAMERA_TEMPLATES,
    MAX_SEED,
    MODELS,
    RETENTION_SECONDS,
)
from airflow_provider_jimeng.core.errors import InputRejectedError
from airflow_provider_jimeng.core.frames import Frame
from airflow_provider_jimeng.core.render import RenderStatus
from tests.contract.sample_requests import FRAMES, arguments_for, request_for

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.catalogue import ModelSpec
    from airflow_provider_jimeng.core.parameters import RenderRequest
    from tests.contract.conftest import Api, Maker

SPECS = list(MODELS.values())
META = {"producer_id": "dag-1", "content_propagator": "us"}


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_every_model_renders_from_what_the_catalogue_says_it_takes(api: Api, spec: ModelSpec) -> None:
    submitted = api.submit(request_for(spec))
    assert submitted.task_id.isdigit()
    assert submitted.request_id
    queued = api.query(spec.req_key, submitted.task_id)
    assert (queued.status, queued.video_url) == (RenderStatus.IN_QUEUE, None)
    api.clock.ahead = 50
    assert api.query(spec.req_key, submitted.task_id).status is RenderStatus.GENERATING
    api.clock.ahead = 101
    done = api.query(spec.req_key, submitted.task_id)
    assert done.status is RenderStatus.DONE
    assert done.video_url is not None
    assert done.video_url.startswith(api.url)
    (task,) = api.emulator.bill()["by_task"].values()
    assert task["req_key"] == spec.req_key
    assert not task.get("ignored_fields")
    price = spec.price_cny_per_second
    assert price is not None
    assert Decimal(str(task["cost_cny"])) == price * spec.durations[0]


@pytest.mark.parametrize(
    ("spec", "duration", "ratio"),
    [
        (spec, duration, ratio)
        for spec in SPECS
        for duration in spec.durations
        for ratio in (spec.aspect_ratios or [None])
    ],
    ids=str,
)
def test_every_duration_and_ratio_of_the_catalogue_is_accepted(
    memory_api: Api, spec: ModelSpec, duration: int, ratio: str | None
) -> None:
    request = request_for(spec, duration=duration, aspect_ratio=ratio, seed=MAX_SEED)
    assert memory_api.submit(request).task_id


@pytest.mark.parametrize("template", CAMERA_TEMPLATES)
@pytest.mark.parametrize("strength", CAMERA_STRENGTHS)
def test_every_camera_movement_of_the_catalogue_is_accepted(
    memory_api: Api, template: str, strength: str
) -> None:
    for spec in SPECS:
        if spec.camera:
            request = request_for(spec, camera_template=template, camera_strength=strength)
            assert memory_api.submit(request).task_id


@pytest.mark.parametrize(
    "spec", [spec for spec in SPECS if not spec.min_images and spec.max_images], ids=lambda spec: spec.name
)
def test_an_optional_image_is_accepted(memory_api: Api, spec: ModelSpec) -> None:
    from airflow_provider_jimeng.core.parameters import RenderRequest

    assert memory_api.submit(RenderRequest.build(**arguments_for(spec, with_image=True))).task_id


def breaches(spec: ModelSpec) -> dict[str, RenderRequest]:
    """Requests that our own checks would stop, let past them: the API must refuse each."""
    good = request_for(spec)
    first, last = (Frame(reference=link) for link in FRAMES)
    bad: dict[str, RenderRequest] = {
        "unknown key": replace(good, spec=replace(spec, req_key=f"{spec.req_key}_x")),
        "prompt too long": replace(good, prompt="x" * (spec.prompt_max + 1)),
        "prompt of another type": replace(good, extra_body={"prompt": 7}),
        "seed of another type": replace(good, extra_body={"seed": "7"}),
        "seed below -1": replace(good, seed=-2),
    }
    if spec.prompt_required or not good.first_frame:
        bad["no prompt"] = replace(good, prompt="")
    if spec.takes_frames:
        bad["another duration"] = replace(good, duration=7)
    if spec.aspect_ratios:
        bad["another ratio"] = replace(good, aspect_ratio="2:1")
    if spec.min_images:
        bad["no image"] = replace(good, first_frame=None, last_frame=None)
    if spec.max_images == 1:
        bad["two images"] = replace(good, first_frame=first, last_frame=last)
    if spec.max_images == 2:
        bad["one image"] = replace(good, last_frame=None)
    if spec.camera:
        bad["no camera"] = replace(good, camera_template=None)
        bad["another camera"] = replace(good, camera_template="upside_down")
    return bad


@pytest.mark.parametrize(
    ("spec", "breach"),
    [(spec, breach) for spec in SPECS for breach in breaches(spec)],
    ids=lambda v: getattr(v, "name", v),
)
def test_every_breach_of_the_catalogue_is_refused_by_the_api_too(
    memory_api: Api, spec: ModelSpec, breach: str
) -> None:
    with pytest.raises(InputRejectedError) as refusal:
        memory_api.submit(breaches(spec)[breach])
    assert refusal.value.entry is not None
    assert memory_api.emulator.bill()["accepted"] == 0


def test_a_label_is_written_when_the_query_asks_for_it(api: Api) -> None:
    spec = MODELS["t2v_720p"]
    task_id = api.submit(request_for(spec)).task_id
    api.clock.ahead = 101
    assert api.query(spec.req_key, task_id, aigc_meta=META).aigc_meta_tagged is True
    assert api.query(spec.req_key, task_id).aigc_meta_tagged is False


def test_each_query_mints_a_fresh_link(api: Api) -> None:
    spec = MODELS["t2v_720p"]
    task_id = api.submit(request_for(spec)).task_id
    api.clock.ahead = 101
    first = api.query(spec.req_key, task_id).video_url
    api.clock.ahead = 161
    assert api.query(spec.req_key, task_id).video_url != first


@pytest.mark.parametrize("seconds", [RETENTION_SECONDS + 1])
def test_a_render_is_not_found_after_the_retention_or_under_another_key(api: Api, seconds: float) -> None:
    task_id = api.submit(request_for(MODELS["t2v_720p"])).task_id
    other = api.query(MODELS["t2v_1080p"].req_key, task_id)
    assert other.status is RenderStatus.NOT_FOUND
    connection_is_checked_by_real_time = api.query(MODELS["t2v_720p"].req_key, "0")
    assert connection_is_checked_by_real_time.status is RenderStatus.NOT_FOUND
    api.clock.ahead = seconds
    assert api.query(MODELS["t2v_720p"].req_key, task_id).status is RenderStatus.NOT_FOUND


def test_a_queued_render_can_be_cancelled_and_a_running_one_cannot(api: Api) -> None:
    spec = MODELS["t2v_720p"]
    first, second = (api.submit(request_for(spec, take=take)).task_id for take in (1, 2))
    assert api.cancel(spec.req_key, first).request_id
    api.clock.ahead = 50
    with pytest.raises(InputRejectedError):
        api.cancel(spec.req_key, second)


@pytest.mark.parametrize("word", ["reviewing", "DONE_", "成功"])
def test_an_unknown_status_word_is_no_error(make_api: Maker, word: str) -> None:
    api = make_api(faults=[{"where": "query", "what": "status_word", "word": word}])
    task_id = api.submit(request_for(MODELS["t2v_720p"])).task_id
    reply: Any = api.query(MODELS["t2v_720p"].req_key, task_id)
    assert (reply.status, reply.status_word) == (RenderStatus.UNKNOWN, word)
