# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import hashlib
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import pendulum

from airflow_provider_jimeng.core.outcomes import UNKNOWN_SUBMIT, Outcome
from airflow_provider_jimeng.core.render import manifest_or_none
from airflow_provider_jimeng.core.report import End, Report, TaskEnd, merge_ends
from airflow_provider_jimeng.report_page import Preview, render_page

SINCE = pendulum.datetime(2026, 3, 1, 12)
NASTY = """"><script>alert(1)</script><img src=x onerror='alert(2)'> & 风筝"""


def render(task_id: str, **more: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "task_id": task_id,
        "req_key": "jimeng_t2v_v30",
        "model": "t2v_720p",
        "jimeng_conn_id": "jimeng_default",
        "submitted_at": "2026-03-01T12:30:00Z",
        "prompt": "a kite",
        "duration": 5,
        "estimated_cost_cny": "1.40",
        **more,
    }


def manifest(task_id: str, **more: Any) -> dict[str, Any]:
    landed = {
        "uri": f"s3://bucket/{task_id}.mp4",
        "bytes": 2_500_000,
        "sha256": "0" * 64,
        "landed_at": "2026-03-01T12:35:00Z",
        "cost_cny": "1.40",
        "width": 1248,
        "height": 704,
        "duration_seconds": 5.04,
    }
    return render(task_id) | landed | more


def report(*ends: TaskEnd, planned: Decimal | None = None, quoted: bool = False) -> Report:
    return Report(
        dag_id="campaign",
        run_id="run 1",
        generated_at=pendulum.datetime(2026, 3, 1, 13),
        since=SINCE,
        planned=planned,
        quoted=quoted,
        ends=ends,
    )


LANDED = TaskEnd(task="render", map_index=0, render=render("1"), manifest=manifest("1"))
REUSED = TaskEnd(
    task="render", map_index=1, manifest=manifest("2", submitted_at="2026-02-01T00:00:00Z", cost_cny="0.50")
)
FAILED = TaskEnd(
    task="render",
    map_index=2,
    render=render("3", outcome="failed", code="50511", message="Post Img Risk Not Pass", advice=None),
)
EXPIRED = TaskEnd(task="render", map_index=3, render=render("4", outcome="expired"))
TIMED_OUT = TaskEnd(task="render", map_index=4, render=render("5", outcome="timed_out"))
NOT_LANDED = TaskEnd(task="render", map_index=5, render=render("6", outcome="succeeded", message="disk full"))
SILENT = TaskEnd(task="render", map_index=6, render=render("7"))
NOTHING = TaskEnd(task="render", map_index=7, arguments={"prompt": "a fox", "model": "t2v_720p"})
REFUSED = TaskEnd(
    task="render", map_index=8, render={"code": "50412", "outcome": "failed", "message": "Text Risk"}
)
NO_SLOT = TaskEnd(task="render", map_index=9, render={"outcome": "slot_timed_out"})
UNKNOWN = TaskEnd(
    task="render",
    map_index=10,
    render={"outcome": UNKNOWN_SUBMIT, "prompt": "rain", "estimated_cost_cny": "2.80"},
)
ALL = (LANDED, REUSED, FAILED, EXPIRED, TIMED_OUT, NOT_LANDED, SILENT, NOTHING, REFUSED, NO_SLOT, UNKNOWN)


# --------------------------------------------------------------------------------------------------------------- ends
def test_each_task_ended_in_one_way() -> None:
    assert [task.end(SINCE) for task in ALL] == [
        End.LANDED,
        End.REUSED,
        End.FAILED,
        End.FAILED,
        End.UNFINISHED,
        End.UNFINISHED,
        End.UNFINISHED,
        End.NO_RENDER,
        End.FAILED,
        End.NO_RENDER,
        End.UNFINISHED,
    ]


def test_a_render_without_a_link_is_unfinished_and_may_still_cost_its_price() -> None:
    task = TaskEnd(task="render", render=render("1", outcome="no_link"))
    assert task.end(SINCE) is End.UNFINISHED
    assert "no link" in task.meaning()[0]
    assert report(task).open == report(TIMED_OUT).open


def test_every_outcome_has_a_meaning_and_an_advice() -> None:
    outcomes = [*Outcome, UNKNOWN_SUBMIT, "a word of a later version", ""]
    ends = {outcome: TaskEnd(task="render", render=render("1", outcome=outcome)) for outcome in outcomes}
    assert not [outcome for outcome, end in ends.items() if not all(end.meaning())]


