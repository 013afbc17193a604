# SPDX-License-Identifier: Apache-2.0
"""Finds the fonts of this machine, for the emulator's pictures and for visible labels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import ImageFont

    Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

CJK_FONTS = (
    "notosanscjk", "notosanssc", "notoserifcjk", "sourcehansans", "sourcehanserif", "wqy-microhei", "wqy-zenhei",
    "droidsansfallback", "pingfang", "hiragino sans gb", "stheiti", "songti", "msyh", "simhei", "simsun", "arialuni",
    "uming", "ukai",
)  # fmt: skip
"""How the file names of fonts with Chinese characters begin, best first."""
LATIN_FONTS = ("dejavusans.ttf", "liberationsans-regular", "notosans-regular", "arial.ttf", "helvetica")


def font_directories() -> tuple[Path, ...]:
    """Return the usual font directories of Linux, macOS and Windows."""
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
    for prefix in names:
        for name in sorted(files):
            if name.startswith(prefix):
                return files[name]
    return None


def _font_files(directory: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(directory):
        yield from (Path(folder) / name for name in names if name.lower().endswith((".ttf", ".ttc", ".otf")))


@lru_cache(maxsize=1)
def best_font_file() -> Path | None:
    """Return a font with Chinese characters, or else a Latin one, or else ``None`` for the font of Pillow."""
    directories = font_directories()
    return find_font_file(CJK_FONTS, directories) or find_font_file(LATIN_FONTS, directories)


@lru_cache(maxsize=32)
def load_font(size: int, path: Path | None) -> Font:
    """Return a font of ``size`` pixels. If the file cannot be read, it is the font of Pillow."""
    from PIL import ImageFont

    if path is not None:
        try:
            return ImageFont.truetype(str(path), size)
        except OSError:
            pass
    return ImageFont.load_default(size)


@lru_cache(maxsize=4096)
def can_show(font: Font, character: str) -> bool:
    """Return whether the font has a character. A missing one is drawn like a character that no font has."""
    if character.isspace():
        return True
    return bytes(font.getmask(character)) != bytes(font.getmask("\U0010fffe"))
