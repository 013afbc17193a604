# SPDX-License-Identifier: Apache-2.0
"""Wrong arguments are refused with their name, the limit and the remedy; templates can turn numbers into text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.finishing import (
    Audio,
    Concat,
    FinishRequest,
    Poster,
    Preview,
    Rendition,
    VisibleLabel,
    finish,
)
from tests.finishing.clips import clip

if TYPE_CHECKING:
    from pathlib import Path

    from tests.finishing.conftest import Saved

WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, r"visible_label: nothing is requested\. Give visible_label, poster"),
    ({"visible_label": False, "poster": "false"}, r"nothing is requested"),
    (
        {"visible_label": {"seconds": 1.9}},
        r"visible_label\.seconds: .* from 2 to 3600 \(GB 45438-2025.*got 1\.9",
    ),
    (
        {"visible_label": {"size": 0.049}},
        r"visible_label\.size: .* from 0\.05 to 0\.3 \(GB 45438-2025.*got 0\.049",
    ),
    ({"visible_label": {"text": " "}}, r"visible_label\.text: expected one line of text"),
    ({"visible_label": "two\nlines"}, r"visible_label\.text: expected one line of text"),
    (
        {"visible_label": {"position": "left"}},
        r"visible_label\.position: expected one of top-left, .*got 'left'",
    ),
    ({"visible_label": {"show": "never"}}, r"visible_label\.show: expected one of opening, throughout"),
    ({"visible_label": {"font": 7}}, r"visible_label\.font: expected the path of a font file, got 7"),
    (
        {"visible_label": {"colour": "red"}},
        r"visible_label\.colour: is not known\. Known fields: text, position",
    ),
    ({"visible_label": "{'text': "}, r"visible_label: .* is not a dict"),
    ({"poster": "perhaps"}, r"poster: expected true or false"),
    ({"poster": {"at": -1}}, r"poster\.at: expected a number from 0"),
    ({"poster": {"at": "soon"}}, r"poster\.at: expected a number .*got 'soon'"),
    ({"poster": {"format": "gif"}}, r"poster\.format: expected one of jpeg, webp, got 'gif'"),
    ({"preview": {"seconds": 0}}, r"preview\.seconds: expected a number from 0\.04"),
    ({"preview": {"width": 8}}, r"preview\.width: expected a whole number from 16 to 640"),
    ({"renditions": 7}, r"renditions: expected a list of dicts, got 7"),
    ({"renditions": "[{"}, r"renditions: .* is not a list"),
    (
        {"renditions": [{"name": "../x"}]},
        r"renditions\[0\]\.name: expected at most 40 letters, digits, - and _",
    ),
    (
        {"renditions": [{}, {"aspect_ratio": "16/9"}]},
        r"renditions\[1\]\.aspect_ratio: expected a ratio such as 9:16",
    ),
    ({"renditions": [{"size": 63}]}, r"renditions\[0\]\.size: .* from 64 to 4320"),
    ({"renditions": [{"fit": "stretch"}]}, r"renditions\[0\]\.fit: expected one of crop, blur"),
    ({"renditions": [{"focus": 0.5}]}, r"renditions\[0\]\.focus: expected two shares such as"),
    ({"renditions": [{"focus": [0, 2]}]}, r"renditions\[0\]\.focus: expected a number from 0 to 1"),
    ({"renditions": [{"max_bitrate_kbps": 99}]}, r"renditions\[0\]\.max_bitrate_kbps: .* from 100"),
    ({"renditions": [{"crf": 52}]}, r"renditions\[0\]\.crf: .* from 0 to 51"),
    ({"renditions": [{"crf": True}]}, r"renditions\[0\]\.crf: .* got True"),
    ({"renditions": [{"preset": "placebo"}]}, r"renditions\[0\]\.preset: expected one of ultrafast"),
    ({"renditions": [{"faststart": "perhaps"}]}, r"renditions\[0\]\.faststart: expected true or false"),
    ({"renditions": [{}, {}]}, r"renditions: two of them would be named 'finished'\. Give each of them"),
    ({"concat": {"name": "a b"}}, r"concat\.name: expected at most 40 letters"),
    ({"concat": {"cross_fade": 11}}, r"concat\.cross_fade: expected a number from 0 to 10"),
    ({"audio": {"start": 1}}, r"audio\.uri: is empty\. Give the path or URI"),
    ({"audio": {"uri": "a.mp3", "fade_in": -1}}, r"audio\.fade_in: expected a number from 0 to 600"),
    ({"audio": {"uri": "a.mp3", "volume": 11}}, r"audio\.volume: expected a number from 0 to 10"),
    ({"poster": True, "require_implicit": "perhaps"}, r"require_implicit: expected true or false"),
]


def test_each_wrong_argument_is_named_with_its_limit_and_a_remedy(subtests: pytest.Subtests) -> None:
    for arguments, message in WRONG:
        with subtests.test(arguments=repr(arguments)):
            with pytest.raises(ParameterError, match=message):
                FinishRequest.of(**arguments)


def test_text_that_a_template_left_is_read_as_what_it_means() -> None:
    rendered = FinishRequest.of(
        visible_label="{'text': 'AI', 'seconds': '3', 'size': '0.1'}",
        poster='{"at": "1.5", "format": "webp"}',
        preview="True",
        renditions="[{'size': '720', 'crf': '23', 'faststart': 'False', 'focus': '[0, 1]', 'name': 'None'}]",
        concat="{'cross_fade': '0.5'}",
        audio=" s3://bucket/music.mp3 ",
        require_implicit="true",
    )
    assert rendered == FinishRequest(
        visible_label=VisibleLabel(text="AI", seconds=3, size=0.1),
        poster=Poster(at=1.5, format="webp"),
        preview=Preview(),
        renditions=(Rendition(size=720, crf=23, faststart=False, focus=(0, 1)),),
        concat=Concat(cross_fade=0.5),
        audio=Audio(uri="s3://bucket/music.mp3"),
        require_implicit=True,
    )
    assert FinishRequest.of(visible_label="None", poster="true", concat="", audio="None") == FinishRequest(
        poster=Poster()
    )
    assert FinishRequest.of(renditions={"size": 720}).renditions == (Rendition(size=720),)
    assert FinishRequest.of(renditions=Rendition(size=720)).renditions == (Rendition(size=720),)


def test_a_label_alone_makes_a_video_of_the_same_size() -> None:
    assert [each.suffix for each in FinishRequest.of(visible_label=True).versions] == ["labelled"]
    assert [each.suffix for each in FinishRequest.of(audio="a.mp3").versions] == ["finished"]
    assert FinishRequest.of(poster=True).versions == ()


def test_a_video_that_is_not_named_is_refused_with_what_to_give(
    subtests: pytest.Subtests, saved: Saved, tmp_path: Path
) -> None:
    source = saved(clip())
    cases: list[tuple[Any, str]] = [
        (None, r"video: expected a manifest or the URI of a file, got None"),
        ("", r"video: expected a manifest"),
        ([], r"video: is an empty list\. Give manifests or URIs"),
        ([str(source), None], r"video\[1\]: expected a manifest"),
        ({"sha256": "0"}, r"video: is a dict without a uri.*Give a manifest"),
        ("{'uri': ", r"video: .* is not a manifest"),
        (f"{tmp_path}/", r"video: .* is a directory\. Name a file in it"),
        (5, r"video: expected a manifest or the URI of a file, got 5"),
    ]
    for video, message in cases:
        with subtests.test(video=repr(video)):
            with pytest.raises(ParameterError, match=message):
                finish(video, poster=True)
    with pytest.raises(ParameterError, match=r"concat: needs at least two videos\. Give a list"):
        finish(source, concat=True)
    with pytest.raises(ParameterError, match=r"threads: expected a whole number from 1 to 64, got 0"):
        finish(source, poster=True, threads=0)
    with pytest.raises(ParameterError, match=r"audio\.uri: .* is a directory"):
        finish(source, audio=f"{tmp_path}/")
    assert list(tmp_path.iterdir()) == [source]


def test_a_derivative_never_takes_the_name_of_a_source(saved: Saved, tmp_path: Path) -> None:
    sources = [saved(clip(), "a.mp4"), saved(clip(), "concat.finished.mp4")]
    with pytest.raises(
        ParameterError, match=r"concat\.finished\.mp4 would be replaced by its own derivative"
    ):
        finish(sources, concat=True)
    assert sorted(tmp_path.iterdir()) == sources


def test_a_name_too_long_for_the_store_is_refused_before_anything_is_made(
    saved: Saved, tmp_path: Path
) -> None:
    source = saved(clip(), f"{'k' * 246}.mp4")
    with pytest.raises(ParameterError, match=r"video: .*name"):
        finish(source, renditions=[{"name": "wide"}])
    assert list(tmp_path.iterdir()) == [source]


def test_one_video_that_is_named_twice_is_made_once(saved: Saved) -> None:
    source = saved(clip())
    assert len(finish([source, str(source)], poster=True)) == 1
    both = f"['{source}', '{saved(clip(frames=4), 'fox.mp4')}']"
    assert [each["kind"] for each in finish(both, poster=True)] == ["poster", "poster"]
