"""The picture of a render: its input image, its prompt and its parameters, readable; and a strip that moves."""

from __future__ import annotations

import colorsys
import hashlib
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_jimeng.core.frames import predict_crop
from airflow_provider_jimeng.emulator.fonts import best_font_file, load_font, showable

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

    from airflow_provider_jimeng.emulator.fonts import Font

_WHITE, _GREY, _PANEL = (240, 240, 240), (190, 190, 190), (16, 18, 24)
_BLACK_LEVEL, _WHITE_LEVEL = 16, 235
"""Luma of black and white in limited-range video."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """What makes a video: two renders with equal clips are the same bytes. ``duration`` in seconds.

    ``images`` are the bytes of up to two frames; links are shown as text in ``lines``, never fetched.
    """

    width: int
    height: int
    duration: int
    aspect_ratio: str
    prompt: str
    lines: tuple[str, ...]
    tint: int
    images: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def key(self) -> str:
        """A digest of all of it."""
        digest = hashlib.sha256(repr((self.width, self.height, self.duration, self.aspect_ratio)).encode())
        digest.update(repr((self.prompt, self.lines, self.tint)).encode())
        for image in self.images:
            digest.update(hashlib.sha256(image).digest())
        return digest.hexdigest()

    @property
    def strip_height(self) -> int:
        """Height in pixels of the moving strip at the bottom; even, as chroma is halved."""
        return max(16, self.height // 16 // 2 * 2)


def draw_background(clip: Clip) -> Image.Image:
    """Return everything that stands still, with black where the strip will move."""
    from PIL import Image, ImageDraw

    canvas = Image.new("RGB", (clip.width, clip.height), _tint(clip.tint))
    pictures = [_fitted(data, clip) for data in clip.images]
    if pictures:
        canvas.paste(pictures[0])
    if len(pictures) == 2:
        inset = pictures[1].resize((clip.width // 4, clip.height // 4))
        canvas.paste(inset, (clip.width - inset.width - 16, 16))
    draw = ImageDraw.Draw(canvas)
    margin = clip.width // 24
    top = clip.height // 2 if pictures else clip.height // 10
    bottom = clip.height - clip.strip_height - margin // 2
    if pictures:
        draw.rectangle((margin // 2, top - margin // 4, clip.width - margin // 2, bottom), fill=_PANEL)
    _write(draw, clip, (margin, top, clip.width - margin, bottom))
    draw.rectangle((0, clip.height - clip.strip_height, clip.width, clip.height), fill=(0, 0, 0))
    return canvas


def _tint(seed: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hls_to_rgb((seed * 0.618034) % 1.0, 0.22, 0.45)
    return round(red * 255), round(green * 255), round(blue * 255)


def _fitted(data: bytes, clip: Clip) -> Image.Image:
    """Crop an image as Pro does (centred, H; the other models do not say, L) and scale it to the video."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as opened:
        image = opened.convert("RGB")
    width, height = predict_crop(image.width, image.height, clip.aspect_ratio)
    left, upper = (image.width - width) // 2, (image.height - height) // 2
    return image.resize((clip.width, clip.height), box=(left, upper, left + width, upper + height))


def _write(draw: ImageDraw.ImageDraw, clip: Clip, box: tuple[int, int, int, int]) -> None:
    """Write the prompt, in the largest size that fits, above the parameters."""
    left, top, right, bottom = box
    path = best_font_file()
    small = max(12, min(clip.width, clip.height) // 30)
    notes_top = bottom - len(clip.lines) * (small + small // 3)
    size = max(14, min(clip.width, clip.height) // 14)
    while True:
        font = load_font(size, path)
        rows = wrap(showable(font, clip.prompt), font, right - left)
        step = size + size // 3
        if len(rows) * step <= notes_top - top or size <= 14:
            break
        size = max(14, size * 4 // 5)
    shown = rows[: max(1, (notes_top - top) // step)]
    for index, row in enumerate(shown):
        draw.text((left, top + index * step), row, font=font, fill=_WHITE)
    note_font = load_font(small, path)
    for index, line in enumerate(clip.lines):
        text = showable(note_font, line)
        draw.text((left, notes_top + index * (small + small // 3)), text, font=note_font, fill=_GREY)


def wrap(text: str, font: Font, width: int) -> list[str]:
    """Break text into rows of at most ``width`` pixels: at a space where there is one, else anywhere (Chinese)."""
    rows: list[str] = []
    for paragraph in text.splitlines() or [""]:
        row = ""
        for character in paragraph:
            if row and font.getlength(row + character) > width:
                head, space, tail = row.rpartition(" ")
                rows.append(head if space else row)
                row = tail if space else ""
                if not row and character == " ":
                    continue
            row += character
        rows.append(row)
    return rows


def draw_strip(clip: Clip, index: int, count: int) -> bytes:
    """Return the luma of the strip in one of ``count`` steps: a bar that grows, and the step's number."""
    from PIL import Image, ImageDraw

    height = clip.strip_height
    strip = Image.new("L", (clip.width, height), _BLACK_LEVEL)
    draw = ImageDraw.Draw(strip)
    draw.rectangle((0, height // 4, clip.width * (index + 1) // count - 1, height - height // 4), fill=160)
    font = load_font(max(10, height // 2), best_font_file())
    draw.text((height // 2, height // 8), f"{index + 1:02d}/{count}", font=font, fill=_WHITE_LEVEL)
    return strip.tobytes()
