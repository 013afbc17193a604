# SPDX-License-Identifier: Apache-2.0
"""Finishes a 1080p video (label, libx264), and compares with the ffmpeg command that does the same.

    python benchmarks/finishing.py [--rounds 3] [--short 10] [--long 300] [--threads 2]

Prints seconds of work for each second of video, peak memory of both, and ours for the short and the long video. Each
run is a process of its own, and the two take turns. Fails beyond the limits below. Needs ffmpeg (Debian: ffmpeg).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MOST_TIME = 1.15
"""Our seconds at most, as a multiple of those of the command."""
MOST_EXTRA_MB = 100
MOST_GROWTH = 1.1
"""Peak memory for the long video at most, as a multiple of that for the short one."""
LABEL = {"text": "AI made", "show": "opening", "seconds": 2.0}
CRF = 20


def make_source(path: Path, seconds: int) -> None:
    """A 1080p video that moves, at 24 frames a second, as the API delivers them."""
    subprocess.run(
        [
            *("ffmpeg", "-hide_banner", "-loglevel", "error", "-f", "lavfi"),
            *("-i", "testsrc2=size=1920x1080:rate=24:duration=10"),
            *("-c:v", "libx264", "-preset", "ultrafast", "-crf", "18", "-pix_fmt", "yuv420p", str(path)),
        ],
        check=True,
    )
    if seconds <= 10:
        return
    ten = path.with_name("ten.mp4")
    path.rename(ten)
    command = ("ffmpeg", "-hide_banner", "-loglevel", "error", "-stream_loop", str(seconds // 10 - 1))
    subprocess.run([*command, "-i", str(ten), "-c", "copy", str(path)], check=True)
    ten.unlink()


def draw_label(path: Path) -> tuple[int, int]:
    """Save the picture that the finished video has, for the command's overlay; return its place."""
    from airflow_provider_jimeng.finishing import VisibleLabel
    from airflow_provider_jimeng.finishing.pictures import draw_label, find_font

    label = VisibleLabel(**LABEL)  # type: ignore[arg-type]
    picture, x, y = draw_label(label, find_font(label), 1920, 1080)
    picture.save(path)
    return x, y


def ours(source: Path, threads: int, preset: str) -> list[str]:
    """Our work without Airflow's start, which a worker has behind it: encode() reads, labels and writes."""
    code = f"""
from pathlib import Path
from airflow_provider_jimeng.finishing.request import Rendition, VisibleLabel
from airflow_provider_jimeng.finishing.source import Source
from airflow_provider_jimeng.finishing.video import Film, encode
from airflow_provider_jimeng.finishing.pictures import draw_label, find_font

label = VisibleLabel(**{LABEL!r})
source = Source.open(Path({str(source)!r}))
film = Film(
    sources=[source], rendition=Rendition(crf={CRF}, preset={preset!r}), width=1920, height=1080,
    label=draw_label(label, find_font(label), 1920, 1080), label_seconds=2.0, threads={threads},
)
encode(film, Path({str(source.with_name("ours.mp4"))!r}), lambda share: None)
"""
    return [sys.executable, "-c", code]


def theirs(source: Path, threads: int, preset: str, label: Path, place: tuple[int, int]) -> list[str]:
    overlay = (
        f"[0:v][1:v]overlay=x={place[0]}:y={place[1]}:eof_action=repeat:enable='lte(t,2)',format=yuv420p"
    )
    return [
        *("ffmpeg", "-hide_banner", "-loglevel", "error", "-y", "-threads", str(threads), "-i", str(source)),
        *("-i", str(label), "-filter_complex", overlay, "-filter_complex_threads", str(threads)),
        *("-c:v", "libx264", "-crf", str(CRF), "-preset", preset),
        *(
            "-threads",
            str(threads),
            "-movflags",
            "+faststart+use_metadata_tags",
            str(source.with_name("theirs.mp4")),
        ),
    ]


def run(command: list[str]) -> dict[str, float]:
    """Run a command in a process of its own; return its seconds on the clock, of CPU, and its peak memory in MB."""
    began = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return {
        "seconds": time.perf_counter() - began,
        "cpu": usage.ru_utime + usage.ru_stime,
        "megabytes": usage.ru_maxrss / 1024,
    }


def versions() -> dict[str, str]:
    import av

    told = subprocess.run(("ffmpeg", "-version"), capture_output=True, text=True, check=True).stdout
    return {
        "version of ffmpeg": told.split()[2],
        "PyAV": av.__version__,
        "libavcodec of PyAV": ".".join(map(str, av.library_versions["libavcodec"])),
    }


def middle(runs: list[dict[str, float]]) -> dict[str, float]:
    return {key: round(statistics.median(one[key] for one in runs), 2) for key in runs[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--short", type=int, default=10, help="seconds of video")
    parser.add_argument("--long", type=int, default=300, help="seconds of video; 0 leaves it out")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--preset", default="medium", help="of x264, for both")
    options = parser.parse_args()
    how = options.threads, options.preset
    failures = []
    with tempfile.TemporaryDirectory(prefix="jimeng-finishing-") as name:
        source, label = Path(name, "source.mp4"), Path(name, "label.png")
        make_source(source, options.short)
        place = draw_label(label)
        mine, other = [], []
        for _ in range(options.rounds):
            other.append(run(theirs(source, *how, label, place)))
            mine.append(run(ours(source, *how)))
        us, them = middle(mine), middle(other)
        result = {
            **versions(),
            "load of the machine": os.getloadavg(),
            "cores": os.cpu_count(),
            "threads": options.threads,
            "preset": options.preset,
            "ours": us,
            "ffmpeg": them,
            "seconds for a second of video": [
                round(us["seconds"] / options.short, 3),
                round(them["seconds"] / options.short, 3),
            ],
            "time ratio": round(us["seconds"] / them["seconds"], 3),
            "CPU ratio": round(us["cpu"] / them["cpu"], 3),
            "extra megabytes": round(us["megabytes"] - them["megabytes"], 1),
        }
        if us["seconds"] > MOST_TIME * them["seconds"]:
            failures.append(f"takes {result['time ratio']} times as long as ffmpeg; the limit is {MOST_TIME}")
        if us["megabytes"] > them["megabytes"] + MOST_EXTRA_MB:
            failures.append(
                f"takes {result['extra megabytes']} MB more than ffmpeg; the limit is {MOST_EXTRA_MB}"
            )
        if options.long:
            source.unlink()
            make_source(source, options.long)
            result["ours, long"] = long = run(ours(source, *how))
            result["memory growth"] = round(long["megabytes"] / us["megabytes"], 3)
            if long["megabytes"] > MOST_GROWTH * us["megabytes"]:
                failures.append(f"memory grows {result['memory growth']}-fold; the limit is {MOST_GROWTH}")
        print(json.dumps(result, indent=2))
    if failures:
        raise SystemExit("; ".join(failures))


if __name__ == "__main__":
    main()
