# SPDX-License-Identifier: Apache-2.0
"""Small pictures of a saved video: the poster and the preview beside it, as readers find them, and its first frame."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_jimeng.storage.atomic_file import AtomicFile

log = logging.getLogger(__name__)

POSTER_ENDINGS = {"jpeg": "poster.jpg", "webp": "poster.webp"}
PREVIEW_ENDING = "preview.jpg"
TRACK_ENDING = "preview.vtt"
_LONGEST_SIDE = 360
_JPEG_QUALITY = 72
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TILE = re.compile(r"#xywh=(\d{1,5}),(\d{1,5}),([1-9]\d{0,4}),([1-9]\d{0,4})$", re.ASCII | re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class StillManifest:
    """What the manifest of a poster or a preview says. ``track_sha256`` is that of a preview's WebVTT track."""

    sha256: str
    bytes: int
    track_sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One frame on the sheet of a preview, in pixels from the upper left."""

    x: int
    y: int
    width: int
    height: int

    def to_payload(self) -> dict[str, int]:
        """Return the tile as plain JSON data."""
        return asdict(self)


def name_beside(video_name: str, ending: str) -> str:
    """Return the file name of a derivative: ``kite.poster.jpg`` for ``kite.mp4`` and ``poster.jpg``."""
    return f"{video_name.removesuffix('.mp4')}.{ending}"


def parse_still(content: bytes, video_sha256: str) -> StillManifest | None:
    """Read the manifest of a poster or a preview.

    Return ``None`` if it is not one, or if the picture was not made of the video with this SHA-256 alone. Such a picture is
    left from an older video of the same name.
    """
    try:
        payload = json.loads(content)
        (source,) = payload["source"]
        made_of, sha256, size = source["sha256"], payload["sha256"], payload["bytes"]
        kind, track = payload["kind"], payload.get("track_sha256")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    is_still = kind in ("poster", "preview") and isinstance(size, int) and _is_sha256(sha256)
    if not is_still or made_of != video_sha256:
        return None
    return StillManifest(sha256=sha256, bytes=size, track_sha256=track if _is_sha256(track) else None)


def parse_track(content: bytes) -> list[Tile]:
    """Return the frames that the WebVTT track of a preview names, in order."""
    found = _TILE.findall(content.decode("utf-8", "replace"))
    return [Tile(x=int(x), y=int(y), width=int(width), height=int(height)) for x, y, width, height in found]


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def can_decode() -> bool:
    """Return whether the extra ``[media]`` is installed, which decodes videos."""
    try:
        import av  # noqa: F401  only asked for
    except ImportError:
        return False
    return True


def poster(file: AtomicFile, sha256: str) -> bytes | None:
    """Return the poster beside a video as JPEG, at most 360 pixels a side; ``None`` if there is none.

    :param sha256: the SHA-256 of the video. The poster of an older video of the same name does not count.
    """
    from PIL import Image

    try:
        for ending in POSTER_ENDINGS.values():
            found = file.beside(name_beside(file.name, ending))
            manifest = parse_still(found.sidecar.content() or b"", sha256)
            content = None if manifest is None else found.content()
            if manifest and content and hashlib.sha256(content).hexdigest() == manifest.sha256:
                return _small(Image.open(io.BytesIO(content)))
    except Exception as error:  # noqa: BLE001 - each file system has its own classes
        log.warning("No poster of %s (%s: %s).", file.uri, type(error).__name__, error)
    return None


def first_frame(file: AtomicFile) -> bytes | None:
    """Return the first frame as JPEG, at most 360 pixels a side; ``None`` if the file gives none.

    An error is logged and not raised, because a report does not fail for a picture.
    """
    import av

    try:
        with file.fs.open(file.path, "rb") as source, av.open(source, mode="r", format="mp4") as media:
            return _small(next(media.decode(video=0)).to_image())
    except Exception as error:  # noqa: BLE001 - each file system, and each decoder, has its own classes
        log.warning("No first frame of %s (%s: %s).", file.uri, type(error).__name__, error)
        return None


def _small(image: Any) -> bytes:
    image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    target = io.BytesIO()
    image.convert("RGB").save(target, format="JPEG", quality=_JPEG_QUALITY, optimize=True)
    return target.getvalue()
