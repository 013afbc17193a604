# SPDX-License-Identifier: Apache-2.0
"""The fragments of an MP4 file: whether every one of them is whole, and whether a file says where it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from airflow_provider_jimeng.core.errors import DamagedMediaError
from airflow_provider_jimeng.core.mp4 import (
    MAX_TABLE_ENTRIES,
    Box,
    Reader,
    TopLevel,
    Track,
    samples_of,
    times_width,
    timescale,
    track_number,
    tracks_of,
)

_OF_A_FRAGMENTED_FILE = (
    b"moof",
    b"mdat",
    b"styp",
    b"sidx",
    b"ssix",
    b"prft",
    b"emsg",
    b"free",
    b"skip",
    b"uuid",
)
_LAST_BOX = b"mfra"
"""The index of random access points, which is written when all fragments are."""
_TOLERANCE_SECONDS = 0.1
"""Headers promise a duration a frame or two longer than the samples last."""

_BASE_OFFSET, _DESCRIPTION, _DEFAULT_DURATION, _DEFAULT_SIZE = 0x1, 0x2, 0x8, 0x10
"""Flags of ``tfhd``: fields that are there, in their order."""
_BASE_IS_MOOF = 0x20000
_DATA_OFFSET, _FIRST_FLAGS = 0x1, 0x4
"""Flags of ``trun``: fields that are there, in their order."""
_DURATION, _SIZE, _OTHERS = 0x100, 0x200, (0x400, 0x800)
"""Flags of ``trun``: numbers that are there for each sample, in their order."""
_MAX_FRAGMENT_BOXES = 200_000


def read_fragments(
    reader: Reader, top: TopLevel, moov: Box, mvex: Box, *, number: int, tail: bytes
) -> tuple[Track, bool]:
    """Check the fragments of a file; return what they add to its track ``number``, and whether more could be missing.

    :param tail: the first bytes after the last whole box.
    :raises DamagedMediaError: a fragment is damaged or cut, or the file promises more of them.
    """
    fragments = _Fragments(reader, mvex, top.end)
    for moof in top.boxes:
        if moof.kind == b"moof":
            fragments.add(moof)
    ends = _says_where_it_ends(reader, top, moov, fragments) or tail[4:] == _LAST_BOX
    if not ends and _begins_a_box(tail):
        raise DamagedMediaError(top.problem or "")
    return fragments.tracks.get(number, Track()), not ends


def _begins_a_box(tail: bytes) -> bool:
    """Return whether the bytes after the last whole box of a fragmented file look like the beginning of a box."""
    if len(tail) > 4:
        return any(kind.startswith(tail[4:]) for kind in _OF_A_FRAGMENTED_FILE)
    if not any(tail):
        return 0 < len(tail) < 4  # the size of a box begins with zeros, and is not zero
    return any(byte not in b"\t\r\n" and not 0x20 <= byte < 0x7F for byte in tail)


def _says_where_it_ends(reader: Reader, top: TopLevel, moov: Box, fragments: _Fragments) -> bool:
    """Check what a fragmented file promises about its length; return whether it promises anything.

    :raises DamagedMediaError: it promises more than there is.
    """
    indexed = False
    last = max(box.end for box in top.boxes if box.kind == b"mdat")
    for sidx in (box for box in top.boxes if box.kind == b"sidx"):
        end = _indexed_end(reader, sidx)
        if end > top.end:
            raise DamagedMediaError(
                f"The MP4 file is cut: its index lists segments up to byte {end}, and the boxes end at byte {top.end}."
            )
        within = [box for box in top.boxes if box.kind == b"moof" and sidx.end <= box.offset < end]
        indexed = indexed or (
            end >= last and len(within) > 1
        )  # an index of one fragment says nothing of others
    promised = _promised_seconds(reader, moov)
    if promised:
        lasts = _longest_seconds(reader, moov, fragments.tracks)
        if lasts + _TOLERANCE_SECONDS < promised:
            raise DamagedMediaError(
                f"The MP4 file is cut: its header promises {promised:.3f} s, and its fragments last {lasts:.3f} s."
            )
    return bool(promised) or indexed or any(box.kind == _LAST_BOX for box in top.boxes)


def _promised_seconds(reader: Reader, moov: Box) -> float:
    """Return the duration of all fragments that the movie's header names, 0 if it names none."""
    mehd, mvhd = reader.find(moov, b"mvex", b"mehd"), reader.find(moov, b"mvhd")
    if mehd is None or mvhd is None:
        return 0.0
    scale = reader.number(mvhd.start + times_width(reader, mvhd), 4, mvhd.end)
    width = 8 if reader.number(mehd.start, 1, mehd.end) == 1 else 4
    return reader.number(mehd.start + 4, width, mehd.end) / scale if scale else 0.0


def _seconds(reader: Reader, track: Box, more: Mapping[int, Track]) -> float:
    media = reader.find(track, b"mdia")
    table = reader.find(track, b"mdia", b"minf", b"stbl", b"stts")
    if media is None or table is None:
        return 0.0
    ticks = samples_of(reader, table).ticks + more.get(track_number(reader, track), Track()).ticks
    return ticks / timescale(reader, media)


def _longest_seconds(reader: Reader, moov: Box, more: Mapping[int, Track]) -> float:
    """Return the duration of the longest track. ``more`` has what the fragments add to each track, by number."""
    return max((_seconds(reader, track, more) for track in tracks_of(reader, moov)), default=0.0)


@dataclass(frozen=True, slots=True)
class _Defaults:
    duration: int
    size: int


class _Fragments:
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


def _indexed_end(reader: Reader, sidx: Box) -> int:
    """Return where the last segment that an index lists ends."""
    long_times = reader.number(sidx.start, 1, sidx.end) == 1
    at, width = sidx.start + 12, 8 if long_times else 4
    first_offset = reader.number(at + width, width, sidx.end)
    count = reader.number(at + 2 * width + 2, 2, sidx.end)
    fields = list(reader.numbers(at + 2 * width + 4, 3 * count, sidx.end))
    return sidx.end + first_offset + sum(size & 0x7FFFFFFF for size in fields[::3])
