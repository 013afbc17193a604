# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import logging
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from airflow_provider_jimeng.core.errors import LedgerError
from airflow_provider_jimeng.core.record import Record, RecordState, TaskKey
from airflow_provider_jimeng.storage.ledger import PAUSES, Ledger, _Write, task_key
from airflow_provider_jimeng.storage.output import OutputPath
from airflow_provider_jimeng.storage.record_objects import RecordObjects
from tests.harness.fake_airflow import Interruptions, StateStore, TaskInstance, TryStore
from tests.harness.stores import ObjectStore, StepwiseStore, attached

KEY = TaskKey(dag_id="ads", run_id="manual__1", task_id="render")
RENDER: dict[str, Any] = {
    "task_id": "7392616336519610409",
    "req_key": "key",
    "model": "t2v_720p",
    "jimeng_conn_id": "jimeng_default",
    "submitted_at": "2026-01-02T03:04:05Z",
}


def make_record(state: RecordState = RecordState.INTENT, **changes: Any) -> Record:
    fields: dict[str, Any] = {
        "state": state,
        "key": KEY,
        "requested": "a" * 64,
        "fingerprint": "a" * 64,
        "take": 1,
        "max_tries": 1,
        "intent_at": "2026-01-02T03:04:04Z",
        "render": None if state is RecordState.INTENT else RENDER,
    }
    return Record(**{**fields, **changes})


INTENT = make_record()
PAID = make_record(RecordState.SUBMITTED)


