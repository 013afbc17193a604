# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_jimeng.core.catalogue import MODELS, ModelSpec, merged_catalogue
from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.core.frames import Frame
from airflow_provider_jimeng.core.parameters import RenderRequest
from airflow_provider_jimeng.core.plan import (
    MAX_LOG_LINES,
    OpenedFrame,
    PlannedRow,
    RowState,
    check_length,
    draft_rows,
    log_lines,
    number_takes,
    problem_lines,
    refusal,
)
from airflow_provider_jimeng.core.quote import check_cap, make_quote, quote_table
from airflow_provider_jimeng.core.rows import Problem, rows_of_list

FOLDER = "file:///videos/"
LINK = "https://example.org/kite.png"


def draft(
    *rows: dict[str, Any],
    output_path: str | None = FOLDER,
    catalogue: Any = MODELS,
    **defaults: Any,
) -> tuple[list[PlannedRow], list[str]]:
    planned, problems = draft_rows(
        rows_of_list(rows), defaults=defaults, output_path=output_path, catalogue=catalogue
    )
    return planned, [str(problem) for problem in problems]


def good(*rows: dict[str, Any], **options: Any) -> list[PlannedRow]:
    planned, problems = draft(*rows, **options)
    assert problems == []
    numbered, more = number_takes(planned)
    assert more == []
    return numbered


# ------------------------------------------------------------------------------------------------------------- kwargs
def test_a_row_becomes_the_arguments_of_one_render() -> None:
    (row,) = good({"prompt": "a kite", "ratio": "1:1", "duration": "10", "output_name": "kite"})
    assert row.kwargs({"reuse": "output_path"}) == {
        "model": "t2v_720p",
        "prompt": "a kite",
        "duration": 10,
        "aspect_ratio": "1:1",
        "seed": -1,
        "take": 1,
        "output_path": "file:///videos/kite.mp4",
        "reuse": "output_path",
    }


def test_every_argument_of_a_render_can_stand_in_a_row() -> None:
    rows, _ = draft(
        {
            "prompt": "x",
            "model": "i2v_recamera_720p",
            "image": LINK,
            "camera_template": "handheld",
            "camera_strength": "weak",
            "extra_body": '{"callback_args": "7"}',
            "seed": 5,
            "take": 3,
        },
        {"model": "jimeng_i2v_first_tail_v30", "prompt": "y", "first_frame": LINK, "last_frame": LINK},
        output_path=None,
    )
    assert [row.kwargs({}) for row in rows] == [
        {
            "model": "i2v_recamera_720p",
            "prompt": "x",
            "duration": 5,
            "seed": 5,
            "take": 3,
            "first_frame": LINK,
            "camera_template": "handheld",
            "camera_strength": "weak",
            "extra_body": {"callback_args": "7"},
        },
        {
            "model": "i2v_first_tail_720p",
            "prompt": "y",
            "duration": 5,
            "seed": -1,
            "take": 1,
            "first_frame": LINK,
            "last_frame": LINK,
        },
    ]


def test_the_arguments_ask_for_the_very_request_that_was_quoted_and_are_json() -> None:
    rows = good(
        {"prompt": "a kite"},
        {"prompt": "a kite"},
        {"model": "ti2v_pro", "image": LINK},
        {"model": "t2v_s2_pro", "prompt": "长城", "seed": 7},
    )
    for row in rows:
        kwargs = json.loads(json.dumps(row.kwargs({})))
        kwargs.pop("output_path")
        assert RenderRequest.build(**kwargs).fingerprint == row.fingerprint


# ----------------------------------------------------------------------------------------------------------- defaults
def test_defaults_fill_what_a_row_leaves_blank() -> None:
    one, two = good(
        {"prompt": "a"},
        {"prompt": "b", "model": "t2v_720p", "seed": 1},
        model="t2v_1080p",
        seed=9,
        duration=10,
    )
    assert (one.request.spec.name, one.request.seed, one.request.duration) == ("t2v_1080p", 9, 10)
    assert (two.request.spec.name, two.request.seed, two.request.duration) == ("t2v_720p", 1, 10)


