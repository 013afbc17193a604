# SPDX-License-Identifier: Apache-2.0
"""Tasks that break inside Airflow's own task runner: tries, XCom, mapping, groups and the state store are Airflow's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_jimeng.retry import JimengRetryPolicy
from tests.harness.dag_runs import dag_file, load_dags, run_dag

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow_provider_jimeng.emulator import JimengEmulator

DAG_FILE = """
from __future__ import annotations

from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG, TaskGroup, get_current_context, task_group
from airflow_provider_jimeng.operators.rescue import JimengRescueOperator
from airflow_provider_jimeng.operators.video import (
    JimengDownloadVideoOperator, JimengGenerateVideoOperator, JimengSubmitVideoOperator,
)
from airflow_provider_jimeng.sensors.video import JimengVideoSensor

OUTPUT = "{{ dag_run.conf['output'] }}"
QUICK = {"deferrable": False, "retry_delay": timedelta(seconds=0)}


class BreaksBeforeLanding(JimengGenerateVideoOperator):
    def _wait(self, submission, render):
        ended = super()._wait(submission, render)
        if get_current_context()["ti"].map_index == 1:
            raise RuntimeError("the worker died")
        return ended


class BreaksOnce(JimengSubmitVideoOperator):
    def execute(self, context):
        payload = super().execute(context)
        if context["ti"].try_number == 1:
            raise RuntimeError("the worker died")
        return payload


with DAG("rescued", schedule=None):
    with TaskGroup("films"):
        BreaksBeforeLanding.partial(
            task_id="render", output_path=f"{OUTPUT}/films/", poll_interval=0.2, retries=0, **QUICK
        ).expand(prompt=["a red kite", "a blue kite", "a green kite"])
    films = JimengRescueOperator(
        task_id="rescue", task_ids="films.render", output_path=f"{OUTPUT}/rescued/", wait_timeout=0
    )
    films.set_upstream(films.dag.get_task("films.render"))

with DAG("rescued_later", schedule=None):
    JimengRescueOperator(
        task_id="rescue",
        task_ids="films.render",
        dag_id="rescued",
        run_id="{{ dag_run.conf['run_id'] }}",
        output_path=f"{OUTPUT}/rescued_later/",
        wait_timeout=0,
    )

with DAG("groups", schedule=None):
    @task_group
    def film(prompt):
        submit = BreaksOnce(
            task_id="submit", prompt=prompt, output_path=f"{OUTPUT}/", retries=1, **QUICK
        )
        wait = JimengVideoSensor(task_id="wait", render=submit.output, poke_interval=0.3, deferrable=False)
        JimengDownloadVideoOperator(task_id="download", render=wait.output, output_path=f"{OUTPUT}/")

    film.expand(prompt=["a red kite", "a red kite"])

with DAG("store_only", schedule=None):
    BreaksOnce(task_id="submit", prompt="a red kite", retries=1, **QUICK)

with DAG("one_name", schedule=None):
    JimengGenerateVideoOperator.partial(
        task_id="render", output_path=f"{OUTPUT}/kite.mp4", poll_interval=0.2, **QUICK
    ).expand(prompt=["a red kite", "a red kite", "a blue kite"])


render = JimengGenerateVideoOperator(task_id="any", prompt="x", output_path="/v/")


class Other(type(getattr(render, "retry_policy", object()))):
    pass


with DAG("policies", schedule=None, default_args={"retry_policy": Other(), "retries": 4}):
    JimengGenerateVideoOperator.partial(task_id="by_dag", output_path="/v/").expand(prompt=["x"])

with DAG("defaults", schedule=None):
    JimengGenerateVideoOperator.partial(task_id="ours", output_path="/v/").expand(prompt=["x"])
    JimengGenerateVideoOperator.partial(
        task_id="given", output_path="/v/", retries=2, retry_policy=Other()
    ).expand(prompt=["x"])
"""


@pytest.fixture(scope="module", autouse=True)
def _dags() -> Iterator[None]:
    with dag_file("broken.py", DAG_FILE):
        yield


@pytest.mark.waits
def test_a_mapped_task_that_broke_is_rescued_from_its_xcom_at_the_end_of_the_dag(
    tmp_path: Path, jimeng_emulator: JimengEmulator
) -> None:
    run = run_dag("rescued", {"output": tmp_path.as_uri()})
    labels = [f"films.render[{index}]" for index in range(3)]
    assert [run.states[label] for label in labels] == ["success", "failed", "success"]
    assert run.states["rescue"] == "success"
    summary = run.xcom("rescue")
    assert {kind: len(found) for kind, found in summary.items() if isinstance(found, list) and found} == {
        "landed": 1,
        "already_landed": 2,
    }
    assert len(list((tmp_path / "rescued").glob("*.mp4"))) == 1

    later = run_dag("rescued_later", {"output": tmp_path.as_uri(), "run_id": run.run_id})
    assert later.state == "success"
    assert len(later.xcom("rescue")["landed"]) + len(later.xcom("rescue")["already_landed"]) == 3
    assert (jimeng_emulator.bill()["accepted"], jimeng_emulator.bill()["billed"]) == (3, 3)


@pytest.mark.waits
def test_a_mapped_group_of_three_tasks_pays_once_a_film_though_each_submit_breaks(
    tmp_path: Path, jimeng_emulator: JimengEmulator
) -> None:
    run = run_dag("groups", {"output": tmp_path.as_uri()})
    assert run.state == "success"
    assert len(list(tmp_path.glob("*.mp4"))) == 2
    assert jimeng_emulator.bill()["accepted"] == 2


@pytest.mark.needs("task state store")
def test_airflows_state_store_alone_is_enough_to_pay_once(jimeng_emulator: JimengEmulator) -> None:
    run = run_dag("store_only", {})
    assert run.state == "success"
    assert list(jimeng_emulator.bill()["by_task"]) == [str(run.xcom("submit", "task_id"))]


def test_mapped_tasks_that_share_a_file_name_are_refused_before_paying(
    tmp_path: Path, jimeng_emulator: JimengEmulator
) -> None:
    run = run_dag("one_name", {"output": tmp_path.as_uri()})
    assert sorted(str(state) for state in run.states.values()) == ["failed", "failed", "success"]
    assert jimeng_emulator.bill()["accepted"] == 1
    assert [path.name for path in tmp_path.glob("*.mp4")] == ["kite.mp4"]


@pytest.mark.needs("retry policies")
@pytest.mark.parametrize(
    ("dag_id", "task_id", "policy", "retries"),
    [("policies", "by_dag", "Other", 4), ("defaults", "given", "Other", 2), ("defaults", "ours", None, 1)],
)
def test_a_mapped_task_has_our_retry_policy_unless_the_dag_or_the_task_gives_another(
    dag_id: str, task_id: str, policy: str | None, retries: int, airflow_database: Path
) -> None:
    mapped = load_dags(airflow_database.parent / "dags")[dag_id].get_task(task_id)
    task = mapped.unmap({"prompt": "x"})
    assert type(task.retry_policy).__name__ == (policy or JimengRetryPolicy.__name__)
    assert task.retries == retries
