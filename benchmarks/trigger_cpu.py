"""CPU that one poll costs in a triggerer: ours beside a bare httpx client and three published providers.

Run ``make bench-triggers``, which installs the peers from PyPI into an environment of their own. Every contender runs
200 triggers (or loops) at once in a process of its own against the same local server, which counts the requests;
the figure is the process's CPU time over the counted requests, start-up excluded. Rounds go A B C … A B C …, and the
ratios are of the medians. The dbt hook's URL is changed from https to http, which spares it the TLS it would pay for.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress

TRIGGERS = 200
POLL_SECONDS = 1.0
WARM_UP_SECONDS = 4.0

REPLIES = {
    "/jimeng": b'{"code":10000,"data":{"status":"generating","aigc_meta_tagged":false,"binary_data_base64":[],'
    b'"image_urls":null,"resp_data":"","video_url":""},"message":"Success","request_id":'
    b'"20260102030405ABCDEF0123456789","status":10000,"time_elapsed":"12.3ms"}',
    "/api/v2": b'{"data":{"id":1,"status":3},"status":{"code":200}}',
    "/api/2": b'{"run_id":1,"state":{"life_cycle_state":"RUNNING","result_state":"","state_message":""}}',
    "/v1/batches": b'{"id":"b","object":"batch","status":"in_progress","endpoint":"/v1/x","input_file_id":"f",'
    b'"completion_window":"24h","created_at":1}',
}


class Server(asyncio.Protocol):
    """Keep-alive HTTP with fixed replies; what it knows of HTTP is what the contenders send."""

    count = 0

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
            path = self.buffer.split(b" ", 2)[1].decode()
            self.buffer = self.buffer[end + 4 + length :]
            self.answer(path)

    def answer(self, path: str) -> None:
        if path == "/count":
            body = str(Server.count).encode()
        else:
            Server.count += 1
            body = next((reply for prefix, reply in REPLIES.items() if path.startswith(prefix)), b"{}")
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (len(body), body)
        )


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def counted(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/count") as reply:
        return int(reply.read())


async def measure(
    coroutines: list, port: int, seconds: float, warm_up: float = WARM_UP_SECONDS
) -> dict[str, float]:
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    await asyncio.sleep(warm_up)
    before, cpu, clock = await asyncio.to_thread(counted, port), time.process_time(), time.perf_counter()
    await asyncio.sleep(seconds)
    spent, wall = time.process_time() - cpu, time.perf_counter() - clock
    requests = await asyncio.to_thread(counted, port) - before
    broken = [task for task in tasks if task.done()]
    for task in broken:
        task.result()
    for task in tasks:
        task.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks, return_exceptions=True)
    return {
        "ms": 1000 * spent / max(1, requests),
        "requests_per_second": requests / wall,
        "ended": len(broken),
    }


async def first_event(trigger: object) -> None:
    async for _ in trigger.run():
        return


def environment(port: int) -> dict[str, str]:
    base = f"http://127.0.0.1:{port}"
    connections = {
        "JIMENG_DEFAULT": {"conn_type": "jimeng", "host": f"{base}/jimeng/", "login": "AK", "password": "SECRET",
                           "extra": {"max_requests_per_second": 10000}},
        "DBT": {"conn_type": "dbt_cloud", "host": f"127.0.0.1:{port}", "login": "1", "password": "token"},
        "DATABRICKS": {"conn_type": "databricks", "host": "127.0.0.1", "schema": "http", "port": port,
                       "password": "token"},
        "OPENAI": {"conn_type": "openai", "host": f"{base}/v1", "password": "token"},
    }  # fmt: skip
    return {f"AIRFLOW_CONN_{name}": json.dumps(fields) for name, fields in connections.items()}


def jimeng_triggers(port: int) -> list:
    import airflow_provider_jimeng.hooks.connection_cache  # noqa: F401  start-up, as the imports of the others
    from airflow_provider_jimeng.triggers.render import JimengRenderTrigger

    return [
        first_event(
            JimengRenderTrigger(
                render_id=str(7_000_000_000_000_000_000 + i),
                req_key="jimeng_t2v_v30",
                deadline=time.time() + 3600,
                poll_interval=POLL_SECONDS,
            )
        )
        for i in range(TRIGGERS)
    ]


def dbt_triggers(port: int) -> list:
    from airflow.providers.dbt.cloud.hooks.dbt import DbtCloudHook
    from airflow.providers.dbt.cloud.triggers.dbt import DbtCloudRunJobTrigger

    original = DbtCloudHook.get_request_url_params

    def plain(*args: object, **kwargs: object) -> tuple:
        url, params = original(*args, **kwargs)
        return url.replace("https://", "http://", 1), params

    DbtCloudHook.get_request_url_params = staticmethod(plain)
    return [
        first_event(
            DbtCloudRunJobTrigger(
                conn_id="dbt", run_id=i, end_time=time.time() + 3600, poll_interval=POLL_SECONDS, account_id=1
            )
        )
        for i in range(TRIGGERS)
    ]


def databricks_triggers(port: int) -> list:
    from airflow.providers.databricks.triggers.databricks import DatabricksExecutionTrigger

    return [
        first_event(
            DatabricksExecutionTrigger(run_id=i, databricks_conn_id="databricks", polling_period_seconds=1)
        )
        for i in range(TRIGGERS)
    ]


def openai_triggers(port: int) -> list:
    from airflow.providers.openai.triggers.openai import OpenAIBatchTrigger

    return [
        first_event(
            OpenAIBatchTrigger(conn_id="openai", batch_id=f"b{i}", poll_interval=POLL_SECONDS, timeout=3600)
        )
        for i in range(TRIGGERS)
    ]


def bare_httpx(port: int) -> list:
    import httpx

    client = httpx.AsyncClient(
        limits=httpx.Limits(max_connections=10, max_keepalive_connections=10), trust_env=False
    )
    url = f"http://127.0.0.1:{port}/jimeng/?Action=CVSync2AsyncGetResult&Version=2022-08-31"
    gate = asyncio.Semaphore(8)

    async def loop(i: int) -> None:
        body = b'{"req_key":"jimeng_t2v_v30","task_id":"%d"}' % (7_000_000_000_000_000_000 + i)
        while True:
            async with gate:
                reply = await client.post(url, content=body, headers={"Content-Type": "application/json"})
            json.loads(reply.content)
            await asyncio.sleep(POLL_SECONDS)

    return [loop(i) for i in range(TRIGGERS)]


def bare_socket(port: int) -> list:
    async def loop(i: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = b'{"req_key":"jimeng_t2v_v30","task_id":"%d"}' % (7_000_000_000_000_000_000 + i)
        request = (
            b"POST /jimeng/?Action=CVSync2AsyncGetResult&Version=2022-08-31 HTTP/1.1\r\nHost: x\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        while True:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.split(b"Content-Length: ", 1)[1].split(b"\r\n", 1)[0])
            json.loads(await reader.readexactly(length))
            await asyncio.sleep(POLL_SECONDS)

    return [loop(i) for i in range(TRIGGERS)]


CONTENDERS = {
    "bare asyncio sockets": bare_socket,
    "bare shared httpx.AsyncClient": bare_httpx,
    "JimengRenderTrigger": jimeng_triggers,
    "JimengRenderTrigger, httpx-aiohttp": jimeng_triggers,
    "DbtCloudRunJobTrigger": dbt_triggers,
    "DatabricksExecutionTrigger": databricks_triggers,
    "OpenAIBatchTrigger": openai_triggers,
}


async def contend(name: str, port: int, seconds: float) -> None:
    print(json.dumps(await measure(CONTENDERS[name](port), port, seconds)), flush=True)


def run(name: str, port: int, seconds: float) -> dict[str, float]:
    env = {**os.environ, **environment(port), "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"}
    if "aiohttp" in name:
        fields = json.loads(env["AIRFLOW_CONN_JIMENG_DEFAULT"])
        fields["extra"]["transport"] = "aiohttp"
        env["AIRFLOW_CONN_JIMENG_DEFAULT"] = json.dumps(fields)
    command = [sys.executable, __file__, "--contend", name, "--port", str(port), "--seconds", str(seconds)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise SystemExit(f"{name} failed:\n{done.stdout[-500:]}{done.stderr[-2000:]}")
    return json.loads(lines[-1])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=8.0)
    options.add_argument("--only", nargs="*", default=None)
    options.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options.add_argument("--contend", help=argparse.SUPPRESS)
    options.add_argument("--port", type=int, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.serve:
        asyncio.run(serve())
    elif given.contend:
        asyncio.run(contend(given.contend, given.port, given.seconds))
    else:
        compare(given.rounds, given.seconds, given.only or list(CONTENDERS))


def compare(rounds: int, seconds: float, names: list[str]) -> None:
    server = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    try:
        port = int(server.stdout.readline())
        figures: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for _ in range(rounds):
            for name in names:
                figures[name].append(run(name, port, seconds))
    finally:
        server.terminate()
        server.wait()
    medians = {name: statistics.median(each["ms"] for each in figures[name]) for name in names}
    reference = medians.get("bare shared httpx.AsyncClient", min(medians.values()))
    print(f"{TRIGGERS} at once, {rounds} rounds of {seconds:g} s; CPU per request the server counted")
    print(f"{'':36} {'median ms':>9} {'min':>6} {'max':>6} {'× httpx':>8} {'req/s':>6}")
    for name in names:
        each = [figure["ms"] for figure in figures[name]]
        rate = statistics.median(figure["requests_per_second"] for figure in figures[name])
        print(
            f"{name:36} {medians[name]:9.3f} {min(each):6.3f} {max(each):6.3f} {medians[name] / reference:8.2f} "
            f"{rate:6.0f}"
        )


if __name__ == "__main__":
    main()
