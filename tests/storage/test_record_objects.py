# SPDX-License-Identifier: Apache-2.0
"""Records of many tasks that ask for the same: what is found, at which cost, and what 0.1.0 finds beside us."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pendulum
import pytest

from airflow_provider_jimeng.core.record import Record, RecordState, TaskKey
from airflow_provider_jimeng.storage.output import OutputPath
from airflow_provider_jimeng.storage.record_objects import KEPT_POINTERS, MAX_POINTERS, RecordObjects
from tests.harness.stores import ObjectStore, attached
from tests.harness.version_0_1_0 import Version010

REQUESTED = "a" * 64
ME = TaskKey(dag_id="ads", run_id="now", task_id="render")


def record(number: int, state: RecordState = RecordState.LANDED, **changes: Any) -> Record:
    at = f"2026-01-02T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}Z"
    render = {
        "task_id": str(7_000_000 + number),
        "req_key": "key",
        "model": "t2v_720p",
        "jimeng_conn_id": "jimeng_default",
        "submitted_at": at,
    }
    first = Record(
        state=state,
        key=TaskKey(dag_id="ads", run_id=f"run {number}", task_id="render"),
        requested=REQUESTED,
        fingerprint=REQUESTED,
        take=1,
        max_tries=1,
        intent_at=at,
        render=None if state is RecordState.INTENT else render,
    )
    return replace(first, **changes)


class Requests(ObjectStore):
    """An object store that counts what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def cat_file(self, path: str, *arguments: Any, **options: Any) -> Any:
        self.count += 1
        return super().cat_file(path, *arguments, **options)

    def ls(self, path: str, *arguments: Any, **options: Any) -> Any:
        self.count += 1
        return super().ls(path, *arguments, **options)


@pytest.fixture
def folder(tmp_path: Path) -> OutputPath:
    return OutputPath(output_path=f"{tmp_path}/")


@pytest.fixture
def objects(folder: OutputPath) -> RecordObjects:
    return RecordObjects(folder)


@pytest.fixture(scope="module")
def version_0_1_0() -> Iterator[Version010]:
    with Version010() as running:
        yield running


@pytest.fixture
def store() -> Requests:
    return Requests()


def pointers(folder: OutputPath, kind: str = "requests") -> list[Path]:
    return sorted(Path(folder.output_path, ".jimeng", kind).rglob("*.json"))


@pytest.mark.parametrize("full_name", [None, "kite.mp4"])
def test_a_look_costs_the_same_however_many_tasks_have_asked_for_it(
    store: Requests, full_name: str | None
) -> None:
    place = OutputPath(output_path="s3://bucket/videos/", output_conn_id=attached(store))
    objects = RecordObjects(place)
    path = None if full_name is None else f"{place.output_path}{full_name}"
    costs = []
    for number in range(120):
        objects.write(record(number, output_path=path))
        store.count = 0
        found = objects.of_request(REQUESTED) if path is None else objects.of_file(path, key=ME)
        costs.append(store.count)
        assert str(7_000_000 + number) in [(each.render or {})["task_id"] for each in found]
    assert max(costs[MAX_POINTERS:]) <= MAX_POINTERS + 1


def test_the_best_renders_open_intents_and_what_is_under_way_stay_findable(
    objects: RecordObjects, folder: OutputPath
) -> None:
    intent = record(3, RecordState.INTENT)
    objects.write(intent)
    for number in range(4, 40):
        objects.write(record(number))
    found = objects.of_request(REQUESTED)
    assert found[0] == record(39)
    assert intent in found
    assert len(found) >= KEPT_POINTERS + 1
    assert len(objects.all()[0]) == 37  # no record is ever removed


def test_who_uses_a_file_name_stays_findable_while_others_use_it_too(
    objects: RecordObjects, folder: OutputPath
) -> None:
    path = f"{folder.output_path}kite.mp4"
    now = pendulum.now("UTC").to_iso8601_string()
    yet_to_land = record(1, RecordState.SUBMITTED, output_path=path, intent_at=now)
    objects.write(yet_to_land)
    for number in range(4, 40):
        objects.write(record(number, output_path=path))
    assert len(pointers(folder, "files")) <= MAX_POINTERS
    of_this_run = [
        record(2, output_path=path, key=replace(ME, map_index=index)) for index in range(MAX_POINTERS)
    ]
    for each in of_this_run:
        objects.write(each)
    for _ in range(2):
        found = objects.of_file(path, key=ME)
        assert all(each in found for each in (yet_to_land, *of_this_run, record(39, output_path=path)))


def test_a_store_that_removes_no_pointer_hides_no_record() -> None:
    class Keeps(ObjectStore):
        def rm_file(self, path: str) -> None:
            raise PermissionError(path)

    objects = RecordObjects(OutputPath(output_path="s3://bucket/videos/", output_conn_id=attached(Keeps())))
    for number in range(2 * MAX_POINTERS):
        objects.write(record(number))
    assert objects.of_request(REQUESTED)[0] == record(2 * MAX_POINTERS - 1)


