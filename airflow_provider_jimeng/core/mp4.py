# SPDX-License-Identifier: Apache-2.0
"""Checks that an MP4 file (ISO/IEC 14496-12) is whole, and describes its video track, without decoding it.

Only headers and tables are read, so memory stays bounded whatever the file claims about itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, BinaryIO

from airflow_provider_jimeng.core.errors import DamagedMediaError
from airflow_provider_jimeng.core.mp4_tracks import (
    TOP_LEVEL,
    Box,
    Fragments,
    ReadAt,
    Reader,
    Track,
    check_all_chunks,
    indexed_end,
    longest_seconds,
    name_of,
    pixels,
    promised_seconds,
    reads_of,
    samples_of,
    timescale,
    video_media,
)

AIGC_KEY = b"AIGC"
"""The metadata entry of the implicit label (TC260-PG-20257A; GB 45438-2025, appendix E)."""

_MAX_METADATA_BYTES = 256 * 1024
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


@dataclass(frozen=True, slots=True)
class _TopLevel:
    """The boxes of a file up to ``end``; what is wrong with the next one, if the file does not end there."""

    boxes: tuple[Box, ...]
    end: int
    problem: str | None

    def first(self, kind: bytes) -> Box:
        """Return the first box of a type.

        :raises DamagedMediaError: there is none. The message says what is wrong after the last box, if anything is.
        """
        found = next((box for box in self.boxes if box.kind == kind), None)
        if found is None:
            raise DamagedMediaError(
                self.problem or f"The MP4 file is damaged: it has no {name_of(kind)} box."
            )
        return found


def inspect_mp4(file: BinaryIO) -> MediaInfo:
    """Inspect a seekable file, see :func:`inspect_mp4_at`. The file's position is not kept."""
    return inspect_mp4_at(reads_of(file), file.seek(0, 2))


def read_label(file: BinaryIO) -> bytes | None:
    """Return the text of the implicit label of a seekable file, byte for byte; ``None`` if it has no label."""
    reader = Reader(reads_of(file), file.seek(0, 2))
    moov = next((box for box in _top_level(reader).boxes if box.kind == b"moov"), None)
    return None if moov is None else _label(reader, moov)


def inspect_mp4_at(read_at: ReadAt, length: int) -> MediaInfo:
    """Check that a file of ``length`` bytes is a whole MP4 with a video track, and describe that track.

    Whole means: ``ftyp``, ``moov`` and ``mdat`` are there, and so is every sample that the tables list. A fragmented
    file is whole if every fragment is, and if it does not promise more of them.

    :raises DamagedMediaError: the message says what is wrong. Whatever the bytes are, no other error is raised.
    """
    reader = Reader(read_at, length)
    _refuse_other_formats(reader)
    top = _top_level(reader)
    _, moov, _ = (top.first(kind) for kind in (b"ftyp", b"moov", b"mdat"))
    tail = reader.read(top.end, min(8, length - top.end), length)
    if tail[4:] == b"mdat" and top.problem:
        raise DamagedMediaError(top.problem)
    media, number = video_media(reader, moov)
    width, height = pixels(reader, media)
    samples = samples_of(reader, reader.need(media, b"minf", b"stbl", b"stts"))
    open_ended = False
    check_all_chunks(reader, moov, media, top.end)
    scale = timescale(reader, media)
    if (mvex := reader.find(moov, b"mvex")) is not None:
        fragments = Fragments(reader, mvex, top.end)
        for moof in top.boxes:
            if moof.kind == b"moof":
                fragments.add(moof)
        more = fragments.tracks.get(number, Track())
        samples = Track(samples.samples + more.samples, samples.ticks + more.ticks)
        ends = _says_where_it_ends(reader, top, moov, fragments) or tail[4:] == _LAST_BOX
        if not ends and _begins_a_box(tail):
            raise DamagedMediaError(top.problem or "")
        open_ended = not ends
    if not samples.samples:
        raise DamagedMediaError("The MP4 file is damaged: its video track has no frames.")
    return MediaInfo(
        width=width,
        height=height,
        fps=round(samples.samples * scale / samples.ticks, 3) if samples.ticks else None,
        frames=samples.samples,
        duration_seconds=round(samples.ticks / scale, 6) if samples.ticks else None,
        aigc=_json_object(_label(reader, moov)),
        stray_bytes=length - top.end,
        open_ended=open_ended,
    )


def _top_level(reader: Reader) -> _TopLevel:
    boxes: list[Box] = []
    end = 0
    while end < reader.length:
        box = reader.box(end, reader.length)
        if isinstance(box, str):
            return _TopLevel(tuple(boxes), end, box)
        boxes.append(box)
        end = box.end
    return _TopLevel(tuple(boxes), end, None)


def _begins_a_box(tail: bytes) -> bool:
    """Return whether the bytes after the last whole box of a fragmented file look like the beginning of a box."""
    if len(tail) > 4:
        return any(kind.startswith(tail[4:]) for kind in _OF_A_FRAGMENTED_FILE)
    if not any(tail):
        return 0 < len(tail) < 4  # the size of a box begins with zeros, and is not zero
    return any(byte not in b"\t\r\n" and not 0x20 <= byte < 0x7F for byte in tail)


def _says_where_it_ends(reader: Reader, top: _TopLevel, moov: Box, fragments: Fragments) -> bool:
    """Check what a fragmented file promises about its length; return whether it promises anything.

    :raises DamagedMediaError: it promises more than there is.
    """
    indexed = False
    last = max(box.end for box in top.boxes if box.kind == b"mdat")
    for sidx in (box for box in top.boxes if box.kind == b"sidx"):
        end = indexed_end(reader, sidx)
        if end > top.end:
            raise DamagedMediaError(
                f"The MP4 file is cut: its index lists segments up to byte {end}, and the boxes end at byte {top.end}."
            )
        within = [box for box in top.boxes if box.kind == b"moof" and sidx.end <= box.offset < end]
        indexed = indexed or (
            end >= last and len(within) > 1
        )  # an index of one fragment says nothing of others
    promised = promised_seconds(reader, moov)
    if promised:
        lasts = longest_seconds(reader, moov, fragments)
        if lasts + _TOLERANCE_SECONDS < promised:
            raise DamagedMediaError(
                f"The MP4 file is cut: its header promises {promised:.3f} s, and its fragments last {lasts:.3f} s."
            )
    return bool(promised) or indexed or any(box.kind == _LAST_BOX for box in top.boxes)


def _refuse_other_formats(reader: Reader) -> None:
    head = reader.read(0, min(512, reader.length), reader.length)
    if not head:
        raise DamagedMediaError("The file is empty.")
    if head[4:8] in TOP_LEVEL:
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


def _label(reader: Reader, moov: Box) -> bytes | None:
    try:
        for path in ((b"udta", b"meta"), (b"meta",)):
            meta = reader.find(moov, *path)
            found = _metadata(reader, meta) if meta else None
            if found is not None:
                return found
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
    size = len(AIGC_KEY)
    for number, name in enumerate(reader.boxes(names.start + 8, names.end), start=1):
        if name.end - name.start == size and reader.read(name.start, size, name.end) == AIGC_KEY:
            return number
    return None


def _json_object(text: bytes | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
