"""Looks into an MP4 file (ISO/IEC 14496-12) without decoding it: is it whole, and what does its video track hold?

Reads headers and a few small tables only, so memory stays bounded whatever the file claims about itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from airflow_provider_jimeng.core.errors import DamagedMediaError

AIGC_KEY = b"AIGC"
"""The metadata entry of the implicit label (TC260-PG-20257A; GB 45438-2025, appendix E)."""

_MAX_BOXES = 20_000
_MAX_TABLE_ENTRIES = 1_000_000
_MAX_METADATA_BYTES = 256 * 1024
_TABLE_BLOCK_ENTRIES = 8192
_TOP_LEVEL = frozenset(
    {b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"uuid", b"pdin", b"meta"}
)

ReadAt = Callable[[int, int], bytes]
"""``read_at(offset, size)`` returns up to ``size`` bytes from ``offset``; fewer only at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaInfo:
    """What the video track says of itself.

    ``width`` and ``height`` in pixels as coded. ``fps``, ``frames`` and ``duration_seconds`` are ``None`` in a
    fragmented file, whose samples are listed elsewhere. ``aigc`` is the implicit label, ``None`` without one.
    """

    width: int
    height: int
    fps: float | None
    frames: int | None
    duration_seconds: float | None
    aigc: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class _Box:
    kind: bytes
    start: int
    """Where the payload starts."""
    end: int


class _Reader:
    """Bounded reads: so many boxes in all, and never past the end of a box."""

    def __init__(self, read_at: ReadAt, length: int) -> None:
        self._read_at = read_at
        self.length = length
        self._boxes_left = _MAX_BOXES

    def read(self, offset: int, size: int, end: int) -> bytes:
        """Return exactly ``size`` bytes that lie before ``end``."""
        if size < 0 or offset + size > end:
            raise DamagedMediaError(f"The MP4 file is damaged: a box ends before its fields do (byte {end}).")
        data = self._read_at(offset, size)
        if len(data) != size:
            raise DamagedMediaError(f"The file could not be read at byte {offset}.")
        return data

    def number(self, offset: int, size: int, end: int) -> int:
        return int.from_bytes(self.read(offset, size, end), "big")

    def boxes(self, start: int, end: int) -> Iterator[_Box]:
        """Walk the boxes between two offsets; what they hold is not read."""
        offset = start
        while offset < end:
            self._boxes_left -= 1
            if self._boxes_left < 0:
                raise DamagedMediaError(f"The MP4 file is damaged: it has more than {_MAX_BOXES} boxes.")
            box = self._box(offset, end)
            yield box
            offset = box.end

    def _box(self, offset: int, end: int) -> _Box:
        header = self.read(offset, 8, end)
        size, kind, payload = int.from_bytes(header[:4], "big"), header[4:], offset + 8
        if size == 1:
            size, payload = self.number(payload, 8, end), offset + 16
        elif size == 0 and end == self.length:
            size = end - offset
        if offset + size < payload:
            raise DamagedMediaError(
                f"The MP4 file is damaged: box {_name(kind)} at byte {offset} has size {size}."
            )
        if offset + size > end:
            missing = offset + size - end
            raise DamagedMediaError(
                f"The MP4 file is cut: box {_name(kind)} at byte {offset} lacks {missing} of its {size} bytes."
            )
        return _Box(kind, payload, offset + size)

    def find(self, parent: _Box, *path: bytes) -> _Box | None:
        """Return the first box at a path of types below ``parent``."""
        box: _Box | None = parent
        for kind in path:
            if box is None:
                return None
            box = next((child for child in self.boxes(box.start, box.end) if child.kind == kind), None)
        return box

    def need(self, parent: _Box, *path: bytes) -> _Box:
        """Return what :meth:`find` does, or raise."""
        box = self.find(parent, *path)
        if box is None:
            raise DamagedMediaError(f"The MP4 file is damaged: the video track has no {_name(path[-1])} box.")
        return box


def inspect_mp4(file: BinaryIO) -> MediaInfo:
    """Inspect a seekable file, see :func:`inspect_mp4_at`. The file's position is not kept."""

    def read_at(offset: int, size: int) -> bytes:
        file.seek(offset)
        return file.read(size)

    return inspect_mp4_at(read_at, file.seek(0, 2))


def inspect_mp4_at(read_at: ReadAt, length: int) -> MediaInfo:
    """Check that a file of ``length`` bytes is a whole MP4 with a video track, and describe that track.

    Whole means: ``ftyp``, ``moov`` and ``mdat`` are there, the sizes of the boxes add up to the file's length, and
    the last video chunk begins inside the file.

    :raises DamagedMediaError: saying what is wrong; nothing else is raised whatever the bytes are.
    """
    reader = _Reader(read_at, length)
    _refuse_other_formats(reader)
    top: dict[bytes, _Box] = {}
    for box in reader.boxes(0, length):
        top.setdefault(box.kind, box)
    for kind in (b"ftyp", b"moov", b"mdat"):
        if kind not in top:
            raise DamagedMediaError(f"The MP4 file is damaged: it has no {_name(kind)} box.")
    moov = top[b"moov"]
    media = _video_media(reader, moov)
    width, height = _pixels(reader, media)
    frames, ticks = _frames(reader, reader.need(media, b"minf", b"stbl", b"stts"))
    if not frames and reader.find(moov, b"mvex") is None:
        raise DamagedMediaError("The MP4 file is damaged: its video track has no frames.")
    _check_last_chunk(reader, media)
    scale = _timescale(reader, media)
    return MediaInfo(
        width=width,
        height=height,
        fps=round(frames * scale / ticks, 3) if ticks else None,
        frames=frames or None,
        duration_seconds=round(ticks / scale, 6) if ticks else None,
        aigc=_label(reader, moov),
    )


