# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from tests.web.records import NOW, intent_payload, manifest_payload, render_payload

if TYPE_CHECKING:
    from tests.web.conftest import Reader
    from tests.web.records import Records

FILE = "/nowhere/video.mp4"


def test_the_newest_render_comes_first_with_all_a_card_shows(admin: Reader, records: Records) -> None:
    records.landed(FILE, run_id="old", render_id="1", submitted_at=NOW.subtract(hours=1))
    records.landed(FILE, run_id="new", render_id="2", submitted_at=NOW, prompt="一只纸船", map_index=3)

    first, second = admin.renders()["cards"]

    assert (first["render_id"], second["render_id"]) == ("2", "1")
    assert first["ref"] == {"dag_id": "ads", "run_id": "new", "task_id": "render", "map_index": 3}
    assert first["state"] == "landed"
    assert first["prompt"] == "一只纸船"
    assert (first["width"], first["height"], first["fps"], first["duration"]) == (1280, 720, 24.0, 5)
    assert (first["cost_cny"], first["estimated_cost_cny"]) == ("1.40", "1.40")
    assert first["submitted_at"] == "2026-05-04T12:00:00Z"
    assert first["model_title"] != first["model"] == "t2v_720p"
    assert first["failure"] is first["expected_at"] is first["kept_until"] is None


def test_pages_are_cut_from_one_order_and_totals_are_those_of_all(admin: Reader, records: Records) -> None:
    for number in range(7):
        records.landed(
            FILE,
            run_id=f"r{number}",
            render_id=str(number),
            submitted_at=NOW.add(minutes=number),
            commit=number == 6,
        )

    assert admin.ids(limit=3) == ["6", "5", "4"]
    assert admin.ids(limit=3, offset=3) == ["3", "2", "1"]
    last = admin.renders(limit=3, offset=6)
    assert [card["render_id"] for card in last["cards"]] == ["0"]
    assert last["totals"]["renders"] == 7
    assert (last["limit"], last["offset"]) == (3, 6)
    assert admin.ids(offset=70) == []


def test_a_filter_that_makes_no_sense_is_refused(admin: Reader) -> None:
    senseless: list[dict[str, Any]] = [
        {"limit": 0}, {"limit": 101}, {"offset": -1}, {"state": "gone"}, {"since": "yesterday"}, {"q": "x" * 501},
    ]  # fmt: skip
    assert [admin.get("api/renders", filters).status_code for filters in senseless] == [422] * len(senseless)


def test_filters_by_dag_state_model_text_and_date_are_combined(admin: Reader, records: Records) -> None:
    records.landed(FILE, dag_id="a", render_id="1", model="t2v_720p", prompt="Red Kite", submitted_at=NOW)
    records.landed(
        FILE, dag_id="b", render_id="2", model="t2v_1080p", prompt="雨中的纸船", submitted_at=NOW.add(days=1)
    )
    records.add(
        dag_id="b",
        run_id="r2",
        state="failed",
        render=render_payload(task_id="3", prompt="100% red_kite \\o/", outcome="failed"),
    )

    assert sorted(admin.ids()) == ["1", "2", "3"]
    assert sorted(admin.ids(dag_id="b")) == ["2", "3"]
    assert sorted(admin.ids(dag_id=["a", "b"], state="landed")) == ["1", "2"]
    assert admin.ids(state=["failed", "running"]) == ["3"]
    assert admin.ids(model="t2v_1080p") == ["2"]
    assert sorted(admin.ids(q="red")) == ["1", "3"]
    assert admin.ids(q="  KITE ", dag_id="a") == ["1"]
    assert admin.ids(q="纸船") == ["2"]
    assert admin.ids(q="100%") == admin.ids(q="red_") == admin.ids(q="\\o/") == ["3"]
    assert admin.ids(q="2") == ["2"], "the API's own id finds a render"
    assert admin.ids(q="r2") == ["3"], "so does the run"
    assert admin.ids(since=NOW.add(hours=1).isoformat()) == ["2"]
    assert sorted(admin.ids(until=NOW.add(hours=1).isoformat())) == ["1", "3"]
    assert admin.ids(since="2026-05-04T20:00:01+08:00", until="2026-05-06T00:00:00") == ["2"]


