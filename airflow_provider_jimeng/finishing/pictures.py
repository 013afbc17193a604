# SPDX-License-Identifier: Apache-2.0
"""The pictures of a video: the poster, the preview (a sheet of small frames with a WebVTT track), the visible label.

The label is light text in a dark box, so that it can be read on any picture. The thumbnails of reports are here, too.
"""

from __future__ import annotations

import hashlib
import io
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.arguments import shown
from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.finishing.files import POSTER_ENDINGS, name_beside, parse_still
from airflow_provider_jimeng.fonts import (
    CJK_FONTS,
    LATIN_FONTS,
    can_show,
    find_font_file,
    font_directories,
)

if TYPE_CHECKING:
    from PIL import Image, ImageFont

    from airflow_provider_jimeng.finishing.request import Poster, Preview, VisibleLabel
    from airflow_provider_jimeng.finishing.source import Source
    from airflow_provider_jimeng.storage.atomic_file import AtomicFile

log = logging.getLogger(__name__)

_MAX_TILES = 100
_COLUMNS = 10
_QUALITY = 88
_SHARPNESS_SIDE = 360
"""Frames are made this small before their sharpness is compared, so that noise does not count as sharp."""
_SHARPEST_OF_SECONDS = 1.0
_ROUNDING = 1e-6
_THUMBNAIL_SIDE = 360
_THUMBNAIL_QUALITY = 72
_LABEL_BOX = (0, 0, 0, 176)
"""Dark enough for a contrast of 8:1 between white text and a box on a white picture."""
_LABEL_MARGIN = 0.03
"""Distance from the edge of the picture, as a share of its shortest side."""
_SPARE_PIXELS = 2
"""The height of the text that encoding can blur."""


def draw_poster(source: Source, poster: Poster, *, label: Any = None, threads: int = 0) -> bytes:
    """Return one frame as JPEG or WebP, turned as a player turns it.

    :param label: the picture of the visible label and its upper left corner.
    """
    if poster.at is None:
        picture = _sharpest(source, _SHARPEST_OF_SECONDS, threads)
    else:
        picture = _frame_at(source, poster.at, threads)
    if label is not None:
        overlay, x, y = label
        picture = picture.convert("RGBA")
        picture.alpha_composite(overlay, (x, y))
    return _encoded(picture, poster.format)


def draw_preview(
    source: Source, preview: Preview, sheet_name: str, *, threads: int = 0
) -> tuple[bytes, bytes]:
    """Return a sheet of small frames as JPEG, and the WebVTT track that says which frame is when.

    :param sheet_name: file name of the sheet, as the track names it.
    """
    from PIL import Image

    step = max(preview.seconds, source.seconds / _MAX_TILES)
    count = max(1, math.ceil(source.seconds / step - _ROUNDING))
    size = preview.width, max(2, round(preview.width * source.height / source.width))
    tiles: list[Image.Image] = []
    last = None
    for seconds, frame in _timed(source, threads):
        while last is not None and len(tiles) < count and len(tiles) * step < seconds - _ROUNDING:
            tiles.append(_upright(source, last).resize(size))
        last = frame
    while len(tiles) < count:
        tiles.append(_upright(source, last).resize(size))
    width, height = size
    columns = min(_COLUMNS, len(tiles))
    sheet = Image.new("RGB", (columns * width, math.ceil(len(tiles) / columns) * height))
    lines = ["WEBVTT", ""]
    for number, tile in enumerate(tiles):
        x, y = number % columns * width, number // columns * height
        sheet.paste(tile, (x, y))
        ends = min((number + 1) * step, source.seconds)
        lines += [
            f"{_time(number * step)} --> {_time(max(ends, number * step + 0.001))}",
            f"{sheet_name}#xywh={x},{y},{width},{height}",
            "",
        ]
    return _encoded(sheet, "jpeg"), "\n".join(lines).encode()


def _frame_at(source: Source, at: float, threads: int) -> Image.Image:
    """Return the frame that is on the screen at a time."""
    last = None
    for seconds, frame in _timed(source, threads):
        if last is not None and seconds > at + _ROUNDING:
            break
        last = frame
    return _upright(source, last)


def _sharpest(source: Source, until: float, threads: int) -> Image.Image:
    """Return the frame with the most contrast between neighbouring pixels, of those up to a time."""
    best: Image.Image | None = None
    most = -1.0
    for seconds, frame in _timed(source, threads):
        if best is not None and seconds > until:
            break
        picture = _upright(source, frame)
        sharpness = _sharpness(picture)
        if sharpness > most:
            best, most = picture, sharpness
    assert best is not None  # noqa: S101  a source has one frame at least
    return best


