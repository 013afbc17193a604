# SPDX-License-Identifier: Apache-2.0
"""Accepted renders, the limit on requests per second, and the bill.

The status of a render is a function of the clock, so nothing runs between two requests.

``in_queue → generating → done`` and the 12 hours are documented (H). Guesses (L): how long a render queues (a fifth of
its time, here), that the 12 hours count from the submit, and that a cancelled render is ``not_found`` afterwards.
"""

from __future__ import annotations

import random
import threading
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_jimeng.emulator.request_checks import AcceptedRequest

QUEUE_SHARE = 0.2


@dataclass(slots=True, kw_only=True)
class Render:
    """One accepted submit. Times are in epoch seconds. ``drawn_seed`` is the requested seed, or a random one."""

    task_id: str
    request: AcceptedRequest
    drawn_seed: int
    submitted_at: float
    starts_at: float
    ends_at: float
    failure: tuple[int, str | None] | None = None
    expires: bool = False
    video: tuple[int, int, int] | None = None
    """Width, height and duration of its video, if they are not those of the request."""
    cancelled_at: float | None = None
    queries: int = 0
    media_requests: int = 0
    media_downloads: int = 0

    @property
    def req_key(self) -> str:
        """Return the key that it was submitted with."""
        return self.request.spec.req_key

    def status(self, now: float, retention_seconds: float) -> str:
        """Return the status word at ``now``.

        ``failed`` is not a word of the API: it answers such a query with the code of the failure.
        """
        if self.cancelled_at is not None or now - self.submitted_at > retention_seconds:
            return "not_found"
        if now < self.ends_at:
            return "in_queue" if now < self.starts_at else "generating"
        if self.failure is not None:
            return "failed"
        return "expired" if self.expires else "done"

    def in_flight(self, now: float) -> bool:
        """Return whether it counts towards the concurrency limit of its key."""
        return self.cancelled_at is None and now < self.ends_at

    def billed(self, now: float) -> bool:
        """Return whether it is billed. Only a render that succeeded is (confidence M)."""
        return self.cancelled_at is None and self.failure is None and not self.expires and now >= self.ends_at

    @property
    def cost(self) -> Decimal | None:
        """Return the cost in CNY, by requested second. ``None`` if the price is unknown."""
        price = self.request.spec.price_cny_per_second
        return None if price is None else price * self.request.duration


@dataclass(slots=True)
class RenderStore:
    """All renders since the last reset. A caller holds :attr:`lock` while it decides on one."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    peak: int = 0
    peak_by_key: Counter[str] = field(default_factory=Counter)
    _renders: dict[str, Render] = field(default_factory=dict)
    _running: dict[str, list[Render]] = field(default_factory=dict)
    _ids: random.Random = field(default_factory=random.Random)
    _seeds: random.Random = field(default_factory=lambda: random.Random(1))
    """Random seeds come in the same order in each emulator, so that its videos can be in the cache already."""

    def __iter__(self) -> Iterator[Render]:
        return iter(list(self._renders.values()))

    def __len__(self) -> int:
        return len(self._renders)

    def get(self, task_id: str) -> Render | None:
        """Return a render by its id, whatever its age."""
        return self._renders.get(task_id)

    def in_flight(self, req_key: str, now: float) -> int:
        """Return how many renders count towards the concurrency limit of a key."""
        running = [render for render in self._running.get(req_key, ()) if render.in_flight(now)]
        self._running[req_key] = running
        return len(running)

    def accept(self, request: AcceptedRequest, *, now: float, render_seconds: float) -> Render:
        """Store a new render under a new id of 19 digits, as the API's ids are (H), and return it."""
        seed = request.seed if request.seed >= 0 else self._seeds.randrange(2**31)
        render = Render(
            task_id=self._new_id(),
            request=request,
            drawn_seed=seed,
            submitted_at=now,
            starts_at=now + render_seconds * QUEUE_SHARE,
            ends_at=now + render_seconds,
        )
        self._renders[render.task_id] = render
        self._running.setdefault(render.req_key, []).append(render)
        for key in self._running:
            self.peak_by_key[key] = max(self.peak_by_key[key], self.in_flight(key, now))
        self.peak = max(self.peak, sum(len(renders) for renders in self._running.values()))
        return render

    def count(self, render: Render, name: str) -> None:
        """Add one to a counter of a render."""
        with self.lock:
            setattr(render, name, getattr(render, name) + 1)

    def clear(self) -> None:
        """Remove all renders."""
        with self.lock:
            self._renders.clear()
            self._running.clear()
            self.peak_by_key.clear()
            self.peak = 0

    def _new_id(self) -> str:
        while True:
            task_id = str(self._ids.randrange(7 * 10**18, 8 * 10**18))
            if task_id not in self._renders:
                return task_id


