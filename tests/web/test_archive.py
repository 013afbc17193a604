# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from airflow_provider_jimeng.web import archive, store
from airflow_provider_jimeng.web.archive import LIST_NAME, MISSING_NAME
from airflow_provider_jimeng.web.media import PIECE_BYTES
from tests.harness.videos import video
from tests.web.records import manifest_payload

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from httpx import Response
    from sqlalchemy.orm import Session

    from tests.web.conftest import Reader
    from tests.web.records import Records

RUN = {"dag_id": "ads", "run_id": "run_1"}
KITE = '一只红色风筝 / a kite: "low" <camera>'


def saved(records: Records, folder: Path, name: str, **more: Any) -> dict[str, Any]:
    """Add a render whose file has a content of its own."""
    path = folder / f"{name}.mp4"
    path.write_bytes(video() + name.encode())
    return records.landed(path, render_id=name, **more)


def post(reader: Reader, kind: str, refs: Any) -> Response:
    """Post a selection as the page does: as a form."""
    headers = {"Authorization": f"Bearer {reader.token}", "Content-Type": "application/x-www-form-urlencoded"}
    body = urlencode({"refs": json.dumps(refs)})
    return reader.posted(f"/jimeng/api/files.{kind}", body.encode(), headers)


def listed(ref: dict[str, Any]) -> list[Any]:
    return [ref["dag_id"], ref["run_id"], ref["task_id"], ref["map_index"]]


def opened(reply: Response) -> zipfile.ZipFile:
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "application/zip"
    found = zipfile.ZipFile(io.BytesIO(reply.content))
    assert found.testzip() is None
    return found


def rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))


def test_a_zip_of_a_run_has_every_saved_video_under_a_readable_name_and_a_list(
    viewer: Reader, records: Records, tmp_path: Path
) -> None:
    for at, take in enumerate((1, "2")):
        saved(records, tmp_path, f"70{at}", map_index=at, prompt=KITE, arguments={"take": take}, commit=False)
    saved(records, tmp_path, "702", task_id="other", prompt=KITE)
    saved(records, tmp_path, "703", run_id="run_2")
    found = opened(viewer.get("api/files.zip", RUN))
    slug = "一只红色风筝-a-kite-low-camera"
    assert sorted(found.namelist()) == sorted(
        [LIST_NAME, f"{slug}_run_1.mp4", f"{slug}_take1_run_1_0.mp4", f"{slug}_take2_run_1_1.mp4"]
    )
    assert all(
        one.compress_type == zipfile.ZIP_STORED for one in found.infolist() if one.filename != LIST_NAME
    )
    for row in rows(found.read(LIST_NAME)):
        assert hashlib.sha256(found.read(row["file"])).hexdigest() == row["sha256"]
        assert row["prompt"] == KITE
    assert {row["render_id"] for row in rows(found.read(LIST_NAME))} == {"700", "701", "702"}


def test_videos_of_the_same_name_are_numbered(viewer: Reader, records: Records, tmp_path: Path) -> None:
    refs = [
        saved(records, tmp_path, str(at), task_id=f"t{at}", prompt=prompt)
        for at, prompt in enumerate(("Kite", "kite!", "…"))
    ]
    names = opened(post(viewer, "zip", [listed(ref) for ref in refs])).namelist()
    assert names == ["Kite_run_1.mp4", "kite_run_1-2.mp4", "run_1.mp4", LIST_NAME]


def test_a_video_that_is_gone_is_named_and_the_others_are_there(
    viewer: Reader, records: Records, tmp_path: Path
) -> None:
    refs = [saved(records, tmp_path, name, task_id=name) for name in ("one", "two", "three")]
    (tmp_path / "two.mp4").unlink()
    refs.append(records.add(task_id="failed", state="failed", render={"outcome": "failed"}))
    refs.append({**refs[0], "task_id": "never was"})
    found = opened(post(viewer, "zip", [listed(ref) for ref in refs]))
    assert {row["task_id"] for row in rows(found.read(LIST_NAME))} == {"one", "three"}
    missing = found.read(MISSING_NAME).decode()
    assert all(f"ads · run_1 · {name}: " in missing for name in ("two", "failed", "never was"))
    assert len(missing.splitlines()) == 3


def test_each_file_of_a_selection_is_asked_for_its_right(
    admin: Reader, viewer: Reader, without_xcom: Reader, records: Records, tmp_path: Path
) -> None:
    mine = saved(records, tmp_path, "mine")
    secret = saved(records, tmp_path, "secret", dag_id="secret_launch")
    refs = [listed(mine), listed(secret), ["secret_never_was", "r", "t", -1]]
    for reader, count in ((admin, 2), (viewer, 1), (without_xcom, 0)):
        found = opened(post(reader, "zip", refs))
        assert len(rows(found.read(LIST_NAME))) == count
        assert len([name for name in found.namelist() if name.endswith(".mp4")]) == count
        assert len(rows(post(reader, "csv", refs).content)) == count
        assert len(post(reader, "txt", refs).text.splitlines()) == count
        assert len(reader.get("api/files.txt").text.splitlines()) == count
    existing, absent = opened(post(viewer, "zip", refs)).read(MISSING_NAME).decode().splitlines()
    assert existing.partition(": ")[2] == absent.partition(": ")[2]


