# SPDX-License-Identifier: Apache-2.0
"""What the notifier tells: of renders by real runs of a DAG, of runs and deadlines by the contexts that Airflow gives."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.notifier import BaseNotifier

from airflow_provider_jimeng.notifications.render import JimengRenderNotifier, RenderMessage, message_of
from tests.harness.dag_runs import dag_file, run_dag

if TYPE_CHECKING:
    from airflow_provider_jimeng.emulator import JimengEmulator

DAG_ID = "told"
DAG_TEXT = '''
import json
from pathlib import Path

from airflow.providers.common.compat.notifier import BaseNotifier
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_jimeng.notifications.render import JimengRenderNotifier
from airflow_provider_jimeng.operators.video import JimengGenerateVideoOperator, JimengSubmitVideoOperator


def keep(context):
    """Write the message as a webhook would send it."""
    message = context["jimeng"]
    told = {name: getattr(message, name) for name in ("title", "meaning", "advice", "cost", "link", "key", "text")}
    with Path(context["params"]["output"], "told.jsonl").open("a") as file:
        file.write(json.dumps(told) + "\\n")


class Chat(BaseNotifier):
    """A notifier with templates, as those of chats are."""

    template_fields = ("text",)

    def __init__(self, text):
        super().__init__()
        self.text = text

    def notify(self, context):
        """Write the text."""
        with Path(context["params"]["output"], "chat.txt").open("a") as file:
            file.write(self.text + "\\n")


tell, chat = JimengRenderNotifier(keep), JimengRenderNotifier(Chat("{{ jimeng.title }} | {{ jimeng.cost }}"), lang="zh")
tells = {"on_success_callback": [tell, chat], "on_failure_callback": [tell, chat]}
with DAG("told", schedule=None, catchup=False, params={"output": ""}, on_failure_callback=tell):
    common = {"output_path": "{{ params.output }}/", "retries": 0, **tells}
    JimengGenerateVideoOperator(task_id="saved", prompt="a red kite", **common)
    JimengGenerateVideoOperator(task_id="failed", prompt="forbidden", **common)
    JimengGenerateVideoOperator(task_id="refused", prompt="a fox", model="i2v_first_720p", **common)
    JimengSubmitVideoOperator(task_id="submitted", prompt="a bowl", **common)
'''


@pytest.fixture
def told(jimeng_emulator: JimengEmulator, tmp_path: Path) -> dict[str, Any]:
    """Every message of one run, by task, and that of the run itself."""
    jimeng_emulator.faults.add(where="render", what="fail", code=50411, prompt_contains="forbidden")
    with dag_file("told.py", DAG_TEXT):
        run_dag(DAG_ID, {"output": str(tmp_path)})
    messages = [json.loads(line) for line in (tmp_path / "told.jsonl").read_text().splitlines()]
    found = {each["title"].rpartition(".")[2].split()[0]: each for each in messages}
    return found | {"chat": sorted((tmp_path / "chat.txt").read_text().splitlines())}


def test_tasks_tell_title_meaning_cost_and_what_to_do(told: dict[str, Any]) -> None:
    saved, failed, refused, submitted = (told[name] for name in ("saved", "failed", "refused", "submitted"))
    assert saved["title"] == "Video saved: told.saved"
    assert saved["meaning"].endswith(".mp4.")
    assert (saved["advice"], saved["cost"]) == ("", "1.40 CNY")
    assert failed["title"] == "Task failed: told.failed"
    assert failed["cost"] == "nothing was billed"
    assert failed["meaning"]
    assert failed["advice"]
    assert refused["cost"] == "nothing was billed"
    assert "argument" in refused["meaning"]
    assert submitted["title"] == "Task succeeded: told.submitted"
    assert submitted["cost"] == "1.40 CNY"
    assert saved["text"].splitlines()[1] == "Cost: 1.40 CNY"
    # The templates of another notifier are rendered anew for each message, although all tasks share one object.
    assert told["chat"] == [
        "任务失败：told.failed | 未计费",
        "任务失败：told.refused | 未计费",
        "任务成功：told.submitted | 1.40 元",
        "视频已保存：told.saved | 1.40 元",
    ]


RUN = {"reason": "task_failure", "run_id": "manual__1"}


def hear(context: Any) -> None:
    context["heard"].append(context["jimeng"])


class Dag:
    """What a callback of a DAG needs of its DAG."""

    dag_id = "films"


class Async(BaseNotifier):
    """A notifier for deadlines."""

    heard: list[RenderMessage]

    def __init__(self, heard: list[RenderMessage] | None = None) -> None:
        super().__init__()
        self.heard = [] if heard is None else heard

    def notify(self, context: Any) -> None:
        raise AssertionError

    async def async_notify(self, context: Any) -> None:
        self.heard.append(context["jimeng"])


def test_a_callback_of_a_dag_tells_about_the_run(subtests: pytest.Subtests) -> None:
    for lang, title in (("en", "DAG run failed: films manual__1"), ("zh", "DAG 运行失败：films manual__1")):
        with subtests.test(lang=lang):
            heard: list[Any] = []
            context: Any = {"dag": Dag, **RUN, "heard": heard}
            JimengRenderNotifier(hear, lang=lang).notify(context)
            assert heard[0].title == title
            assert "task_failure" in heard[0].meaning
            assert heard[0].cost == ""
    succeeded = message_of({"dag": Dag, "run_id": "manual__1", "reason": "success"}, "en")
    assert succeeded.title == "DAG run succeeded: films manual__1"


def test_the_context_of_a_task_in_the_callback_of_a_dag_is_not_meant() -> None:
    ti = object()  # of the last task of the run, which is not asked for anything
    assert message_of({"dag": Dag, "ti": ti, **RUN}, "en").title == "DAG run failed: films manual__1"


@pytest.mark.needs("deadlines")
def test_a_deadline_is_told_with_little_context_or_none_and_once_per_triggerer() -> None:
    run = {"dag_run": {"dag_id": "films", "dag_run_id": "manual__1"}, "deadline": {"id": "7"}}
    heard: list[RenderMessage] = []

    async def miss(context: Any) -> None:
        await JimengRenderNotifier(Async(heard), context=context)

    for context in (run, dict(run), None, {}):
        asyncio.run(miss(context))
    assert [message.title for message in heard] == [
        *["DAG run is late: films manual__1"] * 2,
        *["DAG run is late: a run whose name is not known"] * 2,
    ]
    assert heard[0].key == heard[1].key
    assert len({message.key for message in heard}) == 3  # runs without a name are not taken for one


@pytest.mark.needs("deadlines")
def test_functions_and_notifiers_that_cannot_wait_are_told_of_a_deadline_too() -> None:
    heard: list[str] = []

    async def waits(context: Any) -> None:
        heard.append(context["jimeng"].title)

    def blocks(context: Any) -> None:
        heard.append(context["jimeng"].title)

    async def miss() -> None:
        for sender in (waits, blocks):
            await JimengRenderNotifier(sender, lang="zh", context={})

    asyncio.run(miss())
    assert heard == ["DAG 运行超时：Airflow 未提供名称的运行"] * 2


def test_arguments_that_it_does_not_take_are_refused_when_the_dag_is_parsed() -> None:
    with pytest.raises(ValueError, match="lang is 'fr'"):
        JimengRenderNotifier(print, lang="fr")
    with pytest.raises(ValueError, match="import path"):
        JimengRenderNotifier(print, notifier_kwargs={"to": "somebody"})


def test_links_lead_to_the_page_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example.com/af/")
    link = message_of({"dag": Dag, "run_id": "manual__1+00:00", "reason": "success"}, "en").link
    assert link in ("", "https://airflow.example.com/af/dags/films/runs/manual__1%2B00%3A00")