def test_each_state_is_what_task_outcome_and_file_say_together(admin: Reader, records: Records) -> None:
    def state_of(state: str | None, outcome: str | None = None, *, landed: bool = False) -> str:
        run = f"run_{len(runs)}"
        payload = render_payload(task_id=run, **({"outcome": outcome} if outcome else {}))
        runs.append(run)
        records.add(
            run_id=run, state=state, render=payload, manifest=manifest_payload(FILE) if landed else None
        )
        return next(str(card["state"]) for card in admin.renders()["cards"] if card["render_id"] == run)

    runs: list[str] = []
    assert state_of("success", landed=True) == "landed"
    for waiting in ("deferred", "running", "queued", "scheduled", "up_for_retry", "up_for_reschedule", None):
        assert state_of(waiting) == "running"
    assert state_of("failed") == state_of("upstream_failed") == "failed"
    for outcome in (
        "failed",
        "expired",
        "not_found",
        "no_link",
        "timed_out",
        "lost_contact",
        "slot_timed_out",
    ):
        assert state_of("up_for_retry", outcome) == "failed"
    assert state_of("success") == state_of("success", "succeeded") == "submitted"


def test_a_failed_render_says_what_its_code_means_and_what_to_do(admin: Reader, records: Records) -> None:
    from airflow_provider_jimeng.core.codes import BUSINESS_CODES, ErrorKind

    code, entry = next((c, e) for c, e in BUSINESS_CODES.items() if e.kind is ErrorKind.OUTPUT_MODERATED)
    payload = render_payload(outcome="failed", code=str(code), message=entry.message, advice=None)
    records.add(state="failed", render=payload)

    (card,) = admin.renders()["cards"]

    assert (card["code"], card["message"]) == (str(code), entry.message)
    assert card["failure"] == {
        "kind": "output_moderated",
        "meaning": entry.meaning,
        "meaning_zh": entry.meaning_zh,
        "advice": entry.advice,
        "advice_zh": entry.advice_zh,
        "retryable": entry.retryable,
    }


def refused_payload(**changes: Any) -> dict[str, Any]:
    from airflow_provider_jimeng.core.catalogue import MODELS
    from airflow_provider_jimeng.core.codes import BUSINESS_CODES, ErrorKind
    from airflow_provider_jimeng.core.errors import ApiError
    from airflow_provider_jimeng.core.parameters import RenderRequest
    from airflow_provider_jimeng.core.submit_messages import refusal_of

    code = next(c for c, e in BUSINESS_CODES.items() if e.kind is ErrorKind.INPUT_MODERATED)
    request = RenderRequest.build(prompt="A prompt that is refused", model=next(iter(MODELS)))
    error = ApiError("Pre Check Not Pass", code=str(code), request_id="req-9", entry=BUSINESS_CODES[code])
    return refusal_of(request, error, NOW) | changes


def test_a_request_that_the_api_refused_is_a_failed_card_in_its_place(
    admin: Reader, records: Records
) -> None:
    records.landed(FILE, run_id="before", render_id="1", submitted_at=NOW.subtract(minutes=1))
    records.landed(FILE, run_id="after", render_id="2", submitted_at=NOW.add(minutes=1))
    ref = records.add(run_id="refused", state="up_for_retry", refusal=refused_payload())

    _, card, _ = admin.renders()["cards"]

    assert card["ref"] == ref
    assert (card["state"], card["prompt"], card["render_id"]) == ("failed", "A prompt that is refused", None)
    assert card["failure"]["kind"] == "input_moderated"
    assert card["submitted_at"] is None
    assert card["seen_at"] == NOW.isoformat()
    assert admin.renders()["totals"]["renders"] == 3
    assert admin.get("api/render", ref).json()["card"]["code"] == card["code"]


def test_a_render_counts_more_than_a_refusal_of_the_same_task_instance(
    admin: Reader, records: Records
) -> None:
    ref = records.add(state="deferred", render=render_payload(task_id="1"), refusal=refused_payload())
    assert admin.ids() == ["1"]
    assert admin.get("api/render", ref).json()["card"]["render_id"] == "1"


