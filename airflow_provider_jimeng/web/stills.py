# SPDX-License-Identifier: Apache-2.0
"""The poster and the preview that lie beside a saved video, found by their names: no folder is listed.

The same author who can push any manifest could put any file under such a name. So the server shows a picture only if the
manifest beside it names the SHA-256 of the video as its only source, if its content has the SHA-256 of that manifest, and
if it begins like a JPEG or a WebP. What a task pushed names no picture.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_jimeng.finishing.stills import (
    POSTER_ENDINGS,
    PREVIEW_ENDING,
    TRACK_ENDING,
    StillManifest,
    Tile,
    name_beside,
    parse_still,
    parse_track,
)
from airflow_provider_jimeng.web.media import (
    LARGEST_MANIFEST,
    MediaGoneError,
    Span,
    file_in_store,
    named_file,
    opened_file,
    this_half_minute,
)

if TYPE_CHECKING:
    from airflow_provider_jimeng.storage.atomic_file import AtomicFile

Kind = Literal["poster", "preview"]
_ENDINGS: Mapping[Kind, tuple[str, ...]] = {
    "poster": tuple(POSTER_ENDINGS.values()),
    "preview": (PREVIEW_ENDING,),
}
_LARGEST_PICTURE = 16 * 1024 * 1024


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


def open_still(manifest: Mapping[str, Any], kind: Kind, conn_id: str | None) -> Still | None:
    """Return the poster or the preview of the video that a manifest from XCom names, ``None`` if there is none.

    :raises MediaGoneError: the manifest names no video.
    """
    found = _look(*named_file(manifest), kind, conn_id, this_half_minute())
    if found is None:
        return None
    file, still = found
    content = _content(file, _LARGEST_PICTURE)
    content_type = _picture_type(content or b"")
    if content is None or content_type is None or hashlib.sha256(content).hexdigest() != still.sha256:
        return None
    return Still(file=file, content=content, content_type=content_type, sha256=still.sha256)


def preview_tiles(manifest: Mapping[str, Any], conn_id: str | None) -> list[Tile]:
    """Return the frames of the video's preview, an empty list if there is none.

    :raises MediaGoneError: the manifest names no video.
    """
    found = _look(*named_file(manifest), "preview", conn_id, this_half_minute())
    if found is None:
        return []
    file, still = found
    name = file.name.removesuffix(PREVIEW_ENDING) + TRACK_ENDING
    track = _content(file.beside(name), LARGEST_MANIFEST)
    if track is None or hashlib.sha256(track).hexdigest() != still.track_sha256:
        return []
    return parse_track(track)


@lru_cache(maxsize=1024)
def _look(
    uri: str, sha256: str, kind: Kind, conn_id: str | None, _half_minute: int
) -> tuple[AtomicFile, StillManifest] | None:
    """Look once per half minute whether a video has such a picture."""
    try:
        video = file_in_store(uri, conn_id)
    except MediaGoneError:
        raise
    except Exception:  # noqa: BLE001 - each store has error classes of its own; the card then shows the video, or why not
        return None
    for ending in _ENDINGS[kind]:
        file = video.beside(name_beside(video.name, ending))
        content = _content(file.sidecar, LARGEST_MANIFEST)
        still = None if content is None else parse_still(content, sha256)
        if still is not None:
            return file, still
    return None


def _content(file: AtomicFile, most: int) -> bytes | None:
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
