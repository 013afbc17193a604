# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jimeng.web import media
from airflow_provider_jimeng.web.media import (
    PIECE_BYTES,
    MediaGoneError,
    Span,
    UnsatisfiableRangeError,
    requested_span,
)
from tests.harness.stores import ObjectStore, attached
from tests.harness.videos import video
from tests.web.records import manifest_payload, render_payload

if TYPE_CHECKING:
    from tests.web.conftest import Reader
    from tests.web.records import Records

SMALL = video()


@pytest.fixture
def mp4(tmp_path: Path) -> Path:
    path = tmp_path / "一 video.mp4"
    path.write_bytes(SMALL)
    return path


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.mp4"
    path.write_bytes(SMALL + bytes(range(256)) * (PIECE_BYTES * 5 // 512))
    return path


def test_a_range_header_is_read_as_the_standard_says() -> None:
    spans = {
        None: None,
        "": None,
        "bytes=0-99": Span(start=0, end=100),
        "bytes=100-": Span(start=100, end=1000),
        "bytes=-100": Span(start=900, end=1000),
        "bytes=-5000": Span(start=0, end=1000),
        "bytes=999-5000": Span(start=999, end=1000),
        "bytes=-": None,
        "bytes=5-2": None,
        "bytes=0-1,5-6": None,
        "items=0-1": None,
        "bytes=٠-٩": None,
        "bytes=0-" + "9" * 40: None,
    }
    assert {header: requested_span(header, 1000) for header in spans} == spans


def test_a_range_behind_the_end_cannot_be_satisfied() -> None:
    for header in ("bytes=1000-", "bytes=1000-1001", "bytes=-0"):
        with pytest.raises(UnsatisfiableRangeError):
            requested_span(header, 1000)


def test_a_long_range_is_answered_by_its_first_piece() -> None:
    assert requested_span("bytes=10-", 10 * PIECE_BYTES) == Span(start=10, end=10 + PIECE_BYTES)


def test_the_whole_video_is_sent_without_a_range(viewer: Reader, records: Records, large: Path) -> None:
    reply = viewer.get("media", records.landed(large), accept_encoding="gzip, br")
    assert reply.status_code == 200
    assert reply.content == large.read_bytes()
    assert reply.headers["content-type"] == "video/mp4"
    assert reply.headers["content-length"] == str(large.stat().st_size)
    assert reply.headers["accept-ranges"] == "bytes"
    assert reply.headers["cache-control"] == "private, no-cache"
    assert reply.headers["x-content-type-options"] == "nosniff"


def test_a_range_is_answered_with_that_part(viewer: Reader, records: Records, mp4: Path) -> None:
    ref = records.landed(mp4)
    reply = viewer.get("media", ref, range="bytes=4-7", accept_encoding="gzip")
    assert reply.status_code == 206
    assert reply.content == b"ftyp"
    assert reply.headers["content-range"] == f"bytes 4-7/{len(SMALL)}"
    assert reply.headers["content-length"] == "4"


def test_the_pieces_of_a_large_video_add_up_to_the_file(
    viewer: Reader, records: Records, large: Path
) -> None:
    ref, size, read = records.landed(large), large.stat().st_size, b""
    while len(read) < size:
        reply = viewer.get("media", ref, range=f"bytes={len(read)}-")
        assert reply.status_code == 206
        assert len(reply.content) <= PIECE_BYTES
        read += reply.content
    assert read == large.read_bytes()


def test_a_range_outside_the_file_is_answered_with_its_size(
    viewer: Reader, records: Records, mp4: Path
) -> None:
    reply = viewer.get("media", records.landed(mp4), range=f"bytes={len(SMALL)}-")
    assert reply.status_code == 416
    assert reply.headers["content-range"] == f"bytes */{len(SMALL)}"


def test_a_head_request_tells_the_same_without_the_bytes(viewer: Reader, records: Records, mp4: Path) -> None:
    ref = records.landed(mp4)
    whole = viewer.request("HEAD", "media", ref, accept_encoding="identity")
    part = viewer.request("HEAD", "media", ref, range="bytes=0-9")
    assert (whole.status_code, whole.headers["content-length"], whole.content) == (200, str(len(SMALL)), b"")
    assert (part.status_code, part.headers["content-range"]) == (206, f"bytes 0-9/{len(SMALL)}")
    assert part.content == b""


def test_an_unchanged_video_is_not_sent_again(viewer: Reader, records: Records, mp4: Path) -> None:
    ref = records.landed(mp4)
    tag = viewer.get("media", ref).headers["etag"]
    assert viewer.get("media", ref, if_none_match=tag).status_code == 304
    assert viewer.get("media", ref, if_range=tag, range="bytes=0-0").status_code == 206
    assert viewer.get("media", ref, if_range='"other"', range="bytes=0-0").status_code == 200


def test_a_download_has_the_files_own_name(viewer: Reader, records: Records, mp4: Path) -> None:
    reply = viewer.get("media", {**records.landed(mp4), "download": 1})
    assert reply.headers["content-disposition"] == "attachment; filename*=UTF-8''%E4%B8%80%20video.mp4"


def test_the_query_cannot_name_a_file(viewer: Reader, records: Records, mp4: Path, tmp_path: Path) -> None:
    ref = records.landed(mp4)
    for name in ("uri", "path", "url", "file"):
        assert viewer.get("media", {**ref, name: "file:///etc/passwd"}).content == SMALL
    assert viewer.get("media", {**ref, "task_id": "../../etc/passwd"}).status_code == 404


def test_only_files_that_begin_as_mp4_are_opened(viewer: Reader, records: Records, tmp_path: Path) -> None:
    secret = tmp_path / "airflow.cfg"
    secret.write_text("[core]\nfernet_key = very secret\n" * 10)
    reply = viewer.get("media", records.landed(secret))
    assert reply.status_code == 404
    assert reply.json() == {"detail": "The file is not an MP4 video."}


def forged(records: Records, uri: str, run_id: str, **changes: Any) -> dict[str, Any]:
    """What the author of a DAG can push: a manifest that names whatever they like."""
    return records.add(
        run_id=run_id, render=render_payload(), manifest={**manifest_payload("/x.mp4"), "uri": uri, **changes}
    )


def test_a_pushed_manifest_opens_no_file_that_was_never_saved_and_does_not_tell_which_exist(
    viewer: Reader, records: Records
) -> None:
    for path in ("/etc/passwd", "/dev/zero", "/proc/self/environ", "/etc", "/no/such/file"):
        reply = viewer.get("media", forged(records, f"file://{path}", path))
        assert reply.status_code == 404
        assert reply.json()["detail"].startswith("The file that this task saved is gone")


def test_a_pushed_manifest_does_not_open_the_videos_of_others(
    viewer: Reader, records: Records, mp4: Path
) -> None:
    theirs = records.landed(mp4, dag_id="secret_launch")
    uri = mp4.as_uri().replace("%20", " ").replace("%E4%B8%80", "一")
    mine = forged(records, uri, "guessed", sha256="b" * 64, bytes=len(SMALL))
    assert viewer.get("media", theirs).status_code == 403
    assert viewer.get("media", mine).status_code == 404


def test_a_pushed_manifest_cannot_write_headers(viewer: Reader, records: Records) -> None:
    strange: list[Any] = [None, 7, "", "a" * 63, 'a"\r\nX-Injected: yes', "é" * 64, "A" * 64]
    for number, sha256 in enumerate(strange):
        reply = viewer.get("media", forged(records, "file:///x.mp4", str(number), sha256=sha256))
        assert reply.status_code == 404
        assert reply.json() == {"detail": "The manifest does not contain the SHA-256 of its file."}


def test_a_video_without_its_manifest_beside_it_is_not_shown(
    viewer: Reader, records: Records, mp4: Path
) -> None:
    ref = records.landed(mp4)
    sidecar = mp4.with_name(f"{mp4.name}.json")
    for content in (b"", b"{}", b"no json", b" " * 70_000, b'{"sha256": "x"}'):
        sidecar.write_bytes(content)
        assert viewer.get("media", ref).status_code == 404
    sidecar.unlink()
    assert viewer.get("media", ref).status_code == 404


def test_a_file_that_another_render_replaced_is_not_shown_as_the_first_ones(
    viewer: Reader, records: Records, mp4: Path
) -> None:
    first = records.landed(mp4, run_id="first")
    mp4.with_name(f"{mp4.name}.json").unlink()
    mp4.write_bytes(video(frames=5))
    second = records.landed(mp4, run_id="second")
    assert viewer.get("media", second).content == video(frames=5)
    assert viewer.get("media", first).status_code == 404


PARTS = ("bytes=0-9", "bytes=20-29")


@pytest.mark.parametrize("linked", [True, False])
def test_a_video_that_turns_into_something_else_is_not_read_on(
    linked: bool, viewer: Reader, records: Records, mp4: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "airflow.cfg"
    secret.write_text("fernet_key = very secret\n" * 1000)
    ref = records.landed(mp4)
    assert viewer.get("media", ref, range=PARTS[0]).status_code == 206
    mp4.unlink()
    if linked:
        mp4.symlink_to(secret)
    else:
        secret.rename(mp4)
    for part in PARTS:
        reply = viewer.get("media", ref, range=part)
        assert reply.status_code == 404
        assert "secret" not in reply.text


def test_a_link_is_not_followed_to_the_video_of_others(
    viewer: Reader, records: Records, mp4: Path, tmp_path: Path
) -> None:
    link = tmp_path / "mine.mp4"
    link.symlink_to(mp4)
    assert viewer.get("media", records.landed(link)).status_code == 404


@pytest.mark.parametrize("looked_at_before", [True, False])
def test_a_directory_that_turns_into_a_link_does_not_lead_to_the_video_of_others(
    looked_at_before: bool, viewer: Reader, records: Records, tmp_path: Path
) -> None:
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    for folder, content in ((mine, SMALL), (theirs, SMALL[:-1] + b"!")):  # of one size and beginning
        folder.mkdir()
        (folder / "loop.mp4").write_bytes(content)
    records.landed(theirs / "loop.mp4", dag_id="secret_launch")
    ref = records.landed(mine / "loop.mp4")
    if looked_at_before:
        assert viewer.get("media", ref, range=PARTS[0]).status_code == 206
    mine.rename(tmp_path / "away")
    mine.symlink_to(theirs)
    for part in PARTS:
        reply = viewer.get("media", ref, range=part)
        assert reply.status_code == 404
        assert reply.json()["detail"].startswith("The file that this task saved is gone, was replaced")


def test_a_root_that_whoever_runs_airflow_made_a_link_still_works(
    viewer: Reader, records: Records, mp4: Path, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    root.symlink_to(tmp_path)
    assert viewer.get("media", records.landed(root / mp4.name)).content == SMALL


def test_a_manifest_that_is_a_link_is_not_followed(
    viewer: Reader, records: Records, mp4: Path, tmp_path: Path
) -> None:
    ref = records.landed(mp4)
    sidecar = mp4.with_name(f"{mp4.name}.json")
    sidecar.rename(tmp_path / "elsewhere.json")
    sidecar.symlink_to(tmp_path / "elsewhere.json")
    assert viewer.get("media", ref).status_code == 404


def test_only_a_file_is_read_as_one(viewer: Reader, records: Records, mp4: Path) -> None:
    ref = records.landed(mp4)
    mp4.unlink()
    os.mkfifo(mp4)
    assert viewer.get("media", ref).status_code == 404


def test_web_addresses_are_never_followed(viewer: Reader, records: Records) -> None:
    for number, uri in enumerate(
        (
            "http://127.0.0.1:1/a.mp4",
            "https://host/a.mp4",
            "data:video/mp4;base64,AAAA",
            "filecache::http://127.0.0.1:1/a",
            "file:///a.mp4::http://127.0.0.1:1/a",
            "etc/passwd",
        )
    ):
        reply = viewer.get("media", records.landed(uri, run_id=str(number)))
        assert reply.status_code == 404
        assert "not name a file in a store" in reply.json()["detail"]


def test_a_file_that_does_not_exist_is_reported_as_gone(
    viewer: Reader, records: Records, tmp_path: Path
) -> None:
    missing = viewer.get("media", records.landed(tmp_path / "missing.mp4"))
    assert missing.status_code == 404
    assert "is gone" in missing.json()["detail"]
    empty = tmp_path / "empty.mp4"
    empty.touch()
    assert viewer.get("media", records.landed(empty, run_id="r2")).status_code == 404


def test_a_file_that_vanishes_while_it_is_played_is_reported_as_gone(
    viewer: Reader, records: Records, mp4: Path
) -> None:
    ref = records.landed(mp4)
    assert viewer.get("media", ref, range="bytes=0-9").status_code == 206
    mp4.unlink()
    reply = viewer.get("media", ref, range="bytes=0-9")
    assert reply.status_code == 404
    assert "cannot be read any more" in reply.json()["detail"]


def test_a_render_without_a_file_has_no_video(viewer: Reader, records: Records) -> None:
    ref = records.add(state="deferred", render=render_payload())
    assert "not saved a video" in viewer.get("media", ref).json()["detail"]
    odd = records.add(
        run_id="odd", render=render_payload(), manifest={**manifest_payload("/x.mp4"), "uri": ["x"]}
    )
    assert viewer.get("media", odd).status_code == 404


def test_the_storage_connection_is_the_one_the_task_saved_with(records: Records) -> None:
    from airflow_provider_jimeng.web.store import TaskRef, storage_connection

    cases: list[tuple[Any, str | None]] = [
        ({"output_conn_id": "my_s3", "output_path": "s3://bucket/"}, "my_s3"),
        ({"output_conn_id": None, "output_path": "s3://other_s3@bucket/videos/"}, "other_s3"),
        ({"output_conn_id": "", "output_path": "s3://bucket/videos/"}, None),
        ({}, None),
        ("not a mapping", None),
        (None, None),
    ]
    for number, (arguments, conn_id) in enumerate(cases):
        ref = records.add(dag_id=f"dag_{number}", arguments=arguments)
        later = {"output_conn_id": "of_a_later_run"} if arguments else None
        records.add(dag_id=f"dag_{number}", run_id="z_later", arguments=later)
        assert storage_connection(records.session, TaskRef(**ref)) == conn_id, arguments


def test_for_an_old_run_the_tasks_latest_arguments_name_the_connection(records: Records) -> None:
    from airflow_provider_jimeng.web.store import TaskRef, storage_connection

    old = records.add(run_id="2026-01-01")
    records.add(run_id="2026-02-01", arguments={"output_conn_id": "february"})
    records.add(run_id="2026-03-01", arguments={"output_conn_id": "march"})
    assert storage_connection(records.session, TaskRef(**old)) == "march"


SIGNED = manifest_payload("s3://bucket/a.mp4", bytes=len(SMALL), sha256=hashlib.sha256(SMALL).hexdigest())


class SigningStore(ObjectStore):
    """A store that can sign links, as object stores can; or says something else."""

    def __init__(self, link: str) -> None:
        super().__init__()
        self.link = link
        self.pipe_file("/bucket/a.mp4", SMALL)
        self.pipe_file("/bucket/a.mp4.json", json.dumps(SIGNED).encode())

    def sign(self, path: str, expiration: int | None = None, **_: Any) -> str:
        return f"{self.link}{path}?seconds={expiration}"


class AwayError(Exception):
    """An error that no other store raises."""


class AwayStore(SigningStore):
    """A store that fails when it should return the bytes of a video."""

    def cat_file(self, path: str, *arguments: Any, **options: Any) -> Any:
        if path.endswith(".mp4"):
            raise AwayError(path)
        return super().cat_file(path, *arguments, **options)


def test_a_store_that_cannot_be_read_is_named_as_such(viewer: Reader, records: Records) -> None:
    unknown = viewer.get("media", records.landed("no-such-store://bucket/a.mp4", run_id="unknown"))
    arguments = {"output_conn_id": attached(AwayStore("no link"))}
    ref = records.add(run_id="away", render=render_payload(), manifest=SIGNED, arguments=arguments)
    away = viewer.get("media", ref)
    assert (unknown.status_code, away.status_code) == (404, 404)
    assert unknown.json()["detail"] == "The store cannot be read from the API server."
    assert away.json()["detail"] == "The store cannot be read from the API server (AwayError)."


def test_a_store_that_signs_sends_the_browser_to_itself_if_the_setting_says_so(
    viewer: Reader, records: Records, mp4: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def landed_in(link: str, run_id: str) -> dict[str, Any]:
        conn_id = attached(SigningStore(link))
        return records.add(
            run_id=run_id, render=render_payload(), manifest=SIGNED, arguments={"output_conn_id": conn_id}
        )

    signing = landed_in("https://store.example/", "signing")
    mumbling = landed_in("no link ", "mumbling")
    local = records.landed(mp4, run_id="local")
    assert viewer.get("media", signing).content == SMALL
    assert "media-src 'self';" in viewer.get("").headers["content-security-policy"]

    monkeypatch.setenv("AIRFLOW__JIMENG__SIGNED_MEDIA_LINKS", "True")

    reply = viewer.get("media", signing)
    assert reply.status_code == 302
    assert reply.headers["location"].startswith("https://store.example/")
    assert reply.headers["location"].endswith("bucket/a.mp4?seconds=300")
    assert reply.headers["cache-control"] == "no-store"
    assert viewer.get("media", {**signing, "download": 1}).content == SMALL
    assert viewer.get("media", mumbling).content == SMALL
    assert viewer.get("media", local).content == SMALL
    assert "media-src 'self' https:;" in viewer.get("").headers["content-security-policy"]


def landed_manifest(mp4: Path) -> dict[str, Any]:
    content = mp4.read_bytes()
    manifest = manifest_payload(mp4, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    mp4.with_name(f"{mp4.name}.json").write_text(json.dumps(manifest))
    return manifest


def test_a_store_is_queried_for_a_video_once_in_half_a_minute(mp4: Path) -> None:
    manifest = landed_manifest(mp4)
    first = media.open_video(manifest, None)
    assert media.open_video(manifest, None) is first


def test_reading_a_broken_store_says_which_error_it_had(mp4: Path) -> None:
    found = media.open_video(landed_manifest(mp4), None)
    mp4.unlink()
    with pytest.raises(MediaGoneError, match="FileNotFoundError"):
        found.read(Span(start=0, end=1))
