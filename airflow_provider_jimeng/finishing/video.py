# SPDX-License-Identifier: Apache-2.0
"""Encodes a finished video: sources fitted to one size, joined, labelled, and given a track of sound.

FFmpeg's own filters do the work on the pixels. Frames pass through one at a time, so that memory does not grow with the
length of the video.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import av.filter

from airflow_provider_jimeng.core.errors import DamagedMediaError, LandingError
from airflow_provider_jimeng.finishing.source import SoundTrack, opened

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

    from airflow_provider_jimeng.finishing.request import Audio, Rendition, VisibleLabel
    from airflow_provider_jimeng.finishing.source import Source

_TURNS = {90: "cclock", 270: "clock"}
_BLUR_SCALE = 8
"""The blurred copy is made this much smaller before it is blurred. It looks the same and is 64 times faster."""
_UNSPECIFIED = 2
"""FFmpeg's number for colour properties that are not in a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """The description of one encoded video.

    :param width: in pixels, even; so is ``height``.
    :param label: the picture of the visible label and its upper left corner; ``None`` without one.
    :param label_seconds: how long it is shown; ``None`` shows it throughout.
    :param implicit_label: text of the ``AIGC`` entry; ``None`` writes none.
    """

    sources: Sequence[Source]
    rendition: Rendition
    width: int
    height: int
    cross_fade: float = 0.0
    label: tuple[Image.Image, int, int] | None = None
    label_seconds: float | None = None
    implicit_label: bytes | None = None
    audio: Audio | None = None
    audio_file: Path | None = None
    threads: int = 0

    @property
    def seconds(self) -> float:
        """The length of the finished video."""
        return sum(source.seconds for source in self.sources) - self.cross_fade * (len(self.sources) - 1)

    @property
    def rate(self) -> Fraction:
        """Frames per second: of the only source, or the highest of several."""
        return max(source.rate for source in self.sources)


def label_duration(label: VisibleLabel, seconds: float) -> float | None:
    """Return for how many seconds a label is shown in a video of this length, ``None`` for throughout."""
    return None if label.show == "throughout" or seconds <= label.seconds else label.seconds


def encode(film: Film, path: Path, progress: Callable[[float], None]) -> None:
    """Write the finished video.

    :param progress: is called with the share that is done, 0 to 1.
    :raises DamagedMediaError: a source cannot be decoded.
    :raises ParameterError: the sound cannot be decoded.
    :raises LandingError: the video cannot be encoded or written.
    """
    flags = "+use_metadata_tags" + ("+faststart" if film.rendition.faststart else "")
    try:
        with av.open(str(path), "w", format="mp4", options={"movflags": flags}) as output:
            if film.implicit_label is not None:
                output.metadata["AIGC"] = film.implicit_label.decode()
            picture = _PictureTrack.add(output, film)
            sound = _sound_track(output, film)
            for frame_end in picture.packets():
                progress(min(1.0, frame_end / film.seconds) if film.seconds else 1.0)
                if sound is not None:
                    sound.write_until(frame_end)
            if sound is not None:
                sound.write_until(math.inf)
    except av.FFmpegError as error:
        raise LandingError(f"The video cannot be encoded: {error.strerror}.") from error
    progress(1.0)


def _sound_track(output: Any, film: Film) -> SoundTrack | None:
    """Return what writes the sound: the track of the request, or the sound of the only source."""
    if film.audio is not None and film.audio_file is not None:
        return SoundTrack(output, film.audio_file, film.seconds, film.threads, audio=film.audio)
    if len(film.sources) == 1 and film.sources[0].has_audio:
        source = film.sources[0]
        return SoundTrack(output, source.path, film.seconds, film.threads, starts_at=source.first_frame_at)
    return None


# -------------------------------------------------------------------------------------------------------- the picture
@dataclass(slots=True)
class _PictureTrack:
    output: Any
    stream: Any
    film: Film

    @classmethod
    def add(cls, output: Any, film: Film) -> _PictureTrack:
        """Add an H.264 track to a file."""
        rendition = film.rendition
        options = {"crf": str(rendition.crf), "preset": rendition.preset}
        if rendition.max_bitrate_kbps:
            options |= {
                "maxrate": f"{rendition.max_bitrate_kbps}k",
                "bufsize": f"{2 * rendition.max_bitrate_kbps}k",
            }
        stream = output.add_stream("libx264", rate=film.rate, options=options)
        stream.width, stream.height, stream.pix_fmt = film.width, film.height, "yuv420p"
        stream.codec_context.thread_count = film.threads
        return cls(output, stream, film)

    def packets(self) -> Iterator[float]:
        """Encode the whole picture; yield after each frame how many seconds there are so far."""
        encoder = self.stream.codec_context
        begun = False
        for frame in _Filters(self.film).frames():
            if not begun:
                begun = True
                encoder.time_base = frame.time_base
                self._describe_colours(frame)
            frame.pict_type = 0  # the encoder decides, not the source
            self.output.mux(self.stream.encode(frame))
            yield frame.time or 0.0
        self.output.mux(self.stream.encode(None))

    def _describe_colours(self, frame: av.VideoFrame) -> None:
        source = self.film.sources[0]
        colours = {
            "color_range": int(frame.color_range),
            "colorspace": source.colorspace,
            "color_primaries": source.color_primaries,
            "color_trc": source.color_trc,
        }
        for name, value in colours.items():
            if value not in (0, _UNSPECIFIED):
                setattr(self.stream.codec_context, name, value)


@dataclass(slots=True)
class _Input:
    """A source on its way into the filters."""

    buffer: Any
    frames: Iterator[av.VideoFrame]
    repeat_at: float | None = None
    first_pts: int | None = None
    seconds: float = 0.0
    is_over: bool = False
    _last: av.VideoFrame | None = None

    def push(self) -> None:
        """Push the next frame, or the end. Each source begins at 0, whatever its time stamps say.

        The last frame is pushed once more, for ``repeat_at`` seconds: older versions of FFmpeg do not know when the last
        frame ends, and leave it out when they change the frame rate.
        """
        frame = next(self.frames, None)
        if frame is None:
            self.is_over = True
            last = self._last
            if last is not None and last.time_base is not None and self.repeat_at is not None:
                last.pts = round(self.repeat_at / last.time_base)
                self.buffer.push(last)
            self.buffer.push(None)
            return
        if frame.pts is not None:
            self.first_pts = frame.pts if self.first_pts is None else self.first_pts
            frame.pts -= self.first_pts
            self.seconds = frame.time or 0.0
        self._last = frame
        self.buffer.push(frame)


class _Filters:
    """The filter graph of a film: turn and fit each source, join them, lay the label over the result."""

    def __init__(self, film: Film) -> None:
        self.film = film
        self.graph = av.filter.Graph()
        self._containers: list[Any] = []
        self.inputs: list[_Input] = []
        self._starts = [0.0]
        for source in film.sources:
            self._starts.append(self._starts[-1] + source.seconds - film.cross_fade)

    def frames(self) -> Iterator[av.VideoFrame]:
        """Run the graph, one frame after the other."""
        try:
            self._build()
            while True:
                try:
                    frame = self.sink.pull()
                except av.BlockingIOError:
                    if not self._feed():
                        raise DamagedMediaError("The video cannot be decoded to its end.") from None
                    continue
                except av.EOFError:
                    return
                yield frame
        except av.FFmpegError as error:
            raise DamagedMediaError(f"The video cannot be decoded: {error.strerror}.") from error
        finally:
            for container in self._containers:
                container.close()

    def _feed(self) -> bool:
        """Push one frame of each source that the joined video needs now."""
        position = next((n for n, each in enumerate(self.inputs) if not each.is_over), None)
        if position is None:
            return False
        current = self.inputs[position]
        current.push()
        following = position + 1
        if following < len(self.inputs) and self.film.cross_fade:
            ahead = self.inputs[following]
            fade_begins = self._starts[following] - self._starts[position]
            if (current.is_over or current.seconds >= fade_begins) and not ahead.is_over:
                ahead.push()
        return True

    def _build(self) -> None:
        joined = self._join([self._fitted(source) for source in self.film.sources])
        if self.film.label is not None:
            joined = self._labelled(joined)
        self.sink = self._add("buffersink")
        self._add("format", "yuv420p", after=joined).link_to(self.sink)
        self.graph.configure()
        if self.film.label is not None:
            self._push_label()

    def _add(self, name: str, arguments: str = "", *, after: Any = None) -> Any:
        options = [arguments] if arguments else []
        if name != "buffersink":
            options.append(f"threads={self.film.threads}")
        node = self.graph.add(name, ":".join(options))
        if after is not None:
            after.link_to(node)
        return node

    def _fitted(self, source: Source) -> Any:
        """Return the end of a chain that makes a source's picture as large as that of the film."""
        film = self.film
        container = opened(source.path, format="mp4")
        self._containers.append(container)
        stream = container.streams.video[0]
        stream.codec_context.thread_count = film.threads
        stream.thread_type = "AUTO"
        node = self.graph.add_buffer(template=stream, time_base=stream.time_base)
        is_joined = len(film.sources) > 1
        frames = iter(container.decode(stream))
        self.inputs.append(_Input(node, frames, repeat_at=source.seconds if is_joined else None))
        if source.rotation in _TURNS:
            node = self._add("transpose", _TURNS[source.rotation], after=node)
        elif source.rotation:
            node = self._add("hflip", after=node)
            node = self._add("vflip", after=node)
        if not source.has_square_pixels:
            node = self._add("scale", f"{source.width}:{source.height}:flags=bicubic", after=node)
        size = (source.width, source.height)
        if film.rendition.fit == "blur":
            node = self._blurred(node, size)
        elif size != (film.width, film.height):
            node = self._cropped(node, size, film.rendition.focus)
        node = self._add("setsar", "1", after=node)
        node = self._add("format", "yuv420p", after=node)
        if is_joined:
            node = self._add("fps", f"fps={film.rate}", after=node)
            end = source.seconds - 0.25 / film.rate  # without the repeated frame
            node = self._add("trim", f"end={end:.6f}", after=node)
        return node

    def _cropped(self, node: Any, size: tuple[int, int], focus: tuple[float, float]) -> Any:
        """Cut the largest window of the film's ratio around the focus, then scale it."""
        film = self.film
        scale = max(film.width / size[0], film.height / size[1])
        window = [
            min(side, round(length / scale))
            for side, length in zip(size, (film.width, film.height), strict=True)
        ]
        if window != list(size):
            x, y = (
                round(min(max(share * side - part / 2, 0), side - part))
                for share, side, part in zip(focus, size, window, strict=True)
            )
            node = self._add("crop", f"{window[0]}:{window[1]}:{x}:{y}:exact=1", after=node)
        if window != [film.width, film.height]:
            node = self._add("scale", f"{film.width}:{film.height}:flags=bicubic", after=node)
        return node

    def _blurred(self, node: Any, size: tuple[int, int]) -> Any:
        """Lay the whole picture over a blurred copy that fills the film."""
        film = self.film
        scale = min(film.width / size[0], film.height / size[1])
        inner = [max(2, round(side * scale / 2) * 2) for side in size]
        if inner == [film.width, film.height]:
            return self._add("scale", f"{inner[0]}:{inner[1]}:flags=bicubic", after=node)
        small = [max(2, round(side / _BLUR_SCALE / 2) * 2) for side in (film.width, film.height)]
        both = self._add("split", "2", after=node)
        back = self._add(
            "scale", f"{small[0]}:{small[1]}:force_original_aspect_ratio=increase:flags=bilinear"
        )
        both.link_to(back, 0, 0)
        back = self._add("crop", f"{small[0]}:{small[1]}", after=back)
        back = self._add("gblur", f"sigma={max(1.0, min(small) / 30):.2f}", after=back)
        back = self._add("scale", f"{film.width}:{film.height}:flags=bilinear", after=back)
        back = self._add("setsar", "1", after=back)
        front = self._add("scale", f"{inner[0]}:{inner[1]}:flags=bicubic")
        both.link_to(front, 1, 0)
        front = self._add("setsar", "1", after=front)
        whole = self._add("overlay", "(W-w)/2:(H-h)/2:shortest=1")
        back.link_to(whole, 0, 0)
        front.link_to(whole, 0, 1)
        return whole

    def _join(self, nodes: Sequence[Any]) -> Any:
        """Return the end of all sources one after the other."""
        if len(nodes) == 1:
            return nodes[0]
        if not self.film.cross_fade:
            whole = self._add("concat", f"n={len(nodes)}:v=1:a=0")
            for number, node in enumerate(nodes):
                node.link_to(whole, 0, number)
            return whole
        joined = nodes[0]
        for number, node in enumerate(nodes[1:], start=1):
            faded = self._add(
                "xfade",
                f"transition=fade:duration={self.film.cross_fade}:offset={self._starts[number]:.6f}",
            )
            joined.link_to(faded, 0, 0)
            node.link_to(faded, 0, 1)
            joined = faded
        return joined

    def _labelled(self, node: Any) -> Any:
        film = self.film
        assert film.label is not None  # noqa: S101  the caller has checked it
        picture, x, y = film.label
        self._label_input = self.graph.add_buffer(
            width=picture.width,
            height=picture.height,
            format=av.VideoFormat("rgba"),
            time_base=Fraction(1, 1000),
        )
        enable = "" if film.label_seconds is None else f":enable='lte(t,{film.label_seconds:g})'"
        laid = self._add("overlay", f"x={x}:y={y}:eof_action=repeat{enable}")
        node.link_to(laid, 0, 0)
        self._label_input.link_to(laid, 0, 1)
        return laid

    def _push_label(self) -> None:
        assert self.film.label is not None  # noqa: S101  the caller has checked it
        frame = av.VideoFrame.from_image(self.film.label[0])  # type: ignore[no-untyped-call]
        frame.pts, frame.time_base = 0, Fraction(1, 1000)
        self._label_input.push(frame)
        self._label_input.push(None)