def test_a_default_that_a_model_does_not_take_is_not_used() -> None:
    rows = good(
        {"prompt": "a", "model": "t2v_720p"},
        {"prompt": "b", "model": "i2v_first_720p", "image": LINK},
        {"prompt": "c", "model": "ti2v_pro", "image": LINK},
        {"prompt": "d", "model": "i2v_s2_pro", "image": LINK},
        aspect_ratio="9:16",
        camera_template="handheld",
        last_frame=LINK,
    )
    assert [row.request.aspect_ratio for row in rows] == ["9:16", None, None, "9:16"]
    assert all(row.request.last_frame is None for row in rows)


def test_a_default_first_frame_takes_the_place_of_the_default_ratio() -> None:
    (row,) = good({"prompt": "a"}, model="ti2v_pro", aspect_ratio="9:16", first_frame=LINK)
    assert row.request.first_frame == Frame(reference=LINK)
    assert row.request.aspect_ratio is None


# ----------------------------------------------------------------------------------------------------------- refusals
def test_every_bad_argument_of_every_bad_row_is_named_with_its_remedy() -> None:
    planned, problems = draft(
        {"prompt": "fine"},
        {"prompt": "x" * 801, "duration": 7, "ratio": "2:1", "seed": "many", "colour": "red"},
        {"model": "jimeng_t2v_v30_pro"},
        {"model": "i2v_recamera_720p", "camera_template": "spin"},
        {"model": "i2v_first_tail_720p", "prompt": "x", "image": LINK, "last_frame": "b.png", "take": 0},
        {"prompt": "x", "extra_body": "{"},
        {"prompt": "x", "extra_body": " ", "fps": 30},
        {"prompt": "x", "camera_template": "handheld", "image": LINK},
    )
    assert [row.row.number for row in planned] == [1]
    named = [problem.split(":")[0] for problem in problems]
    assert named == [
        "row 2, colour",
        "row 2, prompt",
        "row 2, duration",
        "row 2, aspect_ratio",
        "row 2, seed",
        "row 3, model",
        "row 4, first_frame",
        "row 4, prompt",
        "row 4, camera_template",
        "row 4, camera_strength",
        "row 5, last_frame",
        "row 5, take",
        "row 6, extra_body",
        "row 7, fps",
        "row 8, first_frame",
        "row 8, camera_template",
    ]
    assert "jimeng_ti2v_v30_pro" in problems[5]


def test_a_model_that_takes_nothing_harmless_still_names_what_is_wrong_first() -> None:
    catalogue = merged_catalogue(models={"short": {"like": "t2v_720p", "prompt_max": 3}})
    planned, problems = draft({"model": "short", "prompt": "too long", "duration": 7}, catalogue=catalogue)
    assert planned == []
    assert [problem.split(":")[0] for problem in problems] == ["row 1, prompt"]


def test_the_refusal_lists_the_rows_in_their_order_and_counts_them() -> None:
    problems = [
        Problem(row=3, field="seed", message="is bad."),
        Problem(row=1, line=2, field="prompt", message="is empty."),
        Problem(row=3, field="take", message="is bad."),
    ]
    error = refusal(problems, 4)
    assert error.argument == "rows"
    assert str(error) == (
        "rows: 2 rows are refused, of 4. Nothing was submitted or paid.\n"
        "  row 1 (line 2), prompt: is empty.\n  row 3, seed: is bad.\n  row 3, take: is bad."
    )
    assert "1 row is refused, of 9" in str(refusal(problems[:1], 9))


def test_more_rows_than_airflow_maps_are_refused() -> None:
    check_length(1024, 1024)
    with pytest.raises(ParameterError, match="max_map_length"):
        check_length(1025, 1024)


def test_what_airflow_would_run_as_a_template_is_refused(subtests: pytest.Subtests) -> None:
    cases: list[str] = ["{{ conn.bank.password }}", "{% for x in y %}", "{# a #}"]
    for mark in cases:
        with subtests.test(mark=repr(mark)):
            _, problems = draft(
                {"prompt": f"a {mark} kite", "duration": 7},
                {"prompt": "a kite", "output_name": mark, "extra_body": {"a": [{"b": mark}]}},
                {"prompt": "a kite", "extra_body": json.dumps({mark: 1})},
                {"model": "i2v_first_720p", "prompt": "x", "image": f"{mark}.png"},
            )
            assert [problem.split(":")[0] for problem in problems] == [
                "row 1, prompt",
                "row 1, duration",
                "row 2, output_name",
                "row 2, extra_body",
                "row 3, extra_body",
                "row 4, first_frame",
            ]
            assert "as a template" in problems[0]


