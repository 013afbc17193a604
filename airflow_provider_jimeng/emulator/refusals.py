"""What the API refuses at submit, from the catalogue (docs 85621, the page on each model).

The rules are documented (H). Which code answers which breach is documented by the codes' names only (docs 6444/69728):
absent → 50201, wrong type → 50204, out of range → 50200 (M). Unknown fields are ignored as the vendor seems to do (M-L)
and reported in the bill, because they are nearly always mistakes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_jimeng.core.catalogue import (
    AIGC_META_KEYS,
    AIGC_META_REQUIRED,
    CAMERA_STRENGTHS,
    CAMERA_TEMPLATES,
    FPS,
    MAX_AIGC_META_LENGTH,
    ModelSpec,
)
from airflow_provider_jimeng.core.frames import nearest_aspect_ratio
from airflow_provider_jimeng.emulator import codes
from airflow_provider_jimeng.emulator.envelopes import Refusal
from airflow_provider_jimeng.emulator.input_images import IMAGE_FIELDS, InputImage, check_images

MAX_SEED = 2**32 - 1
"""The vendor publishes no bound; this is the largest that any known client sends (L)."""
MAX_BODY_BYTES = 20 * 1024 * 1024
"""The vendor publishes no bound; two images of 4.7 MB as base64 are 12.6 MB, one relay caps at 20 MiB (L)."""
DEFAULT_ASPECT_RATIO = "16:9"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An accepted submit. ``seed`` is as sent, −1 for random; ``duration`` in seconds."""

    spec: ModelSpec
    prompt: str
    seed: int
    duration: int
    aspect_ratio: str
    images: tuple[InputImage, ...] = ()
    camera: tuple[str, str] | None = None
    ignored_fields: tuple[str, ...] = ()


@dataclass(slots=True)
class _Fields:
    """Reads fields of a body; the first breach is kept."""

    body: Mapping[str, Any]
    refusal: Refusal | None = None

    def refuse(self, code: int, detail: str) -> None:
        if self.refusal is None:
            self.refusal = Refusal(code=code, detail=detail)

    def text(self, name: str, *, required: bool = False, choices: tuple[str, ...] = ()) -> str:
        value = self.body.get(name)
        if value is None or value == "":
            if required:
                self.refuse(codes.MISSING_ARGS, name)
            return ""
        if not isinstance(value, str):
            self.refuse(codes.PARSE_ARGS, f"{name} must be a string")
            return ""
        if choices and value not in choices:
            self.refuse(codes.INVALID_ARGS, f"{name} must be one of {', '.join(choices)}")
        return value

    def integer(self, name: str, default: int) -> int:
        value = self.body.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            self.refuse(codes.PARSE_ARGS, f"{name} must be an integer")
            return default
        return value


def check_submit(spec: ModelSpec, body: Mapping[str, Any]) -> Order | Refusal:
    """Return the order that a submit places, or why the API refuses it."""
    fields = _Fields(body)
    prompt = fields.text("prompt", required=spec.prompt_required)
    if len(prompt) > spec.prompt_max:
        fields.refuse(codes.INVALID_ARGS, f"prompt has {len(prompt)} characters, at most {spec.prompt_max}")
    seed = fields.integer("seed", -1)
    if not -1 <= seed <= MAX_SEED:
        fields.refuse(codes.INVALID_ARGS, f"seed must be -1 to {MAX_SEED}")
    duration = _duration(spec, fields)
    ratio = fields.text("aspect_ratio", choices=spec.aspect_ratios) if spec.aspect_ratios else ""
    camera = None
    if spec.camera:
        camera = (
            fields.text("template_id", required=True, choices=CAMERA_TEMPLATES),
            fields.text("camera_strength", required=True, choices=CAMERA_STRENGTHS),
        )
    if fields.refusal is not None:
        return fields.refusal
    images = check_images(spec, body) if spec.max_images else ()
    if isinstance(images, Refusal):
        return images
    if not prompt and not images:
        return Refusal(code=codes.MISSING_ARGS, detail="prompt, or an image")
    return Order(
        spec=spec,
        prompt=prompt,
        seed=seed,
        duration=duration,
        aspect_ratio=_output_ratio(spec, ratio, images),
        images=images,
        camera=camera,
        ignored_fields=tuple(sorted(set(body) - known_fields(spec))),
    )


def known_fields(spec: ModelSpec) -> frozenset[str]:
    """Return the body fields that a model takes; any other is ignored."""
    names = {"req_key", "prompt", "seed"}
    if spec.takes_frames:
        names.add("frames")
    if spec.aspect_ratios:
        names.add("aspect_ratio")
    if spec.max_images:
        names.update(IMAGE_FIELDS)
    if spec.camera:
        names.update(("template_id", "camera_strength"))
    return frozenset(names)


def _duration(spec: ModelSpec, fields: _Fields) -> int:
    if not spec.takes_frames:
        return spec.durations[0]
    allowed = {seconds * FPS + 1: seconds for seconds in spec.durations}
    frames = fields.integer("frames", next(iter(allowed)))
    if frames not in allowed:
        fields.refuse(codes.INVALID_ARGS, f"frames must be {' or '.join(map(str, allowed))}")
    return allowed.get(frames, spec.durations[0])


def _output_ratio(spec: ModelSpec, asked: str, images: tuple[InputImage, ...]) -> str:
    """Pro takes the listed ratio nearest to its image and ignores the field (H); the others are alike by guess (L).

    S2.0 image to video lists the field and says nothing of its image's ratio: there the field wins (L).
    """
    if images and images[0].width and images[0].height and not (asked and spec.min_images):
        return nearest_aspect_ratio(
            images[0].width, images[0].height, spec.aspect_ratios or tuple(spec.sizes)
        )
    return asked or DEFAULT_ASPECT_RATIO


def parse_aigc_meta(body: Mapping[str, Any]) -> dict[str, str] | Refusal | None:
    """Return a valid ``aigc_meta`` of a query's ``req_json``; ``None`` leaves the video untagged.

    Failing to tag is no error (H), so invalid metadata is passed over in silence. ``req_json`` of another type than
    string is refused (documented type H, code L).
    """
    text = body.get("req_json")
    if text is None or text == "":
        return None
    if not isinstance(text, str):
        return Refusal(code=codes.PARSE_ARGS, detail="req_json must be a JSON string")
    try:
        options = json.loads(text)
    except (ValueError, RecursionError):
        return None
    meta = options.get("aigc_meta") if isinstance(options, dict) else None
    if not isinstance(meta, dict) or not all(meta.get(key) for key in AIGC_META_REQUIRED):
        return None
    known = {key: value for key, value in meta.items() if key in AIGC_META_KEYS}
    if not all(isinstance(value, str) and len(value) <= MAX_AIGC_META_LENGTH for value in known.values()):
        return None
    return known
