# SPDX-License-Identifier: Apache-2.0
"""The bytes of a saved video, in parts, and of its poster and preview, from every store that Airflow can reach.

Any author of a DAG can push a manifest that names any file, and the API server can often read more files than that author.
So the server opens a file only if it lies in a store that Airflow knows, begins like an MP4, and has a manifest beside it
that agrees with the pushed one on size and SHA-256. To name a file, an author must already know its content.

On a disk, a name can mean another file from one moment to the next: a directory can become a link, and a link can lead to
a file that its author cannot read. So the server opens the directory once, looks for the video and its manifest in that
open directory, and checks before each later read that the name still means the same file.

The poster and the preview lie beside the video and are found by their names: no folder is listed, and what a task pushed
names no picture. The same author could put any file under such a name. So the server shows a picture only if the manifest
beside it names the SHA-256 of the video as its only source, if its content has the SHA-256 of that manifest, and if it
begins like a JPEG or a WebP.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Literal

from airflow_provider_jimeng.core.errors import JimengError
from airflow_provider_jimeng.finishing.files import (
    POSTER_ENDINGS,
    PREVIEW_ENDING,
    TRACK_ENDING,
    StillManifest,
    Tile,
    name_beside,
    parse_still,
    parse_track,
)
from airflow_provider_jimeng.storage.output import OutputPath, parse_manifest, read_manifest

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.render import RenderManifest
    from airflow_provider_jimeng.storage.atomic_file import AtomicFile

PIECE_BYTES = 1024 * 1024
"""The most bytes of one read and of one answer to a Range request. Browsers request the next part themselves."""
_REMEMBER_SECONDS = 30
_HEAD_BYTES = 12
LARGEST_MANIFEST = 64 * 1024
_LARGEST_PICTURE = 16 * 1024 * 1024
PictureKind = Literal["poster", "preview"]
_PICTURE_ENDINGS: Mapping[PictureKind, tuple[str, ...]] = {
    "poster": tuple(POSTER_ENDINGS.values()),
    "preview": (PREVIEW_ENDING,),
}
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_WEB_PROTOCOLS = frozenset({"http", "https", "ftp", "data", "memory", "jar", "zip", "tar", "github", "git"})
_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)
_LONGEST_NUMBER = 18
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_GONE = (
    "The file that this task saved is gone, was replaced, or is not within reach of the API server. A file without its "
    "manifest beside it is not shown."
)
"""One message for all cases. Different messages would tell which files exist."""


class MediaGoneError(Exception):
    """There is no such video, or the API server cannot read it."""


class UnsatisfiableRangeError(Exception):
    """The requested range begins behind the end of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Bytes ``start`` to ``end``, without the byte at ``end``."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What distinguishes a file on a disk from all others of this machine. ``size`` in bytes."""

    device: int
    inode: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """A saved video that existed a moment ago. ``size`` in bytes; only a file on a disk has an ``identity``."""

    file: AtomicFile
    size: int
    sha256: str
    identity: Identity | None = None
    content_type: ClassVar[str] = "video/mp4"

    def read(self, span: Span) -> bytes:
        """Return the bytes of a span, which must not be longer than ``PIECE_BYTES``."""
        try:
            return _read(self, span)
        except MediaGoneError:
            raise
        except Exception as error:
            raise MediaGoneError(f"The file cannot be read any more ({type(error).__name__}).") from error

    def pieces(self) -> Iterator[bytes]:
        """Yield the whole file in parts."""
        for start in range(0, self.size, PIECE_BYTES):
            yield self.read(Span(start=start, end=min(start + PIECE_BYTES, self.size)))

    def signed_link(self, seconds: int) -> str | None:
        """Return a link by which the store itself serves the file for a while; ``None`` if it cannot sign links."""
        fs: Any = self.file.fs
        try:
            link = fs.sign(self.file.path, expiration=seconds)
        except (NotImplementedError, AttributeError, TypeError):
            return None
        return link if isinstance(link, str) and link.startswith("https://") else None


def open_video(manifest: Mapping[str, Any], conn_id: str | None) -> Video:
    """Return the video that a manifest from XCom names.

    :raises MediaGoneError: it does not exist, this machine cannot read it, or it does not agree with the manifest.
    """
    return _open_video(*named_file(manifest), conn_id, this_half_minute())


