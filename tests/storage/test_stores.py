# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from airflow_provider_jimeng.core.errors import LandingError, ParameterError, TargetTakenError
from airflow_provider_jimeng.storage.landing import already_landed, still_landed
from airflow_provider_jimeng.storage.output import OutputPath, safe_name
from tests.harness.media_server import MediaServer, whole
from tests.harness.stores import ObjectStore, RemoteStore, attached
from tests.harness.videos import video

if TYPE_CHECKING:
    from tests.storage.conftest import Lander

VIDEO = video(frames=24)
TOKEN = "0123456789abcdef"
NAME = "t2v_720p-7392616336519610409.mp4"
FOLDERS = {"memory": "memory://bucket/videos/", "s3": "s3://bucket/videos/"}


def folder_of(store: RemoteStore) -> str:
    return FOLDERS[str(store.protocol)]


@pytest.fixture(params=[RemoteStore, ObjectStore], ids=["in the open", "whole puts"])
def store(request: pytest.FixtureRequest) -> RemoteStore:
    made: RemoteStore = request.param()
    return made


def test_a_video_lands_in_a_store_with_its_manifest(store: RemoteStore, lander: Lander) -> None:
    conn_id = attached(store)
    with MediaServer(answers=[whole(VIDEO)]) as server:
        manifest = lander(server, folder_of(store), output_conn_id=conn_id)
        again = lander(server, folder_of(store), output_conn_id=conn_id)
        assert len(server.seen) == 1
    assert manifest == again
    assert manifest.uri == f"{folder_of(store)}{NAME}"
    assert list(store.files()) == [f"/bucket/videos/{NAME}", f"/bucket/videos/{NAME}.json"]
    assert store.files()[f"/bucket/videos/{NAME}"] == VIDEO
    assert still_landed(manifest, output_conn_id=conn_id) == manifest


def test_a_connection_in_the_url_opens_the_store_and_stays_out_of_the_manifest(
    store: RemoteStore, lander: Lander
) -> None:
    output_path = folder_of(store).replace("bucket", f"{attached(store)}@bucket")
    with MediaServer(answers=[whole(VIDEO)]) as server:
        manifest = lander(server, output_path)
    assert manifest.uri == f"{folder_of(store)}{NAME}"
    assert already_landed(OutputPath(output_path=output_path), lander.render()) == manifest
    assert still_landed(manifest, output_path=output_path) == manifest


def test_an_object_store_gets_the_final_name_at_once_and_others_a_temporary_one(lander: Lander) -> None:
    with MediaServer(answers=[whole(VIDEO)]) as server:
        for made in (ObjectStore(), RemoteStore()):
            lander(server, folder_of(made), output_conn_id=attached(made))
            assert made.puts[0].endswith(".part") is not isinstance(made, ObjectStore)


def test_an_upload_that_fails_leaves_nothing_and_the_next_one_works(
    store: RemoteStore, lander: Lander
) -> None:
    conn_id = attached(store)
    store.puts_to_fail = 1
    with MediaServer(answers=[whole(VIDEO)]) as server:
        with pytest.raises(LandingError, match="ConnectionResetError: the store hung up"):
            lander(server, folder_of(store), output_conn_id=conn_id)
        assert store.files() == {}
        lander(server, folder_of(store), output_conn_id=conn_id)
    assert store.files()[f"/bucket/videos/{NAME}"] == VIDEO


def test_an_upload_that_loses_bytes_is_noticed(store: RemoteStore, lander: Lander) -> None:
    store.bytes_to_lose = 1
    with (
        MediaServer(answers=[whole(VIDEO)]) as server,
        pytest.raises(
            LandingError, match=f"{len(VIDEO) - 1} bytes in the store after an upload of {len(VIDEO)}"
        ),
    ):
        lander(server, folder_of(store), output_conn_id=attached(store))
    assert store.files() == {}


