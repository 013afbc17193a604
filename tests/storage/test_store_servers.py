# SPDX-License-Identifier: Apache-2.0
"""Landing, image input and records on stores that are servers: an S3, and SFTP; local files beside them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_jimeng.core.errors import (
    LandingError,
    ParameterError,
    TargetTakenError,
    UnreadableImageError,
)
from airflow_provider_jimeng.core.parameters import RenderRequest
from airflow_provider_jimeng.core.record import Record, RecordState, TaskKey
from airflow_provider_jimeng.images import open_images
from airflow_provider_jimeng.storage.download import Patience
from airflow_provider_jimeng.storage.landing import already_landed
from airflow_provider_jimeng.storage.output import OutputPath, check_names
from airflow_provider_jimeng.storage.record_objects import RecordObjects
from tests.harness.lander import LANDED
from tests.harness.media_server import Answer, MediaServer, Request, whole
from tests.harness.processes import Service, free_port, stop_all
from tests.harness.relay import Relay
from tests.harness.store_servers import S3Server, SftpServer
from tests.harness.videos import video

if TYPE_CHECKING:
    from tests.storage.conftest import Lander

pytestmark = pytest.mark.real

VIDEO = video(frames=24)
OTHER_VIDEO = video(frames=10)
NAME = "t2v_720p-7392616336519610409.mp4"
MIB = 1024 * 1024


class LocalFolder:
    """A folder with the face of the servers."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "files"

    def objects(self) -> dict[str, bytes]:
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in paths}


@dataclass(frozen=True, slots=True)
class Store:
    """A running store, and the URL of its root with the Airflow connection in it."""

    server: S3Server | SftpServer | LocalFolder
    root: str

    @property
    def names(self) -> list[str]:
        return list(self.server.objects())

    def below(self, folder: str) -> dict[str, bytes]:
        return {name: data for name, data in self.server.objects().items() if name.startswith(folder)}

    def put(self, name: str, data: bytes) -> str:
        """Place a file without any code of ours or of fsspec's; return its URL."""
        if isinstance(self.server, S3Server):
            self.server.client().put_object(Bucket=self.server.bucket, Key=name, Body=data)
        else:
            path = self.server.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return f"{self.root}{name}"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server(home=tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="module")
def sftp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpServer]:
    import asyncssh

    asyncssh.set_log_level("WARNING")  # connections that close at exit would write to a log that is gone
    with SftpServer(home=tmp_path_factory.mktemp("sftp")) as server:
        yield server


def connect(server: S3Server | SftpServer, monkeypatch: pytest.MonkeyPatch, port: int | None = None) -> str:
    """Give Airflow a connection of its own to a server; return the URL of the root."""
    conn_id = f"store_{port or server.port}"
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(server.connection(port)))
    if isinstance(server, S3Server):
        return f"s3://{conn_id}@{server.bucket}/"
    return f"sftp://{conn_id}@127.0.0.1/"


