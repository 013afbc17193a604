# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_jimeng.core.errors import (
    DamagedMediaError,
    LandingError,
    MissingLabelError,
    ServerError,
    TargetTakenError,
)
from airflow_provider_jimeng.core.outcomes import Outcome
from airflow_provider_jimeng.core.render import RenderEvent, RenderManifest
from airflow_provider_jimeng.storage.landing import already_landed, still_landed
from airflow_provider_jimeng.storage.output import OutputPath, refuse_taken
from tests.harness.links import link
from tests.harness.media_server import MediaServer, reply, whole
from tests.harness.videos import video
from tests.storage.conftest import LANDED_AT, Lander

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.wire import QueryReply

VIDEO = video(frames=24)
OTHER_VIDEO = video(frames=10)
NAME = "t2v_720p-7392616336519610409.mp4"
PAGE = reply(200, b"<html>maintenance</html>", Content_Type="text/html")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_landed_file_is_the_video_and_its_manifest_says_so(tmp_path: Path, lander: Lander) -> None:
    folder = tmp_path / "videos" / "2026"
    with MediaServer(answers=[whole(VIDEO)]) as server:
        manifest = lander(
            server,
            f"{folder}/",
            event=RenderEvent(
                outcome=Outcome.SUCCEEDED,
                polls=7,
                queued_seconds=3.5,
                render_seconds=61.0,
                queued_seconds_min=1.0,
                render_seconds_min=59.0,
            ),
        )
    assert names(folder) == [NAME, f"{NAME}.json"]
    assert (folder / NAME).read_bytes() == VIDEO
    assert json.loads((folder / f"{NAME}.json").read_text()) == manifest.to_payload()
    assert manifest.to_payload() == {
        **lander.render().to_payload(),
        "uri": f"file://{folder}/{NAME}",
        "bytes": len(VIDEO),
        "sha256": hashlib.sha256(VIDEO).hexdigest(),
        "content_type": "video/mp4",
        "width": 96,
        "height": 64,
        "fps": 24.0,
        "frames": 24,
        "duration_seconds": 1.0,
        "landed_at": "2026-01-02T03:09:05Z",
        "request_id": "request-1",
        "aigc_meta_tagged": True,
        "cost_cny": "1.40",
        "polls": 7,
        "queued_seconds": 3.5,
        "render_seconds": 61.0,
        "queued_seconds_min": 1.0,
        "render_seconds_min": 59.0,
        "differs": manifest.differs,
        "aigc_label": None,
    }
    assert ObjectStoragePath(manifest.uri).read_bytes() == VIDEO
    assert manifest.landed_at == LANDED_AT


def test_landing_again_costs_no_link_and_no_request(tmp_path: Path, lander: Lander) -> None:
    with MediaServer(answers=[whole(VIDEO)]) as server:
        first = lander(server, f"{tmp_path}/")
        assert lander(server, f"{tmp_path}/") == first
        assert lander(server, f"{tmp_path}/", overwrite=True) == first
        assert len(server.seen) == lander.links == 1


def test_a_file_that_is_not_what_its_manifest_says_is_landed_again(
    subtests: pytest.Subtests, tmp_path: Path
) -> None:
    cases: list[str] = ["altered", "shortened", "missing"]
    for number, damage in enumerate(cases):
        with subtests.test(damage=repr(damage)):
            folder = tmp_path / str(number)
            folder.mkdir()
            lander = Lander()
            path = folder / NAME
            with MediaServer(answers=[whole(VIDEO)]) as server:
                first = lander(server, f"{folder}/")
                if damage == "missing":
                    path.unlink()
                else:
                    path.write_bytes(VIDEO[:-1] + (b"\1" if damage == "altered" else b""))
                assert already_landed(OutputPath(output_path=f"{folder}/"), lander.render()) is None
                assert still_landed(first) is None
                lander(server, f"{folder}/")
                assert path.read_bytes() == VIDEO
                assert len(server.seen) == 2


