# SPDX-License-Identifier: Apache-2.0
"""The files, programs and faults of docs/emulator.md do what the page says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from airflow_provider_jimeng.emulator import JimengEmulator
from tests.emulator.support import Client
from tests.harness.processes import unmeasured_environment

PLUGIN = "airflow_provider_jimeng.pytest_plugin"
ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "emulator.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
FILES = {block.split("\n")[0].removeprefix("# "): block for block in PYTHON if block.startswith("# ")}
PROGRAMS = [block for block in PYTHON if not block.startswith("# ")]
RECIPES = {
    title: json.loads(fault)
    for title, fault in re.findall(r'^\| ([^|]+) \| `(\{"where".*\})` \|$', TEXT, re.MULTILINE)
}


@pytest.mark.waits
def test_the_three_files_of_the_page_make_a_tested_dag(tmp_path: Path) -> None:
    assert list(FILES) == ["conftest.py", "dags/boat.py", "tests/test_boat.py"]
    for name, content in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    kept = {n: value for n, value in unmeasured_environment().items() if not n.startswith("AIRFLOW")}
    env = {**kept, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", PLUGIN],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "2 passed" in done.stdout, done.stdout[-6000:] + done.stderr[-2000:]
    assert (tmp_path / ".airflow" / "airflow.db").stat().st_size > 0


@pytest.mark.parametrize(
    ("program", "printed"),
    list(zip(PROGRAMS, (r"in_queue\ndone\n", r"7\d{18} 1\.40\n"), strict=True)),
    ids=["clock", "transport"],
)
def test_every_program_prints_what_its_comments_say(
    program: str, printed: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_JIMENG_DEFAULT", "")
    exec(compile(program, "docs/emulator.md", "exec"), {"__name__": "program"})  # noqa: S102  our own document
    lines = capsys.readouterr().out.splitlines(keepends=True)
    output = [
        line for line in lines if not line.startswith("[")
    ]  # Airflow before 3.1 logs to the same stream
    assert re.fullmatch(printed, "".join(output))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a server with a file of all documented faults, and yield its host and port."""
    path = tmp_path_factory.mktemp("faults") / "faults.json"
    path.write_text(json.dumps(list(RECIPES.values())))
    options = ("--port", "0", "--render-seconds", "0", "--max-qps", "none", "--max-concurrent", "none")
    command = [sys.executable, "-m", "airflow_provider_jimeng.emulator", *options, "--faults", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = re.search(r"http://(\S+) ", process.stdout.readline())
        assert address
        yield address[1]
        process.terminate()


@pytest.fixture(scope="module")
def loaded_faults(server: str) -> list[dict[str, Any]]:
    """Return the faults that the server has before a test posts others."""
    listed: list[dict[str, Any]] = httpx.get(f"http://{server}/_emulator/faults", trust_env=False).json()
    return listed


@pytest.fixture
def client(server: str, loaded_faults: list[dict[str, Any]]) -> Iterator[Client]:
    """Yield a client of the server. Its own emulator serves only for the default keys."""
    with httpx.Client(trust_env=False, timeout=60) as http:
        yield Client(JimengEmulator(), http, server)


def test_a_file_of_all_documented_faults_is_valid(loaded_faults: list[dict[str, Any]]) -> None:
    assert [(fault["where"], fault["what"]) for fault in loaded_faults] == [
        (fault["where"], fault["what"]) for fault in RECIPES.values()
    ]


def submit(client: Client) -> Any:
    try:
        response = client.submit(timeout=60)
    except httpx.TransportError as error:
        return type(error).__name__
    return response.status_code


def query(client: Client, task_id: str, seconds: float = 60) -> Any:
    """Return the status word, the code, "not JSON", or the name of the exception."""
    try:
        response = client.query(task_id, timeout=seconds)
    except httpx.TransportError as error:
        return type(error).__name__
    try:
        payload = response.json()
    except ValueError:
        return "not JSON"
    return payload["data"]["status"] if payload["code"] == 10000 else payload["code"]


def codes_of(client: Client, *prompts: str) -> list[int]:
    return [client.submit(prompt).json()["code"] for prompt in prompts]


def outcomes_of(client: Client, *prompts: str) -> list[Any]:
    return [query(client, client.submit(prompt).json()["data"]["task_id"]) for prompt in prompts]


def queries(client: Client, count: int) -> list[Any]:
    task_id = client.task()
    return [query(client, task_id) for _ in range(count)]


def queries_without_response(client: Client) -> list[Any]:
    task_id = client.task()
    return [query(client, task_id, 0.2), query(client, task_id)]


def links(client: Client) -> list[bool]:
    task_id = client.task()
    return [bool(client.query(task_id).json()["data"]["video_url"]) for _ in range(2)]


def downloads(client: Client) -> list[Any]:
    """Return the result of the first download: its error or status, and its size relative to the whole file."""
    link = client.link()
    try:
        first = client.http.get(link)
    except httpx.TransportError as error:
        return [type(error).__name__, client.http.get(link).status_code]
    second = client.http.get(link)
    assert second.status_code == 200
    return [first.status_code, len(first.content) / len(second.content)]


def slow_submit(client: Client) -> list[Any]:
    with pytest.raises(httpx.ReadTimeout):
        client.submit(timeout=0.2)
    return [submit(client)]


# By title of the fault: how to observe it, what is observed, and how many submits are accepted.
CHECKS: dict[str, tuple[Callable[[Client], Any], Any, int]] = {
    "the connection is cut after the submit is accepted": (
        lambda client: [submit(client), submit(client)],
        ["RemoteProtocolError", 200],
        2,
    ),
    "the connection is cut before the submit is accepted": (
        lambda client: [submit(client), submit(client)],
        ["RemoteProtocolError", 200],
        1,
    ),
    "HTTP 5xx, and the submit is not accepted": (
        lambda client: [submit(client), submit(client)],
        [503, 200],
        1,
    ),
    "HTTP 5xx, but the submit is accepted": (lambda client: [submit(client), submit(client)], [500, 200], 2),
    "the account is at its concurrency limit, twice": (
        lambda client: [submit(client) for _ in range(3)],
        [429, 429, 200],
        1,
    ),
    "the response is slow": (slow_submit, [200], 2),
    "there is no response": (queries_without_response, ["ReadTimeout", "done"], 1),
    "moderation refuses the prompt": (
        lambda client: codes_of(client, "a dragon", "a kite"),
        [50412, 10000],
        1,
    ),
    "moderation refuses the video": (
        lambda client: outcomes_of(client, "a dragon", "a kite"),
        [50511, "done"],
        2,
    ),
    "the render expires": (lambda client: outcomes_of(client, "a kite"), ["expired"], 1),
    "the second query of each render fails": (
        lambda client: queries(client, 3) + queries(client, 3),
        ["done", 50501, "done"] * 2,
        2,
    ),
    "every third query exceeds the rate limit": (
        lambda client: queries(client, 2) + queries(client, 4),
        ["done", "done", 50429, "done", "done", 50429],
        2,
    ),
    "a response is not valid JSON": (lambda client: queries(client, 2), ["not JSON", "done"], 1),
    "the render is done, but has no link yet": (links, [False, True], 1),
    "the download is cut in the middle": (downloads, ["RemoteProtocolError", 200], 1),
    "the file is too short, but its headers match": (downloads, [200, pytest.approx(0.5, abs=0.001)], 1),
    "a valid link is refused": (lambda client: downloads(client)[:1], [403], 1),
}


def test_every_documented_fault_is_checked() -> None:
    assert list(RECIPES) == list(CHECKS)


@pytest.mark.parametrize("title", CHECKS)
def test_a_documented_fault_does_what_its_line_says(client: Client, title: str) -> None:
    control = f"http://{client.host}/_emulator"
    client.http.delete(f"{control}/faults")
    client.http.post(f"{control}/reset")
    client.http.post(f"{control}/faults", json=RECIPES[title])
    observe, expected, accepted = CHECKS[title]
    assert observe(client) == expected
    bill = client.http.get(f"{control}/bill").json()
    assert bill["accepted"] == accepted
    assert bill["faults"][0]["fired"] > 0
