# SPDX-License-Identifier: Apache-2.0
"""The visible label is measured in the picture, and the implicit label is read back byte for byte."""

from __future__ import annotations

import logging
import statistics
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jimeng.core.errors import LandingError, MissingLabelError, ParameterError
from airflow_provider_jimeng.core.mp4 import read_label
from airflow_provider_jimeng.finishing import finish
from tests.finishing.clips import LABEL, Decoded, clip, contrast, decoded, sha256, text_box

if TYPE_CHECKING:
    from pathlib import Path

    from tests.finishing.conftest import Saved

FAST = {"preset": "ultrafast"}
VISIBLE = {"text": "AI made"}
"""A text that every font has."""


def grey(**changes: Any) -> bytes:
    return clip(picture="grey", size=(320, 180), frames=24, label=LABEL, **changes)


def labelled_seconds(video: Decoded) -> float:
    """Return until when every frame from the first one on has a label; check that no later frame has one."""
    boxes = [text_box(frame) for frame in video.frames]
    count = next((n for n, box in enumerate(boxes) if box is None), len(boxes))
    assert not any(boxes[count:])
    return count / video.fps


def text_height(video: Decoded) -> int:
    box = text_box(video.frames[0])
    assert box is not None
    return box[3] - box[1]


def label_of(path: Path) -> bytes | None:
    with path.open("rb") as file:
        return read_label(file)


def test_a_label_is_high_enough_and_long_enough_in_every_rendition_and_absent_in_the_original(
    saved: Saved,
    tmp_path: Path,
) -> None:
    source = saved(grey())
    shapes: list[dict[str, Any]] = [
        {"name": "same"},
        {"aspect_ratio": "9:16"},
        {"aspect_ratio": "1:1", "fit": "blur"},
        {"size": 240},
    ]
    made = finish(source, visible_label=VISIBLE, renditions=[FAST | shape for shape in shapes])
    assert len(made) == len(shapes)
    for manifest in made:
        video = decoded(tmp_path / manifest["uri"].rpartition("/")[2])
        assert text_height(video) >= 0.05 * min(manifest["width"], manifest["height"])
        assert 2 <= labelled_seconds(video) < 2.5
    assert text_box(decoded(source).frames[0]) is None


def test_a_label_can_be_read_on_the_brightest_and_the_darkest_picture(
    subtests: pytest.Subtests, saved: Saved, tmp_path: Path
) -> None:
    place = None
    for picture in ("grey", "white", "black", "stripes"):
        with subtests.test(picture=repr(picture)):
            source = saved(clip(picture=picture, size=(320, 180), frames=4), f"{picture}.mp4")
            finish(source, visible_label=VISIBLE, renditions=[FAST])
            frame = decoded(tmp_path / f"{picture}.finished.mp4").frames[0].convert("L")
            place = place or text_box(frame)
            assert place is not None
            shades = list(frame.crop(place).tobytes())
            text = [shade for shade in shades if shade > 200]
            box = [shade for shade in shades if shade < 120]
            assert len(text) > 20
            assert contrast(statistics.median(text), statistics.median(box)) >= 4.5


def test_a_concatenation_shows_the_label_at_its_opening(saved: Saved, tmp_path: Path) -> None:
    sources = [saved(clip(picture="grey", size=(320, 180), frames=12), f"{name}.mp4") for name in "ab"]
    finish(sources, visible_label=VISIBLE, concat=True, renditions=[{"name": "spot", **FAST}])
    video = decoded(tmp_path / "concat.spot.mp4")
    assert len(video.frames) == 24
    assert 2 <= labelled_seconds(video) < 2.5
    assert text_height(video) >= 9


def test_a_label_is_shown_as_long_and_as_large_and_where_it_is_wanted(
    subtests: pytest.Subtests, saved: Saved, tmp_path: Path
) -> None:
    source = saved(grey())
    corners = {"top-left": (0, 0), "bottom-right": (1, 1), "top": (0.5, 0), "center": (0.5, 0.5)}
    for position, (x, y) in corners.items():
        with subtests.test(position=repr(position)):
            label = {**VISIBLE, "position": position, "show": "throughout", "size": 0.1}
            finish(source, visible_label=label, renditions=[{"name": position, **FAST}])
            video = decoded(tmp_path / f"kite.{position}.mp4")
            assert labelled_seconds(video) == 3
            assert 18 <= text_height(video) <= 24
            box = text_box(video.frames[0])
            assert box is not None
            middle = ((box[0] + box[2]) / 2 / 320, (box[1] + box[3]) / 2 / 180)
            assert abs(middle[0] - x) < 0.3
            assert abs(middle[1] - y) < 0.2
    finish(source, visible_label={**VISIBLE, "seconds": 2.5}, renditions=[{"name": "long", **FAST}])
    assert 2.5 <= labelled_seconds(decoded(tmp_path / "kite.long.mp4")) < 3


def test_a_video_shorter_than_the_opening_shows_the_label_throughout(saved: Saved, tmp_path: Path) -> None:
    source = saved(clip(picture="grey", size=(320, 180), frames=8))
    finish(source, visible_label=VISIBLE)
    assert labelled_seconds(decoded(tmp_path / "kite.labelled.mp4")) == 1


