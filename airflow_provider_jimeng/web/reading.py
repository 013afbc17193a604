"""Values of payloads that anybody may have pushed: each is read as what it should be, or is ``None``.

Nothing here raises, and what is returned can be counted with, shown, and sent as JSON.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

_YEARS = range(2000, 3000)
_MOST = 10**9
"""Far above any price, size in pixels or length in seconds; sums of such numbers stay finite, and such times exist."""
_LONGEST_NUMBER = 40
_LARGEST_WHOLE = 2**63


def moment(value: Any) -> datetime | None:
    """Read an RFC 3339 time with its zone, in UTC."""
    try:
        found = datetime.fromisoformat(value)
        if found.tzinfo is None:
            return None
        found = found.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if found.year in _YEARS else None


def time_text(value: Any) -> str | None:
    """Read a time, and write it as every browser understands it."""
    found = moment(value)
    return None if found is None else found.isoformat().replace("+00:00", "Z")


def seconds_between(start: Any, end: Any) -> float | None:
    """Return the seconds between two times, never negative."""
    first, last = moment(start), moment(end)
    return None if first is None or last is None else max(0.0, (last - first).total_seconds())


def number(value: Any) -> float | int | None:
    """Read a number that is zero or more, such as a length in seconds."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MOST
    return value if usable else None


def whole(value: Any) -> int | None:
    """Read an integer of any sign."""
    usable = isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST_WHOLE
    return value if usable else None


def amount(value: Any) -> Decimal | None:
    """Read a decimal text, or a number, that is zero or more, such as a price."""
    try:
        written = str(value)
        found = Decimal(written)
    except (InvalidOperation, ValueError):  # the latter for an integer of thousands of digits
        return None
    usable = len(written) <= _LONGEST_NUMBER and found.is_finite() and 0 <= found <= _MOST
    return found if usable else None


def text(value: Any) -> str | None:
    """Read a text; a number, as codes may be, is one too."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    try:
        return plain(str(value))  # type: ignore[no-any-return]
    except ValueError:  # as above
        return None


def plain(value: Any) -> Any:
    """Return a payload as JSON can carry it: without infinite numbers and halves of characters."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {plain(name): plain(one) for name, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list) else value