def test_a_pointer_that_another_task_removed_is_written_again_with_the_next_step(
    objects: RecordObjects, folder: OutputPath
) -> None:
    objects.write(record(1, RecordState.INTENT))
    objects.write(record(1, RecordState.SUBMITTED))
    for path in pointers(folder):
        path.unlink()
    objects.write(record(1))
    assert objects.of_request(REQUESTED) == [record(1)]


def test_tasks_that_adopt_one_render_leave_one_pointer_to_it(objects: RecordObjects) -> None:
    other = record(1)
    objects.write(other)
    for number in range(2, 40):
        objects.write(record(number, render=record(50).render))
    ids = {(each.render or {})["task_id"] for each in objects.of_request(REQUESTED)}
    assert ids == {"7000001", "7000050"}


def test_a_record_that_says_nothing_leaves_no_pointer(objects: RecordObjects, folder: OutputPath) -> None:
    path = f"{folder.output_path}kite.mp4"
    intent = record(1, RecordState.INTENT, output_path=path)
    objects.write(intent)
    assert len(pointers(folder)) == len(pointers(folder, "files")) == 1
    objects.write(record(1, RecordState.FAILED, output_path=path))
    assert pointers(folder) == pointers(folder, "files") == []
    objects.write(intent)
    objects.remove(intent)
    assert pointers(folder) == pointers(folder, "files") == []


def test_a_paid_record_after_a_removed_intent_has_a_pointer(objects: RecordObjects) -> None:
    intent = record(1, RecordState.INTENT)
    objects.write(intent)
    objects.remove(intent)
    objects.write(record(1, RecordState.SUBMITTED))
    assert objects.of_request(REQUESTED) == [record(1, RecordState.SUBMITTED)]


def test_the_place_of_a_record_is_that_of_its_object(objects: RecordObjects) -> None:
    objects.write(record(1))
    assert Path(objects.place_of(record(1).key).removeprefix("file://")).is_file()


def test_old_pointers_to_nothing_are_removed_and_young_ones_stay(
    objects: RecordObjects, folder: OutputPath
) -> None:
    for number in range(20):
        objects.write(record(number, RecordState.INTENT))
    for path in Path(folder.output_path, ".jimeng", "tasks").iterdir():
        path.unlink()
    assert objects.of_request(REQUESTED) == []
    assert len(pointers(folder)) == 20
    for path in pointers(folder):
        os.utime(path, (time.time() - 90_000,) * 2)
    assert objects.of_request(REQUESTED) == []
    assert pointers(folder) == []


def test_records_that_0_1_0_writes_before_and_in_between_are_found(
    objects: RecordObjects, folder: OutputPath, version_0_1_0: Version010
) -> None:
    old = [record(number, output_path=f"{folder.output_path}kite.mp4") for number in range(30)]
    version_0_1_0.call(folder.output_path, write=[each.to_payload() for each in old])
    assert objects.of_request(REQUESTED)[0] == old[-1]
    assert old[-1] in objects.of_file(f"{folder.output_path}kite.mp4", key=ME)
    assert max(len(pointers(folder)), len(pointers(folder, "files"))) <= MAX_POINTERS
    between = record(31, RecordState.SUBMITTED)
    ours = record(32, RecordState.INTENT)
    objects.write(ours)
    version_0_1_0.call(folder.output_path, write=[between.to_payload()])
    found = objects.of_request(REQUESTED)
    assert all(each in found for each in (between, ours, old[-1]))


def test_0_1_0_finds_what_we_write_and_tidy(
    objects: RecordObjects, folder: OutputPath, version_0_1_0: Version010
) -> None:
    for number in range(30):
        objects.write(record(number, serial=number + 1))
    objects.of_request(REQUESTED)
    best, *_ = version_0_1_0.call(folder.output_path, look_for=REQUESTED)
    assert best["render"] == record(29).render


def test_a_record_of_0_1_0_counts_its_renders_as_submits(
    objects: RecordObjects, folder: OutputPath, version_0_1_0: Version010
) -> None:
    first = record(1, RecordState.FAILED)
    second = record(2, previous=first.past(), key=first.key)
    version_0_1_0.call(folder.output_path, write=[second.to_payload()])
    read = objects.read(first.key)
    assert read is not None
    assert read.serial == 2


def test_writers_of_both_versions_that_race_hide_no_paid_record_from_each_other(
    objects: RecordObjects, folder: OutputPath, version_0_1_0: Version010
) -> None:
    def theirs(start: int) -> None:
        payloads = [record(number).to_payload() for number in range(start, start + 80)]
        version_0_1_0.call(folder.output_path, write=payloads, look_for=REQUESTED)

    def ours(start: int) -> None:
        for number in range(start, start + 40):
            objects.write(record(number, RecordState.INTENT))
            objects.write(record(number))
            found = [(each.render or {}).get("task_id") for each in objects.of_request(REQUESTED)]
            assert any(found)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda job: job[0](job[1]), [(theirs, 0), (ours, 1000), (ours, 3000)]))
    assert objects.of_request(REQUESTED)[0] == record(3039)
    assert len(objects.all()[0]) == 160
