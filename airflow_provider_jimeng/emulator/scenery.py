"""A moving landscape. The prompt chooses what it shows, and the seed varies the details.

What moves fast is near. Every row of waves or trees repeats itself, and moves by one repetition in one loop, so that
the last step leads to the first one. Rows stand before mist or water, never before a mountain, so that a step needs no
drawing: it is a copy from a wider strip.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.emulator.canvas import (
    Canvas,
    Colour,
    MovingPicture,
    Window,
    even,
    mix,
    ridge_shape,
    smooth_shape,
)

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

LOOP = 24
"""Frames after which the picture repeats itself: one second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """The colours of a time of day. ``light`` is what the sky leaves of the colours of the ground, 0 to 1."""

    words: tuple[str, ...]
    sky: tuple[Colour, Colour, Colour]
    sun: Colour
    cloud: Colour
    mountain: Colour
    light: tuple[float, float, float]
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
    """What is in front of the mountains, in rows that grow towards the viewer."""

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
        return height * (0.96 - 0.8 * high * (1 - math.sin(math.pi * ((at + 0.5) % 1.0))) ** 1.25)

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


def _conifers(random: Random, width: int, height: int) -> Shapes:
    count = max(2, round(width / height * 2.6))
    trees = [
        ((n + random.uniform(0.2, 0.8)) * width / count, height * random.uniform(0.45, 0.97)) for n in range(count)
    ]

    def body(draw: ImageDraw.ImageDraw, scale: int) -> None:
        draw.rectangle((0, height * scale * 0.88, width * scale, height * scale), fill=255)
        for middle, tall in trees:
            for x in (middle - width, middle, middle + width):
                for tier in range(4):
                    top, bottom = height - tall * (1 - tier * 0.2), height - tall * (0.66 - tier * 0.22)
                    half = tall * (0.09 + 0.055 * tier)
                    points = [(x, top), (x + half, bottom), (x - half, bottom)]
                    draw.polygon([(a * scale, b * scale) for a, b in points], fill=255)

    return body, None


