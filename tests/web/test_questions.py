# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pendulum
import pytest
from airflow.providers.common.compat.sdk import DAG
from airflow.providers.standard.operators.empty import EmptyOperator

from airflow_provider_jimeng.operators.video import JimengGenerateVideoOperator, JimengSubmitVideoOperator
from tests.web.questions import Questions
from tests.web.records import NOW, render_payload

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

    from tests.web.conftest import Reader
    from tests.web.records import Records

    Asked = Callable[..., list[dict[str, Any]]]

FILE = "/nowhere/video.mp4"
PARAMS: dict[str, Any] = {
    "note": {
        "value": "",
        "description": "For all",
        "schema": {"type": "string", "title": "Note", "maxLength": 90},
    },
    "pay": {
        "value": False,
        "description": None,
        "schema": {"type": "boolean", "title": "Pay", "confirms": "Again"},
    },
}


@pytest.fixture
def questions(session: Session, records: Records) -> Questions:
    """Writes questions as Airflow's operators leave them."""
    return Questions(session, records)


def asked(reader: Reader, ref: dict[str, Any]) -> list[dict[str, Any]]:
    reply = reader.get("api/review", ref)
    assert reply.status_code == 200, reply.text
    return list(reply.json()["questions"])


def names(reader: Reader, ref: dict[str, Any]) -> list[str]:
    return [one["ref"]["task_id"] for one in asked(reader, ref)]


def chain(dag_id: str, *task_ids: str) -> DAG:
    """Return a DAG of tasks one after the other. Those whose name begins with `render` pay."""
    with DAG(dag_id, schedule=None) as dag:
        before: Any = None
        for task_id in task_ids:
            task: Any = (
                JimengGenerateVideoOperator(task_id=task_id, prompt="Any", output_path="file:///tmp/any/")
                if task_id.startswith("render")
                else EmptyOperator(task_id=task_id)
            )
            if before is not None:
                before >> task
            before = task
    return dag


def test_the_review_of_a_render_is_the_question_downstream_of_it_with_the_same_map_index(
    admin: Reader, records: Records, questions: Questions
) -> None:
    renders = [records.landed(FILE, map_index=index, render_id=str(index)) for index in (0, 1)]
    again = records.landed(FILE, task_id="render_again", map_index=0, render_id="2")
    for index in (0, 1):
        questions.ask(map_index=index, task_id="review")
    questions.ask(map_index=0, task_id="lead")
    questions.ask(map_index=0, task_id="review_again")
    questions.ask(map_index=0, task_id="before")
    questions.ask(map_index=0, task_id="review", run_id="another")
    questions.dag(
        chain("ads", "before", "render", "finish", "review", "lead", "render_again", "review_again")
    )

    assert names(admin, renders[0]) == ["review", "lead"]
    assert [one["ref"]["map_index"] for one in asked(admin, renders[1])] == [1]
    assert names(admin, again) == ["review_again"], "a question about one render is not about a later one"
    assert asked(admin, {**renders[0], "map_index": 9}) == []


def test_a_question_below_any_task_of_a_render_is_about_it(
    admin: Reader, records: Records, questions: Questions
) -> None:
    with DAG("ads", schedule=None) as dag:
        submit = JimengSubmitVideoOperator(task_id="submit", prompt="Any")
        submit >> EmptyOperator(task_id="ask_the_producer")
        submit >> EmptyOperator(task_id="download") >> EmptyOperator(task_id="review")
    submitted = records.add(task_id="submit", render=render_payload(task_id="7"))
    downloaded = records.landed(FILE, task_id="download", render_id="7")
    records.landed(FILE, task_id="download", map_index=1, render_id="8")
    questions.ask(task_id="ask_the_producer", created_at=NOW)
    questions.ask(task_id="review", created_at=NOW.add(minutes=1))
    questions.ask(dag_id="desk", task_id="afar", created_at=NOW.add(minutes=2), params={**submitted})
    questions.dag(dag)

    for ref in (submitted, downloaded):
        assert names(admin, ref) == ["ask_the_producer", "review", "afar"]
    assert names(admin, {**downloaded, "map_index": 1}) == []
    verdicts = {card["render_id"]: card["review"] for card in admin.renders()["cards"]}
    assert verdicts["7"]["state"] == "open"
    assert verdicts["8"] is None