def test_a_rename_that_fails_leaves_nothing(lander: Lander) -> None:
    store = RemoteStore()
    store.moves_to_fail = 1
    with MediaServer(answers=[whole(VIDEO)]) as server, pytest.raises(LandingError):
        lander(server, folder_of(store), output_conn_id=attached(store))
    assert store.files() == {}


def test_a_rename_that_loses_bytes_is_noticed(lander: Lander) -> None:
    class Loses(RemoteStore):
        def mv(self, path1: str, path2: str, **options: Any) -> None:
            super().mv(path1, path2, **options)
            self.pipe_file(path2, self.cat_file(path2)[:-1])

    store = Loses()
    with (
        MediaServer(answers=[whole(VIDEO)]) as server,
        pytest.raises(LandingError, match=f"{len(VIDEO) - 1} bytes in the store"),
    ):
        lander(server, folder_of(store), output_conn_id=attached(store))
    assert store.files() == {}


def test_a_failed_upload_over_an_older_object_leaves_that_alone(lander: Lander) -> None:
    store = ObjectStore()
    store.pipe_file("/bucket/v.mp4", b"older")
    store.puts_to_fail = 1
    with MediaServer(answers=[whole(VIDEO)]) as server, pytest.raises(LandingError):
        lander(server, "s3://bucket/v.mp4", output_conn_id=attached(store), overwrite=True)
    assert store.files()["/bucket/v.mp4"] == b"older"


def test_a_store_that_does_not_rename_over_files_is_helped(lander: Lander) -> None:
    store = RemoteStore()
    store.refuses_to_replace = True
    store.pipe_file("/bucket/v.mp4", b"older")
    conn_id = attached(store)
    with MediaServer(answers=[whole(VIDEO)]) as server:
        with pytest.raises(TargetTakenError):
            lander(server, "memory://bucket/v.mp4", output_conn_id=conn_id)
        lander(server, "memory://bucket/v.mp4", output_conn_id=conn_id, overwrite=True)
    assert store.files()["/bucket/v.mp4"] == VIDEO


def test_a_landing_killed_before_its_manifest_is_completed_in_a_store_too(
    store: RemoteStore, lander: Lander
) -> None:
    conn_id, path = attached(store), f"/bucket/videos/{NAME}"
    with MediaServer(answers=[whole(VIDEO)]) as server:
        manifest = lander(server, folder_of(store), output_conn_id=conn_id)
        store.pipe_file(f"/bucket/videos/.{NAME}.json.part", store.cat_file(f"{path}.json"))
        store.rm_file(f"{path}.json")
        assert lander(server, folder_of(store), output_conn_id=conn_id) == manifest
        assert len(server.seen) == 1
    assert list(store.files()) == [path, f"{path}.json"]


def test_a_landing_killed_before_it_tidied_up_is_tidied_up_after(store: RemoteStore, lander: Lander) -> None:
    conn_id, path = attached(store), f"/bucket/videos/{NAME}"
    with MediaServer(answers=[whole(VIDEO)]) as server:
        manifest = lander(server, folder_of(store), output_conn_id=conn_id)
        store.pipe_file(f"/bucket/videos/.{NAME}.json.part", store.cat_file(f"{path}.json"))
        assert lander(server, folder_of(store), output_conn_id=conn_id) == manifest
    assert list(store.files()) == [path, f"{path}.json"]


def left_behind(store: RemoteStore) -> None:
    """Half an upload, and the claim of its landing, which is over."""
    claim = json.dumps({"token": TOKEN, "rest": [], "ended": True}).encode()
    store.pipe_file(f"/bucket/videos/.{NAME}.claim.part", claim)
    store.pipe_file(f"/bucket/videos/.{NAME}.{TOKEN}.part", VIDEO[:1000])


