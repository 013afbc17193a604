# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine, delete
from sqlalchemy.orm import Session

from tests.browser.dags.films import HOSTILE, KITE
from tests.browser.site import Site, Visitor, expect, follow, until
from tests.harness.api import task_path
from tests.harness.videos import video
from tests.web.records import Records, intent_payload, manifest_payload, render_payload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Route

    Window = Callable[..., Visitor]

pytestmark = pytest.mark.real

LONG_AGO = "2026-01-01"
"""A day before those of the records that tests write. Without it the gallery shows only the latest renders."""


def test_airflows_navigation_leads_to_the_gallery_in_its_theme_and_a_card_out_of_the_frame(
    site: Site, window: Window
) -> None:
    visitor = window()
    page = visitor.page
    page.add_init_script("localStorage.setItem('theme', 'dark')")
    page.goto(site.url)
    page.get_by_role("link", name="Renders").click()
    frame = page.frame_locator("iframe[title=Renders]")
    expect(frame.locator(".card", has_text=KITE).locator(".variant")).to_have_count(3)
    expect(frame.locator("html")).to_have_attribute("data-theme", "dark")
    page.evaluate("document.documentElement.classList.replace('dark', 'light')")
    expect(frame.locator("html")).to_have_attribute("data-theme", "light")
    visitor.shoot("gallery-in-airflow")

    frame.get_by_label("DAG", exact=True).select_option("secret_launch")
    expect(frame.locator(".card")).to_have_count(1)
    expect(frame.locator(".figure b").first).to_have_text("1")
    frame.locator(".card .task").click()
    page.wait_for_url(re.compile(r"/dags/secret_launch/runs/[^/]+/tasks/render"))
    assert "/jimeng/" not in page.url


def test_filters_leave_what_fits_and_stand_in_the_address(site: Site, window: Window) -> None:
    page = window().page
    page.goto(site.gallery)
    secret = page.locator(".card", has_text="secret_launch")
    expect(secret).to_have_count(1)
    page.get_by_label("Search", exact=True).fill("red kite")
    expect(page.locator(".card .variant")).to_have_count(3)
    expect(page.locator(".card")).to_have_count(1)
    page.get_by_label("Model", exact=True).select_option("t2v_1080p")
    expect(page.locator(".card .variant")).to_have_count(0)
    expect(page.locator(".card")).to_have_count(1)
    expect(page.locator(".figure b").first).to_have_text("1")
    page.reload()
    expect(page.locator(".card")).to_have_count(1)
    page.get_by_role("button", name="Clear filters").click()
    expect(secret).to_have_count(1)

    page.locator(".chip[data-state=failed]").click()
    expect(page.locator(".card:not([data-state=failed])")).to_have_count(0)
    expect(page.locator(".card", has_text="spring_campaign")).to_have_count(1)
    page.locator(".chip").first.click()
    page.get_by_label("DAG", exact=True).select_option("secret_launch")
    expect(page.locator(".card")).to_have_count(1)
    page.get_by_label("To", exact=True).fill("2020-01-01")
    expect(page.locator(".notice")).to_contain_text("No render matches these filters")


def test_a_card_shows_a_still_whose_frame_the_pointer_chooses_and_plays_under_the_focus(
    site: Site, window: Window
) -> None:
    page = window().page
    page.goto(f"{site.gallery}?q=red+kite")
    card = page.locator(".card").first
    expect(card.locator("video.ready")).to_be_attached()
    assert card.locator("video").evaluate("video => video.paused && video.videoWidth > 0")
    box = card.locator(".still").bounding_box()
    assert box is not None
    for share in (0.8, 0.2):
        page.mouse.move(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
        near = f"video => Math.abs(video.currentTime / video.duration - {share}) < 0.05"
        until(partial(card.locator("video").evaluate, near))
    page.mouse.move(0, 0)
    card.locator("a.picture").focus()
    until(lambda: card.locator("video").evaluate("video => !video.paused && video.currentTime > 1.5"))
    expect(card).to_contain_text(KITE)
    expect(card.locator(".facts")).to_contain_text(re.compile(r"t2v_\d+p.*\d+×\d+.*5s.*¥\d+\.\d\d"))


def test_a_failed_render_says_what_it_means_and_what_to_do_in_both_languages(
    site: Site, window: Window
) -> None:
    visitor = window(locale="zh-CN")
    page = visitor.page
    page.goto(f"{site.gallery}?dag_id=spring_campaign&state=failed")
    card = page.locator(".card")
    expect(page.get_by_role("heading", name="生成任务")).to_be_visible()
    expect(card).to_contain_text("提示词未通过审核。")
    expect(card).to_contain_text("处理办法: 请修改提示词。")
    visitor.shoot("failed-chinese")
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("heading", name="Renders")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="Renders")).to_be_visible()
    expect(card).to_contain_text("Moderation refused the prompt.")
    expect(card).to_contain_text("What to do:")
    expect(card).to_contain_text("50412")
    visitor.shoot("failed")