@pytest.mark.parametrize("state", ["failed", "up_for_retry", "success"])
def test_a_submit_without_an_answer_is_a_failed_card_that_may_have_cost_money(
    state: str, admin: Reader, records: Records
) -> None:
    ref = records.add(state=state, intent=intent_payload(duration=10, estimated_cost_cny="2.80"))

    (card,) = admin.renders()["cards"]

    assert (card["ref"], card["state"], card["outcome"]) == (ref, "failed", "unknown_submit")
    assert (card["prompt"], card["model"], card["duration"]) == ("A submit without an answer", "t2v_720p", 10)
    assert (card["estimated_cost_cny"], card["render_id"]) == ("2.80", None)
    assert card["message"] == "The answer to a submit was lost."
    assert admin.renders(q="without an answer", model="t2v_720p", state="failed")["totals"] == {
        "renders": 1, "seconds": 0.0, "cost_cny": "0.00", "may_be_billed_cny": "2.80", "expected_cny": "0.00",
        "unpriced": 0,
    }  # fmt: skip
    found = admin.get("api/render", ref).json()
    assert found["card"]["outcome"] == "unknown_submit"
    assert found["render"]["intent_at"] == NOW.isoformat()


def test_an_intent_says_nothing_beside_a_render_or_a_refusal_or_in_a_task_that_goes_on(
    admin: Reader, records: Records
) -> None:
    intent = intent_payload()
    records.add(run_id="1", state="failed", intent=intent, refusal=refused_payload())
    records.add(run_id="2", state="deferred", intent=intent, render=render_payload())
    records.add(run_id="3", state="running", intent=intent)
    states = {card["ref"]["run_id"]: (card["state"], card["outcome"]) for card in admin.renders()["cards"]}
    assert states == {"1": ("failed", "failed"), "2": ("running", None), "3": ("running", None)}


def test_an_intent_that_others_pushed_spoils_nothing(admin: Reader, records: Records) -> None:
    strange: list[Any] = ["text", [1], {"request": "text"}, {"request": {"model": [1], "duration": "x"}}]
    refs = [records.add(run_id=str(at), state="failed", intent=intent) for at, intent in enumerate(strange)]
    assert [card["outcome"] for card in admin.renders()["cards"]] == ["unknown_submit"] * len(strange)
    assert {admin.get("api/render", ref).status_code for ref in refs} == {200}


@pytest.mark.parametrize("state", ["failed", "up_for_retry"])
def test_a_render_that_is_done_and_could_not_be_landed_counts_as_paid(
    state: str, admin: Reader, records: Records
) -> None:
    payload = render_payload(outcome="succeeded", message="The disk is full.")
    records.add(state=state, render=payload)
    records.add(run_id="2", state="failed", render=render_payload(task_id="2", outcome="expired"))
    totals = admin.renders()["totals"]
    assert (totals["cost_cny"], totals["expected_cny"], totals["unpriced"]) == ("1.40", "0.00", 0)
    card = next(card for card in admin.renders()["cards"] if card["outcome"] == "succeeded")
    if state == "failed":
        assert card["failure"]["meaning"] == "The video is done and billed, but it is not saved."
    else:
        assert card["failure"] is None


def test_a_download_that_failed_is_known_to_be_billed_from_the_wait_before_it(
    admin: Reader, records: Records
) -> None:
    payload = render_payload(task_id="1")
    records.add(task_id="submit", render=payload, manifest=payload)
    records.add(task_id="wait", render={**payload, "outcome": "succeeded"}, at=NOW.add(minutes=1))
    ref = records.add(task_id="download", state="failed", render=payload, at=NOW.add(minutes=2))
    records.add(dag_id="other", state="failed", render=render_payload(task_id="2"))

    page = admin.renders()

    outcomes = {card["render_id"]: (card["state"], card["outcome"]) for card in page["cards"]}
    assert outcomes == {"1": ("failed", "succeeded"), "2": ("failed", None)}
    assert page["totals"]["cost_cny"] == "1.40"
    assert admin.get("api/render", ref).json()["card"]["outcome"] == "succeeded"


def test_a_running_render_is_expected_when_its_model_is_usually_done(admin: Reader, records: Records) -> None:
    for number, seconds in enumerate((60, 80, 600)):
        records.landed(
            FILE,
            run_id=f"r{number}",
            render_id=str(number),
            landed_at=NOW.add(seconds=seconds),
            model="t2v_1080p",
        )
    records.add(run_id="now", state="deferred", render=render_payload(task_id="x", model="t2v_1080p"))
    records.add(run_id="other", state="deferred", render=render_payload(task_id="y", model="ti2v_pro"))

    expected = {card["render_id"]: card["expected_at"] for card in admin.renders(state="running")["cards"]}

    assert expected == {"x": "2026-05-04T12:01:20+00:00", "y": None}


