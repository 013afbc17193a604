"""The bytes of a landed video, a piece at a time, wherever ``ObjectStoragePath`` can reach them.

The server opens only what a manifest names, only if the file begins as an MP4 does, and never by following a web
address: a task that pushes a manifest of its own must not turn the API server into a reader of other files.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.errors import JimengError
from airflow_provider_jimeng.storage.target import Target

if TYPE_CHECKING:
    from airflow_provider_jimeng.storage.stored_file import StoredFile

PIECE_BYTES = 1024 * 1024
"""The most that is read, or answered to one Range request, at once. Browsers ask for the next piece themselves."""
_REMEMBER_SECONDS = 30
_WEB_PROTOCOLS = frozenset({"http", "https", "ftp", "data", "memory", "jar", "zip", "tar", "github", "git"})
_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)
_LONGEST_NUMBER = 18


class MediaGoneError(Exception):
    """There is no such video, or not here; the text says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Bytes ``start`` to ``end``, the latter excluded."""

    start: int
    end: int


class UnsatisfiableRangeError(Exception):
    """The range asked for begins behind the end of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """A video file that was there a moment ago. ``size`` in bytes."""

    file: StoredFile
    size: int

    def read(self, span: Span) -> bytes:
        """Return the bytes of a span; keep it within ``PIECE_BYTES``."""
        try:
            return _cat(self.file, span)
        except Exception as error:
            raise MediaGoneError(f"The file cannot be read any more ({type(error).__name__}).") from error

    def pieces(self) -> Iterator[bytes]:
        """Read the whole file a piece at a time."""
        for start in range(0, self.size, PIECE_BYTES):
            yield self.read(Span(start=start, end=min(start + PIECE_BYTES, self.size)))

    def signed_link(self, seconds: int) -> str | None:
        """Return a link by which the store itself answers for a while; ``None`` if it cannot sign."""
        fs: Any = self.file.fs
        try:
            link = fs.sign(self.file.path, expiration=seconds)
        except (NotImplementedError, AttributeError, TypeError):
            return None
        return link if isinstance(link, str) and link.startswith("https://") else None


def open_video(uri: str, conn_id: str | None) -> Video:
    """Find the file that a manifest names.

    :raises MediaGoneError: it is not there, cannot be reached from this machine, or is no MP4.
    """
    return _open_video(uri, conn_id, int(time.monotonic() / _REMEMBER_SECONDS))


def asked_span(header: str | None, size: int) -> Span | None:
    """Return what a ``Range`` header asks for, cut to one piece; ``None`` where the whole file is to be sent.

    Several ranges at once, other units and malformed headers count as none, as RFC 9110 allows.

    :raises UnsatisfiableRangeError: the range lies outside the file.
    """
    found = _RANGE.fullmatch((header or "").strip())
    if (
        found is None
        or found.group(0) == "bytes=-"
        or any(len(part) > _LONGEST_NUMBER for part in found.groups())
    ):
        return None
    first, last = found.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
    if start >= size:
        raise UnsatisfiableRangeError
    return Span(start=start, end=min(end, start + PIECE_BYTES))


@lru_cache(maxsize=256)
def _open_video(uri: str, conn_id: str | None, _half_minute: int) -> Video:
    """Look once per half minute: a player asks for a video in many pieces, and stores charge for each look."""
    protocol, separator, _ = uri.partition("://")
    if not separator or protocol.lower() in _WEB_PROTOCOLS or "::" in protocol:
        raise MediaGoneError("The manifest names no file in a store.")
    try:
        file = Target(output_path=uri, output_conn_id=conn_id).file()
        size = file.size()
        head = _cat(file, Span(start=0, end=12)) if size else b""
    except JimengError as error:
        raise MediaGoneError("The store cannot be read from the API server.") from error
    except Exception as error:  # each store has its own
        raise MediaGoneError(
            f"The store cannot be read from the API server ({type(error).__name__})."
        ) from error
    if not size:
        raise MediaGoneError("The file is not there, or not within reach of the API server.")
    if head[4:8] != b"ftyp":
        raise MediaGoneError("The file is no MP4 video.")
    return Video(file=file, size=size)


def _cat(file: StoredFile, span: Span) -> bytes:
    fs: Any = file.fs
    return bytes(fs.cat_file(file.path, start=span.start, end=span.end))
