"""Queries per render, and how late its end is noticed, on a virtual clock: what the trigger's own poller decides.

    python benchmarks/queries.py [--renders 300] [--least 60] [--most 240]

Durations are drawn evenly and unknown to the poller, which learns from one render to the next as in a triggerer; its
first poll comes as late after the submit as the trigger's. Accounts render one or two at a time, which is what the
limits are for; beside it what happens where nothing can be learnt in time, and a fixed interval of 5 s.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import random
from typing import TYPE_CHECKING

from airflow_provider_jimeng.core.cadence import Cadence
from airflow_provider_jimeng.core.polling import Finish, Poller
from airflow_provider_jimeng.core.render import RenderStatus
from airflow_provider_jimeng.core.wire import QueryReply

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_QUERIES = 12.0
MOST_DELAY = 5.0
FIRST_POLL_SECONDS = (11.0, 13.2)
GENERATING = QueryReply(status=RenderStatus.GENERATING, status_word="generating")
DONE = QueryReply(status=RenderStatus.DONE, status_word="done", video_url="https://video.example/1.mp4")


def campaign(
    durations: list[float], slots: int, poll_interval: float | None, cadence: Callable[[], Cadence]
) -> tuple[float, float]:
    """Run the renders, ``slots`` at a time; return the mean of queries, and of seconds to notice the end."""
    dice = random.Random(1)
    number, queries, delays = itertools.count(), 0, 0.0
    todo = list(reversed(durations))
    events: list[tuple[float, int, Poller | None, float]] = [(0.0, next(number), None, 0.0)] * slots
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


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--renders", type=int, default=300)
    options.add_argument("--least", type=float, default=60.0)
    options.add_argument("--most", type=float, default=240.0)
    options.add_argument("--seed", type=int, default=2)
    given = options.parse_args()
    drawn = random.Random(given.seed)
    durations = [drawn.uniform(given.least, given.most) for _ in range(given.renders)]
    learnt = Cadence()
    ways: dict[str, tuple[int, float | None, Callable[[], Cadence]]] = {
        "one at a time": (1, None, lambda: learnt),
        "two at a time": (2, None, lambda: learnt),
        "all at once": (given.renders, None, lambda: learnt),
        "each in a process that knows nothing": (1, None, Cadence),
        "every 5 s": (2, 5.0, Cadence),
    }
    print(f"{given.renders} renders of {given.least:g} to {given.most:g} s: queries per render, mean delay")
    missed: list[str] = []
    for name, (slots, interval, cadence) in ways.items():
        learnt = Cadence()
        queries, delay = campaign(durations, slots, interval, cadence)
        print(f"{name:38} {queries:5.1f} {delay:6.1f} s")
        if slots <= 2 and cadence is not Cadence and (queries > MOST_QUERIES or delay > MOST_DELAY):
            missed.append(name)
    print(f"{'at most':38} {MOST_QUERIES:5.1f} {MOST_DELAY:6.1f} s")
    assert not missed, missed


if __name__ == "__main__":
    main()