def test_leftovers_in_a_store_are_removed(lander: Lander) -> None:
    store = RemoteStore()
    left_behind(store)
    with MediaServer(answers=[whole(VIDEO)]) as server:
        lander(server, folder_of(store), output_conn_id=attached(store))
    assert list(store.files()) == [f"/bucket/videos/{NAME}", f"/bucket/videos/{NAME}.json"]


def test_half_a_video_that_a_killed_copy_left_is_replaced(lander: Lander) -> None:
    """A store that renames by copying has it under the final name; what announced it is there, no manifest is."""
    store, path = RemoteStore(), f"/bucket/videos/{NAME}"
    conn_id = attached(store)
    with MediaServer(answers=[whole(VIDEO)]) as server:
        lander(server, folder_of(store), output_conn_id=conn_id)
        store.pipe_file(f"/bucket/videos/.{NAME}.json.part", store.cat_file(f"{path}.json"))
        left_behind(store)
        store.pipe_file(f"/bucket/videos/.{NAME}.previous.part", b"put aside for its replacement")
        store.pipe_file(path, VIDEO[:1000])
        store.rm_file(f"{path}.json")
        target = OutputPath(output_path=folder_of(store), output_conn_id=conn_id)
        assert already_landed(target, lander.render()) is None
        lander(server, folder_of(store), output_conn_id=conn_id)
    assert store.files()[path] == VIDEO
    assert list(store.files()) == [path, f"{path}.json"]


def test_a_rename_that_loses_the_new_file_leaves_the_older_one(lander: Lander) -> None:
    class Loses(RemoteStore):
        def mv(self, path1: str, path2: str, **options: Any) -> None:
            self.rm_file(path1)
            raise ConnectionResetError("the store hung up")

    store = Loses()
    store.pipe_file("/bucket/v.mp4", b"older")
    with MediaServer(answers=[whole(VIDEO)]) as server, pytest.raises(LandingError):
        lander(server, "memory://bucket/v.mp4", output_conn_id=attached(store), overwrite=True)
    assert store.files()["/bucket/v.mp4"] == b"older"


def test_unfinished_uploads_that_may_not_be_looked_for_stop_no_landing(
    lander: Lander, caplog: pytest.LogCaptureFixture
) -> None:
    class Guarded(ObjectStore):
        def split_path(self, path: str) -> tuple[str, str, None]:
            bucket, _, key = path.strip("/").partition("/")
            return bucket, key, None

        def call_s3(self, method: str, **arguments: Any) -> dict[str, Any]:
            raise PermissionError("AccessDenied")

    store = Guarded()
    with MediaServer(answers=[whole(VIDEO)]) as server, caplog.at_level("INFO"):
        lander(server, folder_of(store), output_conn_id=attached(store))
    assert store.files()[f"/bucket/videos/{NAME}"] == VIDEO
    assert "Cannot look for unfinished uploads" in caplog.text


def test_unfinished_uploads_of_this_object_alone_are_aborted(lander: Lander) -> None:
    class Multipart(ObjectStore):
        uploads: ClassVar[dict[str, str]] = {}

        def split_path(self, path: str) -> tuple[str, str, None]:
            bucket, _, key = path.strip("/").partition("/")
            return bucket, key, None

        def call_s3(self, method: str, **arguments: Any) -> dict[str, Any]:
            if method == "abort_multipart_upload":
                assert self.uploads.pop(arguments["UploadId"]) == arguments["Key"]
                return {}
            found = [
                {"UploadId": upload, "Key": key}
                for upload, key in self.uploads.items()
                if key.startswith(arguments["Prefix"])
            ]
            return {"Uploads": found} if found else {}

    store = Multipart()
    store.uploads.update({"1": f"videos/{NAME}", "2": f"videos/{NAME}.other", "3": "else"})
    with MediaServer(answers=[whole(VIDEO)]) as server:
        lander(server, folder_of(store), output_conn_id=attached(store))
    assert store.uploads == {"2": f"videos/{NAME}.other", "3": "else"}


