# SPDX-License-Identifier: Apache-2.0
"""Small MP4 files that a real encoder makes."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path


@cache
def video(
    *,
    frames: int = 12,
    width: int = 96,
    height: int = 64,
    fps: int = 24,
    keyframe_every: int = 12,
    movflags: str = "",
    metadata: tuple[tuple[str, str], ...] = (),
) -> bytes:
    """Return an H.264 MP4 of grey frames; `movflags` are those of the muxer, such as `faststart`."""
    with tempfile.TemporaryDirectory(prefix="jimeng-video-") as folder:
        path = Path(folder, "video.mp4")
        _encode(path, frames, (width, height), (fps, keyframe_every), movflags, dict(metadata))
        return path.read_bytes()


def _encode(
    path: Path,
    frames: int,
    size: tuple[int, int],
    pace: tuple[int, int],
    movflags: str,
    metadata: Mapping[str, str],
) -> None:
    import av

    fps, keyframe_every = pace

    with av.open(
        str(path), "w", format="mp4", options={"movflags": movflags} if movflags else {}
    ) as container:
        stream = container.add_stream("libx264", rate=fps, options={"g": str(keyframe_every)})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        container.metadata.update(metadata)
        for number in range(frames):
            frame = av.VideoFrame(*size, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([number * 7 % 256]) * plane.buffer_size)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
