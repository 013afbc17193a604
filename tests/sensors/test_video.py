# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import logging
import os
import time
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSensorTimeout

from airflow_provider_jimeng.core.errors import NoLinkError, ParameterError, RenderFailedError
from airflow_provider_jimeng.hooks.jimeng import JimengHook
from airflow_provider_jimeng.sensors.video import JimengVideoSensor
from tests.harness.fake_airflow import FakeTask

if TYPE_CHECKING:
    from tests.harness.lab import Lab


def submitted(lab: Lab) -> dict[str, Any]:
    return JimengHook().submit(prompt="a red kite").to_payload()


def sensing(render: Any, **changes: Any) -> JimengVideoSensor:
    return JimengVideoSensor(
        **{"task_id": "wait", "render": render, "poke_interval": 0.05, "poll_interval": 0.03, **changes}
    )


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_sensor_returns_the_render_once_it_is_done(lab: Lab, *, deferrable: bool) -> None:
    render = submitted(lab)
    stage = lab.task(lambda: sensing(render, deferrable=deferrable))
    assert stage.run() == "success"
    assert stage.result == stage.xcom("jimeng_render") == render


def test_a_render_that_is_done_already_is_not_waited_for(lab: Lab) -> None:
    render = submitted(lab)
    lab.clock.ahead += 10
    stage = lab.task(lambda: sensing(render, deferrable=True))
    stage.interruptions.at("deferred")
    assert stage.run() == "success"
    assert stage.interruptions.waiting


def test_one_poke_of_a_running_render_says_not_yet(lab: Lab) -> None:
    render = submitted(lab)
    stage = FakeTask(lambda: sensing(render))
    stage.store.latest = "try-1"
    poke = sensing(render).poke(stage._context(stage._task_instance()))
    assert not poke
    assert stage.xcom("jimeng_render") == render, "whoever looks sees what is waited for"


def test_a_deferred_sensor_says_what_it_waits_for(lab: Lab) -> None:
    lab.emulator.render_seconds = 60
    render = submitted(lab)
    seen: list[Any] = []

    def look() -> None:
        seen.append(stage.xcom("jimeng_render"))
        lab.clock.ahead += 60

    stage = lab.task(lambda: sensing(render, deferrable=True))
    stage.interruptions.at("deferred", look)
    assert stage.run() == "success"
    assert seen == [render]


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_failed_render_fails_the_sensor_for_good_and_names_the_task_to_clear(
    lab: Lab, *, deferrable: bool
) -> None:
    lab.emulator.faults.add(where="render", what="fail", code=50511)
    render = submitted(lab)
    stage = lab.task(lambda: sensing(render, deferrable=deferrable))
    assert stage.run() == "failed"
    assert stage.try_number == 1
    assert isinstance(stage.errors[0], RenderFailedError)
    assert "Clear the task that submitted it" in str(stage.errors[0])
    assert stage.xcom("jimeng_render")["code"] == "50511"


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_render_that_takes_too_long_is_a_sensors_timeout(lab: Lab, *, deferrable: bool) -> None:
    lab.emulator.render_seconds = 60
    render = submitted(lab)
    stage = lab.task(lambda: sensing(render, deferrable=deferrable, timeout=0.2))
    assert stage.run() == "failed"
    assert isinstance(stage.errors[0], AirflowSensorTimeout)


@pytest.mark.parametrize(
    "options", [{"soft_fail": True, "timeout": 0.2}, {"never_fail": True, "timeout": 0.2}]
)
def test_a_sensor_that_may_not_fail_skips_instead(lab: Lab, options: dict[str, Any]) -> None:
    lab.emulator.render_seconds = 60
    render = submitted(lab)
    assert lab.task(lambda: sensing(render, deferrable=True, **options)).run() == "skipped"


def test_a_failed_render_is_no_timeout_and_fails_a_soft_sensor(lab: Lab) -> None:
    lab.emulator.faults.add(where="render", what="fail", code=50511)
    render = submitted(lab)
    assert lab.task(lambda: sensing(render, deferrable=True, soft_fail=True)).run() == "failed"


