"""The picture of a render: its input image, its prompt and its parameters, readable; and a strip that moves."""

from __future__ import annotations

import colorsys
import hashlib
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_jimeng.core.frames import predict_crop
from airflow_provider_jimeng.emulator.fonts import best_font_file, load_font, load_typeface, showable

if TYPE_CHECKING:
    from PIL import Image

    from airflow_provider_jimeng.emulator.fonts import Typeface

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
    left, right = margin, clip.width - margin
    top = clip.height // 2 if pictures else clip.height // 10
    bottom = clip.height - clip.strip_height - margin // 2
    text = _set_text(clip, right - left, bottom - top)
    if pictures:  # as much of them stays in sight as the text allows
        top = bottom - text.height
        draw.rectangle((left // 2, top - margin // 4, clip.width - left // 2, bottom), fill=_PANEL)
    for index, row in enumerate(text.rows):
        text.font.write(draw, (left, top + index * text.step), row, _WHITE)
    notes_top = bottom - len(text.notes) * text.note_step
    for index, note in enumerate(text.notes):
        text.note_font.write(draw, (left, notes_top + index * text.note_step), note, _GREY)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Text:
    """Prompt and parameters, set in rows; steps and height in pixels."""

    font: Typeface
    rows: list[str]
    step: int
    note_font: Typeface
    notes: list[str]
    note_step: int

    @property
    def height(self) -> int:
        return len(self.rows) * self.step + len(self.notes) * self.note_step


def _set_text(clip: Clip, width: int, height: int) -> _Text:
    """Set the prompt in the largest size that fits above the parameters; what fits in no size ends in dots."""
    path = best_font_file()
    small = max(12, min(clip.width, clip.height) // 30)
    note_font, note_step = load_typeface(small, path), small + small // 3
    notes = [shorten(showable(note_font, line), note_font, width) for line in clip.lines]
    room = height - len(notes) * note_step
    size = max(14, min(clip.width, clip.height) // 14)
    while True:
        font, step = load_typeface(size, path), size + size // 3
        rows = wrap(showable(font, clip.prompt), font, width)
        if len(rows) * step <= room or size <= 14:
            break
        size = max(14, size * 4 // 5)
    fitting = max(1, room // step)
    if len(rows) > fitting:
        rows = [*rows[: fitting - 1], shorten(rows[fitting - 1] + rows[fitting], font, width)]
    return _Text(font=font, rows=rows, step=step, note_font=note_font, notes=notes, note_step=note_step)


def shorten(text: str, font: Typeface, width: int) -> str:
    """Return the text if it is at most ``width`` pixels wide, else its beginning and dots."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def wrap(text: str, font: Typeface, width: int) -> list[str]:
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
    font = load_font(max(10, height // 2), None)
    draw.text((height // 2, height // 8), f"{index + 1:02d}/{count}", font=font, fill=_WHITE_LEVEL)
    return strip.tobytes()
