"""Opens a saved video for finishing, and refuses what cannot be finished before any work is done."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av

from airflow_provider_jimeng.core.errors import DamagedMediaError
from airflow_provider_jimeng.core.mp4 import inspect_mp4, read_label

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEFAULT_RATE = Fraction(24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A video in a local file.

    ``width`` and ``height`` in pixels as a player shows them: turned, and with square pixels. ``rotation`` in degrees
    counter-clockwise. ``label`` is the text of the implicit label, byte for byte, ``None`` without one.
    """

    path: Path
    width: int
    height: int
    rotation: int
    rate: Fraction
    seconds: float
    has_audio: bool
    label: bytes | None

    @classmethod
    def open(cls, path: Path) -> Source:
        """Check and describe a file.

        :raises DamagedMediaError: it is not a whole MP4 with a video that can be decoded.
        """
        with path.open("rb") as file:
            info = inspect_mp4(file)
            label = read_label(file)
        try:
            with av.open(str(path), mode="r", format="mp4") as container:
                stream = container.streams.video[0]
                frame = next(container.decode(stream))
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
                    rate=rate,
                    seconds=info.duration_seconds or float(1 / rate),
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
            with av.open(str(self.path), mode="r", format="mp4") as container:
                stream = container.streams.video[0]
                stream.codec_context.thread_count = threads
                stream.thread_type = "AUTO"
                yield from container.decode(stream)
        except av.FFmpegError as error:
            raise DamagedMediaError(f"The video cannot be decoded: {error.strerror}.") from error