def test_all_that_fit_a_filter_can_be_selected_without_some(
    viewer: Reader, records: Records, tmp_path: Path
) -> None:
    refs = [saved(records, tmp_path, name, task_id=name) for name in ("one", "two", "three")]
    saved(records, tmp_path, "secret", dag_id="secret_launch")
    records.add(task_id="failed", state="failed", render={"outcome": "failed"})
    headers = {"Authorization": f"Bearer {viewer.token}", "Content-Type": "application/x-www-form-urlencoded"}

    def uris(query: str, without: list[dict[str, Any]]) -> set[str]:
        body = urlencode({"without": json.dumps([listed(ref) for ref in without])})
        reply = viewer.posted(f"/jimeng/api/files.txt?{query}", body.encode(), headers)
        return {line.rpartition("/")[2] for line in reply.text.splitlines()}

    assert uris("", []) == {"one.mp4", "two.mp4", "three.mp4"}
    assert uris("dag_id=ads", refs[:2]) == {"three.mp4"}
    assert uris("dag_id=ads&state=failed", []) == set()
    assert viewer.get("api/files.txt", {"state": "failed"}).text == ""
    assert len(viewer.get("api/files.txt", {"state": ["failed", "landed"]}).text.splitlines()) == 3


def test_a_selection_is_given_as_uris_and_as_csv_too(
    viewer: Reader, records: Records, tmp_path: Path
) -> None:
    ref = saved(records, tmp_path, "kite", prompt="=1+1")
    uris = post(viewer, "txt", [listed(ref)])
    assert uris.text == f"{(tmp_path / 'kite.mp4').as_uri()}\n"
    assert uris.headers["content-disposition"] == "attachment; filename*=UTF-8''ads-renders.txt"
    (row,) = rows(post(viewer, "csv", [listed(ref)]).content)
    assert (row["prompt"], row["uri"]) == ("'=1+1", uris.text.strip())


def test_a_render_that_a_task_only_submitted_is_found_where_it_was_saved(
    viewer: Reader, records: Records, tmp_path: Path
) -> None:
    from tests.web.records import render_payload

    submitted = records.add(task_id="submit", render=render_payload(task_id="kite"))
    saved(records, tmp_path, "kite", task_id="download")
    assert len(opened(post(viewer, "zip", [listed(submitted)])).namelist()) == 2


@pytest.mark.parametrize("body", ["", "refs=", "refs=7", "refs=[7]", "refs=[[1,2,3,4]]", 'refs=[["a","b","c",99999999999999]]',
                                  "refs=" + "[" * 5000, 'refs=[["","b","c",-1]]',
                                  'refs=[["a\\u0000","b","c",-1]]', "x=1&refs=[]&refs=[]"])  # fmt: skip
def test_what_is_no_selection_is_refused(viewer: Reader, body: str) -> None:
    headers = {"Authorization": f"Bearer {viewer.token}", "Content-Type": "application/x-www-form-urlencoded"}
    assert viewer.client.post("/jimeng/api/files.zip", content=body, headers=headers).status_code == 422


def test_a_selection_needs_a_sign_in_and_has_a_limit(anonymous: Reader, viewer: Reader) -> None:
    assert anonymous.client.post("/jimeng/api/files.zip", content="refs=[]").status_code == 401
    headers = {"Authorization": f"Bearer {viewer.token}", "Content-Type": "application/json"}
    large = viewer.client.post("/jimeng/api/files.zip", content=b" " * (9 * 1024 * 1024), headers=headers)
    assert large.status_code == 413
    empty = viewer.posted("/jimeng/api/files.zip", b"[]", headers)
    assert opened(empty).namelist() == [LIST_NAME]


def test_large_videos_pass_through_in_parts_and_a_right_lost_on_the_way_counts(
    session: Session, records: Records, tmp_path: Path
) -> None:
    refs = []
    for name in ("one", "two"):
        path = tmp_path / f"{name}.mp4"
        path.write_bytes(video())
        with path.open("r+b") as file:
            file.truncate(64 * PIECE_BYTES)
        refs.append(store.TaskRef(**records.landed(path, task_id=name, render_id=name)))
    asked: list[str] = []

    @contextmanager
    def same_session() -> Iterator[Session]:
        yield session

    def may_see(dag_id: str) -> bool:
        asked.append(dag_id)
        return len(asked) < 2

    target = tmp_path / "all.zip"
    longest = 0
    with target.open("wb") as written:
        for piece in archive.archive(refs, archive.Reader(session=same_session, may_see=may_see)):
            longest = max(longest, len(piece))
            written.write(piece)
    assert longest < 2 * PIECE_BYTES
    with zipfile.ZipFile(target) as found:
        assert found.getinfo("A-paper-boat-sails-down-a-rainy-street_run_1.mp4").file_size == 64 * PIECE_BYTES
        assert "two" in found.read(MISSING_NAME).decode()
    assert asked == ["ads", "ads"]


def test_a_video_that_ends_early_is_named_as_not_whole(
    session: Session, records: Records, tmp_path: Path
) -> None:
    path = tmp_path / "one.mp4"
    path.write_bytes(video())
    with path.open("r+b") as file:
        file.truncate(4 * PIECE_BYTES)
    ref = store.TaskRef(**records.landed(path))

    @contextmanager
    def same_session() -> Iterator[Session]:
        yield session

    content = b""
    for piece in archive.archive([ref], archive.Reader(session=same_session, may_see=lambda _: True)):
        content += piece
        path.unlink(missing_ok=True)
    with zipfile.ZipFile(io.BytesIO(content)) as found:
        assert found.testzip() is None
        assert "not complete" in found.read(MISSING_NAME).decode()
        assert rows(found.read(LIST_NAME)) == []


def test_a_video_of_more_than_four_gigabytes_has_the_fields_of_zip64() -> None:
    assert manifest_payload("/x.mp4")["uri"]
    pipe = archive._Pipe()

    class Large:
        size = 5 * 1024**3

        def pieces(self) -> Iterator[bytes]:
            yield b"ftyp"

    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as target:
        first = next(archive._stored(target, pipe, "large.mp4", Large(), None))  # type: ignore[arg-type]
    assert int.from_bytes(first[4:6], "little") == 45  # the version of ZIP that is needed to read it