@dataclass(slots=True)
class RateLimit:
    """Admits a number of calls in any one second; ``None`` means no limit. Refused calls do not count (L)."""

    max_per_second: float | None
    _recent: deque[float] = field(default_factory=deque)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def admit(self, now: float) -> bool:
        """Return whether a call is admitted, and count it if it is."""
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


@dataclass(slots=True)
class Counters:
    """The numbers of the bill that do not come from renders.

    ``refused`` and ``query_errors`` count by code, or by the name of the fault.
    """

    submits: int = 0
    queries: int = 0
    cancels: int = 0
    media_requests: int = 0
    media_requests_with_authorization: int = 0
    media_bytes: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    query_errors: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, name: str, amount: int = 1) -> None:
        """Add to one of the numbers."""
        with self.lock:
            setattr(self, name, getattr(self, name) + amount)

    def clear(self) -> None:
        """Set all numbers to zero."""
        with self.lock:
            self.submits = self.queries = self.cancels = 0
            self.media_requests = self.media_requests_with_authorization = self.media_bytes = 0
            self.refused.clear()
            self.query_errors.clear()

    def count_refusal(self, operation: str, reason: str) -> None:
        """Count a refused submit, or a query that was answered with an error."""
        with self.lock:
            if operation == "submit":
                self.refused[reason] += 1
            elif operation == "query":
                self.query_errors[reason] += 1


def make_bill(
    renders: RenderStore,
    counters: Counters,
    faults: list[dict[str, Any]],
    *,
    now: float,
    retention_seconds: float,
) -> dict[str, Any]:
    """Return the bill at ``now``. Money is decimal text in CNY, times are RFC 3339 in UTC.

    ``billed`` counts the renders that have succeeded, whether or not a client queried them. Failed, expired and
    cancelled ones cost nothing (confidence M).
    """
    with renders.lock, counters.lock:
        everything = list(renders)
        billed = [render for render in everything if render.billed(now)]
        return {
            "submits": counters.submits,
            "accepted": len(everything),
            "refused": dict(counters.refused),
            "billed": len(billed),
            "cost_cny": str(sum((render.cost or Decimal(0) for render in billed), Decimal("0.00"))),
            "unpriced": sum(render.cost is None for render in billed),
            "in_flight": sum(render.in_flight(now) for render in everything),
            "peak_in_flight": {"total": renders.peak, "by_req_key": dict(renders.peak_by_key)},
            "queries": counters.queries,
            "query_errors": dict(counters.query_errors),
            "cancels": counters.cancels,
            "media_requests": counters.media_requests,
            "media_requests_with_authorization": counters.media_requests_with_authorization,
            "media_bytes": counters.media_bytes,
            "faults": faults,
            "by_task": {render.task_id: _bill_line(render, now, retention_seconds) for render in everything},
        }


def _bill_line(render: Render, now: float, retention_seconds: float) -> dict[str, Any]:
    billed = render.billed(now)
    request = render.request
    cost = render.cost if billed else Decimal("0.00")
    return {
        "req_key": render.req_key,
        "model": request.spec.name,
        "prompt": request.prompt,
        "seed": request.seed,
        "duration": request.duration,
        "aspect_ratio": request.aspect_ratio,
        "images": len(request.images),
        "status": "cancelled" if render.cancelled_at is not None else render.status(now, retention_seconds),
        "failure_code": None if render.failure is None else render.failure[0],
        "billed": billed,
        "cost_cny": None if cost is None else str(cost),
        "submitted_at": datetime.fromtimestamp(render.submitted_at, UTC).isoformat().replace("+00:00", "Z"),
        "queries": render.queries,
        "media_requests": render.media_requests,
        "media_downloads": render.media_downloads,
        "ignored_fields": list(request.ignored_fields),
    }
