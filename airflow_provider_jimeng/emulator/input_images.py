"""Checks of the images in a submit (docs 85621/1777001: raw base64, JPEG or PNG, 4.7 MB, 320 to 4096 pixels, ratio 3).

The limits are documented (H); which code answers a breach is read from the names of the codes (M), except 50215 for
sides and ratios (L). Links are not fetched: whatever is behind them counts as a good image.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_jimeng.core.catalogue import (
    IMAGE_FORMATS,
    MAX_IMAGE_BYTES,
    MAX_IMAGE_RATIO,
    MAX_IMAGE_SIDE,
    MIN_IMAGE_SIDE,
    ModelSpec,
)
from airflow_provider_jimeng.emulator import codes
from airflow_provider_jimeng.emulator.envelopes import Refusal

SAME_RATIO_TOLERANCE = 0.01
"""How far the ratio of a tail frame may be off; the vendor says "the same" (the tolerance is a guess, L)."""
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
        """Width by height; ``None`` behind a link."""
        return self.width / self.height if self.width and self.height else None

    @property
    def digest(self) -> str:
        """What tells this image from another."""
        return hashlib.sha256(self.data if self.data is not None else str(self.url).encode()).hexdigest()


def check_images(spec: ModelSpec, body: Mapping[str, Any]) -> tuple[InputImage, ...] | Refusal:
    """Return the images of a submit in order, or why they are refused."""
    given = [name for name in IMAGE_FIELDS if body.get(name) not in (None, [])]
    if len(given) == 2:
        return Refusal(code=codes.INVALID_ARGS, detail="image_urls and binary_data_base64 exclude each other")
    if not given:
        return Refusal(code=codes.IMAGE_EMPTY, detail="the model needs an image") if spec.min_images else ()
    name = given[0]
    values = body[name]
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        return Refusal(code=codes.PARSE_ARGS, detail=f"{name} must be a list of strings")
    if not spec.min_images <= len(values) <= spec.max_images:
        return Refusal(
            code=codes.INVALID_ARGS,
            detail=f"{name} has {len(values)} images, the model takes {spec.max_images}",
        )
    images: list[InputImage] = []
    for value in values:
        image = _link(value) if name == "image_urls" else _decoded(value)
        if isinstance(image, Refusal):
            return image
        images.append(image)
    return _check_tail(images) or tuple(images)


def _link(value: str) -> InputImage | Refusal:
    if not value.lower().startswith(("http://", "https://")):
        return Refusal(code=codes.INVALID_ARGS, detail="image_urls takes public http(s) links")
    return InputImage(url=value)


def _decoded(text: str) -> InputImage | Refusal:
    if text.startswith("data:"):
        return Refusal(code=codes.IMAGE_DECODE, detail="raw base64 without a data: prefix is expected")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return Refusal(code=codes.IMAGE_DECODE, detail="the base64 text cannot be decoded")
    if not data:
        return Refusal(code=codes.IMAGE_EMPTY, detail="the image is empty")
    if len(data) > MAX_IMAGE_BYTES:
        return Refusal(code=codes.IMAGE_TOO_LARGE, detail=f"{len(data)} bytes, at most {MAX_IMAGE_BYTES}")
    size = measure(data)
    if size is None:
        return Refusal(code=codes.IMAGE_DECODE, detail="JPEG or PNG expected")
    width, height = size
    if max(size) > MAX_IMAGE_SIDE:
        return Refusal(
            code=codes.IMAGE_TOO_LARGE, detail=f"{width}×{height} pixels, at most {MAX_IMAGE_SIDE} a side"
        )
    if min(size) < MIN_IMAGE_SIDE or max(size) > min(size) * MAX_IMAGE_RATIO:
        return Refusal(code=codes.INPUT_INVALID, detail=f"{width}×{height} pixels do not suit the model")
    return InputImage(data=data, width=width, height=height)


def measure(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) of a whole JPEG or PNG as viewers show it, else ``None``.

    A JPEG is decoded at an eighth: that is cheap. Whether the API follows EXIF's orientation is a guess (L).
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
            turned = _is_turned(image.info.get("exif"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return (height, width) if turned else (width, height)


def _is_turned(exif: bytes | None) -> bool:
    """Whether EXIF's orientation makes width and height change places."""
    from PIL.Image import Exif

    noted = Exif()
    try:
        noted.load(exif or b"")
        return noted.get(0x0112) in (5, 6, 7, 8)
    except Exception:  # noqa: BLE001 - a damaged note is none
        return False


def _check_tail(images: Sequence[InputImage]) -> Refusal | None:
    ratios = [image.ratio for image in images if image.ratio is not None]
    if len(ratios) == 2 and abs(ratios[0] - ratios[1]) / ratios[0] > SAME_RATIO_TOLERANCE:
        return Refusal(code=codes.INPUT_INVALID, detail="the tail frame must have the ratio of the first")
    return None
