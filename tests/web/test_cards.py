# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from airflow_provider_jimeng.core.outcomes import Money
from airflow_provider_jimeng.web.cards import card, failure, timeline, totals
from airflow_provider_jimeng.web.reading import seconds_between
from airflow_provider_jimeng.web.store import Facets, Filters, Group, Stored, TaskRef
from tests.web.records import NOW, manifest_payload, render_payload

STORED = Stored(
    ref=TaskRef(dag_id="ads", run_id="r", task_id="render"),
    state="landed",
    task_state="success",
    try_number=1,
    pushed_at=NOW,
    paid_here=True,
    render=render_payload(),
    manifest=manifest_payload("/video.mp4"),
)
FACETS = Facets(
    dag_id="ads",
    run_id="r",
    state="landed",
    model="t2v_720p",
    ratio="16:9",
    conn_id="jimeng_default",
    money=Money.PAID,
    amount=Decimal("1.40"),
    seconds=Decimal(5),
)
EVERYBODY = Filters(readable=frozenset({"ads"}))


def stages(render: dict[str, Any], manifest: dict[str, Any] | None) -> list[tuple[str, float | None]]:
    return [
        (one["name"], one["seconds"]) for one in timeline(replace(STORED, render=render, manifest=manifest))
    ]


def test_a_timeline_holds_only_what_was_seen() -> None:
    manifest = manifest_payload("/v.mp4")
    assert stages(render_payload(), None) == [("submitted", None)]
    assert stages({}, manifest) == []
    assert stages(render_payload(), {**manifest, "queued_seconds": None, "render_seconds": None}) == [
        ("submitted", None), ("waiting", 75.0), ("landed", None),
    ]  # fmt: skip
    assert stages(render_payload(), {**manifest, "queued_seconds": None}) == [
        ("submitted", None), ("rendering", 60.0), ("landing", 15.0), ("landed", None),
    ]  # fmt: skip
    assert stages(render_payload(), {**manifest, "render_seconds": "soon", "landed_at": None}) == [
        ("submitted", None), ("queued", 10.0),
    ]  # fmt: skip


def test_what_queries_saw_of_a_timeline_has_bounds() -> None:
    bounds = {one["name"]: (one["seconds_from"], one["seconds_to"]) for one in timeline(STORED)}
    assert bounds == {
        "submitted": (None, None), "queued": (0, 10.0), "rendering": (0, 70.0), "landing": (5.0, 5.0),
        "landed": (None, None),
    }  # fmt: skip
    seen = {**manifest_payload("/v.mp4"), "queued_seconds_min": 4.0, "render_seconds_min": 55.5}
    narrow = {
        one["name"]: (one["seconds_from"], one["seconds_to"])
        for one in timeline(replace(STORED, manifest=seen))
    }
    assert (narrow["queued"], narrow["rendering"]) == ((4.0, 10.0), (55.5, 66.0))
    forged = {**seen, "queued_seconds_min": 1e6, "render_seconds_min": 1e6}
    kept = {
        one["name"]: (one["seconds_from"], one["seconds_to"])
        for one in timeline(replace(STORED, manifest=forged))
    }
    assert (kept["queued"], kept["rendering"]) == ((10.0, 10.0), (60.0, 60.0))


def test_a_render_that_may_still_be_adopted_says_until_when() -> None:
    for outcome, kept in (
        ("timed_out", True),
        ("lost_contact", True),
        ("no_link", True),
        ("failed", False),
        ("expired", False),
    ):
        shown = card(
            replace(STORED, state="failed", manifest=None, render=render_payload(outcome=outcome)), {}
        )
        assert (shown["kept_until"] is not None) is kept
    assert card(replace(STORED, render={"outcome": "timed_out"}), {})["kept_until"] is None


def test_without_a_time_of_submit_nothing_is_expected() -> None:
    running = replace(STORED, state="running", manifest=None)
    for submitted_at in (None, "never", 7, "2026-05-04T12:00:00"):
        shown = card(replace(running, render={"model": "m", "submitted_at": submitted_at}), {"m": 60.0})
        assert shown["expected_at"] is None


def test_advice_of_the_task_goes_before_that_of_the_code_table() -> None:
    assert failure({"code": "no such code", "advice": "Ask Ada."})["advice"] == "Ask Ada."
    assert failure({})["kind"] is None


def test_a_wait_for_a_slot_without_success_is_not_explained_by_the_code_of_its_last_answer() -> None:
    shown = failure({"outcome": "slot_timed_out", "code": "50430", "advice": "Wait again."})
    assert (shown["kind"], shown["retryable"]) == (None, None)
    assert (shown["meaning"], shown["advice"]) == (
        "No render slot came free in time. Nothing was billed.",
        "Wait again.",
    )
    assert failure({"outcome": "failed", "code": "50430"})["kind"] == "busy"


def test_totals_add_each_kind_of_money_and_never_guess_a_price() -> None:
    running = FACETS._replace(state="running", money=Money.EXPECTED)
    found = [
        Group(facets=facets, count=count)
        for count, facets in (
            (3, FACETS._replace(amount=Decimal("0.10"))),
            (1, FACETS._replace(amount=None)),
            (1, FACETS._replace(amount=Decimal("9.99"), money=Money.PAID_ELSEWHERE)),
            (1, running._replace(amount=Decimal("2.5"))),
            (1, running._replace(state="waiting", amount=Decimal(1))),
            (1, running._replace(state="failed", money=Money.NOT_BILLED)),
            (2, running._replace(state="failed", money=Money.MAY_BE_BILLED)),
            (1, running._replace(state="submitted", amount=None)),
            (1, FACETS._replace(replaced=True, amount=Decimal(7))),
            (1, FACETS._replace(replaced=True, money=Money.MAY_BE_BILLED, amount=Decimal(4))),
        )
    ]
    assert totals(found, EVERYBODY) == {
        "renders": 11, "seconds": 25.0, "cost_cny": "7.30", "may_be_billed_cny": "6.80", "expected_cny": "3.50",
        "unpriced": 2,
    }  # fmt: skip
    assert totals(found, replace(EVERYBODY, dag_ids=("other",)))["renders"] == 0


def test_seconds_between_two_times_are_never_negative() -> None:
    assert seconds_between("2026-05-04T12:00:00Z", "2026-05-04T12:01:00+00:00") == 60.0
    assert seconds_between("2026-05-04T12:00:00Z", "2026-05-04T11:00:00Z") == 0.0
    assert seconds_between("2026-05-04T12:00:00Z", "2026-05-04T11:00:00") is None
    assert seconds_between(None, "2026-05-04T11:00:00Z") is None


def test_a_card_says_in_what_its_video_differs_whatever_a_payload_holds() -> None:
    difference = {"field": "duration", "asked": 5, "got": 3.0}
    for left, shown in (
        ([difference], [{"field": "duration", "asked": "5", "got": "3.0"}]),
        ([difference | {"got": {"a": 1}}, 7, "x"], [{"field": "duration", "asked": "5", "got": "{'a': 1}"}]),
        (None, []),
        ({"field": "x"}, []),
    ):
        manifest = manifest_payload("/video.mp4") | {"differs": left}
        assert card(replace(STORED, manifest=manifest), {})["differs"] == shown
