# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_jimeng.emulator import Fault, FaultError
from airflow_provider_jimeng.emulator.fault_injection import FaultContext, FaultPlan
from airflow_provider_jimeng.emulator.faults import KINDS, PLACES, load_faults


def submit(prompt: str = "", req_key: str = "k", *, early: bool = True) -> FaultContext:
    return FaultContext(where="submit", early=early, prompt=prompt, req_key=req_key)


def query(task_id: str) -> FaultContext:
    return FaultContext(where="query", early=True, task_id=task_id)


def fired(plan: FaultPlan, contexts: list[FaultContext]) -> list[bool]:
    return [plan.pick(context) is not None for context in contexts]


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({}, [True] * 6),
        ({"nth": 2}, [False, True, False, False, False, False]),
        ({"nth": [1, 4]}, [True, False, False, True, False, False]),
        ({"every": 3}, [False, False, True, False, False, True]),
        ({"times": 2}, [True, True, False, False, False, False]),
        ({"every": 2, "times": 1}, [False, True, False, False, False, False]),
    ],
    ids=str,
)
def test_a_fault_happens_when_it_is_due(match: dict[str, Any], expected: list[bool]) -> None:
    plan = FaultPlan([{"where": "submit", "what": "cut_before", **match}])
    assert fired(plan, [submit()] * 6) == expected
    plan.restart()
    assert fired(plan, [submit()] * 6) == expected


def test_a_fault_happens_only_to_what_it_matches() -> None:
    plan = FaultPlan()
    plan.add(where="submit", what="cut_before", prompt_contains="cat", req_key="k", nth=2)
    contexts = [submit("a cat"), submit("a dog"), submit("a cat", "other"), submit("the cat")]
    assert fired(plan, contexts) == [False, False, False, True]


def test_queries_are_counted_per_task_by_default() -> None:
    contexts = [query("a"), query("b"), query("a"), query("b")]
    per_task = FaultPlan([{"where": "query", "what": "cut_before", "nth": 2}])
    assert fired(per_task, contexts) == [False, False, True, True]
    overall = FaultPlan([{"where": "query", "what": "cut_before", "nth": 2, "per": "all"}])
    assert fired(overall, contexts) == [False, True, False, False]


def test_one_fault_happens_at_a_time_and_all_count() -> None:
    plan = FaultPlan([Fault.parse({"where": "submit", "what": "cut_before", "nth": 1})])
    plan.extend([{"where": "submit", "what": "hang_before", "nth": [1, 2]}])
    assert [getattr(plan.pick(submit()), "what", None) for _ in range(3)] == [
        "cut_before",
        "hang_before",
        None,
    ]
    assert plan.report() == [
        {"where": "submit", "what": "cut_before", "fired": 1},
        {"where": "submit", "what": "hang_before", "fired": 1},
    ]
    plan.clear()
    assert (len(plan), plan.report()) == (0, [])


def test_early_and_late_faults_are_counted_separately() -> None:
    plan = FaultPlan([{"where": "submit", "what": "cut_after"}])
    assert plan.pick(submit()) is None
    assert plan.pick(submit(early=False)) is not None


