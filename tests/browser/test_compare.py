# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
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
    expect(page.locator(".card")).to_have_count(3)
    for at in range(3):
        page.locator(".card").nth(at).hover()
        page.locator(".card .pick input").nth(at).check()
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
    expect(page.locator(".take .warn")).to_have_count(0)

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


def test_no_more_than_four_can_be_picked_and_picks_outlive_the_page(site: Site, window: Window) -> None:
    page = window().page
    page.goto(f"{site.gallery}?state=landed")
    expect(page.locator(".card .pick input").nth(4)).to_be_attached()
    for at in range(5):
        page.locator(".card .pick input").nth(at).dispatch_event("click")
    expect(page.locator(".card .pick input:checked")).to_have_count(4)
    expect(page.locator(".tray .count")).to_have_text("Four at most")
    page.reload()
    expect(page.locator(".card .pick input:checked")).to_have_count(4)
    page.locator(".tray").get_by_role("button", name="Clear").click()
    expect(page.locator(".tray")).to_be_hidden()
    page.goto(f"{site.gallery.removesuffix('/')}/compare")
    expect(page.locator(".notice")).to_contain_text("Nothing to compare")