def test_a_poster_has_the_visible_label_too(saved: Saved, tmp_path: Path) -> None:
    from PIL import Image

    source = saved(grey())
    finish(source, visible_label=VISIBLE, poster=True, renditions=[FAST])
    with Image.open(tmp_path / "kite.poster.jpg") as poster:
        assert text_box(poster) is not None


def test_a_text_wider_than_the_picture_is_refused_before_anything_is_made(
    saved: Saved, tmp_path: Path
) -> None:
    source = saved(grey())
    with pytest.raises(
        ParameterError, match=r"visible_label\.text: .* pixels wide, and the picture 320.*Shorten"
    ):
        finish(source, visible_label="AI made " * 20, poster=True, renditions=[FAST])
    assert list(tmp_path.iterdir()) == [source]


def test_a_text_that_no_font_has_is_refused_with_the_remedy(saved: Saved, tmp_path: Path) -> None:
    from PIL import ImageFont

    source = saved(grey())
    with pytest.raises(ParameterError, match=r"visible_label\.font: no font on this machine .* Install one"):
        finish(source, visible_label="\U0010fff0")
    latin = tmp_path / "latin.ttf"
    own: Any = ImageFont.load_default(12)
    latin.write_bytes(own.path.getvalue() if hasattr(own.path, "getvalue") else own.font_bytes)
    with pytest.raises(ParameterError, match=r"visible_label\.font: .*latin\.ttf' has no '生成'"):
        finish(source, visible_label={"text": "AI生成", "font": str(latin)})
    with pytest.raises(ParameterError, match=r"visible_label\.font: .* cannot be read as a font"):
        finish(source, visible_label={"font": str(source)})
    finish(source, visible_label={**VISIBLE, "font": str(latin)}, poster=True, renditions=[FAST])


# ------------------------------------------------------------------------------------------------ the implicit label
def test_the_implicit_label_is_copied_byte_for_byte_into_whatever_is_encoded(
    saved: Saved, tmp_path: Path
) -> None:
    source = saved(grey())
    made = finish(source, visible_label=VISIBLE, renditions=[FAST, {"size": 90, "faststart": False, **FAST}])
    assert label_of(source) == LABEL.encode()
    for manifest in made:
        assert label_of(tmp_path / manifest["uri"].rpartition("/")[2]) == LABEL.encode()
        assert manifest["aigc_label"] == {"Label": "1", "ContentProducer": "即梦 A", "ProduceID": "a b"}


def test_a_label_is_never_invented_and_its_absence_is_a_warning(
    saved: Saved, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = saved(clip())
    with caplog.at_level(logging.WARNING):
        (manifest,) = finish(source, renditions=[FAST])
    assert manifest["aigc_label"] is None
    assert label_of(tmp_path / "kite.finished.mp4") is None
    assert "kite.mp4 has no implicit label (AIGC)" in caplog.text


def test_a_required_implicit_label_that_is_missing_is_refused(saved: Saved, tmp_path: Path) -> None:
    source = saved(clip())
    with pytest.raises(
        MissingLabelError, match=r"kite\.mp4 has no implicit label .* Render it with aigc_meta"
    ):
        finish(source, renditions=[FAST], require_implicit=True)
    assert list(tmp_path.iterdir()) == [source]
    finish(source, poster=True)
    with pytest.raises(MissingLabelError):  # also where everything is made already
        finish(source, poster=True, require_implicit=True)
    labelled = saved(grey(), "labelled.mp4")
    assert finish(labelled, poster=True, require_implicit="true")


def test_a_label_that_cannot_be_copied_as_it_is_is_refused(
    subtests: pytest.Subtests, saved: Saved, tmp_path: Path
) -> None:
    whole = grey()
    assert whole.count(LABEL.encode()) == 1
    for name, byte in {"zero": b"\0", "no text": b"\xff"}.items():
        with subtests.test(name=repr(name)):
            content = whole.replace(LABEL.encode(), byte + LABEL.encode()[1:])
            source = saved(content)
            with pytest.raises(LandingError, match="is not text, so it cannot be copied"):
                finish(source, renditions=[FAST])
            assert list(tmp_path.iterdir()) == [source]


def test_a_concatenation_keeps_equal_labels_and_refuses_different_ones(saved: Saved, tmp_path: Path) -> None:
    first, second = (saved(clip(label=LABEL), name) for name in ("a.mp4", "b.mp4"))
    plain = saved(clip(), "plain.mp4")
    other = saved(clip(label='{"Label":"2"}'), "other.mp4")
    finish([first, second, plain], concat={"name": "same"}, renditions=[FAST])
    assert label_of(tmp_path / "same.finished.mp4") == LABEL.encode()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(
        ParameterError, match=r"concat: the videos have 2 different implicit labels.*same aigc_meta"
    ):
        finish([first, other], concat=True, renditions=[FAST])
    assert sorted(tmp_path.iterdir()) == before


def test_no_label_changes_the_original(saved: Saved, tmp_path: Path) -> None:
    source = saved(grey())
    before = sha256(source), source.stat().st_mtime_ns
    finish(source, visible_label=VISIBLE, poster=True, preview=True, renditions=[FAST])
    assert (sha256(source), source.stat().st_mtime_ns) == before
