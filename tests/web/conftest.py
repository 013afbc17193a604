# SPDX-License-Identifier: Apache-2.0
"""Airflow's own API server in process, with the plugin in it, three users, and renders in a real database."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.web.records import Records

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fastapi.testclient import TestClient
    from httpx import Response
    from sqlalchemy.orm import Session

USERS = {"ada": "admin", "vera": "viewer", "no_xcom": "viewer"}


@dataclass(frozen=True)
class Reader:
    """A user with a browser. Without a token, the user is not signed in."""

    client: TestClient
    token: str | None = None

    def get(self, path: str, params: Any = None, **headers: str) -> Response:
        """Ask for a path below the plugin's prefix."""
        return self.request("GET", path, params, **headers)

    def request(self, method: str, path: str, params: Any = None, **headers: str) -> Response:
        """Send a request; header names are written with underscores."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token:
            sent["Authorization"] = f"Bearer {self.token}"
        # Starlette answers with httpx or with httpx2, whichever is installed; the two are alike.
        reply: Any = self.client.request(
            method, f"/jimeng/{path}", params=params, headers=sent, follow_redirects=False
        )
        answer: Response = reply
        return answer

    def posted(self, path: str, content: bytes, headers: dict[str, str]) -> Response:
        """Post a body and return the answer."""
        reply: Any = self.client.post(path, content=content, headers=headers)
        answer: Response = reply
        return answer

    def renders(self, **params: Any) -> dict[str, Any]:
        """Return one page of the gallery."""
        reply = self.get("api/renders", params)
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    def ids(self, **params: Any) -> list[str]:
        """Return the vendor's ids of the renders on a page, in order."""
        return [card["render_id"] for card in self.renders(**params)["cards"]]


@pytest.fixture(scope="session")
def api_server(airflow_database: Path) -> Iterator[TestClient]:
    """A whole Airflow API server; rights per DAG come from an auth manager of the tests."""
    from fastapi.testclient import TestClient

    passwords = airflow_database.with_name("passwords.json")
    passwords.write_text(json.dumps({name: secrets.token_hex(8) for name in USERS}))
    with pytest.MonkeyPatch.context() as settings:
        settings.setenv("AIRFLOW__CORE__AUTH_MANAGER", "tests.web.rights.PerDagAuthManager")
        settings.setenv(
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", ",".join(f"{n}:{r}" for n, r in USERS.items())
        )
        settings.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE", str(passwords))
        settings.setenv("AIRFLOW__API_AUTH__JWT_SECRET", secrets.token_hex(64))
        from airflow.api_fastapi.app import create_app, purge_cached_app

        client = TestClient(create_app(apps="core"), base_url="http://localhost")
        yield client
        purge_cached_app()


@pytest.fixture(scope="session")
def tokens(api_server: TestClient, airflow_database: Path) -> dict[str, str]:
    """A signed-in token for each user."""
    passwords = json.loads(airflow_database.with_name("passwords.json").read_text())
    found = {}
    for name, password in passwords.items():
        reply = api_server.post("/auth/token", json={"username": name, "password": password})
        assert reply.status_code == 201, reply.text
        found[name] = str(reply.json()["access_token"])
    return found


@pytest.fixture
def session(airflow_database: Path) -> Iterator[Session]:
    """A session of Airflow's database; it contains only renders of this test."""
    from airflow.utils.session import create_session

    with create_session(scoped=False) as opened:
        _forget_all(opened)
        yield opened
        _forget_all(opened)


@pytest.fixture
def records(session: Session) -> Records:
    """Writes renders, which the requests that follow can read."""
    return Records(session)


@pytest.fixture
def admin(api_server: TestClient, tokens: dict[str, str], session: Session) -> Reader:
    """May read everything."""
    return Reader(api_server, tokens["ada"])


@pytest.fixture
def viewer(api_server: TestClient, tokens: dict[str, str], session: Session) -> Reader:
    """May read every DAG whose name does not begin with `secret_`."""
    return Reader(api_server, tokens["vera"])


@pytest.fixture
def without_xcom(api_server: TestClient, tokens: dict[str, str], session: Session) -> Reader:
    """May read DAGs, and no XComs."""
    return Reader(api_server, tokens["no_xcom"])


@pytest.fixture
def anonymous(api_server: TestClient, session: Session) -> Reader:
    """Never signed in."""
    return Reader(api_server)


def _forget_all(session: Session) -> None:
    from airflow.models.dag import DagModel
    from airflow.models.dagrun import DagRun
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from sqlalchemy import delete

    from airflow_provider_jimeng.web import store

    for model in (XComModel, RenderedTaskInstanceFields, TaskInstance, DagRun, DagModel):
        session.execute(delete(model))
    session.commit()
    session.info.clear()
    store.dag_ids(session)  # the gallery's index notices that all renders are gone
    session.info.clear()
