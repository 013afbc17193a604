"""Content codings: undoes what a body is packed with, piece by piece, so that memory stays bounded.

Nothing that we send asks for a coding. Stores replay what was said at the upload, and proxies pack what they like.
"""

from __future__ import annotations

import zlib
from itertools import chain
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

PIECE_BYTES = 64 * 1024
MAX_LAYERS = 3
MAX_RATIO = 100
"""A body that grows by more than this is made to fill a memory or a disk; videos and short answers hardly shrink."""
SUSPICIOUS_BYTES = 16 * 1024 * 1024
"""Up to this size the ratio does not matter."""
READABLE = frozenset({"gzip", "x-gzip", "deflate"})
_NEUTRAL = frozenset(
    {"", "identity", "none", "binary", "8bit", "7bit", "utf-8", "utf8", "aws-chunked", "chunked"}
)
"""Words that change no byte: the first is the standard's, the others are replayed by stores as they were uploaded."""
_GZIP_MAGIC = b"\x1f\x8b"


def codings_of(content_encoding: str | None) -> list[str]:
    """Return the codings that change bytes, in the order in which they were applied."""
    words = (part.partition(";")[0].strip(" \t\"'").lower() for part in (content_encoding or "").split(","))
    return [word for word in words if word not in _NEUTRAL]


def unpacked(pieces: Iterable[bytes], codings: Sequence[str]) -> Iterator[bytes]:
    """Yield a body as it was before ``codings``, each of which must be one of :data:`READABLE`.

    A body that is not packed although the header says so passes as it is: what reads it is the judge.

    :raises httpx.DecodingError: the body is broken, cut, packed too often, or grows without measure.
    """
    if len(codings) > MAX_LAYERS:
        raise httpx.DecodingError(f"the body is packed {len(codings)} times")
    taken = given = 0

    def counted() -> Iterator[bytes]:
        nonlocal taken
        for piece in pieces:
            taken += len(piece)
            yield piece

    body: Iterator[bytes] = counted()
    for coding in reversed(codings):
        body = _unpacked_once(body, coding)
    for piece in body:
        given += len(piece)
        if given > SUSPICIOUS_BYTES and given > MAX_RATIO * taken:
            raise httpx.DecodingError(f"the body grows to more than {MAX_RATIO} times its size")
        yield piece


def _unpacked_once(pieces: Iterator[bytes], coding: str) -> Iterator[bytes]:
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= 8:
            break
    window = _window_of(head, coding)
    body = chain([head], pieces)
    return iter(body) if window is None else _inflated(body, window)


def _window_of(head: bytes, coding: str) -> int | None:
    """Return what zlib needs to know, by the first bytes; ``None`` for a body that is not packed."""
    if head.startswith(_GZIP_MAGIC):
        return 16 + zlib.MAX_WBITS
    if coding != "deflate" or not head or head[4:8] == b"ftyp" or head.lstrip()[:1] in (b"{", b"["):
        return None
    has_header = head[0] & 0x0F == zlib.DEFLATED and int.from_bytes(head[:2], "big") % 31 == 0
    return zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS


def _inflated(pieces: Iterable[bytes], window: int) -> Iterator[bytes]:
    inflate = zlib.decompressobj(window)
    try:
        for piece in pieces:
            rest = piece
            while rest:
                if inflate.eof:
                    if not _GZIP_MAGIC.startswith(rest[:2]) or window < zlib.MAX_WBITS + 1:
                        return  # padding: nothing after the end belongs to the body
                    inflate = zlib.decompressobj(window)
                if out := inflate.decompress(rest, PIECE_BYTES):
                    yield out
                rest = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
        while not inflate.eof and (out := inflate.decompress(b"", PIECE_BYTES)):
            yield out
    except zlib.error:
        raise httpx.DecodingError("the packed body is broken") from None
    if not inflate.eof:
        raise httpx.DecodingError("the packed body is cut")
