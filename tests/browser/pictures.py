# SPDX-License-Identifier: Apache-2.0
"""Make the pictures of docs/ui.md: `python -m tests.browser.pictures`. It needs chromium, PostgreSQL and a font with Chinese.

It saves all pictures in build/screenshots/, and in docs/images/ with fewer colours, once in each language.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.browser.site import (
    CHROMIUM_FLAGS,
    ROOT,
    SCREENSHOTS,
    Site,
    Visitor,
    expect,
    opened_site,
    until,
    visit,
)

IMAGES = ROOT / "docs" / "images"
SIZE = (1360, 860)
COLOURS = 256


def main() -> int:
    """Start everything, open three pages, and save their pictures."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.stderr.write("chromium is not installed\n")
        return 1
    with tempfile.TemporaryDirectory(prefix="jimeng-pictures-") as home, opened_site(Path(home)) as site:
        for dag_ids in (
            ("spring_campaign", "secret_launch"),
            ("studio",),
        ):  # the newest come first in the picture
            site.start(*dag_ids)
            site.wait(*dag_ids)
        site.start("slow_study")
        site.stack.wait_for_task("slow_study", site.runs["slow_study"], "render", {"deferred"})
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
            for locale, ending in (("en-GB", ""), ("zh-CN", ".zh-CN")):
                token = site.token("ada")
                with visit(browser, site.url, token, size=SIZE, locale=locale) as visitor:
                    gallery(visitor.page, site)
                    keep(visitor, f"ui-gallery{ending}")
                    compare(visitor.page, site)
                    keep(visitor, f"ui-compare{ending}")
                with visit(browser, site.url, token, size=SIZE, locale=locale, theme="dark") as visitor:
                    render(visitor.page, site)
                    keep(visitor, f"ui-render{ending}")
            browser.close()
    return 0


def keep(visitor: Visitor, name: str) -> None:
    """Save a picture of the window in both folders."""
    visitor.shoot(name)
    shrink(SCREENSHOTS / f"{name}.png", IMAGES / f"{name}.png")


def gallery(page: Page, site: Site) -> None:
    """Airflow's navigation and the gallery in it."""
    page.goto(f"{site.url}/plugin/jimeng-renders")
    frame = page.frame_locator("iframe[title=Renders]")
    expect(frame.locator(".card .prompt").first).to_be_visible(timeout=60_000)
    until(lambda: frame.locator("video.ready").count() >= 5, 60)
    page.wait_for_timeout(1000)  # stills fade in


def render(page: Page, site: Site) -> None:
    """One render, a moment into it."""
    page.goto(f"{site.gallery}?dag_id=studio")
    page.locator("[data-state=landed] a.picture").first.click()
    video = page.locator(".stage video")
    until(lambda: video.evaluate("video => video.readyState >= 3"), 60)
    video.evaluate("video => { video.currentTime = 2; }")
    page.wait_for_timeout(1000)


def compare(page: Page, site: Site) -> None:
    """Three takes of one prompt."""
    page.goto(f"{site.gallery}?dag_id=spring_campaign&q=red+kite")
    page.locator(".card a.picture").first.click()
    page.locator("a[href*=compare]").first.click()
    times = "[...document.querySelectorAll('.take video')].map(video => video.currentTime)"
    until(lambda: min(page.evaluate(times), default=0) > 1.5, 60)


def shrink(source: Path, target: Path) -> None:
    """Store a picture with a palette, which is a third of the bytes."""
    from PIL import Image

    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(source) as picture:
        few = picture.convert("RGB").quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        few.save(target, optimize=True)
    sys.stdout.write(f"{target.relative_to(ROOT)}: {target.stat().st_size} bytes\n")


if __name__ == "__main__":
    sys.exit(main())
