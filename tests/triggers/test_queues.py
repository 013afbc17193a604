# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from airflow_provider_jimeng.core.limits import SETTLE_SECONDS, Waiter
from airflow_provider_jimeng.triggers.render import SlotQueue, slot_queue


def never(**_: Any) -> float:
    return 3600.0


def soon(**_: Any) -> float:
    return 0.05


def waiter(since: float = 0.0, *, not_before: float = 0.0, **values: Any) -> Waiter:
    return Waiter(since=since, not_before=not_before, **values)


def far() -> float:
    return time.time() + 60


async def let_run() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_render_that_ends_wakes_one_waiter_and_only_one() -> None:
    queue = SlotQueue(pause=never)
    queue.render_began()
    first = asyncio.create_task(queue.wait(waiter(1), deadline=far()))
    second = asyncio.create_task(queue.wait(waiter(2), deadline=far()))
    await let_run()

    queue.render_left(ended=True)
    assert await asyncio.wait_for(first, 5)

    await let_run()
    assert not second.done()
    second.cancel()


async def test_a_render_whose_wait_only_moved_away_wakes_nobody() -> None:
    queue = SlotQueue(pause=never)
    queue.render_began()
    waiting = asyncio.create_task(queue.wait(waiter(), deadline=far()))
    await let_run()

    queue.render_left(ended=False)
    await let_run()

    assert not waiting.done()
    waiting.cancel()


async def test_a_woken_waiter_that_is_cancelled_passes_the_wake_on() -> None:
    queue = SlotQueue(pause=never)
    moved = asyncio.create_task(queue.wait(waiter(1, not_before=time.time() + 30), deadline=far()))
    other = asyncio.create_task(queue.wait(waiter(2, not_before=time.time() + 30.5), deadline=far()))
    await let_run()
    queue.wake_one()
    await let_run()
    third = asyncio.create_task(queue.wait(waiter(3), deadline=far()))
    await let_run()

    moved.cancel()

    assert await asyncio.wait_for(third, 5)
    other.cancel()


async def test_nobody_goes_before_its_time_even_when_woken() -> None:
    queue = SlotQueue(pause=never)
    not_before = time.time() + 0.3
    waiting = asyncio.create_task(queue.wait(waiter(not_before=not_before), deadline=far()))
    await let_run()

    queue.wake_one()

    assert await asyncio.wait_for(waiting, 5)
    assert time.time() >= not_before


async def test_a_slot_that_came_free_while_nobody_waited_goes_to_who_was_refused_before_it() -> None:
    queue = SlotQueue(pause=never)
    refused_at = time.time() - 1
    queue.wake_one()

    assert await asyncio.wait_for(
        queue.wait(waiter(not_before=refused_at + SETTLE_SECONDS - 9), deadline=far()), 5
    )


async def test_a_slot_that_came_free_before_the_refusal_is_not_offered() -> None:
    queue = SlotQueue(pause=never)
    queue.wake_one()
    refused_later = waiter(not_before=time.time() + 1 + SETTLE_SECONDS)
    waiting = asyncio.create_task(queue.wait(refused_later, deadline=far()))
    await asyncio.sleep(0.05)

    assert not waiting.done()
    waiting.cancel()


async def test_where_nothing_is_seen_to_end_one_waiter_at_a_time_tries_now_and_then() -> None:
    queue = SlotQueue(pause=soon)

    results = await asyncio.wait_for(
        asyncio.gather(*[queue.wait(waiter(i), deadline=far()) for i in range(3)]), 20
    )

    assert results == [True, True, True]


async def test_the_deadline_ends_a_wait_in_vain() -> None:
    queue = SlotQueue(pause=never)

    assert not await queue.wait(waiter(), deadline=time.time() + 0.1)


async def test_not_even_the_deadline_ends_a_wait_before_its_time() -> None:
    queue = SlotQueue(pause=never)
    not_before = time.time() + 0.3

    assert not await queue.wait(waiter(not_before=not_before), deadline=time.time())
    assert time.time() >= not_before


async def test_who_is_woken_at_the_deadline_passes_the_wake_on() -> None:
    queue = SlotQueue(pause=never)
    late = asyncio.create_task(
        queue.wait(waiter(1, not_before=time.time() + 0.5), deadline=time.time() + 0.2)
    )
    await let_run()
    queue.wake_one()
    other = asyncio.create_task(queue.wait(waiter(2), deadline=far()))

    assert not await asyncio.wait_for(late, 5)
    assert await asyncio.wait_for(other, 5)


async def test_the_queue_is_the_same_for_the_same_account_and_model_on_a_loop() -> None:
    assert slot_queue("account", "key") is slot_queue("account", "key")
    assert slot_queue("account", "key") is not slot_queue("account", "other")


async def test_the_most_renders_at_once_are_remembered() -> None:
    queue = slot_queue("account", "peak")
    for _ in range(2):
        queue.render_began()
    queue.render_left(ended=False)

    assert (queue.running, queue.peak) == (1, 2)


pytestmark = pytest.mark.asyncio
