# SPDX-License-Identifier: Apache-2.0
"""The picture of a video: a landscape or the input image, both moving, above the prompt and the parameters."""

from __future__ import annotations

import hashlib
import io
import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING

from airflow_provider_jimeng.core.frames import predict_crop
from airflow_provider_jimeng.emulator.canvas import Canvas, Colour, MovingPicture, Window, even
from airflow_provider_jimeng.emulator.scenery import Scene
from airflow_provider_jimeng.fonts import best_font_file, can_show, load_font

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import ImageDraw

    from airflow_provider_jimeng.fonts import Font

_WHITE = (250, 250, 250)
_TEXT, _NOTE = 228, 168
"""The brightness of the prompt and of the parameters."""
_IMAGE_PANEL = ((18, 21, 30), (236, 180, 96))
_IMAGE_LOOP, _REACH = 40, 1 / 120
"""Frames after which a moving first frame is where it was, and how far it moves, in widths of the picture."""


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
    seed: int
    images: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def key(self) -> str:
        """Return a digest of all fields."""
        digest = hashlib.sha256(repr((self.width, self.height, self.duration, self.aspect_ratio)).encode())
        digest.update(repr((self.prompt, self.lines, self.seed)).encode())
        for image in self.images:
            digest.update(hashlib.sha256(image).digest())
        return digest.hexdigest()


def draw_clip(clip: Clip) -> MovingPicture:
    """Return the first frame, or a landscape if there is none, above a panel with the prompt and the parameters."""
    panel, colours = _lay_out(clip), _IMAGE_PANEL
    top = max(even(clip.height / 2), clip.height - panel.height)
    if clip.images:
        picture = _draw_images(clip, top)
    else:
        scene = Scene(clip.width, top, clip.prompt, clip.seed)
        picture, colours = scene.draw(), scene.panel_colours
    still = picture.still.crop(0, 0, clip.width, clip.height)
    still.fill(top, clip.height, colours[0], colours[0])
    panel.write(still, top, colours[1])
    return MovingPicture(still, picture.windows)


def _draw_images(clip: Clip, height: int) -> MovingPicture:
    """Return the rows above the panel: the first frame, which moves on an ellipse, and the last frame in a corner."""
    reach_x, reach_y = even(clip.width * _REACH), even(clip.width * _REACH * 0.6)
    first = _cropped(clip.images[0], clip, clip.width + 2 * reach_x, clip.height + 2 * reach_y)
    turns = [math.tau * step / _IMAGE_LOOP for step in range(_IMAGE_LOOP)]
    corners = tuple((even(reach_x * (1 + math.cos(t))), even(reach_y * (1 + math.sin(t)))) for t in turns)
    windows = [Window(0, 0, clip.width, height, first, corners)]
    if len(clip.images) == 2:
        edge, (width, tall) = 4, (even(clip.width / 4), even(clip.height / 4))
        inset = Canvas.plain(width + 2 * edge, tall + 2 * edge, _WHITE)
        inset.paste(_cropped(clip.images[1], clip, width, tall), edge, edge)
        left, shown = clip.width - inset.width - 16, min(inset.height, max(0, height - 16))
        windows.append(Window(left, min(16, height), inset.width, shown, inset, ((0, 0),) * _IMAGE_LOOP))
    return MovingPicture(first.crop(*corners[0], clip.width, height), windows)


def _cropped(data: bytes, clip: Clip, width: int, height: int) -> Canvas:
    """Return an image cropped as Pro does it (centred, H; a guess for the other models, L), in the given size."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as opened:
        image = opened.convert("RGB")
    wide, tall = predict_crop(image.width, image.height, clip.aspect_ratio)
    left, upper = (image.width - wide) // 2, (image.height - tall) // 2
    return Canvas.of_image(image.crop((left, upper, left + wide, upper + tall)), width, height)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Panel:
    """The prompt and the parameters in rows. Steps, heights and margins are in pixels."""

    font: Typeface
    rows: list[str]
    step: int
    note_font: Typeface
    notes: list[str]
    note_step: int
    left: int
    edge: int
    """The space above and below the text."""

    @property
    def height(self) -> int:
        return even(
            2 * self.edge
            + len(self.rows) * self.step
            + self.note_step // 2
            + len(self.notes) * self.note_step
        )

    def write(self, canvas: Canvas, top: int, accent: Colour) -> None:
        """Write the text below a thin line."""
        from PIL import ImageDraw

        canvas.fill(top, top + max(2, even(self.edge / 5)), accent, accent)
        draw = ImageDraw.Draw(canvas.planes[0])  # the text is grey: it has no colour of its own
        y = top + self.edge
        for row in self.rows:
            self.font.write(draw, (self.left, y), row, _TEXT)
            y += self.step
        y += self.note_step // 2
        for note in self.notes:
            self.note_font.write(draw, (self.left, y), note, _NOTE)
            y += self.note_step


def _lay_out(clip: Clip) -> _Panel:
    """Return the prompt in the largest size that fits into the lower third. If no size fits, it ends in dots.

    More than three parameters, such as links of images, get more room.
    """
    path, short = best_font_file(), min(clip.width, clip.height)
    left, edge = clip.width // 24, max(4, short // 36)
    small = max(12, short // 36)
    note_font, note_step = load_typeface(small, path), small + small // 3
    width = clip.width - 2 * left
    height = clip.height // 3 - 2 * edge + max(0, len(clip.lines) - 3) * note_step
    notes = [shorten(showable(note_font, line), note_font, width) for line in clip.lines]
    room = height - len(notes) * note_step - note_step // 2
    size = max(14, short // 18)
    while True:
        font, step = load_typeface(size, path), size + size // 3
        rows = wrap(showable(font, clip.prompt), font, width)
        if len(rows) * step <= room or size <= 14:
            break
        size = max(14, size * 4 // 5)
    fitting = max(1, room // step)
    if len(rows) > fitting:
        rows = [*rows[: fitting - 1], shorten(rows[fitting - 1] + rows[fitting], font, width)]
    return _Panel(
        font=font,
        rows=rows,
        step=step,
        note_font=note_font,
        notes=notes,
        note_step=note_step,
        left=left,
        edge=edge,
    )


def shorten(text: str, font: Typeface, width: int) -> str:
    """Return the text, or its beginning and dots if it is wider than ``width`` pixels."""
    if font.getlength(text) <= width:
        return text
    return text[: _fitting(text, font, width, "...")] + "..."


def _fitting(text: str, font: Typeface, width: int, ending: str = "") -> int:
    """Return how many characters of a text, with the ending, are at most ``width`` pixels wide."""

    def measure(length: int) -> float:
        return font.getlength(text[:length] + ending)

    return bisect_right(range(1, len(text)), float(width), key=measure)


def wrap(text: str, font: Typeface, width: int) -> list[str]:
    """Return the text in rows of at most ``width`` pixels, broken at spaces, or anywhere if there is none (Chinese)."""
    rows: list[str] = []
    for paragraph in text.splitlines() or [""]:
        rest = paragraph.rstrip(" ")
        while len(rest) > 1 and font.getlength(rest) > width:
            fitting = _fitting(rest, font, width)
            space = rest.rfind(" ", 0, fitting + 1)
            end = space if space > 0 else max(1, fitting)
            rows.append(rest[:end].rstrip(" "))
            rest = rest[end:].lstrip(" ")
        rows.append(rest)
    return rows


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

    def write(self, draw: ImageDraw.ImageDraw, position: tuple[float, float], text: str, fill: int) -> None:
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
