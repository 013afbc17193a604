# SPDX-License-Identifier: Apache-2.0
"""Real MP4 files: H.264, yuv420p, 24 frames a second, exactly 121 or 241 frames, with a label if a query requests it.

Only one second is encoded, and its packets are repeated, so that ten seconds in 1080P cost no more than one. The last
frame is the first of the next second. A file is encoded at its first download, and only once, even if several
downloads come at the same time. It stays in the cache until the cache is full.
"""

from __future__ import annotations

import importlib.util
import json
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.catalogue import FPS
from airflow_provider_jimeng.emulator.picture import Clip, draw_background, draw_strip
from airflow_provider_jimeng.emulator.request_checks import DEFAULT_ASPECT_RATIO

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

    from airflow_provider_jimeng.emulator.renders import Render

CACHE_BYTES = 256 * 1024 * 1024
ENCODERS: Mapping[str, Mapping[str, str]] = {
    "libx264": {"preset": "ultrafast", "tune": "zerolatency", "crf": "34"},
    "libopenh264": {},
    "h264_videotoolbox": {},
    "mpeg4": {},
}
"""Encoders to try, best first, with their options. The last is not H.264, but it makes a playable file."""
MISSING_LIBRARIES = (
    "The emulator makes its videos with PyAV and Pillow: pip install 'airflow-provider-jimeng[emulator]'"
)
_SIZE_UNKNOWN = (1248, 704)


def check_libraries() -> None:
    """Check that the libraries that make videos are installed.

    :raises ImportError: the message names the extra to install.
    """
    if any(importlib.util.find_spec(name) is None for name in ("av", "PIL")):
        raise ImportError(MISSING_LIBRARIES)


def clip_of(render: Render) -> Clip:
    """Return what the video of a render shows. It depends on the drawn seed, so two renders with random seeds differ."""
    request = render.request
    spec = request.spec
    sizes = spec.sizes
    width, height = sizes.get(request.aspect_ratio) or sizes.get(DEFAULT_ASPECT_RATIO) or _SIZE_UNKNOWN
    duration = request.duration
    if render.video is not None:
        width, height, duration = render.video
    lines = [
        f"{spec.name}  {spec.req_key}",
        f"{width}x{height}  {request.aspect_ratio}  {duration} s  {FPS} fps  seed {render.drawn_seed}",
    ]
    if request.camera is not None:
        lines.append("camera " + " ".join(request.camera))
    lines += [f"image {image.url[:120]}" for image in request.images if image.url]
    lines.append("made by the emulator, not by the API")
    return Clip(
        width=width // 2 * 2,
        height=height // 2 * 2,
        duration=duration,
        aspect_ratio=request.aspect_ratio,
        prompt=request.prompt.encode(errors="replace").decode(),
        lines=tuple(lines),
        tint=render.drawn_seed,
        images=tuple(image.data for image in request.images if image.data is not None),
    )


def aigc_label(meta: Mapping[str, str]) -> str:
    """Return the implicit label in the form of the standard (GB 45438-2025, appendix E). Fields are matched by name (M)."""
    label = {
        "Label": "1",
        "ContentProducer": meta.get("content_producer", ""),
        "ProduceID": meta.get("producer_id", ""),
        "ReservedCode1": "",
        "ContentPropagator": meta.get("content_propagator", ""),
        "PropagateID": meta.get("propagate_id", ""),
        "ReservedCode2": "",
    }
    return json.dumps(label, ensure_ascii=False)


def encode(clip: Clip, encoders: Mapping[str, Mapping[str, str]] = ENCODERS) -> bytes:
    """Return the MP4 file of a clip, without a label."""
    import av

    picture = av.VideoFrame.from_image(draw_background(clip))  # type: ignore[no-untyped-call]
    background = picture.reformat(format="yuv420p")
    frames = clip.duration * FPS + 1
    with tempfile.TemporaryDirectory(prefix="jimeng-emulator-") as folder:
        path = Path(folder) / "video.mp4"
        with _open_for_writing(path) as output:
            name = choose_encoder(encoders)
            stream = output.add_stream(name, rate=FPS, options=dict(encoders[name]))
            stream.width, stream.height, stream.pix_fmt = clip.width, clip.height, "yuv420p"
            stream.codec_context.thread_count = 1
            stream.codec_context.gop_size = FPS
            stream.codec_context.max_b_frames = 0
            packets = [packet for i in range(FPS) for packet in stream.encode(_frame(clip, background, i))]
            packets += stream.encode()
            second = [bytes(packet) for packet in packets]
            for index in range(frames):
                packet = av.Packet(second[index % FPS])
                packet.stream, packet.time_base = stream, Fraction(1, FPS)
                packet.pts = packet.dts = index
                packet.duration = 1
                packet.is_keyframe = index % FPS == 0
                output.mux(packet)
        return path.read_bytes()