def _refuse_other_formats(reader: _Reader) -> None:
    head = reader.read(0, min(512, reader.length), reader.length)
    if not head:
        raise DamagedMediaError("The file is empty.")
    if head[4:8] in _TOP_LEVEL:
        return
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"<"):
        kind = "a web page or XML"
    elif text.startswith((b"{", b"[")):
        kind = "JSON"
    elif all(byte >= 0x20 or byte in b"\t\r\n\f" for byte in head):
        kind = "text"
    else:
        kind = "something else"
    raise DamagedMediaError(f"What arrived is not an MP4 file but {kind}.")


def _video_media(reader: _Reader, moov: _Box) -> _Box:
    for track in reader.boxes(moov.start, moov.end):
        if track.kind != b"trak":
            continue
        media = reader.find(track, b"mdia")
        handler = reader.find(media, b"hdlr") if media else None
        if media and handler and reader.read(handler.start + 8, 4, handler.end) == b"vide":
            return media
    raise DamagedMediaError("The MP4 file has no video track.")


def _pixels(reader: _Reader, media: _Box) -> tuple[int, int]:
    table = reader.need(media, b"minf", b"stbl", b"stsd")
    entry = next(reader.boxes(table.start + 8, table.end), None)
    if entry is None:
        raise DamagedMediaError("The MP4 file is damaged: its video track names no codec.")
    width, height = (reader.number(entry.start + at, 2, entry.end) for at in (24, 26))
    if not (width and height):
        raise DamagedMediaError(f"The MP4 file is damaged: its pictures are {width}x{height} pixels.")
    return width, height


def _timescale(reader: _Reader, media: _Box) -> int:
    header = reader.need(media, b"mdhd")
    long_times = reader.number(header.start, 1, header.end) == 1
    scale = reader.number(header.start + (20 if long_times else 12), 4, header.end)
    if not scale:
        raise DamagedMediaError("The MP4 file is damaged: its video track has no time scale.")
    return scale


def _frames(reader: _Reader, table: _Box) -> tuple[int, int]:
    """Return frames and ticks; ticks of the time scale in all."""
    entries = reader.number(table.start + 4, 4, table.end)
    if entries > _MAX_TABLE_ENTRIES or table.start + 8 + entries * 8 > table.end:
        raise DamagedMediaError(f"The MP4 file is damaged: its stts box lists {entries} entries.")
    frames = ticks = 0
    for first in range(0, entries, _TABLE_BLOCK_ENTRIES):
        size = min(_TABLE_BLOCK_ENTRIES, entries - first) * 8
        block = reader.read(table.start + 8 + first * 8, size, table.end)
        for at in range(0, size, 8):
            count = int.from_bytes(block[at : at + 4], "big")
            frames += count
            ticks += count * int.from_bytes(block[at + 4 : at + 8], "big")
    return frames, ticks


def _check_last_chunk(reader: _Reader, media: _Box) -> None:
    """An ``mdat`` that runs to the end of the file hides a cut; the chunk table does not."""
    samples = reader.need(media, b"minf", b"stbl")
    table = reader.find(samples, b"stco") or reader.find(samples, b"co64")
    entries = reader.number(table.start + 4, 4, table.end) if table else 0
    if table is None or not entries:
        return
    width = 4 if table.kind == b"stco" else 8
    last = reader.number(table.start + 8 + (entries - 1) * width, width, table.end)
    if last >= reader.length:
        raise DamagedMediaError(
            f"The MP4 file is cut: a chunk of its video track should begin at byte {last}."
        )


def _label(reader: _Reader, moov: _Box) -> dict[str, Any] | None:
    try:
        for path in ((b"udta", b"meta"), (b"meta",)):
            meta = reader.find(moov, *path)
            found = _metadata(reader, meta) if meta else None
            if found is not None:
                return found
    except DamagedMediaError:
        return None  # odd metadata does not make a video unplayable
    return None


def _metadata(reader: _Reader, meta: _Box) -> dict[str, Any] | None:
    """Return the label of a ``meta`` box that pairs ``keys`` with ``ilst`` (QuickTime metadata)."""
    # ISO files put four bytes of version and flags first, QuickTime files do not: the first child's type tells.
    plain = reader.read(meta.start + 4, 4, meta.end) == b"hdlr"
    inside = meta if plain else _Box(meta.kind, meta.start + 4, meta.end)
    names, values = reader.find(inside, b"keys"), reader.find(inside, b"ilst")
    if names is None or values is None:
        return None
    wanted = _key_number(reader, names)
    for item in reader.boxes(values.start, values.end):
        data = reader.find(item, b"data") if int.from_bytes(item.kind, "big") == wanted else None
        if data and data.end - data.start <= _MAX_METADATA_BYTES:
            return _json_object(reader.read(data.start + 8, data.end - data.start - 8, data.end))
    return None


def _key_number(reader: _Reader, names: _Box) -> int | None:
    size = len(AIGC_KEY)
    for number, name in enumerate(reader.boxes(names.start + 8, names.end), start=1):
        if name.end - name.start == size and reader.read(name.start, size, name.end) == AIGC_KEY:
            return number
    return None


def _json_object(text: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _name(kind: bytes) -> str:
    """Return a box type as text, for messages."""
    return repr(kind.decode("latin-1"))
