# SPDX-License-Identifier: Apache-2.0
"""Nothing is made twice, nothing of others is replaced, and a killed task leaves no half file."""

from __future__ import annotations

import json
import logging
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jimeng.core.errors import LandingError, TargetTakenError
from airflow_provider_jimeng.finishing import finish
from tests.finishing.clips import LABEL, clip, decoded, sha256, wav
from tests.harness.fake_airflow import Interruptions, Killed
from tests.harness.stores import ObjectStore, RemoteStore, StepwiseStore, attached

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.finishing.conftest import Saved

FAST = {"preset": "ultrafast"}
EVERYTHING: dict[str, Any] = {
    "visible_label": "AI",
    "poster": True,
    "preview": True,
    "renditions": [{"name": "wide", **FAST}, {"name": "tall", "aspect_ratio": "9:16", **FAST}],
}
MADE = ("kite.wide.mp4", "kite.tall.mp4", "kite.poster.jpg", "kite.preview.jpg", "kite.preview.vtt")


def state(folder: Path) -> dict[str, tuple[str, int]]:
    return {path.name: (sha256(path), path.stat().st_mtime_ns) for path in sorted(folder.iterdir())}


def test_a_second_call_makes_nothing_and_returns_the_same(
    saved: Saved, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = saved(clip(label=LABEL))
    first = finish(source, **EVERYTHING)
    before = state(tmp_path)
    expected = {source.name, *MADE, *(f"{name}.json" for name in MADE[:-1])}
    assert set(before) == expected
    with caplog.at_level(logging.INFO):
        assert finish(str(source), **EVERYTHING, threads=1) == first
    assert state(tmp_path) == before
    assert caplog.text.count("is already made") == 4


def test_a_manifest_lies_beside_each_file_and_says_what_it_is(saved: Saved, tmp_path: Path) -> None:
    source = saved(clip(label=LABEL))
    made = finish({"uri": source.as_uri(), "sha256": sha256(source)}, **EVERYTHING)
    for manifest in made:
        path = tmp_path / manifest["uri"].rpartition("/")[2]
        assert json.loads(path.with_name(f"{path.name}.json").read_text()) == manifest
        assert (manifest["sha256"], manifest["bytes"]) == (sha256(path), path.stat().st_size)
        assert manifest["source"] == [{"uri": source.as_uri(), "sha256": sha256(source)}]
    video = made[0]
    assert (video["version"], video["kind"], video["content_type"]) == (1, "rendition", "video/mp4")
    assert (video["width"], video["height"], video["fps"], video["frames"]) == (160, 90, 8, 8)
    assert video["aigc_label"] == json.loads(LABEL)
    assert video["recipe"]["visible_label"]["text"] == "AI"
    assert made[3]["track_sha256"] == sha256(tmp_path / "kite.preview.vtt")


def test_another_recipe_or_other_bytes_make_the_file_anew(saved: Saved, tmp_path: Path) -> None:
    source, track = saved(clip()), saved(wav(400, 1), "music.wav")
    calls: list[dict[str, Any]] = [
        {},
        {"visible_label": "AI"},
        {"visible_label": "AI", "audio": str(track)},
        {"visible_label": "AI", "audio": {"uri": str(track), "volume": 0.5}},
    ]
    sums = set()
    for options in calls:
        finish(source, renditions=[{"name": "one", **FAST}], **options)
        sums.add(sha256(tmp_path / "kite.one.mp4"))
    saved(wav(500, 1), "music.wav")
    finish(source, renditions=[{"name": "one", **FAST}], **calls[-1])
    sums.add(sha256(tmp_path / "kite.one.mp4"))
    saved(clip(frames=4))
    (manifest,) = finish(source, renditions=[{"name": "one", **FAST}])
    assert manifest["frames"] == 4
    assert len({*sums, manifest["sha256"]}) == len(calls) + 2


def test_a_part_of_a_preview_that_is_missing_is_made_again(saved: Saved, tmp_path: Path) -> None:
    source = saved(clip())
    first = finish(source, preview=True)
    for name in ("kite.preview.vtt", "kite.preview.jpg"):
        (tmp_path / name).unlink()
        again = finish(source, preview=True)
        assert (tmp_path / name).exists()
        assert [each["track_sha256"] for each in again] == [each["track_sha256"] for each in first]


def test_a_file_that_was_not_made_here_is_never_replaced(
    subtests: pytest.Subtests, saved: Saved, tmp_path: Path
) -> None:
    source = saved(clip())
    for name in MADE:
        with subtests.test(name=repr(name)):
            foreign = saved(b"mine", name)
            before = state(tmp_path)
            with pytest.raises(TargetTakenError, match=r"exists and was not made here.*Rename it"):
                finish(source, **EVERYTHING)
            assert state(tmp_path) == before
            foreign.unlink()


def test_a_made_file_that_somebody_changed_is_not_replaced(saved: Saved, tmp_path: Path) -> None:
    source = saved(clip())
    finish(source, **EVERYTHING)
    poster = tmp_path / "kite.poster.jpg"
    poster.write_bytes(poster.read_bytes()[:-1] + b"!")
    before = state(tmp_path)
    with pytest.raises(
        TargetTakenError, match=r"kite\.poster\.jpg exists and was not made here, or was changed"
    ):
        finish(source, **EVERYTHING)
    assert state(tmp_path) == before


def test_a_concatenation_of_other_videos_needs_another_name(saved: Saved, tmp_path: Path) -> None:
    a, b, c = (saved(clip(), f"{name}.mp4") for name in "abc")
    finish([a, b], concat=True, renditions=[FAST])
    with pytest.raises(TargetTakenError, match=r"was made of other videos.*Give concat another name"):
        finish([a, c], concat=True, renditions=[FAST])
    assert finish([a, c], concat={"name": "other"}, renditions=[FAST])


def test_a_source_that_is_not_what_its_manifest_says_is_refused(saved: Saved, tmp_path: Path) -> None:
    source = saved(clip())
    with pytest.raises(LandingError, match=r"kite\.mp4 was changed after it was saved.*Give the URI"):
        finish({"uri": str(source), "sha256": "0" * 64}, poster=True)
    with pytest.raises(LandingError, match=r"none\.mp4 does not exist"):
        finish(tmp_path / "none.mp4", poster=True)
    assert list(tmp_path.iterdir()) == [source]


def test_a_source_that_changes_while_it_is_read_is_refused(saved: Saved, tmp_path: Path) -> None:
    source = saved(clip(frames=24))
    interruptions = Interruptions()
    interruptions.at("log kite.finished.mp4: ", lambda: os.utime(source, ns=(1, 1)))
    with interruptions.listening():
        with pytest.raises(LandingError, match="was changed while it was read"):
            finish(source, renditions=[FAST])
    assert list(tmp_path.iterdir()) == [source]
    assert finish(source, renditions=[FAST])


def test_progress_is_logged_at_each_tenth(saved: Saved, caplog: pytest.LogCaptureFixture) -> None:
    source = saved(clip(frames=48))
    with caplog.at_level(logging.INFO):
        finish(source, renditions=[FAST])
    shares = [int(line.split(": ")[1].split(" ")[0]) for line in caplog.messages if line.endswith("% done.")]
    assert [share // 10 for share in shares] == list(range(1, 11))


# ------------------------------------------------------------------------------------------------------------- killed
def test_a_task_killed_while_it_encodes_leaves_nothing(saved: Saved, tmp_path: Path) -> None:
    source = saved(clip(frames=24))
    for share in range(10, 101, 30):
        interruptions = Interruptions()
        interruptions.at(f"log kite.finished.mp4: {str(share)[0]}")
        with interruptions.listening(), pytest.raises(Killed):
            finish(source, renditions=[FAST])
        assert list(tmp_path.iterdir()) == [source]


def test_the_temporary_file_of_a_killed_process_is_removed_when_it_is_old(
    saved: Saved, tmp_path: Path
) -> None:
    source = saved(clip())
    old, young = (saved(b"half", f".kite.finished.mp4.{token * 16}.part") for token in "ab")
    other = saved(b"half", f".fox.finished.mp4.{'a' * 16}.part")
    for path in (old, other):
        os.utime(path, (time.time() - 7200,) * 2)
    finish(source, renditions=[FAST])
    assert not old.exists()
    assert young.exists()
    assert other.exists()


class Dying:
    """What a store does until it dies before or after one of its writes; then it answers nothing any more."""

    steps_left = -1
    is_dead = False

    def step(self) -> None:
        if self.is_dead or self.steps_left == 0:
            self.is_dead = True
            raise Killed
        self.steps_left -= 1


class DyingObjectStore(Dying, ObjectStore):
    def pipe_file(self, path: str, value: bytes, **options: Any) -> None:
        self.step()
        super().pipe_file(path, value, **options)
        self.step()

    def rm_file(self, path: str) -> None:
        self.step()
        super().rm_file(path)
        self.step()


class DyingStepwiseStore(Dying, StepwiseStore):
    def pipe_file(self, path: str, value: bytes, **options: Any) -> None:
        self.step()
        super().pipe_file(path, value, **options)
        self.step()

    def rm_file(self, path: str) -> None:
        self.step()
        super().rm_file(path)
        self.step()

    def mv(self, path1: str, path2: str, **options: Any) -> None:
        self.step()
        super().mv(path1, path2, **options)
        self.step()


def whole_files(store: RemoteStore, folder: Path) -> Iterator[str]:
    """Check that each file under a final name is whole, and yield their names."""
    for path, content in store.files().items():
        name = path.rpartition("/")[2]
        if name.startswith("."):
            continue
        local = folder / name
        local.write_bytes(content)
        if name.endswith(".mp4"):
            assert len(decoded(local).frames) == 4
        elif name.endswith(".json"):
            assert json.loads(content)["version"] == 1
        yield name


@pytest.mark.parametrize("make_store", [DyingObjectStore, DyingStepwiseStore])
def test_a_task_killed_at_any_write_leaves_no_half_file_and_the_next_makes_the_rest(
    make_store: type[Any], tmp_path: Path
) -> None:
    options: dict[str, Any] = {"poster": True, "preview": True, "renditions": [FAST]}
    names = {"kite.finished.mp4", "kite.poster.jpg", "kite.preview.jpg", "kite.preview.vtt"}
    deaths = 0
    while True:
        store = make_store()
        conn_id = attached(store)
        uri = f"{store.protocol if isinstance(store.protocol, str) else store.protocol[0]}://bucket/kite.mp4"
        store.pipe_file("/bucket/kite.mp4" if store.protocol != "s3" else "bucket/kite.mp4", clip(frames=4))
        store.steps_left = deaths
        try:
            finish(uri, output_conn_id=conn_id, **options)
        except Killed:
            deaths += 1
        else:
            break
        store.is_dead, store.steps_left = False, -1
        placed = set(whole_files(store, tmp_path)) & names
        store.puts.clear()
        made = finish(uri, output_conn_id=conn_id, **options)
        assert len(made) == 3
        assert set(whole_files(store, tmp_path)) >= {*names, "kite.mp4", "kite.finished.mp4.json"}
        again = {name for name in names if any(name in put and "json" not in put for put in store.puts)}
        assert not again & placed & {"kite.finished.mp4", "kite.poster.jpg"}
        assert not [name for name in store.files() if name.endswith("json.part")]
    assert deaths >= 20


def test_an_object_store_gets_each_file_once_and_keeps_the_original(tmp_path: Path) -> None:
    store = ObjectStore()
    conn_id = attached(store)
    store.pipe_file("bucket/teaser/kite.mp4", clip(label=LABEL))
    store.pipe_file("bucket/music.wav", wav(400, 2))
    before = store.files()
    call: dict[str, Any] = {**EVERYTHING, "output_conn_id": conn_id, "audio": "s3://bucket/music.wav"}
    made = finish("s3://bucket/teaser/kite.mp4", **call)
    assert [manifest["uri"] for manifest in made] == [f"s3://bucket/teaser/{name}" for name in MADE[:-1]]
    after = store.files()
    assert {name: after[name] for name in before} == before
    puts = list(store.puts)
    assert finish({"uri": "s3://bucket/teaser/kite.mp4"}, **call) == made
    assert store.puts == puts
    assert len(set(puts)) == len(puts)
