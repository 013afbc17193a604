# SPDX-License-Identifier: Apache-2.0
"""Clients of an emulator whose requests are signed by the vendor's own signer."""

from __future__ import annotations

import json
import time
import warnings
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.emulator import JimengEmulator
from airflow_provider_jimeng.emulator.messages import HttpResult, Request, Response

if TYPE_CHECKING:
    import httpx

SUBMIT = ("CVSync2AsyncSubmitTask", "2022-08-31")
QUERY = ("CVSync2AsyncGetResult", "2022-08-31")
CANCEL = ("CVCancelTask", "2024-06-06")
NOON = 1_767_355_200.0
HOST = "emulator.test"
T2V = {"req_key": "jimeng_t2v_v30", "prompt": "a red kite over the sea"}


@dataclass
class VirtualClock:
    now: float = NOON

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def signed_headers(
    emulator: JimengEmulator,
    call: tuple[str, str],
    body: bytes,
    *,
    sent_at: float,
    host: str = HOST,
    access_key: str | None = None,
    secret_key: str | None = None,
    session_token: str | None = None,
    service: str = "cv",
    region: str = "cn-north-1",
) -> dict[str, str]:
    """Return the headers that the official SDK sends with this body."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        from volcengine.auth.SignerV4 import SignerV4
        from volcengine.auth.SignParam import SignParam
        from volcengine.Credentials import Credentials

    param = SignParam()
    param.host, param.method, param.path = host, "POST", "/"
    param.query = {"Action": call[0], "Version": call[1]}
    param.body = body
    param.date = datetime.fromtimestamp(sent_at, UTC)
    param.header_list = {"Content-Type": "application/json", "Host": host}
    keyring = emulator.keyring
    token = keyring.session_token if session_token is None else session_token
    credentials = Credentials(
        access_key or keyring.access_key, secret_key or keyring.secret_key, service, region, token or ""
    )
    result = SignerV4.sign_only(param, credentials)
    headers = {**param.header_list, "X-Date": result.xdate, "Authorization": result.authorization}
    return {name: str(value) for name, value in headers.items()}


@dataclass
class Account:
    """A client with the emulator's key that needs no socket."""

    emulator: JimengEmulator
    clock: VirtualClock
    headers: dict[str, str] = field(default_factory=dict)

    def request(self, call: tuple[str, str], body: Any, **signing: Any) -> Request:
        raw = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
        headers = signed_headers(self.emulator, call, raw, **{"sent_at": self.clock(), **signing})
        return Request(
            method="POST",
            target=f"/?Action={call[0]}&Version={call[1]}",
            headers=tuple({**headers, **self.headers}.items()),
            body=raw,
        )

    def send(self, call: tuple[str, str], body: Any, **signing: Any) -> HttpResult:
        return self.emulator.handle(self.request(call, body, **signing))

    def response(self, call: tuple[str, str], body: Any, **signing: Any) -> tuple[int, dict[str, Any]]:
        outcome = self.send(call, body, **signing)
        assert isinstance(outcome, Response)
        return outcome.status, json.loads(outcome.body)

    def code(self, call: tuple[str, str], body: Any) -> tuple[int, int]:
        status, payload = self.response(call, body)
        return status, payload["code"]

    def submit(self, **body: Any) -> str:
        status, payload = self.response(SUBMIT, {**T2V, **body})
        assert (status, payload["code"]) == (200, 10000), payload
        task_id = payload["data"]["task_id"]
        assert isinstance(task_id, str)
        return task_id

    def query(self, task_id: str, req_key: str = "jimeng_t2v_v30", **body: Any) -> tuple[int, dict[str, Any]]:
        return self.response(QUERY, {"req_key": req_key, "task_id": task_id, **body})

    def status(self, task_id: str, req_key: str = "jimeng_t2v_v30") -> str:
        http_status, payload = self.query(task_id, req_key)
        assert http_status == 200, payload
        return str(payload["data"]["status"])

    def link(self, task_id: str, req_key: str = "jimeng_t2v_v30", **body: Any) -> str:
        return str(self.query(task_id, req_key, **body)[1]["data"]["video_url"])

    def fetch(self, url: str, method: str = "GET", **headers: str) -> HttpResult:
        target = url.split(HOST, 1)[1]
        named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
        return self.emulator.handle(Request(method=method, target=target, headers=(("Host", HOST), *named)))


def make_account(**options: Any) -> Account:
    clock = options.pop("clock", None) or VirtualClock()
    return Account(JimengEmulator(**{"clock": clock, "render_seconds": 10.0, **options}), clock)


@dataclass
class Client:
    """An httpx client that signs with the vendor's signer."""

    emulator: JimengEmulator
    http: httpx.Client
    host: str

    def add(self, where: str, what: str, **fields: Any) -> None:
        self.emulator.faults.add(where=where, what=what, **fields)

    def call(self, call: tuple[str, str], body: dict[str, Any], *, timeout: float = 5) -> httpx.Response:
        raw = json.dumps(body).encode()
        headers = signed_headers(self.emulator, call, raw, sent_at=time.time(), host=self.host)
        url = f"http://{self.host}/?Action={call[0]}&Version={call[1]}"
        return self.http.post(url, content=raw, headers=headers, timeout=timeout)

    def submit(self, prompt: str = "a kite", **options: Any) -> httpx.Response:
        return self.call(SUBMIT, {**T2V, "prompt": prompt}, **options)

    def task(self) -> str:
        return str(self.submit().json()["data"]["task_id"])

    def query(self, task_id: str, *, timeout: float = 5, **body: Any) -> httpx.Response:
        return self.call(QUERY, {"req_key": T2V["req_key"], "task_id": task_id, **body}, timeout=timeout)

    def status(self, task_id: str) -> str:
        return str(self.query(task_id).json()["data"]["status"])

    def link(self) -> str:
        return str(self.query(self.task()).json()["data"]["video_url"])

    @property
    def accepted(self) -> int:
        return int(self.emulator.bill()["accepted"])