@contextmanager
def pushed(site: Site, dag_id: str) -> Iterator[Records]:
    """Write what the tasks of a DAG left, and remove it afterwards."""
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel

    engine = create_engine(site.database_url)
    with Session(engine) as session:
        yield Records(session)
        for model in (XComModel, TaskInstance, DagRun):
            session.execute(delete(model).where(model.dag_id == dag_id))
        session.commit()
    engine.dispose()


@pytest.fixture
def _different(site: Site, tmp_path: Path) -> Iterator[None]:
    """A saved video that is shorter than was asked for."""
    path = tmp_path / "short.mp4"
    path.write_bytes(video(movflags="faststart"))
    with pushed(site, "different") as records:
        differs = [{"field": "duration", "asked": 5, "got": 0.5}]
        records.landed(path, dag_id="different", run_id="short", differs=differs)
        yield


@pytest.mark.usefixtures("_different")
def test_a_video_that_differs_is_marked_in_both_languages(site: Site, window: Window) -> None:
    for language, mark, words in (
        ("en-US", "differs from the request", "Requested length: 0.5 instead of 5"),
        ("zh-CN", "与请求不符", "请求时长：实际为 0.5，请求为 5"),
    ):
        page = window(locale=language).page
        page.goto(f"{site.gallery}?dag_id=different&since={LONG_AGO}")
        expect(page.locator(".card .differs")).to_have_text(mark)
        expect(page.locator(".card .differs")).to_have_attribute("title", words)


@pytest.fixture
def _unhappy(site: Site) -> Iterator[None]:
    """A submit whose answer was lost, and a render that is done and was not saved."""
    with pushed(site, "unhappy") as records:
        records.add(dag_id="unhappy", run_id="lost", state="failed", intent=intent_payload())
        done = render_payload(task_id="2", outcome="succeeded", message="The disk is full.")
        records.add(dag_id="unhappy", run_id="done", state="failed", render=done)
        yield


@pytest.mark.usefixtures("_unhappy")
def test_what_might_have_cost_money_differs_from_what_did(site: Site, window: Window) -> None:
    visitor = window()
    page = visitor.page
    page.goto(f"{site.gallery}?dag_id=unhappy&since={LONG_AGO}")
    expect(page.locator(".card")).to_have_count(2)
    lost = page.locator(".card", has_text="A submit without an answer")
    expect(lost).to_contain_text("its answer was lost")
    expect(lost).to_contain_text("on_unknown_submit")
    done = page.locator(".card", has_text="The disk is full.")
    expect(done).to_contain_text("The video is done and billed")
    expect(done.locator(".facts")).to_contain_text("¥1.40")
    expect(page.locator(".figure", has_text="paid")).to_contain_text("¥1.40")
    visitor.shoot("unhappy")
    for run, price in (("lost", "might be billed"), ("done", "¥1.40")):
        page.goto(f"{site.url}/jimeng/render?dag_id=unhappy&run_id={run}&task_id=render&map_index=-1")
        expect(page.locator(".headline b")).to_contain_text(price)
    expect(page.locator(".headline b")).to_have_text("¥1.40")


NEVER = {"submitted_at": "never", "duration": "1e400"}
LATE = {"submitted_at": "9999-12-31T23:59:59Z", "outcome": "timed_out", "code": [1], "prompt": {"a": 1}}


@pytest.fixture
def _spoiled(site: Site) -> Iterator[None]:
    """What a task of somebody else pushed under our key."""
    with pushed(site, "spoiled") as records:
        records.add(
            dag_id="spoiled", run_id="failed", state="failed", render={**NEVER, "outcome": "timed_out"}
        )
        records.add(dag_id="spoiled", run_id="running", state="running", render=NEVER)
        odd = {
            **manifest_payload("/gone.mp4"),
            **LATE,
            "queued_seconds": 1e300,
            "landed_at": "soon",
            "bytes": {},
        }
        records.add(dag_id="spoiled", run_id="landed", render=LATE, manifest=odd)
        yield


@pytest.mark.usefixtures("_spoiled")
def test_what_others_pushed_under_our_key_takes_no_card_away(site: Site, window: Window) -> None:
    visitor = window()
    visitor.expected_status = 404  # the video of the strange landing
    page = visitor.page
    page.goto(f"{site.gallery}?since={LONG_AGO}")
    expect(page.locator(".card", has_text="spoiled")).to_have_count(3)
    expect(page.locator(".card .prompt", has_text=KITE).first).to_be_visible()
    expect(page.locator(".card[data-state=failed]", has_text="spoiled")).to_contain_text("not finished when")
    visitor.shoot("spoiled")
    for run in ("failed", "running", "landed"):
        page.goto(f"{site.url}/jimeng/render?dag_id=spoiled&run_id={run}&task_id=render&map_index=-1")
        expect(page.locator(".manifest")).to_contain_text("Submitted")
        expect(page.get_by_role("alert")).to_have_count(0)