def test_totals_count_videos_seconds_and_money_of_the_filtered_set(admin: Reader, records: Records) -> None:
    records.landed(FILE, run_id="a", render_id="1", duration=5, cost_cny=Decimal("1.40"))
    records.landed(FILE, run_id="b", render_id="2", duration=10, cost_cny=Decimal("6.30"), model="t2v_1080p")
    records.landed(FILE, run_id="c", render_id="3", duration=5, cost_cny=None)
    records.add(run_id="d", state="deferred", render=render_payload(task_id="4"))
    records.add(run_id="e", state="failed", render=render_payload(task_id="5", outcome="failed"))

    assert admin.renders()["totals"] == {
        "renders": 5, "seconds": 20.0, "cost_cny": "7.70", "may_be_billed_cny": "0.00",
        "expected_cny": "1.40", "unpriced": 1,
    }  # fmt: skip
    assert admin.renders(model="t2v_1080p")["totals"] == {
        "renders": 1, "seconds": 10.0, "cost_cny": "6.30", "may_be_billed_cny": "0.00",
        "expected_cny": "0.00", "unpriced": 0,
    }  # fmt: skip


def test_totals_are_the_sums_of_the_cards_and_choices_count_them_under_every_filter(
    admin: Reader, viewer: Reader, records: Records
) -> None:
    for number, (dag_id, cost) in enumerate(
        (("a", "1.40"), ("b", "0.07"), ("secret_c", "9.99"), ("b", None))
    ):
        price = None if cost is None else Decimal(cost)
        records.landed(
            FILE, dag_id=dag_id, run_id=f"r{number}", render_id=str(number), cost_cny=price, commit=False
        )
    records.landed(FILE, dag_id="b", run_id="reader", render_id="0", at=NOW.add(days=1), model="t2v_1080p")
    records.landed(
        FILE, dag_id="b", run_id="poor", render_id="2", at=NOW.add(days=1), cost_cny=Decimal("9.99")
    )
    for number, outcome in enumerate(("timed_out", "failed", None), start=5):
        payload = render_payload(task_id=str(number), submitted_at=NOW.add(days=number), prompt="a kite")
        state = "failed" if outcome else "deferred"
        records.add(
            run_id=f"r{number}", state=state, render=payload | ({"outcome": outcome} if outcome else {})
        )
    records.add(run_id="refused", state="failed", refusal=refused_payload())
    params = {"dags": "dag_id", "runs": "run_id", "states": "state", "models": "model"}
    filters: list[dict[str, Any]] = [
        {}, {"dag_id": ["a", "b"]}, {"state": "landed"}, {"q": "kite"}, {"q": "boat", "dag_id": "b"}, {"sort": "cost"},
        {"since": NOW.add(days=6).isoformat()}, {"until": NOW.add(days=6).isoformat(), "model": "t2v_720p"},
        {"run_id": ["r1", "reader"], "state": "landed"},
    ]  # fmt: skip
    for reader in (admin, viewer):
        for query in filters:
            page = reader.renders(limit=100, **query)
            sums = {"paid": Decimal(0), "may_be_billed": Decimal(0), "expected": Decimal(0)}
            for card in page["cards"]:
                if card["money"] in sums and card["amount_cny"]:
                    sums[card["money"]] += Decimal(card["amount_cny"])
            totals = page["totals"]
            assert totals["renders"] == len(page["cards"]), query
            shown = [Decimal(totals[name]) for name in ("cost_cny", "may_be_billed_cny", "expected_cny")]
            assert shown == list(sums.values()), query
            for name, param in params.items():
                for choice in page["choices"][name]:
                    found = reader.renders(**query | {param: choice["value"]})
                    assert found["totals"]["renders"] == choice["count"], (query, choice)
    assert admin.renders()["totals"]["cost_cny"] == "11.46"
    assert viewer.renders()["totals"]["cost_cny"] == "11.46", "who cannot see the payer sees the next run pay"


