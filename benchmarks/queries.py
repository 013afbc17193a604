# SPDX-License-Identifier: Apache-2.0
"""Compute queries per render, and the mean delay until the end of a render is noticed, on a virtual clock.

    python benchmarks/queries.py [--renders 300] [--least 60] [--most 240]

The trigger's own poller decides when to query. Durations are distributed uniformly. The first query comes as long after
the submit as in the trigger. An account renders one or two videos at a time. "all at once" and "unknown model" show what
happens if the durations of earlier renders are not known in time. A fixed interval of 5 s is shown for comparison.

The script fails if one of our cases needs more than 12 queries per render, or more than 5 s to notice its end.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import random
from typing import TYPE_CHECKING

from airflow_provider_jimeng.core.polling import Cadence, Finish, Poller
from airflow_provider_jimeng.core.render import RenderStatus
from airflow_provider_jimeng.core.wire import QueryReply

if TYPE_CHECKING:
    from collections.abc import Callable

RENDERS, LEAST_SECONDS, MOST_SECONDS = 300, 60.0, 240.0
MOST_QUERIES = 12.0
MOST_DELAY = 5.0
ROUNDS = 8
"""The number of series of durations. Each figure is the mean of them."""
FIRST_POLL_SECONDS = (11.0, 13.2)
GENERATING = QueryReply(status=RenderStatus.GENERATING, status_word="generating")
DONE = QueryReply(status=RenderStatus.DONE, status_word="done", video_url="https://video.example/1.mp4")


def uniform_durations(
    seed: int, renders: int = RENDERS, least: float = LEAST_SECONDS, most: float = MOST_SECONDS
) -> list[float]:
    drawn = random.Random(seed)
    return [drawn.uniform(least, most) for _ in range(renders)]


def adaptive(durations: list[float], slots: int, *, learns: bool = True) -> tuple[float, float]:
    """Return queries per render and the mean delay, at the intervals that the cadence chooses."""
    learnt = Cadence()
    return campaign(durations, slots, None, lambda: learnt if learns else Cadence())


def fixed(durations: list[float], interval: float, seed: int = 1) -> tuple[float, float]:
    """Return the same for a loop that queries soon after the submit, and then at a fixed interval."""
    drawn = random.Random(seed)
    queries, delays = 0, 0.0
    for duration in durations:
        age = drawn.uniform(1.0, 3.0)
        late = -(-(duration - age) // interval)  # The number of waits until the first query after the end.
        queries += int(late) + 1
        delays += age + late * interval - duration
    return queries / len(durations), delays / len(durations)


def campaign(
    durations: list[float], slots: int, poll_interval: float | None, cadence: Callable[[], Cadence]
) -> tuple[float, float]:
    """Run the renders, ``slots`` at a time. Return queries per render, and mean seconds until an end is noticed."""
    dice = random.Random(1)
    number, queries, delays = itertools.count(), 0, 0.0
    todo = list(reversed(durations))
    events: list[tuple[float, int, Poller | None, float]] = [
        (0.0, next(number), None, 0.0) for _ in range(slots)
    ]
    while events:
        now, _, poller, ends = heapq.heappop(events)
        if poller is None:
            if not todo:
                continue
            poller, ends = new_poller(now, poll_interval, cadence()), now + todo.pop()
            wait = poller.first_wait(now, dice.random(), not_before=now + dice.uniform(*FIRST_POLL_SECONDS))
        else:
            decision = poller.decide(DONE if now >= ends else GENERATING, now, dice.random())
            queries += 1
            if isinstance(decision, Finish):
                delays += now - ends
                heapq.heappush(events, (now, next(number), None, 0.0))
                continue
            wait = decision.seconds
        heapq.heappush(events, (now + wait, next(number), poller, ends))
    return queries / len(durations), delays / len(durations)


def new_poller(now: float, poll_interval: float | None, cadence: Cadence) -> Poller:
    return Poller(
        task_id="1",
        req_key="key",
        submitted_at=now,
        deadline=now + 40_000,
        cadence=cadence,
        poll_interval=poll_interval,
    )


def mean_of_rounds(
    way: Callable[[list[float]], tuple[float, float]], series: list[list[float]]
) -> tuple[float, float]:
    figures = [way(durations) for durations in series]
    queries, delays = zip(*figures, strict=True)
    return sum(queries) / len(series), sum(delays) / len(series)


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--renders", type=int, default=RENDERS)
    options.add_argument("--least", type=float, default=LEAST_SECONDS)
    options.add_argument("--most", type=float, default=MOST_SECONDS)
    options.add_argument("--seed", type=int, default=2)
    given = options.parse_args()
    series = [
        uniform_durations(given.seed + number, given.renders, given.least, given.most)
        for number in range(ROUNDS)
    ]
    ours: dict[str, Callable[[list[float]], tuple[float, float]]] = {
        "one at a time": lambda durations: adaptive(durations, 1),
        "two at a time": lambda durations: adaptive(durations, 2),
        "all at once": lambda durations: adaptive(durations, len(durations)),
        "unknown model": lambda durations: adaptive(durations, 1, learns=False),
    }
    print(f"{given.renders} renders of {given.least:g} to {given.most:g} s: queries per render, mean delay")
    missed: list[str] = []
    for name, way in ours.items():
        queries, delay = mean_of_rounds(way, series)
        print(f"{name:20} {queries:5.1f} {delay:6.1f} s")
        if queries > MOST_QUERIES or delay > MOST_DELAY:
            missed.append(name)
    queries, delay = mean_of_rounds(lambda durations: fixed(durations, 5.0), series)
    print(f"{'every 5 s':20} {queries:5.1f} {delay:6.1f} s")
    print(f"{'at most':20} {MOST_QUERIES:5.1f} {MOST_DELAY:6.1f} s")
    assert not missed, missed


if __name__ == "__main__":
    main()