def test_a_card_that_cannot_be_drawn_takes_no_other_away(site: Site, window: Window) -> None:
    page = window().page

    def break_the_first(route: Route) -> None:
        found = route.fetch().json()
        for at, card in enumerate(found["cards"]):
            card["prompt"] = f"Prompt {at}"
        found["cards"][0]["ref"] = None
        found["cards"][1]["duration"] = {"not": "a number"}
        route.fulfill(json=found)

    page.route("**/jimeng/api/renders?*", break_the_first)
    page.goto(f"{site.gallery}?dag_id=spring_campaign")
    expect(page.locator(".card")).to_have_count(5)
    expect(page.locator(".card").first).to_contain_text("This render cannot be shown.")
    expect(page.locator(".card a.picture")).to_have_count(4)


def test_a_hostile_prompt_is_text_wherever_it_is_shown(site: Site, window: Window) -> None:
    page = window().page
    page.goto(f"{site.gallery}?q=onerror")
    expect(page.locator(".card .prompt")).to_have_text(HOSTILE)
    page.locator(".card a.picture").click()
    expect(page.locator("blockquote")).to_have_text(HOSTILE)
    page.locator(".json summary").click()
    expect(page.locator(".json pre")).to_contain_text("onerror")
    assert page.locator("img").count() == 0
    assert "taken over" not in page.evaluate("document.title").replace(HOSTILE[:60], "")


def test_a_running_render_shows_its_age_and_becomes_a_video_by_itself(site: Site, window: Window) -> None:
    run_id = site.runs["slow_study"]
    site.stack.wait_for_task("slow_study", run_id, "render", {"deferred"})
    button = site.stack.api.call("GET", f"{task_path('slow_study', run_id, 'render')}/links")
    visitor, other = window(), window()
    page, own_page = visitor.page, other.page
    page.goto(f"{site.gallery}?dag_id=slow_study")
    panel = page.locator(".panel.running")
    expect(panel).to_contain_text("Running for")
    expect(panel).to_contain_text("expected")
    before = panel.inner_text()
    until(lambda: panel.inner_text() != before)
    visitor.shoot("running")
    page.evaluate("window.still_the_same_page = true")

    own_page.goto(f"{site.url}/dags/slow_study/runs/{run_id}/tasks/render/details")
    own_page = follow(own_page, "Video")
    own_page.wait_for_url(button["extra_links"]["Video"])
    expect(own_page.locator(".panel.running")).to_contain_text("Running for")
    site.take_back_all_faults()

    expect(page.locator(".card video.ready")).to_be_attached(timeout=120_000)
    assert page.evaluate("window.still_the_same_page")
    until(lambda: own_page.locator(".stage video").evaluate("video => video.readyState >= 2"))


def test_the_keyboard_is_enough(site: Site, window: Window) -> None:
    page = window().page
    page.goto(f"{site.gallery}?dag_id=spring_campaign")
    expect(page.locator(".card a.picture")).to_have_count(3)
    page.keyboard.press("/")
    expect(page.get_by_label("Search", exact=True)).to_be_focused()
    page.keyboard.type("red kite")
    expect(page.locator(".card")).to_have_count(1)
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.press("Backspace")
    expect(page.locator(".card")).to_have_count(3)
    page.locator(".card a.picture").first.focus()
    page.keyboard.press("c")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".card a.picture").nth(1)).to_be_focused()
    page.keyboard.press("c")
    expect(page.locator(".tray .count")).to_contain_text("2 selected")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/jimeng/render\?"))


def test_narrow_windows_need_no_sideways_scrolling(site: Site, window: Window) -> None:
    visitor = window(size=(360, 800))
    page = visitor.page
    fits = "document.documentElement.scrollWidth <= innerWidth"
    page.goto(f"{site.gallery}?dag_id=spring_campaign")
    expect(page.locator(".card a.picture")).to_have_count(3)
    assert page.evaluate(fits)
    page.set_viewport_size({"width": 768, "height": 800})
    assert page.evaluate(fits)
    page.locator(".card a.picture").nth(2).click()
    expect(page.locator(".columns")).to_be_visible()
    assert page.evaluate(fits)
    page.set_viewport_size({"width": 360, "height": 800})
    assert page.evaluate(fits)
    visitor.shoot("narrow")
