# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_jimeng.core.record import (
    MAX_PREVIOUS,
    Adopt,
    Record,
    RecordState,
    Refuse,
    Start,
    TaskKey,
    by_preference,
    decide_start,
)

KEY = TaskKey(dag_id="ads", run_id="manual__1", task_id="render", map_index=3)
RENDER: dict[str, Any] = {
    "task_id": "7392616336519610409",
    "req_key": "key",
    "model": "t2v_720p",
    "jimeng_conn_id": "jimeng_default",
    "submitted_at": "2026-01-02T03:04:05Z",
    "prompt": "a red kite",
}
MANIFEST: dict[str, Any] = {
    **RENDER,
    "uri": "file:///v.mp4",
    "bytes": 9,
    "sha256": "0" * 64,
    "landed_at": "2026-01-02T03:09:05Z",
}


def make_record(state: RecordState = RecordState.SUBMITTED, **changes: Any) -> Record:
    fields: dict[str, Any] = {
        "state": state,
        "key": KEY,
        "requested": "same",
        "fingerprint": "same",
        "take": 1,
        "max_tries": 2,
        "intent_at": "2026-01-02T03:04:04Z",
        "render": None if state is RecordState.INTENT else RENDER,
    }
    return Record(**{**fields, **changes})


def decide(record: Record | None, **changes: Any) -> Start | Adopt | Refuse:
    return decide_start(record, **{"requested": "same", "take": 1, "max_tries": 2, **changes})


@pytest.mark.parametrize("state", list(RecordState))
def test_a_record_of_every_state_survives_the_way_through_json(state: RecordState) -> None:
    record = make_record(
        state,
        request={"model": "t2v_720p"},
        manifest=MANIFEST,
        previous=({"state": "lost", "render": RENDER},),
        lost_try=2,
        output_path="/v/",
        jimeng_conn_id="other",
        try_number=4,
    )
    assert Record.from_payload(record.to_payload()) == record


def test_a_record_without_the_newer_fields_can_still_be_read() -> None:
    payload = make_record().to_payload()
    for name in (
        "request",
        "try_number",
        "lost_try",
        "previous",
        "output_path",
        "jimeng_conn_id",
        "manifest",
    ):
        del payload[name]
    assert Record.from_payload(payload) == make_record()


def test_a_manifest_that_is_none_is_left_out_of_the_record(subtests: pytest.Subtests) -> None:
    cases: list[Any] = [{"uri": "file:///v.mp4"}, {**MANIFEST, "landed_at": "soon"}, "text", 7, []]
    for manifest in cases:
        with subtests.test(manifest=repr(manifest)):
            payload = {**make_record(RecordState.LANDED).to_payload(), "manifest": manifest}
            assert Record.from_payload(payload) == make_record(RecordState.LANDED)


def test_a_damaged_record_is_refused_as_a_whole(subtests: pytest.Subtests) -> None:
    cases: list[dict[str, Any]] = [
        {"previous": ["lost"]},
        {"previous": [{"state": "lost"}]},
        {"previous": [{"state": "eaten", "render": RENDER}]},
        {"previous": 7},
        {"request": "a red kite"},
        {"intent_at": "yesterday"},
        {"intent_at": None},
        {"task_instance": None},
        {"max_tries": None},
    ]
    for damage in cases:
        with subtests.test(damage=repr(damage)):
            with pytest.raises((KeyError, TypeError, ValueError)):
                Record.from_payload({**make_record().to_payload(), **damage})


def test_a_file_may_yet_come_while_the_api_keeps_the_render(subtests: pytest.Subtests) -> None:
    cases: list[tuple[RecordState, float, bool]] = [
        (RecordState.INTENT, 1, True),
        (RecordState.SUBMITTED, 11, True),
        (RecordState.SUBMITTED, 12, False),
        (RecordState.LANDED, 1, False),
        (RecordState.FAILED, 1, False),
        (RecordState.LOST, 1, False),
    ]
    for state, hours_later, expected in cases:
        with subtests.test(state=repr(state), hours_later=repr(hours_later), expected=repr(expected)):
            began = datetime(2026, 1, 2, 3, 4, 4, tzinfo=UTC).timestamp()
            assert make_record(state).is_yet_to_land(began + hours_later * 3600) is expected


@pytest.mark.parametrize("state", [state for state in RecordState if state is not RecordState.INTENT])
def test_a_record_of_a_paid_render_without_the_render_is_no_record(state: RecordState) -> None:
    payload = {**make_record(state).to_payload(), "render": {"task_id": ""}}
    with pytest.raises((ValueError, KeyError)):
        Record.from_payload(payload)


def test_the_past_of_a_record_is_short_and_ends_with_its_own_render() -> None:
    landed = make_record(RecordState.LANDED, manifest={"uri": "file:///v.mp4", "sha256": "a"})
    assert landed.past() == (
        {
            "state": "landed",
            "asked": "same",
            "take": 1,
            "render": {**RENDER, "prompt": None},
            "uri": "file:///v.mp4",
            "cost_cny": None,
        },
    )
    many = replace(landed, previous=({"state": "lost"},) * MAX_PREVIOUS, manifest=None)
    assert len(many.past()) == MAX_PREVIOUS
    assert many.past()[-1]["state"] == "landed"


