# SPDX-License-Identifier: Apache-2.0
"""A picture as a video stores it: one plane of brightness, and two of half the size for the colour."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""
_SHARPNESS = 3
"""How many times larger a shape is drawn before it is reduced, so that its edges are smooth."""


def even(value: float) -> int:
    """Return the even number at or below a positive number."""
    return int(value) // 2 * 2


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Return the colour between two colours. A ``share`` of 0 is the first, 1 is the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def luma_and_chroma(colour: Colour) -> Colour:
    """Return Y, U and V in the limited range of BT.601."""
    red, green, blue = colour
    luma = 0.257 * red + 0.504 * green + 0.098 * blue + 16
    return (
        round(luma),
        round(-0.148 * red - 0.291 * green + 0.439 * blue + 128),
        round(0.439 * red - 0.368 * green - 0.071 * blue + 128),
    )


class Canvas:
    """Three planes in YUV 4:2:0. Sizes and positions are in pixels of the first plane and are even numbers."""

    def __init__(self, planes: Iterable[Image.Image]) -> None:
        self.planes = tuple(planes)
        self.width, self.height = self.planes[0].size

    @classmethod
    def plain(cls, width: int, height: int, colour: Colour) -> Canvas:
        """Return a canvas in one colour."""
        from PIL import Image

        sizes = ((width, height), (width // 2, height // 2), (width // 2, height // 2))
        return cls(Image.new("L", size, v) for size, v in zip(sizes, luma_and_chroma(colour), strict=True))

    @classmethod
    def of_image(cls, image: Image.Image, width: int, height: int) -> Canvas:
        """Return an image in the given size."""
        import av
        from PIL import Image

        frame = av.VideoFrame.from_image(image)  # type: ignore[no-untyped-call]
        planes = frame.reformat(width=width, height=height, format="yuv420p").planes
        return cls(
            Image.frombytes("L", (plane.width, plane.height), bytes(plane), "raw", "L", plane.line_size)
            for plane in planes
        )

    def crop(self, left: int, top: int, width: int, height: int) -> Canvas:
        """Return a copy of a part."""
        right, bottom = left + width, top + height
        boxes = [(left, top, right, bottom), *[(left // 2, top // 2, right // 2, bottom // 2)] * 2]
        return Canvas(plane.crop(box) for plane, box in zip(self.planes, boxes, strict=True))

    def repeated(self, width: int) -> Canvas:
        """Return a wider canvas that shows this one again and again."""
        return Canvas(repeat(plane, width if n == 0 else width // 2) for n, plane in enumerate(self.planes))

    def paste(self, other: Canvas, left: int, top: int) -> None:
        """Copy another canvas to a position."""
        for n, (plane, part) in enumerate(zip(self.planes, other.planes, strict=True)):
            plane.paste(part, (left, top) if n == 0 else (left // 2, top // 2))

    def paint(
        self, left: int, top: int, shape: Image.Image, upper: Colour, lower: Colour | None = None
    ) -> None:
        """Paint a shape (255 inside, 0 outside) in a colour that changes from its top to its bottom."""
        if min(shape.size) < 2:
            return
        half = shape.reduce(2)
        ends = zip(luma_and_chroma(upper), luma_and_chroma(lower or upper), strict=True)
        for n, (plane, (first, last)) in enumerate(zip(self.planes, ends, strict=True)):
            mask, corner = (shape, (left, top)) if n == 0 else (half, (left // 2, top // 2))
            if first == last:
                box = (*corner, corner[0] + mask.width, corner[1] + mask.height)
                plane.paste(first, box, mask)
            else:
                plane.paste(_slope(*mask.size, first, last), corner, mask)

    def fill(self, top: int, bottom: int, upper: Colour, lower: Colour) -> None:
        """Fill all rows from ``top`` to ``bottom`` with a colour that changes downwards."""
        ends = zip(luma_and_chroma(upper), luma_and_chroma(lower), strict=True)
        for n, (plane, (first, last)) in enumerate(zip(self.planes, ends, strict=True)):
            start, end = (top, bottom) if n == 0 else (top // 2, bottom // 2)
            if end > start:
                box = (0, start, plane.width, end)
                plane.paste(first if first == last else _slope(plane.width, end - start, first, last), box)


def _slope(width: int, height: int, first: int, last: int) -> Image.Image:
    from PIL import Image

    start, step = first + 0.5, (last - first) / max(1, height - 1)
    column = Image.frombytes("L", (1, height), bytes([int(start + step * row) for row in range(height)]))
    return column.resize((width, height), Image.Resampling.NEAREST)


def repeat(image: Image.Image, width: int) -> Image.Image:
    """Return a wider image that shows this one again and again."""
    from PIL import Image

    whole = Image.new("L", (width, image.height))
    whole.paste(image, (0, 0))
    done = image.width
    while done < width:
        whole.paste(whole.crop((0, 0, min(done, width - done), image.height)), (done, 0))
        done *= 2
    return whole


def smooth_shape(width: int, height: int, draw: Callable[[ImageDraw.ImageDraw, int], None]) -> Image.Image:
    """Return a shape with smooth edges. ``draw`` gets the drawing and how many times larger it is."""
    from PIL import Image, ImageDraw

    large = Image.new("L", (width * _SHARPNESS, height * _SHARPNESS))
    draw(ImageDraw.Draw(large), _SHARPNESS)
    return large.reduce(_SHARPNESS)


def ridge_shape(heights: list[float], width: int, height: int) -> Image.Image:
    """Return the area below a line. ``heights`` are at equal distances, in pixels above the bottom."""
    from PIL import Image, ImageDraw

    large = Image.new("L", (width, height * _SHARPNESS))
    step = width / (len(heights) - 1)
    line = [(n * step, (height - h) * _SHARPNESS) for n, h in enumerate(heights)]
    ImageDraw.Draw(large).polygon([(0, large.height), *line, (width, large.height)], fill=255)
    return large.reduce((1, _SHARPNESS))


@dataclass(frozen=True, slots=True)
class Window:
    """A part of the video that moves: it shows ``picture``, each time from another corner."""

    left: int
    top: int
    width: int
    height: int
    picture: Canvas
    corners: tuple[tuple[int, int], ...]
    """The upper left corner in ``picture`` for each step of the loop."""


class MovingPicture:
    """A still canvas with windows, in ``steps`` steps. A step is written into a frame; nothing is drawn again."""

    def __init__(self, still: Canvas, windows: Iterable[Window]) -> None:
        self.still = still
        self.windows = tuple(windows)
        self.steps = len(self.windows[0].corners) if self.windows else 1
        self._sources: list[tuple[Window, list[tuple[memoryview, int]]]] = []

    def write_still(self, frame: VideoFrame) -> None:
        """Write what does not move into a frame of the same size."""
        for plane, image in zip(frame.planes, self.still.planes, strict=True):
            _copy(memoryview(image.tobytes()), image.width, (0, 0), plane, (0, 0), image.size)
        self._sources = [
            (w, [(memoryview(p.tobytes()), p.width) for p in w.picture.planes]) for w in self.windows
        ]

    def write_step(self, frame: VideoFrame, step: int) -> None:
        """Write all windows of one step of the loop into a frame. Later windows cover earlier ones."""
        for window, sources in self._sources:
            x, y = window.corners[step]
            corner, position, size = (x, y), (window.left, window.top), (window.width, window.height)
            for n, (source, source_width) in enumerate(sources):
                if n == 1:
                    corner, position, size = (x // 2, y // 2), _half(position), _half(size)
                _copy(source, source_width, corner, frame.planes[n], position, size)


def _half(pair: tuple[int, int]) -> tuple[int, int]:
    return pair[0] // 2, pair[1] // 2


def _copy(
    source: memoryview,
    source_width: int,
    corner: tuple[int, int],
    plane: object,
    position: tuple[int, int],
    size: tuple[int, int],
) -> None:
    target, stride = memoryview(plane), plane.line_size  # type: ignore[arg-type,attr-defined]
    (width, height), start = size, position[1] * stride + position[0]
    first = corner[1] * source_width + corner[0]
    if width == stride == source_width:
        target[start : start + width * height] = source[first : first + width * height]
        return
    for _ in range(height):
        target[start : start + width] = source[first : first + width]
        start += stride
        first += source_width
