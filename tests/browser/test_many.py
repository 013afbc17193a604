# SPDX-License-Identifier: Apache-2.0
"""Five hundred renders; and Airflow somewhere else than at the root of a host of its own."""

from __future__ import annotations

import re
import sys
import time
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

RENDERS = 500


@pytest.fixture(scope="module")
def _many(site: Site) -> Iterator[None]:
    """Five hundred landed renders more, of the files that are there, in one DAG."""
    files = sorted((site.stack.home.parent / "videos").rglob("*.mp4"))
    engine = create_engine(site.database_url)
    now = pendulum.now("UTC")
    with Session(engine) as session:
        records = Records(session)
        for number in range(RENDERS):
            at = now.subtract(minutes=number)
            file = files[number % len(files)]
            records.landed(
                file, dag_id="archive", run_id=f"run_{number:03}", render_id=f"archive-{number}", at=at, commit=False,
                submitted_at=at, prompt=f"Take {number} of the archive",
            )  # fmt: skip
        session.commit()
    yield
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel

    with Session(engine) as session:
        for model in (XComModel, TaskInstance, DagRun):
            session.execute(delete(model).where(model.dag_id == "archive"))
        session.commit()
    engine.dispose()


@pytest.mark.usefixtures("_many")
def test_a_page_of_fifty_costs_two_requests_its_modules_and_the_videos_in_sight(
    site: Site, window: Window, capsys: pytest.CaptureFixture[str]
) -> None:
    visitor = window()
    page = visitor.page
    started = time.monotonic()
    page.goto(f"{site.gallery}?dag_id=archive", wait_until="commit")
    page.locator(".card .prompt").first.wait_for()
    with capsys.disabled():  # the time depends on the machine, so it is only reported
        sys.stdout.write(f"\nfirst of {RENDERS} cards after {time.monotonic() - started:.2f} s\n")
    expect(page.locator(".card .prompt")).to_have_count(50)
    expect(page.locator(".figure b").first).to_have_text(str(RENDERS))
    until(lambda: page.locator("video.ready").count() >= 4)
    requested = {url for url in visitor.requests if "/media?" not in url and not url.startswith("data:")}
    scripts = [url.rpartition("/")[2] for url in requested if "/jimeng/static/" in url]
    assert sorted(scripts) == sorted(pages.modules())
    assert len(requested) - len(scripts) == 2, requested
    assert page.locator("video[src]").count() < 30, "videos far below are not loaded"
    visitor.shoot("gallery-500")

    visitor.requests.clear()
    page.get_by_role("button", name="Next").click()
    expect(page.locator(".card .prompt").first).to_have_text("Take 50 of the archive")
    of_cards = ("/media?", "/api/preview?")  # the pointer can be above a card
    assert len({url for url in visitor.requests if not any(part in url for part in of_cards)}) == 1
    page.reload()
    expect(page.locator(".pager span")).to_have_text("51–100 of 500")
    page.locator(".card").last.scroll_into_view_if_needed()
    until(lambda: page.locator(".card").last.locator("video.ready").count())


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
