"""Finds fonts for the pictures: one that knows Chinese where there is one, else what there is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import ImageDraw, ImageFont

    Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

CJK_FONTS = (
    "notosanscjk", "notosanssc", "notoserifcjk", "sourcehansans", "sourcehanserif", "wqy-microhei", "wqy-zenhei",
    "droidsansfallback", "pingfang", "hiragino sans gb", "stheiti", "songti", "msyh", "simhei", "simsun", "arialuni",
    "uming", "ukai",
)  # fmt: skip
"""Beginnings of the file names of fonts that know Chinese, best first."""
LATIN_FONTS = ("dejavusans.ttf", "liberationsans-regular", "notosans-regular", "arial.ttf", "helvetica")


def font_directories() -> tuple[Path, ...]:
    """Return where fonts usually are, on Linux, macOS and Windows."""
    home = Path.home()
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    return (
        data / "fonts",
        home / ".fonts",
        Path("/usr/share/fonts"),
        Path("/usr/local/share/fonts"),
        home / "Library" / "Fonts",
        Path("/Library/Fonts"),
        Path("/System/Library/Fonts"),
        Path(os.environ.get("WINDIR", "C:/Windows")) / "Fonts",
    )


def find_font_file(names: tuple[str, ...], directories: tuple[Path, ...]) -> Path | None:
    """Return the first font file whose name begins with one of ``names``, in their order."""
    files = {path.name.lower(): path for directory in directories for path in _font_files(directory)}
    for wanted in names:
        for name in sorted(files):
            if name.startswith(wanted):
                return files[name]
    return None


def _font_files(directory: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(directory):
        yield from (Path(folder) / name for name in names if name.lower().endswith((".ttf", ".ttc", ".otf")))


@lru_cache(maxsize=1)
def best_font_file() -> Path | None:
    """Return the font that shows most: a Chinese one, a Latin one, or ``None`` for the one inside Pillow."""
    directories = font_directories()
    return find_font_file(CJK_FONTS, directories) or find_font_file(LATIN_FONTS, directories)


@lru_cache(maxsize=32)
def load_font(size: int, path: Path | None) -> Font:
    """Return a font by its size in pixels; a file that cannot be read gives way to Pillow's own."""
    from PIL import ImageFont

    if path is not None:
        try:
            return ImageFont.truetype(str(path), size)
        except OSError:
            pass
    return ImageFont.load_default(size)


@lru_cache(maxsize=4096)
def can_show(font: Font, character: str) -> bool:
    """Has the font this character? One that it has not looks like one that nobody has."""
    if character.isspace():
        return True
    return bytes(font.getmask(character)) != bytes(font.getmask("\U0010fffe"))


class Typeface:
    """Fonts of one size that show a text together: each character in the first of them that has it."""

    def __init__(self, *fonts: Font) -> None:
        self.fonts = fonts

    def shows(self, character: str) -> bool:
        """Has any of the fonts this character?"""
        return any(can_show(font, character) for font in self.fonts)

    def getlength(self, text: str) -> float:
        """Return the width of a text in pixels."""
        if len(self.fonts) == 1:
            return self.fonts[0].getlength(text)
        return sum(font.getlength(part) for font, part in self._parts(text))

    def write(
        self, draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, fill: tuple[int, int, int]
    ) -> None:
        """Draw a text from its upper left corner on; all fonts stand on one line."""
        left, top = place
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
    """Return a font and, where it knows no Latin letters, as some Chinese ones do not, Pillow's own behind it."""
    font = load_font(size, path)
    return Typeface(font) if can_show(font, "A") else Typeface(font, load_font(size, None))


def _ascent(font: Font) -> int:
    return int(getattr(font, "getmetrics", lambda: (0, 0))()[0])


def showable(face: Typeface, text: str) -> str:
    """Return the text with every character that no font has written as its code point, ``<4E00>``."""
    return "".join(c if face.shows(c) else f"<{ord(c):X}>" for c in text)
