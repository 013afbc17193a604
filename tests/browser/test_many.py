# SPDX-License-Identifier: Apache-2.0
"""Five hundred renders, at night five thousand; and Airflow somewhere else than at the root of a host of its own."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pendulum
import pytest
from sqlalchemy import create_engine, delete
from sqlalchemy.orm import Session

from airflow_provider_jimeng.web import pages
from tests.browser.site import Site, Visitor, expect, until
from tests.web.records import Records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Window = Callable[..., Visitor]

pytestmark = pytest.mark.real


@pytest.fixture(scope="module", params=[500, pytest.param(5000, marks=pytest.mark.nightly)])
def many(site: Site, request: pytest.FixtureRequest) -> Iterator[int]:
    """So many landed renders more, of the files that are there, in one DAG."""
    files = sorted((site.stack.home.parent / "videos").rglob("*.mp4"))
    engine = create_engine(site.database_url)
    now = pendulum.now("UTC")
    with Session(engine) as session:
        records = Records(session)
        for number in range(request.param):
            at = now.subtract(minutes=number)
            file = files[number % len(files)]
            records.landed(
                file, dag_id="archive", run_id=f"run_{number:03}", render_id=f"archive-{number}", at=at, commit=False,
                submitted_at=at, prompt=f"Take {number} of the archive",
            )  # fmt: skip
        session.commit()
    yield request.param
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel

    with Session(engine) as session:
        for model in (XComModel, TaskInstance, DagRun):
            session.execute(delete(model).where(model.dag_id == "archive"))
        session.commit()
    engine.dispose()


def test_a_page_of_fifty_costs_two_requests_its_modules_and_the_videos_in_sight(
    many: int, site: Site, window: Window, capsys: pytest.CaptureFixture[str]
) -> None:
    visitor = window()
    page = visitor.page
    started = time.monotonic()
    page.goto(f"{site.gallery}?dag_id=archive", wait_until="commit")
    page.locator(".card .prompt").first.wait_for()
    with capsys.disabled():  # the time depends on the machine, so it is only reported
        sys.stdout.write(f"\nfirst of {many} cards after {time.monotonic() - started:.2f} s\n")
    expect(page.locator(".card .prompt")).to_have_count(50)
    expect(page.locator(".figure b").first).to_have_text(str(many))
    until(lambda: page.locator("video.ready").count() >= 4)
    requested = {url for url in visitor.requests if "/media?" not in url and not url.startswith("data:")}
    scripts = [url.rpartition("/")[2] for url in requested if "/jimeng/static/" in url]
    assert sorted(scripts) == sorted(pages.modules())
    assert len(requested) - len(scripts) == 2, requested
    assert page.locator("video[src]").count() < 30, "videos far below are not loaded"
    visitor.shoot(f"gallery-{many}")

    visitor.requests.clear()
    page.get_by_role("button", name="Next").click()
    expect(page.locator(".card .prompt").first).to_have_text("Take 50 of the archive")
    of_cards = ("/media?", "/api/preview?")  # the pointer can be above a card
    assert len({url for url in visitor.requests if not any(part in url for part in of_cards)}) == 1
    page.reload()
    expect(page.locator(".pager span")).to_have_text(f"51–100 of {many}")
    page.locator(".card").last.scroll_into_view_if_needed()
    until(lambda: page.locator(".card").last.locator("video.ready").count())


def test_all_that_fit_the_filter_are_selected_and_one_is_left_out(
    many: int, site: Site, window: Window
) -> None:
    visitor = window()
    page = visitor.page
    page.goto(f"{site.gallery}?dag_id=archive&q=%22Take+1%22")
    fitting = len([number for number in range(many) if str(number).startswith("1")])
    page.get_by_role("button", name=f"Select all {fitting}").click()
    count = page.locator(".tray .count")
    expect(count).to_have_text(f"{fitting} selected: all that match the filter, {fitting} of them saved")
    expect(page.locator(".card .pick input:checked")).to_have_count(50)
    page.get_by_role("button", name="Next").click()
    expect(page.locator(".card .prompt", has_text="Take 140")).to_be_visible()
    expect(page.locator(".card .pick input:checked")).to_have_count(50)
    page.locator(".card", has_text="Take 140").locator(".pick input").dispatch_event("click")
    expect(count).to_contain_text(f"{fitting - 1} selected")
    expect(page.locator(".tray")).to_contain_text("1 left out")
    page.reload()
    expect(page.locator(".card .pick input:not(:checked)")).to_have_count(1)
    visitor.shoot("select-all")
    with page.expect_download() as download:
        page.locator(".tray").get_by_role("button", name="CSV").click()
    lines = Path(download.value.path()).read_text(encoding="utf-8-sig").splitlines()
    assert len(lines) == 1 + fitting - 1
    assert not [line for line in lines if "Take 140 " in line]
    page.locator(".card", has_text="Take 140").locator(".pick input").dispatch_event("click")
    with page.expect_download() as download:
        page.locator(".tray").get_by_role("link", name="URIs").click()
    assert len(Path(download.value.path()).read_text().splitlines()) == fitting
    page.locator(".chip[data-state=failed]").click()
    expect(page.locator(".tray")).to_be_hidden()


def test_everything_works_below_a_base_path_and_behind_a_proxy(
    elsewhere: str, site: Site, window: Window
) -> None:
    visitor = window(url=elsewhere)
    page = visitor.page
    page.goto(f"{elsewhere}/plugin/jimeng-renders")
    frame = page.frame_locator("iframe[title=Renders]")
    frame.get_by_label("DAG", exact=True).select_option("spring_campaign")
    expect(frame.locator(".card")).to_have_count(3)
    expect(frame.locator(".card video.ready").first).to_be_attached()
    frame.locator("[data-state=landed] a.picture").first.click()
    video = frame.locator(".stage video")
    until(lambda: video.evaluate("video => video.readyState >= 2"))
    frame.get_by_role("link", name="Task instance").click()
    page.wait_for_url(re.compile(r"/team/airflow/dags/spring_campaign/runs/[^/]+/tasks/render/mapped/\d"))
    assert page.url.startswith(elsewhere)
    assert not [url for url in visitor.requests if not url.startswith((elsewhere, "data:", "blob:"))]
