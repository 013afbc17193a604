# SPDX-License-Identifier: Apache-2.0
"""Independent readers, ffprobe and ExifTool, find in finished files what the manifests say of them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from airflow_provider_jimeng.finishing import finish
from tests.finishing.clips import LABEL, clip, sha256, text_box, turned, wav

pytestmark = pytest.mark.real

CHINESE = Path("/usr/share/fonts/truetype/wqy/wqy-microhei.ttc")


def ffprobe(path: Path) -> dict[str, Any]:
    told = subprocess.run(
        [
            *("ffprobe", "-v", "error", "-of", "json", "-count_frames"),
            *("-show_format", "-show_streams", str(path)),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    read: dict[str, Any] = json.loads(told)
    return read


def exiftool(path: Path) -> dict[str, Any]:
    told = subprocess.run(
        ["exiftool", "-j", "-a", "-G1", str(path)], capture_output=True, text=True, check=True
    )
    read: list[dict[str, Any]] = json.loads(told.stdout)
    return read[0]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "kite.mp4"
    path.write_bytes(clip(picture="grey", size=(320, 180), frames=24, label=LABEL))
    return path


def test_both_readers_find_the_implicit_label_in_every_video(source: Path, tmp_path: Path) -> None:
    other = tmp_path / "fox.mp4"
    other.write_bytes(source.read_bytes())
    made = finish(source, visible_label="AI生成", renditions=[{"name": "wide"}, {"aspect_ratio": "9:16"}])
    made += finish([source, other], visible_label="AI生成", concat=True)
    assert len(made) == 3
    for manifest in made:
        path = tmp_path / manifest["uri"].rpartition("/")[2]
        assert ffprobe(path)["format"]["tags"]["AIGC"] == LABEL
        found = [value for key, value in exiftool(path).items() if key.rpartition(":")[2].upper() == "AIGC"]
        assert found in ([LABEL], [json.loads(LABEL)])


def test_ffprobe_counts_what_the_manifest_says(source: Path, tmp_path: Path) -> None:
    track = tmp_path / "music.wav"
    track.write_bytes(wav(400, 2))
    (manifest,) = finish(source, audio=str(track), renditions=[{"aspect_ratio": "1:1", "size": 120}])
    path = tmp_path / "kite.1x1-120p.mp4"
    told = ffprobe(path)
    video, sound = told["streams"]
    assert (video["codec_name"], video["pix_fmt"], sound["codec_name"]) == ("h264", "yuv420p", "aac")
    assert (video["width"], video["height"]) == (manifest["width"], manifest["height"]) == (120, 120)
    assert int(video["nb_read_frames"]) == manifest["frames"] == 24
    assert video["avg_frame_rate"] == "8/1"
    assert float(video["duration"]) == pytest.approx(manifest["duration_seconds"], abs=0.001)
    assert int(told["format"]["size"]) == manifest["bytes"]
    assert sha256(path) == manifest["sha256"]


def test_the_default_label_is_drawn_with_the_chinese_font_of_the_machine(
    source: Path, tmp_path: Path
) -> None:
    for font in (None, str(CHINESE)):
        (video, *_) = finish(
            source, visible_label={"font": font}, poster=True, renditions=[{"name": str(bool(font))}]
        )
        assert video["recipe"]["visible_label"]["font"] == sha256(CHINESE)
        with Image.open(tmp_path / "kite.poster.jpg") as poster:
            box = text_box(poster)
        assert box is not None
        assert box[3] - box[1] >= 9
        assert box[2] - box[0] > 2.5 * (box[3] - box[1])  # A, I and two square characters


def test_a_turned_video_is_upright_as_ffmpeg_shows_it(tmp_path: Path) -> None:
    source, shown = tmp_path / "kite.mp4", tmp_path / "shown.png"
    source.write_bytes(turned(clip()))
    finish(source, poster={"at": 0})
    subprocess.run(["ffmpeg", "-v", "error", "-i", str(source), "-frames:v", "1", str(shown)], check=True)
    with Image.open(shown) as expected, Image.open(tmp_path / "kite.poster.jpg") as poster:
        assert poster.size == expected.size == (90, 160)
        for x, y in ((20, 40), (70, 40), (20, 120), (70, 120)):
            ours: Any = poster.getpixel((x, y))
            theirs: Any = expected.convert("RGB").getpixel((x, y))
            assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) < 24
