# SPDX-License-Identifier: Apache-2.0
"""Checks of requests against the catalogue: the fields and images of a submit, the label of a query.

The rules for fields are documented (H: docs 85621, the page of each model), and so are the limits of images (H: docs
85621/1777001: raw base64, JPEG or PNG, 4.7 MB, 320 to 4096 pixels, ratio 3). Which code answers which mistake follows
only from the names of the codes (docs 6444/69728): missing → 50201, wrong type → 50204, out of range → 50200 (M); 50215
for sides and ratios of images is a guess (L). Unknown fields are ignored, as the vendor seems to do (M-L). They are on
the bill, because they are nearly always mistakes. Links to images are not fetched: each counts as a valid image.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_jimeng.core.catalogue import (
    AIGC_META_KEYS,
    AIGC_META_REQUIRED,
    CAMERA_STRENGTHS,
    CAMERA_TEMPLATES,
    FPS,
    IMAGE_FORMATS,
    MAX_AIGC_META_LENGTH,
    MAX_IMAGE_BYTES,
    MAX_IMAGE_RATIO,
    MAX_IMAGE_SIDE,
    MIN_IMAGE_SIDE,
    ModelSpec,
)
from airflow_provider_jimeng.core.frames import nearest_aspect_ratio
from airflow_provider_jimeng.emulator.messages import Code, Refusal

MAX_SEED = 2**32 - 1
"""The vendor publishes no limit. This is the greatest that any known client sends (L)."""
MAX_BODY_BYTES = 20 * 1024 * 1024
"""The vendor publishes no limit. Two images of 4.7 MB as base64 are 12.6 MB; one relay has a limit of 20 MiB (L)."""
DEFAULT_ASPECT_RATIO = "16:9"
SAME_RATIO_TOLERANCE = 0.01
"""How far the ratio of a tail frame can differ. The vendor says "the same"; the tolerance is a guess (L)."""
IMAGE_FIELDS = ("image_urls", "binary_data_base64")


@dataclass(frozen=True, slots=True, kw_only=True)
class InputImage:
    """An accepted image: a link, or bytes with their size in pixels."""

    url: str | None = None
    data: bytes | None = field(default=None, repr=False)
    width: int | None = None
    height: int | None = None

    @property
    def ratio(self) -> float | None:
        """Return width divided by height, or ``None`` for a link."""
        return self.width / self.height if self.width and self.height else None


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedRequest:
    """A submit that the API accepts. ``seed`` is -1 if it is random. ``duration`` is in seconds."""

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
    """Reads the fields of a body, and keeps the first mistake."""

    body: Mapping[str, Any]
    refusal: Refusal | None = None

    def refuse(self, code: int, detail: str) -> None:
        if self.refusal is None:
            self.refusal = Refusal(code=code, detail=detail)

    def text(self, name: str, *, required: bool = False, choices: tuple[str, ...] = ()) -> str:
        value = self.body.get(name)
        if value is None or value == "":
            if required:
                self.refuse(Code.MISSING_ARGS, name)
            return ""
        if not isinstance(value, str):
            self.refuse(Code.PARSE_ARGS, f"{name} must be a string")
            return ""
        if choices and value not in choices:
            self.refuse(Code.INVALID_ARGS, f"{name} must be one of {', '.join(choices)}")
        return value

    def integer(self, name: str, default: int) -> int:
        value = self.body.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            self.refuse(Code.PARSE_ARGS, f"{name} must be an integer")
            return default
        return value


def check_submit(spec: ModelSpec, body: Mapping[str, Any]) -> AcceptedRequest | Refusal:
    """Return the accepted request of a submit, or why the API refuses it."""
    fields = _Fields(body)
    prompt = fields.text("prompt", required=spec.prompt_required)
    if len(prompt) > spec.prompt_max:
        fields.refuse(Code.INVALID_ARGS, f"prompt has {len(prompt)} characters, at most {spec.prompt_max}")
    seed = fields.integer("seed", -1)
    if not -1 <= seed <= MAX_SEED:
        fields.refuse(Code.INVALID_ARGS, f"seed must be -1 to {MAX_SEED}")
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
        return Refusal(code=Code.MISSING_ARGS, detail="prompt, or an image")
    return AcceptedRequest(
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
    """Return the names of the body fields that a model takes. Other fields are ignored."""
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
        fields.refuse(Code.INVALID_ARGS, f"frames must be {' or '.join(map(str, allowed))}")
    return allowed.get(frames, spec.durations[0])


def _output_ratio(spec: ModelSpec, requested: str, images: tuple[InputImage, ...]) -> str:
    """Return the aspect ratio of the video.

    Pro ignores the field and takes the listed ratio that is nearest to its image (H). That the other models do the same
    is a guess (L). The page of S2.0 image to video lists the field and does not mention the ratio of the image: there
    the field wins (L).
    """
    if images and images[0].width and images[0].height and not (requested and spec.min_images):
        return nearest_aspect_ratio(
            images[0].width, images[0].height, spec.aspect_ratios or tuple(spec.sizes)
        )
    return requested or DEFAULT_ASPECT_RATIO


def check_images(spec: ModelSpec, body: Mapping[str, Any]) -> tuple[InputImage, ...] | Refusal:
    """Return the images of a submit in order, or why they are refused."""
    names = [name for name in IMAGE_FIELDS if body.get(name) not in (None, [])]
    if len(names) == 2:
        return Refusal(code=Code.INVALID_ARGS, detail="image_urls and binary_data_base64 exclude each other")
    if not names:
        return Refusal(code=Code.IMAGE_EMPTY, detail="the model needs an image") if spec.min_images else ()
    name = names[0]
    values = body[name]
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        return Refusal(code=Code.PARSE_ARGS, detail=f"{name} must be a list of strings")
    if not spec.min_images <= len(values) <= spec.max_images:
        return Refusal(
            code=Code.INVALID_ARGS,
            detail=f"{name} has {len(values)} images, the model takes {spec.max_images}",
        )
    images: list[InputImage] = []
    for value in values:
        image = _linked_image(value) if name == "image_urls" else _decoded_image(value)
        if isinstance(image, Refusal):
            return image
        images.append(image)
    return _check_tail_frame(images) or tuple(images)


def _linked_image(value: str) -> InputImage | Refusal:
    if not value.lower().startswith(("http://", "https://")):
        return Refusal(code=Code.INVALID_ARGS, detail="image_urls takes public http(s) links")
    return InputImage(url=value)


def _decoded_image(text: str) -> InputImage | Refusal:
    if text.startswith("data:"):
        return Refusal(code=Code.IMAGE_DECODE, detail="raw base64 without a data: prefix is expected")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return Refusal(code=Code.IMAGE_DECODE, detail="the base64 text cannot be decoded")
    if not data:
        return Refusal(code=Code.IMAGE_EMPTY, detail="the image is empty")
    if len(data) > MAX_IMAGE_BYTES:
        return Refusal(code=Code.IMAGE_TOO_LARGE, detail=f"{len(data)} bytes, at most {MAX_IMAGE_BYTES}")
    size = measure(data)
    if size is None:
        return Refusal(code=Code.IMAGE_DECODE, detail="JPEG or PNG expected")
    width, height = size
    if max(size) > MAX_IMAGE_SIDE:
        return Refusal(
            code=Code.IMAGE_TOO_LARGE, detail=f"{width}×{height} pixels, at most {MAX_IMAGE_SIDE} a side"
        )
    if min(size) < MIN_IMAGE_SIDE or max(size) > min(size) * MAX_IMAGE_RATIO:
        return Refusal(code=Code.INPUT_INVALID, detail=f"{width}×{height} pixels do not suit the model")
    return InputImage(data=data, width=width, height=height)


def measure(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) of an undamaged JPEG or PNG in pixels, as viewers show it, or ``None``.

    A JPEG is decoded at an eighth of its size, because that is fast. That the API follows the orientation in EXIF is a
    guess (L).
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as image:
            width, height = image.size
            if max(width, height) > MAX_IMAGE_SIDE:
                return width, height
            if image.format == "PNG":
                image.verify()
            else:
                image.draft("L", (max(1, width // 8), max(1, height // 8)))
                image.load()
            rotated = _is_rotated(image.info.get("exif"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return (height, width) if rotated else (width, height)


def _is_rotated(exif: bytes | None) -> bool:
    """Return whether the orientation in EXIF swaps width and height."""
    from PIL.Image import Exif

    tags = Exif()
    try:
        tags.load(exif or b"")
        return tags.get(0x0112) in (5, 6, 7, 8)
    except Exception:  # noqa: BLE001 - damaged EXIF data counts as none
        return False


def _check_tail_frame(images: Sequence[InputImage]) -> Refusal | None:
    ratios = [image.ratio for image in images if image.ratio is not None]
    if len(ratios) == 2 and abs(ratios[0] - ratios[1]) / ratios[0] > SAME_RATIO_TOLERANCE:
        return Refusal(code=Code.INPUT_INVALID, detail="the tail frame must have the ratio of the first")
    return None


def parse_aigc_meta(body: Mapping[str, Any]) -> dict[str, str] | Refusal | None:
    """Return a valid ``aigc_meta`` of a query's ``req_json``, or ``None`` if the video gets no label.

    Invalid metadata is ignored, because a missing label is not an error (H). A ``req_json`` that is not a string is
    refused (the type is documented, H; the code is a guess, L).
    """
    text = body.get("req_json")
    if text is None or text == "":
        return None
    if not isinstance(text, str):
        return Refusal(code=Code.PARSE_ARGS, detail="req_json must be a JSON string")
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