def named_file(manifest: Mapping[str, Any]) -> tuple[str, str]:
    """Return URI and SHA-256 of the video that a manifest from XCom names.

    :raises MediaGoneError: it does not name one.
    """
    uri, sha256 = manifest.get("uri"), manifest.get("sha256")
    if not isinstance(uri, str) or not uri:
        raise MediaGoneError("This task instance has not saved a video.")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise MediaGoneError("The manifest does not contain the SHA-256 of its file.")
    return uri, sha256


def this_half_minute() -> int:
    """Return a number that changes each half minute. What a store answered is kept for that time."""
    return int(time.monotonic() / _REMEMBER_SECONDS)


def file_in_store(uri: str, conn_id: str | None) -> AtomicFile:
    """Return the file that a URI names, which need not exist.

    :raises MediaGoneError: the URI does not name a file in a store that Airflow knows.
    """
    protocol, separator, _ = uri.partition("://")
    if not separator or protocol.lower() in _WEB_PROTOCOLS or "::" in protocol or uri.count("://") > 1:
        raise MediaGoneError("The manifest does not name a file in a store.")
    return OutputPath(output_path=uri, output_conn_id=conn_id).file()


def requested_span(header: str | None, size: int) -> Span | None:
    """Return the span that a ``Range`` header requests, cut to one part; ``None`` if the whole file is requested.

    Several ranges, other units and malformed headers request the whole file, as RFC 9110 allows.

    :raises UnsatisfiableRangeError: the range lies outside the file.
    """
    match = _RANGE.fullmatch((header or "").strip())
    if (
        match is None
        or match.group(0) == "bytes=-"
        or any(len(part) > _LONGEST_NUMBER for part in match.groups())
    ):
        return None
    first, last = match.groups()
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
def _open_video(uri: str, sha256: str, conn_id: str | None, _half_minute: int) -> Video:
    """Look at a file once per half minute: a player requests a video in many parts, and stores charge for each look."""
    try:
        return _saved_video(file_in_store(uri, conn_id), sha256)
    except MediaGoneError:
        raise
    except JimengError as error:
        raise MediaGoneError("The store cannot be read from the API server.") from error
    except Exception as error:  # each store has error classes of its own
        raise MediaGoneError(
            f"The store cannot be read from the API server ({type(error).__name__})."
        ) from error


def _saved_video(file: AtomicFile, sha256: str) -> Video:
    identity, manifest = _look_at_disk(file) if file.is_local else (None, _manifest_beside(file))
    if manifest is None or manifest.sha256 != sha256:
        raise MediaGoneError(_GONE)
    size = file.size() if identity is None else identity.size
    if not size or size != manifest.bytes:
        raise MediaGoneError(_GONE)
    video = Video(file=file, size=size, sha256=sha256, identity=identity)
    _read(video, Span(start=0, end=_HEAD_BYTES))
    return video


def _manifest_beside(file: AtomicFile) -> RenderManifest | None:
    sidecar = file.sidecar
    return read_manifest(sidecar) if 0 < (sidecar.size() or 0) <= LARGEST_MANIFEST else None


def _look_at_disk(file: AtomicFile) -> tuple[Identity, RenderManifest | None]:
    """Return the identity of a file, and the manifest beside it, both from one open directory."""
    try:
        folder = os.open(file.folder or "/", os.O_RDONLY | os.O_DIRECTORY)
        try:
            with opened_file(file.sidecar.name, folder) as (sidecar, small):
                if not 0 < small.size <= LARGEST_MANIFEST:
                    raise MediaGoneError(_GONE)
                content = sidecar.read(LARGEST_MANIFEST)
            with opened_file(file.name, folder) as (_, identity):
                return identity, parse_manifest(content)
        finally:
            os.close(folder)
    except OSError:
        raise MediaGoneError(_GONE) from None


