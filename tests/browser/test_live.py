# SPDX-License-Identifier: Apache-2.0
"""A page that nobody reloads."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pendulum
import pytest

from tests.browser.dags.films import HARD_DAY, HARD_DAY_FAULTS
from tests.browser.site import FAULTS, Site, Visitor, expect, until
from tests.browser.test_gallery import pushed
from tests.web.records import Records, render_payload

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Locator, Page, Route

    Window = Callable[..., Visitor]

pytestmark = pytest.mark.real


REFUSALS = {
    "moderated": "Moderation refused the prompt",
    "too long": "prompt: has",
    "over the cap": "max_cost_cny",
    "no connection": "The Airflow connection does not exist",
    "bad image": "cannot be opened",
}
"""What the cards of renders say that were never submitted."""


def bill_of(site: Site, prompts: list[str]) -> Decimal:
    """Return what the emulator billed for some prompts."""
    tasks = site.emulator.bill()["by_task"].values()
    billed = [
        Decimal(str(task["cost_cny"])) for task in tasks if task["billed"] and task["prompt"] in prompts
    ]
    return sum(billed, Decimal(0))


def add(records: Records, dag_id: str, number: int, **more: object) -> None:
    """Add a failed render, which needs no file, a minute after the one before it."""
    at = pendulum.now("UTC").add(minutes=number)
    payload = render_payload(
        prompt=f"Render {number} of {dag_id}", submitted_at=at, outcome="failed", task_id=str(number)
    )
    records.add(dag_id=dag_id, run_id=f"run_{number}", state="failed", render=payload, at=at, **more)  # type: ignore[arg-type]


def test_an_idle_page_shows_what_happens_without_a_reload(site: Site, window: Window) -> None:
    page = window().page
    with pushed(site, "idle") as records:
        page.goto(f"{site.gallery}?dag_id=idle")
        expect(page.locator(".notice")).to_contain_text("No render matches")
        page.evaluate("window.still_the_same_page = true")
        add(records, "idle", 1)
        expect(page.locator(".card")).to_have_count(1)
        add(records, "idle", 2)
        expect(page.locator(".card .prompt").first).to_have_text("Render 2 of idle")
        assert page.evaluate("window.still_the_same_page")


def test_a_campaign_of_all_outcomes_is_watched_from_an_idle_page_and_agrees_with_the_bill(
    site: Site, window: Window
) -> None:
    visitor, chinese = window(), window(locale="zh-CN", theme="dark")
    page = visitor.page
    for one in (page, chinese.page):
        one.goto(f"{site.gallery}?dag_id=hard_day")
        expect(one.locator(".notice")).to_be_visible()
        one.evaluate("window.still_the_same_page = true")
    site.add_faults(HARD_DAY_FAULTS)
    site.start("hard_day")

    def card(name: str, on: Page = page) -> Locator:
        return on.locator(".card", has_text=HARD_DAY[name]["prompt"][:60])

    expect(card("waiting").locator(".panel.waiting")).to_contain_text(
        "waits until the account has a free slot"
    )
    for name, said in REFUSALS.items():
        refused = card(name).locator(".panel.failed")
        expect(refused).to_contain_text(said)
        expect(refused).to_contain_text("What to do")
        expect(card(name).locator(".money")).to_have_text("not billed")
    expect(card("lost").locator(".money")).to_contain_text("might be billed")
    expect(card("saved", chinese.page).locator("video.ready")).to_be_attached()
    expect(card("waiting", chinese.page).locator(".panel.waiting")).to_contain_text("正在等待账号空出名额")
    expect(chinese.page.locator(".panel.failed")).to_have_count(7)
    visitor.shoot("hard-day")
    chinese.shoot("hard-day-chinese")
    site.take_back_all_faults()
    site.add_faults(FAULTS)

    expect(card("waiting").locator("video.ready")).to_be_attached(timeout=120_000)
    site.wait("hard_day")
    bill = bill_of(site, [row["prompt"] for row in HARD_DAY.values()])
    in_doubt = bill_of(site, [HARD_DAY["lost"]["prompt"]])
    assert in_doubt > 0
    for one in (page, chinese.page):
        figures = one.locator(".totals")
        expect(figures.locator("[data-kind=renders] b")).to_have_text(str(len(HARD_DAY)))
        expect(figures.locator("[data-kind=paid] b")).to_have_text(f"¥{bill - in_doubt}")
        expect(figures.locator("[data-kind=may_be_billed] b")).to_have_text(f"¥{in_doubt}")
        assert one.evaluate("window.still_the_same_page")
    run = {"dag_id": "hard_day", "run_id": site.runs["hard_day"]}
    page.goto(f"{site.url}/jimeng/campaign?{urlencode(run)}")
    expect(page.locator(".figure", has_text="might still be billed").locator("b")).to_have_text(
        f"¥{in_doubt}"
    )
    expect(page.locator(".failures article")).to_have_count(4)
    visitor.shoot("hard-day-campaign")
    page.goto(f"{site.url}/jimeng/costs?{urlencode(run)}")
    expect(page.locator("tfoot th").nth(4)).to_have_text(f"¥{bill - in_doubt}")
    expect(page.locator("tfoot th").nth(5)).to_have_text(f"¥{in_doubt}")
    visitor.shoot("hard-day-costs")


def test_new_renders_wait_behind_a_button_for_a_reader_who_has_scrolled(site: Site, window: Window) -> None:
    visitor = window(size=(700, 500))
    page = visitor.page
    with pushed(site, "scrolled") as records:
        for number in range(8):
            add(records, "scrolled", number)
        page.goto(f"{site.gallery}?dag_id=scrolled")
        expect(page.locator(".card")).to_have_count(8)
        page.locator(".card a.picture").last.focus()
        page.locator(".card").last.scroll_into_view_if_needed()
        before = page.evaluate("scrollY")
        for number in (8, 9):
            add(records, "scrolled", number)
        pill = page.get_by_role("button", name="2 new")
        expect(pill).to_be_visible()
        expect(page.locator(".card")).to_have_count(8)
        assert page.evaluate("scrollY") == before
        visitor.shoot("new-renders")
        pill.click()
        expect(page.locator(".card")).to_have_count(10)
        expect(page.locator(".card .prompt").first).to_have_text("Render 9 of scrolled")
        assert page.evaluate("scrollY") == 0


def test_a_page_that_gets_no_data_says_so_and_recovers(site: Site, window: Window) -> None:
    visitor = window()
    visitor.expected_status = 503
    page = visitor.page
    page.goto(f"{site.gallery}?dag_id=spring_campaign")
    expect(page.locator(".card")).to_have_count(3)

    def refuse(route: Route) -> None:
        route.fulfill(status=503, body="")

    page.route("**/jimeng/api/renders?*", refuse)
    expect(page.locator(".stale")).to_contain_text("might be out of date")
    expect(page.locator(".card")).to_have_count(3)
    page.unroute("**/jimeng/api/renders?*")
    come_back(page)
    expect(page.locator(".stale")).to_be_hidden()


def come_back(page: Page) -> None:
    """Tell the page what the browser tells it when its tab is shown again."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def test_a_page_that_comes_back_to_the_front_asks_at_once(site: Site, window: Window) -> None:
    visitor = window()
    page = visitor.page
    page.goto(f"{site.gallery}?dag_id=spring_campaign")
    expect(page.locator(".card")).to_have_count(3)
    page.clock.install()  # from now on no timer of the page goes off
    page.reload()
    expect(page.locator(".card")).to_have_count(3)
    visitor.requests.clear()
    come_back(page)
    until(lambda: any("/api/renders?" in url for url in visitor.requests))
