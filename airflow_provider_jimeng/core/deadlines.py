"""How long a wait can last, how long the API keeps a render, and how waits are spread over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_jimeng.core.catalogue import RETENTION_SECONDS

if TYPE_CHECKING:
    import pendulum

    from airflow_provider_jimeng.core.render import Render

SAFE_RETENTION_SECONDS = RETENTION_SECONDS - 1800
"""No wait lasts longer than 11.5 h after the submit, so that half an hour is left to save the video."""
JITTER = 0.2
"""A wait is lengthened or shortened by up to a fifth, so that waits that began together do not end together."""


def deadline_for(*, now: float, wait_timeout: float, submitted_at: float) -> float:
    """Return the epoch second at which a wait that starts now ends."""
    return min(submitted_at + SAFE_RETENTION_SECONDS, now + wait_timeout)


def kept_until(submitted_at: pendulum.DateTime) -> str:
    """Return until when the API keeps a render for certain, for example ``14:05 UTC on 2026-01-02``."""
    until = submitted_at.in_timezone("UTC").add(seconds=SAFE_RETENTION_SECONDS)
    return f"{until:HH:mm} UTC on {until:YYYY-MM-DD}"


def landable_until(render: Render) -> str:
    """Return until when the video of a render can be saved; for a bare id the time of the submit is not known."""
    return kept_until(render.submitted_at) if render.fingerprint else "12 hours after its submit"


def in_words(seconds: float) -> str:
    """Return a length of time for a log line, for example ``24 h``, ``5 min`` or ``30 s``."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length and not seconds % length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"


def spread(seconds: float, jitter: float) -> float:
    """Return ``seconds`` changed by up to a fifth; ``jitter`` is a random number from 0 to 1."""
    return seconds * (1 + JITTER * (2 * jitter - 1))
