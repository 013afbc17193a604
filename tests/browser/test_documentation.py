# SPDX-License-Identifier: Apache-2.0
"""The pages of the documentation, as a reader sees them: on a phone, in the dark, in Chinese, without a mouse."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Literal

import pytest

from tests.browser.site import LOOKS, ROOT, obstacles

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.real

SITE = ROOT / "build" / "docs"

PAGES = ("docs/index.html", "docs/image_to_video.html", "search.html")
"""Pictures, code, tables and a form. axe needs a minute for each of the longest pages."""
PHONE = {"width": 390, "height": 800}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the library gives it
        pass


@pytest.fixture(scope="module")
def documentation() -> Iterator[str]:
    """The address of the pages in both languages, as `make docs` built them."""
    if not (SITE / "zh" / "docs" / "index.html").exists():
        subprocess.run(["make", "docs"], cwd=ROOT, check=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(SITE)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("locale", "theme"), LOOKS)
def test_no_page_has_a_serious_obstacle(
    documentation: str,
    browser: Browser,
    theme: Literal["light", "dark"],
    locale: str,
    subtests: pytest.Subtests,
) -> None:
    context = browser.new_context(color_scheme=theme)
    for path in PAGES:
        with subtests.test(path=repr(path)):
            page = context.new_page()
            page.goto(f"{documentation}/{'zh/' if locale == 'zh-CN' else ''}{path}")
            assert not obstacles(page)
            page.close()
    context.close()


def test_no_page_is_wider_than_a_phone(
    documentation: str, browser: Browser, subtests: pytest.Subtests
) -> None:
    from docs import conf

    context = browser.new_context(viewport=PHONE)  # type: ignore[arg-type]
    page = context.new_page()
    guides = [f"docs/{name}.html" for name in conf.PAGES if not name.startswith("../")]
    for path in [*guides, *(f"zh/{path}" for path in guides)]:
        with subtests.test(path=repr(path)):
            page.goto(f"{documentation}/{path}", wait_until="domcontentloaded")
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    context.close()


@pytest.mark.parametrize(
    ("start", "words", "found"),
    [("", "resubmit", "docs/reliability.html"), ("/zh", "并发空位", "docs/glossary.html")],
)
def test_the_search_finds_a_page(
    documentation: str, browser: Browser, start: str, words: str, found: str
) -> None:
    page = browser.new_page()
    page.goto(f"{documentation}{start}/search.html?q={words}")
    page.locator(f"#search-results a[href^='{found}']").first.wait_for()
    page.close()


def test_each_page_links_to_itself_in_the_other_language(documentation: str, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(f"{documentation}/docs/facts.html")
    for text, heading in (("简体中文", "限制与事实"), ("English", "Limits and facts")):
        page.locator(".language").get_by_role("link", name=text).click()
        page.get_by_role("heading", name=heading, level=1).wait_for()
    page.close()
