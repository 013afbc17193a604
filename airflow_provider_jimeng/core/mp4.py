# SPDX-License-Identifier: Apache-2.0
"""Checks that an MP4 file (ISO/IEC 14496-12) is whole, and describes its video track, without decoding it.

Only headers and tables are read, with bounds on the number of boxes and entries. So memory stays bounded whatever the
file claims about itself. What only fragmented files have is in :mod:`.mp4_fragments`.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO

from airflow_provider_jimeng.core.errors import DamagedMediaError

_MAX_BOXES = 20_000
MAX_TABLE_ENTRIES = 1_000_000
_BLOCK_BYTES = 64 * 1024
_TOP_LEVEL = frozenset(
    {b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"uuid", b"pdin", b"meta"}
)
_AIGC_KEY = b"AIGC"
"""The metadata entry of the implicit label (TC260-PG-20257A; GB 45438-2025, appendix E)."""
_MAX_METADATA_BYTES = 256 * 1024

ReadAt = Callable[[int, int], bytes]
"""``read_at(offset, size)`` returns up to ``size`` bytes from ``offset``; fewer only at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaInfo:
    """What the video track says of itself.

    ``width`` and ``height`` in pixels as coded. ``aigc`` is the implicit label, ``None`` without one. ``stray_bytes``
    lie after the last box, where players do not look. ``open_ended``: a fragmented file that says nowhere how long it
    is, so that it could have been cut between two fragments.
    """

    width: int
    height: int
    fps: float | None
    frames: int | None
    duration_seconds: float | None
    aigc: dict[str, Any] | None
    stray_bytes: int = 0
    open_ended: bool = False


def inspect_mp4(file: BinaryIO) -> MediaInfo:
    """Inspect a seekable file, see :func:`inspect_mp4_at`. The file's position is not kept."""
    return inspect_mp4_at(_reads_of(file), file.seek(0, 2))


def read_label(file: BinaryIO) -> bytes | None:
    """Return the text of the implicit label of a seekable file, byte for byte; ``None`` if it has no label."""
    reader = Reader(_reads_of(file), file.seek(0, 2))
    moov = next((box for box in _top_level(reader).boxes if box.kind == b"moov"), None)
    return None if moov is None else _label_text(reader, moov)


def inspect_mp4_at(read_at: ReadAt, length: int) -> MediaInfo:
    """Check that a file of ``length`` bytes is a whole MP4 with a video track, and describe that track.

    Whole means: ``ftyp``, ``moov`` and ``mdat`` are there, and so is every sample that the tables list. A fragmented
    file is whole if every fragment is, and if it does not promise more of them.

    :raises DamagedMediaError: the message says what is wrong. Whatever the bytes are, no other error is raised.
    """
    reader = Reader(read_at, length)
    _refuse_other_formats(reader)
    top = _top_level(reader)
    top.first(b"ftyp")
    moov = top.first(b"moov")
    top.first(b"mdat")
    tail = reader.read(top.end, min(8, length - top.end), length)
    if tail[4:] == b"mdat" and top.problem:
        raise DamagedMediaError(top.problem)
    media, number = _video_media(reader, moov)
    width, height = _pixels(reader, media)
    samples = samples_of(reader, reader.need(media, b"minf", b"stbl", b"stts"))
    open_ended = False
    _check_all_chunks(reader, moov, media, top.end)
    scale = timescale(reader, media)
    if (mvex := reader.find(moov, b"mvex")) is not None:
        from airflow_provider_jimeng.core.mp4_fragments import read_fragments  # noqa: PLC0415 - it imports this module

        more, open_ended = read_fragments(reader, top, moov, mvex, number=number, tail=tail)
        samples = Track(samples.samples + more.samples, samples.ticks + more.ticks)
    if not samples.samples:
        raise DamagedMediaError("The MP4 file is damaged: its video track has no frames.")
    return MediaInfo(
        width=width,
        height=height,
        fps=round(samples.samples * scale / samples.ticks, 3) if samples.ticks else None,
        frames=samples.samples,
        duration_seconds=round(samples.ticks / scale, 6) if samples.ticks else None,
        aigc=_json_object(_label_text(reader, moov)),
        stray_bytes=length - top.end,
        open_ended=open_ended,
    )


