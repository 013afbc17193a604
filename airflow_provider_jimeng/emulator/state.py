"""Renders and their life: a function of the clock, so that nothing has to run between two requests.

``in_queue → generating → done`` and the 12 hours are documented (H). Guessed (L): how long a render queues (a fifth of
its time, here), that the 12 hours count from the submit, and that a cancelled task is ``not_found`` from then on.
"""

from __future__ import annotations

import random
import threading
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_jimeng.emulator.refusals import Order

QUEUE_SHARE = 0.2


@dataclass(slots=True, kw_only=True)
class Task:
    """One accepted submit. Times are epoch seconds."""

    task_id: str
    order: Order
    drawn_seed: int
    submitted_at: float
    starts_at: float
    ends_at: float
    failure: tuple[int, str | None] | None = None
    lapses: bool = False
    cancelled_at: float | None = None
    queries: int = 0
    media_requests: int = 0
    media_downloads: int = 0

    @property
    def req_key(self) -> str:
        """The key it was submitted with."""
        return self.order.spec.req_key

    def status(self, now: float, retention_seconds: float) -> str:
        """Return its word at a time; ``failed`` is ours: the API answers such a query with the failure's code."""
        if self.cancelled_at is not None or now - self.submitted_at > retention_seconds:
            return "not_found"
        if now < self.ends_at:
            return "in_queue" if now < self.starts_at else "generating"
        if self.failure is not None:
            return "failed"
        return "expired" if self.lapses else "done"

    def in_flight(self, now: float) -> bool:
        """Does it hold one of its key's slots?"""
        return self.cancelled_at is None and now < self.ends_at

    def billed(self, now: float) -> bool:
        """Is it paid for? Only what succeeded is (confidence M)."""
        return self.cancelled_at is None and self.failure is None and not self.lapses and now >= self.ends_at

    @property
    def cost(self) -> Decimal | None:
        """What it costs once billed, in CNY: by requested second; ``None`` where the price is unknown."""
        price = self.order.spec.price_cny_per_second
        return None if price is None else price * self.order.duration


@dataclass(slots=True)
class TaskStore:
    """Every task since the last reset. Callers hold :attr:`lock` across a decision."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    peak: int = 0
    peak_by_key: Counter[str] = field(default_factory=Counter)
    _tasks: dict[str, Task] = field(default_factory=dict)
    _running: dict[str, list[Task]] = field(default_factory=dict)
    _random: random.Random = field(default_factory=random.Random)

    def __iter__(self) -> Iterator[Task]:
        return iter(list(self._tasks.values()))

    def __len__(self) -> int:
        return len(self._tasks)

    def get(self, task_id: str) -> Task | None:
        """Return a task by its id, whatever its age."""
        return self._tasks.get(task_id)

    def in_flight(self, req_key: str, now: float) -> int:
        """Count the tasks that hold a slot of a key."""
        running = [task for task in self._running.get(req_key, ()) if task.in_flight(now)]
        self._running[req_key] = running
        return len(running)

    def accept(self, order: Order, *, now: float, render_seconds: float) -> Task:
        """Keep a new task under a new id of 19 digits, as the API gives them (H)."""
        seed = order.seed if order.seed >= 0 else self._random.randrange(2**31)
        task = Task(
            task_id=self._new_id(),
            order=order,
            drawn_seed=seed,
            submitted_at=now,
            starts_at=now + render_seconds * QUEUE_SHARE,
            ends_at=now + render_seconds,
        )
        self._tasks[task.task_id] = task
        self._running.setdefault(task.req_key, []).append(task)
        for key in self._running:
            self.peak_by_key[key] = max(self.peak_by_key[key], self.in_flight(key, now))
        self.peak = max(self.peak, sum(len(tasks) for tasks in self._running.values()))
        return task

    def clear(self) -> None:
        """Forget everything."""
        with self.lock:
            self._tasks.clear()
            self._running.clear()
            self.peak_by_key.clear()
            self.peak = 0

    def _new_id(self) -> str:
        while True:
            task_id = str(self._random.randrange(7 * 10**18, 8 * 10**18))
            if task_id not in self._tasks:
                return task_id


@dataclass(slots=True)
class RateLimit:
    """At most so many calls in any second; ``None`` is no limit. Refused calls do not count (L)."""

    max_per_second: float | None
    _recent: deque[float] = field(default_factory=deque)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def admit(self, now: float) -> bool:
        """Count a call and let it pass, or refuse it."""
        with self._lock:
            if self.max_per_second is None:
                return True
            while self._recent and now - self._recent[0] >= 1.0:
                self._recent.popleft()
            if len(self._recent) >= self.max_per_second:
                return False
            self._recent.append(now)
            return True

    def clear(self) -> None:
        """Forget the calls of the last second."""
        with self._lock:
            self._recent.clear()