def test_a_throttled_poke_tells_nothing_and_does_not_fail(lab: Lab) -> None:
    lab.emulator.faults.add(where="query", what="error_before", code=50429, nth=1)
    render = submitted(lab)
    lab.clock.ahead += 10
    assert lab.task(lambda: sensing(render)).run() == "success"


class Heard(JimengVideoSensor):
    """A sensor whose log the tests can read on every Airflow."""

    log: Any = logging.getLogger("heard")


def hearing(render: Any, **changes: Any) -> JimengVideoSensor:
    return Heard(**{"task_id": "wait", "render": render, "poke_interval": 0.05, **changes})


def lines_of(caplog: pytest.LogCaptureFixture, render: dict[str, Any]) -> list[str]:
    start = f"Render {render['task_id']}: "
    said = [record.getMessage() for record in caplog.records]
    return [line.removeprefix(start) for line in said if line.startswith(start)]


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
def test_pokes_log_each_change_once_and_no_poll(
    lab: Lab, caplog: pytest.LogCaptureFixture, mode: str
) -> None:
    lab.emulator.render_seconds = 1000
    render = submitted(lab)
    sensor = hearing(render, mode=mode)
    stage = FakeTask(lambda: sensor)
    stage.store.latest = "try-1"
    with caplog.at_level(logging.INFO):
        for ahead in (0, 0, 500, 0, 0):
            lab.clock.ahead += ahead
            if mode == "reschedule":  # every poke is then another process, with Airflow's store for a memory
                sensor = hearing(render, mode=mode)
            assert not sensor.poke(stage._context(stage._task_instance()))
    assert lab.emulator.bill()["queries"] == 5
    assert lines_of(caplog, render) == ["in_queue", "generating"]


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
def test_pokes_remember_since_when_a_link_is_missing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    lab.emulator.faults.add(where="query", what="done_without_url", per="task")
    render = submitted(lab)
    lab.clock.ahead += 10
    sensor = sensing(render, mode=mode)
    stage = FakeTask(lambda: sensor)
    stage.store.latest = "try-1"
    began = time.time()
    for minutes in (0, 5, 14):
        monkeypatch.setattr(time, "time", lambda at=began + minutes * 60: at)
        if mode == "reschedule":
            sensor = sensing(render, mode=mode)
        assert not sensor.poke(stage._context(stage._task_instance()))
    monkeypatch.setattr(time, "time", lambda: began + 15 * 60)
    last = sensing(render, mode=mode) if mode == "reschedule" else sensor
    with pytest.raises(NoLinkError, match=r"data\.video_url"):
        last.poke(stage._context(stage._task_instance()))
    assert stage.xcom("jimeng_render")["outcome"] == "no_link"


@pytest.mark.parametrize(
    ("named", "argument"),
    [
        ({"render_id": "7"}, "model"),
        ({"render_id": "7", "model": "{{ 'jimeng_t2v_v30_pro' }}"}, "model"),
        ({"render_id": "7", "model": "t2v_720p", "poll_interval": "{{ 'soon' }}"}, "poll_interval"),
    ],
)
def test_a_bad_argument_is_refused_before_anything_is_asked(
    lab: Lab, named: dict[str, Any], argument: str
) -> None:
    stage = lab.task(lambda: sensing(None, deferrable=True, **named))
    assert stage.run() == "failed"
    assert isinstance(stage.errors[0], ParameterError)
    assert stage.errors[0].argument == argument
    assert lab.emulator.bill()["queries"] == 0


def test_a_bare_id_may_name_a_model_of_the_connection(lab: Lab) -> None:
    connection = json.loads(os.environ["AIRFLOW_CONN_JIMENG_DEFAULT"])
    connection["extra"]["models"] = {"house_style": {"like": "t2v_720p", "req_key": "jimeng_t2v_v30"}}
    os.environ["AIRFLOW_CONN_JIMENG_DEFAULT"] = json.dumps(connection)
    render = submitted(lab)
    stage = lab.task(lambda: sensing(None, render_id=render["task_id"], model="house_style"))
    assert stage.run() == "success"
    assert stage.result["req_key"] == render["req_key"]


def test_a_sensor_without_a_render_says_so(lab: Lab) -> None:
    stage = lab.task(lambda: sensing(None))
    assert stage.run() == "failed"
    assert isinstance(stage.errors[0], ParameterError)