def test_a_manifest_that_cannot_be_understood_proves_nothing(
    subtests: pytest.Subtests, tmp_path: Path
) -> None:
    cases: list[str] = [
        "",
        "{}",
        "[1]",
        "null",
        '{"task_id": "7392616336519610409"}',
        '{"bytes": 1, "submitted_at": "x"}',
        "[" * 99_999,
    ]
    for number, sidecar in enumerate(cases):
        with subtests.test(number=repr(number)):
            folder = tmp_path / str(number)
            folder.mkdir()
            lander = Lander()
            with MediaServer(answers=[whole(VIDEO)]) as server:
                first = lander(server, f"{folder}/")
                (folder / f"{NAME}.json").write_text(sidecar)
                assert lander(server, f"{folder}/").sha256 == first.sha256
                assert len(server.seen) == 2


def test_renders_of_one_request_have_names_of_their_own(tmp_path: Path, lander: Lander) -> None:
    with MediaServer(answers=[whole(VIDEO)]) as server:
        for task_id in ("1", "2", "../../etc/passwd", "图 3"):
            lander(server, f"{tmp_path}/", lander.render(task_id=task_id))
    assert len([name for name in names(tmp_path) if name.endswith(".mp4")]) == 4
    assert all(name.startswith("t2v_720p-") for name in names(tmp_path))


def test_a_full_file_name_is_used_as_it_is(tmp_path: Path, lander: Lander) -> None:
    with MediaServer(answers=[whole(VIDEO)]) as server:
        manifest = lander(server, f"file://{tmp_path}/a b/片.mp4")
    assert manifest.uri == f"file://{tmp_path}/a b/片.mp4"
    assert names(tmp_path / "a b") == ["片.mp4", "片.mp4.json"]


def test_a_full_file_name_may_be_as_long_as_the_file_system_allows(tmp_path: Path, lander: Lander) -> None:
    name = "n" * 246 + ".mp4"
    with MediaServer(answers=[whole(VIDEO)]) as server:
        lander(server, f"{tmp_path}/{name}")
    assert names(tmp_path) == [name, f"{name}.json"]


def test_a_target_with_another_requests_file_is_refused_before_any_link(
    tmp_path: Path, lander: Lander
) -> None:
    other = lander.render(task_id="8", fingerprint="e" * 64)
    with MediaServer(answers=[whole(VIDEO)]) as server:
        lander(server, f"{tmp_path}/v.mp4", other)
        with pytest.raises(TargetTakenError, match="already holds the render 8"):
            lander(server, f"{tmp_path}/v.mp4")
        assert lander.links == 1
        assert lander(server, f"{tmp_path}/v.mp4", overwrite=True).task_id == lander.render().task_id
    assert names(tmp_path) == ["v.mp4", "v.mp4.json"]
    assert already_landed(OutputPath(output_path=f"{tmp_path}/v.mp4"), other) is None


def test_a_file_of_unknown_origin_is_refused_and_kept(tmp_path: Path, lander: Lander) -> None:
    (tmp_path / "v.mp4").write_text("a holiday film")
    with MediaServer(answers=[whole(VIDEO)]) as server:
        with pytest.raises(TargetTakenError, match="has no manifest"):
            lander(server, f"{tmp_path}/v.mp4")
        assert (tmp_path / "v.mp4").read_text() == "a holiday film"
        lander(server, f"{tmp_path}/v.mp4", overwrite=True)
    assert (tmp_path / "v.mp4").read_bytes() == VIDEO


def test_another_render_of_the_same_request_replaces_the_file(tmp_path: Path, lander: Lander) -> None:
    with MediaServer(answers=[whole(VIDEO), whole(OTHER_VIDEO)]) as server:
        lander(server, f"{tmp_path}/v.mp4", lander.render(task_id="1"))
        second = lander(server, f"{tmp_path}/v.mp4", lander.render(task_id="2"))
    assert (second.task_id, second.frames) == ("2", 10)


def test_renders_without_fingerprint_are_told_apart_by_their_id(tmp_path: Path, lander: Lander) -> None:
    with MediaServer(answers=[whole(VIDEO)]) as server:
        lander(server, f"{tmp_path}/v.mp4", lander.render(task_id="1", fingerprint=None))
        (tmp_path / "v.mp4").write_bytes(b"altered")
        lander(server, f"{tmp_path}/v.mp4", lander.render(task_id="1"))
        (tmp_path / "v.mp4").write_bytes(b"altered")
        with pytest.raises(TargetTakenError):
            lander(server, f"{tmp_path}/v.mp4", lander.render(task_id="2", fingerprint=None))


