"""Where the samples of an MP4 file's tracks lie, in the movie's tables and in fragments: are they all there?"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from airflow_provider_jimeng.core.errors import DamagedMediaError
from airflow_provider_jimeng.core.mp4_boxes import MAX_TABLE_ENTRIES, Box, Reader

if TYPE_CHECKING:
    from collections.abc import Iterator

_BASE_OFFSET, _DESCRIPTION, _DEFAULT_DURATION, _DEFAULT_SIZE = 0x1, 0x2, 0x8, 0x10
"""Flags of ``tfhd``: fields that are there, in their order."""
_BASE_IS_MOOF = 0x20000
_DATA_OFFSET, _FIRST_FLAGS = 0x1, 0x4
"""Flags of ``trun``: fields that are there, in their order."""
_DURATION, _SIZE, _OTHERS = 0x100, 0x200, (0x400, 0x800)
"""Flags of ``trun``: numbers that are there for each sample, in their order."""
_MAX_FRAGMENT_BOXES = 200_000


@dataclass(slots=True)
class Track:
    """What the samples of a track add up to; ``ticks`` are those of its time scale."""

    samples: int = 0
    ticks: int = 0


@dataclass(frozen=True, slots=True)
class _Defaults:
    duration: int
    size: int


def check_chunks(reader: Reader, samples: Box, limit: int, *, of: str) -> None:
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
    """Yield the chunks from which on there are so many samples in each."""
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
    """Return how many entries a table has; none if it claims more than it can hold."""
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
