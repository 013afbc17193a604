# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pendulum
import pytest
from hypothesis import given, strategies as st

from airflow_provider_jimeng.core.render import (
    Render,
    RenderManifest,
    RenderStatus,
    cost_in_words,
    format_money,
    format_time,
    measured,
    parse_money,
    parse_time,
)

STORED_V1_RENDER: dict[str, Any] = {
    "version": 1,
    "task_id": "7392616336519610409",
    "req_key": "jimeng_t2v_v30_1080p",
    "model": "t2v_1080p",
    "jimeng_conn_id": "jimeng_default",
    "submitted_at": "2026-01-02T03:04:05.678901Z",
    "fingerprint": "9f" * 32,
    "prompt": "一只猫 at dawn",
    "seed": 42,
    "duration": 5,
    "aspect_ratio": "16:9",
    "estimated_cost_cny": "3.15",
}
STORED_V1_MANIFEST: dict[str, Any] = STORED_V1_RENDER | {
    "uri": "s3://films/cat.mp4",
    "bytes": 4_321_000,
    "sha256": "ab" * 32,
    "content_type": "video/mp4",
    "width": 1920,
    "height": 1088,
    "fps": 24.0,
    "frames": 121,
    "duration_seconds": 5.0416,
    "landed_at": "2026-01-02T03:07:05Z",
    "request_id": "202601020304050607",
    "aigc_meta_tagged": True,
    "cost_cny": "3.15",
    "polls": 9,
    "queued_seconds": 4.2,
    "render_seconds": 100.0,
}


def test_a_stored_first_version_of_a_render_still_loads() -> None:
    assert Render.from_payload(STORED_V1_RENDER) == Render(
        task_id="7392616336519610409",
        req_key="jimeng_t2v_v30_1080p",
        model="t2v_1080p",
        jimeng_conn_id="jimeng_default",
        submitted_at=pendulum.datetime(2026, 1, 2, 3, 4, 5, 678901),
        fingerprint="9f" * 32,
        prompt="一只猫 at dawn",
        seed=42,
        duration=5,
        aspect_ratio="16:9",
        estimated_cost_cny=Decimal("3.15"),
    )


def test_a_stored_first_version_of_a_manifest_still_loads() -> None:
    manifest = RenderManifest.from_payload(STORED_V1_MANIFEST)

    assert manifest.landed_at == pendulum.datetime(2026, 1, 2, 3, 7, 5)
    assert (manifest.uri, manifest.bytes, manifest.cost_cny) == (
        "s3://films/cat.mp4",
        4_321_000,
        Decimal("3.15"),
    )


def test_what_is_written_today_is_the_first_version_with_four_more_fields() -> None:
    assert Render.from_payload(STORED_V1_RENDER).to_payload() == STORED_V1_RENDER
    written = RenderManifest.from_payload(STORED_V1_MANIFEST).to_payload()
    more = ("differs", "aigc_label", "queued_seconds_min", "render_seconds_min")
    assert written == STORED_V1_MANIFEST | dict.fromkeys(more)


def test_what_queries_saw_bounds_the_times_of_a_render() -> None:
    seen = measured(1000.0, 1013.0, 1033.0, 3.0, 30.0)
    assert seen == {
        "queued_seconds": 13.0, "render_seconds": 20.0, "queued_seconds_min": 3.0, "render_seconds_min": 17.0,
    }  # fmt: skip
    first_look = measured(1000.0, 1013.0, 1033.0, 0.0, 13.0)
    assert (first_look["queued_seconds_min"], first_look["render_seconds_min"]) == (0.0, 0.0)
    clock_ahead = measured(1100.0, 1013.0, 1033.0, -95.0, -80.0)
    assert clock_ahead == dict.fromkeys(seen, 0.0) | {"render_seconds": 20.0}


def test_a_manifest_is_also_a_render_payload() -> None:
    assert Render.from_payload(STORED_V1_MANIFEST) == Render.from_payload(STORED_V1_RENDER)


def test_a_later_versions_fields_are_ignored() -> None:
    assert Render.from_payload(STORED_V1_RENDER | {"version": 2, "novel": {}}) == Render.from_payload(
        STORED_V1_RENDER
    )


