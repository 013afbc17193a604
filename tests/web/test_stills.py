# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from airflow_provider_jimeng.finishing import finish
from airflow_provider_jimeng.finishing.files import Tile, parse_still, parse_track
from tests.finishing.clips import clip
from tests.harness.stores import ObjectStore, attached

if TYPE_CHECKING:
    from tests.web.conftest import Reader
    from tests.web.records import Records

KINDS = ("poster", "preview")


@pytest.fixture
def kite(tmp_path: Path) -> Path:
    """A saved video with a poster and a preview beside it."""
    path = tmp_path / "风筝 kite.mp4"
    path.write_bytes(clip(frames=16))
    finish(str(path), poster=True, preview={"width": 64})
    return path


def beside(video: Path, ending: str) -> Path:
    return video.with_name(f"{video.stem}.{ending}")


def size_of(content: bytes) -> tuple[int, int]:
    return Image.open(io.BytesIO(content)).size


def test_the_poster_and_the_preview_beside_a_video_are_sent(
    viewer: Reader, records: Records, kite: Path
) -> None:
    ref = records.landed(kite)
    poster = viewer.get("media", {**ref, "part": "poster"}, accept_encoding="gzip")
    assert (poster.status_code, poster.content) == (200, beside(kite, "poster.jpg").read_bytes())
    assert poster.headers["content-type"] == "image/jpeg"
    assert poster.headers["x-content-type-options"] == "nosniff"
    assert poster.headers["cache-control"] == "private, no-cache"
    assert viewer.get("media", {**ref, "part": "preview"}).content == beside(kite, "preview.jpg").read_bytes()
    tiles = viewer.get("api/preview", ref).json()["tiles"]
    assert tiles == [{"x": x, "y": 0, "width": 64, "height": 36} for x in (0, 64, 128, 192)]
    assert viewer.get("media", ref).content == kite.read_bytes(), "without a part it is the video"


def test_a_poster_in_webp_is_sent_too(viewer: Reader, records: Records, kite: Path) -> None:
    beside(kite, "poster.jpg").unlink()
    beside(kite, "poster.jpg.json").unlink()
    finish(str(kite), poster={"format": "webp"})
    assert (
        viewer.get("media", {**records.landed(kite), "part": "poster"}).headers["content-type"]
        == "image/webp"
    )


def test_a_picture_is_answered_in_ranges_and_not_sent_again(
    viewer: Reader, records: Records, kite: Path
) -> None:
    ref = {**records.landed(kite), "part": "poster"}
    content = beside(kite, "poster.jpg").read_bytes()
    part = viewer.get("media", ref, range="bytes=4-9")
    assert (part.status_code, part.content) == (206, content[4:10])
    assert part.headers["content-range"] == f"bytes 4-9/{len(content)}"
    assert viewer.get("media", ref, range=f"bytes={len(content)}-").status_code == 416
    assert viewer.get("media", ref, if_none_match=part.headers["etag"]).status_code == 304
    head = viewer.request("HEAD", "media", ref, accept_encoding="identity")
    assert (head.headers["content-length"], head.content) == (str(len(content)), b"")


def test_the_rights_are_those_of_the_video(
    viewer: Reader, without_xcom: Reader, anonymous: Reader, records: Records, kite: Path
) -> None:
    hidden, ref = records.landed(kite, dag_id="secret_launch"), records.landed(kite)
    for reader, its, status in ((viewer, hidden, 403), (without_xcom, ref, 403), (anonymous, ref, 401)):
        replies = [reader.get("media", {**its, "part": kind}) for kind in KINDS]
        replies.append(reader.get("api/preview", its))
        assert [reply.status_code for reply in replies] == [status] * len(replies)
    assert viewer.get("media", {**ref, "part": "../poster"}).status_code == 422


def nothing(viewer: Reader, ref: dict[str, Any]) -> bool:
    """Whether the video has no pictures, as far as the server tells."""
    replies = [viewer.get("media", {**ref, "part": kind}) for kind in KINDS]
    assert not any(reply.content for reply in replies)
    return [reply.status_code for reply in replies] == [204, 204] and not tiles(viewer, ref)


def tiles(viewer: Reader, ref: dict[str, Any]) -> list[Any]:
    return list(viewer.get("api/preview", ref).json()["tiles"])


