"""Image inputs: what the API takes, and how it will crop them (docs 85621/1777001)."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from airflow_provider_jimeng.core.catalogue import (
    IMAGE_FORMATS,
    MAX_IMAGE_BYTES,
    MAX_IMAGE_RATIO,
    MAX_IMAGE_SIDE,
    MIN_IMAGE_SIDE,
)
from airflow_provider_jimeng.core.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Iterable

RATIO_TOLERANCE = 0.01
"""How far the ratios of a first and a last frame may differ; the vendor says "the same"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """An image input: a link, sent as it is, or a file, whose bytes are sent.

    ``reference`` is the link or path as given. A file has no ``data`` until it was opened; ``width`` and
    ``height`` are in pixels.
    """

    reference: str
    data: bytes | None = field(default=None, repr=False)
    format: str | None = None
    width: int | None = None
    height: int | None = None

    @property
    def is_link(self) -> bool:
        """Whether it is an http(s) link, which the API fetches itself."""
        return is_link(self.reference)

    def identity(self) -> str:
        """Return what makes it the same image: the SHA-256 of its bytes, or its link without query and user."""
        if self.is_link:
            return bare_link(self.reference)
        if self.data is None:
            raise ValueError("the image was not opened")
        return "sha256:" + hashlib.sha256(self.data).hexdigest()


def is_link(reference: str) -> bool:
    """Whether a text is an http(s) link."""
    return reference.lower().startswith(("http://", "https://"))


def bare_link(link: str) -> str:
    """Return a link without query, fragment and user: what names the image, and opens nothing that is signed."""
    parts = urlsplit(link)
    return urlunsplit((parts.scheme.lower(), parts.netloc.rpartition("@")[2].lower(), parts.path, "", ""))


def check_frame(argument: str, frame: Frame) -> None:
    """Refuse an opened image that the API would refuse: 4.7 MB, JPEG or PNG, 320 to 4096 pixels, ratio up to 3."""
    if frame.data is None or frame.width is None or frame.height is None:
        raise ParameterError(argument, "the image was not read.")
    if len(frame.data) > MAX_IMAGE_BYTES:
        raise ParameterError(
            argument,
            f"the image has more than {MAX_IMAGE_BYTES:,} bytes (4.7 MB), which is what the API takes. "
            "Save it smaller, or as a JPEG of lower quality.",
        )
    if frame.format not in IMAGE_FORMATS:
        raise ParameterError(
            argument, f"the image is {frame.format or 'no image'}; the API takes JPEG or PNG."
        )
    shorter, longer = sorted((frame.width, frame.height))
    size = f"{frame.width}×{frame.height} pixels"
    if longer > MAX_IMAGE_SIDE:
        raise ParameterError(
            argument, f"the image has {size}; the API takes at most {MAX_IMAGE_SIDE} a side. Scale it down."
        )
    if shorter < MIN_IMAGE_SIDE:
        raise ParameterError(
            argument,
            f"the image has {size}; the API takes at least {MIN_IMAGE_SIDE} a side. Use a larger one, or scale it up.",
        )
    if longer > shorter * MAX_IMAGE_RATIO:
        raise ParameterError(
            argument,
            f"the image has {size}; the API takes at most {shorter * MAX_IMAGE_RATIO} for the longer side, "
            f"{MAX_IMAGE_RATIO} times the shorter. Crop it.",
        )


def check_same_ratio(first: Frame, last: Frame) -> None:
    """Refuse a last frame of another ratio than the first, where both are known."""
    if not (first.width and first.height and last.width and last.height):
        return
    one, other = first.width / first.height, last.width / last.height
    if abs(one - other) / one > RATIO_TOLERANCE:
        raise ParameterError(
            "last_frame",
            f"its ratio {last.width}×{last.height} is not that of first_frame, {first.width}×{first.height}. "
            "The API takes two images of the same ratio: crop one of them.",
        )


def nearest_aspect_ratio(width: int, height: int, aspect_ratios: Iterable[str]) -> str:
    """Return the listed ratio nearest to an image, as the API picks it."""

    def distance(aspect_ratio: str) -> float:
        across, down = map(int, aspect_ratio.split(":"))
        return abs(math.log(width * down / (height * across)))

    return min(aspect_ratios, key=distance)


def predict_crop(width: int, height: int, aspect_ratio: str) -> tuple[int, int]:
    """Return the centred part, (width, height) in pixels, that the API keeps of an image for a ratio A:B.

    A narrower image keeps its width and loses height, W·B/A of it staying; a wider one loses width.
    """
    across, down = map(int, aspect_ratio.split(":"))
    if width * down < height * across:
        return width, round(width * down / across)
    return round(height * across / down), height
