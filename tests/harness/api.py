# SPDX-License-Identifier: Apache-2.0
"""The parts of Airflow's public REST API that tests and the demo need."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx

PAGE = 100


class AirflowApiError(RuntimeError):
    """Airflow answered a call of ours with an error."""


@dataclass(slots=True, kw_only=True)
class AirflowApi:
    """One session with one Airflow. Without `username`, it gets the token of a server where everybody is admin."""

    base_url: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    timeout_seconds: float = 60.0
    _http: httpx.Client | None = field(default=None, init=False)
    _token: str | None = field(default=None, init=False, repr=False)

    def close(self) -> None:
        """Close the connections. The next call opens new ones."""
        if self._http is not None:
            self._http.close()
        self._http, self._token = None, None

    def health(self) -> dict[str, str | None]:
        """Return the state of each component as the API server sees it, or an empty dict if it cannot be reached."""
        with contextlib.suppress(httpx.HTTPError):
            reply = self._client().get("/api/v2/monitor/health", timeout=10)
            if reply.status_code == HTTPStatus.OK:
                return {name: (state or {}).get("status") for name, state in reply.json().items()}
        return {}

    def call(self, method: str, path: str, **arguments: Any) -> Any:
        """Call `/api/v2<path>` and return the decoded body.

        :raises AirflowApiError: with the answer of Airflow.
        """
        for attempt in range(5):
            try:
                reply = self._client().request(
                    method, f"/api/v2{path}", headers={"Authorization": f"Bearer {self.token()}"}, **arguments
                )
            except httpx.TransportError:
                if method != "GET" or attempt == 4:
                    raise
                time.sleep(1)
                continue
            if reply.is_server_error and method == "GET" and attempt < 4:
                time.sleep(1)
                continue
            if reply.status_code == HTTPStatus.UNAUTHORIZED and attempt == 0:
                self._token = None
                continue
            if reply.is_error:
                raise AirflowApiError(f"{method} {path}: HTTP {reply.status_code}: {reply.text[:2000]}")
            return reply.json() if reply.content else None
        raise AirflowApiError(f"{method} {path}: refused again with a new token")

    def get_all(self, path: str, key: str, **params: Any) -> list[dict[str, Any]]:
        """Collect every page of a listing."""
        rows: list[dict[str, Any]] = []
        while True:
            page = self.call("GET", path, params={**params, "limit": PAGE, "offset": len(rows)})
            rows += page[key]
            if not page[key] or len(rows) >= page.get("total_entries", 0):
                return rows

    def token(self) -> str:
        """Return a bearer token for this session."""
        if self._token is None:
            if self.username is None:
                reply = self._client().get("/auth/token")
            else:
                reply = self._client().post(
                    "/auth/token", json={"username": self.username, "password": self.password}
                )
            if reply.is_error:
                raise AirflowApiError(f"/auth/token: HTTP {reply.status_code}: {reply.text[:500]}")
            self._token = str(reply.json()["access_token"])
        return self._token

    def _client(self) -> httpx.Client:
        if self._http is None:
            self._http = httpx.Client(base_url=self.base_url, timeout=self.timeout_seconds, trust_env=False)
        return self._http


def run_path(dag_id: str, run_id: str) -> str:
    """Return the path of one DAG run."""
    return f"/dags/{quote(dag_id, safe='')}/dagRuns/{quote(run_id, safe='')}"


def task_path(dag_id: str, run_id: str, task_id: str) -> str:
    """Return the path of one task of a run. For a mapped task, add the parameter `map_index`."""
    return f"{run_path(dag_id, run_id)}/taskInstances/{quote(task_id, safe='')}"
