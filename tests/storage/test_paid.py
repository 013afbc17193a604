# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pendulum
import pytest

from airflow_provider_jimeng.core.plan import RowState
from airflow_provider_jimeng.core.record import Record, RecordState, TaskKey
from airflow_provider_jimeng.storage.output import OutputPath
from airflow_provider_jimeng.storage.paid import GONE, MANY_ROWS, Paid, PaidRenders
from airflow_provider_jimeng.storage.record_objects import RecordObjects
from tests.harness.stores import ObjectStore, attached

if TYPE_CHECKING:
    from pathlib import Path

NOW = pendulum.datetime(2026, 3, 1, 12)
FINGERPRINT = "f" * 64


def record(state: RecordState, *, run: str = "one", hours_ago: float = 1.0, **changes: Any) -> Record:
    at = NOW.subtract(seconds=int(hours_ago * 3600)).to_iso8601_string()
    render = {
        "task_id": "7",
        "req_key": "key",
        "model": "t2v_720p",
        "jimeng_conn_id": "jimeng_default",
        "submitted_at": at,
    }
    first = Record(
        state=state,
        key=TaskKey(dag_id="d", run_id=run, task_id="render", map_index=0),
        requested=FINGERPRINT,
        fingerprint=FINGERPRINT,
        take=1,
        max_tries=1,
        intent_at=at,
        render=None if state is RecordState.INTENT else render,
    )
    return replace(first, **changes)


def landed(folder: Path, *, size: int = 5, **options: Any) -> Record:
    found = record(RecordState.LANDED, **options)
    video = folder / "kite.mp4"
    manifest = {
        **(found.render or {}),
        "uri": video.as_uri(),
        "bytes": size,
        "sha256": "0",
        "landed_at": found.intent_at,
    }
    return replace(found, manifest=manifest, output_path=f"{folder.as_uri()}/")


def look_up(folder: Path, *records: Record, name: str = "any-name.mp4") -> Paid:
    store = RecordObjects(OutputPath(output_path=f"{folder}/"))
    for found in records:
        store.write(found)
    return PaidRenders(output_conn_id=None, now=NOW).look_up(FINGERPRINT, f"{folder}/{name}")


def test_without_a_record_a_row_is_new(tmp_path: Path) -> None:
    assert look_up(tmp_path) == Paid(state=RowState.NEW)


def test_a_landed_file_of_its_recorded_size_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "kite.mp4").write_bytes(b"12345")
    assert look_up(tmp_path, landed(tmp_path, hours_ago=900)).state is RowState.LANDED


@pytest.mark.parametrize("hours_ago", [1, 11])
def test_a_missing_or_altered_file_is_landed_again_free_while_the_api_keeps_the_render(
    tmp_path: Path, hours_ago: float
) -> None:
    found = look_up(tmp_path, landed(tmp_path, hours_ago=hours_ago))
    assert (found.state, found.note) == (RowState.RUNNING, None)
    (tmp_path / "kite.mp4").write_bytes(b"123")
    assert look_up(tmp_path).state is RowState.RUNNING


def test_a_render_under_way_is_not_paid_again(tmp_path: Path) -> None:
    found = look_up(tmp_path, record(RecordState.SUBMITTED))
    assert (found.state, found.note) == (RowState.RUNNING, None)
    assert found.render is not None
    assert found.render.task_id == "7"


def test_a_render_that_the_api_no_longer_keeps_is_quoted_with_a_word_of_warning(tmp_path: Path) -> None:
    found = look_up(tmp_path, record(RecordState.SUBMITTED, hours_ago=13))
    assert (found.state, found.note) == (RowState.NEW, GONE)
    assert 'on_lost="resubmit"' in GONE


@pytest.mark.parametrize("manifest_name", ["kite.mp4.json", ".kite.mp4.json.part"])
@pytest.mark.parametrize("hours_ago", [1, 900])
def test_a_file_that_lies_where_the_row_wants_it_costs_nothing_though_its_record_does_not_tell(
    tmp_path: Path, manifest_name: str, hours_ago: float
) -> None:
    (tmp_path / "kite.mp4").write_bytes(b"12345")
    paid = record(RecordState.SUBMITTED, hours_ago=hours_ago)
    (tmp_path / manifest_name).write_text(json.dumps(landed(tmp_path).manifest))
    assert look_up(tmp_path, paid, name="kite.mp4").state is RowState.LANDED
    assert look_up(tmp_path, name="fox.mp4").state is not RowState.LANDED
    (tmp_path / "kite.mp4").write_bytes(b"123456")
    assert look_up(tmp_path, name="kite.mp4").state is not RowState.LANDED


def test_a_file_of_another_render_is_not_taken_for_the_row_s_own(tmp_path: Path) -> None:
    (tmp_path / "kite.mp4").write_bytes(b"12345")
    (tmp_path / "kite.mp4.json").write_text(json.dumps({**(landed(tmp_path).manifest or {}), "task_id": "8"}))
    assert look_up(tmp_path, record(RecordState.SUBMITTED), name="kite.mp4").state is RowState.RUNNING


def test_a_file_under_the_name_of_its_render_costs_nothing_in_a_directory(tmp_path: Path) -> None:
    (tmp_path / "t2v_720p-7.mp4").write_bytes(b"12345")
    (tmp_path / "t2v_720p-7.mp4.json").write_text(json.dumps(landed(tmp_path).manifest))
    assert look_up(tmp_path, record(RecordState.SUBMITTED, hours_ago=900), name="").state is RowState.LANDED


def test_a_submit_with_an_unknown_outcome_is_quoted_with_a_word_of_warning(tmp_path: Path) -> None:
    found = look_up(tmp_path, record(RecordState.INTENT))
    assert found.state is RowState.NEW
    assert 'on_unknown_submit="resubmit"' in str(found.note)


def test_a_paid_render_counts_more_than_an_older_submit_with_an_unknown_outcome(tmp_path: Path) -> None:
    later = record(RecordState.SUBMITTED, run="two", hours_ago=0.5)
    assert look_up(tmp_path, later, record(RecordState.INTENT)).state is RowState.RUNNING


def test_records_of_failures_and_of_other_requests_do_not_count(tmp_path: Path) -> None:
    failed, lost = record(RecordState.FAILED), record(RecordState.LOST, run="two")
    assert look_up(tmp_path, failed, lost) == Paid(state=RowState.NEW)
    moved_on = replace(failed, state=RecordState.SUBMITTED)
    assert look_up(tmp_path, moved_on, replace(moved_on, requested="e" * 64)) == Paid(state=RowState.NEW)


def test_for_many_rows_each_directory_is_listed_once() -> None:
    listings: list[str] = []

    class Listed(ObjectStore):
        def ls(self, path: str, *arguments: Any, **options: Any) -> Any:
            listings.append(path)
            return super().ls(path, *arguments, **options)

    store = Listed()
    conn_id = attached(store)
    store.pipe_file("/bucket/videos/kite.mp4", b"12345")
    rows = PaidRenders(output_conn_id=conn_id, now=NOW, rows=MANY_ROWS)
    for name, is_free in {"fox.mp4": True, "KITE.mp4": False, "dog.mp4": True}.items():
        target = OutputPath(output_path=f"s3://bucket/videos/{name}", output_conn_id=conn_id)
        assert rows.look_up(FINGERPRINT, target.output_path) == Paid(state=RowState.NEW)
        assert rows.is_free(target) == is_free
    assert len(listings) == 2
