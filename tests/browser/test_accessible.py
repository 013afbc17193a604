# SPDX-License-Identifier: Apache-2.0
"""Every page, theme and language under the rules of axe; and a phone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlencode

import pytest

from tests.browser.site import LOOKS, Site, Visitor, expect, obstacles, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    Window = Callable[..., Visitor]

pytestmark = pytest.mark.real

PHONE = (390, 844)
ENGLISH = re.compile(
    r"\b(?:the|of|and|to|is|for|saved|failed|running|render|video|prompt|frame|select)\b", re.IGNORECASE
)


def opened(page: Page, site: Site, name: str) -> None:
    """Open one page of each kind."""
    run = site.runs["spring_campaign"].replace("+", "%2B")
    ref = "dag_id=spring_campaign&run_id={}&task_id=render&map_index={}"
    if name == "gallery":
        page.goto(f"{site.gallery}?dag_id=spring_campaign")
        expect(page.locator(".card a.picture")).to_have_count(3)
        page.locator(".card .pick input").first.dispatch_event("click")
    elif name == "render":
        page.goto(f"{site.url}/jimeng/render?{ref.format(run, 0)}")
        expect(page.locator(".take-row")).to_have_count(2)
        page.locator(".manifest summary").click()
    elif name == "failed":
        page.goto(f"{site.url}/jimeng/render?{ref.format(run, 4)}")
        expect(page.locator(".panel.failed")).to_be_visible()
    elif name == "review":
        reviewed = urlencode(
            {"dag_id": "example_jimeng_review", "run_id": site.reviews["published"], "task_id": "render"}
        )
        page.goto(f"{site.url}/jimeng/render?{reviewed}")
        expect(page.locator(".question")).to_be_visible(timeout=120_000)
    else:
        page.goto(f"{site.url}/jimeng/compare?{ref.format(run, 0)}&{ref.format(run, 3)}")
        expect(page.locator(".take video")).to_have_count(2)
        until(
            lambda: page.locator(".take video").evaluate_all(
                "all => all.every(video => video.readyState >= 3)"
            )
        )


@pytest.mark.parametrize(("locale", "theme"), LOOKS)
def test_no_page_breaks_a_grave_rule_of_axe(
    theme: Literal["light", "dark"], locale: str, site: Site, window: Window
) -> None:
    visitor = window(theme=theme, locale=locale, bypass_csp=True, reduced_motion="reduce")
    found = {}
    for name in ("gallery", "render", "failed", "review", "compare"):
        opened(visitor.page, site, name)
        visitor.shoot(f"{name}-{theme}-{locale}")
        found[name] = obstacles(visitor.page)
    assert not {name: rules for name, rules in found.items() if rules}


def test_a_screen_reader_hears_why_a_render_failed(site: Site, window: Window) -> None:
    page = window().page
    page.goto(f"{site.gallery}?dag_id=spring_campaign&state=failed")
    link = page.get_by_role(
        "link", name=re.compile("Open A dragon.*Moderation refused the prompt.*Change the prompt")
    )
    expect(link).to_have_count(1)


def test_a_phone_folds_the_filters_and_breaks_no_chinese_chip(site: Site, window: Window) -> None:
    visitor = window(size=PHONE, locale="zh-CN", has_touch=True)
    page = visitor.page
    fits = "document.documentElement.scrollWidth <= innerWidth"
    for name in ("gallery", "render", "compare"):
        opened(page, site, name)
        assert page.evaluate(fits), name
        tall = page.locator(".chip, .badge, .pick, .variant, .button:not(.round)").evaluate_all(
            "all => all.filter(one => one.offsetHeight > 44).map(one => one.outerHTML)"
        )
        assert not tall, name
        visitor.shoot(f"phone-{name}-chinese")
    page.goto(f"{site.gallery}?dag_id=spring_campaign")
    unfold = page.get_by_role("button", name="筛选", exact=False).first
    expect(page.get_by_label("模型", exact=True)).to_be_hidden()
    unfold.click()
    expect(page.get_by_label("模型", exact=True)).to_be_visible()
    expect(unfold).to_have_attribute("aria-expanded", "true")


def test_chinese_pages_have_no_english_words_of_ours(site: Site, window: Window) -> None:
    page = window(locale="zh-CN").page
    texts = """() => [...document.querySelectorAll('main *, header *, dialog *')]
        .filter(one => !one.closest('[lang=""], [lang="en"], pre, code, .spoken, .task, .name, dd, .answer, .heading h1, select, .model'))
        .flatMap(one => [...one.childNodes].filter(node => node.nodeType === 3).map(node => node.data)
            .concat(one.getAttribute('aria-label') ?? [], one.placeholder ?? []))"""
    for name in ("gallery", "render", "failed", "compare"):
        opened(page, site, name)
        page.keyboard.press("?")
        expect(page.get_by_role("dialog")).to_be_visible()
        left = [text for text in page.evaluate(texts) if ENGLISH.search(text)]
        assert not left, name


def test_an_upright_video_is_as_large_as_the_others(site: Site, window: Window) -> None:
    site.start("upright")
    site.wait("upright")
    page = window().page
    page.goto(f"{site.gallery}?dag_id=upright")
    card = page.locator(".card[data-shape=tall]")
    video = card.locator("video.ready")
    expect(video).to_be_attached()
    box = video.bounding_box()
    assert box is not None
    assert box["width"] > 250
    assert box["height"] > 1.7 * box["width"]
