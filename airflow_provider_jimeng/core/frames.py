# SPDX-License-Identifier: Apache-2.0
"""Image inputs: the limits of the API, the links that it can fetch, and how it crops an image (docs 85621/1777001)."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from airflow_provider_jimeng.core.arguments import check_frames, is_link, read_text, shown
from airflow_provider_jimeng.core.catalogue import (
    IMAGE_FORMATS,
    MAX_IMAGE_BYTES,
    MAX_IMAGE_RATIO,
    MAX_IMAGE_SIDE,
    MIN_IMAGE_SIDE,
    ModelSpec,
)
from airflow_provider_jimeng.core.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from airflow_provider_jimeng.core.parameters import RenderRequest

_KINDS: Sequence[tuple[str, re.Pattern[bytes]]] = (
    ("JPEG", re.compile(rb"\xff\xd8\xff")),
    ("PNG", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("GIF", re.compile(rb"GIF8[79]a")),
    ("WEBP", re.compile(rb"RIFF....WEBP", re.DOTALL)),
    ("AVIF", re.compile(rb"....ftypavi[fs]", re.DOTALL)),
    ("HEIC", re.compile(rb"....ftyp(?:he[iv][cmsx]|mif1|msf1)", re.DOTALL)),
    ("JPEG 2000", re.compile(rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51")),
    ("JPEG XL", re.compile(rb"\x00\x00\x00\x0cJXL |\xff\x0a")),
    ("MP4 or MOV video", re.compile(rb"....(?:ftyp|moov|mdat)", re.DOTALL)),
    ("TIFF", re.compile(rb"II[*+]\x00|MM\x00[*+]")),
    ("BMP", re.compile(rb"BM.{4}\x00{4}", re.DOTALL)),
    ("ICO", re.compile(rb"\x00\x00[\x01\x02]\x00")),
    ("PSD", re.compile(rb"8BPS")),
    ("PDF", re.compile(rb"%PDF-")),
    ("ZIP", re.compile(rb"PK\x03\x04")),
    (
        "SVG",
        re.compile(
            rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml.*?)?(?:<!--.*?-->\s*|<!DOCTYPE svg.*?>\s*)*<svg[\s>]",
            re.DOTALL | re.IGNORECASE,
        ),
    ),
    ("HTML", re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!DOCTYPE html|html|head|body)\b", re.IGNORECASE)),
    ("XML", re.compile(rb"(?:\xef\xbb\xbf)?\s*<\?xml\b")),
)
"""Formats by the first bytes of a file, so that no library has to be installed."""
_HEAD_BYTES = 1024
_BASE64_LETTERS = 64
_TURNED_BACK = frozenset({5, 6, 7, 8})
"""EXIF orientations in which width and height change places."""

RATIO_TOLERANCE = 0.01
"""How far the ratios of a first and a last frame can differ. The vendor says "the same"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """An image input: a link, which is sent as it is, or a file, whose bytes are sent.

    ``reference`` is the link or path. A file has no ``data`` until it is opened. ``width`` and
    ``height`` are in pixels, as a viewer shows the image. ``orientation`` is EXIF's, 1 if the image is stored upright.
    """

    reference: str
    data: bytes | None = field(default=None, repr=False)
    format: str | None = None
    width: int | None = None
    height: int | None = None
    orientation: int = 1

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


def format_of(head: bytes) -> str | None:
    """Return the name of a file's format by its first bytes; ``None`` if no format is known to begin so."""
    head = head[:_HEAD_BYTES]
    return next((name for name, begin in _KINDS if begin.match(head)), None)


def is_image_text(text: str) -> bool:
    """Return whether a text is an image in base64, and not a path or a link."""
    letters = "".join(text[: 2 * _BASE64_LETTERS].split())[:_BASE64_LETTERS]
    try:
        head = base64.b64decode(
            letters.encode(), altchars=b"-_" if set("-_") & set(letters) else None, validate=True
        )
    except ValueError:
        return False
    return len(letters) == _BASE64_LETTERS and format_of(head) is not None


def viewed_size(width: int, height: int, orientation: int) -> tuple[int, int]:
    """Return the size of an image as viewers show it, which follow EXIF's orientation."""
    return (height, width) if orientation in _TURNED_BACK else (width, height)


def orientation_warnings(frames: Mapping[str, Frame]) -> list[str]:
    """Return a warning for each image that is not stored upright."""
    return [
        f"{argument} is not stored upright: its EXIF orientation is {frame.orientation}. Viewers turn the image, but "
        "the API perhaps does not. If the video is turned, save the image upright."
        for argument, frame in frames.items()
        if frame.orientation != 1
    ]


def bare_link(link: str) -> str:
    """Return a link without query, fragment and user: it still names the image, but it contains no signature."""
    parts = urlsplit(link)
    return urlunsplit((parts.scheme.lower(), parts.netloc.rpartition("@")[2].lower(), parts.path, "", ""))