def test_choices_say_how_many_renders_each_would_leave(admin: Reader, records: Records) -> None:
    records.landed(FILE, dag_id="a", render_id="1")
    records.landed(FILE, dag_id="b", render_id="2", model="t2v_1080p")
    records.add(dag_id="b", run_id="r2", state="deferred", render=render_payload(task_id="3"))

    choices = admin.renders(dag_id="b", state="landed")["choices"]

    assert {one["value"]: one["count"] for one in choices["dags"]} == {"a": 1, "b": 1}
    assert {one["value"]: one["count"] for one in choices["states"]} == {"landed": 1, "running": 1}
    assert {one["value"]: one["count"] for one in choices["models"]} == {"t2v_720p": 0, "t2v_1080p": 1}
    assert choices["models"][0]["title"] != choices["models"][0]["value"]


def test_submit_wait_and_download_of_one_render_are_one_card(admin: Reader, records: Records) -> None:
    payload = render_payload(task_id="1")
    records.add(task_id="submit", render=payload, manifest=payload)
    assert [card["state"] for card in admin.renders()["cards"]] == ["submitted"]
    records.add(task_id="wait", render={**payload, "outcome": "succeeded"}, at=NOW.add(minutes=1))
    records.landed(FILE, task_id="download", render_id="1", at=NOW.add(minutes=2))

    (card,) = admin.renders()["cards"]

    assert card["state"] == "landed"
    assert card["ref"]["task_id"] == "download"
    assert admin.renders()["totals"]["cost_cny"] == "1.40"


def test_the_page_of_the_submit_shows_what_the_download_of_its_run_landed(
    admin: Reader, records: Records
) -> None:
    payload = render_payload(task_id="1")
    submit = records.add(task_id="submit", render=payload, manifest=payload)
    records.landed(FILE, run_id="another", task_id="download", render_id="1")
    assert admin.get("api/render", submit).json()["card"]["ref"] == submit
    download = records.landed(FILE, task_id="download", render_id="1")

    found = admin.get("api/render", submit).json()

    assert (found["card"]["ref"], found["card"]["state"]) == (download, "landed")
    assert found["manifest"]["uri"] == f"file://{FILE}"


def test_a_render_that_another_run_reuses_is_shown_twice_and_paid_once(
    admin: Reader, records: Records
) -> None:
    records.landed(FILE, dag_id="a", run_id="payer", render_id="1", at=NOW)
    records.landed(FILE, dag_id="b", run_id="reader", render_id="1", at=NOW.add(days=1))

    page = admin.renders()

    assert {card["ref"]["run_id"]: card["paid_here"] for card in page["cards"]} == {
        "payer": True,
        "reader": False,
    }
    assert page["totals"] == {
        "renders": 2, "seconds": 10.0, "cost_cny": "1.40", "may_be_billed_cny": "0.00",
        "expected_cny": "0.00", "unpriced": 0,
    }  # fmt: skip
    assert admin.renders(dag_id="b")["totals"]["cost_cny"] == "0.00"


@pytest.mark.parametrize("run_ids", [("payer", "reader"), ("scheduled__1", "scheduled__1")])
def test_who_paid_is_the_same_in_a_search_and_on_the_page_of_one_render(
    run_ids: tuple[str, str], admin: Reader, records: Records
) -> None:
    at = NOW.add(days=1)
    paying, adopting = run_ids
    payer = records.landed(FILE, dag_id="a", run_id=paying, render_id="1", prompt="a red kite")
    reader = records.landed(
        FILE, dag_id="b", run_id=adopting, render_id="1", prompt="a kite", at=at, submitted_at=at
    )

    for query in ({"q": adopting}, {"q": "a kite"}, {"since": at.subtract(hours=1).isoformat()}, {"q": "1"}):
        page = admin.renders(**query)
        paid = {card["ref"]["dag_id"]: card["paid_here"] for card in page["cards"]}
        assert paid in ({"a": True, "b": False}, {"b": False})
        assert page["totals"]["cost_cny"] == ("1.40" if "a" in paid else "0.00")
    assert admin.get("api/render", payer).json()["card"]["paid_here"] is True
    assert admin.get("api/render", reader).json()["card"]["paid_here"] is False


def test_who_cannot_read_the_dag_that_paid_learns_nothing_of_it(viewer: Reader, records: Records) -> None:
    records.landed(FILE, dag_id="secret_launch", render_id="1")
    reader = records.landed(FILE, dag_id="ads", render_id="1", at=NOW.add(days=1))
    assert [card["paid_here"] for card in viewer.renders()["cards"]] == [True]
    assert viewer.get("api/render", reader).json()["card"]["paid_here"] is True