def _read(video: Video, span: Span) -> bytes:
    """Return a part of a video. On a disk, it comes from the handle that proved to be the same file."""
    if video.identity is not None:
        with opened_file(video.file.path, None) as (opened, identity):
            if identity != video.identity:
                raise MediaGoneError(_GONE)
            _expect_mp4(opened.read(_HEAD_BYTES))
            opened.seek(span.start)
            return opened.read(span.end - span.start)
    fs: Any = video.file.fs
    content = bytes(fs.cat_file(video.file.path, start=span.start, end=span.end))
    if span.start == 0:
        _expect_mp4(content)
    return content


@contextmanager
def opened_file(name: str, folder: int | None) -> Iterator[tuple[BinaryIO, Identity]]:
    """Open a regular file without following a link. Yield it, and what identifies it."""
    with os.fdopen(os.open(name, _READ_FLAGS, dir_fd=folder), "rb") as opened:
        status = os.fstat(opened.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise MediaGoneError(_GONE)
        yield opened, Identity(device=status.st_dev, inode=status.st_ino, size=status.st_size)


def _expect_mp4(head: bytes) -> None:
    if head[4:8] != b"ftyp":
        raise MediaGoneError("The file is not an MP4 video.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Still:
    """A picture of a video, whole in memory."""

    file: AtomicFile
    content: bytes
    content_type: str
    sha256: str

    @property
    def size(self) -> int:
        """Its bytes."""
        return len(self.content)

    def read(self, span: Span) -> bytes:
        """Return the bytes of a span."""
        return self.content[span.start : span.end]

    def pieces(self) -> Iterator[bytes]:
        """Yield the whole picture."""
        yield self.content


def open_still(manifest: Mapping[str, Any], kind: PictureKind, conn_id: str | None) -> Still | None:
    """Return the poster or the preview of the video that a manifest from XCom names, ``None`` if there is none.

    :raises MediaGoneError: the manifest does not name a video.
    """
    picture = _find_picture(*named_file(manifest), kind, conn_id, this_half_minute())
    if picture is None:
        return None
    file, still = picture
    content = _small_file(file, _LARGEST_PICTURE)
    content_type = _picture_type(content or b"")
    if content is None or content_type is None or hashlib.sha256(content).hexdigest() != still.sha256:
        return None
    return Still(file=file, content=content, content_type=content_type, sha256=still.sha256)


def preview_tiles(manifest: Mapping[str, Any], conn_id: str | None) -> list[Tile]:
    """Return the frames of the video's preview, an empty list if there is none.

    :raises MediaGoneError: the manifest does not name a video.
    """
    picture = _find_picture(*named_file(manifest), "preview", conn_id, this_half_minute())
    if picture is None:
        return []
    file, still = picture
    name = file.name.removesuffix(PREVIEW_ENDING) + TRACK_ENDING
    track = _small_file(file.beside(name), LARGEST_MANIFEST)
    if track is None or hashlib.sha256(track).hexdigest() != still.track_sha256:
        return []
    return parse_track(track)


@lru_cache(maxsize=1024)
def _find_picture(
    uri: str, sha256: str, kind: PictureKind, conn_id: str | None, _half_minute: int
) -> tuple[AtomicFile, StillManifest] | None:
    """Look once per half minute whether a video has such a picture."""
    try:
        video = file_in_store(uri, conn_id)
    except MediaGoneError:
        raise
    except Exception:  # noqa: BLE001 - each store has error classes of its own; the card then shows the video, or why not
        return None
    for ending in _PICTURE_ENDINGS[kind]:
        file = video.beside(name_beside(video.name, ending))
        content = _small_file(file.sidecar, LARGEST_MANIFEST)
        still = None if content is None else parse_still(content, sha256)
        if still is not None:
            return file, still
    return None


def _small_file(file: AtomicFile, most: int) -> bytes | None:
    """Return the bytes of a file that is not larger than ``most``, ``None`` if there is none or it cannot be read."""
    with suppress(Exception):  # each store has error classes of its own
        if file.is_local:
            with opened_file(file.path, None) as (opened, identity):
                return opened.read(most) if 0 < identity.size <= most else None
        if 0 < (file.size() or 0) <= most:
            return file.content()
    return None


def _picture_type(content: bytes) -> str | None:
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    return "image/webp" if content[:4] == b"RIFF" and content[8:12] == b"WEBP" else None
