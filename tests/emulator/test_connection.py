# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from airflow_provider_jimeng.emulator import JimengEmulator
from airflow_provider_jimeng.hooks.jimeng import JimengHook


def test_the_json_form_names_the_endpoint_as_a_url() -> None:
    emulator = JimengEmulator(access_key="AK", secret_key="S/K==")
    with emulator.serve() as server:
        connection = json.loads(emulator.connection_json(timeout_seconds=5))
        assert connection == {
            "conn_type": "jimeng",
            "host": server.url,
            "login": "AK",
            "password": "S/K==",
            "extra": {"timeout_seconds": 5},
        }
    assert json.loads(emulator.connection_json())["host"] == "https://visual.volcengineapi.com"
    assert json.loads(emulator.connection_json(url="http://a.example/"))["host"] == "http://a.example"


def test_a_session_token_is_in_the_extra_of_the_connection() -> None:
    emulator = JimengEmulator(session_token="token")
    assert json.loads(emulator.connection_json())["extra"] == {"session_token": "token"}


def test_a_connection_to_the_gateway_has_its_path_and_token() -> None:
    emulator = JimengEmulator(bearer="sk-x")
    connection = json.loads(emulator.connection_json(url="http://a.example", auth="bearer"))
    assert connection["host"] == "http://a.example/jimeng/"
    assert (connection["login"], connection["password"], connection["extra"]) == (
        "",
        "sk-x",
        {"auth": "bearer"},
    )
    with pytest.raises(ValueError, match="no gateway"):
        JimengEmulator().connection_json(auth="bearer")
    with pytest.raises(ValueError, match="'volc' or 'bearer'"):
        emulator.connection_json(auth="basic")


def test_the_uri_has_the_same_values_as_the_json() -> None:
    emulator = JimengEmulator(access_key="A/K", secret_key="S@K==")
    parts = urlsplit(emulator.connection_uri(url="http://127.0.0.1:8787", proxy=None))
    assert (parts.scheme, parts.hostname, parts.port, parts.path) == ("jimeng", "127.0.0.1", 8787, "/http")
    assert (unquote(parts.username or ""), unquote(parts.password or "")) == ("A/K", "S@K==")
    assert json.loads(parse_qs(parts.query)["__extra__"][0]) == {"proxy": None}
    assert "?" not in emulator.connection_uri(url="http://127.0.0.1:8787")


def test_the_hook_reads_both_forms_of_a_gateway_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    emulator = JimengEmulator(bearer="sk/x=")
    read = []
    for form in (emulator.connection_json, emulator.connection_uri):
        monkeypatch.setenv("AIRFLOW_CONN_JIMENG_DEFAULT", form(url="http://a.example:8787", auth="bearer"))
        read.append(JimengHook().settings)
    assert read[0] == read[1]
    assert (read[1].endpoint, read[1].auth) == ("http://a.example:8787/jimeng/", "bearer")
    assert (read[0].secret_key, read[1].secret_key) == ("sk/x=", "sk/x=")


def test_airflow_reads_both_forms_alike() -> None:
    from airflow.models.connection import Connection

    emulator = JimengEmulator(access_key="A/K", secret_key="S@K==", session_token="t")
    one = Connection.from_json(emulator.connection_json(url="http://127.0.0.1:8787"), conn_id="a")
    other = Connection(conn_id="b", uri=emulator.connection_uri(url="http://127.0.0.1:8787"))
    assert (one.login, one.password, one.extra_dejson) == (other.login, other.password, other.extra_dejson)
    assert (one.host, other.host, other.port, other.schema) == (
        "http://127.0.0.1:8787",
        "127.0.0.1",
        8787,
        "http",
    )