def test_the_words_of_the_submit_find_what_a_download_by_bare_id_landed(
    admin: Reader, records: Records
) -> None:
    records.add(task_id="submit", render=render_payload(task_id="1", prompt="a red kite"))
    records.landed(FILE, task_id="download", render_id="1", prompt=None, at=NOW.add(minutes=2))
    for query in ({}, {"q": "red kite"}):
        (card,) = admin.renders(**query)["cards"]
        assert (card["ref"]["task_id"], card["state"]) == ("download", "landed")
        assert admin.renders(**query)["totals"]["cost_cny"] == "1.40"


NEVER = {
    "task_id": None,
    "submitted_at": "never",
    "duration": "long",
    "estimated_cost_cny": "NaN",
    "model": ["?"],
    "code": [1],
}
STRANGE: list[Any] = [
    "s3://xcoms/elsewhere.json",
    ["a", "list"],
    7,
    {"version": 1},
    NEVER,
    {"submitted_at": "9999-12-31T23:59:59Z", "outcome": "timed_out"},
    {"submitted_at": "0001-01-01T00:00:00+23:59", "outcome": "timed_out"},
    {"submitted_at": "2026-05-04T12:00:00Z", "duration": "1e400", "estimated_cost_cny": "1e999999"},
    {"duration": float("inf"), "seed": float("nan"), "submitted_at": NOW.isoformat()},
    {"duration": float("nan"), "prompt": "half a character: \ud800", "estimated_cost_cny": -1},
    {"code": 10**20, "seed": 10**400, "duration": 10**400, "outcome": {"timed_out": 1}},
]


def test_what_others_pushed_under_our_key_spoils_nothing(admin: Reader, records: Records) -> None:
    never = {"queued_seconds": 1e300, "landed_at": "9999-12-31T23:59:59Z", "fps": float("inf"), "width": "w"}
    strange = []
    for number, pushed in enumerate(STRANGE):
        odd = pushed if isinstance(pushed, dict) else {}
        for state in ("failed", "deferred", "success"):
            for manifest in (["not", "ours"], {**manifest_payload(FILE), **odd, **never}):
                run_id = f"{number}_{state}_{type(manifest).__name__}"
                ref = records.add(
                    dag_id="strange",
                    run_id=run_id,
                    state=state,
                    render=pushed,
                    manifest=manifest,
                    commit=False,
                )
                strange.append(ref)
    good = records.landed(FILE, render_id="1", model="t2v_1080p")

    found = admin.renders(limit=100)
    assert found["totals"]["renders"] == len(found["cards"]) == len(strange) + 1
    assert admin.ids(model="t2v_1080p") == ["1"]
    assert admin.get("api/render", good).status_code == 200
    assert [ref for ref in strange if admin.get("api/render", ref).status_code != 200] == []
    assert [ref for ref in strange if admin.get("media", ref).status_code != 404] == []


def test_only_times_that_can_be_read_are_sent(admin: Reader, records: Records) -> None:
    ref = records.add(dag_id="strange", state="failed", render=NEVER)
    records.add(
        state="failed", render=render_payload(submitted_at=NOW) | {"submitted_at": "20260504T200000+08"}
    )

    card, odd = sorted(admin.renders()["cards"], key=lambda one: str(one["ref"]["dag_id"]))

    assert card["submitted_at"] == "2026-05-04T12:00:00Z"
    assert (odd["ref"], odd["submitted_at"], odd["seen_at"]) == (ref, None, NOW.isoformat())
    assert odd["duration"] is odd["estimated_cost_cny"] is odd["model"] is odd["code"] is None


def test_a_strange_landing_does_not_spoil_what_is_expected_of_others(admin: Reader, records: Records) -> None:
    odd = {
        **manifest_payload(FILE),
        "submitted_at": "0001-01-01T00:00:00Z",
        "landed_at": "9999-12-31T00:00:00Z",
    }
    records.add(dag_id="strange", render=render_payload(task_id="1"), manifest=odd)
    records.add(run_id="now", state="deferred", render=render_payload(task_id="2"))
    running = next(card for card in admin.renders()["cards"] if card["render_id"] == "2")
    assert running["expected_at"] is None


