# SPDX-License-Identifier: Apache-2.0
"""MP4 files of every kind pass through every part: the right output, or a clear refusal before anything is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from airflow_provider_jimeng.core.errors import DamagedMediaError, JimengError, ParameterError
from airflow_provider_jimeng.finishing import finish
from tests.finishing.clips import CORNERS, clip, corners_of, decoded, sha256, turned

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FAST = {"preset": "ultrafast"}
TEN_BITS = {"codec": "libx265", "pix_fmt": "yuv420p10le"}
KINDS: dict[str, Callable[[], bytes]] = {
    "H.264": clip,
    "HEVC": lambda: clip(codec="libx265"),
    "AV1": lambda: clip(codec="libsvtav1", options=(("preset", "12"),)),
    "ten bits": lambda: clip(**TEN_BITS),
    "full range": lambda: clip(pix_fmt="yuvj420p"),
    "faststart": lambda: clip(movflags="faststart"),
    "fragmented": lambda: clip(movflags="frag_keyframe+empty_moov", options=(("g", "4"),)),
    "with sound": lambda: clip(tone=440),
    "odd size": lambda: clip(size=(161, 91), pix_fmt="yuv444p"),
    "turned": lambda: turned(clip()),
    "one frame": lambda: clip(frames=1),
    "wide pixels": lambda: clip(size=(120, 90), options=(("aspect", "4:3"),)),
    "29.97 a second": lambda: clip(fps=30, options=(("r", "30000/1001"),)),
}
TURNED = ("blue", "red", "yellow", "green")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_passes_through_every_part(kind: str, tmp_path: Path) -> None:
    source = tmp_path / "kite.mp4"
    source.write_bytes(KINDS[kind]())
    before, original = sha256(source), decoded(source)
    expected = TURNED if kind == "turned" else CORNERS

    made = finish(
        source,
        visible_label={"text": "AI", "show": "throughout", "position": "center"},
        poster=True,
        preview={"seconds": 0.25, "width": 64},
        renditions=[
            {"name": "same", **FAST},
            {"name": "crop", "aspect_ratio": "9:16", "size": 120, **FAST},
            {"name": "blur", "aspect_ratio": "1:1", "size": 120, "fit": "blur", **FAST},
        ],
    )

    assert sha256(source) == before
    assert [manifest["source"] for manifest in made] == [[{"uri": source.as_uri(), "sha256": before}]] * 5
    same, crop, blur, poster, preview = made
    assert (crop["width"], crop["height"]) == (120, 214)
    assert (blur["width"], blur["height"]) == (120, 120)
    for manifest in (same, crop, blur):
        video = decoded(tmp_path / manifest["uri"].rpartition("/")[2])
        assert len(video.frames) == manifest["frames"] == len(original.frames)
        assert video.frames[0].size == (manifest["width"], manifest["height"])
        times = [seconds - original.seconds[0] for seconds in original.seconds]
        assert video.seconds == pytest.approx(times, abs=0.002)
        assert bool(video.samples) == (kind == "with sound")
    video = decoded(tmp_path / "kite.same.mp4")
    assert corners_of(video.frames[-1]) == expected
    assert video.frames[0].width > video.frames[0].height or kind == "turned"
    with Image.open(tmp_path / "kite.poster.jpg") as picture:
        assert corners_of(picture) == expected
        assert sha256(tmp_path / "kite.poster.jpg") == poster["sha256"]
    assert sha256(tmp_path / "kite.preview.jpg") == preview["sha256"]


@pytest.mark.parametrize("cross_fade", [0, 0.25])
def test_files_of_different_kinds_become_one(cross_fade: float, tmp_path: Path) -> None:
    kinds = ("H.264", "HEVC", "odd size", "turned", "wide pixels")
    sources = [tmp_path / f"{number}.mp4" for number in range(len(kinds))]
    for kind, source in zip(kinds, sources, strict=True):
        source.write_bytes(KINDS[kind]())
    before = [sha256(source) for source in sources]
    (manifest,) = finish(
        sources, concat={"cross_fade": cross_fade}, renditions=[{"name": "spot", "fit": "blur", **FAST}]
    )
    assert [sha256(source) for source in sources] == before
    assert [each["sha256"] for each in manifest["source"]] == before
    video = decoded(tmp_path / "concat.spot.mp4")
    assert (manifest["width"], manifest["height"]) == (160, 90)
    assert len(video.frames) == round(8 * (5 - 4 * cross_fade))
    assert corners_of(video.frames[0]) == CORNERS
    assert corners_of(video.frames[-1]) == CORNERS


def refused() -> dict[str, tuple[bytes, type[JimengError], str]]:
    whole = clip(movflags="faststart", frames=16)
    curve = (("color_trc", 16), ("color_primaries", 9), ("colorspace", 9))
    hdr = clip(**TEN_BITS, options=(("x265-params", "transfer=smpte2084:log-level=none"),), properties=curve)
    return {
        "cut": (whole[:-100], DamagedMediaError, r"cut|damaged"),
        "cut before the index": (clip()[:-100], DamagedMediaError, r"cut|damaged"),
        "empty": (b"", DamagedMediaError, r"The file is empty"),
        "a web page": (b"<html>expired</html>", DamagedMediaError, r"not an MP4 file but a web page"),
        "unknown codec": (
            clip().replace(b"avc1", b"zzz1"),
            ParameterError,
            r"video: .* FFmpeg cannot decode",
        ),
        "HDR": (hdr, ParameterError, r"video: is HDR \(PQ .*Convert it to SDR"),
        "frames of noise": (noise_for_frames(clip()), DamagedMediaError, r"cannot be decoded|no frame of it"),
    }


def noise_for_frames(content: bytes) -> bytes:
    at = content.index(b"mdat") + 4
    size = int.from_bytes(content[at - 8 : at - 4], "big") - 8
    return content[:at] + b"\xff" * size + content[at + size :]


def test_what_cannot_be_finished_is_refused_before_anything_is_made(
    subtests: pytest.Subtests, tmp_path: Path
) -> None:
    whole = tmp_path / "whole.mp4"
    whole.write_bytes(clip())
    for kind, (content, error, message) in refused().items():
        source = tmp_path / "kite.mp4"
        source.write_bytes(content)
        calls: list[tuple[Any, dict[str, Any]]] = [
            (source, {"renditions": [FAST]}),
            (source, {"poster": True}),
            (source, {"preview": True}),
            ([whole, source], {"concat": True, "poster": True}),
            ([whole, source], {"renditions": [FAST]}),
        ]
        for video, options in calls:
            with subtests.test(kind=repr(kind), options=repr(options)):
                with pytest.raises(error, match=message):
                    finish(video, **options)
                assert source.read_bytes() == content
                assert sorted(path.name for path in tmp_path.iterdir()) == ["kite.mp4", "whole.mp4"]
