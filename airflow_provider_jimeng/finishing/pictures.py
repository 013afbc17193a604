# SPDX-License-Identifier: Apache-2.0
"""Still pictures of a video: a poster, and a sheet of small frames with a WebVTT track for scrubbing."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

    from airflow_provider_jimeng.finishing.request import Poster, Preview
    from airflow_provider_jimeng.finishing.source import Source

_MAX_TILES = 100
_COLUMNS = 10
_QUALITY = 88
_SHARPNESS_SIDE = 360
"""Frames are made this small before their sharpness is compared, so that noise does not count as sharp."""
_SHARPEST_OF_SECONDS = 1.0
_ROUNDING = 1e-6


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
    shown = None
    for seconds, frame in _timed(source, threads):
        while shown is not None and len(tiles) < count and len(tiles) * step < seconds - _ROUNDING:
            tiles.append(_upright(source, shown).resize(size))
        shown = frame
    while len(tiles) < count:
        tiles.append(_upright(source, shown).resize(size))
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
    shown = None
    for seconds, frame in _timed(source, threads):
        if shown is not None and seconds > at + _ROUNDING:
            break
        shown = frame
    return _upright(source, shown)


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