def test_a_video_may_lie_at_the_root_of_a_store(lander: Lander) -> None:
    store = RemoteStore()
    with MediaServer(answers=[whole(VIDEO)]) as server:
        lander(server, "memory://v.mp4", output_conn_id=attached(store))
    assert list(store.files()) == ["/v.mp4", "/v.mp4.json"]


def test_a_store_that_cannot_be_read_is_not_an_empty_store(lander: Lander) -> None:
    class Offline(ObjectStore):
        def info(self, path: str, **options: object) -> dict[str, object]:
            raise PermissionError("403")

    conn_id = attached(Offline())
    with pytest.raises(LandingError, match=r"Cannot read s3://bucket/videos/.*PermissionError"):
        already_landed(OutputPath(output_path="s3://bucket/videos/", output_conn_id=conn_id), lander.render())


def test_a_directory_in_the_files_place_is_named(tmp_path: Path, lander: Lander) -> None:
    (tmp_path / "videos").mkdir()
    with (
        MediaServer(answers=[whole(VIDEO)]) as server,
        pytest.raises(LandingError, match=r"is a directory. End output_path with /"),
    ):
        lander(server, f"{tmp_path}/videos")


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path, lander: Lander) -> None:
    (tmp_path / "file").write_text("in the way")
    with MediaServer(answers=[whole(VIDEO)]) as server, pytest.raises(LandingError, match="Cannot"):
        lander(server, f"{tmp_path}/file/below/")
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_disk_that_takes_no_more_is_a_landing_error(tmp_path: Path, lander: Lander) -> None:
    large = VIDEO + (8 * 1024 * 1024).to_bytes(4, "big") + b"free" + bytes(8 * 1024 * 1024 - 8)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with MediaServer(answers=[whole(large)]) as server:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4 * 1024 * 1024, hard))
        try:
            with pytest.raises(LandingError, match=r"Cannot write file://.*File too large"):
                lander(server, f"{tmp_path}/")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert list(tmp_path.iterdir()) == []
        assert lander(server, f"{tmp_path}/").bytes == len(large)


def test_an_empty_output_path_is_refused(subtests: pytest.Subtests) -> None:
    cases: list[str] = ["", "  "]
    for output_path in cases:
        with subtests.test(output_path=repr(output_path)):
            with pytest.raises(ParameterError, match="output_path: is empty"):
                OutputPath(output_path=output_path)


def test_a_store_that_nobody_knows_is_named_with_the_remedy(lander: Lander) -> None:
    with pytest.raises(ParameterError, match=r"output_path: nosuch://bucket/.* cannot be opened"):
        OutputPath(output_path="nosuch://bucket/").file_for(lander.render())


def test_a_relative_path_is_made_absolute(lander: Lander) -> None:
    file = OutputPath(output_path="videos/").file_for(lander.render())
    assert file.uri == f"file://{Path.cwd()}/videos/{NAME}"
    assert file.path == f"{Path.cwd()}/videos/{NAME}"


def test_a_home_directory_is_found(lander: Lander) -> None:
    assert (
        OutputPath(output_path="~/videos/").file_for(lander.render()).path == f"{Path.home()}/videos/{NAME}"
    )


def test_a_vendor_id_in_a_file_name_is_kept_if_it_is_plain(subtests: pytest.Subtests) -> None:
    cases: list[tuple[str, bool]] = [
        ("7392616336519610409", True),
        ("task_A-1.x", True),
        ("a/b", False),
        ("图", False),
        ("9" * 200, False),
    ]
    for task_id, plain in cases:
        with subtests.test(task_id=repr(task_id), plain=repr(plain)):
            name = safe_name(task_id)
            assert (name == task_id) is plain
            assert "/" not in name
            assert len(name.encode()) < 120


def test_ids_that_look_alike_when_cleaned_stay_apart() -> None:
    assert safe_name("a/b") != safe_name("a:b")
