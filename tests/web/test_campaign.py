# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pendulum
import pytest
from sqlalchemy import insert, update

from airflow_provider_jimeng import links
from airflow_provider_jimeng.core.report import End, Report, TaskEnd
from airflow_provider_jimeng.operators.plan import JimengPlanOperator
from airflow_provider_jimeng.operators.report import JimengReportOperator
from airflow_provider_jimeng.report_page import render_page
from airflow_provider_jimeng.web.campaign import expected_end, quoted
from airflow_provider_jimeng.web.costs import COLUMNS, harmless
from tests.harness.videos import video
from tests.web.records import NOW, intent_payload, manifest_payload, render_payload

if TYPE_CHECKING:
    from pathlib import Path

    from tests.web.conftest import Reader
    from tests.web.records import Records

RUN = {"dag_id": "ads", "run_id": "run_1"}
QUOTE = {
    "version": 1, "rows": 7, "new": 7, "landed": 0, "running": 0, "cost_cny": "9.80", "at_risk_cny": "0",
    "by_model": {}, "quoted_at": "2026-05-04T11:59:00Z",
}  # fmt: skip


@pytest.fixture
def mp4(tmp_path: Path) -> Path:
    path = tmp_path / "video.mp4"
    path.write_bytes(video())
    return path


def push(
    records: Records, task_id: str, key: str, value: Any, *, dag_id: str = "ads", operator: str = "Any"
) -> None:
    """Add a task that left one value."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel

    records.add(dag_id=dag_id, task_id=task_id, commit=False)
    records.session.execute(
        update(TaskInstance)
        .where(TaskInstance.dag_id == dag_id, TaskInstance.task_id == task_id)
        .values(operator=operator)
    )
    run = records.run(dag_id, "run_1", NOW)
    records.session.execute(
        insert(XComModel.__table__).values(
            dag_id=dag_id, run_id="run_1", dag_run_id=run, task_id=task_id, map_index=-1, key=key, value=value,
            timestamp=NOW,
        )
    )  # fmt: skip
    records.session.commit()


def set_run(records: Records, state: str) -> None:
    from airflow.models.dagrun import DagRun

    records.session.execute(update(DagRun).where(DagRun.run_id == "run_1").values(state=state))
    records.session.commit()


def campaign(records: Records, mp4: Path) -> None:
    """A run of seven rows: two saved, one running, two refused, one timed out, one still to come."""
    push(records, "plan", "quote", QUOTE)
    for at in (0, 1):
        records.landed(mp4, map_index=at, render_id=f"70{at}", commit=False)
    records.add(
        map_index=2, state="deferred", render=render_payload(task_id="702", submitted_at=NOW), commit=False
    )
    refused = {"version": 1, "refused_at": "2026-05-04T12:00:00Z", "code": "50412", "message": "Text Risk Not Pass",
               "prompt": "no", "model": "t2v_720p"}  # fmt: skip
    for at in (3, 4):
        records.add(map_index=at, state="failed", refusal=refused, commit=False)
    records.add(map_index=5, state="failed", render=render_payload(task_id="705", outcome="timed_out"))


def test_a_run_is_shown_as_one_thing_with_counts_money_and_failures(
    viewer: Reader, records: Records, mp4: Path
) -> None:
    campaign(records, mp4)
    set_run(records, "running")
    records.landed(mp4, run_id="run_2", render_id="other run")
    found = viewer.get("api/campaign", RUN).json()

    assert found["counts"]["landed"] == 2
    assert (found["counts"]["failed"], found["counts"]["running"], found["to_come"]) == (3, 1, 1)
    assert found["planned"]["cost_cny"] == "9.80"
    assert found["totals"]["cost_cny"] == "2.80"
    assert found["totals"]["may_be_billed_cny"] == "1.40"
    assert found["totals"]["expected_cny"] == "1.40"
    refused, late = found["failures"]
    assert (refused["count"], refused["code"], late["count"]) == (2, "50412", 1)
    assert len(refused["renders"]) == 2
    assert all(refused[f"{name}{language}"] for name in ("meaning", "advice") for language in ("", "_zh"))
    assert {card["ref"]["run_id"] for card in found["cards"]} == {"run_1"}
    assert found["run"]["state"] == "running"
    assert found["expected_end"] is not None
    set_run(records, "failed")
    ended = viewer.get("api/campaign", RUN).json()
    assert (ended["to_come"], ended["expected_end"]) == (0, None)


def test_the_list_of_a_run_can_be_limited_to_states_and_paged_while_its_counts_stay(
    viewer: Reader, records: Records, mp4: Path
) -> None:
    campaign(records, mp4)
    found = viewer.get("api/campaign", {**RUN, "state": "landed", "limit": 1, "offset": 1}).json()
    assert [card["state"] for card in found["cards"]] == ["landed"]
    assert found["counts"]["failed"] == 3
    assert found["totals"]["renders"] == 6


def test_an_unchanged_campaign_is_answered_by_304(viewer: Reader, records: Records, mp4: Path) -> None:
    campaign(records, mp4)
    first = viewer.get("api/campaign", RUN)
    again = viewer.get("api/campaign", RUN, if_none_match=first.headers["etag"])
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")


def test_a_campaign_is_shown_to_those_who_may_see_its_dag(
    admin: Reader, viewer: Reader, without_xcom: Reader, anonymous: Reader, records: Records, mp4: Path
) -> None:
    records.landed(mp4, dag_id="secret_launch")
    records.landed(mp4, dag_id="ads")
    secret = {**RUN, "dag_id": "secret_launch"}
    assert admin.get("api/campaign", secret).status_code == 200
    assert viewer.get("api/campaign", secret).status_code == 403
    assert viewer.get("api/campaign", {**secret, "dag_id": "secret_never"}).status_code == 403
    assert without_xcom.get("api/campaign", RUN).status_code == 403
    assert viewer.get("api/campaign", {**RUN, "run_id": "no such run"}).status_code == 404
    assert viewer.get("api/campaign", {**RUN, "run_id": "\0"}).status_code == 422
    for path in (
        "campaign",
        "costs",
        "api/campaign",
        "api/costs",
        "api/costs.csv",
        "api/files.zip",
        "report",
        "api/again",
    ):
        assert anonymous.get(path, RUN).status_code == 401, path


def test_a_campaign_without_a_plan_or_with_a_damaged_quote_has_no_planned_cost(
    viewer: Reader, records: Records, mp4: Path
) -> None:
    records.landed(mp4)
    assert viewer.get("api/campaign", RUN).json()["planned"] is None
    push(records, "other", "quote", {"rows": "many", "cost_cny": "1"})
    assert viewer.get("api/campaign", RUN).json()["planned"] is None
    assert quoted([QUOTE, {**QUOTE, "cost_cny": None}, 7]) == {
        "rows": 14, "new": 14, "landed": 0, "running": 0, "cost_cny": None, "at_risk_cny": "0.00",
        "quoted_at": "2026-05-04T11:59:00Z",
    }  # fmt: skip


def test_the_end_is_expected_when_the_last_of_those_that_follow_each_other_ends() -> None:
    now = datetime(2026, 5, 4, 12, tzinfo=UTC)
    in_seconds = [now + timedelta(seconds=seconds) for seconds in (10, 40)]
    assert expected_end(in_seconds, 0, None, now) == now + timedelta(seconds=40)
    assert expected_end(in_seconds, 3, 60, now) == now + timedelta(seconds=130)
    assert expected_end([now - timedelta(hours=1)], 1, 60, now) == now + timedelta(seconds=60)
    assert expected_end([], 3, 60, now) is None
    assert expected_end(in_seconds, 1, None, now) is None


# --- costs ------------------------------------------------------------------------------------------------------------


def test_costs_are_added_up_by_day_dag_run_and_model(viewer: Reader, records: Records, mp4: Path) -> None:
    campaign(records, mp4)
    records.add(map_index=6, state="failed", intent=intent_payload(), commit=False)
    records.landed(
        mp4, map_index=7, render_id="707", model="t2v_1080p", estimated_cost_cny=None, cost_cny=None
    )
    table = viewer.get("api/costs", RUN).json()
    expensive, usual = table["rows"]
    assert (expensive["model"], expensive["unpriced"], expensive["paid_cny"]) == ("t2v_1080p", 1, "0.00")
    assert usual == {
        "day": "2026-05-04", "dag_id": "ads", "run_id": "run_1", "model": "t2v_720p", "renders": 7, "saved": 2,
        "seconds": 10.0, "paid_cny": "2.80", "may_be_billed_cny": "2.80", "expected_cny": "1.40", "unpriced": 0,
    }  # fmt: skip
    assert table["total"]["renders"] == 8


def test_costs_cover_the_last_days_unless_a_period_or_a_run_is_named(
    viewer: Reader, records: Records, mp4: Path
) -> None:
    records.landed(mp4)
    records.landed(mp4, run_id="now", render_id="2", submitted_at=pendulum.now("UTC"))
    assert [row["run_id"] for row in viewer.get("api/costs").json()["rows"]] == ["now"]
    assert len(viewer.get("api/costs", {"since": "2026-01-01T00:00:00Z"}).json()["rows"]) == 2
    assert [row["run_id"] for row in viewer.get("api/costs", RUN).json()["rows"]] == ["run_1"]


def test_costs_show_each_reader_the_dags_they_may_read(
    admin: Reader, viewer: Reader, without_xcom: Reader, records: Records, mp4: Path
) -> None:
    records.landed(mp4, dag_id="ads")
    records.landed(mp4, dag_id="secret_launch", render_id="2")
    period = {"since": "2026-01-01T00:00:00Z"}
    for reader, dags in ((admin, {"ads", "secret_launch"}), (viewer, {"ads"}), (without_xcom, set())):
        assert {row["dag_id"] for row in reader.get("api/costs", period).json()["rows"]} == dags
        lines = reader.get("api/costs.csv", period).text
        assert ("secret_launch" in lines) is ("secret_launch" in dags)


def test_the_csv_is_one_that_excel_reads_and_that_calculates_nothing(
    viewer: Reader, records: Records, mp4: Path
) -> None:
    records.landed(mp4, dag_id="广告", run_id="=HYPERLINK(1)")
    reply = viewer.get("api/costs.csv", {"since": "2026-01-01T00:00:00Z"})
    assert reply.content.startswith(b"\xef\xbb\xbf")
    assert reply.headers["content-disposition"] == "attachment; filename*=UTF-8''costs.csv"
    header, row = csv.reader(io.StringIO(reply.content.decode("utf-8-sig")))
    assert tuple(header) == COLUMNS
    assert row[:4] == ["2026-05-04", "广告", "'=HYPERLINK(1)", "t2v_720p"]
    assert [harmless(cell) for cell in ("-1", "+1", "@x", "\t=1", -1, None, "a=b")] == [
        "'-1", "'+1", "'@x", "'\t=1", -1, "", "a=b",
    ]  # fmt: skip


# --- the report -------------------------------------------------------------------------------------------------------


def save_report(folder: Path, mp4: Path, *, dag_id: str = "ads", **changes: Any) -> dict[str, Any]:
    """Write a report as the operator does, and return what its task returns."""
    render = render_payload(task_id="702", outcome="timed_out", prompt="<script>alert(1)</script>")
    differs = [{"field": "duration", "asked": 5, "got": 3.0}]
    report = Report(
        dag_id=dag_id,
        run_id="run_1",
        generated_at=NOW,
        since=NOW.subtract(hours=1),
        planned=Decimal("9.80"),
        quoted=True,
        ends=(
            TaskEnd(task="render", map_index=0, render=render_payload(task_id="700"),
                    manifest=manifest_payload(mp4, task_id="700", differs=differs)),
            TaskEnd(task="render", map_index=1, render=render),
        ),
    )  # fmt: skip
    file = folder / "jimeng-report.json"
    file.write_text(json.dumps(report.to_payload() | changes), encoding="utf-8")
    return {**report.summary(), "uris": {"html": None, "json": file.as_uri()}}


def test_the_report_of_a_run_is_served_in_both_languages_under_a_policy_of_its_own(
    viewer: Reader, records: Records, mp4: Path, tmp_path: Path
) -> None:
    records.landed(mp4, map_index=0, render_id="700", commit=False)
    push(records, "report", "return_value", save_report(tmp_path, mp4), operator="JimengReportOperator")
    (ref,) = viewer.get("api/campaign", RUN).json()["reports"]
    english = viewer.get("report", ref)
    assert english.status_code == 200
    assert '<html lang="en">' in english.text
    assert "9.80" in english.text
    assert "duration 3.0 instead of 5" in english.text
    assert "&lt;script&gt;" in english.text
    assert "<script" not in english.text
    policy = english.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert policy.endswith("frame-ancestors 'self'")
    assert "unsafe" not in policy
    assert "media?dag_id=ads&amp;run_id=run_1&amp;task_id=render&amp;map_index=0" in english.text
    chinese = viewer.get("report", {**ref, "lang": "zh"}).text
    for words in (
        '<html lang="zh-CN">',
        "计划费用",
        "如何处理",
        "任务停止等待时视频尚未生成。",
        "时长为 3.0，请求为 5",
    ):
        assert words in chinese
    assert "What to do" not in chinese


def test_a_report_is_refused_to_those_who_may_not_see_its_dag(
    admin: Reader, viewer: Reader, without_xcom: Reader, records: Records, mp4: Path, tmp_path: Path
) -> None:
    summary = save_report(tmp_path, mp4, dag_id="secret_launch")
    push(records, "report", "return_value", summary, dag_id="secret_launch", operator="JimengReportOperator")
    ref = {"dag_id": "secret_launch", "run_id": "run_1", "task_id": "report"}
    assert admin.get("report", ref).status_code == 200
    assert viewer.get("report", ref).status_code == 403
    assert without_xcom.get("report", ref).status_code == 403


def test_a_task_can_show_no_file_but_the_report_that_it_made(
    viewer: Reader, records: Records, mp4: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link.json"
    (tmp_path / "real").mkdir()
    good = save_report(tmp_path / "real", mp4)
    link.symlink_to(tmp_path / "real" / "jimeng-report.json")
    other = save_report(tmp_path, mp4, dag_id="secret_launch")
    (tmp_path / "config.json").write_text('{"password": "x"}')
    (tmp_path / "list.json").write_text("[1]")
    attempts = {
        "forged": {**other, "dag_id": "ads"},
        "of_another_dag": other,
        "other_json": {**good, "uris": {"json": (tmp_path / "config.json").as_uri()}},
        "a_list": {**good, "uris": {"json": (tmp_path / "list.json").as_uri()}},
        "a_link": {**good, "uris": {"json": link.as_uri()}},
        "not_json": {**good, "uris": {"json": mp4.as_uri()}},
        "web": {**good, "uris": {"json": "https://example.com/a.json"}},
        "gone": {**good, "uris": {"json": (tmp_path / "gone.json").as_uri()}},
        "older": {**good, "generated_at": "2026-05-04T11:00:00Z"},
        "none": {**good, "uris": None},
    }
    for task_id, summary in attempts.items():
        push(records, task_id, "return_value", summary)
        assert viewer.get("report", {**RUN, "task_id": task_id}).status_code == 404, task_id
    push(records, "good", "return_value", good)
    assert viewer.get("report", {**RUN, "task_id": "good"}).status_code == 200


def test_a_report_read_back_is_the_same_report_also_one_of_0_1_0(tmp_path: Path, mp4: Path) -> None:
    summary = save_report(tmp_path, mp4)
    saved = json.loads((tmp_path / "jimeng-report.json").read_text())
    again = Report.from_payload(saved)
    assert again.summary() == {name: value for name, value in summary.items() if name != "uris"}
    assert json.loads(json.dumps(again.to_payload())) == saved
    older = Report.from_payload({name: saved[name] for name in saved if name not in ("since", "quoted")})
    assert (len(older.of(End.LANDED)), older.quoted) == (1, True)
    assert "render[1]" in render_page(older, {})
    with pytest.raises(ValueError, match="not a report"):
        Report.from_payload({"renders": [{}]})


# --- reached from -----------------------------------------------------------------------------------------------------


def test_the_button_of_plan_and_report_leads_to_the_campaign_of_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from types import SimpleNamespace

    from airflow_provider_jimeng.provider_info import get_provider_info

    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://a.example/team/flow")
    running = SimpleNamespace(dag_id="ads & more", run_id="manual__1+1", task_id="plan", map_index=-1)
    for operator in (JimengPlanOperator, JimengReportOperator):
        (button,) = operator.operator_extra_links
        assert type(button) is links.JimengCampaignLink
        assert button.get_link(None, ti_key=running) == (  # type: ignore[arg-type]
            "https://a.example/team/flow/jimeng/campaign?dag_id=ads+%26+more&run_id=manual__1%2B1"
        )
    assert "airflow_provider_jimeng.links.JimengCampaignLink" in str(get_provider_info()["extra-links"])
