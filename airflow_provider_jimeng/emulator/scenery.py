# SPDX-License-Identifier: Apache-2.0
"""A moving landscape. The prompt chooses what it shows, and the seed varies the details.

Near rows move faster. Every row of waves or trees repeats itself and moves by one repetition in a loop, so the last step
leads to the first one. Behind a row is only mist or water, so a step is not drawn: it is copied from a wider strip.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING, TypeVar

from airflow_provider_jimeng.emulator.canvas import (
    Canvas,
    Colour,
    MovingPicture,
    Window,
    even,
    mix,
    repeat,
    ridge_shape,
    smooth_shape,
)
from airflow_provider_jimeng.emulator.scene_kinds import GROUNDS, HOURS, Ground, Hour

if TYPE_CHECKING:
    from PIL import ImageDraw

Kind = TypeVar("Kind", Hour, Ground)
Polygons = list[list[tuple[float, float]]]
LOOP = 24
"""Frames after which the picture repeats itself: one second."""


class Scene:
    """Draws one landscape of a size, from the sky to the nearest row."""

    def __init__(self, width: int, height: int, prompt: str, seed: int) -> None:
        by_prompt = Random(prompt)
        self.hour = _choose(HOURS, prompt, by_prompt)
        self.ground = _choose(GROUNDS, prompt, by_prompt)
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
        if self.ground.water:
            self._draw_boat()
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
        self._draw_sun(
            even(self.horizon * self.random.uniform(*((0.56, 0.84) if self.hour.low else (0.26, 0.5))))
        )
        for _ in range(2 + int(self.random.random() * 3)):
            self._draw_cloud()

    def _draw_sun(self, y: int) -> None:
        from PIL import Image

        reach = even(self.unit * 0.96)
        glow = Image.radial_gradient("L").point([round(170 * max(0, 1 - v / 179) ** 2) for v in range(256)])
        glow = glow.resize((reach, reach), Image.Resampling.BILINEAR)
        shine = mix(self.hour.sun, self.hour.sky[2], 0.7) if self.hour.dark else self.hour.sun
        self.canvas.paint(even(self.sun - reach / 2), even(y - reach / 2), glow, shine)
        size = even(self.unit * (0.2 if self.hour.low else 0.14))

        def disc(draw: ImageDraw.ImageDraw, scale: int) -> None:
            draw.ellipse((0, 0, size * scale - 1, size * scale - 1), fill=255)
            if self.hour.dark:
                shift = size * scale * 0.3
                draw.ellipse((shift, -shift / 2, size * scale + shift, size * scale - shift / 2), fill=0)

        self.canvas.paint(
            even(self.sun - size / 2), even(y - size / 2), smooth_shape(size, size, disc), self.hour.sun
        )

    def _draw_cloud(self) -> None:
        wide = even(self.unit * self.random.uniform(0.22, 0.5))
        tall = max(4, even(wide * 0.26))
        puffs = [(self.random.uniform(0.12, 0.88), self.random.uniform(0.3, 1.0)) for _ in range(7)]

        def draw_puffs(draw: ImageDraw.ImageDraw, scale: int) -> None:
            for at, big in puffs:
                radius = tall * 0.55 * big * (1 - abs(at - 0.5)) * scale
                x, y = at * wide * scale, tall * scale - radius * 0.75
                draw.ellipse((x - radius * 1.4, y - radius, x + radius * 1.4, y + radius), fill=205)
            draw.rounded_rectangle(
                (0, tall * 0.82 * scale, wide * scale, tall * scale - 1), tall * 0.09 * scale, fill=205
            )

        shape = smooth_shape(wide, tall, draw_puffs)
        left, top = (
            self.random.uniform(-0.1, 0.95) * self.width,
            self.random.uniform(0.06, 0.55) * self.horizon,
        )
        self.canvas.paint(
            even(left), even(top), shape, self.hour.cloud, mix(self.hour.cloud, self.hour.sky[1], 0.55)
        )

    def _draw_mountains(self) -> None:
        count = 2 if self.ground.water else 3
        for n in range(count):
            nearness = n / (count - 1)
            tall = even(self.horizon * self.random.uniform(0.5, 0.62) * (1 - 0.45 * nearness))
            heights = _ridge(
                self.random, tall, (0.62 - 0.12 * nearness) * min(1.0, 0.7 + 0.2 * self.width / self.height)
            )
            if self.ground.water:  # islands, so that some of the horizon is free
                centre, wide = self.random.random(), self.random.uniform(0.18, 0.34)
                last = len(heights) - 1
                heights = [
                    0.7 * h * max(0.0, 1 - (abs(x / last - centre) / wide) ** 2)
                    for x, h in enumerate(heights)
                ]
            colour = mix(self.hour.sky[2], self.hour.mountain, 0.48 + 0.42 * nearness)
            shape = ridge_shape(heights, self.width, tall)
            self.canvas.paint(0, self.horizon - tall, shape, colour, mix(colour, self.mist, 0.9))

    def _draw_hills(self, far: Colour, near: Colour) -> tuple[int, Colour]:
        """Draw hills whose feet are in mist, and return where they end, and the colour there."""
        foot, depth, haze = self.horizon, self.height - self.horizon, self.mist
        for n in range(self.ground.hills):
            foot += even(depth * 0.14)
            tall = even(depth * self.random.uniform(0.3, 0.42))
            shape = ridge_shape(_ridge(self.random, tall, 0.34), self.width, tall)
            colour = mix(far, near, 0.1 + 0.25 * n)
            haze = mix(colour, self.mist, 0.75)
            self.canvas.paint(0, foot - tall, shape, colour, haze)
        return foot, haze

    def _draw_birds(self) -> None:
        if self.hour.dark:
            return
        wide, tall = even(self.unit * 0.045) + 4, even(self.unit * 0.03) + 4
        colour = mix(self.hour.mountain, (20, 24, 40), 0.55)
        start_x, start_y = (
            self.random.uniform(0.15, 0.75) * self.width,
            self.random.uniform(0.2, 0.5) * self.horizon,
        )
        for n in range(3 + int(self.random.random() * 3)):
            left = even(start_x + wide * (n * 1.1 + self.random.random()))
            top = even(start_y + tall * self.random.uniform(-1.6, 1.6))
            if 0 <= left <= self.width - wide and 0 <= top <= self.horizon - tall:
                self._draw_bird((left, top, wide, tall), colour, self.random.uniform(0.55, 1.0))

    def _draw_bird(self, box: tuple[int, int, int, int], colour: Colour, size: float) -> None:
        _, _, wide, tall = box

        def wings(turn: float) -> Polygons:
            lift = math.sin(math.tau * turn)
            x, y, reach, thick = wide / 2, tall * (0.5 + 0.1 * lift), wide * 0.46 * size, tall * 0.07 * size
            drawn = []
            for side in (-1, 1):
                elbow = (x + side * reach * 0.45, y - tall * size * (0.12 + 0.3 * lift))
                tip = (x + side * reach, y - tall * size * 0.34 * lift + tall * 0.06)
                drawn.append(
                    [(x, y - thick), elbow, tip, (elbow[0], elbow[1] + 2 * thick), (x, y + 1.6 * thick)]
                )
            return drawn

        self._animate(box, colour, wings, times=3)

    def _draw_boat(self) -> None:
        wide, tall = even(self.unit * 0.13), even(self.unit * 0.14)
        left = even(self.random.uniform(0.12, 0.8) * (self.width - wide))

        def boat(turn: float) -> Polygons:
            water = tall * (0.985 + 0.02 * math.cos(math.tau * turn))
            lean = 0.03 * math.sin(math.tau * turn)
            hull = [(-0.36, -0.15 + lean / 2), (0.42, -0.16 - lean / 2), (0.28, 0), (-0.26, 0)]
            sail = [(0.02 + lean, -0.92), (0.34, -0.22), (0.02, -0.2)]
            jib = [(lean - 0.03, -0.82), (-0.03, -0.22), (-0.3, -0.22)]
            return [[(wide / 2 + x * wide, water + y * tall) for x, y in part] for part in (hull, sail, jib)]

        colour = mix(self.hour.mountain, (16, 20, 36), 0.6)
        self._animate((left, self.horizon - tall, wide, tall), colour, boat, times=1)

    def _animate(
        self,
        box: tuple[int, int, int, int],
        colour: Colour,
        shape: Callable[[float], Polygons],
        times: int,
    ) -> None:
        """Draw polygons that move ``times`` times in a loop. ``shape`` returns them for a phase from 0 to 1."""
        left, top, wide, tall = box
        poses = LOOP // times

        def draw(drawing: ImageDraw.ImageDraw, scale: int) -> None:
            for pose in range(poses):
                for points in shape(pose / poses):
                    drawing.polygon([((pose * wide + x) * scale, y * scale) for x, y in points], fill=255)

        sheet = self.canvas.crop(*box).repeated(wide * poses)
        sheet.paint(0, 0, smooth_shape(sheet.width, tall, draw), colour)
        start = int(self.random.random() * poses)
        self._add(left, top, sheet, wide, [(start + step) % poses * wide for step in range(LOOP)])

    def _add(self, left: int, top: int, sheet: Canvas, wide: int, corners: list[int]) -> None:
        """Add a window on a strip or a sheet of poses. ``corners`` has the left edge of each step."""
        self.canvas.paste(sheet.crop(corners[0], 0, wide, sheet.height), left, top)
        self.windows.append(Window(left, top, wide, sheet.height, sheet, tuple((x, 0) for x in corners)))

    def _draw_ground(self) -> None:
        ground, hour = self.ground, self.hour
        near, far = _lit(ground.near, hour.light), mix(self.mist, _lit(ground.far, hour.light), 0.6)
        if ground.water:  # it mirrors the sky
            near, far = mix(near, hour.sky[0], 0.35), mix(hour.sky[2], hour.sky[1], 0.45)
        foot, behind = self._draw_hills(far, near)
        if ground.water:
            behind = mix(far, self.mist, 0.3)
        y = float(foot)
        weights = [ground.growth ** (n / (ground.rows - 1)) for n in range(ground.rows)]
        per_weight = (self.height - y) / sum(weights)
        for n, weight in enumerate(weights):
            tall = even(weight * per_weight * ground.share)
            top = min(even(y + weight * per_weight * (1 - ground.share)), self.height - tall)
            colour = mix(far, near, 0.25 + 0.75 * n / (ground.rows - 1))
            below = (
                mix(colour, behind, 0.25)
                if ground.water
                else mix(colour, self.mist, 0.5 - 0.25 * n / ground.rows)
            )
            self._draw_row((even(y), top, tall), (behind, below), colour, n)
            y, behind = float(top + tall), colour
        self.canvas.fill(even(y), self.height, behind, behind)

    def _draw_row(
        self, place: tuple[int, int, int], behind: tuple[Colour, Colour], colour: Colour, n: int
    ) -> None:
        """Draw a row, the space above it included, as a strip that moves by one repetition in a loop."""
        start, top, tall = place
        if tall < 4:
            return
        ground = self.ground
        smooth = 2 * LOOP  # with a multiple of it, each step is equally long
        period = max(1, round(tall * ground.repeat / smooth)) * smooth
        body, accents = ground.draw(self.random, period, tall)
        self.canvas.fill(start, top + tall, *behind)
        if ground.water:
            self._draw_glitter(start, top - start)
        strip = self.canvas.crop(0, top, self.width, tall).repeated(self.width + period)
        strip.paint(0, 0, repeat(smooth_shape(period, tall, body), strip.width), colour)
        if accents is not None:
            tone = _lit(ground.accent, self.hour.light) if not ground.glows else ground.accent
            strip.paint(
                0, 0, repeat(smooth_shape(period, tall, accents), strip.width), mix(colour, tone, 0.75)
            )
        offsets = [even(period * step / LOOP) for step in range(LOOP)]
        if ground.water and n % 2:
            offsets = [period - offset for offset in offsets]
        self._add(0, top, strip, self.width, offsets)

    def _draw_glitter(self, top: int, tall: int) -> None:
        """Draw the reflection of the sun on a piece of calm water. It changes every few frames."""
        wide, poses = even(self.unit * (0.16 + 0.3 * (top - self.horizon) / (self.height - self.horizon))), 4
        left = min(max(0, even(self.sun - wide / 2)), self.width - wide)
        if tall < 4 or wide < 4:
            return

        def draw(drawing: ImageDraw.ImageDraw, scale: int) -> None:
            for streak in range(poses * (5 + tall // 3)):
                half = self.random.uniform(0.03, 0.14)
                x, y = (
                    min(max(half, self.random.gauss(0.5, 0.14)), 1 - half),
                    1 + self.random.random() * (tall - 3),
                )
                start = (streak % poses + x) * wide
                ends = ((start - half * wide) * scale, y * scale, (start + half * wide) * scale, y * scale)
                drawing.line(ends, 170, max(1, tall // 14) * scale)

        sheet = self.canvas.crop(left, top, wide, tall).repeated(wide * poses)
        sheet.paint(0, 0, smooth_shape(sheet.width, tall, draw), self.hour.sun)
        self._add(left, top, sheet, wide, [step * poses // LOOP * wide for step in range(LOOP)])


def _choose(kinds: tuple[Kind, ...], prompt: str, random: Random) -> Kind:
    """Return the first kind that a word of the prompt names, or else a random one. Chinese words need no spaces."""
    words = set(re.findall("[a-z]+", prompt.lower()))
    words |= {word.removesuffix("s") for word in words}
    by_chance = kinds[int(random.random() * len(kinds))]
    return next(
        (kind for kind in kinds if any(word in (words if word.isascii() else prompt) for word in kind.words)),
        by_chance,
    )


def _lit(colour: Colour, light: tuple[float, float, float]) -> Colour:
    red, green, blue = (round(value * share) for value, share in zip(colour, light, strict=True))
    return red, green, blue


def _ridge(random: Random, tall: float, rough: float) -> list[float]:
    """Return the heights of a mountain range, from large steps to small ones."""
    heights = [random.uniform(0.2, 0.95) for _ in range(5)]
    spread = 0.3
    for _ in range(5):
        spread *= rough
        middles = [(a + b) / 2 + random.uniform(-spread, spread) for a, b in pairwise(heights)]
        heights = [h for pair in zip(heights, middles, strict=False) for h in pair] + heights[-1:]
    return [tall * min(0.99, max(0.03, h)) for h in heights]
