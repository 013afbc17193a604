# SPDX-License-Identifier: Apache-2.0
"""CPU of `jimeng query` beyond its request, against the import of httpx alone, in the same run.

    python benchmarks/command_line.py [--rounds 15]

Each round starts three processes in turns: `import httpx`; the same with one POST to the emulator; and
`jimeng query`, whose keys come from the environment. The request is the difference of the first two.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys

from airflow_provider_jimeng.emulator import JimengEmulator

MOST = 1.3
IMPORT = [sys.executable, "-c", "import httpx"]
REQUEST = [
    *(sys.executable, "-c"),
    "import os, httpx\nwith httpx.Client() as client: client.post(os.environ['JIMENG_VIDEO_API_URL'], json={})",
]
QUERY = [sys.executable, "-m", "airflow_provider_jimeng.cli", "query", "1", "--model", "t2v_720p"]
MODELS = [sys.executable, "-m", "airflow_provider_jimeng.cli", "models"]


def cpu(command: list[str], env: dict[str, str]) -> float:
    """Return the CPU seconds of one process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=env, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=15)
    rounds = options.parse_args().rounds
    emulator = JimengEmulator()
    with emulator.serve() as server:
        keys = {"VOLC_ACCESSKEY": emulator.keyring.access_key, "VOLC_SECRETKEY": emulator.keyring.secret_key}
        env = {**os.environ, **keys, "JIMENG_VIDEO_API_URL": server.url, "NO_PROXY": "127.0.0.1"}
        env = {name: value for name, value in env.items() if not name.startswith("AIRFLOW_CONN_")}
        commands = (IMPORT, REQUEST, QUERY, MODELS)
        for command in commands:
            cpu(command, env)  # compiles what is not compiled yet
        found = [[cpu(command, env) for command in commands] for _ in range(rounds)]
    alone, request, query, models = (statistics.median(each) for each in zip(*found, strict=True))
    ratio = (query - (request - alone)) / alone
    print(f"import httpx            {1000 * alone:6.0f} ms CPU")
    print(f"the same, and a request {1000 * request:6.0f} ms CPU")
    print(f"jimeng models           {1000 * models:6.0f} ms CPU")
    print(f"jimeng query            {1000 * query:6.0f} ms CPU")
    print(f"beyond its request      {ratio:6.2f}× import httpx (at most {MOST:g})")
    assert ratio <= MOST


if __name__ == "__main__":
    main()
