# SPDX-License-Identifier: Apache-2.0
"""What a saved video is compared with: the duration, ratio, size and frame rate that were asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pendulum

from airflow_provider_jimeng.core.catalogue import MODELS
from airflow_provider_jimeng.core.mp4 import MediaInfo
from airflow_provider_jimeng.core.render import Render, differences

if TYPE_CHECKING:
    import pytest

RENDER = Render(
    task_id="7",
    req_key="jimeng_ti2v_v30_pro",
    model="ti2v_pro",
    jimeng_conn_id="jimeng_default",
    submitted_at=pendulum.datetime(2026, 1, 2),
    duration=5,
    aspect_ratio="16:9",
)
AS_ASKED = MediaInfo(width=1920, height=1088, fps=24.0, frames=121, duration_seconds=5.041667, aigc=None)


def test_a_video_as_asked_differs_in_nothing() -> None:
    assert differences(RENDER, AS_ASKED) == []


def test_every_size_of_the_catalogue_has_its_ratio(subtests: pytest.Subtests) -> None:
    for spec in MODELS.values():
        for ratio, (width, height) in spec.sizes.items():
            with subtests.test(model=spec.name, ratio=ratio):
                render = replace(RENDER, model=spec.name, aspect_ratio=ratio)
                assert differences(render, replace(AS_ASKED, width=width, height=height)) == []


def test_length_ratio_and_frame_rate_are_told_with_what_was_asked() -> None:
    media = replace(AS_ASKED, width=1088, height=1920, fps=30.0, duration_seconds=3.0)
    assert differences(RENDER, media) == [
        {"field": "duration", "asked": 5, "got": 3.0},
        {"field": "aspect_ratio", "asked": "16:9", "got": "1088:1920"},
        {"field": "fps", "asked": 24, "got": 30.0},
    ]


def test_a_size_counts_only_where_the_vendor_documents_it() -> None:
    other = replace(AS_ASKED, width=1280, height=720)
    assert differences(RENDER, other) == [{"field": "size", "asked": "1920x1088", "got": "1280x720"}]
    assert differences(replace(RENDER, model="t2v_1080p"), other) == []
    assert differences(replace(RENDER, model="one of the connection"), other) == []


def test_what_was_not_asked_or_cannot_be_read_is_not_compared() -> None:
    render = replace(RENDER, duration=None, aspect_ratio=None)
    media = replace(AS_ASKED, width=100, height=999, fps=None, duration_seconds=None)
    assert differences(render, media) == []


def test_values_of_another_origin_never_keep_a_paid_video_from_being_saved(subtests: pytest.Subtests) -> None:
    values: list[dict[str, Any]] = [
        {"aspect_ratio": "adaptive"},
        {"aspect_ratio": "16:0"},
        {"aspect_ratio": 1.78},
        {"duration": "5"},
        {"model": "of a later version"},
    ]
    for changes in values:
        with subtests.test(changes=repr(changes)):
            payload = RENDER.to_payload() | changes
            assert differences(Render.from_payload(payload), AS_ASKED) == []
