"""Reads the fields of a connection's extra, each one typed (JSON) or text (the UI form, a URI).

Empty text and null count as "not given". What cannot be read raises ``SettingsError`` with the name of the
field, what it takes and, unless the field is secret, what was found.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from airflow_provider_jimeng.core.errors import SettingsError

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_QUOTES = "'\"`\u2018\u2019\u201c\u201d\u300c\u300d\u300e\u300f\u00ab\u00bb"
_BRACKETS = {"<": ">", "[": "]", "{": "}", "(": ")"}


def given(value: Any) -> Any | None:
    """Return the value without surrounding white space, or ``None`` where a form left the field empty."""
    if isinstance(value, str):
        return value.strip() or None
    return value


def is_wrapped(found: str) -> bool:
    """Return whether quotation marks or brackets that do not belong to a text stand round it."""
    if not found:
        return False
    return found[0] in _QUOTES or found[-1] in _QUOTES or _BRACKETS.get(found[0]) == found[-1]


def text(name: str, value: Any, *, secret: bool = False) -> str | None:
    """Return printable text without inner white space, as keys, hosts and region names are."""
    found = given(value)
    if found is None:
        return None
    if not isinstance(found, str):
        raise SettingsError(f"{name}: expected text, got {type(found).__name__}.")
    if is_wrapped(found):
        raise SettingsError(f"{name}: quotation marks or brackets stand round it. Remove them.")
    if not found.isascii() or not found.isprintable() or " " in found:
        shown = "" if secret else f", got {found!r}"
        raise SettingsError(f"{name}: expected plain ASCII text without spaces{shown}. Copy it again.")
    return found


def choice(name: str, value: Any, options: tuple[str, ...]) -> str:
    """Return one of the options, the first of them when nothing is given."""
    found = given(value)
    if found is None:
        return options[0]
    if not isinstance(found, str) or found.lower() not in options:
        raise SettingsError(f"{name}: expected one of {', '.join(options)}, got {found!r}.")
    return found.lower()


def number(name: str, value: Any, *, default: float, least: float, most: float) -> float:
    """Return a finite number between two limits."""
    found = given(value)
    if found is None:
        return default
    try:
        result = math.nan if isinstance(found, bool) else float(found)
    except (TypeError, ValueError):
        result = math.nan
    if not least <= result <= most:
        raise SettingsError(f"{name}: expected a number from {least:g} to {most:g}, got {found!r}.")
    return result


def switch_or_path(name: str, value: Any) -> bool | str:
    """Return true, false, or the path of a file or directory."""
    found = given(value)
    if found is None:
        return True
    if isinstance(found, bool):
        return found
    if isinstance(found, str):
        if found.lower() in _TRUE:
            return True
        return False if found.lower() in _FALSE else found
    raise SettingsError(f"{name}: expected true, false or the path of a CA bundle, got {found!r}.")


def mapping(name: str, value: Any) -> Mapping[str, Any]:
    """Return an object, given as JSON text or as it is; empty when nothing is given."""
    found = given(value)
    if isinstance(found, str):
        try:
            found = json.loads(found)
        except ValueError as error:
            raise SettingsError(
                f"{name}: expected a JSON object, but the text is no JSON ({error})."
            ) from None
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise SettingsError(f"{name}: expected a JSON object, got {type(found).__name__}.")
    return {str(key): item for key, item in found.items()}


def names(name: str, value: Any) -> tuple[str, ...]:
    """Return a list of words, given as a list, as JSON text, or as text separated by commas or spaces."""
    found = given(value)
    if isinstance(found, str) and found.startswith("["):
        try:
            found = json.loads(found)
        except ValueError as error:
            raise SettingsError(f"{name}: expected a JSON list, but the text is no JSON ({error}).") from None
    if isinstance(found, str):
        found = found.replace(",", " ").split()
    if found is None:
        return ()
    if not isinstance(found, list | tuple) or not all(
        isinstance(item, str) and item.strip() for item in found
    ):
        raise SettingsError(f"{name}: expected a list of host names, got {found!r}.")
    return tuple(item.strip().lower() for item in found)