def test_only_the_ids_and_the_time_are_needed() -> None:
    needed = ("task_id", "req_key", "model", "jimeng_conn_id", "submitted_at")
    render = Render.from_payload({name: STORED_V1_RENDER[name] for name in needed})

    assert (render.prompt, render.seed, render.estimated_cost_cny) == (None, None, None)


def test_an_id_that_came_as_a_number_is_kept_as_text() -> None:
    assert (
        Render.from_payload(STORED_V1_RENDER | {"task_id": 7392616336519610409}).task_id
        == "7392616336519610409"
    )


def test_anything_else_is_a_value_error(subtests: pytest.Subtests) -> None:
    cases: list[Any] = [
        {},
        {"task_id": "1"},
        STORED_V1_RENDER | {"task_id": None},
        STORED_V1_RENDER | {"submitted_at": None},
        STORED_V1_RENDER | {"submitted_at": "soon"},
        STORED_V1_RENDER | {"submitted_at": "P1D"},
        STORED_V1_RENDER | {"estimated_cost_cny": "cheap"},
        ["no", "object"],
    ]
    for broken in cases:
        with subtests.test(broken=repr(broken)), pytest.raises(ValueError, match=r"."):
            Render.from_payload(broken)


def test_a_render_payload_is_no_manifest() -> None:
    with pytest.raises(ValueError, match="RenderManifest"):
        RenderManifest.from_payload(STORED_V1_RENDER)


def test_a_manifest_whose_uri_or_hash_is_no_text_is_a_value_error(subtests: pytest.Subtests) -> None:
    for name in ("uri", "sha256"):
        with subtests.test(name=name), pytest.raises(ValueError, match=f"{name} is not a text"):
            RenderManifest.from_payload(STORED_V1_MANIFEST | {name: 5})


def test_times_are_rfc_3339_in_utc() -> None:
    shanghai = pendulum.datetime(2026, 1, 2, 11, 4, 5, tz="Asia/Shanghai")

    assert format_time(shanghai) == "2026-01-02T03:04:05Z"
    assert parse_time("2026-01-02T11:04:05+08:00") == shanghai
    assert parse_time("2026-01-02T11:04:05+08:00").timezone_name == "UTC"


def test_money_is_plain_decimal_text(subtests: pytest.Subtests) -> None:
    cases: list[tuple[Decimal | None, str | None]] = [
        (None, None),
        (Decimal("1.4"), "1.40"),
        (Decimal(10), "10.00"),
        (Decimal("1E+2"), "100.00"),
        (Decimal("0.0000001"), "0.0000001"),
        (Decimal("3.15"), "3.15"),
    ]
    for amount, text in cases:
        with subtests.test(amount=repr(amount), text=repr(text)):
            assert format_money(amount) == text
            assert parse_money(text) == amount
            assert cost_in_words(amount) == ("unknown" if text is None else f"{text} CNY")


def test_money_is_read_from_a_json_number_too() -> None:
    assert parse_money(1.4) == Decimal("1.4")


def test_the_statuses_are_the_five_of_the_api_and_two_of_ours() -> None:
    assert {status.value for status in RenderStatus} == {
        "in_queue",
        "generating",
        "done",
        "not_found",
        "expired",
        "failed",
        "unknown",
    }


MOMENTS = st.datetimes().map(lambda moment: pendulum.instance(moment, tz="UTC"))
MONEY = st.none() | st.decimals(0, 10_000, places=4)


@given(
    st.builds(
        RenderManifest,
        task_id=st.text(min_size=1),
        req_key=st.text(),
        model=st.text(),
        jimeng_conn_id=st.text(),
        submitted_at=MOMENTS,
        prompt=st.none() | st.text(),
        seed=st.none() | st.integers(-1, 2**31),
        estimated_cost_cny=MONEY,
        uri=st.text(),
        bytes=st.integers(0),
        sha256=st.text(),
        landed_at=MOMENTS,
        fps=st.none() | st.floats(0, 240),
        cost_cny=MONEY,
    )
)
def test_a_manifest_survives_the_way_through_json(manifest: RenderManifest) -> None:
    assert RenderManifest.from_payload(json.loads(json.dumps(manifest.to_payload()))) == manifest