def choose_encoder(encoders: Mapping[str, Mapping[str, str]] = ENCODERS) -> str:
    """Return the name of the first encoder that this FFmpeg has.

    :raises RuntimeError: it has none of them.
    """
    import av.codec

    for name in encoders:
        if name in av.codec.codecs_available:
            try:
                av.codec.Codec(name, "w")
            except av.codec.codec.UnknownCodecError:
                continue
            return name
    raise RuntimeError(f"This FFmpeg has none of the encoders {', '.join(encoders)}.")


def _open_for_writing(path: Path, options: Mapping[str, str] | None = None) -> Any:
    import av

    flags = {"movflags": "+faststart+use_metadata_tags", "fflags": "+bitexact"}
    return av.open(str(path), "w", format="mp4", options={**flags, **(options or {})})


def _frame(clip: Clip, background: VideoFrame, index: int) -> VideoFrame:
    """Return the background with one step of the strip drawn on its luma plane."""
    import av

    frame = av.VideoFrame(clip.width, clip.height, "yuv420p")
    luma = bytearray(background.planes[0])
    stride = background.planes[0].line_size
    strip = draw_strip(clip, index, FPS)
    first = clip.height - clip.strip_height
    for row in range(clip.strip_height):
        at = (first + row) * stride
        luma[at : at + clip.width] = strip[row * clip.width : (row + 1) * clip.width]
    frame.planes[0].update(bytes(luma))
    for plane in (1, 2):
        frame.planes[plane].update(bytes(background.planes[plane]))
    frame.pts = index
    frame.time_base = Fraction(1, FPS)
    return frame


def write_label(data: bytes, label: str) -> bytes:
    """Return the MP4 file with ``AIGC`` in ``moov.udta.meta`` (keys/ilst) and the same frames (TC260-PG-20257A)."""
    import av

    with tempfile.TemporaryDirectory(prefix="jimeng-emulator-") as folder:
        plain, labelled = Path(folder) / "plain.mp4", Path(folder) / "labelled.mp4"
        plain.write_bytes(data)
        with av.open(str(plain)) as source, _open_for_writing(labelled) as output:
            output.metadata["AIGC"] = label
            stream = output.add_stream_from_template(source.streams.video[0], opaque=True)
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    output.mux(packet)
        return labelled.read_bytes()


@dataclass(slots=True)
class VideoCache:
    """Makes files and keeps them. If the cache is full, the file that was used longest ago is removed."""

    max_bytes: int = CACHE_BYTES
    encoded: int = 0
    """The number of files that were encoded, for tests."""
    _files: OrderedDict[str, bytes] = field(default_factory=OrderedDict, repr=False)
    _locks: dict[str, threading.Lock] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def file(self, clip: Clip, meta: Mapping[str, str] | None = None) -> bytes:
        """Return the MP4 file of a clip, with a label if there is ``meta``."""
        plain = self._make_once(clip.key, lambda: self._encode(clip))
        if meta is None:
            return plain
        label = aigc_label(meta)
        return self._make_once(f"{clip.key} {label}", lambda: write_label(plain, label))

    def _encode(self, clip: Clip) -> bytes:
        check_libraries()
        data = encode(clip)
        with self._lock:
            self.encoded += 1
        return data

    def _make_once(self, key: str, make: Callable[[], bytes]) -> bytes:
        with self._lock:
            if key in self._files:
                self._files.move_to_end(key)
                return self._files[key]
            making = self._locks.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._files:
                    return self._files[key]
            data = make()
            with self._lock:
                self._files[key] = data
                self._locks.pop(key, None)
                while len(self._files) > 1 and sum(map(len, self._files.values())) > self.max_bytes:
                    self._files.popitem(last=False)
            return data
