"""The queues for render slots of one triggerer process: one queue for each account and model.

The queues belong to an event loop, because ``dag.test()`` runs each trigger on its own loop. A waiting trigger costs one
future. One task per queue wakes a waiter from time to time; it runs only while there are waiters.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async

from airflow_provider_jimeng.core.limits import CREDIT_SECONDS, Waiter, choose, pause_between_tries, spread

_CLIENTS = "airflow_provider_jimeng.hooks.connection_cache"
_loaded: set[str] = set()


@dataclass(eq=False, slots=True)
class SlotQueue:
    """What one process knows about the slots of one account and model.

    ``pause`` returns the seconds between two tries; its arguments are those of :func:`pause_between_tries`.
    """

    pause: Callable[..., float] = pause_between_tries
    running: int = 0
    peak: int = 0
    _waiting: dict[Waiter, asyncio.Future[None]] = field(default_factory=dict)
    _turns: dict[str, int] = field(default_factory=dict)
    _credits: list[float] = field(default_factory=list)
    _last_wake: float = 0.0
    _jitter: float = 0.5
    _tries: asyncio.Task[None] | None = None

    def render_began(self) -> None:
        """Count a render that this process polls."""
        self.running += 1
        self.peak = max(self.peak, self.running)

    def render_left(self, *, ended: bool) -> None:
        """Count the render no longer. If it ended, its slot is free, and one waiter is woken."""
        self.running -= 1
        if ended:
            self.wake_one()

    async def wait(self, waiter: Waiter, *, deadline: float) -> bool:
        """Wait for the turn of this waiter; return ``False`` if the deadline passes first.

        If a waiter is cancelled after it was woken, the next one is woken instead.
        """
        turn = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = turn
        self._take_credit(waiter)
        self._keep_trying()
        try:
            woken = await _before(turn, max(deadline, waiter.not_before))
            await asyncio.sleep(max(0.0, waiter.not_before - time.time()))
        except BaseException:
            if turn.done() and not turn.cancelled():
                self.wake_one()
            raise
        finally:
            self._waiting.pop(waiter, None)
        if woken and time.time() >= deadline:
            self.wake_one()
            return False
        return woken

    def wake_one(self) -> None:
        """Wake the next waiter. If there is none, keep the free slot for the next one."""
        now = time.time()
        asleep = [waiter for waiter, turn in self._waiting.items() if not turn.done()]
        chosen = choose(asleep, now=now, turns=self._turns)
        if chosen is None:
            self._credits.append(now)
            return
        self._pause_begins()
        self._turns[chosen.dag_id] = max(self._turns.values(), default=-1) + 1
        self._waiting[chosen].set_result(None)

    def _take_credit(self, waiter: Waiter) -> None:
        now = time.time()
        self._credits = [at for at in self._credits if now - at < CREDIT_SECONDS]
        usable = next((at for at in self._credits if at >= waiter.refused_at), None)
        if usable is not None:
            self._credits.remove(usable)
            self.wake_one()

    def _keep_trying(self) -> None:
        if self._tries is None or self._tries.done():
            self._pause_begins()
            self._tries = asyncio.get_running_loop().create_task(
                self._try_now_and_then(), name="jimeng slots"
            )

    def _pause_begins(self) -> None:
        self._last_wake, self._jitter = time.time(), random.random()

    async def _try_now_and_then(self) -> None:
        while self._waiting:
            throttled = any(waiter.throttled for waiter in self._waiting)
            pause = self.pause(running=self.running, peak=self.peak, throttled=throttled)
            due = self._last_wake + spread(pause, self._jitter)
            if (left := due - time.time()) > 0:
                await asyncio.sleep(min(left, 5.0))
            elif any(not turn.done() for turn in self._waiting.values()):
                self.wake_one()
            else:
                await asyncio.sleep(1.0)


async def _before(turn: asyncio.Future[None], deadline: float) -> bool:
    done, _ = await asyncio.wait([turn], timeout=max(0.0, deadline - time.time()))
    return bool(done)


_LOOPS: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, str], SlotQueue]] = WeakKeyDictionary()


def slot_queue(account: str, req_key: str) -> SlotQueue:
    """Return the running loop's queue of an account and model."""
    queues = _LOOPS.setdefault(asyncio.get_running_loop(), {})
    return queues.setdefault((account, req_key), SlotQueue())


async def load_clients() -> None:
    """Import the clients in a thread, once a process: with httpx that takes longer than a callback may."""
    if _CLIENTS not in _loaded:
        await sync_to_async(import_module, thread_sensitive=False)(_CLIENTS)
        _loaded.add(_CLIENTS)
