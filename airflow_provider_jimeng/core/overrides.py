"""Reads what a connection says of models and prices, field by field, into the kinds the catalogue has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

_RATIO = re.compile(r"[1-9]\d*:[1-9]\d*", re.ASCII)
_WHOLE_FIELDS = {"prompt_max": (1, 100_000), "min_images": (0, 2), "max_images": (0, 2)}
"""Lowest and highest; a request names a first and a last frame, so two images are the most."""
_TRUTH_FIELDS = ("prompt_required", "takes_frames", "camera")


def read_field(where: str, name: str, value: Any) -> Any:
    """Read one field of a connection's record, in the kind that a model of the catalogue has it.

    :param where: names the field in a refusal, e.g. ``models.t2v_720p.durations``.
    :raises SettingsError: naming the field and what it takes.
    """
    if name == "price_cny_per_second":
        return read_price(where, value)
    good, expected = _judge(name, value)
    if not good:
        raise SettingsError(f"extra.{where}: expected {expected}, got {value!r}.")
    if name == "sizes":
        return {ratio: (size[0], size[1]) for ratio, size in value.items()}
    return tuple(value) if isinstance(value, list) else value


def _judge(name: str, value: Any) -> tuple[bool, str]:
    if name == "durations":
        good = _is_list(value, lambda seconds: _is_whole(seconds, 1, 3600)) and bool(value)
        return good, "a list of whole seconds such as [5, 10]"
    if name == "aspect_ratios":
        return _is_list(value, is_ratio), 'a list such as ["16:9", "1:1"]'
    if name == "sizes":
        good = isinstance(value, Mapping) and all(is_ratio(k) and _is_size(v) for k, v in value.items())
        return good, 'an object such as {"16:9": [1248, 704]}'
    if name in _WHOLE_FIELDS:
        lowest, highest = _WHOLE_FIELDS[name]
        return _is_whole(value, lowest, highest), f"a whole number from {lowest} to {highest}"
    if name in _TRUTH_FIELDS:
        return isinstance(value, bool), "true or false"
    return isinstance(value, str) and bool(value.strip()), "text"


def _is_whole(value: Any, lowest: int, highest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest


def _is_list(value: Any, is_item: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(is_item(item) for item in value)


def is_ratio(value: Any) -> bool:
    """Whether a value is written as a ratio, such as ``16:9``."""
    return isinstance(value, str) and _RATIO.fullmatch(value) is not None


def _is_size(value: Any) -> bool:
    return _is_list(value, lambda side: _is_whole(side, 1, 100_000)) and len(value) == 2


def read_price(where: str, value: Any) -> Decimal | None:
    """Read a price in CNY per second; ``None`` means unknown, which is never free.

    :raises SettingsError: it is no amount.
    """
    if value is None:
        return None
    try:
        price = Decimal(str(value))
    except InvalidOperation:
        price = Decimal(-1)
    if not price.is_finite() or price < 0:
        raise SettingsError(f"extra.{where}: expected CNY per second such as 0.28, or null, got {value!r}.")
    return price