def test_an_intent_adds_nothing_to_the_past() -> None:
    assert make_record(RecordState.INTENT, previous=({"state": "lost"},)).past() == ({"state": "lost"},)


def test_given_up_renders_are_the_failed_and_the_lost_ones() -> None:
    before = tuple(
        {"state": state, "render": {"task_id": state}} for state in ("lost", "submitted", "failed")
    )
    assert make_record(previous=before).given_up() == {"lost", "failed"}
    assert make_record(RecordState.LOST).given_up() == {RENDER["task_id"]}


def test_two_records_of_one_submit_are_told_from_those_of_another() -> None:
    intent = make_record(RecordState.INTENT)
    assert intent.same_submit(make_record(RecordState.SUBMITTED))
    assert not intent.same_submit(make_record(intent_at="2026-01-02T03:05:00Z"))
    assert not intent.same_submit(make_record(try_number=2))


def test_a_record_remembers_the_try_that_saw_it_last() -> None:
    seen = make_record().seen_by(max_tries=5, try_number=4)
    assert (seen.max_tries, seen.try_number) == (5, 4)
    assert seen.cleared_since(6)
    assert seen.cleared_since(4)
    assert not seen.cleared_since(5)


def test_without_a_record_the_task_submits() -> None:
    assert decide(None, take=7) == Start(take=7)


def test_after_an_unbilled_failure_the_task_submits_the_same_take_again(subtests: pytest.Subtests) -> None:
    cases: list[tuple[str, int]] = [("same", 4), ("other", 1)]
    for requested, take in cases:
        with subtests.test(requested=repr(requested), take=repr(take)):
            assert decide(make_record(RecordState.FAILED, take=4), requested=requested) == Start(take=take)


@pytest.mark.parametrize("max_tries", [2, 3])
@pytest.mark.parametrize("requested", ["same", "other"])
def test_an_intent_refuses_by_default_even_a_clear_and_a_changed_request(
    requested: str, max_tries: int
) -> None:
    decision = decide(make_record(RecordState.INTENT), requested=requested, max_tries=max_tries)
    assert decision == Refuse(unknown=True)


def test_an_intent_is_submitted_again_where_the_author_allows_it(subtests: pytest.Subtests) -> None:
    cases: list[tuple[str, int, Start | Refuse]] = [
        ("same", 2, Start(take=4)),
        ("same", 3, Start(take=4)),
        ("other", 2, Refuse(unknown=False)),
        ("other", 3, Start(take=1)),
    ]
    for requested, max_tries, decision in cases:
        with subtests.test(requested=repr(requested), max_tries=repr(max_tries), decision=repr(decision)):
            record = make_record(RecordState.INTENT, take=4)
            assert (
                decide(record, requested=requested, max_tries=max_tries, on_unknown_submit="resubmit")
                == decision
            )


def test_a_changed_request_stops_a_retry_and_starts_with_a_clear(subtests: pytest.Subtests) -> None:
    cases: list[RecordState] = [RecordState.SUBMITTED, RecordState.LANDED, RecordState.LOST]
    for state in cases:
        with subtests.test(state=repr(state)):
            assert decide(make_record(state), requested="other") == Refuse(unknown=False)
            assert decide(make_record(state), requested="other", max_tries=3, take=2) == Start(take=2)


@pytest.mark.parametrize(
    ("state", "landed"),
    [(RecordState.SUBMITTED, False), (RecordState.LANDED, True), (RecordState.LOST, False)],
)
@pytest.mark.parametrize("max_tries", [2, 3])
def test_the_same_request_is_adopted_by_a_retry_and_by_a_clear(
    state: RecordState, *, landed: bool, max_tries: int
) -> None:
    assert decide(make_record(state), max_tries=max_tries) == Adopt(landed=landed)


def test_a_new_take_is_rendered_after_a_clear_only(subtests: pytest.Subtests) -> None:
    cases: list[RecordState] = [RecordState.SUBMITTED, RecordState.LANDED, RecordState.LOST]
    for state in cases:
        with subtests.test(state=repr(state)):
            record = make_record(state, take=3)
            assert isinstance(decide(record, on_rerun="render"), Adopt)
            assert decide(record, on_rerun="render", max_tries=3) == Start(take=4)


def test_a_clear_is_seen_even_where_fewer_retries_make_max_tries_smaller() -> None:
    assert decide(make_record(max_tries=9), on_rerun="render", max_tries=2) == Start(take=2)


def test_a_lost_render_is_submitted_again_where_the_author_allows_it() -> None:
    assert decide(make_record(RecordState.LOST, take=3), on_lost="resubmit") == Start(take=3)
    assert decide(make_record(RecordState.SUBMITTED), on_lost="resubmit") == Adopt(landed=False)


