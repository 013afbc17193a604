# SPDX-License-Identifier: Apache-2.0
"""Measure what the import of the operators adds to a DAG file that imports Airflow's `DAG` anyway.

    python benchmarks/parse_time.py [--rounds 15]

Each round is a new process. It imports `DAG` and then the operators. The figure is the CPU time of the second import. The
script also fails if our modules import httpx.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys

MOST_MILLISECONDS = 30.0
PROBE = """
import json, sys, time
began = time.process_time()
from airflow.sdk import DAG
airflow = time.process_time()
before = set(sys.modules)
from airflow_provider_jimeng.operators.video import JimengGenerateVideoOperator
done = time.process_time()
print(json.dumps({
    "airflow": 1000 * (airflow - began),
    "ours": 1000 * (done - airflow),
    "httpx": any(name.split(".")[0] == "httpx" for name in set(sys.modules) - before),
}))
"""


def probe() -> dict[str, float]:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=15)
    rounds = options.parse_args().rounds
    probe()  # The first run compiles the modules, so it does not count.
    found = [probe() for _ in range(rounds)]
    added = statistics.median(each["ours"] for each in found)
    print(
        f"from airflow.sdk import DAG    {statistics.median(each['airflow'] for each in found):6.0f} ms CPU"
    )
    print(f"the operators after it         {added:6.1f} ms CPU (at most {MOST_MILLISECONDS:g})")
    print(f"our modules brought httpx      {'yes' if found[0]['httpx'] else 'no'}")
    assert added <= MOST_MILLISECONDS
    assert not found[0]["httpx"]


if __name__ == "__main__":
    main()
