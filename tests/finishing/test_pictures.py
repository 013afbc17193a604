# SPDX-License-Identifier: Apache-2.0
"""Posters, and the sheets of small frames that players show while somebody scrubs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.finishing import finish
from tests.finishing.clips import clip

if TYPE_CHECKING:
    from pathlib import Path

    from tests.finishing.conftest import Saved

CLOCK = {"picture": "clock", "frames": 24, "fps": 8}
"""Frame n has the grey 10 * n."""


def grey(image: Image.Image) -> int:
    return round(image.convert("L").resize((1, 1)).tobytes()[0] / 10)


def test_a_poster_is_the_frame_on_the_screen_at_its_time(saved: Saved, tmp_path: Path) -> None:
    source = saved(clip(**CLOCK))
    for at, number in {0: 0, 1: 8, 1.1: 8, 2.99: 23}.items():
        (manifest,) = finish(source, poster={"at": at})
        with Image.open(tmp_path / "kite.poster.jpg") as poster:
            assert grey(poster) == number
        assert (manifest["kind"], manifest["content_type"]) == ("poster", "image/jpeg")


def test_a_poster_without_a_time_is_the_sharpest_frame_of_the_first_second(
    saved: Saved, tmp_path: Path
) -> None:
    source = saved(clip(picture="sharp-third", frames=16))
    finish(source, poster={"format": "webp"})
    with Image.open(tmp_path / "kite.poster.webp") as poster:
        assert poster.format == "WEBP"
        extrema: Any = poster.convert("L").getextrema()
    assert extrema[1] > 230


def test_a_time_after_the_end_is_refused_before_anything_is_made(saved: Saved, tmp_path: Path) -> None:
    source = saved(clip())
    with pytest.raises(
        ParameterError, match=r"poster\.at: is 1 s, and the video ends at 1 s\. Give a smaller number"
    ):
        finish(source, poster={"at": 1}, preview=True, renditions=[{}])
    assert list(tmp_path.iterdir()) == [source]


def test_a_preview_names_for_each_time_the_frame_on_the_screen(saved: Saved, tmp_path: Path) -> None:
    source = saved(clip(**CLOCK))
    (manifest,) = finish(source, preview={"seconds": 0.25, "width": 32})
    track = (tmp_path / "kite.preview.vtt").read_text()
    assert manifest["track_uri"] == (tmp_path / "kite.preview.vtt").as_uri()
    assert track.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:00.250\nkite.preview.jpg#xywh=0,0,32,18\n\n")
    cues = re.findall(r"(\S+) --> (\S+)\nkite\.preview\.jpg#xywh=(\d+),(\d+),(\d+),(\d+)\n", track)
    assert len(cues) == 12
    assert [cue[1] for cue in cues[:-1]] == [cue[0] for cue in cues[1:]]
    assert cues[-1][1] == "00:00:03.000"
    with Image.open(tmp_path / "kite.preview.jpg") as sheet:
        assert sheet.size == (320, 36)
        numbers = []
        for _, _, *box in cues:
            x, y, width, height = map(int, box)
            numbers.append(grey(sheet.crop((x, y, x + width, y + height))))
    assert numbers == list(range(0, 24, 2))


def test_a_long_video_has_one_hundred_small_frames_at_most(saved: Saved, tmp_path: Path) -> None:
    source = saved(clip(picture="clock", frames=120, fps=2, size=(64, 36)))
    finish(source, preview={"seconds": 0.1, "width": 16})
    assert (tmp_path / "kite.preview.vtt").read_text().count("-->") == 100
    with Image.open(tmp_path / "kite.preview.jpg") as sheet:
        assert sheet.size == (160, 90)