def test_a_video_without_pictures_has_no_content_which_is_no_error(
    viewer: Reader, records: Records, tmp_path: Path
) -> None:
    (tmp_path / "plain.mp4").write_bytes(clip())
    assert nothing(viewer, records.landed(tmp_path / "plain.mp4"))
    running = records.add(run_id="r2", state="running", render={"task_id": "7"})
    assert viewer.get("media", {**running, "part": "poster"}).status_code == 404
    assert viewer.get("api/preview", running).status_code == 404


def test_the_pictures_of_an_older_video_of_the_same_name_are_not_shown(
    viewer: Reader, records: Records, kite: Path
) -> None:
    kite.write_bytes(clip(frames=9))
    assert nothing(viewer, records.landed(kite))


def test_a_picture_that_is_not_what_its_manifest_says_is_not_shown(
    viewer: Reader, records: Records, kite: Path
) -> None:
    for kind, ending in zip(KINDS, ("poster.jpg", "preview.jpg"), strict=True):
        beside(kite, ending).write_bytes(beside(kite, ending).read_bytes() + b"!")
        assert viewer.get("media", {**records.landed(kite, run_id=kind), "part": kind}).status_code == 204
    beside(kite, "preview.vtt").write_bytes(b"WEBVTT\n\n")
    assert not tiles(viewer, records.landed(kite, run_id="track"))


def test_a_link_or_another_kind_of_file_under_the_name_of_a_poster_is_not_sent(
    viewer: Reader, records: Records, kite: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "airflow.cfg"
    secret.write_text("fernet_key = very secret\n")
    poster, manifest = beside(kite, "poster.jpg"), beside(kite, "poster.jpg.json")
    claimed = json.loads(manifest.read_text())
    claimed |= {"sha256": hashlib.sha256(secret.read_bytes()).hexdigest(), "bytes": secret.stat().st_size}
    manifest.write_text(json.dumps(claimed))
    ref = {**records.landed(kite), "part": "poster"}
    poster.unlink()
    poster.symlink_to(secret)
    assert viewer.get("media", ref).status_code == 204
    poster.unlink()
    poster.write_bytes(secret.read_bytes())
    assert viewer.get("media", ref).status_code == 204


def test_the_pictures_of_an_object_store_are_found_without_listing_a_folder(
    viewer: Reader, records: Records, kite: Path
) -> None:
    class Unlisted(ObjectStore):
        def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
            raise AssertionError(path)

    store = Unlisted()
    conn_id = attached(store)
    for path in kite.parent.iterdir():
        store.pipe_file(f"bucket/{path.name}", path.read_bytes())
    uri = f"s3://bucket/{kite.name}"
    ref = records.landed(
        uri, sha256=hashlib.sha256(kite.read_bytes()).hexdigest(), arguments={"output_conn_id": conn_id}
    )
    poster = viewer.get("media", {**ref, "part": "poster"})
    assert poster.content == beside(kite, "poster.jpg").read_bytes()
    assert size_of(viewer.get("media", {**ref, "part": "preview"}).content) == (256, 36)
    assert len(tiles(viewer, ref)) == 4


def test_a_manifest_is_a_stills_only_if_the_video_is_its_one_source() -> None:
    sha256 = "a" * 64
    good: dict[str, Any] = {
        "kind": "poster", "sha256": "b" * 64, "bytes": 7, "source": [{"uri": "x", "sha256": sha256}],
    }  # fmt: skip
    assert parse_still(json.dumps(good).encode(), sha256) is not None
    two = [*good["source"], *good["source"]]
    wrong: tuple[dict[str, Any], ...] = (
        {"kind": "rendition"}, {"sha256": "B" * 64}, {"sha256": None}, {"bytes": "7"}, {"source": []}, {"source": two},
        {"source": [{"sha256": "c" * 64}]}, {"source": "ab"}, {"source": None},
    )  # fmt: skip
    assert not [change for change in wrong if parse_still(json.dumps(good | change).encode(), sha256)]
    for content in (b"", b"[]", b"null", b"[" * 100_000, b"\xff"):
        assert parse_still(content, sha256) is None


def test_a_track_gives_the_frames_that_it_names() -> None:
    lines = ["WEBVTT", "", "a.jpg#xywh=0,10,64,36", "b.jpg#xywh=1,2,0,4", "c.jpg#xywh=-1,2,3,4", "d.jpg"]
    assert parse_track("\n".join(lines).encode() + b"\xff") == [Tile(x=0, y=10, width=64, height=36)]
