from __future__ import annotations

import asyncio
import json
import time

import httpx
import pytest

from airflow_provider_jimeng.emulator import JimengEmulator
from airflow_provider_jimeng.emulator.transport import EmulatorTransport
from tests.emulator.support import HOST, QUERY, SUBMIT, T2V, signed_headers


def story(emulator: JimengEmulator, host: str = HOST) -> tuple[list[httpx.Request], str]:
    """Return a submit and what asks for its result afterwards."""
    body = json.dumps(T2V).encode()
    headers = signed_headers(emulator, SUBMIT, body, at=time.time(), host=host)
    url = f"https://{host}/?Action={SUBMIT[0]}&Version={SUBMIT[1]}"
    return [httpx.Request("POST", url, content=body, headers=headers)], host


def query_request(emulator: JimengEmulator, task_id: str, host: str = HOST) -> httpx.Request:
    body = json.dumps({"req_key": T2V["req_key"], "task_id": task_id}).encode()
    headers = signed_headers(emulator, QUERY, body, at=time.time(), host=host)
    url = f"https://{host}/?Action={QUERY[0]}&Version={QUERY[1]}"
    return httpx.Request("POST", url, content=body, headers=headers)


def test_a_whole_story_runs_in_process() -> None:
    emulator = JimengEmulator(render_seconds=0)
    (submit,), _ = story(emulator)
    with httpx.Client(transport=emulator.transport()) as client:
        task_id = client.send(submit).json()["data"]["task_id"]
        link = client.send(query_request(emulator, task_id)).json()["data"]["video_url"]
        assert link.startswith(f"https://{HOST}/media/")
        with client.stream("GET", link) as reply:
            content = b"".join(reply.iter_bytes())
        assert reply.headers["content-type"] == "video/mp4"
        assert len(content) == int(reply.headers["content-length"])
        head = client.head(link)
        assert (head.content, head.headers["content-length"]) == (b"", str(len(content)))


def test_the_same_story_runs_on_an_event_loop() -> None:
    emulator = JimengEmulator(render_seconds=0)
    (submit,), _ = story(emulator)

    async def run() -> bytes:
        async with httpx.AsyncClient(transport=emulator.transport()) as client:
            task_id = (await client.send(submit)).json()["data"]["task_id"]
            reply = await client.send(query_request(emulator, task_id))
            return (await client.get(reply.json()["data"]["video_url"])).content

    assert asyncio.run(run())[4:8] == b"ftyp"


def test_late_replies_are_slept_for_or_not() -> None:
    def late(seconds: float) -> JimengEmulator:
        slow = {"where": "submit", "what": "slow", "seconds": seconds}
        return JimengEmulator(render_seconds=0, faults=[slow])

    async def run(transport: EmulatorTransport) -> float:
        started = time.monotonic()
        async with httpx.AsyncClient(transport=transport, timeout=None) as client:  # noqa: S113  nothing hangs
            assert (await client.send(story(transport.emulator)[0][0])).status_code == 200
        return time.monotonic() - started

    emulator, slept = late(0.2), list[float]()
    with httpx.Client(transport=EmulatorTransport(emulator, sleep=slept.append)) as client:
        client.send(story(emulator)[0][0])
    assert slept == [0.2]
    assert asyncio.run(run(EmulatorTransport(emulator))) >= 0.2
    assert asyncio.run(run(EmulatorTransport(late(3600), sleep=None))) < 3600


def test_a_cut_body_breaks_the_asynchronous_side_as_well() -> None:
    emulator = JimengEmulator(render_seconds=0, faults=[{"where": "media", "what": "cut"}])

    async def run() -> None:
        async with httpx.AsyncClient(transport=emulator.transport()) as client:
            task_id = (await client.send(story(emulator)[0][0])).json()["data"]["task_id"]
            reply = await client.send(query_request(emulator, task_id))
            await client.get(reply.json()["data"]["video_url"])

    with pytest.raises(httpx.RemoteProtocolError, match="complete message body"):
        asyncio.run(run())
