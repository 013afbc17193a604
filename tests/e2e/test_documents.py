# SPDX-License-Identifier: Apache-2.0
"""What the documents show is executed: Python blocks, connections, and Airflow's commands."""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_jimeng.client.settings import ClientSettings
from airflow_provider_jimeng.hooks.jimeng import JimengHook
from docs import tables
from tests.meta.test_documents import DOCUMENTS, FENCE, by_name

if TYPE_CHECKING:
    from airflow_provider_jimeng.emulator import JimengEmulator

VARIABLE = "AIRFLOW_CONN_JIMENG_DEFAULT"
EXPORT = re.compile(rf"export {VARIABLE}='(.*?)'", re.DOTALL)


def blocks(path: Path, *kinds: str) -> list[str]:
    """The code blocks of a document, without those that are whole example DAGs: those run as such."""
    text = tables.BLOCK.sub("", path.read_text(encoding="utf-8"))
    return [code for kind, code in FENCE.findall(text) if kind in kinds]


# The emulator's guide shows whole programs and tests; tests/emulator/test_documentation.py runs them as such.
WITH_PYTHON = [path for path in DOCUMENTS if blocks(path, "python") and path.name != "emulator.md"]
CONNECTIONS = [
    (path, value)
    for path in DOCUMENTS
    for code in blocks(path, "sh", "bash")
    for value in EXPORT.findall(code)
]
COMMANDS = [
    (path, shlex.split(line, comments=True)[1:])
    for path in DOCUMENTS
    for code in blocks(path, "sh", "bash")
    for line in code.splitlines()
    if line.startswith("airflow ")
]
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
# The parts of Kubernetes' own schema, and of the values of Airflow's Helm chart, that the documents use.
SECRET = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata"],
    "additionalProperties": False,
    "properties": {
        "apiVersion": {"const": "v1"},
        "kind": {"const": "Secret"},
        "metadata": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"}},
        },
        "type": {"type": "string"},
        "stringData": TEXTS,
    },
}
HELM_VALUES = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "images": {"type": "object", "properties": {"airflow": TEXTS}, "additionalProperties": False},
        "secret": {
            "type": "array",
            "items": {**TEXTS, "required": ["envName", "secretName", "secretKey"], "maxProperties": 3},
        },
        "config": {"type": "object", "additionalProperties": {"type": "object"}},
        "triggerer": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "replicas": {"type": "integer"},
                "terminationGracePeriodSeconds": {"type": "integer"},
                "resources": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {"requests": TEXTS, "limits": TEXTS},
                },
            },
        },
    },
}
CONNECTION_GUIDE = next(path for path in DOCUMENTS if path.name == "connection.md")


@pytest.mark.parametrize("path", WITH_PYTHON, ids=by_name)
def test_the_python_of_each_document_runs_from_top_to_bottom(
    path: Path, jimeng_emulator: JimengEmulator, tmp_path: Path
) -> None:
    names: dict[str, Any] = {}
    with DAG(path.stem, schedule=None), contextlib.redirect_stdout(io.StringIO()):
        for number, block in enumerate(blocks(path, "python")):
            code = block.replace("file:///tmp/jimeng", tmp_path.as_uri())
            exec(compile(code, f"{path.name}, block {number}", "exec"), names)  # noqa: S102 - our own documents

    assert jimeng_emulator.bill()["refused"] == {}
    landed = {"operators.md": 2}.get(path.name, 0)
    assert jimeng_emulator.bill()["billed"] == len(list(tmp_path.rglob("*.mp4"))) == landed


@pytest.mark.parametrize(("path", "value"), CONNECTIONS)
def test_every_connection_that_a_document_shows_can_be_read(
    path: Path, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, value.replace("…", "x"))
    settings = JimengHook().settings
    assert settings.secret_key
    assert settings.access_key or settings.auth == "bearer"


def test_json_and_uri_of_the_connection_guide_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    as_json, as_uri, gateway, gateway_as_uri = [
        value for path, value in CONNECTIONS if path == CONNECTION_GUIDE
    ]
    read = []
    for value in (as_json, as_uri, gateway, gateway_as_uri):
        monkeypatch.setenv(VARIABLE, value)
        read.append(JimengHook().settings)
    assert read[0] == read[1]
    assert (read[0].access_key, read[0].secret_key) == ("AKLTexample", "SKexample/+==")
    assert (read[2].auth, read[2].endpoint) == ("bearer", "https://gateway.example.com/jimeng/")
    assert read[2] == read[3]
    assert read[3].secret_key == "sk-example"


def test_the_connection_guides_prices_and_models_are_understood() -> None:
    extra = json.loads(blocks(CONNECTION_GUIDE, "json")[0])
    read = ClientSettings.from_connection_fields(login="AK", password="SK", extra=extra).catalogue
    assert str(read["t2v_1080p"].price_cny_per_second) == "0.6"
    assert read["ti2v_pro"].price_cny_per_second is None
    assert read["t2v_s2_pro"].prompt_max == 200
    assert read["jimeng_t2v_v99"].durations == read["t2v_1080p"].durations


def test_the_connection_guides_file_is_one_that_the_secrets_backend_reads(tmp_path: Path) -> None:
    from airflow.secrets.local_filesystem import LocalFilesystemBackend

    stored = tmp_path / "connections.json"
    stored.write_text(blocks(CONNECTION_GUIDE, "json")[1])
    backend = LocalFilesystemBackend(connections_file_path=str(stored))
    for conn_id, login in (("jimeng_default", "AKLTexample"), ("jimeng_films", "AKLTother")):
        connection = backend.get_connection(conn_id)
        assert connection is not None
        assert (connection.conn_type, connection.login) == ("jimeng", login)


def test_the_airflow_commands_in_documents_are_known_to_airflow(subtests: pytest.Subtests) -> None:
    for path, arguments in COMMANDS:
        with subtests.test(path=repr(path), arguments=repr(arguments)):
            from airflow.cli import cli_parser

            parsed = cli_parser.get_parser().parse_args(arguments)
            assert inspect.isfunction(parsed.func)


def test_the_kubernetes_files_of_the_page_about_production_fit_together() -> None:
    secret, values = (
        yaml.safe_load(code)
        for code in blocks(next(path for path in DOCUMENTS if path.name == "production.md"), "yaml")
    )
    jsonschema.validate(secret, SECRET)
    jsonschema.validate(values, HELM_VALUES)
    (variable,) = values["secret"]
    assert variable["secretName"] == secret["metadata"]["name"]
    assert variable["envName"] == VARIABLE
    connection = json.loads(secret["stringData"][variable["secretKey"]])
    assert connection["conn_type"] == "jimeng"


def test_documents_show_connections_commands_and_python() -> None:
    assert len(WITH_PYTHON) >= 4
    assert len(CONNECTIONS) >= 4
    assert {tuple(arguments[:2]) for _, arguments in COMMANDS} >= {
        ("providers", "get"),
        ("connections", "add"),
        ("connections", "test"),
    }
