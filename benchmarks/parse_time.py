"""What importing the operators adds to a DAG file that imports Airflow's `DAG` anyway.

    python benchmarks/parse_time.py [--rounds 15]

Each import runs in a process of its own, with and without the operators in turn; the figure is the difference of CPU
time, pair by pair. It also says whether our modules brought httpx, which they must not.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys

MOST_MILLISECONDS = 30.0
AIRFLOW = "from airflow.sdk import DAG"
OPERATORS = "from airflow_provider_jimeng.operators.video import JimengGenerateVideoOperator"
PROBE = """
import json, sys, time
began = time.process_time()
{airflow}
airflow = time.process_time()
before = set(sys.modules)
{ours}
done = time.process_time()
print(json.dumps({{
    "airflow": 1000 * (airflow - began),
    "ours": 1000 * (done - airflow),
    "httpx": any(name.split(".")[0] == "httpx" for name in set(sys.modules) - before),
}}))
"""


def probe(ours: str) -> dict[str, float]:
    code = PROBE.format(airflow=AIRFLOW, ours=ours)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=15)
    rounds = options.parse_args().rounds
    probe(OPERATORS), probe("pass")  # compiles what is not compiled yet
    pairs = [(probe("pass"), probe(OPERATORS)) for _ in range(rounds)]
    added = [
        with_ours["airflow"] + with_ours["ours"] - without["airflow"] - without["ours"]
        for without, with_ours in pairs
    ]
    inside = [with_ours["ours"] for _, with_ours in pairs]
    print(f"`{AIRFLOW}` alone   {statistics.median(without['airflow'] for without, _ in pairs):6.0f} ms CPU")
    print(
        f"added, pair by pair            {statistics.median(added):6.1f} ms (at most {MOST_MILLISECONDS:g})"
    )
    print(f"the second import by itself    {statistics.median(inside):6.1f} ms")
    print(f"our modules brought httpx      {'yes' if pairs[0][1]['httpx'] else 'no'}")
    assert statistics.median(inside) <= MOST_MILLISECONDS
    assert not pairs[0][1]["httpx"]


if __name__ == "__main__":
    main()
