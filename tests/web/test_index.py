# SPDX-License-Identifier: Apache-2.0
"""The index follows the database, whatever happens there between two looks."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import delete, update

from airflow_provider_jimeng.web import store
from airflow_provider_jimeng.web.index import Index
from tests.web.records import NOW, intent_payload, manifest_payload, render_payload

if TYPE_CHECKING:
    import pendulum
    from sqlalchemy.orm import Session

    from airflow_provider_jimeng.web.index import Snapshot
    from tests.web.conftest import Reader
    from tests.web.records import Records

FILE = "/nowhere/video.mp4"


def table(name: str) -> Any:
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel

    return {"xcom": XComModel, "task": TaskInstance}[name].__table__


def seen(snapshot: Snapshot) -> list[tuple[Any, ...]]:
    return [
        (
            render.entry.ref,
            render.entry.state,
            render.entry.task_state,
            render.entry.outcome,
            render.facets.money,
            render.billed,
        )
        for render in snapshot.renders
    ]


class Campaign:
    """What tasks do, one step after the other, in the database."""

    def __init__(self, session: Session, records: Records) -> None:
        self.session, self.records, self.now = session, records, NOW

    def tick(self) -> pendulum.DateTime:
        self.now = self.now.add(seconds=7)
        return self.now

    def set_task(self, run_id: str, **values: Any) -> None:
        task = table("task")
        self.session.execute(update(task).where(task.c.run_id == run_id).values(**values))
        self.session.commit()

    def land(self, run_id: str, manifest: Any) -> None:
        self.push(run_id, "return_value", manifest)
        self.set_task(run_id, state="success")

    def start_again(self, run_id: str, **values: Any) -> None:
        self.forget(run_id)
        self.set_task(run_id, state="running", **values)

    def push(self, run_id: str, key: str, value: Any) -> None:
        self.forget(run_id, key)
        ref = {"dag_id": "ads", "run_id": run_id, "task_id": "render", "map_index": -1}
        run = self.records.run("ads", run_id, self.now)
        self.records._insert(
            _model("xcom"), **ref, dag_run_id=run, key=key, value=value, timestamp=self.tick()
        )
        self.session.commit()

    def forget(self, run_id: str, *keys: str, map_index: int = -1) -> None:
        xcom = table("xcom")
        statement = delete(xcom).where(xcom.c.run_id == run_id, xcom.c.map_index >= map_index)
        self.session.execute(statement.where(xcom.c.key.in_(keys)) if keys else statement)
        self.session.commit()


def _model(name: str) -> Any:
    from airflow.models.xcom import XComModel

    return {"xcom": XComModel}[name]


def test_the_index_that_followed_each_step_agrees_with_one_that_reads_all_anew(
    session: Session, records: Records
) -> None:
    campaign = Campaign(session, records)
    following, seldom = Index(trust_seconds=0), Index(trust_seconds=0)
    paid = render_payload(task_id="1", submitted_at=NOW)
    manifest = manifest_payload(FILE, task_id="1")
    refusal = {"refused_at": NOW.isoformat(), "outcome": "failed", "code": "50411"}
    steps: list[Any] = [
        lambda: records.add(run_id="a", state="deferred", render=paid, at=campaign.tick()),
        lambda: campaign.set_task("a", state="scheduled"),
        lambda: campaign.land("a", manifest),
        lambda: records.add(run_id="b", state="running", at=campaign.tick()),
        lambda: campaign.push("b", "jimeng_refusal", refusal),
        lambda: campaign.set_task("b", state="up_for_retry"),
        lambda: campaign.set_task("b", state="queued", try_number=2),
        lambda: campaign.start_again("b"),
        lambda: campaign.push("b", "jimeng_intent", intent_payload()),
        lambda: campaign.set_task("b", state="failed"),
        lambda: campaign.set_task("b", state="scheduled"),
        lambda: campaign.start_again("b", try_number=3),
        lambda: campaign.push("b", "jimeng_render", render_payload(task_id="1")),
        lambda: campaign.push("b", "jimeng_render", render_payload(task_id="2", outcome="timed_out")),
        lambda: campaign.push("b", "jimeng_earlier", {"renders": [{"task_id": "1", "state": "lost"}]}),
        lambda: campaign.set_task("b", state="failed"),
        lambda: campaign.forget("a"),
        lambda: records.add(run_id="skewed", render=render_payload(task_id="4"), at=campaign.now.subtract(minutes=9)),
        lambda: [records.add(run_id="m", map_index=at, render=render_payload(task_id=f"m{at}"), at=campaign.tick()) for at in (0, 1)],
        lambda: campaign.forget("m", map_index=0),
        lambda: records.add(dag_id="late", run_id="c", render=render_payload(task_id="3"), at=NOW.subtract(days=3)),
        lambda: campaign.forget("b"),
        lambda: campaign.forget("c"),
        lambda: campaign.forget("skewed"),
        lambda: campaign.forget("m"),
    ]  # fmt: skip
    for number, step in enumerate(steps):
        step()
        anew = seen(Index().update(session))
        assert seen(following.update(session)) == anew, f"after step {number}"
        if number % 3 == 2:
            assert seen(seldom.update(session)) == anew, f"another process, after step {number}"
    assert seen(following.update(session)) == []


def test_an_update_without_a_change_reads_no_payload(session: Session, records: Records) -> None:
    from airflow import settings
    from sqlalchemy import event

    for number in range(30):
        records.landed(FILE, run_id=f"r{number}", render_id=str(number), commit=False)
    session.commit()
    index = Index()
    index.update(session)
    statements: list[str] = []

    def remember(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(settings.engine, "before_cursor_execute", remember)
    try:
        first, again = index.update(session), index.update(session)
    finally:
        event.remove(settings.engine, "before_cursor_execute", remember)
    assert len(statements) == 4
    assert not any("xcom.value" in statement for statement in statements)
    assert first is again


def test_more_renders_than_the_index_holds_shorten_the_period(session: Session, records: Records) -> None:
    for number in range(30):
        at = NOW.subtract(hours=number)
        records.landed(FILE, run_id=f"r{number}", render_id=str(number), at=at, submitted_at=at, commit=False)
    session.commit()
    index = Index(most=10)
    snapshot = index.update(session)
    assert [render.entry.render_id for render in snapshot.renders] == [str(number) for number in range(9)]
    assert snapshot.since == NOW.subtract(hours=8)
    assert index.update(session, NOW.subtract(days=20)) is snapshot


def test_a_longer_period_is_read_when_a_reader_asks_for_it(admin: Reader, records: Records) -> None:
    records.landed(FILE, run_id="old", render_id="1", at=NOW, submitted_at=NOW)
    now = NOW.add(days=50)
    records.landed(FILE, run_id="new", render_id="2", at=now, submitted_at=now)

    page = admin.renders()
    assert ([card["render_id"] for card in page["cards"]], page["totals"]["renders"]) == (["2"], 1)
    assert page["period"] == {"since": "2026-05-24T00:00:00+00:00", "is_default": True}
    wide = admin.renders(since="2026-01-01T00:00:00Z")
    assert [card["render_id"] for card in wide["cards"]] == ["2", "1"]
    assert wide["period"] == {"since": "2026-01-01T00:00:00+00:00", "is_default": False}
    assert admin.ids() == ["2"]
    old = admin.renders(run_id="old")
    assert [card["render_id"] for card in old["cards"]] == ["1"], "a run that is named is shown however old"
    assert old["period"] == {"since": None, "is_default": True}


def test_a_new_day_leaves_old_renders_out_and_reads_none_of_the_others_again(
    session: Session, records: Records
) -> None:
    for name, days in (("old", 0), ("other", 20), ("last", 21)):
        at = NOW.add(days=days)
        records.landed(FILE, run_id=name, render_id=name, prompt=name, at=at, submitted_at=at)
    index = Index(trust_seconds=0)
    assert [render.entry.render_id for render in index.update(session).renders] == ["last", "other", "old"]
    xcom = table("xcom")
    of_other = update(xcom).where(xcom.c.run_id == "other", xcom.c.key == "jimeng_render")
    session.execute(of_other.values(value=render_payload(task_id="other", prompt="read again")))
    at = NOW.add(days=32)
    records.landed(FILE, run_id="new", render_id="new", at=at, submitted_at=at)
    snapshot = index.update(session)
    assert [render.entry.render_id for render in snapshot.renders] == ["new", "last", "other"]
    assert snapshot.renders[2].has("other")
    assert not snapshot.renders[2].has("read again")
    assert snapshot.since == Index().update(session).since
    Campaign(session, records).forget("other")
    assert [render.entry.render_id for render in index.update(session).renders] == ["new", "last"]


def test_a_render_falls_out_of_the_default_period_while_the_index_holds_it(
    admin: Reader, records: Records
) -> None:
    records.landed(FILE, run_id="old", render_id="1", at=NOW, submitted_at=NOW)
    for number, (days, ids, since) in enumerate(
        ((30, ["2", "1"], "2026-05-04"), (31, ["3", "2"], "2026-05-05")), start=2
    ):
        at = NOW.start_of("day").add(days=days)
        records.landed(FILE, run_id=f"r{number}", render_id=str(number), at=at, submitted_at=at)
        page = admin.renders()
        assert [card["render_id"] for card in page["cards"]] == ids
        assert page["period"]["since"] == f"{since}T00:00:00+00:00"
        assert (page["totals"]["renders"], page["totals"]["cost_cny"]) == (2, "2.80")


def test_the_default_period_depends_on_nothing_that_a_reader_cannot_see(
    viewer: Reader, admin: Reader, records: Records
) -> None:
    records.landed(FILE, dag_id="ads", render_id="1", at=NOW, submitted_at=NOW)
    now = NOW.add(days=90)
    records.landed(FILE, dag_id="secret_launch", render_id="2", at=now, submitted_at=now)
    assert admin.ids() == ["2"]
    assert viewer.ids() == ["1"]
    assert viewer.renders()["period"]["since"] == "2026-04-04T00:00:00+00:00"


def test_threads_that_update_at_the_same_time_all_see_a_consistent_state(
    session: Session, records: Records
) -> None:
    from airflow.utils.session import create_session

    index, errors, done = Index(), [], threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                with create_session(scoped=False) as own:
                    renders = index.update(own).renders
                    assert [render.order for render in renders] == sorted(
                        (render.order for render in renders), reverse=True
                    )
        except BaseException as error:  # noqa: BLE001 - it is raised in the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(20):
        at = NOW.add(seconds=number)
        records.landed(FILE, run_id=f"r{number}", render_id=str(number % 7), at=at, submitted_at=at)
    done.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert seen(index.update(session)) == seen(Index().update(session))
    assert len(index.update(session).renders) == 20


def test_a_page_sees_a_task_that_somebody_marked_although_nothing_was_pushed(
    admin: Reader, session: Session, records: Records
) -> None:
    records.add(state="failed", render=render_payload())
    assert [card["state"] for card in admin.renders()["cards"]] == ["failed"]
    Campaign(session, records).set_task("run_1", state="success")
    page = admin.renders()
    assert [card["state"] for card in page["cards"]] == ["submitted"]
    assert page["totals"]["expected_cny"] == "1.40"


WAITING = {"prompt": "a red kite", "model": "jimeng_t2v_v30", "duration": "10", "seed": -1, "take": 2}


@pytest.mark.parametrize("state", ["deferred", "scheduled", "queued", "running"])
def test_a_task_that_waits_for_a_slot_has_a_card(
    state: str, admin: Reader, session: Session, records: Records
) -> None:
    ref = records.add(state=state, arguments={**WAITING, "jimeng_conn_id": "studio", "aspect_ratio": "9:16"})
    campaign = Campaign(session, records)
    campaign.push("run_1", "estimated_cost_cny", "2.80")
    campaign.set_task("run_1", next_method="resume_submit")

    page = admin.renders()

    (card,) = page["cards"]
    assert (card["ref"], card["state"], card["task_state"]) == (ref, "waiting", state)
    assert (card["prompt"], card["duration"], card["take"], card["seed"]) == ("a red kite", 10, 2, None)
    assert (card["ratio"], card["jimeng_conn_id"]) == ("9:16", "studio")
    assert (card["money"], card["amount_cny"], page["totals"]["expected_cny"]) == ("expected", "2.80", "2.80")
    assert admin.renders(state="waiting", q="kite red")["totals"]["renders"] == 1
    assert admin.get("api/render", ref).json()["card"]["state"] == "waiting"

    campaign.push("run_1", "jimeng_render", render_payload(task_id="1"))
    assert [(card["state"], card["render_id"]) for card in admin.renders()["cards"]] == [("running", "1")]


def test_a_task_that_runs_before_its_submit_has_a_card_and_other_tasks_have_none(
    admin: Reader, viewer: Reader, session: Session, records: Records
) -> None:
    for number, (dag_id, operator) in enumerate(
        (
            ("ads", "JimengGenerateVideoOperator"),
            ("secret_launch", "JimengSubmitVideoOperator"),
            ("ads", "Any"),
        )
    ):
        run_id = f"r{number}"
        records.add(dag_id=dag_id, run_id=run_id, state="running", arguments={"prompt": dag_id})
        Campaign(session, records).set_task(run_id, operator=operator)
    assert sorted(card["prompt"] for card in admin.renders()["cards"]) == ["ads", "secret_launch"]
    (card,) = viewer.renders()["cards"]
    assert (card["prompt"], card["amount_cny"]) == ("ads", None)


def test_a_page_that_did_not_change_is_not_sent_again(
    admin: Reader, viewer: Reader, session: Session, records: Records
) -> None:
    records.landed(FILE, render_id="1")
    first = admin.get("api/renders")
    tag = first.headers["etag"]
    assert admin.get("api/renders", if_none_match=f'"other", W/{tag}').status_code == 304
    again = admin.get("api/renders", if_none_match=tag)
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert admin.get("api/renders", {"q": "nothing"}, if_none_match=tag).status_code == 200
    records.landed(FILE, dag_id="secret_launch", run_id="2", render_id="2")
    changed = admin.get("api/renders", if_none_match=tag)
    assert changed.status_code == 200
    assert viewer.get("api/renders", if_none_match=tag).status_code == 304, "nothing that vera sees changed"
    assert viewer.get("api/renders", if_none_match=changed.headers["etag"]).status_code == 200
    Campaign(session, records).set_task("2", state="failed")
    assert admin.get("api/renders", if_none_match=changed.headers["etag"]).status_code == 200


def test_processes_with_indexes_of_their_own_give_the_same_tag(
    admin: Reader, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = ""
    for number in range(5):
        records.landed(FILE, run_id=f"r{number}", render_id=str(number))
        tag = admin.get("api/renders").headers["etag"]
    monkeypatch.setattr(store, "_index", Index())
    assert admin.get("api/renders", if_none_match=tag).status_code == 304
