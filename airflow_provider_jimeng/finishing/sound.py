# SPDX-License-Identifier: Apache-2.0
"""Writes the sound of a finished video: a track that is cut and faded, or the sound of the source."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import av.filter

from airflow_provider_jimeng.core.errors import DamagedMediaError, JimengError, ParameterError
from airflow_provider_jimeng.finishing.source import opened

if TYPE_CHECKING:
    from av.container import InputContainer

    from airflow_provider_jimeng.finishing.request import Audio

_SAMPLE_RATE = 48_000
_BIT_RATE = 192_000
_FORMATS = "aac,ac3,aiff,amr,asf,caf,flac,matroska,mov,mp3,mp4,ogg,w64,wav,webm"
"""FFmpeg also reads playlists, which name other files and links. They are not accepted as a track."""


def _opened(path: Path) -> InputContainer:
    return opened(path, options={"format_whitelist": _FORMATS, "protocol_whitelist": "file"})


def check_track(path: Path, audio: Audio) -> None:
    """Check that a track can be decoded and begins before its own end.

    :raises ParameterError: the track cannot be decoded, or begins after its end.
    """
    try:
        with _opened(path) as container:
            if not container.streams.audio:
                raise ParameterError("audio.uri", "is a file without sound. Give a file with sound.")
            stream = container.streams.audio[0]
            if next(container.decode(stream), None) is None:
                raise ParameterError("audio.uri", "is a file whose sound is empty. Give another one.")
            ends = None if container.duration is None else container.duration / av.time_base
    except av.FFmpegError as error:
        raise _not_decoded(error) from None
    if ends is not None and audio.start >= ends:
        raise ParameterError(
            "audio.start", f"is {audio.start:g} s, and the track ends at {ends:g} s. Give a smaller number."
        )


def _not_decoded(error: av.FFmpegError) -> ParameterError:
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
        with _opened(self.path) as container:
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
        failed = _source_not_decoded if self.audio is None else _not_decoded
        try:
            with _opened(self.path) as container:
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
