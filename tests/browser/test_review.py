# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.browser.site import REVIEWS, Site, Visitor, expect, until
from tests.harness.api import task_path

if TYPE_CHECKING:
    from collections.abc import Callable

    Window = Callable[..., Visitor]

pytestmark = pytest.mark.real

DAG_ID, HURRIED = "example_jimeng_review", "hurried_review"
WAITING = {"awaiting_input", "deferred"}


def settle(site: Site, task_id: str, *endings: str) -> None:
    """Wait until the reviews wait for an answer and the scheduler has gone round twice since.

    Airflow can fail a task that gets its answer before the scheduler has seen that the task's process has ended.
    """
    for ending in endings:
        site.stack.wait_for_task(DAG_ID, site.reviews[ending], task_id, WAITING)
    beats = {heartbeat(site)}

    def went_round_twice() -> bool:
        beats.add(heartbeat(site))
        return len(beats) > 2

    until(went_round_twice)


def heartbeat(site: Site) -> str:
    health = site.stack.api.call("GET", "/monitor/health")
    return str(health["scheduler"]["latest_scheduler_heartbeat"])


def answer(site: Site, ending: str, task_id: str, option: str) -> None:
    path = f"{task_path(DAG_ID, site.reviews[ending], task_id)}/-1/hitlDetails"
    site.stack.api.call("PATCH", path, json={"chosen_options": [option], "params_input": {}})


def states(site: Site, dag_id: str, run_id: str) -> dict[str, str]:
    return {row["task_id"]: row["state"] for row in site.stack.task_instances(dag_id, run_id)}


def paid(site: Site, ending: str) -> int:
    """Return how many renders of a run were billed."""
    tasks = site.emulator.bill()["by_task"].values()
    return sum(task["billed"] for task in tasks if task["prompt"] == REVIEWS[ending][1])


def test_a_reviewer_sees_the_video_and_the_answer_decides_what_is_published_and_paid(
    site: Site, window: Window
) -> None:
    settle(site, "review", "published", "anew", "rejected")
    answer(site, "anew", "review", "Reject and pay for a new take")
    answer(site, "rejected", "review", "Reject")

    run_id = site.reviews["published"]
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
    answer(site, "published", "review", "Publish")
    settle(site, "review_again", "anew")
    answer(site, "anew", "review_again", "Approve")

    assert site.stack.wait(DAG_ID, run_id) == "success"
    assert states(site, DAG_ID, run_id) == {
        "render": "success", "review": "success", "publish": "success",
        "rejected": "skipped", "render_again": "skipped", "review_again": "skipped",
    }  # fmt: skip
    assert re.fullmatch(r"file://.*\.mp4", site.stack.xcom(DAG_ID, run_id, "publish"))
    assert paid(site, "published") == 1

    assert site.stack.wait(DAG_ID, site.reviews["rejected"]) == "success"
    assert states(site, DAG_ID, site.reviews["rejected"]) == {
        "render": "success", "review": "success", "rejected": "success",
        "publish": "skipped", "render_again": "skipped", "review_again": "skipped",
    }  # fmt: skip
    assert paid(site, "rejected") == 1

    anew = site.reviews["anew"]
    assert site.stack.wait(DAG_ID, anew) == "success"
    first, second = (site.stack.xcom(DAG_ID, anew, name) for name in ("render", "render_again"))
    assert second["uri"] != first["uri"]
    assert site.stack.xcom(DAG_ID, anew, "publish") == second["uri"]
    assert paid(site, "anew") == 2


def test_silence_publishes_nothing_and_renders_nothing(site: Site) -> None:
    run_id = site.reviews["silence"]
    assert site.stack.wait(HURRIED, run_id) == "success"
    ended = states(site, HURRIED, run_id)
    assert (ended["rejected"], ended["publish"], ended["render_again"]) == ("success", "skipped", "skipped")
    assert paid(site, "silence") == 1