@pytest.fixture(params=["file", "s3", "sftp"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    if request.param == "file":
        local = LocalFolder(tmp_path)
        yield Store(local, f"{local.folder.as_uri()}/")
        return
    server: S3Server | SftpServer = request.getfixturevalue(request.param)
    yield Store(server, connect(server, monkeypatch))
    if isinstance(server, S3Server):
        for key in server.objects():
            server.client().delete_object(Bucket=server.bucket, Key=key)
    else:
        for name in server.objects():
            (server.folder / name).unlink()


def test_a_video_lands_with_its_manifest_and_a_second_landing_is_free(store: Store, lander: Lander) -> None:
    folder = f"{store.root}videos/monday/"
    with MediaServer(answers=[whole(VIDEO)]) as media:
        manifest = lander(media, folder)
        assert lander(media, folder) == manifest
        assert len(media.seen) == 1
    objects = store.server.objects()
    assert list(objects) == [f"videos/monday/{NAME}", f"videos/monday/{NAME}.json"]
    assert objects[f"videos/monday/{NAME}"] == VIDEO
    assert json.loads(objects[f"videos/monday/{NAME}.json"]) == manifest.to_payload()
    assert "store_" not in manifest.uri


def test_a_path_object_and_the_longest_name_land_on_every_store(store: Store, lander: Lander) -> None:
    name = f"{'风' * 82}.mp4"
    folder = ObjectStoragePath(f"{store.root}videos")
    for path in (folder, folder / name):
        target = OutputPath.of(path)
        check_names(target)
        with MediaServer(answers=[whole(VIDEO)]) as media:
            lander(media, target.output_path)
    assert store.names == sorted(
        [f"videos/{NAME}", f"videos/{NAME}.json", f"videos/{name}", f"videos/{name}.json"]
    )
    with pytest.raises(TargetTakenError, match=r"is a directory\. End output_path with /"):
        OutputPath.of(f"{store.root}videos").file().size()


def test_an_altered_video_is_landed_again_under_its_name(store: Store, lander: Lander) -> None:
    folder = f"{store.root}videos/"
    with MediaServer(answers=[whole(VIDEO)]) as media:
        lander(media, folder)
        store.put(f"videos/{NAME}", VIDEO[:-1] + b"x")
        assert already_landed(OutputPath(output_path=folder), lander.render()) is None
        lander(media, folder)
    assert store.server.objects()[f"videos/{NAME}"] == VIDEO


def test_a_first_frame_is_read(store: Store) -> None:
    from PIL import Image

    picture = io.BytesIO()
    Image.new("RGB", (1280, 720), "red").save(picture, "PNG")
    url = store.put("frames/kite.png", picture.getvalue())
    request = RenderRequest.build(prompt="a red kite", model="i2v_first_720p", first_frame=url)
    opened = open_images(request)
    assert opened.first_frame is not None
    assert opened.first_frame.data == picture.getvalue()
    assert (opened.first_frame.width, opened.first_frame.height) == (1280, 720)


def test_a_first_frame_that_is_not_there_is_named(store: Store) -> None:
    request = RenderRequest.build(
        prompt="a red kite", model="i2v_first_720p", first_frame=f"{store.root}frames/none.png"
    )
    with pytest.raises(ParameterError, match=r"first_frame: '.*none\.png' cannot be opened") as caught:
        open_images(request)
    assert not caught.value.retryable


def test_a_first_frame_in_a_store_that_does_not_answer_is_worth_a_retry(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{connect(s3, monkeypatch, free_port())}frames/kite.png"
    request = RenderRequest.build(prompt="a red kite", model="i2v_first_720p", first_frame=url)
    with pytest.raises(UnreadableImageError, match=r"first_frame: .*EndpointConnectionError"):
        open_images(request)
    assert UnreadableImageError.retryable


def test_records_are_kept_found_and_deleted(store: Store) -> None:
    key = TaskKey(dag_id="d", run_id="r", task_id="t", map_index=3)
    record = Record(
        state=RecordState.INTENT,
        key=key,
        requested="f" * 64,
        fingerprint="f" * 64,
        take=1,
        max_tries=1,
        intent_at="2026-01-02T03:04:05Z",
    )
    records = RecordObjects(OutputPath(output_path=f"{store.root}videos/"))
    assert (records.read(key), records.of_request(record.fingerprint)) == (None, [])
    records.write(record)
    records.write(record)
    assert records.read(key) == record
    assert records.of_request(record.fingerprint) == [record]
    records.remove(record)
    assert records.read(key) is None
    assert not [name for name in store.names if name.endswith(".part")]


def test_an_object_says_that_it_is_a_video(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, lander: Lander
) -> None:
    with MediaServer(answers=[whole(VIDEO)]) as media:
        lander(media, f"{connect(s3, monkeypatch)}typed/")
    for name, kind in ((NAME, "video/mp4"), (f"{NAME}.json", "application/json")):
        assert s3.client().head_object(Bucket=s3.bucket, Key=f"typed/{name}")["ContentType"] == kind


# ------------------------------------------------------------------------------------------- killed on the way


def padded(size: int) -> bytes:
    """A video that is large because of a box that players skip."""
    return VIDEO + size.to_bytes(4, "big") + b"free" + bytes(size - 8)


SHORT_SILENCE = 2.0
"""Seconds of silence after which a process takes over, where its test ends or stops the owner."""
TAKE_OVER: dict[str, Any] = {"sleep": time.sleep, "patience": Patience(silence_seconds=SHORT_SILENCE)}
"""The same for a process that the test has killed already, in this process."""


def landing_process(
    home: Path,
    media: MediaServer,
    output_path: str,
    lander: Lander,
    *,
    task_id: str | None = None,
    **changes: Any,
) -> Service:
    """Start a process that lands a render."""
    render = lander.render() if task_id is None else lander.render(task_id=task_id)
    options: dict[str, Any] = {
        "url": media.url,
        "endpoint": media.endpoint,
        "output_path": output_path,
        "render": render.to_payload(),
        **changes,
    }
    process = Service(
        name="lander",
        argv=[sys.executable, "-m", "tests.harness.lander", json.dumps(options)],
        env=os.environ,
        log_file=home / f"lander-{secrets.token_hex(4)}.log",
    )
    process.start()
    return process


def landed_by(process: Service) -> dict[str, Any]:
    """Wait for the end of a landing process; return the manifest that it printed."""
    wait_until(lambda: not process.alive)
    printed = [line for line in process.log_tail(400).splitlines() if line.startswith(LANDED)]
    assert len(printed) == 1, process.log_tail()
    return dict(json.loads(printed[0].removeprefix(LANDED)))


def wait_until(is_so: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def kill_in_upload(
    server: S3Server | SftpServer,
    media: MediaServer,
    monkeypatch: pytest.MonkeyPatch,
    lander: Lander,
    path: str,
) -> None:
    """Land in a process that is killed when 12 MiB are on their way to the store."""
    with Relay(server.port, silent_after=12 * MIB) as relay:
        root = connect(server, monkeypatch, relay.port)
        process = landing_process(server.home, media, f"{root}{path}", lander)
        try:
            assert relay.silent.wait(60), process.log_tail()
            process.check()
        finally:
            process.signal(signal.SIGKILL)
            process.reap()


def test_an_upload_killed_on_its_way_to_s3_leaves_no_object_and_the_next_landing_no_rest(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, lander: Lander
) -> None:
    large = padded(110 * MIB)
    strangers = s3.client().create_multipart_upload(Bucket=s3.bucket, Key=f"killed/{NAME}.other")
    with MediaServer(answers=[whole(large)]) as media:
        kill_in_upload(s3, media, monkeypatch, lander, "killed/")
        assert f"killed/{NAME}" in s3.unfinished()
        assert f"killed/{NAME}" not in s3.objects()
        lander(media, f"{connect(s3, monkeypatch)}killed/", **TAKE_OVER)
    assert s3.unfinished() == [strangers["Key"]]
    found = {key: data for key, data in s3.objects().items() if key.startswith("killed/")}
    assert list(found) == [f"killed/{NAME}", f"killed/{NAME}.json"]
    assert found[f"killed/{NAME}"] == large


def test_an_upload_killed_on_its_way_over_sftp_leaves_no_video_and_the_next_landing_no_rest(
    sftp: SftpServer, monkeypatch: pytest.MonkeyPatch, lander: Lander
) -> None:
    large = padded(24 * MIB)
    with MediaServer(answers=[whole(large)]) as media:
        kill_in_upload(sftp, media, monkeypatch, lander, "killed/")
        rest = [name for name in sftp.objects() if name.startswith("killed/")]
        assert any(name.endswith(".part") for name in rest)
        assert f"killed/{NAME}" not in rest
        lander(media, f"{connect(sftp, monkeypatch)}killed/", **TAKE_OVER)
    found = {name: data for name, data in sftp.objects().items() if name.startswith("killed/")}
    assert list(found) == [f"killed/{NAME}", f"killed/{NAME}.json"]
    assert found[f"killed/{NAME}"] == large


def test_a_store_that_refuses_the_key_is_a_landing_error_without_the_key(
    sftp: SftpServer, monkeypatch: pytest.MonkeyPatch, lander: Lander
) -> None:
    wrong = {**sftp.connection(), "password": "wrong-password-of-the-store"}
    monkeypatch.setenv("AIRFLOW_CONN_STORE_REFUSED", json.dumps(wrong))
    with MediaServer(answers=[whole(VIDEO)]) as media, pytest.raises(LandingError) as caught:
        lander(media, "sftp://store_refused@127.0.0.1/videos/")
    assert "PermissionError" in str(caught.value)
    assert "wrong-password" not in str(caught.value)


def test_a_store_that_cannot_rename_gets_nothing_and_keeps_what_it_had(
    tmp_path: Path, sftp: SftpServer, monkeypatch: pytest.MonkeyPatch, lander: Lander
) -> None:
    with SftpServer(home=tmp_path, plain=True) as plain, MediaServer(answers=[whole(VIDEO)]) as media:
        root = connect(plain, monkeypatch)
        with pytest.raises(LandingError):
            lander(media, f"{root}videos/")
        assert plain.objects() == {}
        Store(plain, root).put("v.mp4", b"older")
        with pytest.raises(LandingError):
            lander(media, f"{root}v.mp4", overwrite=True)
        assert plain.objects()["v.mp4"] == b"older"


# ------------------------------------------------------------------------------------- several landings of one name


def halted(data: bytes, go_on: threading.Event) -> Answer:
    """Half of a video, and the other half after an event."""

    def answer(request: Request) -> None:
        request.begin(200, Content_Length=len(data))
        request.wfile.write(data[:1000])
        request.wfile.flush()
        go_on.wait(120)
        request.wfile.write(data[1000:])

    return answer


@contextmanager
def landers(
    home: Path, media: MediaServer, output_path: str, lander: Lander, count: int, **changes: Any
) -> Iterator[list[Service]]:
    """Start processes that land one render; none outlives the block."""
    with ExitStack() as stack:
        started = [landing_process(home, media, output_path, lander, **changes) for _ in range(count)]
        stack.callback(lambda: stop_all(started))
        yield started


def waiting(process: Service) -> bool:
    process.check()
    return "Waiting for its file" in process.log_tail(400)


def test_processes_that_land_one_render_download_it_once(
    store: Store, tmp_path: Path, lander: Lander
) -> None:
    go_on = threading.Event()
    with (
        MediaServer(answers=[halted(VIDEO, go_on)]) as media,
        landers(tmp_path, media, f"{store.root}videos/", lander, 3) as started,
    ):
        wait_until(lambda: sum(waiting(process) for process in started) == 2)
        go_on.set()
        manifests = [landed_by(process) for process in started]
        assert len(media.seen) == 1
    assert manifests == manifests[:1] * 3
    assert list(store.below("videos/")) == [f"videos/{NAME}", f"videos/{NAME}.json"]


def test_who_waits_for_a_process_that_is_killed_lands_and_leaves_no_rest(
    store: Store, tmp_path: Path, lander: Lander
) -> None:
    go_on = threading.Event()
    with (
        MediaServer(answers=[halted(VIDEO, go_on), whole(VIDEO)]) as media,
        landers(tmp_path, media, f"{store.root}videos/", lander, 1) as first,
    ):
        wait_until(lambda: len(media.seen) == 1)
        path = f"{store.root}videos/"
        with landers(tmp_path, media, path, lander, 1, silence_seconds=SHORT_SILENCE) as second:
            wait_until(lambda: waiting(second[0]))
            first[0].signal(signal.SIGKILL)
            landed_by(second[0])
        go_on.set()
        assert len(media.seen) == 2
    assert list(store.below("videos/")) == [f"videos/{NAME}", f"videos/{NAME}.json"]


def test_a_process_that_is_stopped_in_its_download_and_goes_on_later_leaves_file_and_manifest_fit(
    store: Store, tmp_path: Path, lander: Lander
) -> None:
    go_on = threading.Event()
    newer_has_paid = tmp_path / "newer"
    path = f"{store.root}videos/v.mp4"
    asks_before_the_name = isinstance(store.server, SftpServer)
    with (
        MediaServer(answers=[halted(VIDEO, go_on), whole(OTHER_VIDEO)]) as media,
        landers(
            tmp_path,
            media,
            path,
            lander,
            1,
            overwrite=True,
            replaced_by=str(newer_has_paid) if asks_before_the_name else None,
        ) as older,
    ):
        wait_until(lambda: len(media.seen) == 1)
        older[0].signal(signal.SIGSTOP)
        newer_has_paid.touch()
        takes_over = {"task_id": "2", "overwrite": True, "silence_seconds": SHORT_SILENCE}
        with landers(tmp_path, media, path, lander, 1, **takes_over) as newer:
            manifest = landed_by(newer[0])
        go_on.set()
        older[0].signal(signal.SIGCONT)
        wait_until(lambda: not older[0].alive)
        if asks_before_the_name:
            assert "A newer try has paid" in older[0].log_tail()
        elif isinstance(store.server, LocalFolder):  # whose part file was taken for that of a dead landing
            assert "LandingError" in older[0].log_tail()
        else:
            manifest = landed_by(older[0])
    objects = store.below("videos/")
    assert list(objects) == ["videos/v.mp4", "videos/v.mp4.json"]
    assert json.loads(objects["videos/v.mp4.json"]) == manifest
    assert hashlib.sha256(objects["videos/v.mp4"]).hexdigest() == manifest["sha256"]