# --------------------------------------------------------------------------------------------- what answers a request
def after(before: Record, task_id: str, state: RecordState = RecordState.LANDED, **changes: Any) -> Record:
    render = {**RENDER, "task_id": task_id, "fingerprint": changes.get("fingerprint", before.fingerprint)}
    shown = None if state is RecordState.INTENT else render
    return replace(before, state=state, render=shown, previous=before.past(), **changes)


FIRST = make_record(RecordState.LANDED, manifest={**MANIFEST, "cost_cny": "1.40"})
AGAIN = after(FIRST, "2", fingerprint="take 2", take=2, manifest=None)
OTHER = after(AGAIN, "3", requested="other", fingerprint="other", take=1)


def test_what_a_record_keeps_of_an_earlier_render_says_what_was_asked_and_what_it_cost() -> None:
    (kept,) = AGAIN.previous
    assert (kept["asked"], kept["take"], kept["uri"], kept["cost_cny"]) == (
        "same",
        1,
        "file:///v.mp4",
        "1.40",
    )
    assert kept["render"]["prompt"] is None


def test_the_bill_of_a_record_names_what_its_own_task_paid_for() -> None:
    paid = replace(AGAIN, render={**(AGAIN.render or {}), "estimated_cost_cny": "2.80"})
    first = {
        "state": "landed",
        "task_id": RENDER["task_id"],
        "submitted_at": RENDER["submitted_at"],
        "cost_cny": "1.40",
    }
    assert paid.bill() == [first, {**first, "task_id": "2", "cost_cny": "2.80"}]
    assert paid.bill(except_id="2") == [first]
    adopted = replace(FIRST, intent_at="2026-01-03T00:00:00Z")
    assert adopted.bill() == []
    assert [item["task_id"] for item in after(adopted, "2").bill()] == []
    own = after(adopted, "2", intent_at="2026-01-02T03:04:05Z")
    assert [item["task_id"] for item in own.bill()] == ["2"]
    assert make_record(RecordState.INTENT).bill() == []


def test_a_re_render_after_a_clear_answers_the_request_as_its_author_wrote_it() -> None:
    assert AGAIN.as_asked("same") is AGAIN
    assert AGAIN.as_asked("take 2") is None


def test_a_changed_request_hides_no_earlier_render_of_another_one() -> None:
    found = OTHER.as_asked("same")
    assert found is not None
    assert (found.render or {})["task_id"] == "2"
    assert (found.requested, found.fingerprint, found.take, found.previous) == ("same", "take 2", 2, ())
    assert found.state is RecordState.LANDED
    assert OTHER.as_asked("other") is OTHER
    assert OTHER.as_asked("neither") is None


def test_a_re_render_without_a_video_leaves_the_earlier_one_to_others(subtests: pytest.Subtests) -> None:
    cases: list[RecordState] = [RecordState.INTENT, RecordState.FAILED, RecordState.LOST]
    for state in cases:
        with subtests.test(state=repr(state)):
            found = after(FIRST, "2", state, fingerprint="take 2", take=2).as_asked("same")
            assert found is not None
            assert (found.render or {})["task_id"] == RENDER["task_id"]
            alone = make_record(state)
            assert alone.as_asked("same") is alone


def test_renders_that_failed_or_were_lost_answer_nothing_later() -> None:
    lost = after(make_record(RecordState.LOST), "2", requested="other", fingerprint="other")
    assert lost.as_asked("same") is None


def test_a_task_s_own_record_answers_with_what_it_had_before() -> None:
    assert AGAIN.as_asked("same", earlier_only=True) == replace(
        FIRST, render={**RENDER, "prompt": None}, manifest=None, intent_at=RENDER["submitted_at"]
    )
    assert FIRST.as_asked("same", earlier_only=True) is None


def test_a_remembered_render_of_a_record_without_the_newer_fields_answers_nothing() -> None:
    old = make_record(requested="other", previous=({"state": "landed", "render": RENDER},))
    assert old.as_asked("same") is None
    assert Record.from_payload(old.to_payload()) == old
    with pytest.raises(ValueError, match="invalid literal"):
        Record.from_payload(replace(old, previous=({**old.past()[0], "take": "x"},)).to_payload())


def test_a_landed_render_is_preferred_then_the_latest_then_the_oldest_intent() -> None:
    def at(minute: int, state: RecordState) -> Record:
        moment = f"2026-01-02T03:{minute:02}:00Z"
        shown = None if state is RecordState.INTENT else {**RENDER, "submitted_at": moment}
        return make_record(state, key=replace(KEY, map_index=minute), intent_at=moment, render=shown)

    landed, paid, intent = RecordState.LANDED, RecordState.SUBMITTED, RecordState.INTENT
    wanted = [
        at(2, landed),
        at(1, landed),
        at(9, paid),
        at(8, paid),
        at(3, intent),
        at(4, RecordState.FAILED),
    ]
    assert by_preference([wanted[i] for i in (4, 2, 0, 5, 3, 1)]) == wanted
