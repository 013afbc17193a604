from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.browser.site import Site, Visitor, expect, until
from tests.harness.api import task_path

if TYPE_CHECKING:
    from collections.abc import Callable

    Window = Callable[..., Visitor]

pytestmark = pytest.mark.real

DAG_ID = "example_jimeng_review"
WAITING = {"awaiting_input", "deferred"}


def answer(site: Site, run_id: str, task_id: str, option: str) -> None:
    site.stack.wait_for_task(DAG_ID, run_id, task_id, WAITING)
    path = f"{task_path(DAG_ID, run_id, task_id)}/-1/hitlDetails"
    site.stack.api.call("PATCH", path, json={"chosen_options": [option], "params_input": {}})


def states(site: Site, dag_id: str, run_id: str) -> dict[str, str]:
    return {row["task_id"]: row["state"] for row in site.stack.task_instances(dag_id, run_id)}


def test_a_reviewer_sees_the_video_and_publishes_it(site: Site, window: Window) -> None:
    billed = site.emulator.bill()["billed"]
    run_id = site.stack.trigger(DAG_ID)
    site.stack.wait_for_task(DAG_ID, run_id, "review", WAITING)
    visitor = window()
    page = visitor.page
    page.goto(f"{site.url}/dags/{DAG_ID}/runs/{run_id}/tasks/review/required_actions")
    link = page.get_by_role("link", name="Watch the video")
    address = link.get_attribute("href")
    assert address is not None
    expect(link).to_be_visible()
    visitor.shoot("review")
    page.goto(address)
    until(lambda: page.locator(".stage video").evaluate("video => video.readyState >= 2"))

    answer(site, run_id, "review", "Publish")

    assert site.stack.wait(DAG_ID, run_id) == "success"
    assert states(site, DAG_ID, run_id) == {
        "render": "success", "review": "success", "publish": "success",
        "rejected": "skipped", "render_again": "skipped", "review_again": "skipped",
    }  # fmt: skip
    assert re.fullmatch(r"file://.*\.mp4", site.stack.xcom(DAG_ID, run_id, "publish"))
    assert site.emulator.bill()["billed"] == billed + 1


def test_a_rejected_take_is_rendered_anew_only_when_asked_for(site: Site) -> None:
    billed = site.emulator.bill()["billed"]
    run_id = site.stack.trigger(DAG_ID, {"prompt": "A take that is not good enough"})
    answer(site, run_id, "review", "Reject")
    assert site.stack.wait(DAG_ID, run_id) == "success"
    assert states(site, DAG_ID, run_id) == {
        "render": "success", "review": "success", "rejected": "success",
        "publish": "skipped", "render_again": "skipped", "review_again": "skipped",
    }  # fmt: skip
    assert site.emulator.bill()["billed"] == billed + 1

    run_id = site.stack.trigger(DAG_ID, {"prompt": "A take that deserves another one"})
    answer(site, run_id, "review", "Reject and pay for a new take")
    answer(site, run_id, "review_again", "Approve")
    assert site.stack.wait(DAG_ID, run_id) == "success"
    second = site.stack.xcom(DAG_ID, run_id, "render_again")
    assert second["uri"] != site.stack.xcom(DAG_ID, run_id, "render")["uri"]
    assert site.stack.xcom(DAG_ID, run_id, "publish") == second["uri"]
    assert site.emulator.bill()["billed"] == billed + 3


def test_silence_publishes_nothing_and_renders_nothing(site: Site) -> None:
    billed = site.emulator.bill()["billed"]
    run_id = site.stack.trigger("hurried_review", {"prompt": "A take that nobody looks at"})
    assert site.stack.wait("hurried_review", run_id) == "success"
    ended = states(site, "hurried_review", run_id)
    assert (ended["rejected"], ended["publish"], ended["render_again"]) == ("success", "skipped", "skipped")
    assert site.emulator.bill()["billed"] == billed + 1
