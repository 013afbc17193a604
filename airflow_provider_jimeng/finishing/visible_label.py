# SPDX-License-Identifier: Apache-2.0
"""Draws the visible label: light text in a dark box, so that it can be read on any picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_jimeng.core.arguments import shown
from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.fonts import (
    CJK_FONTS,
    LATIN_FONTS,
    can_show,
    find_font_file,
    font_directories,
)

if TYPE_CHECKING:
    from PIL import Image, ImageFont

    from airflow_provider_jimeng.finishing.request import VisibleLabel

_BOX = (0, 0, 0, 176)
"""Dark enough for a contrast of 8:1 between white text and a box on a white picture."""
_MARGIN = 0.03
"""Distance from the edge of the picture, as a share of its shortest side."""
_SPARE_PIXELS = 2
"""The height of the text that encoding can blur."""


def find_font(label: VisibleLabel) -> Path | None:
    """Return a font file that has every character of a label; ``None`` for the font inside Pillow.

    :raises ParameterError: the font of the label cannot be read or lacks a character, or none was found.
    """
    if label.font is not None:
        path = Path(label.font).expanduser()
        missing = _missing(path, label.text)
        if missing:
            raise ParameterError(
                "visible_label.font", f"{shown(str(path))} has no {missing!r}. Give a font that has it."
            )
        return path
    directories = font_directories()
    for candidate in (find_font_file(LATIN_FONTS, directories), None, find_font_file(CJK_FONTS, directories)):
        if not _missing(candidate, label.text):
            return candidate
    raise ParameterError(
        "visible_label.font",
        f"no font on this machine has all characters of {shown(label.text)}. Install one on the workers "
        "(Debian: fonts-noto-cjk), or give the path of a font file.",
    )


def draw_label(
    label: VisibleLabel, font_file: Path | None, width: int, height: int
) -> tuple[Image.Image, int, int]:
    """Return the label as a transparent picture, and the position of its upper left corner.

    :param width: of the video in pixels; so is ``height``.
    :raises ParameterError: the text is too long for the picture.
    """
    from PIL import Image, ImageDraw

    shortest = min(width, height)
    font = _font_for(label.text, font_file, math.ceil(shortest * label.size) + _SPARE_PIXELS)
    left, top, right, bottom = font.getbbox(label.text)
    padding = max(2, round((bottom - top) * 0.4))
    box_width, box_height = (math.ceil((side + 2 * padding) / 2) * 2 for side in (right - left, bottom - top))
    margin = round(shortest * _MARGIN)
    if box_width + 2 * margin > width:
        raise ParameterError(
            "visible_label.text",
            f"{shown(label.text)} is {box_width} pixels wide, and the picture {width}. Shorten the text.",
        )
    picture = Image.new("RGBA", (box_width, box_height), (0, 0, 0, 0))
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle((0, 0, box_width - 1, box_height - 1), radius=padding, fill=_BOX)
    draw.text((padding - left, padding - top), label.text, font=font, fill=(255, 255, 255, 255))
    return picture, *_corner(label.position, (width, height), (box_width, box_height), margin)


def _load(path: Path | None, size: int) -> ImageFont.FreeTypeFont:
    """Return a font in a size in pixels.

    :raises ParameterError: the file cannot be read.
    """
    from PIL import ImageFont

    if path is None:
        own = ImageFont.load_default(size)
        assert isinstance(own, ImageFont.FreeTypeFont)  # noqa: S101  Pillow's wheels have FreeType
        return own
    try:
        return ImageFont.truetype(str(path), size)
    except OSError as error:
        raise ParameterError(
            "visible_label.font", f"{shown(str(path))} cannot be read as a font ({error})."
        ) from None


def _missing(path: Path | None, text: str) -> str:
    """Return the characters that a font lacks."""
    font = _load(path, 32)
    return "".join(character for character in text if not can_show(font, character))


def _font_for(text: str, path: Path | None, text_height: int) -> ImageFont.FreeTypeFont:
    """Return the font in the smallest size in which the text, as drawn, has the wanted height."""
    size = text_height
    while True:
        font = _load(path, size)
        _, top, _, bottom = font.getbbox(text)
        if bottom - top >= text_height:
            return font
        size += 1


def _corner(position: str, outer: tuple[int, int], inner: tuple[int, int], margin: int) -> tuple[int, int]:
    x, y = ((whole - part) // 2 for whole, part in zip(outer, inner, strict=True))
    if "left" in position:
        x = margin
    elif "right" in position:
        x = outer[0] - inner[0] - margin
    if "top" in position:
        y = margin
    elif "bottom" in position:
        y = outer[1] - inner[1] - margin
    return x, y
