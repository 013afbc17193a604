# SPDX-License-Identifier: Apache-2.0
"""A reader does not lose the place: Back, a reload, the way back to all renders, and the zone of the times."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.browser.dags.films import KITE
from tests.browser.site import Site, Visitor, expect

if TYPE_CHECKING:
    from collections.abc import Callable

    Window = Callable[..., Visitor]

pytestmark = pytest.mark.real


def test_back_leads_through_the_filters_and_all_renders_keeps_them(site: Site, window: Window) -> None:
    page = window().page
    page.goto(site.gallery)
    page.get_by_label("DAG", exact=True).select_option("spring_campaign")
    expect(page.locator(".card")).to_have_count(3)
    page.locator(".chip[data-state=failed]").click()
    expect(page.locator(".card")).to_have_count(1)
    page.go_back()
    expect(page.locator(".card")).to_have_count(3)
    expect(page.get_by_label("DAG", exact=True)).to_have_value("spring_campaign")
    expect(page.locator(".chip[data-state=failed] input")).not_to_be_checked()
    page.go_forward()
    expect(page.locator(".card")).to_have_count(1)
    page.locator(".card a.picture").click()
    page.get_by_role("link", name="All renders").click()
    page.wait_for_url(re.compile(r"/jimeng/\?.*state=failed"))
    expect(page.locator(".card")).to_have_count(1)
    expect(page.get_by_label("DAG", exact=True)).to_have_value("spring_campaign")
    page.get_by_role("link", name="Costs").click()
    expect(page.locator("h1 small")).to_have_text("spring_campaign · Failed")
    page.get_by_role("link", name="All renders").click()
    expect(page.locator(".card")).to_have_count(1)


def test_typing_is_one_step_for_back(site: Site, window: Window) -> None:
    page = window().page
    page.goto(f"{site.gallery}?dag_id=spring_campaign")
    expect(page.locator(".card")).to_have_count(3)
    search = page.get_by_label("Search", exact=True)
    search.fill("red")
    page.wait_for_url(re.compile("q=red(&|$)"))
    search.fill("red kite")
    page.wait_for_url(re.compile(r"q=red\+kite(&|$)"))
    page.go_back()
    expect(page.locator(".card")).to_have_count(3)
    expect(search).to_have_value("")


def test_a_reload_of_airflows_page_shows_the_same_filters_and_the_same_render(
    site: Site, window: Window
) -> None:
    page = window().page
    page.goto(f"{site.url}/plugin/jimeng-renders")
    frame = page.frame_locator("iframe[title=Renders]")
    frame.get_by_label("DAG", exact=True).select_option("spring_campaign")
    expect(frame.locator(".card")).to_have_count(3)
    frame.locator(".chip[data-state=failed]").click()
    expect(frame.locator(".card")).to_have_count(1)
    page.reload()
    expect(frame.locator(".card")).to_have_count(1)
    expect(frame.get_by_label("DAG", exact=True)).to_have_value("spring_campaign")
    frame.locator(".card a.picture").click()
    expect(frame.locator(".headline")).to_be_visible()
    page.reload()
    expect(frame.locator(".headline")).to_be_visible()
    frame.get_by_role("link", name="All renders").click()
    expect(frame.locator(".card")).to_have_count(1)


def test_a_render_leads_to_the_one_before_and_after_it_in_the_list(site: Site, window: Window) -> None:
    page = window().page
    page.goto(f"{site.gallery}?dag_id=spring_campaign&q=red+kite")
    expect(page.locator(".card .variant")).to_have_count(3)
    page.locator(".card a.picture").click()
    page.get_by_role("link", name="Next render").click()
    expect(page.locator("blockquote")).to_have_text(KITE)
    seen = {re.search(r"map_index=(\d)", page.url).group(1)}  # type: ignore[union-attr]
    before = page.url
    page.keyboard.press("n")
    page.wait_for_url(lambda url: url != before)
    expect(page.locator("blockquote")).to_have_text(KITE)
    seen.add(re.search(r"map_index=(\d)", page.url).group(1))  # type: ignore[union-attr]
    assert len(seen) == 2
    expect(page.get_by_role("link", name="Next render")).to_have_count(0)
    page.keyboard.press("p")
    page.wait_for_url(before)


def test_times_are_those_of_the_zone_that_is_chosen_in_airflow(site: Site, window: Window) -> None:
    page = window(timezone_id="America/New_York").page
    page.goto(f"{site.gallery}?dag_id=spring_campaign&state=landed")
    time = page.locator(".card time").first
    expect(time).to_have_attribute("title", re.compile(r"GMT-[45]|E[SD]T"))
    page.evaluate("localStorage.setItem('timezone', JSON.stringify('Asia/Shanghai'))")
    page.reload()
    expect(time).to_have_attribute("title", re.compile(r"GMT\+8"))
    page.locator(".card a.picture").first.click()
    expect(page.locator(".timeline h2")).to_contain_text("GMT+8")