def _timed(source: Source, threads: int) -> Iterator[tuple[float, Any]]:
    """Decode the frames with their seconds; the first one counts as 0."""
    first = None
    for frame in source.frames(threads=threads):
        pts = 0.0 if frame.time is None else frame.time
        first = pts if first is None else first
        yield pts - first, frame


def _upright(source: Source, frame: Any) -> Image.Image:
    """Return a frame as a picture, turned and with square pixels."""
    picture: Image.Image = frame.to_image()
    if source.rotation:
        picture = picture.rotate(source.rotation, expand=True)
    size = (source.width, source.height)
    return picture if picture.size == size else picture.resize(size)


def _sharpness(picture: Image.Image) -> float:
    from PIL import ImageFilter, ImageStat

    small = picture.convert("L")
    small.thumbnail((_SHARPNESS_SIDE, _SHARPNESS_SIDE))
    return float(ImageStat.Stat(small.filter(ImageFilter.FIND_EDGES)).var[0])


def _encoded(picture: Image.Image, form: str) -> bytes:
    target = io.BytesIO()
    picture.convert("RGB").save(target, format=form.upper(), quality=_QUALITY)
    return target.getvalue()


def _time(seconds: float) -> str:
    """Return a time as WebVTT writes it."""
    millis = round(seconds * 1000)
    return f"{millis // 3_600_000:02}:{millis // 60_000 % 60:02}:{millis // 1000 % 60:02}.{millis % 1000:03}"


# ------------------------------------------------------------------------------------------------ the visible label
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
    margin = round(shortest * _LABEL_MARGIN)
    if box_width + 2 * margin > width:
        raise ParameterError(
            "visible_label.text",
            f"{shown(label.text)} is {box_width} pixels wide, and the picture {width}. Shorten the text.",
        )
    picture = Image.new("RGBA", (box_width, box_height), (0, 0, 0, 0))
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle((0, 0, box_width - 1, box_height - 1), radius=padding, fill=_LABEL_BOX)
    draw.text((padding - left, padding - top), label.text, font=font, fill=(255, 255, 255, 255))
    return picture, *_corner(label.position, (width, height), (box_width, box_height), margin)


def _load_font(path: Path | None, size: int) -> ImageFont.FreeTypeFont:
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
    font = _load_font(path, 32)
    return "".join(character for character in text if not can_show(font, character))


def _font_for(text: str, path: Path | None, text_height: int) -> ImageFont.FreeTypeFont:
    """Return the font in the smallest size in which the text, as drawn, has the wanted height."""
    size = text_height
    while True:
        font = _load_font(path, size)
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


# ------------------------------------------------------------------------------------------- thumbnails for a report
def can_decode() -> bool:
    """Return whether the extra ``[media]`` is installed, which decodes videos."""
    try:
        import av  # noqa: F401  only asked for
    except ImportError:
        return False
    return True


def saved_poster(file: AtomicFile, sha256: str) -> bytes | None:
    """Return the poster beside a video as JPEG, at most 360 pixels a side; ``None`` if there is none.

    :param sha256: the SHA-256 of the video. The poster of an older video of the same name does not count.
    """
    from PIL import Image

    try:
        for ending in POSTER_ENDINGS.values():
            candidate = file.beside(name_beside(file.name, ending))
            manifest = parse_still(candidate.sidecar.content() or b"", sha256)
            content = None if manifest is None else candidate.content()
            if manifest and content and hashlib.sha256(content).hexdigest() == manifest.sha256:
                return _thumbnail(Image.open(io.BytesIO(content)))
    except Exception as error:  # noqa: BLE001 - each file system has its own classes
        log.warning("No poster of %s (%s: %s).", file.uri, type(error).__name__, error)
    return None


def first_frame(file: AtomicFile) -> bytes | None:
    """Return the first frame as JPEG, at most 360 pixels a side; ``None`` if the file gives none.

    An error is logged and not raised, because a report does not fail for a picture.
    """
    import av

    try:
        with file.fs.open(file.path, "rb") as source, av.open(source, mode="r", format="mp4") as media:
            return _thumbnail(next(media.decode(video=0)).to_image())
    except Exception as error:  # noqa: BLE001 - each file system, and each decoder, has its own classes
        log.warning("No first frame of %s (%s: %s).", file.uri, type(error).__name__, error)
        return None


def _thumbnail(image: Any) -> bytes:
    image.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE))
    target = io.BytesIO()
    image.convert("RGB").save(target, format="JPEG", quality=_THUMBNAIL_QUALITY, optimize=True)
    return target.getvalue()
