# SPDX-License-Identifier: Apache-2.0
"""Measure the CPU time of one video of the emulator: drawing, encoding and writing the file.

python benchmarks/emulator_video.py [--rounds 8]
"""

from __future__ import annotations

import argparse
import statistics
import time

from airflow_provider_jimeng.emulator.picture import Clip
from airflow_provider_jimeng.emulator.videos import encode

PROMPTS = (
    "a kite over the sea",
    "一只猫在海边的沙滩上追逐浪花，夕阳把天空染成橙色",
    "A small fishing boat crosses a quiet bay at dawn while gulls circle above the water, the camera slowly moves forward",
    "a dog runs",
    "forest at dawn",
    "city at night",
    "meadow at noon",
)
SIZES = ((1248, 704), (1920, 1088))


def clip(size: tuple[int, int], prompt: str, seed: int) -> Clip:
    width, height = size
    lines = (
        "t2v_720p  jimeng_t2v_v30",
        f"{width}x{height}  16:9  5 s",
        "made by the emulator, not by the API",
    )
    return Clip(
        width=width, height=height, duration=5, aspect_ratio="16:9", prompt=prompt, lines=lines, seed=seed
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=8)
    rounds = parser.parse_args().rounds
    for size in SIZES:
        encode(clip(size, "fonts and libraries are loaded once", 0))
        milliseconds = []
        for seed in range(rounds):
            for prompt in PROMPTS:
                start = time.process_time()
                encode(clip(size, prompt, seed))
                milliseconds.append((time.process_time() - start) * 1000)
        print(
            f"{size[0]}x{size[1]}: median {statistics.median(milliseconds):.0f} ms, min {min(milliseconds):.0f} ms"
        )


if __name__ == "__main__":
    main()