class Places:
    """A state store and a directory, both of which can be told to fail."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.interruptions = Interruptions()
        self.server = StateStore(latest="try-1")
        self.pauses: list[float] = []

    def ledger(
        self, *, store: bool = True, objects: bool = True, try_id: str = "try-1", **patience: float
    ) -> Ledger:
        return Ledger(
            KEY,
            store=TryStore(server=self.server, try_id=try_id, interruptions=self.interruptions)
            if store
            else None,
            folder=self.target if objects else None,
            sleep=self.pauses.append,
            **patience,
        )

    @property
    def target(self) -> OutputPath:
        return OutputPath(output_path=f"{self.folder}/")

    def stored(self) -> str | None:
        payload = self.server.values.get("jimeng_render")
        return None if payload is None else json.loads(payload)["state"]

    def beside(self) -> str | None:
        record = RecordObjects(self.target).read(KEY)
        return None if record is None else record.state.value

    def fail(self, point: str, times: int = 1) -> None:
        def refuse() -> None:
            raise OSError("the store hung up")

        self.interruptions.at(point, refuse, times=times)

    def block_objects(self) -> None:
        """Put a file where the folder of records belongs."""
        (self.folder / ".jimeng").write_text("in the way")

    def unblock_objects(self) -> None:
        (self.folder / ".jimeng").unlink()


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


def test_the_key_of_a_task_has_no_try() -> None:
    ti = TaskInstance(task=None, id="x", try_number=4, max_tries=5, map_index=2)  # type: ignore[arg-type]
    assert task_key({"ti": ti}) == TaskKey(dag_id="chaos", run_id="manual__1", task_id="render", map_index=2)


@pytest.mark.parametrize("store", [True, False])
@pytest.mark.parametrize("objects", [True, False])
def test_a_record_is_read_back_from_wherever_it_is_kept(
    places: Places, *, store: bool, objects: bool
) -> None:
    ledger = places.ledger(store=store, objects=objects)
    assert ledger.read() is None
    ledger.write(PAID)
    assert ledger.read() == (PAID if store or objects else None)
    assert ledger.keeps == (store or objects)
    ledger.begin(make_record(serial=2), PAID)
    ledger.withdraw(make_record(serial=2), None, cause=OSError("busy"))
    assert ledger.read() is None


def test_a_task_without_any_ledger_is_warned(caplog: pytest.LogCaptureFixture) -> None:
    ti = TaskInstance(task=None, id="x", try_number=1, max_tries=1)  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        assert not Ledger.open({"ti": ti}, None).keeps
    assert "submits, and pays, again" in caplog.text


def test_the_place_that_knows_more_of_one_submit_counts(places: Places) -> None:
    places.ledger(store=False).write(make_record(RecordState.LANDED))
    places.ledger(objects=False).write(PAID)
    assert places.ledger().read() == make_record(RecordState.LANDED)


def test_a_state_store_that_was_restored_from_a_backup_does_not_hide_a_later_render(places: Places) -> None:
    places.ledger(objects=False).write(make_record(RecordState.FAILED))
    later = make_record(RecordState.SUBMITTED, serial=2, render={**RENDER, "task_id": "8"}, try_number=2)
    places.ledger(store=False).write(later)
    ledger = places.ledger()
    assert ledger.read() == later
    assert ledger.next_serial == 3


def test_an_intent_in_the_store_gives_way_to_the_object_of_the_same_submit(places: Places) -> None:
    places.ledger(objects=False).write(INTENT)
    places.ledger(store=False).write(PAID)
    assert places.ledger().read() == PAID


@pytest.mark.parametrize(
    "change", [{"try_number": 2}, {"fingerprint": "b" * 64}, {"intent_at": "2026-01-02T03:09:00Z"}]
)
def test_two_submits_of_which_neither_is_known_to_be_the_later_stop_the_task(
    places: Places, change: dict[str, Any]
) -> None:
    places.ledger(objects=False).write(INTENT)
    places.ledger(store=False).write(replace(PAID, **change))
    with pytest.raises(
        LedgerError, match=r"submit 1, intent .* submit 1, submitted .*render 7392616336519610409"
    ):
        places.ledger().read()


def test_an_intent_in_the_store_stands_where_the_object_cannot_be_read(places: Places) -> None:
    places.ledger(objects=False).write(INTENT)
    places.ledger(store=False).write(PAID)
    for path in places.folder.rglob("tasks/*.json"):
        path.write_text("{")
    assert places.ledger().read() == INTENT


def test_a_record_that_cannot_be_read_is_not_taken_for_none(places: Places) -> None:
    places.fail("store get")
    with pytest.raises(LedgerError, match="Cannot read the task state store"):
        places.ledger().read()
    places.block_objects()
    with pytest.raises(LedgerError):
        places.ledger(store=False).read()


def test_a_damaged_record_says_where_it_is_and_what_to_do(subtests: pytest.Subtests, places: Places) -> None:
    ledger = places.ledger(store=False)
    ledger.write(PAID)
    (path,) = places.folder.rglob("tasks/*.json")
    for damage in ["", "{", "[]", '{"state": "submitted"}', '{"state": "eaten"}', "\xff"]:
        with subtests.test(damage=repr(damage)):
            path.write_bytes(damage.encode("latin-1"))
            with pytest.raises(LedgerError, match=r"tasks/.*damaged.*Repair or delete"):
                ledger.read()


def test_a_render_costs_four_writes_and_one_look_for_its_pointer_in_the_output_directory() -> None:
    looks: list[str] = []

    class Watched(ObjectStore):
        def info(self, path: str, **options: Any) -> Any:
            looks.append(path)
            return super().info(path, **options)

    store = Watched()
    folder = OutputPath(output_path="s3://bucket/videos/", output_conn_id=attached(store))
    ledger = Ledger(KEY, folder=folder)
    ledger.read()
    ledger.begin(INTENT, None)
    ledger.settle(PAID)
    ledger.settle(make_record(RecordState.LANDED))
    kinds = [path.split("/.jimeng/")[1].split("/")[0] for path in store.puts]
    assert kinds == ["requests", "tasks", "tasks", "tasks"]
    before_and_after_its_write = 2
    assert sum("/requests/" in path for path in looks) == before_and_after_its_write + 1


def test_an_intent_is_recorded_in_both_places(places: Places) -> None:
    places.ledger().begin(INTENT, None)
    assert (places.stored(), places.beside()) == ("intent", "intent")


def test_an_intent_that_only_one_place_takes_is_withdrawn_from_it(places: Places) -> None:
    places.block_objects()
    with pytest.raises(LedgerError):
        places.ledger().begin(INTENT, None)
    places.unblock_objects()
    assert places.ledger().read() is None


def test_an_intent_that_one_place_keeps_is_known_to_be_taken_back_from_the_other(places: Places) -> None:
    """As when the object store is away right after it took the intent in."""
    before = make_record(RecordState.FAILED)
    places.ledger().write(before)
    intent = make_record(serial=2, previous=before.past())
    ledger = places.ledger()
    ledger.begin(intent, before)
    places.fail("store before failed", times=3)
    ledger.withdraw(intent, before, cause=OSError("busy"))
    assert (places.stored(), places.beside()) == ("intent", "failed")
    again = places.ledger()
    assert again.read() == replace(before, withdrawn=intent.submit_name)
    assert again.next_serial == 3
    places.fail("store delete", times=3)
    first = make_record(serial=7)
    again.begin(first, again.read())
    again.withdraw(first, None, cause=OSError("busy"))
    assert places.stored() == "intent"
    assert places.ledger().read() is None
    assert places.ledger().others("a" * 64) == []
    assert RecordObjects(places.target).of_request("a" * 64) == []


def test_an_intent_that_was_taken_back_does_not_hide_one_of_the_same_number(places: Places) -> None:
    places.ledger(store=False).write(replace(INTENT, withdrawn=INTENT.submit_name))
    other = make_record(try_number=2)
    places.ledger(objects=False).write(other)
    assert places.ledger().read() == other


def test_an_intent_that_cannot_be_recorded_leaves_the_record_before(places: Places) -> None:
    before = make_record(RecordState.FAILED)
    places.ledger().write(before)
    places.fail("store before intent")
    with pytest.raises(LedgerError):
        places.ledger().begin(INTENT, before)
    assert (places.stored(), places.beside()) == ("failed", "failed")


@pytest.mark.parametrize(("store", "objects"), [(True, True), (True, False), (False, True)])
def test_an_intent_that_is_withdrawn_leaves_the_record_before(
    places: Places, *, store: bool, objects: bool
) -> None:
    before = make_record(RecordState.LOST)
    ledger = places.ledger(store=store, objects=objects)
    ledger.write(before)
    intent = make_record(serial=2, previous=before.past(), intent_at="2026-01-02T03:09:00Z")
    ledger.begin(intent, before)
    ledger.withdraw(intent, before, cause=OSError("busy"))
    assert places.ledger(store=store, objects=objects).read() == before


def test_an_older_try_cannot_record_an_intent(places: Places) -> None:
    places.server.latest = "try-2"
    with pytest.raises(LedgerError, match="not found"):
        places.ledger().begin(INTENT, None)
    assert places.ledger(store=False).read() is None


def test_below_3_3_a_try_that_was_overtaken_cannot_record_an_intent(places: Places) -> None:
    places.ledger(store=False).write(PAID)
    with pytest.raises(LedgerError, match="Another try"):
        places.ledger(store=False).begin(INTENT, None)
    assert places.beside() == "submitted"


def test_the_id_of_a_paid_render_is_written_again_until_it_is_taken(places: Places) -> None:
    places.ledger().begin(INTENT, None)
    places.fail("store before submitted", times=len(PAUSES))
    places.ledger().settle(PAID)
    assert (places.stored(), places.beside()) == ("submitted", "submitted")
    assert places.pauses == list(PAUSES)


def test_one_place_is_enough_for_the_id_of_a_paid_render(places: Places) -> None:
    places.ledger().begin(INTENT, None)
    places.fail("store before submitted", times=3)
    places.ledger().settle(PAID)
    assert (places.stored(), places.beside()) == ("intent", "submitted")
    assert places.ledger().read() == PAID


def test_a_first_try_asks_the_state_store_only_if_the_object_does_not_say_that_nothing_was_paid(
    subtests: pytest.Subtests, places: Places
) -> None:
    def asks(ledger: Ledger, *, is_first_try: bool) -> bool:
        places.interruptions.at("store get", lambda: None)
        with suppress(LedgerError):
            ledger.read(is_first_try=is_first_try)
        asked = not places.interruptions.waiting
        places.interruptions.waiting.clear()
        return asked

    with subtests.test("no object"):
        assert not asks(places.ledger(), is_first_try=True)
    with subtests.test("a later try"):
        assert asks(places.ledger(), is_first_try=False)
    with subtests.test("no output directory"):
        assert asks(places.ledger(objects=False), is_first_try=True)
    places.ledger(store=False).write(PAID)
    with subtests.test("an object"):
        assert asks(places.ledger(), is_first_try=True)
    (path,) = places.folder.rglob("tasks/*.json")
    path.write_text("{")
    with subtests.test("an unreadable object"):
        assert asks(places.ledger(), is_first_try=True)


def test_a_saved_video_is_recorded_beside_it_and_in_the_store_only_if_that_fails(places: Places) -> None:
    landed, ledger = make_record(RecordState.LANDED), places.ledger()
    ledger.begin(INTENT, None)
    ledger.settle(PAID)
    ledger.settle_landed(landed)
    assert (places.stored(), places.beside()) == ("submitted", "landed")
    assert places.ledger().read() == landed
    (path,) = places.folder.rglob("tasks/*.json")
    path.write_text("{")
    ledger.settle_landed(landed)
    assert places.stored() == "landed"


def test_no_place_for_the_id_of_a_paid_render_is_an_error(places: Places) -> None:
    places.fail("store before submitted", times=3)
    with pytest.raises(LedgerError):
        places.ledger(objects=False).settle(PAID)


def test_an_older_try_records_its_paid_render_beside_the_refusing_store(places: Places) -> None:
    places.ledger().begin(INTENT, None)
    places.server.latest = "try-2"
    places.ledger().settle(PAID)
    assert places.ledger(try_id="try-2").read() == PAID


def test_an_older_try_leaves_the_object_of_a_newer_one_alone(
    places: Places, caplog: pytest.LogCaptureFixture
) -> None:
    newer = make_record(RecordState.INTENT, try_number=2, intent_at="2026-01-02T03:09:00Z")
    places.ledger(store=False).write(newer)
    places.ledger(store=False).settle(PAID)
    assert places.ledger(store=False).read() == newer
    assert "A newer try has begun" in caplog.text
    places.ledger(store=False).withdraw(INTENT, None, cause=OSError("busy"))
    assert places.ledger(store=False).read() == newer


class Gate:
    """A place that hangs until it is let go."""

    def __init__(self, places: Places, point: str) -> None:
        self.opened = threading.Event()
        self.reached = threading.Event()
        places.interruptions.at(point, self._hang)

    def _hang(self) -> None:
        self.reached.set()
        assert self.opened.wait(60)


def test_a_place_that_hangs_does_not_hold_up_the_other(places: Places) -> None:
    ledger = places.ledger(grace_seconds=0.05, longest_wait_seconds=600)
    ledger.begin(INTENT, None)
    gate = Gate(places, "store before submitted")
    ledger.settle(PAID)
    assert gate.reached.is_set()
    assert (places.stored(), places.beside()) == ("intent", "submitted")
    assert places.ledger().read() == PAID
    ledger.settle(make_record(RecordState.LANDED))
    assert (places.stored(), places.beside()) == ("intent", "landed")
    gate.opened.set()
    ledger.write(make_record(RecordState.LANDED))  # waits for what came before it
    assert (places.stored(), places.beside()) == ("landed", "landed")


def test_a_write_that_has_ended_counts_although_its_thread_lingers(places: Places) -> None:
    told, may_go = threading.Event(), threading.Event()

    class Ended:
        def put(self, _: Any) -> None:
            told.set()
            assert may_go.wait(60)

    ledger = places.ledger()
    write = _Write(ledger._insist, ledger._places[0], lambda _: None, after=None, ended=cast("Any", Ended()))
    write.start()
    assert told.wait(60)
    assert write.outcome() is None
    may_go.set()
    write.join()


def test_an_id_that_no_place_takes_in_time_is_an_error_and_is_written_all_the_same(
    places: Places,
) -> None:
    ledger = places.ledger(objects=False, longest_wait_seconds=0.05)
    ledger.begin(INTENT, None)
    gate = Gate(places, "store before submitted")
    with pytest.raises(LedgerError, match="state store has not answered yet"):
        ledger.settle(PAID)
    with pytest.raises(LedgerError, match="has not answered yet"):
        ledger.write(make_record(RecordState.LANDED))
    gate.opened.set()
    while places.stored() != "submitted":
        time.sleep(0.01)


def test_an_intent_that_cannot_be_taken_back_is_an_error(places: Places) -> None:
    ledger = places.ledger(objects=False)
    ledger.begin(INTENT, None)
    places.fail("store delete", times=3)
    with pytest.raises(LedgerError, match=r"busy.*accepted nothing.*could not be erased.*safe to set"):
        ledger.withdraw(INTENT, None, cause=OSError("busy"))
    assert places.stored() == "intent"


def test_records_of_other_tasks_are_found_by_their_request_the_latest_first(places: Places) -> None:
    objects = RecordObjects(places.target)
    others = [
        replace(
            PAID,
            key=replace(KEY, run_id=f"manual__{i}"),
            render={**RENDER, "submitted_at": f"2026-01-0{i}T00:00:00Z"},
        )
        for i in (2, 3)
    ]
    elsewhere = replace(others[0], key=replace(KEY, map_index=1), requested="b" * 64, fingerprint="b" * 64)
    for record in (*others, PAID, elsewhere):
        objects.write(record)
    assert places.ledger().others("a" * 64) == others[::-1]
    assert places.ledger(objects=False).others("a" * 64) == []


def test_a_re_render_is_found_by_the_request_that_it_was_made_for(places: Places) -> None:
    other = replace(PAID, key=replace(KEY, run_id="manual__2"), fingerprint="b" * 64, take=2)
    RecordObjects(places.target).write(other)
    assert places.ledger().others("a" * 64) == [other]
    assert places.ledger().others("b" * 64) == []


def test_a_pointer_whose_task_asks_for_something_else_now_finds_what_it_had_before(places: Places) -> None:
    objects = RecordObjects(places.target)
    for key in (KEY, replace(KEY, run_id="manual__2")):
        other = replace(PAID, key=key)
        objects.write(other)
        moved_on: dict[str, Any] = {"requested": "b" * 64, "fingerprint": "b" * 64, "previous": other.past()}
        objects.write(replace(other, render={**RENDER, "task_id": "8"}, **moved_on))
    found = places.ledger().others("a" * 64)
    assert [(record.render or {})["task_id"] for record in found] == [RENDER["task_id"]] * 2
    assert {record.key.run_id for record in found} == {"manual__1", "manual__2"}
    assert [record.key.run_id for record in places.ledger().others("b" * 64)] == ["manual__2"]


def test_a_pointer_without_its_record_leads_nowhere(places: Places) -> None:
    objects = RecordObjects(places.target)
    objects.write(PAID)
    (path,) = places.folder.rglob("tasks/*.json")
    path.unlink()
    assert objects.of_request("a" * 64) == []


def test_two_mapped_tasks_never_share_a_record(places: Places) -> None:
    objects = RecordObjects(places.target)
    for index in range(3):
        objects.write(replace(PAID, key=replace(KEY, map_index=index)))
    records, problems = objects.all()
    assert sorted(record.key.map_index for record in records) == [0, 1, 2]
    assert not problems


def test_a_damaged_record_does_not_hide_the_others(places: Places) -> None:
    objects = RecordObjects(places.target)
    objects.write(PAID)
    (places.folder / ".jimeng" / "tasks" / "strange.json").write_text("{")
    (places.folder / ".jimeng" / "tasks" / "notes.txt").write_text("not a record")
    records, problems = objects.all()
    assert records == [PAID]
    assert len(problems) == 1


class Killed(BaseException):
    """The end of a process, as far as one can be had in a process."""


@pytest.mark.parametrize("quiet", [False, True], ids=["refuses", "says nothing"])
@pytest.mark.parametrize("end", [Killed, ConnectionResetError], ids=["killed", "cut off"])
@pytest.mark.parametrize(
    "step", [r"/tasks/.*\.previous\.part$", r"/tasks/\w+\.json$"], ids=["before", "between"]
)
def test_a_record_outlives_its_replacement_where_a_store_does_not_rename_over_files(
    quiet: bool, end: type[BaseException], step: str
) -> None:
    store = StepwiseStore(quiet=quiet)
    folder = OutputPath(output_path="memory://bucket/videos/", output_conn_id=attached(store))
    ledger = Ledger(KEY, folder=folder, sleep=lambda _: None)
    ledger.begin(INTENT, None)
    store.ends_at = [(step, end)] * 100  # at every attempt, and at the step back of each
    with pytest.raises((Killed, LedgerError)):
        ledger.settle(PAID)
    store.ends_at = []
    (record,), problems = RecordObjects(folder).all()
    assert (record, problems) == (INTENT, [])
    assert Ledger(KEY, folder=folder).read() == INTENT
    ledger.settle(PAID)
    assert ledger.read() == PAID
    assert [record.key for record in RecordObjects(folder).of_request(INTENT.requested)] == [KEY]


def test_a_record_that_was_taken_back_does_not_return_from_a_replacement_that_was_killed() -> None:
    store = StepwiseStore()
    folder = OutputPath(output_path="memory://bucket/videos/", output_conn_id=attached(store))
    ledger = Ledger(KEY, folder=folder, sleep=lambda _: None)
    ledger.begin(INTENT, None)
    store.ends_at = [(r"/tasks/\w+\.json$", Killed)] * 2  # the second at the step back
    with pytest.raises(Killed):
        ledger.settle(PAID)
    ledger.withdraw(INTENT, None, cause=OSError("busy"))
    assert ledger.read() is None
    assert not [path for path in store.files() if "/tasks/" in path]
