# SPDX-License-Identifier: Apache-2.0
"""Requests that suit each model, made from the catalogue alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.catalogue import CAMERA_STRENGTHS, CAMERA_TEMPLATES
from airflow_provider_jimeng.core.parameters import RenderRequest

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.catalogue import ModelSpec

FRAMES = ("https://img.example.com/first.jpg", "https://img.example.com/last.jpg")


def arguments_for(spec: ModelSpec, *, with_image: bool | None = None) -> dict[str, Any]:
    """The least that a model takes; ``with_image`` chooses where an image is optional."""
    images = spec.min_images if with_image is None else (spec.max_images if with_image else 0)
    frames = dict(list(zip(("first_frame", "last_frame"), FRAMES, strict=True))[:images])
    arguments: dict[str, Any] = {"model": spec.name, "prompt": "a red kite over the sea", **frames}
    if spec.camera:
        arguments |= {"camera_template": CAMERA_TEMPLATES[0], "camera_strength": CAMERA_STRENGTHS[0]}
    return arguments


def request_for(spec: ModelSpec, **changes: Any) -> RenderRequest:
    """A request that a model takes."""
    return RenderRequest.build(**{**arguments_for(spec), **changes})
