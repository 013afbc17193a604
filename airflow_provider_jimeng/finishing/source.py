# SPDX-License-Identifier: Apache-2.0
"""What a finished video is made of: a saved video, and a file with sound.

What cannot be finished is refused before any work is done.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import av.filter

from airflow_provider_jimeng.core.errors import DamagedMediaError, JimengError, ParameterError
from airflow_provider_jimeng.core.mp4 import inspect_mp4, read_label

if TYPE_CHECKING:
    from av.container import InputContainer

    from airflow_provider_jimeng.finishing.request import Audio

_DEFAULT_RATE = Fraction(24)
_HDR = {16: "PQ (HDR10)", 18: "HLG"}
"""FFmpeg's numbers of the brightness curves of HDR video."""
_TAGS_IN_ANY_ENCODING: dict[str, Any] = (
    {} if int(av.__version__.partition(".")[0]) >= 19 else {"metadata_errors": "replace"}
)
"""From PyAV 19 on, tags in other encodings than UTF-8 are not an error, and the argument is gone."""

_SAMPLE_RATE = 48_000
_BIT_RATE = 192_000
_SOUND_FORMATS = "aac,ac3,aiff,amr,asf,caf,flac,matroska,mov,mp3,mp4,ogg,w64,wav,webm"
"""FFmpeg also reads playlists, which name other files and links. They are not accepted as a track."""


