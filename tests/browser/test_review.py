# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from tests.browser.site import BY_KEYBOARD, REVIEWS, Site, Visitor, expect, until
from tests.harness.api import task_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Locator, Page

    Window = Callable[..., Visitor]

pytestmark = pytest.mark.real

DAG_ID, HURRIED = "example_jimeng_review", "hurried_review"
LOOKS = re.compile(r"/api/review\?")
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


def states(site: Site, dag_id: str, run_id: str) -> dict[str, str]:
    return {row["task_id"]: row["state"] for row in site.stack.task_instances(dag_id, run_id)}


def paid(site: Site, ending: str) -> int:
    """Return how many renders of a run were billed."""
    tasks = site.emulator.bill()["by_task"].values()
    return sum(task["billed"] for task in tasks if task["prompt"] == REVIEWS[ending][1])


def page_of(site: Site, ending: str, *task_ids: str) -> str:
    """Return the address of the page with the video of a task, or of two to compare."""
    refs = [
        urlencode({"dag_id": DAG_ID, "run_id": site.reviews[ending], "task_id": task_id, "map_index": -1})
        for task_id in task_ids
    ]
    return f"{site.url}/jimeng/{'compare' if len(refs) > 1 else 'render'}?{'&'.join(refs)}"


def asked(page: Page, option: str) -> Locator:
    """Return an option of the question on a page, once it can be answered."""
    button = page.get_by_role("region", name="Review").get_by_role("button", name=option, exact=True)
    expect(button).to_be_enabled()
    return button


def decision(page: Page) -> Locator:
    return page.get_by_role("region", name="Review").locator(".decision")


def answer_too_late(page: Page, option: str, press: Callable[[], None]) -> str:
    """Press an option on a page that has not heard that somebody else answers; return what the page says."""
    button = asked(page, option)
    page.route(LOOKS, lambda _: None)  # the page gets no reply until the route ends
    press()
    button.click()
    said = page.get_by_role("region", name="Review").get_by_role("alert")
    expect(said).not_to_be_empty()
    text = said.inner_text()
    page.unroute(LOOKS)
    return text


def test_a_question_is_answered_below_the_video_by_those_who_have_the_right_and_once(
    site: Site, window: Window
) -> None:
    settle(site, "review", "published")
    run_id = site.reviews["published"]
    visitor = window()
    page = visitor.page
    page.goto(f"{site.url}/dags/{DAG_ID}/runs/{run_id}/tasks/review/required_actions")
    link = page.get_by_role("link", name="Watch the video")
    address = link.get_attribute("href")
    assert address is not None
    page.goto(address)
    until(lambda: page.locator(".stage video").evaluate("video => video.readyState >= 2"))
    asked(page, "Publish")
    visitor.shoot("review")

    powerless = window("vera", locale="zh-CN").page
    powerless.goto(page_of(site, "published", "render"))
    region = powerless.get_by_role("region", name="审核")
    button = region.get_by_role("button", name="Publish", exact=True)
    expect(button).to_be_enabled()
    button.click()
    expect(region.get_by_role("alert")).to_contain_text("你无权回答此问题")
    expect(button).to_be_enabled()

    def publish() -> None:
        page.get_by_label("Note").fill("Lovely")
        asked(page, "Publish").click()
        expect(decision(page)).to_contain_text("Publish")

    late_too: list[str] = []
    second_tab, oscar = window().page, window("oscar").page
    for late in (second_tab, oscar):
        late.goto(page_of(site, "published", "render"))
    both_late = answer_too_late(
        second_tab, "Reject", lambda: late_too.append(answer_too_late(oscar, "Reject", publish))
    )
    assert {both_late, *late_too} == {"Airflow did not accept the answer: the question was already answered."}
    for seen in (page, second_tab, oscar, powerless):
        shown = seen.locator(".decision")
        expect(shown).to_contain_text("ada")
        expect(shown).to_contain_text("Lovely")
        expect(shown.locator("time")).not_to_be_empty()
    visitor.shoot("review-decided")

    assert site.stack.wait(DAG_ID, run_id) == "success"
    assert states(site, DAG_ID, run_id) == {
        "render": "success", "review": "success", "decide": "success", "publish": "success",
        "rejected": "skipped", "render_again": "skipped", "review_again": "skipped",
    }  # fmt: skip
    assert re.fullmatch(r"file://.*\.mp4", site.stack.xcom(DAG_ID, run_id, "publish"))
    assert paid(site, "published") == 1
    page.reload()
    expect(decision(page)).to_contain_text("Lovely")
    page.goto(site.gallery)
    card = page.locator(".card").filter(has_text=REVIEWS["published"][1])
    expect(card.locator(".verdict")).to_contain_text("Publish chosen by ada")


