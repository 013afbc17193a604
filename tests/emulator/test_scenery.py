# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from itertools import pairwise

import av
import pytest
from PIL import Image, ImageChops, ImageStat

from airflow_provider_jimeng.emulator.scene_kinds import GROUNDS, HOURS
from airflow_provider_jimeng.emulator.scenery import LOOP, Scene


def steps(prompt: str, width: int = 640, height: int = 320) -> list[Image.Image]:
    """Return all steps of a landscape's loop."""
    picture = Scene(width, height, prompt, 1).draw()
    frame = av.VideoFrame(width, height, "yuv420p")
    picture.write_still(frame)
    pictures = []
    for step in range(LOOP):
        picture.write_step(frame, step)
        pictures.append(frame.to_image())  # type: ignore[no-untyped-call]
    return pictures


def difference(one: Image.Image, other: Image.Image) -> float:
    """Return the mean difference of two pictures, 0 to 255."""
    means = ImageStat.Stat(ImageChops.difference(one, other)).mean
    return sum(means) / len(means)


def test_successive_steps_differ_and_the_last_leads_to_the_first(subtests: pytest.Subtests) -> None:
    for ground in GROUNDS:
        with subtests.test(ground=ground.words[0]):
            shown = steps(f"{ground.words[0]} at noon")
            moved = [difference(one, other) for one, other in pairwise(shown)]
            assert min(moved) > 0
            assert difference(shown[-1], shown[0]) < 1.2 * max(moved)
            assert difference(shown[LOOP // 2], shown[0]) > 1.2 * min(moved)


def test_the_first_step_is_the_still_picture() -> None:
    scene = Scene(320, 320, "a boat on the sea at noon", 1)
    picture = scene.draw()
    still, first = (av.VideoFrame(320, 320, "yuv420p") for _ in range(2))
    picture.write_still(still)
    picture.write_still(first)
    picture.write_step(first, 0)
    assert [bytes(plane) for plane in first.planes] == [bytes(plane) for plane in still.planes]


@pytest.mark.parametrize(
    ("prompt", "hour", "ground"),
    [
        ("Waves at sunset", "sunset", "sea"),
        ("夜晚的城市", "night", "city"),
        ("trees in the fog", "mist", "forest"),
        ("清晨的草地", "dawn", "meadow"),
    ],
    ids=["sea", "city-zh", "forest", "meadow-zh"],
)
def test_a_word_of_the_prompt_chooses_the_scene(prompt: str, hour: str, ground: str) -> None:
    scene = Scene(64, 64, prompt, 1)
    assert (scene.hour.words[0], scene.ground.words[0]) == (hour, ground)


def test_other_prompts_give_all_kinds_of_scenes() -> None:
    scenes = [Scene(64, 64, f"careful seasoning {n}", 1) for n in range(200)]
    assert {scene.hour.words for scene in scenes} == {hour.words for hour in HOURS}
    assert {scene.ground.words for scene in scenes} == {ground.words for ground in GROUNDS}


def test_the_seed_changes_only_the_details() -> None:
    one, other = (Scene(320, 160, "a dog runs", seed) for seed in (1, 2))
    assert (one.hour, one.ground) == (other.hour, other.ground)
    pictures = [bytes(scene.draw().still.planes[0].tobytes()) for scene in (one, other)]
    assert pictures[0] != pictures[1]
