# SPDX-License-Identifier: Apache-2.0
"""Small MP4 files of every kind that finishing meets, and what can be measured in a finished one."""

from __future__ import annotations

import hashlib
import io
import tempfile
import wave
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import av
from PIL import Image, ImageDraw

LABEL = '{"Label":"1","ContentProducer":"即梦 \\u0041","ProduceID":"a b"}'
"""An implicit label whose bytes are not those that another JSON encoder would write."""
COLOURS = {"red": (220, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 220), "yellow": (220, 220, 20)}
CORNERS = ("red", "green", "blue", "yellow")
"""Colours of the upper left, upper right, lower left and lower right quarter."""


@cache
def clip(
    *,
    codec: str = "libx264",
    size: tuple[int, int] = (160, 90),
    frames: int = 8,
    fps: int = 8,
    pix_fmt: str = "yuv420p",
    movflags: str = "",
    label: str | None = None,
    picture: str = "corners",
    tone: int = 0,
    options: tuple[tuple[str, str], ...] = (),
    properties: tuple[tuple[str, Any], ...] = (),
) -> bytes:
    """Return an MP4 file. ``tone`` is the frequency of its sound in Hz, 0 for none."""
    with tempfile.TemporaryDirectory(prefix="jimeng-clip-") as folder:
        path = Path(folder, "clip.mp4")
        flags = "+use_metadata_tags" + (f"+{movflags}" if movflags else "")
        with av.open(str(path), "w", format="mp4", options={"movflags": flags}) as output:
            if label is not None:
                output.metadata["AIGC"] = label
            stream: Any = output.add_stream(codec, rate=fps, options=dict(options))
            stream.width, stream.height = size
            stream.pix_fmt = pix_fmt
            for name, value in properties:
                setattr(stream.codec_context, name, value)
            sound: Any = output.add_stream("aac", rate=48_000, layout="mono") if tone else None
            for number in range(frames):
                frame = av.VideoFrame.from_image(drawn(picture, size, number)).reformat(format=pix_fmt)  # type: ignore[no-untyped-call]
                for name, value in properties:
                    if hasattr(frame, name):
                        setattr(frame, name, value)
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
            if sound is not None:
                _add_sound(output, sound, tone, frames / fps)
        return path.read_bytes()


def drawn(picture: str, size: tuple[int, int], number: int) -> Image.Image:
    """Return the picture of a frame: four coloured quarters, one grey, or stripes that move."""
    image = Image.new("RGB", size, (128, 128, 128))
    draw = ImageDraw.Draw(image)
    width, height = size
    if picture == "corners":
        for place, colour in enumerate(CORNERS):
            x, y = place % 2 * (width // 2), place // 2 * (height // 2)
            draw.rectangle((x, y, x + width // 2, y + height // 2), fill=COLOURS[colour])
    elif picture == "stripes":
        for x in range(0, width, 8):
            shade = (x * 5 + number * 40) % 256
            draw.rectangle((x, 0, x + 7, height), fill=(shade, shade, shade))
    elif picture == "noise":
        image = Image.effect_noise(size, 100).convert("RGB")
    elif picture == "sharp-third":  # the third frame alone has edges
        for x in range(0, width, 16) if number == 2 else ():
            draw.rectangle((x, 0, x + 7, height), fill=(255, 255, 255))
    elif picture == "clock":  # each frame has a grey of its own
        draw.rectangle((0, 0, width, height), fill=(number * 10 % 256,) * 3)
    else:
        draw.rectangle((0, 0, width, height), fill=picture)
    return image


def _add_sound(output: Any, stream: Any, tone: int, seconds: float) -> None:
    with av.open(io.BytesIO(wav(tone, seconds)), mode="r") as source:
        for frame in source.decode(audio=0):
            frame.pts = None
            output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


@cache
def wav(tone: int, seconds: float) -> bytes:
    """Return a sound file: half the full volume all the time, as a square wave."""
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(48_000)
        half = max(1, 24_000 // tone)
        period = (16_384).to_bytes(2, "little", signed=True) * half + (-16_384).to_bytes(
            2, "little", signed=True
        ) * half
        count = round(seconds * 48_000)
        file.writeframes((period * (count // (2 * half) + 1))[: 2 * count])
    return target.getvalue()


def turned(content: bytes) -> bytes:
    """Return the same file with a header that tells players to turn it clockwise by a quarter."""
    at = content.index(b"tkhd") + 4 + 40
    one, zero = (1 << 16).to_bytes(4, "big"), bytes(4)
    minus = (-(1 << 16)).to_bytes(4, "big", signed=True)
    matrix = zero + one + zero + minus + zero + zero + zero + zero + (1 << 30).to_bytes(4, "big")
    return content[:at] + matrix + content[at + 36 :]


# ----------------------------------------------------------------------------------------------------- measuring
@dataclass(frozen=True, slots=True)
class Decoded:
    """The frames of a video with their seconds, and one channel of its sound."""

    frames: list[Image.Image]
    seconds: list[float]
    fps: float
    samples: list[float]


def decoded(path: Path) -> Decoded:
    """Decode a whole file."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        images = [frame.to_image() for frame in frames]  # type: ignore[no-untyped-call]
        times = [float(frame.time or 0) for frame in frames]
        fps = float(stream.average_rate or 0)
    samples: list[float] = []
    with av.open(str(path)) as container:
        if container.streams.audio:
            for part in container.decode(audio=0):
                samples += part.to_ndarray()[0].tolist()
    return Decoded(images, times, fps, samples)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def colour_at(image: Image.Image, x: float, y: float) -> str:
    """Return the name of the colour at a point, given as shares of width and height."""
    found: Any = image.convert("RGB").getpixel((int(x * image.width), int(y * image.height)))

    def distance(name: str) -> int:
        return sum((a - b) ** 2 for a, b in zip(found, COLOURS[name], strict=True))

    return min(COLOURS, key=distance)


def corners_of(image: Image.Image) -> tuple[str, ...]:
    """Return the colours of the four quarters."""
    return tuple(colour_at(image, x, y) for y in (0.25, 0.75) for x in (0.25, 0.75))


def text_box(image: Image.Image) -> tuple[int, int, int, int] | None:
    """Return the box of what is much brighter than a grey picture: the text of a label. ``None`` without one."""
    return image.convert("L").point(lambda value: 255 if value > 160 else 0).getbbox()


def luminance(value: float) -> float:
    """Return the relative luminance of a grey of 0 to 255, as WCAG defines it."""
    share = value / 255
    return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4


def contrast(bright: float, dark: float) -> float:
    """Return the contrast ratio of two greys, as WCAG defines it."""
    return (luminance(bright) + 0.05) / (luminance(dark) + 0.05)
