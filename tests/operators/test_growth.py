# SPDX-License-Identifier: Apache-2.0
"""What a user has more of each month costs a bounded number of calls and bytes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jimeng.core.errors import NotSentError
from airflow_provider_jimeng.hooks.jimeng import JimengHook
from airflow_provider_jimeng.operators.rescue import MAX_LISTED, JimengRescueOperator
from airflow_provider_jimeng.operators.unsaved_renders import UnsavedRenders
from airflow_provider_jimeng.operators.xcom import pull_by_index
from airflow_provider_jimeng.storage.output import OutputPath
from tests.harness.fake_airflow import FakeTask

if TYPE_CHECKING:
    from airflow_provider_jimeng.client.settings import ClientSettings
    from tests.harness.lab import Lab


class Instances:
    """The instances of one mapped task. It answers what Airflow's API server answers, and counts the calls."""

    dag_id, run_id = "ads", "now"

    def __init__(self, values: list[Any], states: list[str]) -> None:
        self.values, self.states = values, states
        self.calls: Counter[str] = Counter()

    def xcom_pull(self, *, task_ids: Any, key: str, map_indexes: int | None = None) -> Any:
        self.calls["xcom_pull"] += 1
        if map_indexes is not None:
            return self.values[map_indexes]
        return [value for value in self.values if value is not None]

    def get_task_states(self, **_: Any) -> dict[str, dict[str, str]]:
        self.calls["get_task_states"] += 1
        return {self.run_id: {f"render_{index}": state for index, state in enumerate(self.states)}}


def pulled(instances: Instances, **options: Any) -> dict[int, Any]:
    context: Any = {"ti": instances}
    return pull_by_index(context, "render", "jimeng_render", len(instances.values), **options)


@pytest.mark.parametrize("failed", [{500}, set(range(0, 1000, 2)), set(range(1, 1000))])
def test_values_that_say_whose_they_are_need_one_call(failed: set[int]) -> None:
    values = [None if index in failed else {"map_index": index, "task_id": "x"} for index in range(1000)]
    instances = Instances(values, [])
    assert pulled(instances) == {index: value for index, value in enumerate(values) if value is not None}
    assert instances.calls.total() == 1


@pytest.mark.parametrize(
    "states",
    [
        ["success", "failed", "success"],
        ["success", "success", "success"],  # a person marked the second one
        ["failed", "success", "success"],  # a person marked two of them
    ],
)
def test_what_instances_returned_is_placed_by_their_states_or_by_their_renders(states: list[str]) -> None:
    values = [{"task_id": "a"}, None, {"task_id": "c"}]
    renders = {index: {"task_id": name} for index, name in enumerate("abc")}
    instances = Instances(values, states)
    assert pulled(instances, renders=renders) == {0: {"task_id": "a"}, 2: {"task_id": "c"}}
    assert instances.calls.total() == 2


def test_values_of_an_older_version_are_still_found() -> None:
    instances = Instances([{"task_id": "a"}, None, {"task_id": "c"}], ["success", "success", "success"])
    assert pulled(instances, renders={}) == {0: {"task_id": "a"}, 2: {"task_id": "c"}}
    assert pulled(instances) == {0: {"task_id": "a"}, 2: {"task_id": "c"}}


def test_a_submitting_task_says_its_map_index_in_what_it_pushes(lab: Lab) -> None:
    stage = lab.task(map_index=7)
    stage.run()
    assert stage.xcom("jimeng_render")["map_index"] == 7


# --------------------------------------------------------------------------------------------------------------- rescue
class Counted(JimengHook):
    """Counts its look-ups of the connection."""

    looked_up = 0
    answers = True

    @property
    def settings(self) -> ClientSettings:
        if self._settings is None:
            type(self).looked_up += 1
            if not self.answers:
                raise NotSentError("the secrets back end does not answer")
        return super().settings


def running(lab: Lab, count: int, *, rounds: int, answers: bool) -> tuple[int, dict[str, Any]]:
    """Return how often a rescue looks the connection up while renders run, and its summary."""
    with JimengHook() as hook:
        renders = [hook.submit(prompt=f"a kite {number}") for number in range(count)]

    class Hook(Counted):
        pass

    Hook.answers = answers
    waits: list[float] = []
    unsaved = UnsavedRenders(
        folder=OutputPath(output_path=f"{lab.videos}/"),
        hook_for=lambda conn_id: Hook(jimeng_conn_id=conn_id),
        now=lambda: float(len(waits)),
        sleep=waits.append,
    )
    for render in renders:
        unsaved.add_payload(render.to_payload(), owner=("ads", "now", "render"))
    summary = unsaved.run(deadline=rounds - 1.0)
    return Hook.looked_up, summary


@pytest.mark.parametrize(("answers", "looked_up"), [(True, 1), (False, 3)])
def test_a_connection_is_looked_up_once_or_once_a_round_while_it_does_not_answer(
    lab: Lab, *, answers: bool, looked_up: int
) -> None:
    lab.emulator.render_seconds = 3600
    count, summary = running(lab, 4, rounds=3, answers=answers)
    assert count == looked_up
    assert len(summary["running" if answers else "problems"]) == 4


def test_a_push_of_a_rescue_is_bounded_and_counts_all(lab: Lab) -> None:
    class Many(JimengRescueOperator):
        def _collect(self, context: Any, unsaved: UnsavedRenders, folder: OutputPath) -> None:
            unsaved.summary["unknown"] += [{"message": f"unknown {n}"} for n in range(3 * MAX_LISTED)]

    stage = FakeTask(lambda: Many(task_id="rescue", output_path=f"{lab.videos}/", wait_timeout=0), retries=0)
    assert stage.run() == "success"
    for summary in (stage.result, stage.xcom("jimeng_rescue")):
        assert len(summary["unknown"]) == MAX_LISTED
        assert summary["counts"]["unknown"] == 3 * MAX_LISTED
