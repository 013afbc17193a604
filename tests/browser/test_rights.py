# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.browser.site import USERS, Site, Visitor, expect

if TYPE_CHECKING:
    from collections.abc import Callable

    Window = Callable[..., Visitor]

pytestmark = pytest.mark.real


def test_two_people_see_the_renders_that_each_may_see(site: Site, window: Window) -> None:
    for user, dags in (("ada", {"spring_campaign", "secret_launch"}), ("vera", {"spring_campaign"})):
        page = window(user).page
        page.goto(site.gallery)
        expect(page.locator(".card .prompt").nth(4)).to_be_visible()
        shown = set(page.locator(".card .task b").all_inner_texts())
        assert shown & {"spring_campaign", "secret_launch"} == dags
        offered = page.get_by_label("DAG", exact=True).inner_text()
        assert ("secret_launch" in offered) is ("secret_launch" in dags)


def test_the_address_of_somebody_elses_render_opens_nothing(site: Site, window: Window) -> None:
    query = f"dag_id=secret_launch&run_id={site.runs['secret_launch'].replace('+', '%2B')}&task_id=render&map_index=-1"
    visitor = window("vera")
    visitor.expected_status = 403
    page = visitor.page
    page.goto(f"{site.url}/jimeng/render?{query}")
    expect(page.get_by_role("alert")).to_contain_text("You may not see the renders of this DAG")
    assert page.request.get(f"{site.url}/jimeng/media?{query}").status == 403
    assert window("ada").page.request.get(f"{site.url}/jimeng/media?{query}").status == 200
    assert window(None).page.request.get(f"{site.url}/jimeng/media?{query}").status == 401


def test_whoever_is_signed_out_is_led_to_the_sign_in_and_back(site: Site, window: Window) -> None:
    visitor = window(None)
    visitor.expected_status = 401
    page = visitor.page
    reply = page.goto(site.gallery)
    assert reply is not None
    assert reply.status == 401
    page.get_by_role("link", name="Sign in").click()
    page.wait_for_url(re.compile(r"/auth/login"))
    page.locator("input[name=username]").fill(USERS[0].name)
    page.locator("input[name=password]").fill(USERS[0].password)
    page.get_by_role("button", name=re.compile("Sign in")).click()
    page.wait_for_url(site.gallery)
    expect(page.locator(".card").first).to_be_visible()


def test_the_page_says_when_its_session_has_ended(site: Site, window: Window) -> None:
    visitor = window()
    visitor.expected_status = 401
    page = visitor.page
    page.goto(site.gallery)
    expect(page.locator(".card").first).to_be_visible()
    page.context.clear_cookies()
    page.get_by_label("Search", exact=True).fill("kite")
    expect(page.get_by_role("alert")).to_contain_text("You are signed out")
    expect(page.get_by_role("alert").get_by_role("link", name="Sign in")).to_be_visible()
