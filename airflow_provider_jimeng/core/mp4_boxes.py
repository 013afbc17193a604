"""Boxes of an MP4 file (ISO/IEC 14496-12): bounded reads, so that no file costs more than it is worth."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from airflow_provider_jimeng.core.errors import DamagedMediaError

MAX_BOXES = 20_000
MAX_TABLE_ENTRIES = 1_000_000
BLOCK_BYTES = 64 * 1024
TOP_LEVEL = frozenset(
    {b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"uuid", b"pdin", b"meta"}
)

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
    """Bounded reads: so many boxes in all, and never past the end of a box."""

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
        """Walk the boxes between two offsets; what they hold is not read."""
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


def name_of(kind: bytes) -> str:
    """Return a box type as text, for messages."""
    return repr(kind.decode("latin-1"))


def _too_short(end: int) -> str:
    return f"The MP4 file is damaged: a box ends before its fields do (byte {end})."
