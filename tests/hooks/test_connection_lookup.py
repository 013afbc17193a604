"""A connection that is not there, and one that cannot be asked for now."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from airflow_provider_jimeng.core.errors import MissingConnectionError, NotSentError
from airflow_provider_jimeng.hooks.jimeng import JimengHook
from tests.chaos.lab import open_lab
from tests.meta.tree import ROOT


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


def test_a_task_without_its_connection_fails_at_once_and_pays_nothing(tmp_path: Any) -> None:
    with open_lab(tmp_path) as lab:
        stage = lab.stage(lambda: lab.generate(jimeng_conn_id="nowhere"), retries=3)
        assert stage.run() == "failed"
        assert stage.try_number == 1
        assert isinstance(stage.errors[0], MissingConnectionError)
        assert lab.emulator.bill()["submits"] == 0


def test_a_secrets_back_end_that_fails_is_an_outage() -> None:
    """In a process of its own, because Airflow keeps the back ends that it has loaded."""
    code = "from airflow_provider_jimeng.hooks.connection_lookup import look_up_connection as l; l('nowhere')"
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