def test_a_payload_stored_as_json_text_is_read_as_well(admin: Reader, records: Records) -> None:
    ref = records.add(render='{"task_id": "1", "prompt": "as text"}', state="deferred")
    assert admin.get("api/render", ref).json()["card"]["prompt"] == "as text"


def test_one_render_comes_with_payloads_timeline_and_other_takes(admin: Reader, records: Records) -> None:
    ref = records.landed(FILE, render_id="1")
    records.landed(FILE, run_id="again", render_id="2", seed=7)
    records.landed(FILE, run_id="other", render_id="3", prompt="something else")

    found = admin.get("api/render", ref).json()

    assert found["card"]["render_id"] == "1"
    assert found["render"] == render_payload(task_id="1")
    assert found["manifest"] == manifest_payload(FILE, task_id="1")
    assert [(stage["name"], stage["seconds"]) for stage in found["timeline"]] == [
        ("submitted", None), ("queued", 10.0), ("rendering", 60.0), ("landing", 5.0), ("landed", None),
    ]  # fmt: skip
    assert [take["render_id"] for take in found["takes"]] == ["2"]


def test_a_task_that_rendered_nothing_is_not_found(admin: Reader, records: Records) -> None:
    ref = records.add(task_id="other", manifest={"any": "thing"})
    reply = admin.get("api/render", ref)
    assert reply.status_code == 404
    assert "No render" in reply.json()["detail"]
    assert reply.headers.get("content-type") == "application/json"


def test_answers_are_not_kept_by_shared_caches(admin: Reader, records: Records) -> None:
    records.landed(FILE)
    reply = admin.get("api/renders")
    assert reply.headers["cache-control"] == "private, no-cache"
    assert reply.headers["x-content-type-options"] == "nosniff"


