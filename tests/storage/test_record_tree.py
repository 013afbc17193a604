# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_jimeng.core.record import Record, RecordState, TaskKey
from airflow_provider_jimeng.storage.output import OutputPath
from airflow_provider_jimeng.storage.paid import all_records
from airflow_provider_jimeng.storage.record_objects import RecordObjects
from tests.harness.stores import ObjectStore, attached

RECORD = Record(
    state=RecordState.INTENT,
    key=TaskKey(dag_id="ads", run_id="manual__1", task_id="render"),
    requested="a",
    fingerprint="a",
    take=1,
    max_tries=1,
    intent_at="2026-01-02T03:04:04Z",
)
FOLDERS = ("", "shots/", "shots/day 1/", "other/deep/er/")


class CountedStore(ObjectStore):
    """An object store that says how often it was listed, and holds markers of directories, as consoles make them."""

    listed: list[str]
    away = ""

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        self.listed.append(path)
        if self.away and path.endswith(self.away):
            raise ConnectionResetError("the store hung up")
        found = super().ls(path, detail=True, **options)
        marker = {"name": path.rstrip("/") + "/", "type": "directory", "size": 0}
        found = [*found, marker]
        return found if detail else [entry["name"] for entry in found]


@pytest.fixture
def store() -> CountedStore:
    made = CountedStore()
    made.listed = []
    return made


@pytest.fixture(params=["local", "objects"])
def root(request: pytest.FixtureRequest, tmp_path: Path, store: CountedStore) -> OutputPath:
    if request.param == "local":
        return OutputPath(output_path=f"{tmp_path}/v/")
    return OutputPath(output_path="s3://bucket/v/", output_conn_id=attached(store))


def fill(root: OutputPath, *folders: str) -> None:
    for folder in folders:
        key = replace(RECORD.key, run_id=folder)
        place = replace(root, output_path=f"{root.output_path}{folder}")
        RecordObjects(place).write(replace(RECORD, key=key))


def found(root: OutputPath) -> list[str]:
    return sorted(record.key.run_id for record in all_records(root)[0])


def test_a_directory_that_does_not_exist_has_no_records(root: OutputPath) -> None:
    assert all_records(root) == ([], [])


def test_records_are_found_in_every_directory_below(root: OutputPath) -> None:
    fill(root, *FOLDERS)
    assert found(root) == sorted(FOLDERS)
    assert all_records(root)[1] == []


def test_hidden_directories_are_left_out(root: OutputPath) -> None:
    fill(root, "shots/", ".trash/", "shots/.snapshots/", "lost+found/")
    assert found(root) == ["shots/"]


def test_each_directory_is_listed_once_and_its_records_once(store: CountedStore) -> None:
    root = OutputPath(output_path="s3://bucket/v/", output_conn_id=attached(store))
    fill(root, *FOLDERS)
    for number in range(50):
        store.pipe_file(f"/bucket/v/shots/{number}.mp4", b"video")
    store.listed.clear()
    all_records(root)
    directories = ("", "/shots", "/shots/day 1", "/other", "/other/deep", "/other/deep/er")
    records = [f"/{folder}.jimeng/tasks" for folder in FOLDERS]
    assert sorted(store.listed) == sorted(f"bucket/v{path}" for path in (*directories, *records))


def test_a_directory_that_cannot_be_listed_is_a_problem_and_hides_no_other(store: CountedStore) -> None:
    root = OutputPath(output_path="s3://bucket/v/", output_conn_id=attached(store))
    fill(root, *FOLDERS)
    store.away = "v/shots"
    records, problems = all_records(root)
    assert sorted(record.key.run_id for record in records) == ["", "other/deep/er/"]
    assert [str(problem) for problem in problems] == [
        "Cannot list s3://bucket/v/shots/ for records (ConnectionResetError: the store hung up)."
    ]


def test_links_lead_nowhere_so_that_none_leads_round_in_circles(tmp_path: Path) -> None:
    root = OutputPath(output_path=f"{tmp_path}/v/")
    fill(root, "shots/")
    (tmp_path / "v" / "again").symlink_to(tmp_path / "v", target_is_directory=True)
    assert found(root) == ["shots/"]


def test_damaged_records_of_a_directory_below_are_told_apart(tmp_path: Path) -> None:
    root = OutputPath(output_path=f"{tmp_path}/v/")
    fill(root, "shots/", "other/")
    (tmp_path / "v" / "shots" / ".jimeng" / "tasks" / "strange.json").write_text("{")
    records, problems = all_records(root)
    assert len(records) == 2
    assert "strange.json" in str(problems[0])