@pytest.mark.nightly
def test_a_question_is_answered_by_keyboard_alone(site: Site, window: Window) -> None:
    site.start_review(BY_KEYBOARD)
    settle(site, "review", BY_KEYBOARD)
    page = window().page
    page.goto(page_of(site, "rejected", "render"))
    asked(page, "Reject")
    press_until_focused(page, page.get_by_label("Note"))
    page.keyboard.type("Too dark /c ?")
    press_until_focused(page, asked(page, "Reject"))
    page.keyboard.press("Enter")
    expect(decision(page)).to_contain_text("Too dark /c ?")
    expect(page.locator(".question:focus")).to_have_count(1)

    run_id = site.reviews["rejected"]
    assert site.stack.wait(DAG_ID, run_id) == "success"
    assert states(site, DAG_ID, run_id) == {
        "render": "success", "review": "success", "decide": "success", "rejected": "success",
        "publish": "skipped", "render_again": "skipped", "review_again": "skipped",
    }  # fmt: skip
    assert site.stack.xcom(DAG_ID, run_id, "rejected") == "Too dark /c ?"
    assert paid(site, "rejected") == 1


def press_until_focused(page: Page, wanted: Locator) -> None:
    for _ in range(40):
        page.keyboard.press("Tab")
        if wanted.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError("Tab does not lead there")


def test_a_new_take_is_paid_after_its_price_is_confirmed_and_judged_beside_the_first(
    site: Site, window: Window
) -> None:
    settle(site, "review", "anew")
    visitor = window()
    page = visitor.page
    page.goto(page_of(site, "anew", "render"))
    asked(page, "Reject and pay for a new take").click()
    confirm = page.get_by_role("button", name="Yes: Pay up to ¥1.40 for a new take")
    expect(confirm).to_be_focused()
    visitor.shoot("review-price")
    page.get_by_role("button", name="Cancel").click()
    asked(page, "Reject and pay for a new take").click()
    confirm.click()
    expect(decision(page)).to_contain_text("Reject and pay for a new take")

    settle(site, "review_again", "anew")
    page.goto(page_of(site, "anew", "render", "render_again"))
    reviews = page.get_by_role("region", name="Review")
    expect(reviews).to_have_count(2)
    expect(reviews.first.locator(".decision")).to_contain_text("ada")
    approve = reviews.last.get_by_role("button", name="Approve")
    expect(approve).to_be_enabled()
    visitor.shoot("review-compare")
    approve.click()
    expect(reviews.last.locator(".decision")).to_contain_text("Approve")

    anew = site.reviews["anew"]
    assert site.stack.wait(DAG_ID, anew) == "success"
    first, second = (site.stack.xcom(DAG_ID, anew, name) for name in ("render", "render_again"))
    assert second["uri"] != first["uri"]
    assert site.stack.xcom(DAG_ID, anew, "publish") == second["uri"]
    assert paid(site, "anew") == 2


def test_a_new_take_whose_price_nobody_confirmed_is_not_paid(site: Site) -> None:
    settle(site, "review", "unconfirmed")
    run_id = site.reviews["unconfirmed"]
    path = f"{task_path(DAG_ID, run_id, 'review')}/-1/hitlDetails"
    asked: dict[str, Any] = site.stack.api.call("GET", path)["params"]  # in Airflow 3.1 also those of the DAG
    values = {name: one["value"] if isinstance(one, dict) else one for name, one in asked.items()}
    body = {"chosen_options": ["Reject and pay for a new take"], "params_input": values}
    site.stack.api.call("PATCH", path, json=body)
    assert site.stack.wait(DAG_ID, run_id) == "success"
    ended = states(site, DAG_ID, run_id)
    assert (ended["rejected"], ended["render_again"]) == ("success", "skipped")
    assert paid(site, "unconfirmed") == 1


def test_silence_publishes_nothing_and_renders_nothing(site: Site) -> None:
    run_id = site.reviews["silence"]
    assert site.stack.wait(HURRIED, run_id) == "success"
    ended = states(site, HURRIED, run_id)
    assert (ended["rejected"], ended["publish"], ended["render_again"]) == ("success", "skipped", "skipped")
    assert paid(site, "silence") == 1
