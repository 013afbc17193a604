# SPDX-License-Identifier: Apache-2.0
"""Landings of one name that meet: who comes second waits, who was killed is found, and file and manifest always fit."""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jimeng.core.errors import LandingError
from airflow_provider_jimeng.storage.download import SILENCE_SECONDS, Claim
from airflow_provider_jimeng.storage.landing import already_landed
from airflow_provider_jimeng.storage.output import OutputPath
from tests.harness.media_server import Answer, MediaServer, Request, reply, whole
from tests.harness.stores import ObjectStore, RemoteStore, attached
from tests.harness.videos import video
from tests.storage.conftest import Lander

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.render import RenderManifest

VIDEO = video(frames=24)
OTHER_VIDEO = video(frames=10)
NAME = "t2v_720p-7392616336519610409.mp4"
TOKEN = "0123456789abcdef"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def claimed(folder: Path, name: str = NAME, **changes: Any) -> Path:
    """Leave the claim of a landing that is gone, or of one in a process that nobody sees."""
    place = folder / f".{name}.claim.part"
    place.write_text(json.dumps({"token": TOKEN, "rest": [], "ended": False, **changes}))
    return place


class Hours:
    """A clock that only waiting moves, and what happens after a number of waits."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits = 0
        self.after_waits: dict[int, Callable[[], object]] = {}

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.waits += 1
        self.after_waits.pop(self.waits, lambda: None)()

    @property
    def options(self) -> dict[str, Any]:
        return {"sleep": self.sleep, "clock": lambda: self.now}


def held_until(event: threading.Event) -> Answer:
    """The first half of the video, and the other half after an event."""

    def answer(request: Request) -> None:
        request.begin(200, Content_Length=len(VIDEO))
        request.wfile.write(VIDEO[:1000])
        request.wfile.flush()
        event.wait(30)
        request.wfile.write(VIDEO[1000:])

    return answer


def test_six_landings_at_once_download_one_video(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    all_wait = threading.Event()
    landers = [Lander() for _ in range(6)]

    def wait(_: float) -> None:
        if caplog.text.count("Waiting for its file") == 5:
            all_wait.set()
        time.sleep(0.01)

    caplog.set_level("INFO")
    with MediaServer(answers=[held_until(all_wait)]) as server, ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda each: each(server, f"{tmp_path}/", sleep=wait), landers))
        assert len(server.seen) == 1
    assert all(manifest == found[0] for manifest in found)
    assert sum(lander.links for lander in landers) == 1
    assert names(tmp_path) == [NAME, f"{NAME}.json"]


def test_who_waits_lands_by_itself_when_the_first_fails(tmp_path: Path, lander: Lander) -> None:
    hours = Hours()
    place = claimed(tmp_path)
    hours.after_waits[3] = place.unlink
    with MediaServer(answers=[whole(VIDEO)]) as server:
        lander(server, f"{tmp_path}/", **hours.options)
        assert len(server.seen) == 1
    assert hours.now < SILENCE_SECONDS
    assert names(tmp_path) == [NAME, f"{NAME}.json"]


def test_a_dead_landing_is_told_by_its_silence_and_its_rest_is_removed(
    tmp_path: Path, lander: Lander
) -> None:
    hours = Hours()
    claimed(tmp_path, rest=["fedcba9876543210", "../../x"])
    rest = (f"{TOKEN}.part", f"json.{TOKEN}.part", "fedcba9876543210.part", "beat.part", "json.part")
    for end in rest:
        (tmp_path / f".{NAME}.{end}").write_bytes(b"half")
    (tmp_path / ".another.mp4.0123456789abcdef.part").write_bytes(b"of somebody else")
    with MediaServer(answers=[whole(VIDEO)]) as server:
        lander(server, f"{tmp_path}/", **hours.options)
    assert names(tmp_path) == [".another.mp4.0123456789abcdef.part", NAME, f"{NAME}.json"]
    assert SILENCE_SECONDS < hours.now < 2 * SILENCE_SECONDS


def test_a_landing_that_shows_signs_of_life_is_not_taken_for_dead(tmp_path: Path, lander: Lander) -> None:
    hours = Hours()
    place = claimed(tmp_path)
    part = tmp_path / f".{NAME}.{TOKEN}.part"
    part.write_bytes(b"half")
    beat = tmp_path / f".{NAME}.beat.part"

    def show(number: int) -> None:
        assert part.exists()
        beat.write_text(str(number))

    def end() -> None:
        for path in (place, part, beat):
            path.unlink()

    for number in range(1, 200):
        hours.after_waits[number] = partial(show, number)
    hours.after_waits[200] = end
    with MediaServer(answers=[whole(VIDEO)]) as server:
        lander(server, f"{tmp_path}/", **hours.options)
    assert hours.now > 5 * SILENCE_SECONDS
    assert names(tmp_path) == [NAME, f"{NAME}.json"]


def test_nobody_waits_for_ever(tmp_path: Path, lander: Lander) -> None:
    hours = Hours()
    claimed(tmp_path)
    beat = tmp_path / f".{NAME}.beat.part"

    def sleep(seconds: float) -> None:
        hours.sleep(10 * seconds)
        beat.write_text(str(hours.now))

    with (
        MediaServer(answers=[whole(VIDEO)]) as server,
        pytest.raises(LandingError, match=r"has been busy with .* for 3600 s"),
    ):
        lander(server, f"{tmp_path}/", sleep=sleep, clock=lambda: hours.now)
    assert f".{NAME}.claim.part" in names(tmp_path)


def test_progress_shows_and_silence_follows_when_there_is_none(tmp_path: Path) -> None:
    file = OutputPath(output_path=f"{tmp_path}/v.mp4").file()
    beat = tmp_path / ".v.mp4.beat.part"
    progress = [0]

    def written(number: int) -> bool:
        return beat.exists() and beat.read_text() == f"{TOKEN} {number}"

    with Claim(file, TOKEN, silence_seconds=0.07) as claim:
        assert claim.take()
        claim.progress = lambda: progress[0]
        for number in (1, 2):
            progress[0] = number
            while not written(number):
                time.sleep(0.005)
        beat.unlink()
        time.sleep(0.05)
        assert not beat.exists()
    assert names(tmp_path) == []


@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize("rest", ["json.part", "claim only"])
def test_a_landing_that_was_killed_at_its_end_is_tidied_up_by_whoever_looks(
    tmp_path: Path, lander: Lander, rest: str, *, ended: bool
) -> None:
    hours = Hours()
    target = OutputPath(output_path=f"{tmp_path}/")
    with MediaServer(answers=[whole(VIDEO)]) as server:
        manifest = lander(server, f"{tmp_path}/")
        looks: tuple[Callable[[], RenderManifest | None], ...] = (
            lambda: already_landed(target, lander.render(), **hours.options),
            lambda: lander(server, f"{tmp_path}/", **hours.options),
        )
        for look in looks:
            claimed(tmp_path, ended=ended)
            (tmp_path / f".{NAME}.json.{TOKEN}.part").write_bytes(b"half")
            if rest == "json.part":
                (tmp_path / f"{NAME}.json").rename(tmp_path / f".{NAME}.json.part")
            assert look() == manifest
            assert names(tmp_path) == [NAME, f"{NAME}.json"]
        assert len(server.seen) == 1


def test_a_landed_file_is_returned_at_once_beside_a_living_landing_of_its_name(
    tmp_path: Path, lander: Lander
) -> None:
    hours = Hours()
    with MediaServer(answers=[whole(VIDEO)]) as server:
        manifest = lander(server, f"{tmp_path}/")
        claimed(tmp_path)
        for end in (f"{TOKEN}.part", "json.part"):
            (tmp_path / f".{NAME}.{end}").write_bytes(b"half")
        hours.after_waits[2] = lambda: (tmp_path / f".{NAME}.beat.part").write_text("1")
        before = {*names(tmp_path), f".{NAME}.beat.part"}
        assert lander(server, f"{tmp_path}/", **hours.options) == manifest
    assert set(names(tmp_path)) == before
    assert hours.now < 5


def test_a_store_that_cannot_create_a_file_exclusively_still_takes_the_claim(lander: Lander) -> None:
    class Simple(RemoteStore):
        def open(self, path: str, mode: str = "rb", **options: Any) -> Any:
            if "x" in mode:
                raise NotImplementedError(mode)
            return super().open(path, mode, **options)

    store = Simple()
    claims_seen: list[str] = []
    lander.on_link = lambda: claims_seen.extend(name for name in store.files() if "claim" in name)
    with MediaServer(answers=[whole(VIDEO)]) as server:
        lander(server, "memory://bucket/videos/", output_conn_id=attached(store))
    assert claims_seen == [f"/bucket/videos/.{NAME}.claim.part"]
    assert list(store.files()) == [f"/bucket/videos/{NAME}", f"/bucket/videos/{NAME}.json"]


def test_a_claim_that_was_not_written_to_its_end_falls_silent_too(tmp_path: Path, lander: Lander) -> None:
    hours = Hours()
    claimed(tmp_path).write_text("")
    with MediaServer(answers=[whole(VIDEO)]) as server:
        lander(server, f"{tmp_path}/", **hours.options)
    assert names(tmp_path) == [NAME, f"{NAME}.json"]


# ------------------------------------------------------------------------- a manifest that cannot be written, and rest


class Stubborn(RemoteStore):
    """A store that moves no manifest and removes nothing, until told otherwise."""

    stubborn = True

    def mv(self, path1: str, path2: str, **options: Any) -> None:
        if self.stubborn and path2.endswith(".mp4.json"):
            raise PermissionError("no")
        super().mv(path1, path2, **options)

    def rm_file(self, path: str) -> None:
        if self.stubborn and ".mp4.json." in path:
            raise PermissionError("no")
        super().rm_file(path)


@pytest.mark.parametrize("looks_only", [True, False])
def test_what_could_not_be_removed_beside_the_manifest_is_removed_by_the_next_look(
    lander: Lander, *, looks_only: bool
) -> None:
    store = Stubborn()
    folder, conn_id = "memory://bucket/videos/", attached(store)
    with MediaServer(answers=[whole(VIDEO)]) as server:
        with pytest.raises(LandingError):
            lander(server, folder, output_conn_id=conn_id)
        assert any(".json." in name for name in store.files())
        store.stubborn = False
        if looks_only:
            assert already_landed(OutputPath(output_path=folder, output_conn_id=conn_id), lander.render())
        else:
            lander(server, folder, output_conn_id=conn_id)
        assert len(server.seen) == 1
    assert list(store.files()) == [f"/bucket/videos/{NAME}", f"/bucket/videos/{NAME}.json"]


# --------------------------------------------------------------------------------------------- no folder is listed


@pytest.mark.parametrize("kind", [RemoteStore, ObjectStore])
@pytest.mark.parametrize("full_name", [True, False])
def test_a_landing_lists_no_folder(kind: type[RemoteStore], lander: Lander, *, full_name: bool) -> None:
    listed: list[str] = []

    class Watched(kind):  # type: ignore[misc, valid-type]
        def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
            listed.append(path)
            return super().ls(path, detail=detail, **options)

    store = Watched()
    path = f"{store.protocol}://bucket/videos/{'v.mp4' if full_name else ''}"
    target = OutputPath(output_path=path, output_conn_id=attached(store))
    with MediaServer(answers=[whole(VIDEO)]) as server:
        for _ in range(2):
            lander(server, path, output_conn_id=target.output_conn_id)
        claim = target.file_for(lander.render())
        claim.beside(claim.hidden_name("claim.part")).write_plainly(
            json.dumps({"token": TOKEN, "rest": [], "ended": True}).encode()
        )
        assert already_landed(target, lander.render()) is not None
    assert listed == []


listed_while_watched: list[str] = []
watched: set[str] = set()


def notice(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("os.listdir", "os.scandir") and str(arguments[0]) in watched:
        listed_while_watched.append(str(arguments[0]))


def test_a_landing_on_local_files_lists_no_folder_either(tmp_path: Path, lander: Lander) -> None:
    sys.addaudithook(notice)  # it cannot be taken away, and notices nothing but the watched folder
    watched.add(str(tmp_path))
    try:
        claimed(tmp_path, ended=True)
        with MediaServer(answers=[whole(VIDEO)]) as server:
            lander(server, f"{tmp_path}/")
            lander(server, f"{tmp_path}/")
        assert listed_while_watched == []
        assert names(tmp_path) == [NAME, f"{NAME}.json"]
        assert listed_while_watched == [str(tmp_path)]
    finally:
        watched.clear()


# ----------------------------------------------------------------------------- two renders, one name, in every order


class Interrupted(RemoteStore):
    """A store in which something happens once, right before or after a file gets a name that ends as told."""

    def __init__(self) -> None:
        super().__init__()
        self.at: tuple[str, str] | None = None
        self.happen: Callable[[], object] = lambda: None

    def reach(self, when: str, path: str) -> None:
        if self.at is not None and self.at[0] == when and path.endswith(self.at[1]):
            self.at = None
            self.happen()

    def put_file(self, lpath: str, rpath: str, **options: Any) -> None:
        self.reach("before", rpath)
        super().put_file(lpath, rpath, **options)
        self.reach("after", rpath)

    def mv(self, path1: str, path2: str, **options: Any) -> None:
        self.reach("before", path2)
        super().mv(path1, path2, **options)
        self.reach("after", path2)

    def pipe_file(self, path: str, value: bytes, **options: Any) -> None:
        self.reach("before", path)
        super().pipe_file(path, value, **options)


class InterruptedObjects(Interrupted, ObjectStore):
    """The same with whole puts."""


POINTS = [
    ("before", "/v.mp4"),
    ("after", "/v.mp4"),
    ("before", "/.v.mp4.json.part"),
    ("before", "/v.mp4.json"),
    ("after", "/v.mp4.json"),
]


def test_file_and_manifest_fit_wherever_one_landing_is_held_up_while_another_lands(
    subtests: pytest.Subtests,
) -> None:
    kinds: list[type[Interrupted]] = [Interrupted, InterruptedObjects]
    for kind, point, same_render in itertools.product(kinds, [("link", ""), *POINTS], [True, False]):
        with subtests.test(kind=kind.__name__, point=" ".join(point), same_render=same_render):
            check_fit_after_another_landing(kind(), point, same_render=same_render)


def check_fit_after_another_landing(store: Interrupted, point: tuple[str, str], *, same_render: bool) -> None:
    path, conn_id = f"{store.protocol}://bucket/v.mp4", attached(store)
    older, newer = Lander(), Lander()
    manifests: list[RenderManifest] = []

    def land_newer() -> None:
        render = newer.render(task_id=older.render().task_id if same_render else "2")
        manifests.append(newer(server, path, render, output_conn_id=conn_id, overwrite=True))

    if point[0] == "link":
        older.on_link = land_newer
    else:
        store.at, store.happen = point, land_newer
    answers = [whole(VIDEO), whole(OTHER_VIDEO)]
    with MediaServer(answers=answers if point[0] != "link" else answers[::-1]) as server:
        try:
            manifests.append(older(server, path, output_conn_id=conn_id, overwrite=True))
        except LandingError:
            assert not same_render
    files = store.files()
    if point == ("before", "/v.mp4.json") and isinstance(store, InterruptedObjects) and not same_render:
        assert files == {
            "/bucket/v.mp4": OTHER_VIDEO
        }  # The newer manifest was overwritten at that very moment.
        return
    manifest = json.loads(files["/bucket/v.mp4.json"])
    assert list(files) == ["/bucket/v.mp4", "/bucket/v.mp4.json"]
    assert hashlib.sha256(files["/bucket/v.mp4"]).hexdigest() == manifest["sha256"]
    assert manifest in [each.to_payload() for each in manifests]


@pytest.mark.parametrize("kind", [Interrupted, InterruptedObjects])
def test_an_upload_that_fails_after_another_landing_leaves_the_other_s_file(
    kind: type[Interrupted], lander: Lander
) -> None:
    store = kind()
    path, conn_id = f"{store.protocol}://bucket/v.mp4", attached(store)
    newer = Lander()

    def land_newer_and_fail() -> None:
        newer(server, path, newer.render(task_id="2"), output_conn_id=conn_id)
        raise ConnectionResetError("the store hung up")

    store.at, store.happen = ("before", "/v.mp4"), land_newer_and_fail
    with MediaServer(answers=[whole(VIDEO), whole(OTHER_VIDEO)]) as server, pytest.raises(LandingError):
        lander(server, path, output_conn_id=conn_id)
    assert store.files()["/bucket/v.mp4"] == OTHER_VIDEO
    assert list(store.files()) == ["/bucket/v.mp4", "/bucket/v.mp4.json"]


def test_a_render_that_must_not_be_landed_any_more_changes_nothing(tmp_path: Path, lander: Lander) -> None:
    def refuse() -> None:
        raise LandingError("a newer try has paid for another render")

    (tmp_path / "v.mp4").write_text("older")
    with MediaServer(answers=[whole(VIDEO)]) as server, pytest.raises(LandingError, match="newer try"):
        lander(server, f"{tmp_path}/v.mp4", overwrite=True, confirm=refuse)
    assert names(tmp_path) == ["v.mp4"]
    assert (tmp_path / "v.mp4").read_text() == "older"


def test_a_failed_landing_leaves_the_part_of_one_that_was_taken_for_dead(
    tmp_path: Path, lander: Lander
) -> None:
    hours = Hours()
    claimed(tmp_path)
    part = tmp_path / f".{NAME}.{TOKEN}.part"
    part.write_bytes(b"half")
    with MediaServer(answers=[reply(200, b"no video")]) as server:
        with pytest.raises(LandingError):
            lander(server, f"{tmp_path}/", **hours.options)
        assert part.exists()
        server.answers = [whole(VIDEO)]
        waited = hours.now
        lander(server, f"{tmp_path}/", **hours.options)
        assert hours.now == waited
    assert names(tmp_path) == [NAME, f"{NAME}.json"]
