# SPDX-License-Identifier: Apache-2.0
"""A connection that is not there, one that cannot be read, and one that cannot be asked for now."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jimeng.core.errors import (
    MissingConnectionError,
    NotSentError,
    ParameterError,
    SettingsError,
)
from airflow_provider_jimeng.hooks.connection_cache import look_up_connection, readable
from airflow_provider_jimeng.hooks.jimeng import JimengHook
from airflow_provider_jimeng.operators.plan import JimengPlanOperator
from airflow_provider_jimeng.operators.video import JimengDownloadVideoOperator, JimengSubmitVideoOperator
from airflow_provider_jimeng.sensors.video import JimengVideoSensor
from tests.harness.dag_runs import dag_file, run_dag
from tests.harness.lab import open_lab
from tests.meta.tree import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.harness.lab import Lab

SECRET = "c2VjcmV0"
REFUSED_BY_AIRFLOW = "its extra is not a JSON object"  # 3.0 and 3.1 refuse it before they make a connection
FIELDS = {"conn_type": "jimeng", "login": "AKLT", "password": SECRET}


def test_a_connection_that_does_not_exist_says_how_to_add_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_NOWHERE", raising=False)
    with pytest.raises(MissingConnectionError) as missing:
        _ = JimengHook(jimeng_conn_id="nowhere").settings
    text = str(missing.value)
    for way in ("'nowhere'", "Admin, Connections", "airflow connections add nowhere", "AIRFLOW_CONN_NOWHERE"):
        assert way in text
    assert "\n" not in text
    assert not missing.value.retryable
    assert missing.value.__cause__ is None
    assert missing.value.__suppress_context__
    assert JimengHook(jimeng_conn_id="nowhere").test_connection() == (False, text)


def sensor(render: Any, **changes: Any) -> Any:
    return JimengVideoSensor(task_id="wait", render=render, poke_interval=0.01, **changes)


TASKS: dict[str, Callable[[Lab, Any], Any]] = {
    "generate": lambda lab, _: lab.generate(jimeng_conn_id="nowhere"),
    "submit": lambda _, __: JimengSubmitVideoOperator(task_id="t", prompt="x", jimeng_conn_id="nowhere"),
    "plan": lambda _, __: JimengPlanOperator(task_id="t", rows=[{"prompt": "x"}], jimeng_conn_id="nowhere"),
    "download": lambda lab, render: JimengDownloadVideoOperator(
        task_id="t", render=render, output_path=f"{lab.videos}/"
    ),
    "download by id": lambda lab, _: JimengDownloadVideoOperator(
        task_id="t", render_id="7", model="t2v_720p", jimeng_conn_id="nowhere", output_path=f"{lab.videos}/"
    ),
    "deferrable sensor": lambda _, render: sensor(render, deferrable=True),
    "poking sensor": lambda _, render: sensor(render, deferrable=False),
}


@pytest.mark.parametrize("kind", TASKS)
def test_a_task_without_its_connection_fails_at_once_and_pays_nothing(tmp_path: Path, kind: str) -> None:
    with open_lab(tmp_path) as lab:
        render = {**JimengHook().submit(prompt="x").to_payload(), "jimeng_conn_id": "nowhere"}
        stage = lab.task(lambda: TASKS[kind](lab, render), retries=3)
        assert stage.run() == "failed"
        assert stage.try_number == 1
        assert isinstance(stage.errors[0], MissingConnectionError)
        assert "airflow connections add nowhere" in str(stage.errors[0])
        assert "\n" not in str(stage.errors[0])
        assert lab.emulator.bill()["submits"] == 1, "that of the test itself"


def test_a_sensor_waits_for_a_connection_that_was_deleted_after_its_first_poke(tmp_path: Path) -> None:
    with open_lab(tmp_path) as lab:
        render = JimengHook().submit(prompt="x").to_payload()
        task, stage = sensor(render, deferrable=False), lab.task(lambda: sensor(render))
        stage.store.latest = "try-1"
        context = stage._context(stage._task_instance())
        assert not task.poke(context)
        kept = os.environ.pop("AIRFLOW_CONN_JIMENG_DEFAULT")
        assert not task.poke(context)
        os.environ["AIRFLOW_CONN_JIMENG_DEFAULT"] = kept
        lab.clock.ahead += 10
        assert task.poke(context)


DAG_FILE = """
from airflow.providers.common.compat.sdk import DAG
from airflow_provider_jimeng.operators.video import JimengGenerateVideoOperator

with DAG("unconnected", schedule=None):
    JimengGenerateVideoOperator(
        task_id="render", prompt="x", output_path="/v/", jimeng_conn_id="nowhere", retries=3, deferrable=True
    )
