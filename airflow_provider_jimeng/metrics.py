"""Metrics for Airflow's ``Stats``: counts, seconds, bytes and money, by model; never a prompt or an id.

Metrics, all below ``jimeng.``: counters ``submitted``, ``adopted``, ``busy``, ``landed``, ``failed`` (tag ``code``),
``landed_bytes`` and ``cost_fen`` (hundredths of a CNY); timers ``render_seconds`` and ``queue_seconds``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import Stats

from airflow_provider_jimeng.core.envelope import readable
from airflow_provider_jimeng.core.errors import JimengError

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_provider_jimeng.core.render import Render, RenderEvent, RenderManifest


log = logging.getLogger(__name__)


@contextmanager
def harmless(what: str) -> Iterator[None]:
    """Log an error of a metric or of an XCom back end instead of raising it, so that no paid render is lost."""
    try:
        yield
    except JimengError:
        raise
    except Exception as error:  # noqa: BLE001 - metrics and XCom back ends raise classes of their own
        why = readable(str(error), at_most=300)
        log.warning("%s failed (%s: %s). The task goes on.", what, type(error).__name__, why)


def count(name: str, model: str, **tags: str) -> None:
    """Count one event."""
    with harmless("A metric"):
        Stats.incr(f"jimeng.{name}", tags={"model": model, **tags})


def count_end(render: Render, event: RenderEvent) -> None:
    """Count a render that did not end well, by its code or outcome."""
    count("failed", render.model, code=event.code or event.outcome.value)


def count_landing(manifest: RenderManifest, *, since: datetime, again: bool = False) -> None:
    """Count a saved video: bytes, seconds and cost.

    :param since: when the task began. A video that was saved before is already counted.
    :param again: the render was saved before and its file is gone, so its cost is already counted.
    """
    if manifest.landed_at < since:
        return
    with harmless("A metric"):
        _count_landed(manifest, again=again)


def _count_landed(manifest: RenderManifest, *, again: bool) -> None:
    tags = {"model": manifest.model}
    Stats.incr("jimeng.landed", tags=tags)
    Stats.incr("jimeng.landed_bytes", manifest.bytes, tags=tags)
    if manifest.cost_cny is not None and not again:
        Stats.incr("jimeng.cost_fen", round(manifest.cost_cny * 100), tags=tags)
    for name, seconds in (("render", manifest.render_seconds), ("queue", manifest.queued_seconds)):
        if seconds is not None:
            Stats.timing(f"jimeng.{name}_seconds", timedelta(seconds=seconds), tags=tags)
