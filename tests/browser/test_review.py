from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest

from tests.browser.site import Site, Visitor, expect, until
from tests.harness.api import task_path

if TYPE_CHECKING:
    from collections.abc import Callable

    Window = Callable[..., Visitor]

pytestmark = pytest.mark.real

DAG_ID, HURRIED = "example_jimeng_review", "hurried_review"
WAITING = {"awaiting_input", "deferred"}
PROMPTS = {
    "published": "A take that everybody likes",
    "rejected": "A take that is not good enough",
    "anew": "A take that deserves another one",
    "silence": "A take that nobody looks at",
}


@pytest.fixture(scope="module")
def runs(site: Site) -> dict[str, str]:
    """One run for each way a review can end, all at once: each of them waits for a render first."""
    return {
        end: site.stack.trigger(HURRIED if end == "silence" else DAG_ID, {"prompt": prompt})
        for end, prompt in PROMPTS.items()
    }


SETTLE_SECONDS = 8.0
"""Airflow can fail a task that is answered within moments of beginning to wait; a person needs longer anyway."""


def answer(site: Site, run_id: str, task_id: str, option: str) -> None:
    site.stack.wait_for_task(DAG_ID, run_id, task_id, WAITING)
    time.sleep(SETTLE_SECONDS)
    path = f"{task_path(DAG_ID, run_id, task_id)}/-1/hitlDetails"
    site.stack.api.call("PATCH", path, json={"chosen_options": [option], "params_input": {}})


def states(site: Site, dag_id: str, run_id: str) -> dict[str, str]:
    return {row["task_id"]: row["state"] for row in site.stack.task_instances(dag_id, run_id)}


def paid(site: Site, end: str) -> int:
    """How many renders of a run were billed."""
    tasks = site.emulator.bill()["by_task"].values()
    return sum(task["billed"] for task in tasks if task["prompt"] == PROMPTS[end])


def test_a_reviewer_sees_the_video_and_publishes_it(site: Site, window: Window, runs: dict[str, str]) -> None:
    run_id = runs["published"]
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
    assert paid(site, "published") == 1


def test_a_rejected_take_is_rendered_anew_only_when_asked_for(site: Site, runs: dict[str, str]) -> None:
    answer(site, runs["anew"], "review", "Reject and pay for a new take")
    answer(site, runs["rejected"], "review", "Reject")
    assert site.stack.wait(DAG_ID, runs["rejected"]) == "success"
    assert states(site, DAG_ID, runs["rejected"]) == {
        "render": "success", "review": "success", "rejected": "success",
        "publish": "skipped", "render_again": "skipped", "review_again": "skipped",
    }  # fmt: skip
    assert paid(site, "rejected") == 1

    answer(site, runs["anew"], "review_again", "Approve")
    assert site.stack.wait(DAG_ID, runs["anew"]) == "success"
    first, second = (site.stack.xcom(DAG_ID, runs["anew"], name) for name in ("render", "render_again"))
    assert second["uri"] != first["uri"]
    assert site.stack.xcom(DAG_ID, runs["anew"], "publish") == second["uri"]
    assert paid(site, "anew") == 2


def test_silence_publishes_nothing_and_renders_nothing(site: Site, runs: dict[str, str]) -> None:
    run_id = runs["silence"]
    assert site.stack.wait(HURRIED, run_id) == "success"
    ended = states(site, HURRIED, run_id)
    assert (ended["rejected"], ended["publish"], ended["render_again"]) == ("success", "skipped", "skipped")
    assert paid(site, "silence") == 1
