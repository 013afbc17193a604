# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the browser tests; without Chromium and PostgreSQL they fail."""

from __future__ import annotations

import shutil
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.proxy import forwarding_proxy
from tests.browser.site import BY_KEYBOARD, CHROMIUM_FLAGS, REVIEWS, Site, Visitor, opened_site, visit
from tests.harness.processes import Service, free_port, stop_all, wait_for_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser

PATIENCE_MS = 60_000


@pytest.fixture(autouse=True)
def _no_blocking_calls_in_event_loops() -> None:
    """Playwright's own loop runs on the thread of the test; nothing of ours does."""


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One Airflow for all tests. Runs that take long start at once, and the tests of them wait for their states."""
    with opened_site(tmp_path_factory.mktemp("site")) as opened:
        opened.start("spring_campaign", "secret_launch", "slow_study")
        for ending in REVIEWS:
            if ending != BY_KEYBOARD:
                opened.start_review(ending)
        opened.wait("spring_campaign", "secret_launch")
        yield opened


@pytest.fixture(scope="session")
def elsewhere(site: Site) -> Iterator[str]:
    """The same Airflow below a base path, behind a proxy on another port."""
    port, proxy_port = free_port(), free_port()
    url = f"http://127.0.0.1:{proxy_port}/team/airflow"
    server = Service(
        name="api-server-elsewhere",
        argv=[sys.executable, "-m", "airflow", "api-server"],
        env={**site.stack.env, "AIRFLOW__API__BASE_URL": url, "AIRFLOW__API__PORT": str(port)},
        log_file=site.stack.home / "output" / "api-server-elsewhere.log",
    )
    server.start()
    try:
        wait_for_port(port, server, timeout_seconds=120)
        with forwarding_proxy(proxy_port, port):
            yield url
    finally:
        stop_all([server])


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
    """Open a window, signed in as ada (admin) by default; the test fails on any error in it."""
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