def test_a_target_can_be_checked_before_anything_is_paid(tmp_path: Path, lander: Lander) -> None:
    target = OutputPath(output_path=f"{tmp_path}/v.mp4")
    refuse_taken(target, "f" * 64)
    with MediaServer(answers=[whole(VIDEO)]) as server:
        lander(server, f"{tmp_path}/v.mp4")
    refuse_taken(target, "f" * 64)
    with pytest.raises(TargetTakenError):
        refuse_taken(target, "e" * 64)
    refuse_taken(OutputPath(output_path=f"{tmp_path}/"), "e" * 64)


def test_a_target_that_is_taken_while_the_download_runs_is_left_alone(tmp_path: Path, lander: Lander) -> None:
    lander.on_link = lambda: (tmp_path / "v.mp4").write_text("somebody else's")
    with MediaServer(answers=[whole(VIDEO)]) as server, pytest.raises(TargetTakenError):
        lander(server, f"{tmp_path}/v.mp4")
    assert names(tmp_path) == ["v.mp4"]
    assert (tmp_path / "v.mp4").read_text() == "somebody else's"


def test_a_landed_file_is_found_by_its_render(tmp_path: Path, lander: Lander) -> None:
    target = OutputPath(output_path=f"{tmp_path}/v.mp4")
    assert already_landed(target, lander.render()) is None
    with MediaServer(answers=[whole(VIDEO)]) as server:
        manifest = lander(server, f"{tmp_path}/v.mp4")
    assert already_landed(target, lander.render()) == manifest
    assert still_landed(manifest) == manifest
    assert still_landed(manifest, output_path=f"{tmp_path}/v.mp4") == manifest


def test_a_folder_that_was_moved_still_holds_landed_files(tmp_path: Path, lander: Lander) -> None:
    with MediaServer(answers=[whole(VIDEO)]) as server:
        lander(server, f"{tmp_path}/old/")
    (tmp_path / "old").rename(tmp_path / "new")
    found = already_landed(OutputPath(output_path=f"{tmp_path}/new/"), lander.render())
    assert found is not None
    assert found.uri == f"file://{tmp_path}/new/{NAME}"


def test_a_landing_killed_before_its_manifest_is_completed_without_a_request(
    tmp_path: Path, lander: Lander
) -> None:
    blocked = tmp_path / "v.mp4.json"
    blocked.mkdir()
    with MediaServer(answers=[whole(VIDEO)]) as server:
        with pytest.raises(LandingError, match=r"Cannot write .*v\.mp4\.json"):
            lander(server, f"{tmp_path}/v.mp4")
        assert names(tmp_path) == [".v.mp4.json.part", "v.mp4", "v.mp4.json"]
        blocked.rmdir()
        refuse_taken(OutputPath(output_path=f"{tmp_path}/v.mp4"), lander.render())
        manifest = lander(server, f"{tmp_path}/v.mp4")
        assert len(server.seen) == 1
    assert names(tmp_path) == ["v.mp4", "v.mp4.json"]
    assert RenderManifest.from_payload(json.loads(blocked.read_text())) == manifest


def test_a_page_instead_of_a_video_is_fetched_once_more(tmp_path: Path, lander: Lander) -> None:
    with MediaServer(answers=[PAGE, whole(VIDEO)]) as server:
        assert lander(server, f"{tmp_path}/").request_id == "request-2"
    assert (tmp_path / NAME).read_bytes() == VIDEO


def test_what_is_no_whole_video_never_gets_the_final_name(subtests: pytest.Subtests, tmp_path: Path) -> None:
    cases: list[bytes] = [b"<html></html>", b"", VIDEO[:-1], VIDEO[:1000]]
    for number, body in enumerate(cases):
        with subtests.test(number=repr(number)):
            folder = tmp_path / str(number)
            folder.mkdir()
            lander = Lander()
            with MediaServer(answers=[reply(200, body)]) as server, pytest.raises(DamagedMediaError):
                lander(server, f"{folder}/")
            assert names(folder) == []
            assert len(server.seen) == 2


def test_a_damaged_download_leaves_an_older_file_alone(tmp_path: Path, lander: Lander) -> None:
    (tmp_path / "v.mp4").write_text("a holiday film")
    with MediaServer(answers=[PAGE]) as server, pytest.raises(DamagedMediaError):
        lander(server, f"{tmp_path}/v.mp4", overwrite=True)
    assert names(tmp_path) == ["v.mp4"]