def test_a_page_of_the_gallery_costs_four_queries_however_long_it_is(admin: Reader, records: Records) -> None:
    from airflow import settings
    from sqlalchemy import event

    for number in range(60):
        records.landed(
            FILE, dag_id=f"dag_{number % 20}", run_id=f"r{number}", render_id=str(number), commit=False
        )
    records.add(run_id="now", state="deferred", render=render_payload(task_id="x"))
    admin.renders()
    engine = settings.engine
    assert engine is not None
    statements: list[str] = []

    def remember(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "xcom" in statement or "dag_bundle" in statement or "team" in statement:
            statements.append(statement)

    event.listen(engine, "before_cursor_execute", remember)
    try:
        assert len(admin.renders()["cards"]) == 50
    finally:
        event.remove(engine, "before_cursor_execute", remember)
    assert len(statements) <= 4, statements


def test_every_word_of_a_search_is_somewhere_in_what_is_known_of_a_render(
    admin: Reader, records: Records
) -> None:
    from airflow_provider_jimeng.core.catalogue import MODELS

    records.landed(
        "s3://bucket/clips/spring-kite_07.mp4", dag_id="ads_spring", run_id="manual__2026", task_id="draw",
        render_id="761", prompt="红色的风筝和汉服女孩 at the Old bridge", seed=4711, model="t2v_1080p", commit=False,
    )  # fmt: skip
    records.landed(FILE, run_id="r2", render_id="900", prompt="a red kite, an old bridge", seed=-1)
    title = MODELS["t2v_1080p"].title.split()[0]
    for query, found in {
        "汉服 女孩": ["761"], "女孩 BRIDGE": ["761"], "kite red": ["900"], "red 761": [], '"old bridge"': ["900", "761"],
        '"bridge old"': [], "“red kite” bridge": ["900"], "4711": ["761"], "spring": ["761"], "ads_spring draw": ["761"],
        "manual__2026": ["761"], "t2v_1080": ["761"], "1080p": ["761"], f"{title} 女孩": ["761"], "kite_07.mp4": ["761"],
        "761": ["761"], "-1": [], "": ["900", "761"], '"': ["900", "761"],
    }.items():  # fmt: skip
        assert sorted(admin.ids(q=query)) == sorted(found), query


def test_runs_ratios_and_connections_are_filters_with_choices(admin: Reader, records: Records) -> None:
    records.landed(FILE, run_id="r1", render_id="1", aspect_ratio="9:16", jimeng_conn_id="studio")
    records.landed(FILE, run_id="r2", render_id="2", aspect_ratio=None, width=720, height=1264)
    records.landed(FILE, run_id="r2", task_id="other", render_id="3")

    assert sorted(admin.ids(run_id="r2")) == ["2", "3"]
    assert sorted(admin.ids(ratio="9:16")) == ["1", "2"]
    assert admin.ids(conn_id=["studio", "none"], run_id=["r1", "r2"]) == ["1"]
    choices = admin.renders(ratio="9:16")["choices"]
    assert {one["value"]: one["count"] for one in choices["runs"]} == {"r1": 1, "r2": 1}
    assert {one["value"]: one["count"] for one in choices["ratios"]} == {"9:16": 2, "16:9": 1}
    assert {one["value"]: one["count"] for one in choices["connections"]} == {
        "studio": 1,
        "jimeng_default": 1,
    }


def test_renders_are_sorted_by_cost_length_and_render_time_and_lead_to_each_other_in_that_order(
    admin: Reader, records: Records
) -> None:
    refs = {}
    for name, cost, length, seconds in (
        ("1", "2.80", 5.0, 90),
        ("2", None, 10.0, 60),
        ("3", "7.00", 3.0, 80),
    ):
        refs[name] = records.landed(
            FILE, run_id=f"r{name}", render_id=name, duration_seconds=length, submitted_at=NOW.add(minutes=int(name)),
            cost_cny=None if cost is None else Decimal(cost), landed_at=NOW.add(minutes=int(name), seconds=seconds),
        )  # fmt: skip
    orders = {"newest": "321", "cost": "312", "length": "213", "render_time": "132"}
    for sort, order in orders.items():
        assert admin.ids(sort=sort) == list(order)
        for at, name in enumerate(order):
            found = admin.get("api/render", {**refs[name], "within": f"dag_id=ads&sort={sort}"}).json()
            assert found["previous"] == (refs[order[at - 1]] if at else None)
            assert found["next"] == (refs[order[at + 1]] if at < 2 else None)
    alone = admin.get("api/render", {**refs["1"], "within": "run_id=r1&q=boat"}).json()
    assert alone["previous"] is alone["next"] is None
    elsewhere = admin.get("api/render", {**refs["1"], "within": "run_id=r2"}).json()
    assert elsewhere["previous"] is elsewhere["next"] is None
    assert "previous" not in admin.get("api/render", refs["1"]).json()
    assert admin.get("api/render", {**refs["1"], "within": "sort=luck"}).status_code == 422


def test_integers_beyond_the_database_are_refused_on_every_route(admin: Reader, records: Records) -> None:
    from airflow_provider_jimeng.web.app import build_app

    ref = records.landed(FILE)
    asked: set[str] = set()
    routes: list[Any] = build_app().routes
    for route in routes:
        path = route.path.lstrip("/").replace("{kind}", "zip")
        for dependant in _dependants(route):
            for field in dependant.query_params:
                if field.field_info.annotation is int:
                    asked.add(path)
                    for value in (2**31, 10**20, -(10**20)):
                        reply = admin.get(path, {**ref, field.alias: value})
                        assert reply.status_code == 422, (path, field.alias, value)
        for method in sorted(route.methods):
            reply = admin.request(
                method, path, {**ref, "map_index": 10**20, "limit": 10**20, "offset": 10**20}
            )
            assert reply.status_code < 500, (method, path)
    assert asked >= {
        "api/renders",
        "api/render",
        "media",
        "report",
        "api/again",
        "api/review",
        "api/campaign",
    }
    assert admin.get("media", {**ref, "dag_id": "a\0"}).status_code == 422


def _dependants(route: Any) -> list[Any]:
    found = [route.dependant] if hasattr(route, "dependant") else []
    for dependant in found:
        found.extend(dependant.dependencies)
    return found


def test_a_payload_that_an_xcom_back_end_keeps_elsewhere_is_a_card_that_says_so(
    admin: Reader, records: Records
) -> None:
    ref = records.add(render="s3://xcoms/elsewhere.json", state="success")
    (card,) = admin.renders()["cards"]
    assert (card["ref"], card["stored_elsewhere"], card["state"]) == (ref, True, "submitted")
    records.add(run_id="r2", render=render_payload(task_id="2"), state="deferred")
    assert [card["stored_elsewhere"] for card in admin.renders(q="2")["cards"]] == [False]
