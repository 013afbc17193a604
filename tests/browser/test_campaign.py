# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import zipfile
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from tests.browser.dags.campaigns import ROWS
from tests.browser.site import LOOKS, Site, Visitor, expect, follow, obstacles

if TYPE_CHECKING:
    from collections.abc import Callable

    Window = Callable[..., Visitor]

pytestmark = pytest.mark.real

DAG_ID = "planned_campaign"
PHONE = (390, 780)


def address(site: Site, dag_id: str = DAG_ID, page: str = "campaign") -> str:
    return f"{site.url}/jimeng/{page}?{urlencode({'dag_id': dag_id, 'run_id': site.runs[dag_id]})}"


def start(site: Site) -> None:
    if DAG_ID not in site.runs:
        site.start(DAG_ID)


def finished(site: Site) -> None:
    start(site)
    site.wait(DAG_ID)


def bill(site: Site) -> Decimal:
    """Return what the emulator billed for the prompts of the campaign."""
    prompts = {row["prompt"] for row in ROWS}
    tasks = site.emulator.bill()["by_task"].values()
    return sum(
        (Decimal(str(task["cost_cny"])) for task in tasks if task["prompt"] in prompts and task["billed"]),
        Decimal(0),
    )


def test_a_campaign_is_watched_from_its_start_to_its_report_without_a_reload(
    site: Site, window: Window
) -> None:
    start(site)
    visitor = window()
    page = visitor.page
    page.goto(address(site))
    expect(page.locator(".heading h1")).to_contain_text(DAG_ID)
    page.evaluate("window.neverReloaded = true")
    expect(page.locator(".badge.run")).to_have_text("Success", timeout=180_000)
    expect(page.get_by_role("link", name="Report")).to_be_visible()
    assert page.evaluate("window.neverReloaded")

    expect(page.locator("tbody tr")).to_have_count(len(ROWS))
    expect(page.locator(".progress-row b")).to_have_text("4 of 4 done")
    figures = dict(
        page.locator(".totals .figure").evaluate_all(
            "all => all.map(one => [one.children[1].textContent, one.children[0].textContent])"
        )
    )
    assert figures["paid"] == f"¥{bill(site)}"
    assert Decimal(figures["planned"].removeprefix("¥")) > bill(site)  # one was refused
    failure = page.locator(".failures article")
    expect(failure.locator(".count")).to_have_text("1 ×")
    expect(failure).to_contain_text("What to do")
    visitor.shoot("campaign")
    failure.locator("summary").click()
    failure.get_by_role("link").click()
    expect(page.locator(".stage .panel.failed")).to_be_visible()
    page.go_back()
    expect(page.locator("tbody tr")).to_have_count(len(ROWS))


def test_chosen_videos_come_as_one_zip_by_keyboard_alone(site: Site, window: Window, tmp_path: Path) -> None:
    finished(site)
    page = window().page
    page.goto(address(site))
    boxes = page.locator("tbody input:enabled")
    expect(boxes).to_have_count(3)
    for at in (0, 2):
        boxes.nth(at).focus()
        page.keyboard.press("Space")
    expect(page.get_by_role("status")).to_have_text("2 selected")
    page.get_by_role("button", name="ZIP").focus()
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    target = tmp_path / "chosen.zip"
    download.value.save_as(target)
    assert download.value.suggested_filename == f"{DAG_ID}-renders.zip"
    with zipfile.ZipFile(target) as found:
        assert found.testzip() is None
        assert len([name for name in found.namelist() if name.endswith(".mp4")]) == 2
    expect(page.locator("tbody tr")).to_have_count(len(ROWS))
    page.get_by_role("button", name="Clear").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="ZIP").click()
    download.value.save_as(target)
    with zipfile.ZipFile(target) as found:
        names = [name for name in found.namelist() if name.endswith(".mp4")]
    assert len(names) == 3
    assert sum(name.startswith("一只红色风筝飞过麦田_") for name in names) == 2


def test_a_state_chosen_in_the_list_stands_in_the_address_and_back_takes_it_back(
    site: Site, window: Window
) -> None:
    finished(site)
    page = window().page
    page.goto(address(site))
    page.locator(".chip[data-state=failed]").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.reload()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.go_back()
    expect(page.locator("tbody tr")).to_have_count(len(ROWS))


def test_airflow_leads_to_the_campaign_and_its_zip_leaves_the_frame(site: Site, window: Window) -> None:
    finished(site)
    visitor = window()
    page = visitor.page
    page.goto(f"{site.url}/dags/{DAG_ID}/runs/{site.runs[DAG_ID]}/tasks/plan/details")
    campaign = follow(page, "Campaign")
    expect(campaign.locator("tbody tr")).to_have_count(len(ROWS))
    page.goto(f"{site.url}/plugin/jimeng-renders")
    frame = page.frame_locator("iframe[title=Renders]")
    frame.locator(".card", has_text="Paper boats").locator("a.picture").click()
    frame.get_by_role("link", name="Campaign", exact=True).click()
    expect(frame.locator("tbody tr")).to_have_count(len(ROWS))
    frame.locator("tbody input:enabled").first.check()
    with page.expect_download() as download:
        frame.get_by_role("button", name="CSV").click()
    assert "一只红色风筝" in Path(download.value.path()).read_text(
        encoding="utf-8-sig"
    ) or "Paper boats" in Path(download.value.path()).read_text(encoding="utf-8-sig")
    assert "/plugin/jimeng-renders" in page.url


def test_a_render_says_how_to_make_it_again(site: Site, window: Window) -> None:
    finished(site)
    page = window().page
    page.goto(address(site))
    page.get_by_role("link", name="Paper boats on a rainy street").click()
    page.get_by_text("Make it again").click()
    commands = page.locator(".again pre")
    expect(commands.last).to_have_text("jimeng render --seed 3 'Paper boats on a rainy street'")
    expect(commands.first).to_contain_text("JimengGenerateVideoOperator(")


def test_a_campaign_of_others_is_not_shown(site: Site, window: Window) -> None:
    visitor = window("vera")
    visitor.expected_status = 403
    page = visitor.page
    page.goto(address(site, "secret_launch"))
    expect(page.get_by_role("alert")).to_contain_text("You may not see the renders of this DAG")
    page.goto(f"{site.url}/jimeng/costs")
    expect(page.locator("tbody tr").first).to_be_visible()
    expect(page.get_by_text("secret_launch")).to_have_count(0)


@pytest.mark.parametrize(("locale", "theme"), LOOKS)
def test_no_page_of_a_campaign_has_a_serious_obstacle_or_is_wider_than_a_phone(
    site: Site, window: Window, theme: str, locale: str
) -> None:
    finished(site)
    visitor = window(theme=theme, locale=locale, size=PHONE, bypass_csp=True)
    page = visitor.page
    page.goto(address(site))
    expect(page.locator("tbody tr")).to_have_count(len(ROWS))
    assert not obstacles(page)
    visitor.shoot(f"campaign-{locale}-{theme}-phone")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    report = page.get_by_role("link", name="报告" if locale == "zh-CN" else "Report").get_attribute("href")
    page.goto(address(site, page="costs"))
    expect(page.locator("tbody tr")).to_have_count(2)
    expect(page.locator("tfoot th").nth(4)).to_have_text(f"¥{bill(site)}")
    assert not obstacles(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    visitor.shoot(f"costs-{locale}-{theme}-phone")
    page.goto(f"{site.url}/jimeng/{report}")
    expect(page.locator("main figure")).to_have_count(3)
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN" if locale == "zh-CN" else "en")
    assert not obstacles(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    visitor.shoot(f"report-{locale}-{theme}-phone")
