"""Fixtures of the browser tests; without Chromium and PostgreSQL they fail."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.site import CHROMIUM_FLAGS, Site, Visitor, opened_site, visit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser

PATIENCE_MS = 60_000


@pytest.fixture(autouse=True)
def _no_blocking_calls_in_event_loops() -> None:
    """Playwright's own loop runs on the thread of the test; nothing of ours does."""


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with opened_site(tmp_path_factory.mktemp("site")) as opened:
        yield opened


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE_MS)
    chromium = shutil.which("chromium")
    assert chromium, "these tests need Debian's package chromium"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield started
        started.close()


@pytest.fixture
def window(site: Site, browser: Browser) -> Iterator[Callable[..., Visitor]]:
    """Open a window, signed in as ada (admin) unless said otherwise; nothing may go wrong in it."""
    visitors: list[Visitor] = []
    with ExitStack() as stack:

        def open_window(user: str | None = "ada", url: str | None = None, **options: Any) -> Visitor:
            token = site.token(user) if user else None
            visitor = stack.enter_context(visit(browser, url or site.url, token, **options))
            visitors.append(visitor)
            return visitor

        yield open_window
    problems = [problem for visitor in visitors for problem in visitor.problems]
    assert not problems
