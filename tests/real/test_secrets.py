# SPDX-License-Identifier: Apache-2.0
"""One run of every way a task may take, then a search of everything that Airflow wrote for what no one may read.

The connections are in the database, the log level is DEBUG. The search is told what to look for, and at the end it has
to find just that, when a task leaks it on purpose.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_jimeng.emulator.gateway import GATEWAY_PATH
from tests.harness.api import task_path
from tests.harness.emulator import EmulatorServer
from tests.harness.leaks import (
    MEDIA_LINK,
    SIGNED_HEADER,
    Needle,
    Piece,
    document,
    files,
    findings,
    secret,
    tables,
)
from tests.harness.processes import free_port
from tests.harness.stack import AirflowStack

pytestmark = pytest.mark.real

DAGS = Path(__file__).parent / "dags"
SECONDS = 600
ENDS = {
    "generate": "success",
    "on_the_worker": "success",
    "over_a_gateway": "success",
    "by_hook": "success",
    "submit": "success",
    "wait": "success",
    "download": "success",
    "fails": "failed",
    "refused": "failed",
    "unreachable": "failed",
}
FAULTS = [
    {"where": "render", "what": "fail", "prompt_contains": "forbidden"},
    {"where": "media", "what": "cut", "nth": 1},
    {"where": "media", "what": "refuse", "prompt_contains": "a bowl", "nth": 1},
    {"where": "query", "what": "error_before", "prompt_contains": "a fox", "nth": 1},
]


def test_no_key_token_or_link_reaches_a_log_a_table_or_the_api(tmp_path: Path) -> None:
    key, token = f"key/{secrets.token_hex(16)}+==", f"token/{secrets.token_hex(32)}+=="
    other_key, toll, bearer = secrets.token_hex(16), secrets.token_hex(16), secrets.token_hex(24)
    needles = [
        secret("the secret key", key),
        secret("the session token", token),
        secret("a refused secret key", other_key),
        secret("a proxy's password", toll),
        secret("a gateway's token", bearer),
        MEDIA_LINK,
        SIGNED_HEADER,
    ]
    (tmp_path / "faults.json").write_text(json.dumps(FAULTS))
    emulator = EmulatorServer(
        home=tmp_path,
        render_seconds=25,
        max_concurrent=1,
        secret_key=key,
        options=("--session-token", token, "--bearer", bearer, "--faults", str(tmp_path / "faults.json")),
    )
    stack = AirflowStack(
        tmp_path / "airflow", DAGS, env={"AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG"}, parallelism=4
    )
    with emulator, stack as airflow:
        fields = emulator.connection_fields
        extra = {"session_token": token}
        airflow.add_connection("jimeng_default", "jimeng", extra, **fields)
        airflow.add_connection("jimeng_refused", "jimeng", extra, **{**fields, "password": other_key})
        proxy = f"http://courier:{toll}@127.0.0.1:{free_port()}"
        airflow.add_connection("jimeng_unreachable", "jimeng", {**extra, "proxy": proxy}, **fields)

        gateway = {"host": f"{emulator.url}{GATEWAY_PATH}", "password": bearer}
        airflow.add_connection("jimeng_gateway", "jimeng", {"auth": "bearer"}, **gateway)

        watched: list[Piece] = []
        run_id = airflow.trigger("every_way", {"output": (tmp_path / "videos").as_uri()})
        airflow.wait(
            "every_way", run_id, timeout=SECONDS, progress=lambda rows: watched.extend(watch(airflow, rows))
        )
        rows = airflow.task_instances("every_way", run_id)
        assert {row["task_id"]: row["state"] for row in rows} == ENDS
        bill = emulator.bill()
        assert bill["refused"].keys() >= {"50430"}, "a busy account was waited for"
        assert bill["billed"] == 6
        # The gateway's links are on its own origin, so its token goes along: with the download and with its resumption.
        assert 1 <= bill["media_requests_with_authorization"] <= 2

        written = [*everything(airflow), *answers(airflow, run_id, rows), *files(tmp_path / "videos")]
        assert findings([*watched, *written], needles) == []
        look_where_it_counts(watched, written)

        render = airflow.xcom("every_way", run_id, "submit")
        leak = airflow.trigger("leaks", {"render": render})
        assert airflow.wait("leaks", leak) == "success"
        found = findings(everything(airflow), needles)
    places = {finding.partition(" in ")[0]: set[str]() for finding in found}
    for finding in found:
        what, _, where = finding.partition(" in ")
        places[what].add(where.partition("/")[0])
    assert places["a link to a video"] >= {"file logs", "table xcom.value"}
    assert places["an Authorization header"] >= {"file logs"}
    assert places["the secret key"] >= {"file logs", "table xcom.value"}
    assert places["the session token"] >= {"table xcom.value"}


def database_url(airflow: AirflowStack) -> str:
    return airflow.env["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]


def watch(airflow: AirflowStack, rows: list[dict[str, Any]]) -> Iterator[Piece]:
    """What is there while tasks wait: triggers with their arguments, and the events that wake tasks."""
    yield document("the API's task instances", rows)
    yield from tables(database_url(airflow), ("trigger", "task_instance"))


def everything(airflow: AirflowStack) -> Iterator[Piece]:
    """All that Airflow keeps: its logs, the output of its processes, every table."""
    for folder in ("logs", "output"):
        for where, content in files(airflow.home / folder):
            yield where.replace("file ", f"file {folder}/", 1), content
    yield from tables(database_url(airflow))


def answers(airflow: AirflowStack, run_id: str, rows: list[dict[str, Any]]) -> Iterator[Piece]:
    """What the API tells: rendered templates, logs, XComs, the ledger."""
    yield document("the API's task instances", rows)
    for row in rows:
        task_id, map_index = row["task_id"], row["map_index"]
        path = task_path("every_way", run_id, task_id)
        yield f"log of {task_id}", airflow.logs("every_way", run_id, task_id, map_index=map_index).encode()
        for what, key in (("xcomEntries", "xcom_entries"), ("state-store", "task_state_store")):
            found = airflow.api.call("GET", f"{path}/{what}", params={"map_index": map_index})
            yield document(f"{key} of {task_id}", found)
    yield document("the API's connections", airflow.api.call("GET", "/connections"))


def look_where_it_counts(watched: list[Piece], written: list[Piece]) -> None:
    """Each place that matters was searched, and had something in it."""
    present = {
        "trigger.kwargs": (watched, secret("connection", "jimeng_default")),
        "trigger.classpath": (watched, secret("slot trigger", "JimengSlotTrigger")),
        "task_instance.next_kwargs": (watched, secret("outcome", "succeeded")),
        "rendered_task_instance_fields": (written, secret("prompt", "a green kite")),
        "task_state_store": (written, secret("prompt", "a green kite")),
        "xcom.value": (written, secret("prompt", "a green kite")),
        "logs/dag_id=every_way": (written, Needle("debug line", re.compile(rb"HTTP 200 after"))),
        "connection.extra": (written, Needle("ciphertext", re.compile(rb"^gAAAA"))),
        "connection.password": (written, Needle("ciphertext", re.compile(rb"^gAAAA"))),
    }
    for place, (pieces, needle) in present.items():
        assert [where for where in findings(pieces, [needle]) if place in where], place
