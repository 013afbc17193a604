# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

import pytest

from airflow_provider_jimeng.core.limits import SETTLE_SECONDS, Waiter, Wake
from airflow_provider_jimeng.core.polling import Cadence, Poller
from airflow_provider_jimeng.triggers.render import SlotQueue, slot_queue

FREE = Wake()
THIRTY_SECONDS = ((29.0, 30.0), (29.0, 30.0))


def never(**_: Any) -> float:
    return 3600.0


def soon(**_: Any) -> float:
    return 0.05


def waiter(since: float = 0.0, *, not_before: float = 0.0, **values: Any) -> Waiter:
    return Waiter(since=since, not_before=not_before, **values)


def render(render_id: str = "1", *, age: float = 0.0, known: Iterable[tuple[float, float]] = ()) -> Poller:
    """The wait for a render that was accepted `age` seconds ago, of a model with known durations."""
    cadence = Cadence()
    cadence.durations.extend(known)
    return Poller(
        task_id=render_id, req_key="k", submitted_at=time.time() - age, deadline=far(), cadence=cadence
    )


def far() -> float:
    return time.time() + 60


async def let_run() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_render_that_ends_wakes_one_waiter_and_only_one() -> None:
    queue, ending = SlotQueue(pause=never), render()
    queue.render_began(ending)
    first = asyncio.create_task(queue.wait(waiter(1), deadline=far()))
    second = asyncio.create_task(queue.wait(waiter(2), deadline=far()))
    await let_run()

    queue.render_left(ending, ended=True)
    assert await asyncio.wait_for(first, 5) == FREE

    await let_run()
    assert not second.done()
    second.cancel()


async def test_a_render_whose_wait_only_moved_away_wakes_nobody() -> None:
    queue, moving = SlotQueue(pause=never), render()
    queue.render_began(moving)
    waiting = asyncio.create_task(queue.wait(waiter(), deadline=far()))
    await let_run()

    queue.render_left(moving, ended=False)
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

    assert results == [FREE, FREE, FREE]


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
    queue, renders = SlotQueue(pause=never), [render(age=20), render(age=10)]
    for each in renders:
        each.pending_at = 15.0
        queue.render_began(each)
    waiting = asyncio.create_task(queue.wait(waiter(), deadline=far()))
    await let_run()
    queue.render_left(renders[0], ended=False)

    assert queue.peak == 2
    waiting.cancel()


async def test_one_task_is_woken_ahead_of_the_end_of_each_render_that_is_due() -> None:
    queue = SlotQueue(pause=never)
    queue.render_began(render("due", age=26, known=THIRTY_SECONDS))
    queue.render_began(render("young", age=12, known=THIRTY_SECONDS))
    first = asyncio.create_task(queue.wait(waiter(1), deadline=far()))
    second = asyncio.create_task(queue.wait(waiter(2), deadline=far()))
    await let_run()
    queue.wake_ahead()

    woken = await asyncio.wait_for(first, 5)
    await let_run()

    assert woken is not None
    assert woken.render_id == "due"
    assert woken.until is not None
    assert woken.until > time.time()
    assert not second.done()
    second.cancel()


async def test_the_end_of_a_render_wakes_nobody_else_while_a_task_stands_ready_for_it() -> None:
    queue, ending = SlotQueue(pause=never), render(age=26, known=THIRTY_SECONDS)
    queue.render_began(ending)
    first = asyncio.create_task(queue.wait(waiter(1), deadline=far()))
    second = asyncio.create_task(queue.wait(waiter(2), deadline=far()))
    await asyncio.wait_for(first, 5)

    queue.render_left(ending, ended=True)
    await let_run()

    assert not second.done()
    second.cancel()
    await asyncio.wait([second])
    third = asyncio.create_task(queue.wait(waiter(3), deadline=far()))
    await let_run()
    assert not third.done(), "the slot was kept for the next task, although one stands ready for it"
    third.cancel()


async def test_the_end_of_a_render_wakes_a_task_if_the_one_that_stood_ready_has_given_up() -> None:
    queue, ending = SlotQueue(pause=never), render(age=26, known=THIRTY_SECONDS)
    queue.render_began(ending)
    await asyncio.wait_for(queue.wait(waiter(1), deadline=far()), 5)
    queue._running[ending] = time.time() - 1  # as if that many seconds had passed
    ending.cadence.durations.clear()
    second = asyncio.create_task(queue.wait(waiter(2), deadline=far()))
    await let_run()

    queue.render_left(ending, ended=True)

    assert await asyncio.wait_for(second, 5) == FREE


async def test_nobody_who_deferred_a_moment_ago_is_woken_ahead() -> None:
    queue = SlotQueue(pause=never)
    queue.render_began(render(age=26, known=THIRTY_SECONDS))
    waiting = asyncio.create_task(queue.wait(waiter(not_before=time.time() + 9), deadline=far()))
    await let_run()

    assert not queue._waiting[next(iter(queue._waiting))].done()
    waiting.cancel()


async def test_a_task_that_was_woken_ahead_and_is_cancelled_makes_room_for_another() -> None:
    queue = SlotQueue(pause=never)
    queue.render_began(render("due", age=26, known=THIRTY_SECONDS))
    late = queue.wait(waiter(1), deadline=time.time() - 1)
    other = asyncio.create_task(queue.wait(waiter(2), deadline=far()))

    assert await asyncio.wait_for(late, 5) is None

    woken = await asyncio.wait_for(other, 5)
    assert woken is not None
    assert woken.render_id == "due"


async def test_renders_are_queried_more_often_only_while_tasks_wait_for_their_slots() -> None:
    queue, running = SlotQueue(pause=never), render()
    queue.render_began(running)
    assert running.longest_pause() == float("inf")

    waiting = asyncio.create_task(queue.wait(waiter(), deadline=far()))
    await let_run()

    assert running.longest_pause() < 5
    waiting.cancel()


async def test_two_triggerers_wake_tasks_only_for_the_renders_that_each_of_them_polls() -> None:
    """Each triggerer has its own loop, and so its own queue."""
    slot_queue("account", "two").render_began(render(age=26, known=THIRTY_SECONDS))

    async def in_another_triggerer() -> Wake | None:
        return await slot_queue("account", "two").wait(waiter(), deadline=time.time() + 0.2)

    assert await asyncio.to_thread(asyncio.run, in_another_triggerer()) is None
    assert await asyncio.wait_for(slot_queue("account", "two").wait(waiter(), deadline=far()), 5)


pytestmark = pytest.mark.asyncio
