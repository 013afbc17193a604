# SPDX-License-Identifier: Apache-2.0
"""Compares a saved video with what was asked for: length, picture and frame rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.catalogue import FPS, MODELS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_jimeng.core.catalogue import ModelSpec
    from airflow_provider_jimeng.core.mp4 import MediaInfo
    from airflow_provider_jimeng.core.render import Render

_SECONDS = 0.5
"""A video has one frame more than its duration, and players round."""
_FRAME_RATE = 0.5
_RATIO = 0.03
"""Sides are multiples of 8 or 16 pixels, so that the sizes of the catalogue miss their ratios by up to 2.4 %."""


def differences(render: Render, media: MediaInfo) -> list[dict[str, Any]]:
    """Return in what a video differs from its request: a list of ``{"field", "asked", "got"}``, empty if in nothing.

    Sizes are compared only for models whose sizes the vendor documents; for the others the ratio is compared.
    """
    spec = MODELS.get(render.model)
    checks = (
        _duration(render, media),
        _picture(render, spec, media),
        _frame_rate(media) if spec is not None else None,
    )
    return [check for check in checks if check is not None]


def difference_in_words(difference: Mapping[str, Any]) -> str:
    """Return one entry of :func:`differences` as a log line and an error tell it: ``duration 3.0 instead of 5``."""
    return f"{difference['field']} {difference['got']} instead of {difference['asked']}"


def _duration(render: Render, media: MediaInfo) -> dict[str, Any] | None:
    got = media.duration_seconds
    if render.duration is None or got is None or abs(got - render.duration) <= _SECONDS:
        return None
    return {"field": "duration", "asked": render.duration, "got": got}


def _picture(render: Render, spec: ModelSpec | None, media: MediaInfo) -> dict[str, Any] | None:
    """Compare the size, or the ratio where the size is uncertain. Without an asked ratio, the first frame decides."""
    if render.aspect_ratio is None:
        return None
    across, down = map(int, render.aspect_ratio.split(":"))
    asked, got = across / down, media.width / media.height
    if abs(got - asked) > asked * _RATIO:
        return {"field": "aspect_ratio", "asked": render.aspect_ratio, "got": f"{media.width}:{media.height}"}
    size = None if spec is None or spec.sizes_confidence != "H" else spec.sizes.get(render.aspect_ratio)
    if size is None or size == (media.width, media.height):
        return None
    return {"field": "size", "asked": "{}x{}".format(*size), "got": f"{media.width}x{media.height}"}


def _frame_rate(media: MediaInfo) -> dict[str, Any] | None:
    if media.fps is None or abs(media.fps - FPS) <= _FRAME_RATE:
        return None
    return {"field": "fps", "asked": FPS, "got": media.fps}
