# SPDX-License-Identifier: Apache-2.0
"""The picture of a video: the input image, the prompt, the parameters and a moving strip."""

from __future__ import annotations

import colorsys
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING

from airflow_provider_jimeng.core.frames import predict_crop
from airflow_provider_jimeng.fonts import best_font_file, can_show, load_font

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image, ImageDraw

    from airflow_provider_jimeng.fonts import Font

_WHITE, _GREY, _PANEL = (240, 240, 240), (190, 190, 190), (16, 18, 24)
_BLACK_LEVEL, _WHITE_LEVEL = 16, 235
"""The luma of black and white in limited-range video."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """What a video shows. Equal clips give the same bytes. ``duration`` is in seconds.

    ``images`` are the bytes of up to two frames. Links are shown as text in ``lines`` and never fetched.
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
        """Return a digest of all fields."""
        digest = hashlib.sha256(repr((self.width, self.height, self.duration, self.aspect_ratio)).encode())
        digest.update(repr((self.prompt, self.lines, self.tint)).encode())
        for image in self.images:
            digest.update(hashlib.sha256(image).digest())
        return digest.hexdigest()

    @property
    def strip_height(self) -> int:
        """Return the height of the moving strip in pixels. It is even, because the chroma has half the height."""
        return max(16, self.height // 16 // 2 * 2)


def draw_background(clip: Clip) -> Image.Image:
    """Return all that does not move, with a black area for the strip."""
    from PIL import Image, ImageDraw

    canvas = Image.new("RGB", (clip.width, clip.height), _tint(clip.tint))
    pictures = [_cropped(data, clip) for data in clip.images]
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
    text = _lay_out(clip, right - left, bottom - top)
    if pictures:  # the text covers no more of the images than it needs
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


def _cropped(data: bytes, clip: Clip) -> Image.Image:
    """Return an image cropped as Pro does it (centred, H; a guess for the other models, L), in the size of the video."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as opened:
        image = opened.convert("RGB")
    width, height = predict_crop(image.width, image.height, clip.aspect_ratio)
    left, upper = (image.width - width) // 2, (image.height - height) // 2
    return image.resize((clip.width, clip.height), box=(left, upper, left + width, upper + height))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Text:
    """The prompt and the parameters in rows. Steps and heights are in pixels."""

    font: Typeface
    rows: list[str]
    step: int
    note_font: Typeface
    notes: list[str]
    note_step: int

    @property
    def height(self) -> int:
        return len(self.rows) * self.step + len(self.notes) * self.note_step


def _lay_out(clip: Clip, width: int, height: int) -> _Text:
    """Return the prompt in the largest size that fits above the parameters. If no size fits, it ends in dots."""
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
    """Return the text, or its beginning and dots if it is wider than ``width`` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def wrap(text: str, font: Typeface, width: int) -> list[str]:
    """Return the text in rows of at most ``width`` pixels, broken at spaces, or anywhere if there is none (Chinese)."""
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
    """Return the luma of the strip in one of ``count`` steps: a growing bar and the number of the step."""
    from PIL import Image, ImageDraw

    height = clip.strip_height
    strip = Image.new("L", (clip.width, height), _BLACK_LEVEL)
    draw = ImageDraw.Draw(strip)
    draw.rectangle((0, height // 4, clip.width * (index + 1) // count - 1, height - height // 4), fill=160)
    font = load_font(max(10, height // 2), None)
    draw.text((height // 2, height // 8), f"{index + 1:02d}/{count}", font=font, fill=_WHITE_LEVEL)
    return strip.tobytes()


class Typeface:
    """Several fonts of one size. Each character is drawn with the first font that has it."""

    def __init__(self, *fonts: Font) -> None:
        self.fonts = fonts

    def shows(self, character: str) -> bool:
        """Return whether any of the fonts has a character."""
        return any(can_show(font, character) for font in self.fonts)

    def getlength(self, text: str) -> float:
        """Return the width of a text in pixels."""
        if len(self.fonts) == 1:
            return self.fonts[0].getlength(text)
        return sum(font.getlength(part) for font, part in self._parts(text))

    def write(
        self, draw: ImageDraw.ImageDraw, position: tuple[float, float], text: str, fill: tuple[int, int, int]
    ) -> None:
        """Draw a text whose upper left corner is at ``position``. All fonts share one baseline."""
        left, top = position
        for font, part in self._parts(text):
            draw.text((left, top + _ascent(self.fonts[0]) - _ascent(font)), part, font=font, fill=fill)
            left += font.getlength(part)

    def _parts(self, text: str) -> Iterator[tuple[Font, str]]:
        for font, part in groupby(text, self._font_of):
            yield font, "".join(part)

    def _font_of(self, character: str) -> Font:
        return next((font for font in self.fonts if can_show(font, character)), self.fonts[0])


@lru_cache(maxsize=32)
def load_typeface(size: int, path: Path | None) -> Typeface:
    """Return a font. If it has no Latin letters, as some Chinese fonts, the font of Pillow is added."""
    font = load_font(size, path)
    return Typeface(font) if can_show(font, "A") else Typeface(font, load_font(size, None))


def _ascent(font: Font) -> int:
    return int(getattr(font, "getmetrics", lambda: (0, 0))()[0])


def showable(face: Typeface, text: str) -> str:
    """Return the text. A character that no font has is replaced by its code point, ``<4E00>``."""
    return "".join(c if face.shows(c) else f"<{ord(c):X}>" for c in text)
