# SPDX-License-Identifier: Apache-2.0
"""Opens a saved video for finishing, and refuses what cannot be finished before any work is done."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av

from airflow_provider_jimeng.core.errors import DamagedMediaError, ParameterError
from airflow_provider_jimeng.core.mp4 import inspect_mp4, read_label

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av.container import InputContainer

_DEFAULT_RATE = Fraction(24)
_HDR = {16: "PQ (HDR10)", 18: "HLG"}
"""FFmpeg's numbers of the brightness curves of HDR video."""
_TAGS_IN_ANY_ENCODING: dict[str, Any] = (
    {} if int(av.__version__.partition(".")[0]) >= 19 else {"metadata_errors": "replace"}
)
"""From PyAV 19 on, tags in other encodings than UTF-8 are not an error, and the argument is gone."""


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