def test_the_code_table_says_what_a_code_means_and_the_task_what_to_do() -> None:
    assert FAILED.meaning() == (
        "Moderation refused the finished picture.",
        "A new render with another seed or prompt might pass.",
    )
    own = TaskEnd(task="render", render=render("3", outcome="failed", code="50511", advice="Ask Li."))
    assert own.meaning()[1] == "Ask Li."
    unlisted = TaskEnd(task="render", render=render("3", outcome="failed", code="99999", advice="Ask Li."))
    assert unlisted.meaning() == ("The render failed. It is not billed.", "Ask Li.")
    assert REFUSED.meaning()[0] == "Moderation refused the prompt."
    assert "before a render was accepted" in NOTHING.meaning()[0]
    assert "No render slot" in NO_SLOT.meaning()[0]
    waited = TaskEnd(task="render", render={"outcome": "slot_timed_out", "code": "50430"})
    assert waited.meaning() == NO_SLOT.meaning()


def test_a_task_that_is_not_mapped_is_named_without_an_index() -> None:
    assert [TaskEnd(task="render").label, LANDED.label] == ["render", "render[0]"]


# -------------------------------------------------------------------------------------------------------------- merge
def test_the_tasks_that_submit_wait_and_land_tell_of_one_render_once() -> None:
    submit = TaskEnd(task="submit", render=render("1"))
    wait = TaskEnd(task="wait", render=render("1", outcome="succeeded"))
    download = TaskEnd(task="download", render=render("1"), manifest=manifest("1"))
    (one,) = merge_ends([submit, wait, download])
    assert one.label == "submit"
    assert one.manifest == manifest("1")
    assert one.outcome == "succeeded"


def test_the_last_word_on_a_render_counts_when_it_failed() -> None:
    (one,) = merge_ends(
        [
            TaskEnd(task="submit", manifest=None, render=render("1")),
            TaskEnd(task="wait", render=render("1", outcome="expired")),
        ]
    )
    assert one.end(SINCE) is End.FAILED


def test_a_task_that_left_only_a_manifest_is_merged_too() -> None:
    (one,) = merge_ends([TaskEnd(task="a", manifest=manifest("1")), TaskEnd(task="b", render=render("1"))])
    assert one.render == render("1")
    assert one.manifest == manifest("1")


def test_instances_of_one_task_stay_apart_when_they_share_a_render_and_pay_once() -> None:
    twins = [TaskEnd(task="render", map_index=i, manifest=manifest("1")) for i in range(2)]
    assert merge_ends(twins) == twins
    assert report(*twins).actual == Decimal("1.40")


def test_tasks_without_a_render_are_never_merged() -> None:
    assert len(merge_ends([NOTHING, NO_SLOT, TaskEnd(task="render"), TaskEnd(task="render")])) == 4


def test_the_words_of_a_later_task_are_kept_even_where_it_knows_no_outcome() -> None:
    submitted = TaskEnd(task="submit", render=render("1"))
    silent = TaskEnd(task="wait", render={**render("1"), "outcome": None})
    last = TaskEnd(task="download", render={**render("1"), "outcome": None, "message": "no route"})
    (merged,) = merge_ends([submitted, silent, last])
    assert (merged.task, merged.known["message"]) == ("submit", "no route")
    (merged,) = merge_ends([submitted, last, silent])
    assert merged.known["message"] == "no route"


def test_only_a_manifest_is_read_as_one() -> None:
    others: list[Any] = [None, "text", 7, [], {}, {"task_id": "1"}, render("1")]
    assert not [payload for payload in others if manifest_or_none(payload) is not None]
    assert manifest_or_none(manifest("1")) == manifest("1")


# ------------------------------------------------------------------------------------------------------------ summary
def test_the_summary_counts_tasks_and_money() -> None:
    summary = report(*ALL, planned=Decimal("12.6"), quoted=True).summary()
    assert summary["counts"] == {
        "tasks": 11,
        "landed": 1,
        "reused": 1,
        "failed": 3,
        "unfinished": 4,
        "no_render": 2,
    }
    assert summary["cost"] == {
        "planned_cny": "12.60",
        "actual_cny": "2.80",
        "earlier_cny": "0.50",
        "open_cny": "7.00",
    }
    assert summary["generated_at"] == "2026-03-01T13:00:00Z"


