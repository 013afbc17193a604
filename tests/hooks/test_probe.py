# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
import socket
import time
from contextlib import ExitStack
from typing import Any

import pytest

from airflow_provider_jimeng.emulator import JimengEmulator
from airflow_provider_jimeng.hooks.jimeng import JimengHook


def verdict(
    monkeypatch: pytest.MonkeyPatch, *, connection: dict[str, Any] | None = None, **options: Any
) -> tuple[bool, str]:
    """Test a connection to a served emulator, which must cost nothing."""
    emulator = JimengEmulator(**options)
    with ExitStack() as stack:
        stack.enter_context(emulator.serve())
        auth = "bearer" if options.get("bearer") else "volc"
        parts = json.loads(emulator.connection_json(auth=auth))
        monkeypatch.setenv("AIRFLOW_CONN_JIMENG_DEFAULT", json.dumps({**parts, **(connection or {})}))
        result = JimengHook().test_connection()
    assert emulator.bill()["submits"] == 0
    return result


def test_a_good_connection_works(monkeypatch: pytest.MonkeyPatch) -> None:
    works, said = verdict(monkeypatch)
    assert works
    assert "accepted the credentials. Nothing was submitted or billed." in said


def test_a_good_gateway_works(monkeypatch: pytest.MonkeyPatch) -> None:
    assert verdict(monkeypatch, bearer="sk-token")[0]


@pytest.mark.parametrize(
    ("connection", "start"),
    [
        ({"login": "AKOTHER"}, "Unknown access key"),
        ({"password": "SKOTHER"}, "Wrong secret"),
        ({"extra": {"session_token": "STALE"}}, "Session token"),
        ({"extra": {"service": "visual"}}, "127.0.0.1"),
        ({"login": ""}, "Connection 'jimeng_default': login"),
    ],
    ids=["key", "secret", "token", "service", "settings"],
)
def test_what_is_wrong_is_told_apart(
    monkeypatch: pytest.MonkeyPatch, connection: dict[str, Any], start: str
) -> None:
    works, said = verdict(monkeypatch, connection=connection)
    assert not works
    assert said.startswith(start)
    assert "SKOTHER" not in said


def test_a_refused_token_of_a_gateway_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    works, said = verdict(monkeypatch, bearer="sk-token", connection={"password": "sk-other"})
    assert not works
    assert said.startswith("The gateway refused the token")
    assert "sk-other" not in said


def test_a_skewed_clock_works_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    works, said = verdict(monkeypatch, clock=lambda: time.time() + 7200)
    assert works
    assert re.search(r"Skewed clock: .* by -(7200|7199) s\.", said)


def fault(**entry: Any) -> dict[str, Any]:
    return {"faults": [{"where": "query", **entry}]}


@pytest.mark.parametrize(
    ("trouble", "works", "start"),
    [
        (fault(what="error_before", code=50400), False, "The service is not opened"),
        (fault(what="error_before", code=100012), False, "The service is not opened"),
        (fault(what="error_before", code=50429), True, "127.0.0.1"),
        (fault(what="error_before", code=50430), True, "127.0.0.1"),
        (fault(what="error_before", code=50215), True, "127.0.0.1"),
        (fault(what="error_before", code=50500), False, "127.0.0.1"),
        (fault(what="error_before", code=100006), False, "Skewed clock"),
        (fault(what="error_before", code=100024), False, "The credentials were refused."),
        (fault(what="garbage"), False, "Not the API"),
        (fault(what="cut_before"), False, "No answer"),
    ],
    ids=[
        "not opened",
        "policy",
        "rate",
        "busy",
        "no such task",
        "server",
        "clock",
        "signature",
        "html",
        "cut",
    ],
)
def test_every_other_answer_is_told_for_what_it_is(
    monkeypatch: pytest.MonkeyPatch, trouble: dict[str, Any], works: bool, start: str
) -> None:
    assert verdict(monkeypatch, **trouble)[0] is works
    assert verdict(monkeypatch, **trouble)[1].startswith(start)


def test_an_unreachable_host_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"http://127.0.0.1:{probe.getsockname()[1]}"
    works, said = verdict(monkeypatch, connection={"host": host})
    assert not works
    assert said.startswith("Unreachable host: Cannot reach 127.0.0.1:")
