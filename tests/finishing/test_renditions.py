# SPDX-License-Identifier: Apache-2.0
"""Sizes, ratios, bit rates and the order of the boxes of a rendition; how a concatenation joins its videos."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import av
import pytest

from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.finishing import finish
from airflow_provider_jimeng.finishing.request import Rendition
from tests.finishing.clips import CORNERS, clip, colour_at, corners_of, decoded

if TYPE_CHECKING:
    from pathlib import Path

    from tests.finishing.conftest import Saved

FAST = {"preset": "ultrafast"}


def test_a_rendition_has_even_sides_of_the_wanted_ratio_and_size() -> None:
    sizes: dict[tuple[int, int], list[tuple[dict[str, Any], tuple[int, int]]]] = {
        (1920, 1080): [
            ({}, (1920, 1080)),
            ({"aspect_ratio": "9:16"}, (608, 1080)),
            ({"aspect_ratio": "1:1"}, (1080, 1080)),
            ({"aspect_ratio": "9:16", "size": 720}, (720, 1280)),
            ({"aspect_ratio": "9:16", "fit": "blur"}, (1080, 1920)),
            ({"size": 720}, (1280, 720)),
            ({"aspect_ratio": "21:9"}, (1920, 822)),
        ],
        (161, 91): [({}, (160, 90)), ({"aspect_ratio": "1:1"}, (90, 90))],
    }
    for source, cases in sizes.items():
        for fields, size in cases:
            assert Rendition(**fields).picture_size(*source) == size, (source, fields)


def test_a_crop_keeps_the_focus_in_sight(saved: Saved, tmp_path: Path) -> None:
    source = saved(clip(size=(320, 180)))
    for name, focus in {"left": [0, 0.5], "right": [1, 0.5], "middle": [0.5, 0.5]}.items():
        finish(source, renditions=[{"name": name, "aspect_ratio": "9:16", "focus": focus, **FAST}])
    assert corners_of(decoded(tmp_path / "kite.left.mp4").frames[0]) == ("red", "red", "blue", "blue")
    assert corners_of(decoded(tmp_path / "kite.right.mp4").frames[0]) == (
        "green",
        "green",
        "yellow",
        "yellow",
    )
    assert corners_of(decoded(tmp_path / "kite.middle.mp4").frames[0]) == CORNERS


def test_blurred_padding_shows_the_whole_picture(saved: Saved, tmp_path: Path) -> None:
    source = saved(clip(size=(320, 180)))
    finish(source, renditions=[{"aspect_ratio": "9:16", "size": 180, "fit": "blur", **FAST}])
    frame = decoded(tmp_path / "kite.9x16-180p-blur.mp4").frames[0]
    assert frame.size == (180, 320)
    middle = frame.crop((0, 110, 180, 210))
    assert corners_of(middle) == CORNERS
    assert colour_at(frame, 0.05, 0.05) == "red"
    assert colour_at(frame, 0.95, 0.95) == "yellow"
    edge: list[Any] = [frame.getpixel((x, 40)) for x in (80, 100)]  # in the original it is one pixel wide
    assert 20 < edge[0][0] < 210
    assert 20 < edge[1][0] < 210


def test_a_bit_rate_is_capped(saved: Saved, tmp_path: Path) -> None:
    source = saved(clip(picture="noise", frames=24))
    free, capped = finish(
        source,
        renditions=[
            {"name": "free", "crf": 1, **FAST},
            {"name": "capped", "crf": 1, "max_bitrate_kbps": 100, **FAST},
        ],
    )
    assert capped["bytes"] < free["bytes"] / 2
    assert capped["bytes"] * 8 / 3 < 2.5 * 100_000  # the buffer of two seconds is on top


def test_the_index_lies_before_the_pictures_unless_it_is_not_wanted(saved: Saved, tmp_path: Path) -> None:
    source = saved(clip())
    finish(source, renditions=[{"name": "fast", **FAST}, {"name": "slow", "faststart": "false", **FAST}])
    places = {}
    for name in ("fast", "slow"):
        content = (tmp_path / f"kite.{name}.mp4").read_bytes()
        places[name] = content.index(b"moov") < content.index(b"mdat")
    assert places == {"fast": True, "slow": False}


def test_a_cut_shows_each_video_to_its_end_and_a_fade_mixes_two(saved: Saved, tmp_path: Path) -> None:
    black = saved(clip(picture="black", frames=16), "a.mp4")
    white = saved(clip(picture="white", frames=16), "b.mp4")
    finish([black, white, black], concat={"name": "cut"}, renditions=[FAST])
    finish([black, white, black], concat={"name": "fade", "cross_fade": 1}, renditions=[FAST])

    def shades(name: str) -> list[int]:
        frames = decoded(tmp_path / f"{name}.finished.mp4").frames
        return [round(sum(frame.convert("L").resize((1, 1)).tobytes())) for frame in frames]

    cut = shades("cut")
    assert [shade > 128 for shade in cut] == [False] * 16 + [True] * 16 + [False] * 16
    fade = shades("fade")
    assert len(fade) == 32
    assert fade[4] < 10
    assert fade[16] > 245
    assert fade[28] < 10
    assert fade[8:16] == sorted(fade[8:16])
    assert any(100 < shade < 156 for shade in fade[8:16])


def test_a_fade_longer_than_a_video_is_refused(saved: Saved, tmp_path: Path) -> None:
    sources = [saved(clip(), "a.mp4"), saved(clip(frames=16), "b.mp4")]
    with pytest.raises(
        ParameterError,
        match=r"concat\.cross_fade: is 1 s, and the shortest video has 1 s\. Give a smaller number",
    ):
        finish(sources, concat={"cross_fade": 1}, poster=True)
    assert sorted(tmp_path.iterdir()) == sources


def test_videos_of_other_frame_rates_keep_their_speed_in_a_concatenation(
    saved: Saved, tmp_path: Path
) -> None:
    sources = [saved(clip(fps=8), "a.mp4"), saved(clip(fps=16, frames=16), "b.mp4")]
    (manifest,) = finish(sources, concat=True, renditions=[FAST])
    assert (manifest["fps"], manifest["frames"], manifest["duration_seconds"]) == (16, 32, 2)


def test_players_are_told_the_same_colours_as_of_the_source(saved: Saved, tmp_path: Path) -> None:
    colours = {"color_range": 1, "colorspace": 1, "color_primaries": 1, "color_trc": 1}  # BT.709
    source = saved(clip(properties=tuple(colours.items())))
    finish(source, visible_label="AI", renditions=[{"name": "one", "size": 64, **FAST}])
    for path in (source, tmp_path / "kite.one.mp4"):
        with av.open(str(path)) as container:
            context = container.streams.video[0].codec_context
            assert {name: int(getattr(context, name)) for name in colours} == colours


def test_no_brightness_changes_whatever_range_the_source_has(
    subtests: pytest.Subtests, saved: Saved, tmp_path: Path
) -> None:
    for pix_fmt in ("yuv420p", "yuvj420p", "yuv444p"):
        for shade in ("black", "grey", "white"):
            with subtests.test(pix_fmt=repr(pix_fmt), shade=repr(shade)):
                source = saved(clip(picture=shade, pix_fmt=pix_fmt, frames=2))
                name = f"{pix_fmt}-{shade}"
                finish(source, renditions=[{"name": name, "size": 64, **FAST}])
                pictures = [decoded(path).frames[0] for path in (source, tmp_path / f"kite.{name}.mp4")]
                before, after = (picture.convert("L").resize((1, 1)).tobytes()[0] for picture in pictures)
                assert abs(before - after) <= 3