def test_a_question_is_about_the_render_that_its_params_name(
    admin: Reader, records: Records, questions: Questions
) -> None:
    first, second = (records.landed(FILE, map_index=index, render_id=f"90{index}") for index in (0, 1))
    with_schema: dict[str, Any] = {"value": "901", "description": None, "schema": {}}
    questions.ask(task_id="of_second", map_index=0, params={"render_id": with_schema})
    questions.ask(
        task_id="of_first", params={"task_id": "render", "map_index": 0}
    )  # as Airflow 3.1.2 keeps it
    questions.ask(dag_id="desk", task_id="from_afar", params={**second, "note": ""})
    questions.ask(dag_id="desk", task_id="too", run_id="r2", params={"render_id": "900"})
    questions.ask(dag_id="desk", task_id="not", run_id="r3", params={"task_id": "render", "map_index": 0})
    questions.dag(chain("ads", "render", "of_second"))

    assert sorted(names(admin, first)) == ["of_first", "too"]
    assert sorted(names(admin, second)) == ["from_afar", "of_second"]
    (of_first,) = (one for one in asked(admin, first) if one["ref"]["task_id"] == "of_first")
    assert {field["name"]: field["kind"] for field in of_first["fields"]} == {
        "task_id": "fixed",
        "map_index": "fixed",
    }


def test_an_open_question_says_what_can_be_answered_and_from_when(
    admin: Reader, records: Records, questions: Questions
) -> None:
    ref = records.landed(FILE)
    parked = pendulum.now("UTC").subtract(seconds=2)
    questions.ask(parked_at=parked, params=PARAMS, assignees=[{"id": "1", "name": "vera"}], multiple=True)
    questions.dag(chain("ads", "render", "review"))

    (one,) = asked(admin, ref)

    assert (one["state"], one["subject"], one["options"]) == ("open", "Publish?", ["Publish", "Again"])
    assert (one["multiple"], one["assigned"], one["decided"]) == (True, ["vera"], None)
    assert pendulum.parse(one["answerable_from"]) == parked.add(seconds=10)
    assert 0 < one["answerable_in"] <= 8
    note, pay = one["fields"]
    assert (note["kind"], note["title"], note["description"], note["most"]) == ("text", "Note", "For all", 90)
    assert (pay["kind"], pay["title"], pay["value"], pay["confirms"]) == ("flag", "Pay", False, "Again")


def test_a_question_can_be_answered_only_while_it_is_parked(
    admin: Reader, records: Records, questions: Questions
) -> None:
    ref = records.landed(FILE)
    expected = {
        "awaiting_input": ("open", True), "deferred": ("open", True), "running": ("open", False),
        "queued": ("open", False), "failed": ("closed", False), "skipped": ("closed", False),
    }  # fmt: skip
    for at, state in enumerate(expected):
        questions.ask(task_id=f"review_{at}", state=state)
    questions.dag(chain("ads", "render", *(f"review_{at}" for at in range(len(expected)))))

    shown = {one["task_state"]: (one["state"], one["parked_at"] is not None) for one in asked(admin, ref)}
    assert shown == expected


def test_a_decision_says_who_decided_what_and_when(
    admin: Reader, records: Records, questions: Questions
) -> None:
    ref = records.landed(FILE)
    answer: dict[str, Any] = {
        "responded_at": NOW.add(hours=1),
        "chosen_options": ["Publish"],
        "params": PARAMS,
    }
    by_vera: dict[str, Any] = {
        "responded_by": {"id": "7", "name": "vera"},
        "params_input": {"note": "Lovely", "pay": False},
    }
    questions.ask(state="success", **answer, **by_vera)
    questions.ask(task_id="silence", state="success", **answer)
    questions.dag(chain("ads", "render", "review", "silence"))

    person, default = (one["decided"] for one in asked(admin, ref))

    assert (person["by"], person["options"]) == ("vera", ["Publish"])
    assert pendulum.parse(person["at"]) == NOW.add(hours=1)
    assert person["filled"] == [{"title": "Note", "value": "Lovely"}]
    assert (default["by"], default["filled"]) == (None, []), "nobody answered, and Airflow took the default"