def test_the_log_shows_counts_and_costs_one_a_line() -> None:
    table = report(LANDED, REUSED, FAILED, planned=Decimal("2.80"), quoted=True).table()
    assert [line.split() for line in table.splitlines()] == [
        ["tasks", "3"], ["saved", "1"], ["reused", "1"], ["failed", "1"], ["unfinished", "0"],
        ["without", "a", "render", "0"],
        ["CNY", "planned", "2.80"], ["CNY", "paid", "1.40"], ["CNY", "paid", "by", "earlier", "runs", "0.50"],
        ["CNY", "perhaps", "billed", "0.00"],
    ]  # fmt: skip
    assert "unknown" in report(LANDED).table()


def test_failures_are_grouped_by_reason_the_largest_group_first() -> None:
    more = [TaskEnd(task="render", map_index=20 + i, render=FAILED.render) for i in range(2)]
    groups = report(*ALL, *more).summary()["failures"]
    assert len(groups) == 9
    assert groups[0] == {
        "code": "50511",
        "outcome": "failed",
        "meaning": "Moderation refused the finished picture.",
        "advice": "A new render with another seed or prompt might pass.",
        "count": 3,
        "tasks": ["render[2]", "render[20]", "render[21]"],
    }
    assert [group["outcome"] for group in groups[-2:]] == ["slot_timed_out", "unknown_submit"]


def before(task_id: str, state: str, cost_cny: str | None = "1.40") -> dict[str, Any]:
    return {
        "state": state,
        "task_id": task_id,
        "submitted_at": "2026-03-01T12:10:00Z",
        "cost_cny": cost_cny,
    }


def test_what_a_task_paid_for_before_its_last_render_is_on_the_bill() -> None:
    earlier = (
        before("a", "landed", "0.10"),
        before("b", "submitted", "0.20"),
        before("c", "lost", "0.40"),
        before("d", "failed", "0.80"),
    )
    charged = report(TaskEnd(task="render", render=render("1"), manifest=manifest("1"), earlier=earlier))
    assert (charged.actual, charged.open) == (Decimal("1.50"), Decimal("0.60"))
    assert charged.to_payload()["renders"][0]["earlier"] == [dict(item) for item in earlier]
    refused = report(TaskEnd(task="render", earlier=earlier))
    assert (refused.actual, refused.open) == (Decimal("0.10"), Decimal("0.60"))
    unknown = report(TaskEnd(task="render", earlier=(before("a", "landed", None),)))
    assert (unknown.actual, unknown.open) == (None, Decimal(0))


def test_an_earlier_render_that_another_task_tells_of_is_on_the_bill_once() -> None:
    ends = [
        TaskEnd(task="render", map_index=0, render=render("1"), manifest=manifest("1")),
        TaskEnd(task="render", map_index=1, manifest=manifest("2"), earlier=(before("1", "landed"),)),
        TaskEnd(task="render", map_index=2, manifest=manifest("3"), earlier=(before("2", "submitted"),)),
    ]
    assert (report(*ends).actual, report(*ends).open) == (Decimal("4.20"), Decimal(0))


def test_the_tasks_of_one_render_keep_what_was_paid_before_it() -> None:
    submit = TaskEnd(task="submit", render=render("1"), earlier=(before("0", "lost"),))
    (one,) = merge_ends([submit, TaskEnd(task="download", render=render("1"), manifest=manifest("1"))])
    assert report(one).open == Decimal("1.40")


def test_an_unknown_cost_makes_the_sum_unknown() -> None:
    unknown = TaskEnd(task="render", manifest=manifest("9", cost_cny=None, estimated_cost_cny=None))
    assert report(LANDED, unknown).summary()["cost"]["actual_cny"] is None


def test_the_whole_report_holds_every_payload() -> None:
    payload = report(LANDED, NOTHING).to_payload()
    assert payload["renders"] == [
        {
            "task": "render[0]",
            "end": "landed",
            "asked": None,
            "render": render("1"),
            "manifest": manifest("1"),
            "earlier": [],
        },
        {
            "task": "render[7]",
            "end": "no_render",
            "asked": {"prompt": "a fox", "model": "t2v_720p"},
            "render": None,
            "manifest": None,
            "earlier": [],
        },
    ]


