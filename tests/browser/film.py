# SPDX-License-Identifier: Apache-2.0
"""Make the moving picture of each README: `python -m tests.browser.film`. It needs what tests.browser.pictures needs.

A prompt is typed into Airflow's trigger form, the DAG runs on a real Airflow against the emulator, and the video plays
in *Renders*. The pictures leave out the waits between these steps.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.browser.pictures import IMAGES
from tests.browser.site import CHROMIUM_FLAGS, Site, expect, opened_site, until, visit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator

DAG_ID = "paper_boat"
DAG = Path(__file__).parent / "dags" / f"{DAG_ID}.py"
PROMPTS = {
    "en-GB": "A paper boat sails down a rainy street at dusk, slow dolly in",
    "zh-CN": "黄昏时分，一只纸船顺着下雨的街道漂流，镜头缓慢推近",
}
FILES = {"en-GB": "film.webp", "zh-CN": "film.zh-CN.webp"}
WINDOW = (1280, 800)
PICTURE = (880, 550)
FRAME_MILLISECONDS = 200
QUALITY = 70
TYPED_PICTURES = 10
PLAYED_PICTURES = 18
SEEK = """(video, seconds) => new Promise((done) => {
    video.addEventListener("seeked", () => requestAnimationFrame(done), { once: true });
    video.currentTime = seconds;
})"""


class Film:
    """The pictures of one page, each with how long it is shown."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._pictures: list[Image.Image] = []
        self._milliseconds: list[int] = []

    def shoot(self, milliseconds: int = FRAME_MILLISECONDS) -> None:
        """Add what the page shows now."""
        with Image.open(io.BytesIO(self._page.screenshot())) as shot:
            self._pictures.append(shot.convert("RGB").resize(PICTURE, Image.Resampling.LANCZOS))
        self._milliseconds.append(milliseconds)

    def save(self, file: Path) -> None:
        """Save the film; it repeats for ever."""
        first, *others = self._pictures
        first.save(
            file,
            save_all=True,
            append_images=others,
            duration=self._milliseconds,
            loop=0,
            quality=55,
            method=6,
        )
        seconds = sum(self._milliseconds) / 1000
        sys.stdout.write(f"{file.name}: {file.stat().st_size} bytes, {seconds:.1f} s\n")


def main() -> int:
    """Start everything, and make one film for each language."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.stderr.write("chromium is not installed\n")
        return 1
    with tempfile.TemporaryDirectory(prefix="jimeng-film-") as home, opened_site(Path(home)) as site:
        shutil.copy(DAG, Path(home) / "dags")
        site.stack.wait_for_dag(DAG_ID, timeout_seconds=300)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
            for locale in PROMPTS:
                film(browser, site, locale)
            browser.close()
    return 0


def film(browser: Browser, site: Site, locale: str) -> None:
    """Type the prompt, watch the run, and play its video."""
    with visit(browser, site.url, site.token("ada"), size=WINDOW, locale=locale) as visitor:
        page = visitor.page
        made = Film(page)
        page.goto(f"{site.url}/dags/{DAG_ID}")
        type_the_prompt(page, made, PROMPTS[locale])
        page.get_by_test_id("trigger-dag-submit").click()
        until(lambda: deferred(site), 180)
        made.shoot(1400)
        page.goto(f"{site.url}/plugin/jimeng-renders")
        frame = page.frame_locator("iframe[title=Renders]")
        card = frame.locator(".card").filter(has_text=PROMPTS[locale])
        expect(card.and_(frame.locator("[data-state=running]"))).to_be_visible(timeout=120_000)
        made.shoot(1600)
        expect(card.locator("video.ready")).to_be_visible(timeout=300_000)
        made.shoot(1000)
        card.locator("a.picture").click()
        play(frame.locator(".stage video"), made)
        made.save(IMAGES / FILES[locale])


def type_the_prompt(page: Page, made: Film, prompt: str) -> None:
    """Open the trigger form of the DAG and type into its only field."""
    button = page.get_by_test_id("trigger-dag-button").first
    expect(button).to_be_visible(timeout=60_000)
    made.shoot(600)
    button.click()
    field = page.get_by_role("dialog").locator("#element_prompt")
    expect(field).to_be_visible(timeout=60_000)
    step = -(-len(prompt) // TYPED_PICTURES)
    for piece in (prompt[start : start + step] for start in range(0, len(prompt), step)):
        field.press_sequentially(piece)
        made.shoot(150)
    expect(page.get_by_test_id("trigger-dag-submit")).to_be_enabled(timeout=60_000)
    made.shoot(800)


def deferred(site: Site) -> bool:
    """Return whether a task of the DAG waits in the triggerer."""
    runs = site.stack.api.get_all(f"/dags/{DAG_ID}/dagRuns", "dag_runs")
    tasks = [task for run in runs for task in site.stack.task_instances(DAG_ID, run["dag_run_id"])]
    return any(task["state"] == "deferred" for task in tasks)


def play(video: Locator, made: Film) -> None:
    """Show the render's page while its video plays. Each picture waits for its moment of the video."""
    expect(video).to_be_visible(timeout=60_000)
    until(lambda: video.evaluate("video => video.readyState >= 3"), 60)
    video.evaluate("video => video.pause()")
    for number in range(PLAYED_PICTURES):
        seconds = number * FRAME_MILLISECONDS / 1000
        video.evaluate(SEEK, seconds)
        made.shoot()


if __name__ == "__main__":
    sys.exit(main())