def check_frame(argument: str, frame: Frame) -> None:
    """Refuse an opened image that the API would refuse: it takes 4.7 MB, JPEG or PNG, 320 to 4096 pixels, ratio up to 3."""
    if frame.data is None or frame.width is None or frame.height is None:
        raise ParameterError(argument, "the image was not read.")
    if len(frame.data) > MAX_IMAGE_BYTES:
        raise ParameterError(
            argument,
            f"the image has more than {MAX_IMAGE_BYTES:,} bytes (4.7 MB), which is the limit of the API. "
            "Make it smaller, or save it as a JPEG of lower quality.",
        )
    if frame.format not in IMAGE_FORMATS:
        raise ParameterError(
            argument,
            f"the format is {frame.format or 'unknown'}; the API takes JPEG or PNG. Convert the image.",
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
    """Refuse a last frame of another ratio than the first, if both are known."""
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

    A narrower image keeps its width, and W·B/A of its height. A wider one loses width.
    """
    across, down = map(int, aspect_ratio.split(":"))
    if width * down < height * across:
        return width, round(width * down / across)
    return round(height * across / down), height


# --- read ---------------------------------------------------------------------------------------------------------------

_GIVE = "give a file, or an http(s) link that the API can fetch."
_LONGEST_REFERENCE = 16_384
_SECOND_LINK = re.compile(r"\S[\s,;|，；、\"'\]\[(){}<>]{1,20}[a-z][a-z0-9+.-]{0,20}://", re.IGNORECASE)
"""A link that begins after a separator. A link inside the path or query of another link does not."""


def read_frames(spec: ModelSpec, first_frame: Any, last_frame: Any) -> tuple[Frame | None, Frame | None]:
    """Return the first and the last frame. Their images are opened later."""
    first, last = _read_frame("first_frame", first_frame), _read_frame("last_frame", last_frame)
    check_frames(spec, *(None if frame is None else frame.reference for frame in (first, last)))
    if first is None and (spec.min_images >= 1 or last is not None):
        raise ParameterError("first_frame", f"is missing; {spec.name} renders from {spec.inputs}.")
    if last is None and spec.min_images >= 2:
        raise ParameterError("last_frame", f"is missing; {spec.name} renders from {spec.inputs}.")
    return first, last


def _read_frame(argument: str, value: Any) -> Frame | None:
    reference = read_reference(argument, value)
    return None if reference is None else Frame(reference=reference)


def read_reference(argument: str, value: Any) -> str | None:
    """Return a link or path to an image as text, ``None`` if it is absent.

    :raises ParameterError: it is neither, such as bytes, a list or a ``data:`` URI, or a link without a host.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        raise ParameterError(argument, f"expected text, got bytes; {_GIVE}")
    reference = read_text(argument, str(value) if hasattr(value, "open") else value)
    if reference is None:
        return None
    scheme = reference[:8].lower()
    if scheme.startswith("data:"):
        raise ParameterError(argument, f"is a data: URI; {_GIVE}")
    if is_image_text(reference):
        raise ParameterError(argument, f"is an image in base64; {_GIVE}")
    if len(reference) > _LONGEST_REFERENCE:
        raise ParameterError(
            argument, f"has {len(reference):,} characters and is not a path or a link; {_GIVE}"
        )
    if scheme.startswith(("http://", "https://")) and not _has_host(reference):
        raise ParameterError(argument, f"{shown(reference)} is not a complete link.")
    if "\n" in reference or "\r" in reference or _SECOND_LINK.search(reference):
        raise ParameterError(
            argument, f"{shown(reference)} is more than one link or path. Give one image here."
        )
    return reference


def _has_host(link: str) -> bool:
    try:
        return bool(urlsplit(link).hostname)
    except ValueError:
        return False


# --- links --------------------------------------------------------------------------------------------------------------

_PRIVATE_DOMAINS = (
    ".localhost",
    ".local",
    ".localdomain",
    ".internal",
    ".intranet",
    ".lan",
    ".corp",
    ".private",
    ".home",
    ".home.arpa",
    ".svc",
)
"""Domains that the public DNS does not have. Machines, routers, companies and clusters use them."""


def host_of(link: str) -> str:
    """Return the host of a link in lower case, without port, user and final dot; empty if it has none."""
    try:
        return (urlsplit(link).hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_private(link: str) -> bool:
    """Return whether the host of a link certainly is in the own network. No name is looked up."""
    host = host_of(link)
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        last_label = host.rpartition(".")[2]
        return "." not in host or host.endswith(_PRIVATE_DOMAINS) or _is_number(last_label)
    inner = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return not (inner or address).is_global or address.is_multicast


def check_links(request: RenderRequest, endpoint: str) -> None:
    """Refuse image links that an API in the public network cannot fetch.

    An endpoint in the own network, such as the emulator or a gateway, can perhaps reach them. Then there is only a warning.

    :raises ParameterError: there is such a link. The message names the host and the remedy.
    """
    if is_private(endpoint):
        return
    for argument, frame in (("first_frame", request.first_frame), ("last_frame", request.last_frame)):
        if frame is not None and frame.is_link and is_private(frame.reference):
            raise ParameterError(
                argument,
                f"{host_of(frame.reference)} is a host in your own network. The API fetches image links itself and cannot "
                "reach it. Give a link that is public, or the path of the image file.",
            )


def link_warnings(*frames: Frame | None) -> list[str]:
    """Return a warning for each image link that only the own network can open."""
    return [
        f"The API fetches image links itself. It can open those on {host_of(frame.reference)} only if it runs in your "
        "own network, as an emulator or a gateway can."
        for frame in frames
        if frame is not None and frame.is_link and is_private(frame.reference)
    ]


def _is_number(label: str) -> bool:
    """Return whether a host ends like an unusual spelling of an IPv4 address, such as 127.1 or 0x7f.1."""
    return label.isdecimal() or label.startswith("0x")