def test_line_ends_are_those_that_airflow_leaves() -> None:
    rows = good(
        {"prompt": "one\r\ntwo\rthree", "extra_body": {"a": ["x\r\ny", 1]}}, {"prompt": "one\ntwo\nthree"}
    )
    assert {row.request.prompt for row in rows} == {"one\ntwo\nthree"}
    assert rows[0].request.extra_body == {"a": ["x\ny", 1]}


# ------------------------------------------------------------------------------------------------------------ targets
def test_rows_land_in_the_directory_under_their_own_names_if_they_have_some() -> None:
    rows = good(
        {"prompt": "a"},
        {"prompt": "b", "output_name": "shots/b.MP4"},
        {"prompt": "c", "output_path": "s3://bucket/c/", "output_name": "c"},
        {"prompt": "d", "output_path": "s3://bucket/d.mp4"},
    )
    assert [row.output_path for row in rows] == [
        FOLDER,
        "file:///videos/shots/b.MP4",
        "s3://bucket/c/c.mp4",
        "s3://bucket/d.mp4",
    ]


def test_two_rows_of_one_name_are_refused() -> None:
    _, problems = draft(
        {"prompt": "a", "output_name": "kite"}, {"prompt": "b"}, {"prompt": "c", "output_name": "kite.mp4"}
    )
    assert problems == [
        "row 3, output_name: file:///videos/kite.mp4 is the file of row 1 already. Give another name."
    ]


def test_a_name_that_leaves_the_directory_is_refused(subtests: pytest.Subtests) -> None:
    cases: list[str] = [
        "../a",
        "/a",
        "a/",
        "a//b",
        "./a",
        ".jimeng/a",
        "s3://b/a",
        "a\\b",
        "a/../b",
        "%2e%2e/a",
    ]
    for name in cases:
        with subtests.test(name=repr(name)):
            _, problems = draft({"prompt": "a", "output_name": name})
            assert "is not a name below output_path" in problems[0]


def test_every_row_with_a_name_that_is_too_long_or_a_misspelled_path_is_named() -> None:
    _, problems = draft(
        {"prompt": "a", "output_name": "风" * 83},
        {"prompt": "b", "output_path": "s3:/bucket/x/"},
        {"prompt": "c", "output_path": " /d/c.mp4\n"},
    )
    assert problems[0].startswith("row 1, output_name: the name ")
    assert problems[1].startswith(
        "row 2, output_path: 's3:/bucket/x/' is misspelled. Write 's3://bucket/x/'."
    )
    assert len(problems) == 2


@pytest.mark.parametrize("output_path", [None, "file:///videos/one.mp4"])
def test_a_name_without_a_directory_is_refused(output_path: str | None) -> None:
    _, problems = draft({"prompt": "a", "output_name": "kite"}, output_path=output_path)
    assert "needs an output_path that is a directory" in problems[0]


# -------------------------------------------------------------------------------------------------------------- takes
def test_identical_rows_are_numbered_and_keep_the_authors_own_numbers() -> None:
    rows = good(
        {"prompt": "a"},
        {"prompt": "a", "take": 2},
        {"prompt": "b"},
        {"prompt": "a"},
        {"prompt": " a ", "model": "jimeng_t2v_v30"},
        {"prompt": "a", "take": 7},
    )
    assert [row.take for row in rows] == [1, 2, 1, 3, 4, 7]
    assert len({row.fingerprint for row in rows}) == 6


def test_the_same_take_of_the_same_request_twice_is_refused() -> None:
    planned, _ = draft({"prompt": "a", "take": 2}, {"prompt": "b", "take": 2}, {"prompt": "a", "take": "2"})
    _, problems = number_takes(planned)
    assert [str(problem).split(",")[0] for problem in problems] == ["row 3"]
    assert "2 is the number of row 1 already" in str(problems[0])


# ------------------------------------------------------------------------------------------------------------- images
def opened(reference: str, content: bytes = b"...", width: int = 640, height: int = 480) -> Frame:
    return Frame(reference=reference, data=content, format="PNG", width=width, height=height)


