# SPDX-License-Identifier: Apache-2.0
"""Save one large file to a local path, and compare this with `curl -o f && sha256sum f` from the same server.

    python benchmarks/landing.py [--megabytes 1024] [--rounds 3] [--folder DIR]

The script prints the throughput of both, their ratio, and how much the memory of the saving process grew. It needs curl
and sha256sum.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

LEAST_RATIO = 0.6
MOST_GROWTH_MB = 32
MEGABYTE = 1024 * 1024


def large_video(path: Path, megabytes: int) -> None:
    """Write a short clip and a box of random bytes after it, which players skip."""
    from tests.harness.videos import video

    noise = os.urandom(MEGABYTE)
    with path.open("wb") as file:
        file.write(video(movflags="faststart"))
        file.write((megabytes * MEGABYTE + 8).to_bytes(4, "big") + b"free")
        for _ in range(megabytes):
            file.write(noise)


def serve(path: Path) -> None:
    """Send the file to every client, with sendfile. This runs in a separate process."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            size = path.stat().st_size
            self.send_response(200)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            with path.open("rb") as file:
                sent = 0
                while sent < size:
                    sent += os.sendfile(self.connection.fileno(), file.fileno(), sent, size - sent)

        def log_message(self, *arguments: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


def land_once(url: str, folder: str) -> None:
    """Save the file, and print the seconds and the growth of memory in bytes. This runs in a separate process."""
    import pendulum

    from airflow_provider_jimeng.client.settings import ClientSettings
    from airflow_provider_jimeng.core.render import Render, RenderStatus
    from airflow_provider_jimeng.core.wire import QueryReply
    from airflow_provider_jimeng.storage.landing import land
    from airflow_provider_jimeng.storage.output import OutputPath

    class Links(SimpleNamespace):
        def fetch(self) -> QueryReply:
            return QueryReply(status=RenderStatus.DONE, video_url=url)

    render = Render(
        task_id="1",
        req_key="jimeng_t2v_v30",
        model="t2v_720p",
        jimeng_conn_id="jimeng_default",
        submitted_at=pendulum.now("UTC"),
    )
    before = _resident_bytes()
    started = time.perf_counter()
    land(
        render,
        Links(settings=ClientSettings(endpoint=url)),
        target=OutputPath(output_path=f"{folder}/"),
    )
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "growth": peak - before}))


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def time_curl(url: str, folder: Path) -> float:
    started = time.perf_counter()
    command = 'curl --silent --noproxy "*" -o "$1" "$2" && sha256sum "$1"'
    subprocess.run(["/bin/sh", "-c", command, "sh", folder / "curl", url], check=True, capture_output=True)
    return time.perf_counter() - started


def measure(url: str, folder: Path, rounds: int) -> tuple[list[float], list[float], list[int]]:
    reference, ours, growth = [], [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            reference.append(time_curl(url, Path(scratch)))
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            done = subprocess.run(
                [sys.executable, __file__, "--land", url, scratch], check=True, capture_output=True, text=True
            )
            figures = json.loads(done.stdout.splitlines()[-1])
            ours.append(figures["seconds"])
            growth.append(figures["growth"])
    return reference, ours, growth


def report(megabytes: int, reference: list[float], ours: list[float], growth: list[int]) -> bool:
    theirs, own = statistics.median(reference), statistics.median(ours)
    ratio, grown = theirs / own, max(growth) / MEGABYTE
    print(
        f"curl and sha256sum  {theirs:6.2f} s  {megabytes / theirs:6.0f} MB/s  (median of {len(reference)})"
    )
    print(f"land()              {own:6.2f} s  {megabytes / own:6.0f} MB/s")
    print(f"throughput ratio    {ratio:6.2f}    at least {LEAST_RATIO}")
    print(f"growth of memory    {grown:6.1f} MB below {MOST_GROWTH_MB}")
    return ratio >= LEAST_RATIO and grown < MOST_GROWTH_MB


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--folder",
        type=Path,
        default=None,
        help="folder for the files; the disk needs room for three of them",
    )
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--land", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return 0
    if options.land:
        land_once(*options.land)
        return 0
    with tempfile.TemporaryDirectory(prefix="jimeng-landing-", dir=options.folder) as scratch:
        folder = Path(scratch)
        source = folder / "source.mp4"
        large_video(source, options.megabytes)
        server = subprocess.Popen(
            [sys.executable, __file__, "--serve", source],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert server.stdout is not None
            url = f"http://127.0.0.1:{int(server.stdout.readline())}/video.mp4"
            figures = measure(url, folder, options.rounds)
        finally:
            server.communicate("")
    return 0 if report(options.megabytes, *figures) else 1


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.exit(main())