INVALID: list[tuple[Any, str]] = [
    ([], "faults[0]: expected an object, got list."),
    ({"what": "slow"}, "faults[0].where: it is missing; it takes one of submit, query, cancel, render, media."),
    ({"where": "moon", "what": "slow"}, "faults[0].where: got 'moon'; it takes one of submit,"),
    ({"where": "media"}, "faults[0].what (in media): it is missing; it takes one of cut_before,"),
    ({"where": "submit", "what": "truncate"}, "faults[0].what (in submit): got 'truncate'; it takes one of"),
    (
        {"where": "submit", "what": "slow", "second": 3},
        "faults[0]: slow has no field second. It takes seconds, nth, every, times, prompt_contains, req_key, per.",
    ),
    ({"where": "submit", "what": "slow", "seconds": -1}, "faults[0].seconds: expected seconds, 0 to 86400, got -1."),
    ({"where": "submit", "what": "slow", "seconds": "3"}, "faults[0].seconds: expected seconds,"),
    ({"where": "submit", "what": "slow", "nth": 0}, "faults[0].nth: expected a whole number from 1, or a list"),
    ({"where": "submit", "what": "slow", "nth": []}, "faults[0].nth: expected a whole number from 1"),
    ({"where": "submit", "what": "slow", "nth": [1, True]}, "faults[0].nth: expected a whole number from 1"),
    ({"where": "submit", "what": "slow", "times": 1.5}, "faults[0].times: expected a whole number from 1, got 1.5."),
    ({"where": "submit", "what": "slow", "nth": 1, "every": 2}, "faults[0]: nth and every exclude each other."),
    ({"where": "submit", "what": "slow", "per": "day"}, "faults[0].per: got 'day'; it takes one of task, all."),
    ({"where": "submit", "what": "slow", "prompt_contains": ""}, "faults[0].prompt_contains: expected text, got ''."),
    ({"where": "submit", "what": "slow", "req_key": 5}, "faults[0].req_key: expected text, got 5."),
    ({"where": "submit", "what": "cut_after", "how": "rudely"}, "faults[0].how: got 'rudely'; it takes one of close,"),
    ({"where": "submit", "what": "garbage", "body": "xml"}, "faults[0].body: got 'xml'; it takes one of html,"),
    ({"where": "media", "what": "cut", "fraction": 1.5}, "faults[0].fraction: expected a part of the file, 0 to 1"),
    ({"where": "media", "what": "refuse", "http_status": 99}, "faults[0].http_status: expected an HTTP status"),
    ({"where": "media", "what": "refuse", "http_status": None}, "faults[0].http_status: expected an HTTP status"),
    ({"where": "query", "what": "slow", "seconds": None}, "faults[0].seconds: expected seconds, 0 to 86400, got None."),
]  # fmt: skip
"""Entries, and how the message of the error begins."""


def test_an_invalid_fault_is_refused_with_the_reason(subtests: pytest.Subtests) -> None:
    for entry, message in INVALID:
        with subtests.test(entry=repr(entry)):
            with pytest.raises(FaultError) as caught:
                FaultPlan([entry])
            assert str(caught.value).startswith(message)


def test_several_faults_are_added_all_or_none() -> None:
    plan = FaultPlan()
    with pytest.raises(FaultError, match=r"faults\[1\]"):
        plan.extend([{"where": "submit", "what": "slow"}, {"where": "submit", "what": "fast"}])
    assert len(plan) == 0


def test_a_fault_file_is_a_list_of_faults(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    path.write_text(
        json.dumps([{"where": "query", "what": "status_word", "word": "评审", "times": 2}]), "utf-8"
    )
    (fault,) = load_faults(path)
    assert (fault.what, fault.parameters, fault.times, fault.per) == (
        "status_word",
        {"word": "评审"},
        2,
        "task",
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "faults.json: not JSON"),
        ("{}", "faults.json: expected a list of faults, got dict."),
        ('[{"where": "sea"}]', r"faults.json\[0\].where: got 'sea'"),
    ],
)
def test_an_invalid_fault_file_is_named_in_the_error(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "faults.json"
    path.write_text(content)
    with pytest.raises(FaultError, match=message):
        load_faults(path)


def test_a_missing_fault_file_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(FaultError, match=r"absent.json: No such file"):
        load_faults(tmp_path / "absent.json")


def test_a_null_field_is_like_a_missing_one() -> None:
    entry = {
        "where": "submit",
        "what": "error_before",
        "code": None,
        "nth": None,
        "every": None,
        "req_key": None,
    }
    assert Fault.parse(entry) == Fault.parse({"where": "submit", "what": "error_before"})


def test_every_kind_is_valid_with_its_defaults(subtests: pytest.Subtests) -> None:
    for what, where in ((what, where) for what, kind in KINDS.items() for where in kind.where):
        with subtests.test(what=what, where=where):
            assert where in PLACES
            fault = Fault.parse({"where": where, "what": what})
            assert dict(fault.parameters) == dict(KINDS[what].parameters)
            defaults = {name: value for name, value in fault.parameters.items() if value is not None}
            assert Fault.parse({"where": where, "what": what, **defaults}) == fault
