# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import io
import os
from typing import Any

import pytest

from airflow_provider_jimeng.core.catalogue import MODELS
from airflow_provider_jimeng.emulator.messages import Refusal
from airflow_provider_jimeng.emulator.request_checks import check_images, check_submit, measure

FIRST, TAIL = MODELS["i2v_first_720p"], MODELS["i2v_first_tail_720p"]


def image(width: int, height: int, kind: str = "PNG", *, noise: bool = False) -> bytes:
    from PIL import Image

    picture = (
        Image.frombytes("RGB", (width, height), os.urandom(width * height * 3))
        if noise
        else Image.new("RGB", (width, height), (200, 30, 30))
    )
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def code(spec: Any, **body: Any) -> int | None:
    checked = check_images(spec, body)
    return checked.code if isinstance(checked, Refusal) else None


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("size", [(320, 320), (4096, 4096), (960, 320), (320, 960)])
def test_jpeg_and_png_within_the_limits_are_accepted(kind: str, size: tuple[int, int]) -> None:
    (accepted,) = check_images(FIRST, {"binary_data_base64": [encoded(image(*size, kind))]})  # type: ignore[misc]
    assert (accepted.width, accepted.height) == size


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["data:image/png;base64," + encoded(image(320, 320))], 50207),
        (["%%%"], 50207),
        ([encoded(b"no image")], 50207),
        ([encoded(image(400, 400, "GIF"))], 50207),
        ([encoded(image(400, 400, noise=True)[:-5000])], 50207),
        ([encoded(image(400, 400, "JPEG", noise=True)[:-5000])], 50207),
        ([""], 50206),
        ([encoded(image(4097, 400))], 50205),
        ([encoded(b"x" * 4_700_001)], 50205),
        ([encoded(image(319, 400))], 50215),
        ([encoded(image(961, 320))], 50215),
        ([encoded(image(320, 320))] * 2, 50200),
        ("text", 50204),
        ([5], 50204),
    ],
    ids=lambda value: value if isinstance(value, int) else None,
)
def test_an_image_beyond_the_limits_is_refused(values: Any, expected: int) -> None:
    assert code(FIRST, binary_data_base64=values) == expected


def test_image_links_are_not_fetched_but_must_be_links() -> None:
    assert code(FIRST, image_urls=["https://example.com/a.png"]) is None
    assert code(FIRST, image_urls=["HTTP://example.com/a.png"]) is None
    assert code(FIRST, image_urls=["file:///etc/passwd"]) == 50200
    assert code(FIRST, image_urls=["https://a.example"], binary_data_base64=["eA=="]) == 50200


def test_the_tail_frame_needs_the_ratio_of_the_first() -> None:
    same = [encoded(image(640, 480)), encoded(image(1280, 960))]
    other = [encoded(image(640, 480)), encoded(image(480, 640))]
    assert code(TAIL, binary_data_base64=same) is None
    assert code(TAIL, binary_data_base64=other) == 50215
    assert code(TAIL, binary_data_base64=same[:1]) == 50200
    assert code(TAIL, image_urls=["https://a.example/1", "https://a.example/2"]) is None


@pytest.mark.parametrize(
    ("model", "requested", "size", "expected"),
    [
        ("i2v_first_720p", None, (1000, 1000), "1:1"),
        ("i2v_first_720p", None, (1800, 1000), "16:9"),
        ("ti2v_pro", "16:9", (700, 1200), "9:16"),
        ("i2v_s2_pro", "16:9", (700, 1200), "16:9"),
        ("i2v_s2_pro", None, (700, 1200), "9:16"),
    ],
)
def test_the_video_has_the_ratio_nearest_to_its_image(
    model: str, requested: str | None, size: tuple[int, int], expected: str
) -> None:
    spec = MODELS[model]
    body = {"req_key": spec.req_key, "prompt": "x", "binary_data_base64": [encoded(image(*size))]}
    accepted = check_submit(spec, {**body, "aspect_ratio": requested} if requested else body)
    assert not isinstance(accepted, Refusal)
    assert accepted.aspect_ratio == expected


def test_data_that_is_not_an_image_has_no_size() -> None:
    assert measure(b"") is None
    assert measure(image(5000, 400)) == (5000, 400)
    assert measure(image(500, 400, "JPEG")) == (500, 400)
