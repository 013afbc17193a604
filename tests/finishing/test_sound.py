# SPDX-License-Identifier: Apache-2.0
"""Sound is measured in the decoded samples of the finished video."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.finishing import finish
from tests.finishing.clips import clip, decoded, wav

if TYPE_CHECKING:
    from pathlib import Path

    from tests.finishing.conftest import Saved

FAST = {"preset": "ultrafast"}
RATE = 48_000


def loudness(samples: list[float], start: float, end: float) -> float:
    """Return the mean absolute value of the samples between two times."""
    part = samples[round(start * RATE) : round(end * RATE)]
    return sum(map(abs, part)) / max(1, len(part))


def finished(source: Path, audio: Any) -> list[float]:
    finish(source, audio=audio, renditions=[FAST])
    return decoded(source.with_name("kite.finished.mp4")).samples


def test_a_track_is_cut_at_the_end_of_the_video(saved: Saved) -> None:
    source, track = saved(clip(frames=16)), saved(wav(400, 5), "music.wav")
    samples = finished(source, str(track))
    assert len(samples) / RATE == pytest.approx(2, abs=0.05)
    assert loudness(samples, 0.1, 1.9) == pytest.approx(0.5, abs=0.05)


def test_after_a_shorter_track_there_is_silence(saved: Saved) -> None:
    source, track = saved(clip(frames=16)), saved(wav(400, 1), "music.wav")
    samples = finished(source, str(track))
    assert loudness(samples, 0.1, 0.9) == pytest.approx(0.5, abs=0.05)
    assert loudness(samples, 1.1, 2) < 0.01
    assert len(decoded(source.with_name("kite.finished.mp4")).frames) == 16


def test_the_beginning_of_a_track_is_left_out(saved: Saved) -> None:
    source = saved(clip(frames=16))
    track = saved(wav(400, 3), "music.wav")
    samples = finished(source, {"uri": str(track), "start": 2})
    assert loudness(samples, 0.1, 0.9) == pytest.approx(0.5, abs=0.05)
    assert loudness(samples, 1.1, 2) < 0.01


def test_a_track_fades_in_and_out_and_gets_quieter(saved: Saved) -> None:
    source, track = saved(clip(frames=16)), saved(wav(400, 5), "music.wav")
    samples = finished(source, {"uri": str(track), "fade_in": 1, "fade_out": "0.5", "volume": 0.5})
    assert loudness(samples, 0, 0.1) < 0.05
    assert loudness(samples, 0.45, 0.55) == pytest.approx(0.125, abs=0.03)
    assert loudness(samples, 1.1, 1.4) == pytest.approx(0.25, abs=0.03)
    assert loudness(samples, 1.7, 1.8) == pytest.approx(0.125, abs=0.03)
    assert loudness(samples, 1.95, 2) < 0.05


def test_the_sound_of_the_only_source_is_kept_and_stays_with_the_picture(
    subtests: pytest.Subtests, saved: Saved
) -> None:
    for movflags in ("", "frag_keyframe+empty_moov"):
        with subtests.test(movflags=repr(movflags)):
            source = saved(clip(frames=16, tone=400, movflags=movflags), f"kite{len(movflags)}.mp4")
            finish(source, renditions=[FAST])
            samples = decoded(source.with_name(f"{source.stem}.finished.mp4")).samples
            assert len(samples) / RATE == pytest.approx(2, abs=0.3)
            assert loudness(samples, 0.1, 1.7) == pytest.approx(0.5, abs=0.05)


def test_a_concatenation_leaves_the_sound_of_its_videos_out_and_says_so(
    saved: Saved, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sources = [saved(clip(tone=400), f"{name}.mp4") for name in "ab"]
    with caplog.at_level(logging.WARNING):
        finish(sources, concat=True, renditions=[FAST])
    assert decoded(tmp_path / "concat.finished.mp4").samples == []
    assert "The sound of the videos is left out" in caplog.text
    track = saved(wav(400, 5), "music.wav")
    finish(sources, concat={"name": "spot"}, audio=str(track), renditions=[FAST])
    assert loudness(decoded(tmp_path / "spot.finished.mp4").samples, 0.1, 1.9) == pytest.approx(0.5, abs=0.05)


def test_a_track_that_cannot_be_used_is_refused_before_anything_is_made(
    subtests: pytest.Subtests, saved: Saved, tmp_path: Path
) -> None:
    source, silent, text = saved(clip()), saved(clip(), "silent.mp4"), saved(b"no sound" * 99, "text.mp3")
    track = saved(wav(400, 2), "music.wav")
    playlist = saved(
        b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nmusic.wav\n#EXT-X-ENDLIST\n", "list.m3u8"
    )
    before = sorted(tmp_path.iterdir())
    cases: list[tuple[Any, str]] = [
        (str(silent), r"audio\.uri: is a file without sound"),
        (str(playlist), r"audio\.uri: cannot be decoded"),
        (str(text), r"audio\.uri: cannot be decoded"),
        (
            {"uri": str(track), "start": 2},
            r"audio\.start: is 2 s, and the track ends at 2 s\. Give a smaller number",
        ),
    ]
    for audio, message in cases:
        with subtests.test(audio=repr(audio)):
            with pytest.raises(ParameterError, match=message):
                finish(source, audio=audio, poster=True)
            assert sorted(tmp_path.iterdir()) == before


def test_sound_of_an_unknown_format_is_refused(saved: Saved, tmp_path: Path) -> None:
    source = saved(clip(tone=400).replace(b"mp4a", b"zzza").replace(b"esds", b"free"))
    with pytest.raises(
        ParameterError, match=r"video: has a format that FFmpeg cannot decode.*with AAC sound"
    ):
        finish(source, renditions=[FAST])
    assert list(tmp_path.iterdir()) == [source]