def opened(path: Path, **options: Any) -> InputContainer:
    """Open a media file for reading."""
    container: InputContainer = av.open(str(path), mode="r", **_TAGS_IN_ANY_ENCODING, **options)
    return container


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A video in a local file.

    ``width`` and ``height`` in pixels as a player shows them: turned, and with square pixels. ``rotation`` in degrees
    counter-clockwise. ``has_square_pixels`` is about the stored picture. ``first_frame_at`` is the time stamp of the first
    frame in seconds, which is not always 0. The ``color…`` values are FFmpeg's numbers. ``label`` is the text of the implicit label, byte for byte, ``None`` without one.
    """

    path: Path
    width: int
    height: int
    rotation: int
    has_square_pixels: bool
    rate: Fraction
    seconds: float
    first_frame_at: float
    color_primaries: int
    color_trc: int
    colorspace: int
    has_audio: bool
    label: bytes | None

    @classmethod
    def open(cls, path: Path) -> Source:
        """Check and describe a file.

        :raises DamagedMediaError: it is not a whole MP4, or its beginning cannot be decoded.
        :raises ParameterError: it is HDR, or FFmpeg does not know its format.
        """
        with path.open("rb") as file:
            info = inspect_mp4(file)
            label = read_label(file)
        try:
            with opened(path, format="mp4") as container:
                stream = container.streams.video[0]
                tracks: list[Any] = [stream, *container.streams.audio[:1]]
                if any(track.codec_context is None for track in tracks):
                    raise ParameterError(
                        "video",
                        "has a format that FFmpeg cannot decode. Give H.264, HEVC or AV1, with AAC sound.",
                    )
                frame = next(container.decode(stream))
                curve = int(stream.codec_context.color_trc)
                _refuse_hdr(curve)
                for track in tracks[1:]:
                    next(container.decode(track), None)
                rotation = round(frame.rotation / 90) * 90 % 360
                aspect = stream.sample_aspect_ratio or Fraction(1)
                width, height = round(frame.width * aspect), frame.height
                if rotation % 180:
                    width, height = height, width
                rate = stream.average_rate or stream.guessed_rate or _DEFAULT_RATE
                return cls(
                    path=path,
                    width=width,
                    height=height,
                    rotation=rotation,
                    has_square_pixels=aspect == 1,
                    rate=rate,
                    seconds=info.duration_seconds or float(1 / rate),
                    first_frame_at=frame.time or 0.0,
                    color_primaries=int(stream.codec_context.color_primaries),
                    color_trc=curve,
                    colorspace=int(stream.codec_context.colorspace),
                    has_audio=bool(container.streams.audio),
                    label=label,
                )
        except StopIteration:
            raise DamagedMediaError("The MP4 file is damaged: no frame of it can be decoded.") from None
        except av.FFmpegError as error:
            raise DamagedMediaError(f"The video cannot be decoded: {error.strerror}.") from error

    def frames(self, *, threads: int = 0) -> Iterator[av.VideoFrame]:
        """Decode the frames one after the other, as they are stored.

        :raises DamagedMediaError: a frame cannot be decoded.
        """
        try:
            with opened(self.path, format="mp4") as container:
                stream = container.streams.video[0]
                stream.codec_context.thread_count = threads
                stream.thread_type = "AUTO"
                yield from container.decode(stream)
        except av.FFmpegError as error:
            raise DamagedMediaError(f"The video cannot be decoded: {error.strerror}.") from error


def _refuse_hdr(number: int) -> None:
    """Refuse high dynamic range: the finished video has 8 bits, in which it shows bands and wrong colours."""
    curve = _HDR.get(number)
    if curve:
        raise ParameterError(
            "video",
            f"is HDR ({curve}), and finishing makes SDR videos only. Convert it to SDR (BT.709) first.",
        )


# ------------------------------------------------------------------------------------------------------------ sound
def _opened_sound(path: Path) -> InputContainer:
    return opened(path, options={"format_whitelist": _SOUND_FORMATS, "protocol_whitelist": "file"})


def check_track(path: Path, audio: Audio) -> None:
    """Check that a track can be decoded and begins before its own end.

    :raises ParameterError: the track cannot be decoded, or begins after its end.
    """
    try:
        with _opened_sound(path) as container:
            if not container.streams.audio:
                raise ParameterError("audio.uri", "is a file without sound. Give a file with sound.")
            stream = container.streams.audio[0]
            if next(container.decode(stream), None) is None:
                raise ParameterError("audio.uri", "is a file whose sound is empty. Give another one.")
            ends = None if container.duration is None else container.duration / av.time_base
    except av.FFmpegError as error:
        raise _sound_not_decoded(error) from None
    if ends is not None and audio.start >= ends:
        raise ParameterError(
            "audio.start", f"is {audio.start:g} s, and the track ends at {ends:g} s. Give a smaller number."
        )


def _sound_not_decoded(error: av.FFmpegError) -> ParameterError:
    return ParameterError("audio.uri", f"cannot be decoded ({error.strerror}). Give another file with sound.")


def _source_not_decoded(error: av.FFmpegError) -> DamagedMediaError:
    return DamagedMediaError(f"The sound of the video cannot be decoded: {error.strerror}.")


@dataclass(slots=True)
class SoundTrack:
    """Sound on its way from a file into the video, as AAC. Without ``audio`` it is the sound of the source itself.

    :param starts_at: time stamp in the source, in seconds, of what the finished video begins with.
    """

    output: Any
    path: Path
    seconds: float
    threads: int
    audio: Audio | None = None
    starts_at: float = 0.0
    _stream: Any = field(default=None, init=False)
    _layout: str = field(default="stereo", init=False)
    _parts: Iterator[Any] = field(default=iter(()), init=False)
    _written: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        with _opened_sound(self.path) as container:
            if container.streams.audio[0].codec_context.layout.nb_channels == 1:
                self._layout = "mono"  # as stereo, it would lose 3 dB
        self._stream = self.output.add_stream("aac", rate=_SAMPLE_RATE, layout=self._layout)
        self._stream.bit_rate = _BIT_RATE
        self._parts = self._filtered()

    def write_until(self, seconds: float) -> None:
        """Write the sound up to a time, so that picture and sound lie side by side in the file."""
        while self._written <= seconds and not math.isinf(self._written):
            frame = next(self._parts, None)
            self._written = math.inf if frame is None else float(frame.pts * frame.time_base)
            self.output.mux(self._stream.encode(frame))

    def _filtered(self) -> Iterator[Any]:
        """Decode, cut, fade. Every frame has the size that the encoder takes."""
        failed: Callable[[av.FFmpegError], JimengError]
        failed = _source_not_decoded if self.audio is None else _sound_not_decoded
        try:
            with _opened_sound(self.path) as container:
                stream = container.streams.audio[0]
                stream.codec_context.thread_count = self.threads
                graph = av.filter.Graph()
                first = last = graph.add_abuffer(template=stream, time_base=stream.time_base)
                for name, arguments in self._filters():
                    node = graph.add(name, arguments)
                    last.link_to(node)
                    last = node
                sink = graph.add("abuffersink")
                last.link_to(sink)
                graph.configure()
                graph.set_audio_frame_size(self._stream.codec_context.frame_size or 1024)
                frames = container.decode(stream)
                while True:
                    try:
                        yield sink.pull()
                    except av.BlockingIOError:
                        first.push(next(frames, None))
                    except av.EOFError:
                        return
        except av.FFmpegError as error:
            raise failed(error) from error

    def _filters(self) -> Iterator[tuple[str, str]]:
        audio = self.audio
        if audio is None:  # silence fills the gaps, so that picture and sound stay together
            yield "asetpts", f"PTS-{self.starts_at:.6f}/TB"
            yield "aresample", f"{_SAMPLE_RATE}:async=1:first_pts=0"
        else:
            yield "aresample", str(_SAMPLE_RATE)
        yield "aformat", f"sample_fmts=fltp:sample_rates={_SAMPLE_RATE}:channel_layouts={self._layout}"
        if audio is not None:
            yield "asetpts", "PTS-STARTPTS"
            yield "atrim", f"start={audio.start:.6f}"
            yield "asetpts", "PTS-STARTPTS"
        yield "atrim", f"end={self.seconds:.6f}"
        if audio is None:
            return
        if audio.volume != 1:
            yield "volume", f"{audio.volume:.6f}"
        if audio.fade_in:
            yield "afade", f"t=in:st=0:d={audio.fade_in:.6f}"
        if audio.fade_out:
            yield "afade", f"t=out:st={max(0.0, self.seconds - audio.fade_out):.6f}:d={audio.fade_out:.6f}"
