# SPDX-License-Identifier: Apache-2.0
"""What a landscape can consist of: times of day, and rows of waves, trees, grass or houses."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import ImageDraw

    from airflow_provider_jimeng.emulator.canvas import Colour


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """The colours of a time of day. A prompt that contains one of ``words`` chooses it."""

    words: tuple[str, ...]
    sky: tuple[Colour, Colour, Colour]
    """The colours at the top, in the middle and at the horizon."""
    sun: Colour
    cloud: Colour
    mountain: Colour
    light: tuple[float, float, float]
    """The share of red, green and blue that the ground keeps in this light, 0 to 1."""
    dark: bool = False
    low: bool = False
    """Whether the sun is near the horizon."""


HOURS = (
    Hour(words=("dawn", "sunrise", "morning", "清晨", "日出", "黎明", "早晨"),
         sky=((88, 108, 168), (214, 160, 184), (255, 226, 192)), sun=(255, 246, 222), cloud=(255, 222, 214),
         mountain=(122, 112, 158), light=(0.86, 0.78, 0.86), low=True),
    Hour(words=("noon", "midday", "sunny", "summer", "白天", "正午", "晴", "夏"),
         sky=((52, 134, 208), (128, 192, 234), (226, 243, 246)), sun=(255, 250, 226), cloud=(255, 255, 255),
         mountain=(92, 136, 176), light=(1.0, 1.0, 1.0)),
    Hour(words=("sunset", "dusk", "evening", "autumn", "夕阳", "黄昏", "傍晚", "日落", "秋"),
         sky=((58, 40, 104), (206, 84, 104), (255, 190, 106)), sun=(255, 236, 178), cloud=(246, 150, 128),
         mountain=(112, 58, 104), light=(0.72, 0.52, 0.62), low=True),
    Hour(words=("night", "moon", "stars", "midnight", "夜", "月", "星"),
         sky=((8, 12, 38), (26, 42, 92), (74, 104, 156)), sun=(250, 246, 226), cloud=(56, 76, 128),
         mountain=(34, 50, 98), light=(0.3, 0.4, 0.62), dark=True),
    Hour(words=("mist", "fog", "rain", "winter", "雾", "雨", "冬"),
         sky=((104, 150, 156), (176, 206, 200), (244, 238, 220)), sun=(255, 250, 236), cloud=(232, 236, 228),
         mountain=(110, 146, 150), light=(0.82, 0.92, 0.9)),
    Hour(words=("dream", "cherry", "spring", "flower", "梦", "樱", "春", "花"),
         sky=((112, 130, 214), (226, 168, 214), (255, 230, 226)), sun=(255, 248, 240), cloud=(255, 236, 246),
         mountain=(138, 118, 182), light=(0.94, 0.84, 0.96)),
)  # fmt: skip


Drawing = Callable[["ImageDraw.ImageDraw", int], None]
Shapes = tuple[Drawing, "Drawing | None"]
"""How a row of waves or trees is drawn, and how the accents on it are, such as foam or lit windows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What is in front of the mountains, in rows that grow towards the viewer.

    A prompt that contains one of ``words`` chooses it. ``draw`` gets the width after which a row repeats itself, and
    the height of the row.
    """

    words: tuple[str, ...]
    draw: Callable[[Random, int, int], Shapes]
    far: Colour
    near: Colour
    accent: Colour
    rows: int
    growth: float
    """How many times higher the nearest row is than the farthest."""
    share: float
    """The share of the ground that the rows cover. The rest is the space between them."""
    repeat: float
    """The width after which a row repeats itself, in heights of the row."""
    hills: int = 2
    water: bool = False
    glows: bool = False
    """Whether the accents have a light of their own."""


def _waves(random: Random, width: int, height: int) -> Shapes:
    second, shift = random.uniform(0.5, 0.8), random.random()

    def crest(x: float) -> float:
        turn = (x / width + shift) % 1.0
        high, at = (1.0, turn / 0.58) if turn < 0.58 else (second, (turn - 0.58) / 0.42)
        arch = 1 - math.sin(math.pi * ((at + 0.5) % 1.0))
        return height * (0.96 - 0.8 * high * math.pow(arch, 1.25))

    def line(scale: int) -> list[tuple[float, float]]:
        count = 48
        return [(x * scale, crest(x) * scale) for x in (n * width / count for n in range(count + 1))]

    def body(draw: ImageDraw.ImageDraw, scale: int) -> None:
        draw.polygon([(0, height * scale), *line(scale), (width * scale, height * scale)], fill=255)

    def foam(draw: ImageDraw.ImageDraw, scale: int) -> None:
        thick = max(1.0, height / 12) * scale
        points = line(scale)
        draw.polygon([*points, *[(x, y + thick) for x, y in reversed(points)]], fill=150)

    return body, foam


def _rolling(width: float, height: float, rise: float) -> Callable[[float], float]:
    """Return the surface of rolling ground, whose top is at a share ``rise`` of the height above the bottom."""
    return lambda x: height * (1 - rise * (0.62 + 0.38 * math.sin(math.tau * x / width)))


def _soil(
    draw: ImageDraw.ImageDraw, scale: int, surface: Callable[[float], float], width: int, height: int
) -> None:
    line = [(n * width / 24 * scale, surface(n * width / 24) * scale) for n in range(25)]
    draw.polygon([(0, height * scale), *line, (width * scale, height * scale)], fill=255)


def _conifers(random: Random, width: int, height: int) -> Shapes:
    count, surface = max(3, round(width / height * 3.4)), _rolling(width, height, 0.2)
    trees = [
        ((n + random.uniform(0.1, 0.9)) * width / count, height * random.uniform(0.34, 0.8))
        for n in range(count)
    ]

    def body(draw: ImageDraw.ImageDraw, scale: int) -> None:
        _soil(draw, scale, surface, width, height)
        for middle, tall in trees:
            foot = surface(middle) + 0.02 * height
            for x in (middle - width, middle, middle + width):
                for tier in range(4):
                    top, bottom = foot - tall * (1 - tier * 0.2), foot - tall * (0.66 - tier * 0.22)
                    half = tall * (0.09 + 0.055 * tier)
                    points = [(x, top), (x + half, bottom), (x - half, bottom)]
                    draw.polygon([(a * scale, b * scale) for a, b in points], fill=255)

    return body, None


def _meadow(random: Random, width: int, height: int) -> Shapes:
    surface = _rolling(width, height, 0.36)
    thick = max(1.2, height / 34)
    blades = [
        (random.uniform(0, width), random.uniform(0.16, 0.42), random.uniform(-0.2, 0.2), thick)
        for _ in range(max(8, round(width / thick / 2.2)))
    ]
    heads = [
        (random.uniform(0, width), random.uniform(0.3, 0.52))
        for _ in range(max(3, round(width / height * 2.5)))
    ]

    def body(draw: ImageDraw.ImageDraw, scale: int) -> None:
        _soil(draw, scale, surface, width, height)
        for start, tall, lean, thick in [*blades, *[(x, tall, 0.0, 1.2) for x, tall in heads]]:
            foot = surface(start) + 0.02 * height
            for x in (start - width, start, start + width):
                points = [(x - thick, foot), (x + lean * height, foot - tall * height), (x + thick, foot)]
                draw.polygon([(a * scale, b * scale) for a, b in points], fill=255)

    def flowers(draw: ImageDraw.ImageDraw, scale: int) -> None:
        radius = max(1.5, height / 22)
        for start, tall in heads:
            for x in (start - width, start, start + width):
                y = surface(start) - tall * height + radius
                box = [x - radius, y - radius, x + radius, y + radius]
                draw.ellipse([v * scale for v in box], fill=245)

    return body, flowers


def _town(random: Random, width: int, height: int) -> Shapes:
    houses, start = [], 0.0
    while start < width:
        wide = min(width - start, height * random.uniform(0.16, 0.34))
        houses.append((start, wide, height * random.uniform(0.35, 0.98), random.random()))
        start += wide
    lit = [
        (left + wide * (column + 0.5) / 3, height - tall + (row + 1) * height * 0.1)
        for left, wide, tall, _ in houses
        for column in range(3)
        for row in range(int(tall / (height * 0.1)) - 1)
        if random.random() < 0.42
    ]

    def body(draw: ImageDraw.ImageDraw, scale: int) -> None:
        for left, wide, tall, roof in houses:
            top = height - tall
            draw.rectangle([v * scale for v in (left, top, left + wide, height)], fill=255)
            if roof < 0.3:
                x = (left + wide / 2) * scale
                draw.rectangle(
                    (x - scale, max(0, top - height * 0.14) * scale, x + scale, top * scale), fill=255
                )

    def windows(draw: ImageDraw.ImageDraw, scale: int) -> None:
        side = height * 0.018
        for x, y in lit:
            draw.rectangle([v * scale for v in (x - side, y, x + side, y + side * 2.6)], fill=215)

    return body, windows


GROUNDS = (
    Ground(words=("sea", "ocean", "wave", "beach", "boat", "lake", "river", "surf", "ship", "海", "浪", "船", "湖", "河", "水"),
           draw=_waves, far=(120, 190, 206), near=(10, 66, 108), accent=(236, 250, 250), rows=6,
           growth=4.5, share=0.66, repeat=4.6, water=True, hills=0),
    Ground(words=("forest", "tree", "wood", "mountain", "snow", "森林", "树", "山", "雪"),
           draw=_conifers, far=(84, 132, 118), near=(16, 56, 52), accent=(0, 0, 0), rows=3, growth=2.4, share=1.0, repeat=1.6),
    Ground(words=("meadow", "grass", "field", "garden", "flower", "kite", "草", "田", "花", "风筝"),
           draw=_meadow, far=(168, 196, 120), near=(38, 92, 48), accent=(255, 214, 110), rows=3, growth=2.2, share=0.96, repeat=2.4),
    Ground(words=("city", "street", "town", "neon", "car", "城", "街", "霓虹", "车"),
           draw=_town, far=(122, 132, 168), near=(34, 40, 74), accent=(255, 206, 120), rows=3, growth=2.6, share=0.94,
           repeat=2.6, glows=True, hills=0),
)  # fmt: skip
