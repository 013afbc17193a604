# SPDX-License-Identifier: Apache-2.0
"""Seconds from `airflow standalone` to the first saved video, in the quick start of the README as printed.

    python benchmarks/first_video.py

It builds the wheel and installs it, with Airflow, into a new virtual environment; that is not timed. The time begins
when `airflow standalone` is typed, includes a trigger as soon as Airflow knows the DAG, and ends when the manifest is
beside the video. The script exits with 1 beyond the limit.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.harness.newcomer import ROOT, Reader, built_wheel, quick_start

MOST_SECONDS = 75.0


def main() -> int:
    """Measure once, print, and return the exit code."""
    with tempfile.TemporaryDirectory(prefix="jimeng-first-video-") as name:
        folder = Path(name)
        seconds = quick_start(Reader(ROOT / "README.md", folder, built_wheel(folder / "dist")))
    print(f"first video {seconds:.0f} s after `airflow standalone` (at most {MOST_SECONDS:g})")
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return int(seconds > MOST_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