"""


def test_the_api_server_is_believed_that_there_is_no_such_connection() -> None:
    with dag_file("unconnected.py", DAG_FILE):
        run = run_dag("unconnected", {})
    assert run.states == {"render": "failed"}
    assert [ti.try_number for ti in run.instances] == [1]


@pytest.mark.needs("task state store")
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("CONNECTION_NOT_FOUND", MissingConnectionError),
        ("API_SERVER_ERROR", NotSentError),
        ("GENERIC_ERROR", NotSentError),
        (None, NotSentError),
    ],
)
def test_an_api_server_that_fails_is_an_outage(
    monkeypatch: pytest.MonkeyPatch, answer: str | None, error: type[Exception]
) -> None:
    """A scripted supervisor stands between the task and the API server."""
    kinds = import_module("airflow.sdk.exceptions").ErrorType
    messages = import_module("airflow.sdk.execution_time.comms")
    response = None if answer is None else messages.ErrorResponse(error=kinds[answer])
    supervisor = SimpleNamespace(send=lambda _: response)
    runner = import_module("airflow.sdk.execution_time.task_runner")
    monkeypatch.setattr(runner, "SUPERVISOR_COMMS", supervisor, raising=False)
    with pytest.raises(error, match="'nowhere'") as raised:
        look_up_connection("nowhere")
    assert raised.value.retryable is (error is NotSentError)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (f'{{"conn_type": "jimeng", "password": "{SECRET}"', "neither the JSON nor the URI"),
        (json.dumps({**FIELDS, "usr": "x"}), "neither the JSON nor the URI"),
        (json.dumps({**FIELDS, "port": "eighty"}), "neither the JSON nor the URI"),
        (f"jimeng://AKLT:{SECRET}/x@gw.example.com", "write / as %2F"),
        (
            json.dumps({**FIELDS, "extra": "{'auth': 'bearer'}"}),
            f"extra: it is not valid JSON|{REFUSED_BY_AIRFLOW}",
        ),
        (json.dumps({**FIELDS, "extra": "[" * 100}), f"extra: it is not valid JSON|{REFUSED_BY_AIRFLOW}"),
        (json.dumps({**FIELDS, "extra": ["bearer"]}), f"extra: expected a JSON object|{REFUSED_BY_AIRFLOW}"),
        (json.dumps({**FIELDS, "extra": "5"}), f"extra: expected a JSON object|{REFUSED_BY_AIRFLOW}"),
        (json.dumps({**FIELDS, "conn_type": "http"}), "its type is 'http'"),
    ],
)
def test_a_connection_that_cannot_be_read_is_refused_in_one_line_for_good(
    monkeypatch: pytest.MonkeyPatch, value: str, problem: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_BROKEN", value)
    with pytest.raises(SettingsError, match=r"^Connection 'broken': ") as refused:
        _ = JimengHook(jimeng_conn_id="broken").settings
    text = str(refused.value)
    assert re.search(problem, text)
    assert SECRET not in text
    assert "\n" not in text
    assert not isinstance(refused.value, MissingConnectionError)
    assert not refused.value.retryable


@pytest.mark.parametrize("kind", ["", "jimeng", "generic", None])
def test_a_connection_without_a_type_of_another_service_is_taken(kind: str | None) -> None:
    connection: Any = SimpleNamespace(conn_id="x", conn_type=kind, password=SECRET, extra="null")
    assert readable(connection) is connection


def test_a_connection_that_cannot_be_decrypted_names_the_key_to_check() -> None:
    class Encrypted(SimpleNamespace):
        @property
        def password(self) -> str:
            raise ValueError("of a Fernet token")

    connection: Any = Encrypted(conn_id="x", conn_type="jimeng", extra=None)
    with pytest.raises(
        SettingsError, match=r"'x': it cannot be decrypted \(ValueError\)\. Check \[core\] fernet_key"
    ):
        readable(connection)


def test_access_that_airflow_denies_is_not_asked_for_again() -> None:
    def denied(_: str) -> Any:
        raise PermissionError("no")

    with pytest.raises(SettingsError, match="'x': Airflow denies this task access"):
        look_up_connection("x", denied)


@pytest.mark.parametrize("jimeng_conn_id", ["", " ", "None", None])
def test_an_empty_id_is_the_fault_of_the_argument(jimeng_conn_id: Any) -> None:
    with pytest.raises(ParameterError, match="jimeng_conn_id: is empty"):
        look_up_connection(jimeng_conn_id)


@pytest.mark.parametrize(
    ("jimeng_conn_id", "present", "absent"),
    [
        ("jimeng-films.eu", "connections add jimeng-films.eu ", "AIRFLOW_CONN_"),
        ("films#1", "connections add 'films#1' ", "AIRFLOW_CONN_"),
        ("{{ params.conn }}", "Check jimeng_conn_id", "connections add"),
        ("films\nnew", "Check jimeng_conn_id", "connections add"),
        ("x" * 5000, "Check jimeng_conn_id", "connections add"),
    ],
)
def test_only_the_ways_that_can_work_are_named(jimeng_conn_id: str, present: str, absent: str) -> None:
    with pytest.raises(MissingConnectionError) as missing:
        look_up_connection(jimeng_conn_id)
    text = str(missing.value)
    assert present in text
    assert absent not in text
    assert "\n" not in text
    assert len(text) <= 4000


def test_a_secrets_back_end_that_fails_is_an_outage() -> None:
    """In a process of its own, because Airflow keeps the back ends that it has loaded."""
    code = "from airflow_provider_jimeng.hooks.connection_cache import look_up_connection as l; l('nowhere')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "AIRFLOW__SECRETS__BACKEND": "tests.hooks.failing_secrets.FailingBackend"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stderr.splitlines()[-1]
    assert NotSentError.__name__ in last
    assert "The connection 'nowhere' cannot be read now (ConnectionRefusedError)" in last