def _json_object(text: bytes | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


@dataclass(frozen=True, slots=True)
class Box:
    """One box: its type, where it begins, where its payload begins, and where it ends."""

    kind: bytes
    offset: int
    start: int
    end: int


class Reader:
    """Reads boxes: a limited number in all, and never past the end of a box."""

    def __init__(self, read_at: ReadAt, length: int, *, max_boxes: int = _MAX_BOXES) -> None:
        self.read_at = read_at
        self.length = length
        self._max_boxes = self._boxes_left = max_boxes

    def read(self, offset: int, size: int, end: int) -> bytes:
        """Return exactly ``size`` bytes that lie before ``end``."""
        if size < 0 or offset + size > end:
            raise DamagedMediaError(_too_short(end))
        data = self.read_at(offset, size)
        if len(data) != size:
            raise DamagedMediaError(f"The file could not be read at byte {offset}.")
        return data

    def number(self, offset: int, size: int, end: int) -> int:
        """Return an unsigned number."""
        return int.from_bytes(self.read(offset, size, end), "big")

    def numbers(self, offset: int, count: int, end: int, *, width: int = 4) -> Iterator[int]:
        """Yield the numbers of a table, read in blocks."""
        per_block = _BLOCK_BYTES // width
        letter = {1: "B", 2: "H", 4: "I", 8: "Q"}[width]
        for first in range(0, count, per_block):
            many = min(per_block, count - first)
            yield from struct.unpack(f">{many}{letter}", self.read(offset + first * width, many * width, end))

    def boxes(self, start: int, end: int) -> Iterator[Box]:
        """Yield the boxes between two offsets. Their contents are not read."""
        offset = start
        while offset < end:
            box = self.box(offset, end)
            if isinstance(box, str):
                raise DamagedMediaError(box)
            yield box
            offset = box.end

    def box(self, offset: int, end: int) -> Box | str:
        """Return the box at an offset, or what is wrong with it."""
        self._boxes_left -= 1
        if self._boxes_left < 0:
            raise DamagedMediaError(f"The MP4 file is damaged: it has more than {self._max_boxes} boxes.")
        if offset + 8 > end:
            return _too_short(end)
        header = self.read(offset, 8, end)
        size, kind, payload = int.from_bytes(header[:4], "big"), header[4:], offset + 8
        if size == 1:
            if payload + 8 > end:
                return _too_short(end)
            size, payload = self.number(payload, 8, end), offset + 16
        elif size == 0 and end == self.length and kind in _TOP_LEVEL:
            size = end - offset
        if offset + size < payload:
            return f"The MP4 file is damaged: box {_name_of(kind)} at byte {offset} has size {size}."
        if offset + size > end:
            missing = offset + size - end
            return f"The MP4 file is cut: box {_name_of(kind)} at byte {offset} lacks {missing} of its {size} bytes."
        return Box(kind, offset, payload, offset + size)

    def find(self, parent: Box, *path: bytes) -> Box | None:
        """Return the first box at a path of types below ``parent``."""
        box: Box | None = parent
        for kind in path:
            if box is None:
                return None
            box = next((child for child in self.boxes(box.start, box.end) if child.kind == kind), None)
        return box

    def need(self, parent: Box, *path: bytes) -> Box:
        """Return what :meth:`find` does, or raise."""
        box = self.find(parent, *path)
        if box is None:
            raise DamagedMediaError(
                f"The MP4 file is damaged: the video track has no {_name_of(path[-1])} box."
            )
        return box


@dataclass(frozen=True, slots=True)
class TopLevel:
    """The boxes of a file up to ``end``; what is wrong with the next one, if the file does not end there."""

    boxes: tuple[Box, ...]
    end: int
    problem: str | None

    def first(self, kind: bytes) -> Box:
        """Return the first box of a type.

        :raises DamagedMediaError: there is none. The message says what is wrong after the last box, if anything is.
        """
        first = next((box for box in self.boxes if box.kind == kind), None)
        if first is None:
            raise DamagedMediaError(
                self.problem or f"The MP4 file is damaged: it has no {_name_of(kind)} box."
            )
        return first


def _top_level(reader: Reader) -> TopLevel:
    """Return the boxes of a file."""
    boxes: list[Box] = []
    end = 0
    while end < reader.length:
        box = reader.box(end, reader.length)
        if isinstance(box, str):
            return TopLevel(tuple(boxes), end, box)
        boxes.append(box)
        end = box.end
    return TopLevel(tuple(boxes), end, None)


def _refuse_other_formats(reader: Reader) -> None:
    """Refuse a file that does not begin as an MP4 file does.

    :raises DamagedMediaError: the message says what the file seems to be.
    """
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


def _reads_of(file: BinaryIO) -> ReadAt:
    """Return how to read a seekable file. Its position is not kept."""

    def read_at(offset: int, size: int) -> bytes:
        file.seek(offset)
        return file.read(size)

    return read_at


def _name_of(kind: bytes) -> str:
    """Return a box type as text, for messages."""
    return repr(kind.decode("latin-1"))


def _too_short(end: int) -> str:
    return f"The MP4 file is damaged: a box ends before its fields do (byte {end})."


@dataclass(slots=True)
class Track:
    """What the samples of a track add up to; ``ticks`` are those of its time scale."""

    samples: int = 0
    ticks: int = 0


def _chunks(reader: Reader, samples: Box) -> Iterator[tuple[int, int]]:
    """Yield offset and size of each chunk; the sizes are 0 where they are not listed."""
    table = reader.find(samples, b"stco") or reader.find(samples, b"co64")
    if table is None:
        return
    width = 4 if table.kind == b"stco" else 8
    offsets = reader.numbers(table.start + 8, _entries(reader, table, width), table.end, width=width)
    sizes, runs = _sizes(reader, samples), _runs(reader, samples)
    per_chunk, (next_first, next_count) = 0, next(runs, (0, 0))
    for number, offset in enumerate(offsets, start=1):
        if number == next_first:
            per_chunk, (next_first, next_count) = next_count, next(runs, (0, 0))
        yield offset, sum(islice(sizes, per_chunk))


def _runs(reader: Reader, samples: Box) -> Iterator[tuple[int, int]]:
    """Yield pairs: the number of a chunk, and how many samples each chunk has from there on."""
    table = reader.find(samples, b"stsc")
    if table is not None:
        fields = reader.numbers(table.start + 8, 3 * _entries(reader, table, 12), table.end)
        yield from ((first, count) for first, count, _ in zip(fields, fields, fields, strict=False))


def _sizes(reader: Reader, samples: Box) -> Iterator[int]:
    table = reader.find(samples, b"stsz")
    if table is None or table.end - table.start < 12:
        return
    fixed, count = reader.numbers(table.start + 4, 2, table.end)
    if fixed:
        yield from (fixed for _ in range(min(count, MAX_TABLE_ENTRIES)))
    elif count <= min(MAX_TABLE_ENTRIES, (table.end - table.start - 12) // 4):
        yield from reader.numbers(table.start + 12, count, table.end)


def _entries(reader: Reader, table: Box, width: int) -> int:
    """Return how many entries a table has; 0 if it claims more than it can contain."""
    if table.end - table.start < 8:
        return 0
    count = reader.number(table.start + 4, 4, table.end)
    return count if count <= min(MAX_TABLE_ENTRIES, (table.end - table.start - 8) // width) else 0


def tracks_of(reader: Reader, moov: Box) -> Iterator[Box]:
    """Yield the ``trak`` boxes of a file."""
    return (box for box in reader.boxes(moov.start, moov.end) if box.kind == b"trak")


def _video_media(reader: Reader, moov: Box) -> tuple[Box, int]:
    """Return the ``mdia`` box of the first video track, and the number of the track."""
    for track in tracks_of(reader, moov):
        media = reader.find(track, b"mdia")
        handler = reader.find(media, b"hdlr") if media else None
        if media and handler and reader.read(handler.start + 8, 4, handler.end) == b"vide":
            return media, track_number(reader, track)
    raise DamagedMediaError("The MP4 file has no video track.")


def track_number(reader: Reader, track: Box) -> int:
    """Return the number of a track, 0 if it has no header."""
    header = reader.find(track, b"tkhd")
    return 0 if header is None else reader.number(header.start + times_width(reader, header), 4, header.end)


def times_width(reader: Reader, header: Box) -> int:
    """Return how many bytes of a header come before the field that follows its times of creation and change."""
    return 20 if reader.number(header.start, 1, header.end) == 1 else 12


def _pixels(reader: Reader, media: Box) -> tuple[int, int]:
    """Return width and height of the coded pictures."""
    table = reader.need(media, b"minf", b"stbl", b"stsd")
    entry = next(reader.boxes(table.start + 8, table.end), None)
    if entry is None:
        raise DamagedMediaError("The MP4 file is damaged: its video track names no codec.")
    width, height = (reader.number(entry.start + at, 2, entry.end) for at in (24, 26))
    if not (width and height):
        raise DamagedMediaError(f"The MP4 file is damaged: its pictures are {width}x{height} pixels.")
    return width, height


def timescale(reader: Reader, media: Box) -> int:
    """Return the ticks per second of a track."""
    header = reader.need(media, b"mdhd")
    scale = reader.number(header.start + times_width(reader, header), 4, header.end)
    if not scale:
        raise DamagedMediaError("The MP4 file is damaged: its video track has no time scale.")
    return scale


def samples_of(reader: Reader, table: Box) -> Track:
    """Add up an ``stts`` box."""
    entries = reader.number(table.start + 4, 4, table.end)
    if entries > MAX_TABLE_ENTRIES or table.start + 8 + entries * 8 > table.end:
        raise DamagedMediaError(f"The MP4 file is damaged: its stts box lists {entries} entries.")
    track = Track()
    fields = reader.numbers(table.start + 8, 2 * entries, table.end)
    for count, ticks in zip(fields, fields, strict=True):
        track.samples += count
        track.ticks += count * ticks
    return track


def _check_all_chunks(reader: Reader, moov: Box, video: Box, limit: int) -> None:
    """Check that every chunk of every track lies before ``limit``: an ``mdat`` to the end of the file hides a cut.

    :raises DamagedMediaError: the file is cut.
    """
    for track in tracks_of(reader, moov):
        samples = reader.find(track, b"mdia", b"minf", b"stbl")
        if samples is None:
            continue
        of = "its video track" if video.start <= samples.start < video.end else "another track"
        farthest = end = -1
        for offset, size in _chunks(reader, samples):
            farthest, end = max(farthest, offset), max(end, offset + size)
        if farthest >= limit:
            raise DamagedMediaError(f"The MP4 file is cut: a chunk of {of} should begin at byte {farthest}.")
        if end > limit:
            raise DamagedMediaError(
                f"The MP4 file is cut: a chunk of {of} should end at byte {end}, and the boxes end at byte {limit}."
            )


def _label_text(reader: Reader, moov: Box) -> bytes | None:
    """Return the text of the implicit label, byte for byte; ``None`` if there is none."""
    try:
        for path in ((b"udta", b"meta"), (b"meta",)):
            meta = reader.find(moov, *path)
            text = _metadata(reader, meta) if meta else None
            if text is not None:
                return text
    except DamagedMediaError:
        return None  # odd metadata does not make a video unplayable
    return None


def _metadata(reader: Reader, meta: Box) -> bytes | None:
    """Return the text of the label of a ``meta`` box that pairs ``keys`` with ``ilst`` (QuickTime metadata)."""
    # ISO files begin with four bytes of version and flags, QuickTime files do not. The type of the first child shows which.
    plain = reader.read(meta.start + 4, 4, meta.end) == b"hdlr"
    inside = meta if plain else Box(meta.kind, meta.offset, meta.start + 4, meta.end)
    names, values = reader.find(inside, b"keys"), reader.find(inside, b"ilst")
    if names is None or values is None:
        return None
    wanted = _key_number(reader, names)
    for item in reader.boxes(values.start, values.end):
        data = reader.find(item, b"data") if int.from_bytes(item.kind, "big") == wanted else None
        if data and data.end - data.start <= _MAX_METADATA_BYTES:
            return reader.read(data.start + 8, data.end - data.start - 8, data.end)
    return None


def _key_number(reader: Reader, names: Box) -> int | None:
    size = len(_AIGC_KEY)
    for number, name in enumerate(reader.boxes(names.start + 8, names.end), start=1):
        if name.end - name.start == size and reader.read(name.start, size, name.end) == _AIGC_KEY:
            return number
    return None
