"""CPU of one poll with 200 triggers at once: our shared client against a bare shared httpx.AsyncClient.

    python benchmarks/shared_client.py

Both talk to the same small server in a process of its own, in turns. "Capped" is a bare client whose callers pass a
semaphore as ours do: what is left above it is signing, pacing and parsing.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import httpx

from airflow_provider_jimeng.client.channel import MAX_POLLS_IN_FLIGHT
from airflow_provider_jimeng.client.clients import AsyncJimengClient
from airflow_provider_jimeng.client.settings import ClientSettings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

TRIGGERS = 200
ROUNDS = 3
TURNS = 5
MOST_OF_BARE = 1.15
TASK_ID = "7392616336519610409"
REQ_KEY = "jimeng_t2v_v30"
QUERY = {"Action": "CVSync2AsyncGetResult", "Version": "2022-08-31"}
BODY = json.dumps({"req_key": REQ_KEY, "task_id": TASK_ID}, separators=(",", ":")).encode()
SERVER = """
import asyncio
BODY = b'{"code":10000,"data":{"status":"generating","video_url":""},"message":"Success","request_id":"r"}'
REPLY = b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(BODY) + BODY
class Peer(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.buffer = transport, b""
    def data_received(self, data):
        self.buffer += data
        while (end := self.buffer.find(b"\\r\\n\\r\\n")) >= 0:
            head = self.buffer[:end].lower()
            length = int(head.partition(b"content-length:")[2].split(b"\\r\\n")[0] or 0)
            if len(self.buffer) < end + 4 + length:
                return
            self.buffer = self.buffer[end + 4 + length:]
            asyncio.get_running_loop().call_later(0.02, self.transport.write, REPLY)
async def main():
    server = await asyncio.get_running_loop().create_server(Peer, "127.0.0.1", 0, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


async def measured(poll: Callable[[int], Awaitable[Any]]) -> float:
    """Return microseconds of CPU per poll, after one round to warm up."""
    await asyncio.gather(*(poll(n) for n in range(TRIGGERS)))
    started = time.process_time()
    for _ in range(ROUNDS):
        await asyncio.gather(*(poll(n) for n in range(TRIGGERS)))
    return (time.process_time() - started) / (TRIGGERS * ROUNDS) * 1e6


async def bare(url: str, *, capped: bool) -> float:
    limits = (
        httpx.Limits(max_connections=MAX_POLLS_IN_FLIGHT) if capped else httpx.Limits(max_connections=100)
    )
    gate = asyncio.Semaphore(MAX_POLLS_IN_FLIGHT if capped else TRIGGERS)
    async with httpx.AsyncClient(limits=limits) as client:

        async def poll(_: int) -> None:
            async with gate:
                headers = {"Content-Type": "application/json"}
                response = await client.post(url, params=QUERY, content=BODY, headers=headers)
                response.json()

        return await measured(poll)


async def ours(url: str) -> float:
    settings = ClientSettings.from_connection_fields(
        login="AKBENCH",
        password="SKBENCH",  # noqa: S106 - a key of nobody
        host=url,
        extra={"max_requests_per_second": 10_000},
    )
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(AsyncJimengClient(settings)) for _ in range(TRIGGERS)]
        return await measured(lambda n: clients[n].query(REQ_KEY, TASK_ID))


def main() -> None:
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    url = f"http://127.0.0.1:{server.stdout.readline().strip()}/"
    try:
        turns = [
            (
                asyncio.run(ours(url)),
                asyncio.run(bare(url, capped=False)),
                asyncio.run(bare(url, capped=True)),
            )
            for _ in range(TURNS)
        ]
    finally:
        server.terminate()
        server.wait()
    for name, index in (("ours", 0), ("bare", 1), ("bare, capped", 2)):
        print(f"{name:13}{statistics.median(turn[index] for turn in turns):8.0f} µs CPU per poll")
    ratio = statistics.median(turn[0] / turn[1] for turn in turns)
    capped = statistics.median(turn[0] / turn[2] for turn in turns)
    print(f"ratio        {ratio:8.2f} to bare (at most {MOST_OF_BARE}), {capped:.2f} to bare, capped")
    assert ratio <= MOST_OF_BARE


if __name__ == "__main__":
    main()
