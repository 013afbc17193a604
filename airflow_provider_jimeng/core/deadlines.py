"""Until when a wait may last and a render is kept, and how waits drift apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_jimeng.core.catalogue import RETENTION_SECONDS

if TYPE_CHECKING:
    import pendulum

    from airflow_provider_jimeng.core.render import Render

SAFE_RETENTION_SECONDS = RETENTION_SECONDS - 1800
"""No wait goes beyond 11.5 h after the submit: half an hour is left to land the video."""
JITTER = 0.2
"""A wait is lengthened or shortened by up to a fifth, so that waits that began together drift apart."""


def deadline_for(*, now: float, wait_timeout: float, submitted_at: float) -> float:
    """Return the epoch second at which a wait that starts now gives up."""
    return min(submitted_at + SAFE_RETENTION_SECONDS, now + wait_timeout)


def kept_until(submitted_at: pendulum.DateTime) -> str:
    """Return until when the API can be counted on to keep a render, e.g. ``14:05 UTC on 2026-01-02``."""
    until = submitted_at.in_timezone("UTC").add(seconds=SAFE_RETENTION_SECONDS)
    return f"{until:HH:mm} UTC on {until:YYYY-MM-DD}"


def landable_until(render: Render) -> str:
    """Return until when a render can be landed; of one that is known by its id alone nobody knows the submit."""
    return kept_until(render.submitted_at) if render.fingerprint else "12 hours after its submit"


def in_words(seconds: float) -> str:
    """Return a length of time as a log line tells it, e.g. ``24 h``, ``5 min`` or ``30 s``."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length and not seconds % length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"


def spread(seconds: float, jitter: float) -> float:
    """Return ``seconds`` moved by up to a fifth; ``jitter`` is drawn evenly from 0 to 1."""
    return seconds * (1 + JITTER * (2 * jitter - 1))
