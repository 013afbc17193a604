# SPDX-License-Identifier: Apache-2.0
"""Read values of payloads that anybody can have pushed: each function returns a usable value or ``None``.

No function raises. The results can be added up, shown, and sent as JSON.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

_YEARS = range(2000, 3000)
_MOST = 10**9
"""Far above any price, size in pixels or length in seconds. Sums of such numbers are finite, and such times exist."""
_LONGEST_NUMBER = 40
_LARGEST_WHOLE = 2**63


def moment(value: Any) -> datetime | None:
    """Return an RFC 3339 time that has a zone, in UTC."""
    try:
        time = datetime.fromisoformat(value)
        if time.tzinfo is None:
            return None
        time = time.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None
    return time if time.year in _YEARS else None


def time_text(value: Any) -> str | None:
    """Return a time in the form that every browser understands."""
    time = moment(value)
    return None if time is None else time.isoformat().replace("+00:00", "Z")


def seconds_between(start: Any, end: Any) -> float | None:
    """Return the seconds between two times, 0 if the second is earlier."""
    first, last = moment(start), moment(end)
    return None if first is None or last is None else max(0.0, (last - first).total_seconds())


def number(value: Any) -> float | int | None:
    """Return a number that is zero or more, such as a length in seconds."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MOST
    return value if usable else None


def whole(value: Any) -> int | None:
    """Return an integer of any sign."""
    usable = isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST_WHOLE
    return value if usable else None


def amount(value: Any) -> Decimal | None:
    """Return a decimal text or a number that is zero or more, such as a price."""
    try:
        written = str(value)
        decimal = Decimal(written)
    except (InvalidOperation, ValueError):  # ValueError: an integer of thousands of digits
        return None
    usable = len(written) <= _LONGEST_NUMBER and decimal.is_finite() and 0 <= decimal <= _MOST
    return decimal if usable else None


def text(value: Any) -> str | None:
    """Return a text. An integer counts as one, because codes can be integers."""
    if isinstance(value, str):
        return value if value.isascii() else str(plain(value))
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    try:
        return str(value)
    except ValueError:  # an integer of thousands of digits
        return None


def plain(value: Any) -> Any:
    """Return a payload without what JSON cannot carry: infinite numbers and halves of characters."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {plain(name): plain(one) for name, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list) else value