def test_fields_are_shown_by_their_type(admin: Reader, records: Records, questions: Questions) -> None:
    ref = records.landed(FILE)
    fields: dict[str, tuple[Any, dict[str, Any] | None, str]] = {
        "choice": ("a", {"enum": ["a", "b"]}, "choice"),
        "count": (1, {"type": ["integer", "null"]}, "number"),
        "list": ([], {"type": "array"}, "other"),
        "bare_text": ("", None, "text"),
        "bare_flag": (True, None, "flag"),
        "bare_number": (1.5, None, "number"),
        "needed": (None, {"type": "string", "minLength": 3}, "text"),
    }
    params = {
        name: value if schema is None else {"value": value, "description": None, "schema": schema}
        for name, (value, schema, _) in fields.items()
    }
    fields["of_dag"] = ("x", {}, "fixed")
    params["of_dag"] = {"value": "x", "description": None, "schema": {"type": "string"}, "source": "dag"}
    questions.ask(params=params)
    questions.dag(chain("ads", "render", "review"))

    (one,) = asked(admin, ref)
    assert {field["name"]: field["kind"] for field in one["fields"]} == {
        n: kind for n, (*_, kind) in fields.items()
    }
    assert [field["name"] for field in one["fields"] if field["required"]] == ["needed"]


def test_questions_are_shown_to_those_who_can_read_the_render_and_the_question(
    admin: Reader,
    viewer: Reader,
    without_xcom: Reader,
    anonymous: Reader,
    records: Records,
    questions: Questions,
) -> None:
    mine = records.landed(FILE, render_id="1")
    secret = records.landed(FILE, dag_id="secret_launch", render_id="2")
    questions.ask(task_id="review")
    questions.ask(dag_id="secret_launch", task_id="hidden", params={"render_id": "1"})
    questions.dag(chain("ads", "render", "review"))
    questions.dag(chain("secret_launch", "render", "hidden"))

    assert sorted(names(admin, mine)) == ["hidden", "review"]
    assert names(viewer, mine) == ["review"], (
        "a question of a hidden DAG about a render of one's own stays hidden"
    )
    assert viewer.get("api/review", secret).status_code == 403
    assert without_xcom.get("api/review", mine).status_code == 403
    assert anonymous.get("api/review", mine).status_code == 401


def test_without_a_question_there_is_nothing(admin: Reader, records: Records, questions: Questions) -> None:
    assert asked(admin, records.landed(FILE)) == []
    running = records.add(run_id="r2", state="deferred", render=render_payload(task_id="3"))
    assert asked(admin, running) == []
    questions.ask(run_id="r2", task_id="review")  # its DAG is unknown, as after `airflow db clean`
    assert asked(admin, running) == []


def test_a_card_shows_the_last_question_about_its_render(
    admin: Reader, viewer: Reader, records: Records, questions: Questions
) -> None:
    for index in range(3):
        records.landed(FILE, map_index=index, render_id=str(index))
    records.landed(FILE, dag_id="other", render_id="3")
    decided: dict[str, Any] = {
        "responded_at": NOW,
        "chosen_options": ["Publish"],
        "responded_by": {"id": "7", "name": "vera"},
    }
    questions.ask(map_index=0, state="success", created_at=NOW, **decided)
    questions.ask(map_index=1, state="success", created_at=NOW, **decided)
    questions.ask(map_index=1, task_id="lead", created_at=NOW.add(minutes=1))
    questions.dag(chain("ads", "render", "review", "lead"))

    shown = {card["render_id"]: card["review"] for card in viewer.renders()["cards"]}

    by_vera = {"by": "vera", "at": NOW.isoformat(), "options": ["Publish"]}
    assert shown == {
        "0": {"state": "decided", "subject": "Publish?", "decided": by_vera},
        "1": {"state": "open", "subject": "Publish?", "decided": None},
        "2": None,
        "3": None,
    }
    assert shown == {card["render_id"]: card["review"] for card in admin.renders()["cards"]}
