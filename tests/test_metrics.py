# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import Stats

from airflow_provider_jimeng.core.render import RenderManifest
from airflow_provider_jimeng.operators.video import JimengDownloadVideoOperator, JimengSubmitVideoOperator
from airflow_provider_jimeng.operators.xcom import count_landing
from airflow_provider_jimeng.sensors.video import JimengVideoSensor
from tests.harness.fake_airflow import FakeTask
from tests.harness.lab import Lab, open_lab

MEASURED = {"render": "render_seconds", "queue": "queued_seconds"}
"""The keys of a manifest, by the name of their metric. A slow machine can see no query before the end of a render."""
DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "campaigns.md"


class Counted:
    """What Airflow's `Stats` is told, in place of a statsd server."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.counted: dict[tuple[str, ...], float] = {}
        self.timed: dict[str, timedelta] = {}
        monkeypatch.setattr(Stats, "incr", self._incr)
        monkeypatch.setattr(Stats, "timing", self._timing)

    def _incr(self, stat: str, count: int = 1, rate: float = 1, *, tags: dict[str, Any]) -> None:
        assert tags["model"] == "t2v_720p"
        key = (stat, *(str(value) for name, value in tags.items() if name != "model"))
        self.counted[key] = self.counted.get(key, 0) + count

    def _timing(self, stat: str, dt: timedelta, *, tags: dict[str, Any]) -> None:
        assert tags == {"model": "t2v_720p"}
        self.timed[stat] = dt


@pytest.fixture
def stats(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with open_lab(tmp_path) as opened:
        yield opened


def test_a_render_is_counted_from_busy_to_landed_with_seconds_bytes_and_cost(
    lab: Lab, stats: Counted
) -> None:
    lab.emulator.faults.add(where="submit", what="error_before", code=50430, nth=1)
    lab.options.update(deferrable=False, max_wait_for_slot=0.2)
    stage = lab.task(retries=0)
    assert stage.run() == "success"
    assert stats.counted == {
        ("jimeng.busy",): 1,
        ("jimeng.submitted",): 1,
        ("jimeng.landed",): 1,
        ("jimeng.landed_bytes",): stage.result["bytes"],
        ("jimeng.cost_fen",): 140,
    }
    seconds = {f"jimeng.{name}_seconds": stage.result[key] for name, key in MEASURED.items()}
    assert stats.timed == {
        name: timedelta(seconds=each) for name, each in seconds.items() if each is not None
    }


def test_the_seconds_that_queries_saw_are_reported(lab: Lab, stats: Counted) -> None:
    stage = lab.task()
    assert stage.run() == "success"
    stats.timed.clear()
    manifest = RenderManifest.from_payload({**stage.result, "render_seconds": 31.5, "queued_seconds": 4.0})
    count_landing(manifest, since=manifest.landed_at)
    assert stats.timed == {
        "jimeng.render_seconds": timedelta(seconds=31.5),
        "jimeng.queue_seconds": timedelta(seconds=4),
    }


def test_an_adopted_render_is_not_counted_as_submitted_again(lab: Lab, stats: Counted) -> None:
    stage = lab.task()
    stage.interruptions.at("deferred")
    assert stage.run() == "success"
    assert stats.counted["jimeng.submitted",] == stats.counted["jimeng.adopted",] == 1


def test_failures_are_counted_by_the_apis_code(lab: Lab, stats: Counted) -> None:
    lab.emulator.faults.add(where="render", what="fail", code=50413)
    assert lab.task(retries=0).run() == "failed"
    assert stats.counted["jimeng.failed", "50413"] == 1


def test_a_render_that_is_landed_already_is_not_counted_as_landed_again(lab: Lab, stats: Counted) -> None:
    submit = lab.task(lambda: JimengSubmitVideoOperator(task_id="submit", prompt="a kite"))
    assert submit.run() == "success"
    lab.clock.ahead += 10
    download = FakeTask(
        lambda: JimengDownloadVideoOperator(
            task_id="download", render=submit.result, output_path=lab.output_path
        )
    )
    for _ in range(3):
        assert download.run() == "success"
        download.clear()
    assert (stats.counted["jimeng.landed",], stats.counted["jimeng.cost_fen",]) == (1, 140)
    assert stats.counted["jimeng.landed_bytes",] == download.result["bytes"]


def test_a_video_that_was_lost_and_is_landed_again_did_not_cost_anything_again(
    lab: Lab, stats: Counted
) -> None:
    stage = lab.task()
    assert stage.run() == "success"
    lab.lose_videos()
    stage.clear()
    assert stage.run() == "success"
    assert (stats.counted["jimeng.landed",], stats.counted["jimeng.cost_fen",]) == (2, 140)


def test_a_failure_that_the_sensor_sees_is_counted(lab: Lab, stats: Counted) -> None:
    lab.emulator.faults.add(where="render", what="fail", code=50511)
    submit = lab.task(lambda: JimengSubmitVideoOperator(task_id="submit", prompt="a kite"))
    assert submit.run() == "success"
    lab.clock.ahead += 10
    for deferrable in (True, False):
        sensor = partial(JimengVideoSensor, task_id="wait", render=submit.result, deferrable=deferrable)
        assert FakeTask(sensor, retries=0).run() == "failed"
    assert stats.counted["jimeng.failed", "50511"] == 2


def test_refused_submits_are_counted_by_the_apis_code_or_by_what_became_of_them(
    lab: Lab, stats: Counted
) -> None:
    lab.emulator.faults.add(where="submit", what="moderated", prompt_contains="bank")
    lab.emulator.faults.add(where="submit", what="error_before", code=50430, prompt_contains="crowd")
    lab.emulator.faults.add(where="submit", what="cut_after", prompt_contains="wire")
    lab.options.update(deferrable=False, max_wait_for_slot=0)
    for prompt in ("a bank", "a crowd", "a wire"):
        stage = lab.task(partial(lab.generate, prompt=prompt), run_id=prompt, retries=0)
        assert stage.run() == "failed"
    failed = {key[1]: count for key, count in stats.counted.items() if key[0] == "jimeng.failed"}
    assert failed == {"50412": 1, "slot_timed_out": 1, "unknown_submit": 1}


def test_an_unknown_price_is_not_counted_as_nothing(
    lab: Lab, stats: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_JIMENG_DEFAULT", lab.emulator.connection_json(prices={"t2v_720p": None}))
    assert lab.task(retries=0).run() == "success"
    assert ("jimeng.landed",) in stats.counted
    assert ("jimeng.cost_fen",) not in stats.counted


def test_every_metric_is_documented(subtests: pytest.Subtests) -> None:
    cases: list[str] = [
        "submitted",
        "busy",
        "adopted",
        "landed",
        "failed",
        "landed_bytes",
        "cost_fen",
        "render_seconds",
        "queue_seconds",
    ]
    for name in cases:
        with subtests.test(name=repr(name)):
            assert f"`jimeng.{name}`" in DOCUMENT.read_text()