LABELLED = video(movflags="use_metadata_tags", metadata=(("AIGC", '{"Label": "1"}'),))


def test_the_file_decides_whether_a_video_is_labelled_and_not_the_reply(
    subtests: pytest.Subtests, tmp_path: Path
) -> None:
    for number, tagged in enumerate((True, False, None)):
        with subtests.test(tagged=repr(tagged)):
            folder = tmp_path / str(number)
            folder.mkdir()
            lander = Lander()
            lander.tagged = tagged
            with MediaServer(answers=[whole(VIDEO)]) as server:
                with pytest.raises(MissingLabelError, match="request id request-1"):
                    lander(server, f"{folder}/", require_tagged=True)
                assert names(folder) == []
                assert lander(server, f"{folder}/").aigc_label is None
            with MediaServer(answers=[whole(LABELLED)]) as server:
                manifest = lander(server, f"{folder}/", require_tagged=True)
                assert (manifest.aigc_label, manifest.aigc_meta_tagged) == ({"Label": "1"}, tagged)
                assert lander(server, f"{folder}/", require_tagged=True) == manifest
                assert len(server.seen) == 1


def test_for_a_file_of_an_older_version_the_word_of_the_api_counts(tmp_path: Path, lander: Lander) -> None:
    with MediaServer(answers=[whole(VIDEO)]) as server:
        manifest = lander(server, f"{tmp_path}/").to_payload()
        del manifest["differs"], manifest["aigc_label"]
        (tmp_path / f"{NAME}.json").write_text(json.dumps(manifest))
        assert lander(server, f"{tmp_path}/", require_tagged=True).is_labelled
        assert len(server.seen) == 1


def test_a_video_that_differs_from_its_request_is_saved_with_a_warning(
    tmp_path: Path, lander: Lander, caplog: pytest.LogCaptureFixture
) -> None:
    with MediaServer(answers=[whole(video(frames=12))]) as server:
        manifest = lander(server, f"{tmp_path}/")
    assert manifest.differs == [
        {"field": "duration", "asked": 5, "got": 0.5},
        {"field": "aspect_ratio", "asked": "16:9", "got": "96:64"},
    ]
    assert "duration 0.5 instead of 5" in caplog.text
    assert json.loads((tmp_path / f"{NAME}.json").read_text())["differs"] == manifest.differs


@pytest.mark.parametrize("written", [True, False])
def test_a_promised_label_that_the_file_does_not_hold_is_warned_of(
    tmp_path: Path, lander: Lander, caplog: pytest.LogCaptureFixture, written: bool
) -> None:
    label = (("AIGC", '{"Label": "1"}'),) if written else ()
    with MediaServer(answers=[whole(video(movflags="use_metadata_tags", metadata=label))]) as server:
        lander(server, f"{tmp_path}/")
    assert ("holds no AIGC entry" in caplog.text) is not written


def test_an_error_of_the_api_passes_through_and_leaves_nothing(tmp_path: Path, lander: Lander) -> None:
    def broken() -> QueryReply:
        raise ServerError("Internal Error", code="50500")

    with MediaServer(answers=[whole(VIDEO)]) as server, pytest.raises(ServerError):
        lander(server, f"{tmp_path}/", fetch_link=broken)
    assert names(tmp_path) == []


def test_a_task_that_is_killed_leaves_nothing(tmp_path: Path, lander: Lander) -> None:
    def killed() -> None:
        raise KeyboardInterrupt

    lander.on_link = killed
    with MediaServer(answers=[whole(VIDEO)]) as server, pytest.raises(KeyboardInterrupt):
        lander(server, f"{tmp_path}/")
    assert names(tmp_path) == []


def test_no_link_reaches_log_manifest_or_error(
    tmp_path: Path, lander: Lander, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with MediaServer(answers=[reply(403), reply(503), whole(VIDEO)]) as server:
        manifest = lander(server, f"{tmp_path}/")
        server.answers = [reply(403)]
        with pytest.raises(LandingError) as caught:
            lander(server, f"{tmp_path}/other/")
    assert "SECRET" not in caplog.text + json.dumps(manifest.to_payload()) + str(caught.value)
    assert "SECRET" not in repr(link("https://host/?sign=SECRET"))
