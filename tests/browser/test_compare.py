# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.browser.dags.films import KITE
from tests.browser.site import Site, Visitor, expect, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    Window = Callable[..., Visitor]

pytestmark = pytest.mark.real

TIMES = "[...document.querySelectorAll('.take video')].map(video => video.currentTime)"
IN_STEP = 0.15


def compare(page: Page, site: Site) -> None:
    page.goto(f"{site.gallery}?q=red+kite")
    expect(page.locator(".card .variant")).to_have_count(3)
    for at in range(3):
        page.locator(".card .variant").nth(at).click()
        page.locator(".card").hover()
        page.locator(".card .pick input").check()
    page.locator(".tray").get_by_role("link", name="Compare").click()
    page.wait_for_url(re.compile(r"/jimeng/compare\?"))
    expect(page.locator(".take video")).to_have_count(3)


def test_picked_takes_play_in_step_and_obey_one_set_of_controls(site: Site, window: Window) -> None:
    visitor = window()
    page = visitor.page
    compare(page, site)
    expect(page.get_by_role("heading", name=KITE)).to_be_visible()
    facts = page.locator(".take .facts").all_inner_texts()
    assert {re.search(r"Seed (\d+)", text).group(1) for text in facts} == {"11", "22", "33"}  # type: ignore[union-attr]
    expect(page.locator(".heading p")).to_have_text("Different: Model, Seed, Take")
    expect(page.locator(".take .changed")).to_have_count(0)

    until(lambda: min(page.evaluate(TIMES)) > 1)
    apart = [max(times) - min(times) for times in (page.evaluate(TIMES) for _ in range(10))]
    assert sorted(apart)[5] < IN_STEP, apart
    visitor.shoot("compare")

    page.get_by_role("button", name="Pause").click()
    page.get_by_label("Position").fill("500")
    until(lambda: all(abs(time - 2.52) < 0.1 for time in page.evaluate(TIMES)))
    before = page.evaluate(TIMES)
    page.locator("body").press("ArrowRight")
    until(lambda: all(later > earlier for later, earlier in zip(page.evaluate(TIMES), before, strict=True)))
    assert page.evaluate("[...document.querySelectorAll('.take video')].every(video => video.paused)")
    page.get_by_label("Speed").select_option("2")
    assert page.evaluate(
        "[...document.querySelectorAll('.take video')].every(video => video.playbackRate === 2)"
    )
    page.get_by_role("heading", name=KITE).click()  # out of the field, because Space means something in it
    page.keyboard.press(" ")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()


def test_any_number_can_be_selected_and_the_selection_outlives_the_page(site: Site, window: Window) -> None:
    page = window().page
    page.goto(f"{site.gallery}?state=landed")
    expect(page.locator(".card .pick input").nth(4)).to_be_attached()
    link = page.locator(".tray").locator("a.primary")
    for at in range(5):
        page.locator(".card .pick input").nth(at).dispatch_event("click")
        expect(page.locator(".tray .count")).to_have_text(f"{at + 1} selected")
        assert (link.get_attribute("href") is not None) is (1 <= at <= 3)
    page.reload()
    expect(page.locator(".card .pick input:checked")).to_have_count(5)
    page.locator(".tray").get_by_role("button", name="Clear").click()
    expect(page.locator(".tray")).to_be_hidden()
    page.get_by_role("button", name=re.compile(r"Select all \d+")).click()
    expect(page.locator(".card .pick input:not(:checked)")).to_have_count(0)
    page.locator(".tray").get_by_role("button", name="Clear").click()
    page.goto(f"{site.gallery.removesuffix('/')}/compare")
    expect(page.locator(".notice")).to_contain_text("Nothing to compare")


def frames(page: Page) -> list[int]:
    """The number of the frame that each video shows; all have 24 frames per second."""
    return list(page.evaluate(f"{TIMES}.map(time => Math.floor(time * 24 + 0.01))"))


def all_show(page: Page, frame: int) -> bool:
    return set(frames(page)) == {frame}


def test_the_keys_move_all_videos_by_frames_and_show_one_of_them_at_a_time(
    site: Site, window: Window
) -> None:
    visitor = window()
    page = visitor.page
    compare(page, site)
    until(lambda: min(page.evaluate(TIMES)) > 0.5)
    page.keyboard.press("k")
    until(lambda: len(set(frames(page))) == 1)
    for key, step in ((".", 1), ("ArrowRight", 1), (",", -1), ("End", None), ("Home", None)):
        before = frames(page)[0]
        page.keyboard.press(key)
        wanted = {"End": 120, "Home": 0}.get(key, before + (step or 0))
        until(partial(all_show, page, wanted))
    expect(page.locator(".position")).to_contain_text("00:00:00")
    for key in ("1", "2", "3"):
        page.keyboard.press(key)
        expect(page.locator(".take.front header a").first).to_have_text(f"Video {key}")
        expect(page.locator(".take").nth(int(key) % 3).locator("video")).not_to_be_visible()
    page.keyboard.press("0")
    expect(page.locator(".take video").nth(1)).to_be_visible()
    visitor.shoot("compare-grid")
    bar = page.locator(".controls").bounding_box()
    last = page.locator(".take .stage").last.bounding_box()
    assert bar is not None
    assert last is not None
    assert last["y"] + last["height"] <= bar["y"] + 1


def test_two_videos_lie_over_each_other_and_the_words_that_differ_are_marked(
    site: Site, window: Window
) -> None:
    visitor = window()
    page = visitor.page
    run = site.runs["spring_campaign"]
    query = [
        f"dag_id=spring_campaign&run_id={run.replace('+', '%2B')}&task_id=render&map_index={at}"
        for at in (0, 3)
    ]
    page.goto(f"{site.url}/jimeng/compare?{'&'.join(query)}")
    expect(page.locator(".take video")).to_have_count(2)
    expect(page.locator(".changed ins").first).to_contain_text("img")
    expect(page.locator(".changed del").first).to_contain_text("red")
    expect(page.locator(".heading p")).to_contain_text("Prompt")
    page.keyboard.press("w")
    edge = page.get_by_label("Edge between the two videos")
    expect(edge).to_be_visible()
    first, second = (page.locator(".take .stage").nth(at).bounding_box() for at in (0, 1))
    assert first == second
    edge.focus()
    page.keyboard.press("ArrowRight")
    clipped = page.locator(".take .stage").nth(1).evaluate("stage => getComputedStyle(stage).clipPath")
    assert "51%" in clipped
    visitor.shoot("compare-wipe")
