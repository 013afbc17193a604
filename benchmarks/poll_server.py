# SPDX-License-Identifier: Apache-2.0
"""Run the local server that the triggers of a benchmark poll, and measure the CPU time of the polls."""

from __future__ import annotations

import asyncio
import gc
import json
import time
import urllib.request
from contextlib import suppress

WARM_UP_SECONDS = 4.0
START_UP_SECONDS = 120.0
"""All triggers must send their first request within this time."""

REPLIES = {
    "/jimeng": b'{"code":10000,"data":{"status":"generating","aigc_meta_tagged":false,"binary_data_base64":[],'
    b'"image_urls":null,"resp_data":"","video_url":""},"message":"Success","request_id":'
    b'"20260102030405ABCDEF0123456789","status":10000,"time_elapsed":"12.3ms"}',
    "/api/v2": b'{"data":{"id":1,"status":3},"status":{"code":200}}',
    "/api/2": b'{"run_id":1,"state":{"life_cycle_state":"RUNNING","result_state":"","state_message":""}}',
    "/airbyte/jobs": b'{"jobId":1,"status":"running","jobType":"sync","startTime":"2026-01-02T03:04:05Z",'
    b'"connectionId":"00000000-0000-0000-0000-000000000000"}',
    "/v1/batches": b'{"id":"b","object":"batch","status":"in_progress","endpoint":"/v1/x","input_file_id":"f",'
    b'"completion_window":"24h","created_at":1}',
}


class Server(asyncio.Protocol):
    """An HTTP server with keep-alive and fixed replies for the requests of the contenders."""

    count = 0
    askers: set[bytes] = set()  # noqa: RUF012  All connections share it.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            path = self.buffer.split(b" ", 2)[1]
            body = self.buffer[end + 4 : end + 4 + length]
            self.buffer = self.buffer[end + 4 + length :]
            self.answer(path, body)

    def answer(self, path: bytes, sent: bytes) -> None:
        if path == b"/count":
            body = json.dumps({"requests": Server.count, "askers": len(Server.askers)}).encode()
        elif path == b"/reset":
            Server.count, Server.askers = 0, set()
            body = b"{}"
        else:
            Server.count += 1
            Server.askers.add(path + sent)  # Each trigger polls another id, so this counts the triggers.
            name = path.decode()
            body = next((reply for prefix, reply in REPLIES.items() if name.startswith(prefix)), b"{}")
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (len(body), body)
        )


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def ask_server(port: int, name: str) -> dict[str, int]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{name}") as reply:
        return dict(json.loads(reply.read()))


async def measure(
    coroutines: list, port: int, seconds: float, warm_up: float = WARM_UP_SECONDS
) -> dict[str, float]:
    await asyncio.to_thread(ask_server, port, "reset")
    give_up = time.monotonic() + warm_up + START_UP_SECONDS
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    await asyncio.sleep(warm_up)
    while (await asyncio.to_thread(ask_server, port, "count"))["askers"] < len(tasks):
        if time.monotonic() > give_up:
            raise TimeoutError("not every trigger asked")
        await asyncio.sleep(0.5)
    gc.collect()  # A full collection of what was imported must not fall into one contender's window only.
    before = (await asyncio.to_thread(ask_server, port, "count"))["requests"]
    cpu, clock = time.process_time(), time.perf_counter()
    await asyncio.sleep(seconds)
    spent, wall = time.process_time() - cpu, time.perf_counter() - clock
    requests = (await asyncio.to_thread(ask_server, port, "count"))["requests"] - before
    ended = [task for task in tasks if task.done()]
    for task in ended:
        task.result()
    for task in tasks:
        task.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks, return_exceptions=True)
    if ended:
        raise RuntimeError(f"{len(ended)} triggers ended")
    return {"ms": 1000 * spent / max(1, requests), "requests_per_second": requests / wall}
