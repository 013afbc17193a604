# SPDX-License-Identifier: Apache-2.0
"""Boxes and tracks of an MP4 file (ISO/IEC 14496-12), read with bounds on the number of boxes and entries."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO

from airflow_provider_jimeng.core.errors import DamagedMediaError

MAX_BOXES = 20_000
MAX_TABLE_ENTRIES = 1_000_000
BLOCK_BYTES = 64 * 1024
TOP_LEVEL = frozenset(
    {b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"uuid", b"pdin", b"meta"}
)

_BASE_OFFSET, _DESCRIPTION, _DEFAULT_DURATION, _DEFAULT_SIZE = 0x1, 0x2, 0x8, 0x10
"""Flags of ``tfhd``: fields that are there, in their order."""
_BASE_IS_MOOF = 0x20000
_DATA_OFFSET, _FIRST_FLAGS = 0x1, 0x4
"""Flags of ``trun``: fields that are there, in their order."""
_DURATION, _SIZE, _OTHERS = 0x100, 0x200, (0x400, 0x800)
"""Flags of ``trun``: numbers that are there for each sample, in their order."""
_MAX_FRAGMENT_BOXES = 200_000

ReadAt = Callable[[int, int], bytes]
"""``read_at(offset, size)`` returns up to ``size`` bytes from ``offset``; fewer only at the end."""


@dataclass(frozen=True, slots=True)
class Box:
    """One box: its type, where it begins, where its payload begins, and where it ends."""

    kind: bytes
    offset: int
    start: int
    end: int


class Reader:
    """Reads boxes: a limited number in all, and never past the end of a box."""

    def __init__(self, read_at: ReadAt, length: int, *, max_boxes: int = MAX_BOXES) -> None:
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
        per_block = BLOCK_BYTES // width
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
        elif size == 0 and end == self.length and kind in TOP_LEVEL:
            size = end - offset
        if offset + size < payload:
            return f"The MP4 file is damaged: box {name_of(kind)} at byte {offset} has size {size}."
        if offset + size > end:
            missing = offset + size - end
            return f"The MP4 file is cut: box {name_of(kind)} at byte {offset} lacks {missing} of its {size} bytes."
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
                f"The MP4 file is damaged: the video track has no {name_of(path[-1])} box."
            )
        return box


def reads_of(file: BinaryIO) -> ReadAt:
    """Return how to read a seekable file. Its position is not kept."""

    def read_at(offset: int, size: int) -> bytes:
        file.seek(offset)
        return file.read(size)

    return read_at


def name_of(kind: bytes) -> str:
    """Return a box type as text, for messages."""
    return repr(kind.decode("latin-1"))


def _too_short(end: int) -> str:
    return f"The MP4 file is damaged: a box ends before its fields do (byte {end})."


@dataclass(slots=True)
class Track:
    """What the samples of a track add up to; ``ticks`` are those of its time scale."""

    samples: int = 0
    ticks: int = 0


@dataclass(frozen=True, slots=True)
class _Defaults:
    duration: int
    size: int


def _check_chunks(reader: Reader, samples: Box, limit: int, *, of: str) -> None:
    """Check that every chunk that a ``stbl`` box lists lies before ``limit``.

    :raises DamagedMediaError: the file is cut.
    """
    farthest = end = -1
    for offset, size in _chunks(reader, samples):
        farthest, end = max(farthest, offset), max(end, offset + size)
    if farthest >= limit:
        raise DamagedMediaError(f"The MP4 file is cut: a chunk of {of} should begin at byte {farthest}.")
    if end > limit:
        raise DamagedMediaError(
            f"The MP4 file is cut: a chunk of {of} should end at byte {end}, and the boxes end at byte {limit}."
        )


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


class Fragments:
    """Adds up the fragments (``moof``) of a file, and checks that their samples lie before ``limit``."""

    def __init__(self, reader: Reader, mvex: Box, limit: int) -> None:
        self._reader = Reader(reader.read_at, reader.length, max_boxes=_MAX_FRAGMENT_BOXES)
        self._limit = limit
        self._defaults: dict[int, _Defaults] = {}
        self.tracks: dict[int, Track] = {}
        for box in self._reader.boxes(mvex.start, mvex.end):
            if box.kind == b"trex":
                track, _, duration, size = self._reader.numbers(box.start + 4, 4, box.end)
                self._defaults[track] = _Defaults(duration, size)

    def add(self, moof: Box) -> None:
        """Take in one fragment.

        :raises DamagedMediaError: it is damaged, or cut.
        """
        data_end = moof.offset
        for box in self._reader.boxes(moof.start, moof.end):
            if box.kind == b"traf":
                data_end = self._add_track(box, moof, data_end)
        if data_end > self._limit:
            raise DamagedMediaError(
                f"The MP4 file is cut: the fragment at byte {moof.offset} should end at byte {data_end}, and the boxes "
                f"end at byte {self._limit}."
            )

    def _add_track(self, traf: Box, moof: Box, after: int) -> int:
        """Return where the samples of one track of a fragment end."""
        reader, header = self._reader, self._reader.need(traf, b"tfhd")
        flags, number = reader.numbers(header.start, 2, header.end)
        defaults = self._defaults.get(number, _Defaults(0, 0))
        at = header.start + 8
        base = moof.offset if flags & _BASE_IS_MOOF else after
        if flags & _BASE_OFFSET:
            base, at = reader.number(at, 8, header.end), at + 8
        at += 4 if flags & _DESCRIPTION else 0
        if flags & _DEFAULT_DURATION:
            defaults, at = _Defaults(reader.number(at, 4, header.end), defaults.size), at + 4
        if flags & _DEFAULT_SIZE:
            defaults = _Defaults(defaults.duration, reader.number(at, 4, header.end))
        track, end = self.tracks.setdefault(number, Track()), base
        for box in reader.boxes(traf.start, traf.end):
            if box.kind == b"trun":
                end = self._add_run(box, track, defaults, base=base, after=end)
        return max(after, end)

    def _add_run(self, run: Box, track: Track, defaults: _Defaults, *, base: int, after: int) -> int:
        """Return where the samples of one run end."""
        reader = self._reader
        flags, count = reader.numbers(run.start, 2, run.end)
        at = run.start + 8
        if flags & _DATA_OFFSET:
            offset = reader.number(at, 4, run.end)
            after, at = base + offset - (offset >> 31 << 32), at + 4
        at += 4 if flags & _FIRST_FLAGS else 0
        listed = [flag for flag in (_DURATION, _SIZE, *_OTHERS) if flags & flag]
        if at + count * len(listed) * 4 > run.end or (listed and count > MAX_TABLE_ENTRIES):
            raise DamagedMediaError(f"The MP4 file is damaged: its trun box lists {count} samples.")
        values = list(reader.numbers(at, count * len(listed), run.end))
        sums = {flag: sum(values[place :: len(listed)]) for place, flag in enumerate(listed)}
        track.samples += count
        track.ticks += sums.get(_DURATION, count * defaults.duration)
        return after + sums.get(_SIZE, count * defaults.size)


def indexed_end(reader: Reader, sidx: Box) -> int:
    """Return where the last segment that an index lists ends."""
    long_times = reader.number(sidx.start, 1, sidx.end) == 1
    at, width = sidx.start + 12, 8 if long_times else 4
    first_offset = reader.number(at + width, width, sidx.end)
    count = reader.number(at + 2 * width + 2, 2, sidx.end)
    fields = list(reader.numbers(at + 2 * width + 4, 3 * count, sidx.end))
    return sidx.end + first_offset + sum(size & 0x7FFFFFFF for size in fields[::3])


def _tracks(reader: Reader, moov: Box) -> Iterator[Box]:
    return (box for box in reader.boxes(moov.start, moov.end) if box.kind == b"trak")


def video_media(reader: Reader, moov: Box) -> tuple[Box, int]:
    """Return the ``mdia`` box of the first video track, and the number of the track."""
    for track in _tracks(reader, moov):
        media = reader.find(track, b"mdia")
        handler = reader.find(media, b"hdlr") if media else None
        if media and handler and reader.read(handler.start + 8, 4, handler.end) == b"vide":
            return media, _track_number(reader, track)
    raise DamagedMediaError("The MP4 file has no video track.")


def _track_number(reader: Reader, track: Box) -> int:
    header = reader.find(track, b"tkhd")
    return 0 if header is None else reader.number(header.start + _times(reader, header), 4, header.end)


def _times(reader: Reader, header: Box) -> int:
    """Return how many bytes of a header come before the field that follows its times of creation and change."""
    return 20 if reader.number(header.start, 1, header.end) == 1 else 12


def pixels(reader: Reader, media: Box) -> tuple[int, int]:
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
    scale = reader.number(header.start + _times(reader, header), 4, header.end)
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


def check_all_chunks(reader: Reader, moov: Box, video: Box, limit: int) -> None:
    """Check the chunks of every track, because an ``mdat`` that runs to the end of the file hides a cut.

    :raises DamagedMediaError: the file is cut.
    """
    for track in _tracks(reader, moov):
        samples = reader.find(track, b"mdia", b"minf", b"stbl")
        if samples is not None:
            is_video = video.start <= samples.start < video.end
            _check_chunks(reader, samples, limit, of="its video track" if is_video else "another track")


def promised_seconds(reader: Reader, moov: Box) -> float:
    """Return the duration of all fragments that the movie's header names, 0 if it names none."""
    mehd, mvhd = reader.find(moov, b"mvex", b"mehd"), reader.find(moov, b"mvhd")
    if mehd is None or mvhd is None:
        return 0.0
    scale = reader.number(mvhd.start + _times(reader, mvhd), 4, mvhd.end)
    width = 8 if reader.number(mehd.start, 1, mehd.end) == 1 else 4
    return reader.number(mehd.start + 4, width, mehd.end) / scale if scale else 0.0


def _seconds(reader: Reader, track: Box, fragments: Fragments) -> float:
    media = reader.find(track, b"mdia")
    table = reader.find(track, b"mdia", b"minf", b"stbl", b"stts")
    if media is None or table is None:
        return 0.0
    ticks = (
        samples_of(reader, table).ticks + fragments.tracks.get(_track_number(reader, track), Track()).ticks
    )
    return ticks / timescale(reader, media)


def longest_seconds(reader: Reader, moov: Box, fragments: Fragments) -> float:
    """Return the duration of the longest track, with its fragments."""
    return max((_seconds(reader, track, fragments) for track in _tracks(reader, moov)), default=0.0)