def test_an_image_is_told_apart_by_its_bytes_without_keeping_them() -> None:
    (row,) = draft({"prompt": "a", "model": "i2v_first_720p", "image": "a.png"})[0]
    frame = opened("a.png")
    seen = row.with_images({"first_frame": OpenedFrame.of(frame)})
    assert seen.request.first_frame is not None
    assert seen.request.first_frame.data is None
    kept = replace(row.request, first_frame=frame)
    assert seen.fingerprint == kept.fingerprint
    assert seen.kwargs({})["first_frame"] == "a.png"


def test_frames_of_two_ratios_are_refused_even_when_both_were_seen_before() -> None:
    (row,) = draft({"prompt": "a", "model": "i2v_first_tail_720p", "image": "a.png", "last_frame": "b.png"})[
        0
    ]
    frames = {
        "first_frame": OpenedFrame.of(opened("a.png")),
        "last_frame": OpenedFrame.of(opened("b.png", width=480)),
    }
    with pytest.raises(ParameterError, match="last_frame"):
        row.with_images(frames)


# -------------------------------------------------------------------------------------------------------------- quote
def test_a_quote_counts_what_is_new_model_by_model() -> None:
    rows = good(
        {"prompt": "a"},
        {"prompt": "b", "duration": 10},
        {"prompt": "c", "model": "t2v_1080p"},
        {"prompt": "d"},
    )
    rows[0] = replace(rows[0], state=RowState.LANDED)
    rows[3] = replace(rows[3], state=RowState.RUNNING)
    quote = make_quote(rows)
    assert quote.to_payload() == {
        "version": 1,
        "rows": 4,
        "new": 2,
        "landed": 1,
        "running": 1,
        "cost_cny": "5.95",
        "at_risk_cny": "1.40",
        "by_model": {
            "t2v_1080p": {"rows": 1, "new": 1, "cost_cny": "3.15"},
            "t2v_720p": {"rows": 3, "new": 1, "cost_cny": "2.80"},
        },
    }
    table = quote_table(quote).splitlines()
    assert table[-3].split() == ["total", "4", "2", "5.95"]
    assert table[-2] == "saved already: 1; paid already and still running: 1"
    assert table[-1] == "more, if all running renders fail: 1.40 CNY"


def test_a_render_that_is_done_is_on_its_way_and_no_risk() -> None:
    (row,) = good({"prompt": "a"})
    quote = make_quote([replace(row, state=RowState.DONE)])
    assert (quote.new, quote.running, quote.cost, quote.at_risk) == (0, 1, Decimal(0), Decimal(0))
    assert "renders fail" not in quote_table(quote)
    check_cap(quote, 0)


def test_what_still_runs_counts_against_the_cap_for_it_may_fail_and_be_paid_anew() -> None:
    new, running = good({"prompt": "a"}, {"prompt": "b"})
    quote = make_quote([new, replace(running, state=RowState.RUNNING)])
    check_cap(quote, "2.80")
    said = r"about 1\.40 CNY for 1 new renders, and 1\.40 CNY more if the running renders fail, over the cap of 2\.79"
    with pytest.raises(ParameterError, match=said) as refused:
        check_cap(quote, "2.79")
    assert "wait until the running renders are done" in str(refused.value)


def unpriced() -> dict[str, ModelSpec]:
    return dict(merged_catalogue(prices={"t2v_1080p": None}))


def test_an_unknown_price_makes_the_whole_cost_unknown_and_passes_no_cap() -> None:
    rows = good({"prompt": "a"}, {"prompt": "b", "model": "t2v_1080p"}, catalogue=unpriced())
    quote = make_quote(rows)
    assert quote.cost is None
    assert quote.to_payload()["cost_cny"] is None
    assert "unknown" in quote_table(quote)
    check_cap(quote, None)
    with pytest.raises(ParameterError, match="the price of t2v_1080p is unknown"):
        check_cap(quote, 10_000)


def test_an_unknown_price_of_what_still_runs_passes_no_cap_either() -> None:
    (row,) = good({"prompt": "b", "model": "t2v_1080p"}, catalogue=unpriced())
    quote = make_quote([replace(row, state=RowState.RUNNING)])
    assert (quote.cost, quote.at_risk) == (Decimal(0), None)
    assert "renders fail: an unknown amount" in quote_table(quote)
    with pytest.raises(ParameterError, match="the price of t2v_1080p is unknown"):
        check_cap(quote, 10_000)