def test_the_report_names_images_without_what_opens_them() -> None:
    signed = "https://me:secret@Bucket.example/a/x.png?X-Amz-Signature=secret#secret"
    arguments = {
        "prompt": "https://poem.example/?line=1 in neon",
        "first_frame": signed,
        "last_frame": "s3://bucket/y.png",
        "seed": 7,
        "extra_body": {"image_urls": [signed, "HTTPS://[secret"], "flag": True},
    }
    (row,) = report(TaskEnd(task="render", arguments=arguments)).to_payload()["renders"]
    assert row["asked"] == {
        "prompt": "https://poem.example/?line=1 in neon",
        "first_frame": "https://bucket.example/a/x.png",
        "last_frame": "s3://bucket/y.png",
        "seed": 7,
        "extra_body": {
            "image_urls": ["https://bucket.example/a/x.png", "a link that cannot be read"],
            "flag": True,
        },
    }
    assert arguments["first_frame"] == signed


# --------------------------------------------------------------------------------------------------------------- page
class Page(HTMLParser):
    """Every tag with its attributes, and the text between."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def named(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


def test_nothing_that_somebody_typed_acts_on_the_page() -> None:
    ends = [
        TaskEnd(
            task="render",
            map_index=0,
            manifest=manifest("1", prompt=NASTY, model=NASTY, uri=f"s3://b/{NASTY}.mp4"),
        ),
        TaskEnd(
            task=NASTY,
            render=render(NASTY, prompt=NASTY, outcome=NASTY, code=NASTY, message=NASTY, advice=NASTY),
        ),
    ]
    uri = f"s3://b/{NASTY}.mp4"
    for preview in (Preview(path=f"{NASTY}.mp4"), Preview(picture=b"jpeg"), Preview()):
        page = Page(render_page(report(*ends), {uri: preview}))
        assert page.named("script") == []
        assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
        assert all(str(image["src"]).startswith("data:image/jpeg;base64,") for image in page.named("img"))
        assert page.text.count(NASTY) >= 4


def test_the_page_loads_nothing_from_elsewhere() -> None:
    html = render_page(
        report(LANDED, REUSED), {"s3://bucket/1.mp4": Preview(path="javascript:alert(1)//x y.mp4")}
    )
    page = Page(html)
    policy = next(
        m["content"] for m in page.named("meta") if m.get("http-equiv") == "Content-Security-Policy"
    )
    style = html.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; media-src 'self'; base-uri 'none'; "
        "form-action 'none'"
    )
    (video,) = page.named("video")
    assert video["src"] == page.named("a")[0]["href"] == "./javascript%3Aalert%281%29//x%20y.mp4"
    assert video["preload"] == "metadata"
    assert "http://" not in html
    assert "https://" not in html
    assert page.named("link") == []


def test_the_page_shows_counts_costs_and_what_to_do() -> None:
    text = Page(render_page(report(*ALL, planned=Decimal("1234.5"), quoted=True), {})).text
    for shown in (
        "1,234.50",
        "A new render with another seed",
        "render[7]",
        "a fox",
        "no picture",
        "1248×704",
        "reused",
    ):
        assert shown in text
    assert "disk full" in text


def test_a_tile_says_in_what_its_video_differs_whatever_a_manifest_holds() -> None:
    differs = [{"field": "duration", "asked": 5, "got": 3.0}, {"field": "fps"}, "x"]
    text = Page(
        render_page(report(TaskEnd(task="render", map_index=0, manifest=manifest("1", differs=differs))), {})
    ).text
    assert "duration 3.0 instead of 5" in text
    assert "None" not in text


def test_a_good_report_has_no_list_of_failures_and_an_empty_one_no_pictures() -> None:
    good = Page(render_page(report(LANDED), {"s3://bucket/1.mp4": Preview(picture=b"x")})).text
    assert "What to do" not in good
    assert "no plan" in good
    assert "Might still be billed" not in good
    empty = Page(render_page(report(NOTHING), {})).text
    assert "<h2>Pictures" not in empty
    assert "Models" not in empty


def test_a_long_group_of_failures_is_cut_short() -> None:
    many = [TaskEnd(task="render", map_index=i, render=render(str(i), outcome="expired")) for i in range(15)]
    assert (
        "and 3 more; the JSON file beside this page names all." in Page(render_page(report(*many), {})).text
    )


def test_unknown_figures_are_called_unknown() -> None:
    bare = manifest("1", cost_cny=None, estimated_cost_cny=None, width=None, duration_seconds=None)
    text = Page(render_page(report(TaskEnd(task="render", manifest=bare), quoted=True), {})).text
    assert "unknown" in text
    assert "cost unknown" in text