def _meadow(random: Random, width: int, height: int) -> Shapes:
    count = max(6, width // 5)
    blades = [
        (random.uniform(0, width), random.uniform(0.3, 0.78), random.uniform(-0.25, 0.25), random.uniform(2.0, 3.6))
        for _ in range(count)
    ]
    heads = [(random.uniform(0, width), random.uniform(0.5, 0.95)) for _ in range(max(2, width // 32))]

    def body(draw: ImageDraw.ImageDraw, scale: int) -> None:
        draw.rectangle((0, height * scale * 0.74, width * scale, height * scale), fill=255)
        stems = [(x, tall, 0.0, 1.4) for x, tall in heads]
        for start, tall, lean, thick in [*blades, *stems]:
            for x in (start - width, start, start + width):
                tip = (x + lean * height, height * (1 - tall))
                points = [(x - thick, height), tip, (x + thick, height)]
                draw.polygon([(a * scale, b * scale) for a, b in points], fill=255)

    def flowers(draw: ImageDraw.ImageDraw, scale: int) -> None:
        radius = max(1.5, height / 16)
        for start, tall in heads:
            for x in (start - width, start, start + width):
                y = height * (1 - tall) + radius
                box = [x - radius, y - radius, x + radius, y + radius]
                draw.ellipse([v * scale for v in box], fill=235)

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
                draw.rectangle((x - scale, max(0, top - height * 0.14) * scale, x + scale, top * scale), fill=255)

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
           draw=_conifers, far=(84, 132, 118), near=(16, 56, 52), accent=(0, 0, 0), rows=3, growth=2.6, share=0.92, repeat=1.5),
    Ground(words=("meadow", "grass", "field", "garden", "flower", "kite", "草", "田", "花", "风筝"),
           draw=_meadow, far=(168, 196, 120), near=(38, 92, 48), accent=(255, 214, 110), rows=3, growth=2.8, share=0.8, repeat=2.2),
    Ground(words=("city", "street", "town", "neon", "car", "城", "街", "霓虹", "车"),
           draw=_town, far=(122, 132, 168), near=(34, 40, 74), accent=(255, 206, 120), rows=3, growth=2.6, share=0.94,
           repeat=2.6, glows=True, hills=0),
)  # fmt: skip



class Scene:
    """Draws one landscape of a size, from the sky to the nearest row."""

    def __init__(self, width: int, height: int, prompt: str, seed: int) -> None:
        chance, words = Random(prompt), _words(prompt)
        self.hour = _named(HOURS, words, prompt) or HOURS[int(chance.random() * len(HOURS))]
        self.ground = _named(GROUNDS, words, prompt) or GROUNDS[int(chance.random() * len(GROUNDS))]
        self.random = Random(f"{seed} {prompt}")
        self.width, self.height = width, height
        self.unit = min(width, height)
        self.horizon = even(height * self.random.uniform(0.54, 0.6))
        self.mist = mix(self.hour.sky[2], (255, 255, 255), 0.0 if self.hour.dark else 0.12)
        self.sun = self.random.uniform(0.2, 0.8) * width
        self.canvas = Canvas.plain(width, height, self.mist)
        self.windows: list[Window] = []

    def draw(self) -> MovingPicture:
        """Return the landscape with its moving parts."""
        self._draw_sky()
        self._draw_mountains()
        self._draw_birds()
        self._draw_ground()
        return MovingPicture(self.canvas, self.windows)

    @property
    def panel_colours(self) -> tuple[Colour, Colour]:
        """Return the colours of a panel below the picture, and of its upper edge."""
        near = mix(_lit(self.ground.near, self.hour.light), self.hour.sky[0], 0.35)
        return mix(near, (8, 10, 18), 0.72), mix(self.hour.sun, self.hour.sky[1], 0.45)

    def _draw_sky(self) -> None:
        from PIL import ImageDraw

        top, middle, low = self.hour.sky
        break_at = even(self.horizon * 0.58)
        self.canvas.fill(0, break_at, top, middle)
        self.canvas.fill(break_at, self.horizon, middle, low)
        if self.hour.dark:
            stars = ImageDraw.Draw(self.canvas.planes[0])
            for _ in range(90):
                x, y = self.random.random() * self.width, self.random.random() ** 1.4 * self.horizon * 0.8
                side = 0.5 + (self.random.random() < 0.2)
                stars.rectangle((x, y, x + side, y + side), fill=150 + int(self.random.random() * 80))
        self._draw_sun(even(self.horizon * self.random.uniform(*((0.56, 0.84) if self.hour.low else (0.26, 0.5)))))
        for _ in range(2 + int(self.random.random() * 3)):
            self._draw_cloud()

    def _draw_sun(self, y: int) -> None:
        from PIL import Image

        reach = even(self.unit * 1.1)
        glow = Image.radial_gradient("L").point([round(170 * max(0, 1 - v / 179) ** 2) for v in range(256)])
        glow = glow.resize((reach, reach), Image.Resampling.BILINEAR)
        self.canvas.paint(even(self.sun - reach / 2), even(y - reach / 2), glow, self.hour.sun)
        size = even(self.unit * (0.2 if self.hour.low else 0.14))

        def disc(draw: ImageDraw.ImageDraw, scale: int) -> None:
            draw.ellipse((0, 0, size * scale - 1, size * scale - 1), fill=255)
            if self.hour.dark:
                shift = size * scale * 0.3
                draw.ellipse((shift, -shift / 2, size * scale + shift, size * scale - shift / 2), fill=0)

        self.canvas.paint(even(self.sun - size / 2), even(y - size / 2), smooth_shape(size, size, disc), self.hour.sun)

    def _draw_cloud(self) -> None:
        wide = even(self.unit * self.random.uniform(0.22, 0.5))
        tall = even(wide * 0.26)
        puffs = [(self.random.uniform(0.12, 0.88), self.random.uniform(0.3, 1.0)) for _ in range(7)]

        def draw_puffs(draw: ImageDraw.ImageDraw, scale: int) -> None:
            for at, big in puffs:
                radius = tall * 0.55 * big * (1 - abs(at - 0.5)) * scale
                x, y = at * wide * scale, tall * scale - radius * 0.75
                draw.ellipse((x - radius * 1.4, y - radius, x + radius * 1.4, y + radius), fill=205)
            draw.rounded_rectangle((0, tall * 0.82 * scale, wide * scale, tall * scale - 1), tall * 0.09 * scale, fill=205)

        shape = smooth_shape(wide, tall, draw_puffs)
        left, top = self.random.uniform(-0.1, 0.95) * self.width, self.random.uniform(0.06, 0.55) * self.horizon
        self.canvas.paint(even(left), even(top), shape, self.hour.cloud, mix(self.hour.cloud, self.hour.sky[1], 0.55))

    def _draw_mountains(self) -> None:
        count = 2 if self.ground.water else 3
        for n in range(count):
            nearness = n / (count - 1)
            tall = even(self.horizon * self.random.uniform(0.5, 0.62) * (1 - 0.45 * nearness))
            heights = _ridge(self.random, tall, 0.62 - 0.12 * nearness)
            if self.ground.water:  # islands, so that some of the horizon is free
                centre, wide = self.random.random(), self.random.uniform(0.18, 0.34)
                last = len(heights) - 1
                heights = [0.7 * h * max(0.0, 1 - (abs(x / last - centre) / wide) ** 2) for x, h in enumerate(heights)]
            colour = mix(self.hour.sky[2], self.hour.mountain, 0.4 + 0.5 * nearness)
            shape = ridge_shape(heights, self.width, tall)
            self.canvas.paint(0, self.horizon - tall, shape, colour, mix(colour, self.mist, 0.9))

    def _draw_hills(self, far: Colour, near: Colour) -> int:
        """Draw hills whose feet are in mist, and return where they end."""
        foot, depth = self.horizon, self.height - self.horizon
        for n in range(self.ground.hills):
            foot += even(depth * 0.14)
            tall = even(depth * self.random.uniform(0.3, 0.42))
            shape = ridge_shape(_ridge(self.random, tall, 0.34), self.width, tall)
            colour = mix(far, near, 0.1 + 0.25 * n)
            self.canvas.paint(0, foot - tall, shape, colour, mix(colour, self.mist, 0.75))
        return foot

    def _draw_birds(self) -> None:
        if self.hour.dark:
            return
        wide, tall = even(self.unit * 0.045) + 4, even(self.unit * 0.03) + 4
        colour = mix(self.hour.mountain, (20, 24, 40), 0.55)
        start_x, start_y = self.random.uniform(0.15, 0.75) * self.width, self.random.uniform(0.2, 0.5) * self.horizon
        for n in range(3 + int(self.random.random() * 3)):
            left = even(start_x + wide * (n * 1.1 + self.random.random()))
            top = even(start_y + tall * self.random.uniform(-1.6, 1.6))
            if 0 <= left <= self.width - wide and 0 <= top <= self.horizon - tall:
                self._draw_bird((left, top, wide, tall), colour, self.random.uniform(0.55, 1.0))

    def _draw_bird(self, box: tuple[int, int, int, int], colour: Colour, size: float) -> None:
        left, top, wide, tall = box
        behind, poses = self.canvas.crop(*box), 8
        sheet = Canvas.plain(wide * poses, tall, colour)
        for pose in range(poses):
            lift = math.sin(math.tau * pose / poses)

            def wings(draw: ImageDraw.ImageDraw, scale: int, lift: float = lift) -> None:
                x, y, reach = wide / 2, tall * (0.5 + 0.1 * lift), wide * 0.46 * size
                for side in (-1, 1):
                    elbow = (x + side * reach * 0.45, y - tall * size * (0.12 + 0.3 * lift))
                    tip = (x + side * reach, y - tall * size * 0.34 * lift + tall * 0.06)
                    thick = tall * 0.07 * size
                    points = [(x, y - thick), elbow, tip, (elbow[0], elbow[1] + 2 * thick), (x, y + 1.6 * thick)]
                    draw.polygon([(a * scale, b * scale) for a, b in points], fill=255)

            sheet.paste(behind, pose * wide, 0)
            sheet.paint(pose * wide, 0, smooth_shape(wide, tall, wings), colour)
        start = int(self.random.random() * poses)
        corners = tuple(((start + 3 * n * poses // LOOP) % poses * wide, 0) for n in range(LOOP))
        self.canvas.paste(sheet.crop(corners[0][0], 0, wide, tall), left, top)
        self.windows.append(Window(left, top, wide, tall, sheet, corners))

    def _draw_ground(self) -> None:
        ground, hour = self.ground, self.hour
        near, far = _lit(ground.near, hour.light), mix(self.mist, _lit(ground.far, hour.light), 0.6)
        if ground.water:  # it mirrors the sky
            near, far = mix(near, hour.sky[0], 0.35), mix(hour.sky[2], hour.sky[1], 0.45)
        y = float(self._draw_hills(far, near))
        weights = [ground.growth ** (n / (ground.rows - 1)) for n in range(ground.rows)]
        per_weight = (self.height - y) / sum(weights)
        behind = mix(far, self.mist, 0.3 if ground.water else 0.75)
        for n, weight in enumerate(weights):
            tall = even(weight * per_weight * ground.share)
            top = min(even(y + weight * per_weight * (1 - ground.share)), self.height - tall)
            colour = mix(far, near, 0.25 + 0.75 * n / (ground.rows - 1))
            below = mix(colour, behind, 0.25) if ground.water else mix(colour, self.mist, 0.5 - 0.25 * n / ground.rows)
            self._draw_row((even(y), top, tall), (behind, below), colour, n)
            y, behind = top + tall, colour
        self.canvas.fill(even(y), self.height, behind, behind)

    def _draw_row(self, place: tuple[int, int, int], behind: tuple[Colour, Colour], colour: Colour, n: int) -> None:
        """Draw a row, the space above it included, as a strip that moves by one repetition in a loop."""
        start, top, tall = place
        ground = self.ground
        smooth = 2 * LOOP  # with a multiple of it, each step is equally long
        period = max(1, round(tall * ground.repeat / smooth)) * smooth
        body, accents = ground.draw(self.random, period, tall)
        self.canvas.fill(start, top + tall, *behind)
        if ground.water:
            self._draw_glitter(start, top - start)
        strip = Canvas.plain(self.width + period, tall, colour)
        strip.paste(self.canvas.crop(0, top, 2, tall).stretched(strip.width), 0, 0)
        strip.paint(0, 0, _repeated(smooth_shape(period, tall, body), strip.width), colour)
        if accents is not None:
            tone = _lit(ground.accent, self.hour.light) if not ground.glows else ground.accent
            strip.paint(0, 0, _repeated(smooth_shape(period, tall, accents), strip.width), mix(colour, tone, 0.75))
        offsets = [even(period * step / LOOP) for step in range(LOOP)]
        if ground.water and n % 2:
            offsets = [period - offset for offset in offsets]
        self.canvas.paste(strip.crop(offsets[0], 0, self.width, tall), 0, top)
        self.windows.append(Window(0, top, self.width, tall, strip, tuple((offset, 0) for offset in offsets)))


    def _draw_glitter(self, top: int, tall: int) -> None:
        """Draw the reflection of the sun on a piece of calm water. It changes every few frames."""
        wide, poses = even(self.unit * (0.16 + 0.3 * (top - self.horizon) / (self.height - self.horizon))), 4
        left = min(max(0, even(self.sun - wide / 2)), self.width - wide)
        if tall < 4 or wide < 4:
            return
        behind, sheet = self.canvas.crop(left, top, wide, tall), Canvas.plain(wide * poses, tall, self.hour.sun)
        for pose in range(poses):
            streaks = [
                (self.random.gauss(0.5, 0.14), self.random.random(), self.random.uniform(0.03, 0.14))
                for _ in range(5 + tall // 3)
            ]

            def lines(draw: ImageDraw.ImageDraw, scale: int, streaks: Any = streaks) -> None:
                for x, y, half in streaks:
                    row = (1 + y * (tall - 3)) * scale
                    draw.line(((x - half) * wide * scale, row, (x + half) * wide * scale, row), 170, max(1, tall // 14) * scale)

            sheet.paste(behind, pose * wide, 0)
            sheet.paint(pose * wide, 0, smooth_shape(wide, tall, lines), self.hour.sun)
        corners = tuple((step * poses // LOOP * wide, 0) for step in range(LOOP))
        self.canvas.paste(sheet.crop(0, 0, wide, tall), left, top)
        self.windows.append(Window(left, top, wide, tall, sheet, corners))


def _words(prompt: str) -> set[str]:
    found = set(re.findall("[a-z]+", prompt.lower()))
    return found | {word.removesuffix("s") for word in found}


def _named(among: tuple[Any, ...], words: set[str], prompt: str) -> Any:
    """Return the first that a word of the prompt names. Chinese has no spaces, so it is searched as a part."""
    return next((x for x in among if any(w in words or (not w.isascii() and w in prompt) for w in x.words)), None)


def _lit(colour: Colour, light: tuple[float, float, float]) -> Colour:
    red, green, blue = (round(value * share) for value, share in zip(colour, light, strict=True))
    return red, green, blue


def _ridge(random: Random, tall: float, rough: float) -> list[float]:
    """Return the heights of a mountain range, from large steps to small ones."""
    heights = [random.uniform(0.2, 0.95) for _ in range(5)]
    spread = 0.3
    for _ in range(5):
        spread *= rough
        middles = [(a + b) / 2 + random.uniform(-spread, spread) for a, b in zip(heights, heights[1:], strict=False)]
        heights = [h for pair in zip(heights, middles, strict=False) for h in pair] + heights[-1:]
    return [tall * min(0.99, max(0.03, h)) for h in heights]


def _repeated(shape: Image.Image, width: int) -> Image.Image:
    from PIL import Image

    whole = Image.new("L", (width, shape.height))
    whole.paste(shape, (0, 0))
    done = shape.width
    while done < width:
        whole.paste(whole.crop((0, 0, min(done, width - done), shape.height)), (done, 0))
        done *= 2
    return whole
