# SPDX-License-Identifier: Apache-2.0
"""The poster and the preview beside a saved video: their names, and how a reader knows that they show this video."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass

POSTER_ENDINGS = {"jpeg": "poster.jpg", "webp": "poster.webp"}
PREVIEW_ENDING = "preview.jpg"
TRACK_ENDING = "preview.vtt"
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