def test_an_unknown_price_of_what_is_landed_does_not_matter() -> None:
    (row,) = good({"prompt": "b", "model": "t2v_1080p"}, catalogue=unpriced())
    quote = make_quote([replace(row, state=RowState.LANDED)])
    assert quote.cost == Decimal(0)
    check_cap(quote, "0")


def test_a_campaign_over_the_cap_is_refused_to_the_fen() -> None:
    quote = make_quote(good({"prompt": "a"}, {"prompt": "b"}, {"prompt": "c"}))
    check_cap(quote, "4.20")
    check_cap(quote, "")
    with pytest.raises(ParameterError, match=r"about 4\.20 CNY for 3 new renders, over the cap of 4\.19"):
        check_cap(quote, "4.19")
    with pytest.raises(ParameterError, match="expected an amount"):
        check_cap(quote, "much")


def test_no_rows_cost_nothing() -> None:
    assert make_quote([]).to_payload() == {
        "version": 1, "rows": 0, "new": 0, "landed": 0, "running": 0, "cost_cny": "0.00", "at_risk_cny": "0.00",
        "by_model": {},
    }  # fmt: skip


def test_the_same_problem_of_many_rows_is_said_once() -> None:
    rows = rows_of_list([{"prompt": f"kite {number}", "备注": "x", "sku": number} for number in range(1000)])
    problems = [problem for row in rows for problem in row.problems]
    said = str(refusal(problems, len(rows)))
    assert said.startswith("rows: 1000 rows are refused, of 1000.")
    assert said.count("备注: is not a column") == said.count("sku: is not a column") == 1
    assert "(The same in 999 more rows: 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, …)" in said
    assert "(The same in 1 more row: 2)" in str(refusal(problems[:4], 2))


def test_a_refusal_is_bounded_however_many_rows_are_wrong_and_says_how_many_it_leaves_out() -> None:
    rows = rows_of_list([{"prompt": "x", f"note{number}" * 99: "x" * 9999} for number in range(1000)])
    problems = [problem for row in rows for problem in row.problems]
    said = str(refusal(problems, len(rows)))
    assert len(said) < 4000
    shown = said.count("is not a column")
    assert said.endswith(f"and {1000 - shown} more problems, which the task's log lists.")
    assert len(problem_lines(problems)) == 1000
    assert max(map(len, problem_lines(problems))) < 1000


def test_a_link_that_the_api_cannot_fetch_is_the_problem_of_its_row() -> None:
    row = {"prompt": "x", "model": "i2v_first_720p", "image": "http://localhost/a.png"}
    planned, problems = draft(row, {**row, "image": "https://a.example/a.png"})
    assert [problem.split(":")[0] for problem in problems] == ["row 1, first_frame"]
    assert len(planned) == 1


def test_a_cell_that_is_refused_is_not_called_missing_as_well() -> None:
    _, problems = draft({"prompt": "#N/A"})
    assert [problem.split(":")[0] for problem in problems] == ["row 1, prompt"]


def test_numbers_are_the_lowest_free_ones_however_many_rows_are_identical() -> None:
    rows = [{"prompt": "a kite", **({"take": 2 * number} if number % 2 else {})} for number in range(2000)]
    takes = [item.take for item in good(*rows)]
    asked = {2 * number for number in range(1, 2000, 2)}
    free = [number for number in range(1, 4000) if number not in asked]
    assert takes[1::2] == sorted(asked)
    assert takes[::2] == free[:1000]


def test_the_log_of_a_refused_campaign_is_bounded_and_counts_what_it_leaves_out() -> None:
    rows = rows_of_list([{"prompt": "x", "seed": f"x{number}"} for number in range(3000)])
    problems = [row.problem("seed", f"no whole number {row.number}") for row in rows]
    lines = log_lines([*problems, rows[0].problem("duration", "no")])
    assert len(lines) == MAX_LOG_LINES + 1
    assert lines[-1] == "2001 more lines are left out. In all: seed in 3000 rows, duration in 1 row."
    assert str(refusal(problems, 3000)).endswith(f"The task's log lists the first {MAX_LOG_LINES}.")
    many = [rows[0].problem(f"column {number}", "no") for number in range(3000)]
    assert log_lines(many)[-1].endswith(", and 2990 more columns.")
    assert log_lines(problems[:2]) == [str(problem) for problem in problems[:2]]
