# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import json
import time

import httpx
import pytest

from airflow_provider_jimeng.emulator import JimengEmulator
from airflow_provider_jimeng.emulator.transport import EmulatorTransport
from tests.emulator.support import HOST, QUERY, SUBMIT, T2V, signed_headers


def submit_request(emulator: JimengEmulator, host: str = HOST) -> httpx.Request:
    body = json.dumps(T2V).encode()
    headers = signed_headers(emulator, SUBMIT, body, sent_at=time.time(), host=host)
    url = f"https://{host}/?Action={SUBMIT[0]}&Version={SUBMIT[1]}"
    return httpx.Request("POST", url, content=body, headers=headers)


def query_request(emulator: JimengEmulator, task_id: str, host: str = HOST) -> httpx.Request:
    body = json.dumps({"req_key": T2V["req_key"], "task_id": task_id}).encode()
    headers = signed_headers(emulator, QUERY, body, sent_at=time.time(), host=host)
    url = f"https://{host}/?Action={QUERY[0]}&Version={QUERY[1]}"
    return httpx.Request("POST", url, content=body, headers=headers)


def test_submit_query_and_download_work_without_a_socket() -> None:
    emulator = JimengEmulator(render_seconds=0)
    submit = submit_request(emulator)
    with httpx.Client(transport=emulator.transport()) as client:
        task_id = client.send(submit).json()["data"]["task_id"]
        link = client.send(query_request(emulator, task_id)).json()["data"]["video_url"]
        assert link.startswith(f"https://{HOST}/media/")
        with client.stream("GET", link) as response:
            content = b"".join(response.iter_bytes())
        assert response.headers["content-type"] == "video/mp4"
        assert len(content) == int(response.headers["content-length"])
        head = client.head(link)
        assert (head.content, head.headers["content-length"]) == (b"", str(len(content)))


def test_submit_query_and_download_work_on_an_event_loop() -> None:
    emulator = JimengEmulator(render_seconds=0)
    submit = submit_request(emulator)

    async def run() -> bytes:
        async with httpx.AsyncClient(transport=emulator.transport()) as client:
            task_id = (await client.send(submit)).json()["data"]["task_id"]
            response = await client.send(query_request(emulator, task_id))
            return (await client.get(response.json()["data"]["video_url"])).content

    assert asyncio.run(run())[4:8] == b"ftyp"


def test_a_late_response_is_waited_for_only_with_sleep() -> None:
    def late(seconds: float) -> JimengEmulator:
        slow = {"where": "submit", "what": "slow", "seconds": seconds}
        return JimengEmulator(render_seconds=0, faults=[slow])

    async def run(transport: EmulatorTransport) -> float:
        started = time.monotonic()
        async with httpx.AsyncClient(transport=transport, timeout=None) as client:  # noqa: S113  nothing hangs
            assert (await client.send(submit_request(transport.emulator))).status_code == 200
        return time.monotonic() - started

    emulator, slept = late(0.2), list[float]()
    with httpx.Client(transport=EmulatorTransport(emulator, sleep=slept.append)) as client:
        client.send(submit_request(emulator))
    assert slept == [0.2]
    assert asyncio.run(run(EmulatorTransport(emulator))) >= 0.2
    assert asyncio.run(run(EmulatorTransport(late(3600), sleep=None))) < 3600


def test_a_cut_body_breaks_an_asynchronous_download() -> None:
    emulator = JimengEmulator(render_seconds=0, faults=[{"where": "media", "what": "cut"}])

    async def run() -> None:
        async with httpx.AsyncClient(transport=emulator.transport()) as client:
            task_id = (await client.send(submit_request(emulator))).json()["data"]["task_id"]
            response = await client.send(query_request(emulator, task_id))
            await client.get(response.json()["data"]["video_url"])

    with pytest.raises(httpx.RemoteProtocolError, match="complete message body"):
        asyncio.run(run())
