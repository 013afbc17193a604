"""The bill: what was asked, what was accepted, what it costs. ``GET /_emulator/bill`` answers it."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_jimeng.emulator.state import Task, TaskStore


@dataclass(slots=True)
class Counters:
    """What is counted beside the tasks. ``refused`` maps a code, or the name of a fault, to the submits it refused."""

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
        """Start from zero."""
        with self.lock:
            self.submits = self.queries = self.cancels = 0
            self.media_requests = self.media_requests_with_authorization = self.media_bytes = 0
            self.refused.clear()
            self.query_errors.clear()

    def refuse(self, where: str, reason: str) -> None:
        """Count a refused submit, or a query answered with an error."""
        with self.lock:
            if where == "submit":
                self.refused[reason] += 1
            elif where == "query":
                self.query_errors[reason] += 1


def make_bill(
    tasks: TaskStore,
    counters: Counters,
    faults: list[dict[str, Any]],
    *,
    now: float,
    retention_seconds: float,
) -> dict[str, Any]:
    """Return the bill as of ``now``; money as decimal text in CNY, times as RFC 3339 UTC.

    ``billed`` counts the renders that succeeded by now, whether anybody asked or not; failed, lapsed and cancelled
    ones cost nothing (confidence M).
    """
    with tasks.lock, counters.lock:
        everything = list(tasks)
        billed = [task for task in everything if task.billed(now)]
        return {
            "submits": counters.submits,
            "accepted": len(everything),
            "refused": dict(counters.refused),
            "billed": len(billed),
            "cost_cny": str(sum((task.cost or Decimal(0) for task in billed), Decimal("0.00"))),
            "unpriced": sum(task.cost is None for task in billed),
            "in_flight": sum(task.in_flight(now) for task in everything),
            "peak_in_flight": {"total": tasks.peak, "by_req_key": dict(tasks.peak_by_key)},
            "queries": counters.queries,
            "query_errors": dict(counters.query_errors),
            "cancels": counters.cancels,
            "media_requests": counters.media_requests,
            "media_requests_with_authorization": counters.media_requests_with_authorization,
            "media_bytes": counters.media_bytes,
            "faults": faults,
            "by_task": {task.task_id: _line(task, now, retention_seconds) for task in everything},
        }


def _line(task: Task, now: float, retention_seconds: float) -> dict[str, Any]:
    billed = task.billed(now)
    order = task.order
    return {
        "req_key": task.req_key,
        "model": order.spec.name,
        "prompt": order.prompt,
        "seed": order.seed,
        "duration": order.duration,
        "aspect_ratio": order.aspect_ratio,
        "images": len(order.images),
        "status": "cancelled" if task.cancelled_at is not None else task.status(now, retention_seconds),
        "failure_code": None if task.failure is None else task.failure[0],
        "billed": billed,
        "cost_cny": _money(task.cost) if billed else "0.00",
        "submitted_at": datetime.fromtimestamp(task.submitted_at, UTC).isoformat().replace("+00:00", "Z"),
        "queries": task.queries,
        "media_requests": task.media_requests,
        "media_downloads": task.media_downloads,
        "ignored_fields": list(order.ignored_fields),
    }


def _money(cost: Decimal | None) -> str | None:
    return None if cost is None else str(cost)
