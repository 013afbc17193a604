"""The bytes of a landed video, a piece at a time, wherever ``ObjectStoragePath`` can reach them.

Any author of a DAG can push a manifest that names any file, and the API server may read more than they do. So a file
is opened only if it lies in a store that Airflow knows, begins as an MP4 does, and has the manifest of a landing beside
it that agrees with the pushed one on size and SHA-256: whoever names a file must know what is in it already. How that
holds on a disk that others write to is in ``local.py``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.errors import JimengError
from airflow_provider_jimeng.storage.manifest import parse_manifest, read_manifest, sidecar_of
from airflow_provider_jimeng.storage.output import OutputPath
from airflow_provider_jimeng.web import local

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.render import RenderManifest
    from airflow_provider_jimeng.storage.atomic_file import AtomicFile

PIECE_BYTES = 1024 * 1024
"""The most that is read, or answered to one Range request, at once. Browsers ask for the next piece themselves."""
_REMEMBER_SECONDS = 30
_HEAD_BYTES = 12
_LARGEST_MANIFEST = 64 * 1024
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_WEB_PROTOCOLS = frozenset({"http", "https", "ftp", "data", "memory", "jar", "zip", "tar", "github", "git"})
_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)
_LONGEST_NUMBER = 18
_GONE = (
    "The file that this task landed is gone, was replaced, or is not within reach of the API server. A file without the "
    "manifest of its landing beside it is not shown."
)
"""The same for all, or it would tell which files there are."""


class MediaGoneError(Exception):
    """There is no such video, or not here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Bytes ``start`` to ``end``, the latter excluded."""

    start: int
    end: int


class UnsatisfiableRangeError(Exception):
    """The range asked for begins behind the end of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """A landed video that was there a moment ago. ``size`` in bytes; ``identity`` is that of a file on a disk."""

    file: AtomicFile
    size: int
    sha256: str
    identity: local.Identity | None = None

    def read(self, span: Span) -> bytes:
        """Return the bytes of a span; keep it within ``PIECE_BYTES``."""
        try:
            return _cat(self, span)
        except MediaGoneError:
            raise
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


def open_video(manifest: Mapping[str, Any], conn_id: str | None) -> Video:
    """Find the file that a manifest from XCom names.

    :raises MediaGoneError: it is not there, cannot be reached from this machine, or is not what the manifest says.
    """
    uri, sha256 = manifest.get("uri"), manifest.get("sha256")
    if not isinstance(uri, str) or not uri:
        raise MediaGoneError("This task instance has landed no video.")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise MediaGoneError("The manifest holds no SHA-256 of its file.")
    return _open_video(uri, sha256, conn_id, int(time.monotonic() / _REMEMBER_SECONDS))


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
def _open_video(uri: str, sha256: str, conn_id: str | None, _half_minute: int) -> Video:
    """Look once per half minute: a player asks for a video in many pieces, and stores charge for each look."""
    protocol, separator, _ = uri.partition("://")
    if not separator or protocol.lower() in _WEB_PROTOCOLS or "::" in protocol or uri.count("://") > 1:
        raise MediaGoneError("The manifest names no file in a store.")
    try:
        return _landed_video(OutputPath(output_path=uri, output_conn_id=conn_id).file(), sha256)
    except MediaGoneError:
        raise
    except JimengError as error:
        raise MediaGoneError("The store cannot be read from the API server.") from error
    except Exception as error:  # each store has its own
        raise MediaGoneError(
            f"The store cannot be read from the API server ({type(error).__name__})."
        ) from error


def _landed_video(file: AtomicFile, sha256: str) -> Video:
    identity, landed = _landed_beside(file)
    if landed is None or landed.sha256 != sha256:
        raise MediaGoneError(_GONE)
    size = file.size() if identity is None else identity.size
    if not size or size != landed.bytes:
        raise MediaGoneError(_GONE)
    video = Video(file=file, size=size, sha256=sha256, identity=identity)
    _cat(video, Span(start=0, end=_HEAD_BYTES))
    return video


def _landed_beside(file: AtomicFile) -> tuple[local.Identity | None, RenderManifest | None]:
    """Return the manifest that a landing left beside a file, if any; for a file on a disk, also which file it is."""
    sidecar = sidecar_of(file)
    if file.is_local:
        try:
            identity, content = local.look(file, sidecar, _LARGEST_MANIFEST)
        except (OSError, local.OtherFileError):
            raise MediaGoneError(_GONE) from None
        return identity, parse_manifest(content)
    small = 0 < (sidecar.size() or 0) <= _LARGEST_MANIFEST
    return None, read_manifest(sidecar) if small else None


def _cat(video: Video, span: Span) -> bytes:
    """Read a part of a video; on a disk, through the handle by which it was seen to be the same file still."""
    if video.identity is not None:
        try:
            with local.reopened(video.file, video.identity) as opened:
                _expect_mp4(opened.read(_HEAD_BYTES))
                opened.seek(span.start)
                return opened.read(span.end - span.start)
        except local.OtherFileError:
            raise MediaGoneError(_GONE) from None
    fs: Any = video.file.fs
    content = bytes(fs.cat_file(video.file.path, start=span.start, end=span.end))
    if span.start == 0:
        _expect_mp4(content)
    return content


def _expect_mp4(head: bytes) -> None:
    if head[4:8] != b"ftyp":
        raise MediaGoneError("The file is no MP4 video.")
