# SPDX-License-Identifier: Apache-2.0
"""A real Airflow with a real emulator, real runs in it, and Chromium in front of it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import httpx
import pytest

from tests.harness.emulator import EmulatorServer
from tests.harness.servers import PostgresServer
from tests.harness.settings import User
from tests.harness.stack import AirflowStack

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Frame, Locator, Page

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "build" / "screenshots"
CHROMIUM_FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
LOOKS = [
    ("en-GB", "light"),
    ("zh-CN", "dark"),
    pytest.param("en-GB", "dark", marks=pytest.mark.nightly),
    pytest.param("zh-CN", "light", marks=pytest.mark.nightly),
]
"""The language and the theme of a page. Each of both is looked at on each change, and each pair at night."""
FAULTS = [
    {"where": "submit", "what": "moderated", "prompt_contains": "dragon"},
    {"where": "query", "what": "status_word", "word": "generating", "prompt_contains": "slow study"},
]
"""The slow study runs until :meth:`Site.take_back_all_faults`."""
REVIEWS = {
    "published": ("example_jimeng_review", "A take that everybody likes"),
    "rejected": ("example_jimeng_review", "A take that is not good enough"),
    "anew": ("example_jimeng_review", "A take that deserves another one"),
    "unconfirmed": ("example_jimeng_review", "A take whose next one nobody confirms"),
    "silence": ("hurried_review", "A take that nobody looks at"),
}
"""How each run of a review ends: its DAG and its prompt."""
BY_KEYBOARD = "rejected"
"""The run whose test is a variant for the night, so that only this test starts it."""
USERS = (
    User(name="ada", password="ada-password"),
    User(name="vera", password="vera-password", role="viewer"),
    User(name="oscar", password="oscar-password", role="user"),
)


@dataclass
class Site:
    """One Airflow and its users."""

    stack: AirflowStack
    emulator: EmulatorServer
    url: str
    runs: dict[str, str] = field(default_factory=dict)
    reviews: dict[str, str] = field(default_factory=dict)
    _tokens: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def database_url(self) -> str:
        """Airflow's database."""
        return self.stack.env["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]

    @property
    def gallery(self) -> str:
        """The gallery as a page of its own."""
        return f"{self.url}/jimeng/"

    def token(self, name: str) -> str:
        """Sign in, once for each user, and return the token."""
        if name not in self._tokens:
            self._tokens[name] = self._sign_in(name)
        return self._tokens[name]

    def _sign_in(self, name: str) -> str:
        user = next(user for user in USERS if user.name == name)
        body = {"username": user.name, "password": user.password}
        reply = httpx.post(f"{self.url}/auth/token", json=body, trust_env=False, timeout=60)
        reply.raise_for_status()
        return str(reply.json()["access_token"])

    def start(self, *dag_ids: str) -> None:
        """Start one run of each DAG."""
        self.runs |= {dag_id: self.stack.trigger(dag_id) for dag_id in dag_ids}

    def start_review(self, ending: str) -> None:
        """Start the run of a review."""
        dag_id, prompt = REVIEWS[ending]
        self.reviews[ending] = self.stack.trigger(dag_id, {"prompt": prompt})

    def wait(self, *dag_ids: str) -> None:
        """Wait until these runs have ended."""
        for dag_id in dag_ids:
            self.stack.wait(dag_id, self.runs[dag_id])

    def add_faults(self, faults: list[dict[str, Any]]) -> None:
        """Let the emulator do these too."""
        httpx.post(f"{self.emulator.url}/_emulator/faults", json=faults, trust_env=False).raise_for_status()

    def take_back_all_faults(self) -> None:
        """Let the emulator do nothing wrong any more. The slow study then ends."""
        httpx.delete(f"{self.emulator.url}/_emulator/faults", trust_env=False).raise_for_status()


@contextmanager
def opened_site(home: Path) -> Iterator[Site]:
    """Start Airflow and emulator, with DAGs and no runs."""
    dags = home / "dags"
    dags.mkdir(parents=True)
    for file in (Path(__file__).parent / "dags").glob("*.py"):
        shutil.copy(file, dags)
    _copy_the_review_example(dags)
    faults = home / "faults.json"
    faults.write_text(json.dumps(FAULTS))
    with (
        EmulatorServer(
            home=home, render_seconds=4, max_concurrent=16, max_qps=50, options=("--faults", str(faults))
        ) as emulator,
        PostgresServer(home=home) as postgres,  # SQLite locks out a busy Airflow now and then
    ):
        env = {
            "AIRFLOW__CORE__AUTH_MANAGER": "tests.web.rights.PerDagAuthManager",
            "AIRFLOW_CONN_JIMENG_DEFAULT": json.dumps({"conn_type": "jimeng", **emulator.connection_fields}),
            "PYTHONPATH": str(ROOT),
        }
        with AirflowStack(home / "airflow", dags, db=postgres.url, env=env, users=USERS) as stack:
            yield Site(stack=stack, emulator=emulator, url=stack.url)


def _copy_the_review_example(dags: Path) -> None:
    """Copy the example as it is, and once more with a timeout of four seconds."""
    text = (ROOT / "example_dags" / "example_review.py").read_text()
    text = text.replace("file:///tmp/jimeng", (dags.parent / "videos").as_uri())
    (dags / "review.py").write_text(text)
    hurried = text.replace("example_jimeng_review", "hurried_review").replace(
        "timedelta(days=1)", "timedelta(seconds=4)"
    )
    (dags / "hurried_review.py").write_text(hurried)


@dataclass
class Visitor:
    """A user with a browser window. It collects errors on our pages, except for one expected HTTP status.

    The browser reports a status some time later, so a test names it before the request.
    """

    page: Page
    problems: list[str]
    requests: list[str]
    expected_status: int | None = None

    @property
    def framed(self) -> Frame:
        """Our page inside Airflow's."""
        frame = next((frame for frame in self.page.frames if "/jimeng/" in frame.url), None)
        assert frame is not None, [frame.url for frame in self.page.frames]
        return frame

    def shoot(self, name: str) -> None:
        """Save a picture of the window."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")


@contextmanager
def visit(
    browser: Browser,
    url: str,
    token: str | None,
    *,
    theme: Literal["light", "dark"] = "light",
    locale: str = "en-GB",
    size: tuple[int, int] = (1440, 900),
    **options: Any,
) -> Iterator[Visitor]:
    """Open a window with its own cookies, storage, theme and language."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=theme, locale=locale, **options
    )
    if token:
        context.add_cookies([{"name": "_token", "value": token, "url": url}])
    page = context.new_page()
    visitor = Visitor(page=page, problems=[], requests=[])

    def heard(message: ConsoleMessage) -> None:
        wanted = f"status of {visitor.expected_status} " in message.text
        if message.type == "error" and "/jimeng/" in message.location.get("url", "") and not wanted:
            visitor.problems.append(f"{message.text} ({message.location['url']})")

    page.on("console", heard)
    page.on("pageerror", lambda error: visitor.problems.append(str(error)))
    page.on("request", lambda request: visitor.requests.append(request.url))
    try:
        yield visitor
    finally:
        context.close()


def obstacles(page: Page) -> list[str]:
    """Return the rules of axe that the page breaks seriously or critically, each with the first element."""
    import axe_playwright_python

    page.evaluate((Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]  # others cost axe much time
    return [
        f"{rule['help']}: {rule['nodes'][0]['html'][:200]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
    ]


def expect(target: Locator) -> Any:
    """Playwright's assertions, which wait; imported only where a test runs, for `make test` goes without Playwright."""
    from playwright.sync_api import expect as playwright_expect

    return playwright_expect(target)


def follow(page: Page, name: str) -> Page:
    """Follow an extra link on Airflow's task page, and return where it opens: in Airflow 3.1, a new window."""
    link = page.get_by_role("link", name=name, exact=True)
    expect(link).to_be_visible()
    if link.get_attribute("target") != "_blank":
        link.click()
        return page
    with page.context.expect_page() as opened:
        link.click()
    return opened.value


def until(true: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Wait until a condition is true, and return its value."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
    return found
