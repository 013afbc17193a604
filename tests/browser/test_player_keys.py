# SPDX-License-Identifier: Apache-2.0
"""The player without a mouse, and one of its frames as a picture."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.site import Site, Visitor, expect, until
from tests.browser.test_player import open_render

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import FrameLocator, Page

    Window = Callable[..., Visitor]

pytestmark = pytest.mark.real

FRAME = "video => Math.floor(video.currentTime * 24 + 0.01)"


def ready_player(page: Page, site: Site) -> None:
    open_render(page, site)
    video = page.locator(".stage video")
    until(lambda: video.evaluate("video => video.readyState >= 3"))
    video.evaluate("video => { video.muted = true; }")


def test_the_keys_of_the_player_work_without_focus(site: Site, window: Window) -> None:
    page = window().page
    ready_player(page, site)
    video = page.locator(".stage video")
    paused = "video => video.paused"
    page.keyboard.press(" ")
    until(lambda: video.evaluate("video => !video.paused && video.currentTime > 0.3"))
    page.keyboard.press(" ")
    until(lambda: video.evaluate(paused))
    page.keyboard.press("Home")
    until(lambda: video.evaluate(FRAME) == 0)
    for key, frame in ((".", 1), ("ArrowRight", 2), (",", 1), ("ArrowLeft", 0)):
        page.keyboard.press(key)
        until(partial(video.evaluate, f"video => ({FRAME})(video) === {frame}"))
        expect(page.locator(".position")).to_contain_text(f"frame {frame + 1} of 121")
    page.keyboard.press("l")
    until(lambda: not video.evaluate(paused))
    page.keyboard.press("l")
    until(lambda: video.evaluate("video => video.playbackRate") == 2)
    page.keyboard.press("k")
    until(lambda: video.evaluate(paused))
    page.keyboard.press("End")
    until(lambda: video.evaluate(FRAME) == 120)
    page.keyboard.press("j")
    until(lambda: video.evaluate(FRAME) < 110)
    page.keyboard.press("k")
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    page.keyboard.press("r")
    expect(page.get_by_label("Repeat")).not_to_be_checked()


def test_a_question_mark_lists_the_keys(site: Site, window: Window) -> None:
    visitor = window()
    page = visitor.page
    ready_player(page, site)
    page.keyboard.press("?")
    keys = page.get_by_role("dialog", name="Keys")
    expect(keys).to_contain_text("One frame ahead")
    expect(keys).to_contain_text("Next render")
    visitor.shoot("keys")
    page.keyboard.press("Escape")
    expect(keys).to_be_hidden()
    page.locator(".head").get_by_role("button", name="Keys").click()
    expect(keys).to_be_visible()


@pytest.mark.parametrize("inside_airflow", [False, True])
def test_a_frame_is_saved_as_a_picture_of_the_whole_size(
    inside_airflow: bool, site: Site, window: Window
) -> None:
    from PIL import Image

    page = window().page
    place: Page | FrameLocator = page
    if inside_airflow:
        page.goto(f"{site.url}/plugin/jimeng-renders")
        place = page.frame_locator("iframe[title=Renders]")
        place.get_by_label("DAG", exact=True).select_option("secret_launch")
        expect(place.locator(".card")).to_have_count(1)
        place.locator("[data-state=landed] a.picture").click()
    else:
        open_render(page, site)
    video = place.locator(".stage video")
    until(lambda: video.evaluate("video => video.readyState >= 3"))
    video.evaluate("video => { video.currentTime = 2.02; }")
    until(lambda: video.evaluate("video => !video.seeking"))
    with page.expect_download() as started:
        place.get_by_role("button", name="Save frame").click()
    assert re.fullmatch(r"\w+-render--?\d+-0049\.png", started.value.suggested_filename)
    with Image.open(Path(started.value.path())) as picture:
        assert list(picture.size) == video.evaluate("video => [video.videoWidth, video.videoHeight]")
        assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 100
