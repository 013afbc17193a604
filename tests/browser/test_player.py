# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.dags.films import KITE
from tests.browser.site import Site, Visitor, expect, follow, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import FrameLocator, Page

    Window = Callable[..., Visitor]

pytestmark = pytest.mark.real


def open_render(page: Page, site: Site, map_index: int = 0) -> None:
    run_id = site.runs["spring_campaign"]
    page.goto(site.gallery)
    page.goto(
        page.evaluate(
            "ref => new URL(`render?${new URLSearchParams(ref)}`, document.baseURI).href",
            {"dag_id": "spring_campaign", "run_id": run_id, "task_id": "render", "map_index": map_index},
        )
    )


def test_the_player_plays_and_can_be_moved_and_other_takes_stand_below_it(site: Site, window: Window) -> None:
    visitor = window()
    page = visitor.page
    open_render(page, site)
    video = page.locator(".stage video")
    until(lambda: video.evaluate("video => video.readyState >= 3"))
    assert video.evaluate("video => video.paused")
    video.evaluate("video => { video.muted = true; return video.play(); }")
    until(lambda: video.evaluate("video => video.currentTime > 1"))
    assert video.evaluate("video => video.videoWidth") > 1000
    video.evaluate("video => { video.pause(); video.currentTime = 4; }")
    until(lambda: video.evaluate("video => !video.seeking && Math.abs(video.currentTime - 4) < 0.1"))
    assert video.evaluate("video => video.error") is None
    visitor.shoot("render")
    rows = page.locator(".take-row")
    expect(rows).to_have_count(2)
    box = rows.first.bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < 900, "other takes are in sight without scrolling"
    rows.first.get_by_label("Select").check()
    expect(page.locator(".tray .count")).to_have_text("1 selected")
    page.get_by_role("link", name="Compare these takes").click()
    page.wait_for_url(re.compile(r"/jimeng/compare\?"))
    expect(page.locator("figure.take")).to_have_count(3)


@pytest.mark.parametrize(
    ("dag_id", "task"), [("secret_launch", "render"), ("spring_campaign", "render/mapped/1")]
)
def test_airflows_task_page_has_a_button_that_leads_to_the_video(
    dag_id: str, task: str, site: Site, window: Window
) -> None:
    page = window().page
    page.goto(f"{site.url}/dags/{dag_id}/runs/{site.runs[dag_id]}/tasks/{task}/details")
    page = follow(page, "Video")
    page.wait_for_url(re.compile(rf"/jimeng/render\?dag_id={dag_id}&"))
    until(lambda: page.locator(".stage video").evaluate("video => video.readyState >= 2"))
    page.get_by_role("link", name="Task instance").click()
    page.wait_for_url(re.compile(rf"/dags/{dag_id}/runs/[^/]+/tasks/{task}$"))


def test_every_value_of_the_manifest_is_shown_and_can_be_copied(site: Site, window: Window) -> None:
    page = window(permissions=["clipboard-read", "clipboard-write"]).page
    open_render(page, site)
    clipboard = "navigator.clipboard.readText()"
    page.get_by_role("button", name="Copy prompt").click()
    until(lambda: page.evaluate(clipboard) == KITE)
    page.get_by_role("button", name="Copy seed").click()
    until(lambda: page.evaluate(clipboard) == "11")
    page.locator(".json summary").click()
    page.locator(".manifest summary").click()
    page.get_by_role("button", name="Copy JSON").click()
    until(lambda: page.evaluate(clipboard).startswith("{"))
    manifest = json.loads(page.evaluate(clipboard))
    assert manifest["prompt"] == KITE
    sidecar = Path(f"{manifest['uri'].removeprefix('file://')}.json")
    assert manifest == json.loads(sidecar.read_text()) == json.loads(page.locator("pre").inner_text())

    listed = page.locator(".manifest").inner_text()
    for name in ("task_id", "req_key", "uri", "sha256", "fingerprint", "request_id"):
        assert str(manifest[name]) in listed
    assert page.locator(".manifest dt").count() >= len(manifest) - 6  # prompt, seed, size stand elsewhere
    stages = page.locator(".timeline li b").all_inner_texts()
    assert (stages[0], stages[-1]) == ("Submitted", "Saved")
    expect(page.locator(".headline b")).to_have_text(f"¥{manifest['cost_cny']}")


@pytest.mark.parametrize("inside_airflow", [False, True])
def test_the_video_can_be_downloaded_whole(inside_airflow: bool, site: Site, window: Window) -> None:
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
    place.locator(".json summary").click()
    manifest = json.loads(place.locator("pre").inner_text())
    with page.expect_download() as started:
        place.get_by_role("link", name="Download").click()
    saved = Path(started.value.path())
    assert started.value.suggested_filename == manifest["uri"].rpartition("/")[2]
    assert hashlib.sha256(saved.read_bytes()).hexdigest() == manifest["sha256"]


def test_a_render_that_is_not_there_says_so(site: Site, window: Window) -> None:
    visitor = window()
    visitor.expected_status = 404
    open_render(visitor.page, site, map_index=77)
    expect(visitor.page.get_by_role("alert")).to_contain_text("No render of this task instance is known")
