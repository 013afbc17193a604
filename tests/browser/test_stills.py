# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest

from airflow_provider_jimeng.finishing import finish
from tests.browser.site import Site, Visitor, expect, until
from tests.browser.test_gallery import LONG_AGO, pushed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Window = Callable[..., Visitor]

pytestmark = pytest.mark.real

DAG_ID = "finished_films"


@pytest.fixture
def _finished(site: Site) -> Iterator[None]:
    """A saved video with a poster and a preview of ten frames, which no other test knows."""
    videos = site.stack.home.parent / "videos"
    found = next(iter(sorted((videos / "spring_campaign").rglob("*.mp4"))))
    film = videos / DAG_ID / "film.mp4"
    film.parent.mkdir(parents=True)
    shutil.copy(found, film)
    finish(str(film), poster=True, preview=True)
    with pushed(site, DAG_ID) as records:
        records.landed(film, dag_id=DAG_ID, render_id="finished-1")
        yield
    shutil.rmtree(film.parent)


@pytest.mark.usefixtures("_finished")
def test_a_card_shows_the_poster_without_the_video_and_moves_through_the_preview_under_the_pointer(
    site: Site, window: Window
) -> None:
    visitor = window()
    page = visitor.page
    page.goto(f"{site.gallery}?dag_id={DAG_ID}&since={LONG_AGO}")
    card = page.locator(".card")
    expect(card.locator("img.ready")).to_be_attached()
    picture = card.locator(".still")
    box = picture.bounding_box()
    assert box is not None
    frame = card.locator(".scrub i")
    for share, number in ((0.02, 0), (0.35, 3), (0.98, 10)):
        page.mouse.move(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
        expect(frame).to_be_visible()
        expect(frame).to_have_attribute("data-frame", str(number))
    until(lambda: any("part=preview" in url for url in visitor.requests))
    assert re.fullmatch(r"0(px|%) 100%", frame.evaluate("frame => frame.style.backgroundPosition"))
    visitor.shoot("gallery-preview")
    page.mouse.move(0, 0)
    expect(frame).to_be_hidden()
    expect(card.locator("video")).to_have_count(0)
    assert all("part=" in url for url in visitor.requests if "/media?" in url), "the video was not loaded"

    card.locator("a.picture").focus()
    until(lambda: card.locator("video").evaluate("video => video.currentTime > 0.5"))
