# SPDX-License-Identifier: Apache-2.0
"""Reads the arguments of a render: as templates leave them, and against the record of the model.

A template leaves text in place of a number, and ``"None"`` or nothing in place of an absent value. What is known when a
DAG file is parsed is checked then, without reading a connection.
"""

from __future__ import annotations

import ast
import json
import re
import unicodedata
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from airflow_provider_jimeng.core.catalogue import (
    CAMERA_STRENGTHS,
    CAMERA_TEMPLATES,
    MAX_SEED,
    MODELS,
    OTHER_PRODUCTS,
    VENDOR_PREFIX,
    WRONG_KEYS,
    ModelSpec,
    find_model,
    is_ratio,
)
from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.core.texts import without_queries

_LONGEST_QUOTE = 120
_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zs", "Zl", "Zp", "Mn", "Me"})
_FILLERS = "\u115f\u1160\u2800\u3164\uffa0"
"""Letters and symbols without a visible glyph: the Hangul fillers and the blank Braille pattern."""
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""Control characters, except tabs and line ends."""
_YES, _NO = frozenset({"true", "1", "yes"}), frozenset({"false", "0", "no", "none", ""})
_SHOWN_BEFORE = 12


def is_absent(value: Any) -> bool:
    """Return whether an argument is absent: ``None``, or text that is blank or a rendered ``None``."""
    return value is None or (isinstance(value, str) and value.strip() in ("", "None"))


def is_visible(character: str) -> bool:
    """Return whether a character has a visible glyph."""
    return unicodedata.category(character) not in _INVISIBLE_CATEGORIES and character not in _FILLERS


def shown(value: Any) -> str:
    """Return a value as a message quotes it: at most 120 characters, and no query string of a link."""
    if isinstance(value, str):
        text = without_queries(value)
    else:
        text = repr(value[:_LONGEST_QUOTE] if isinstance(value, bytes | bytearray) else value)
    cut = text[:_LONGEST_QUOTE] + ("…" if len(text) > _LONGEST_QUOTE else "")
    return repr(cut) if isinstance(value, str) else cut


def parse_text(text: str) -> Any:
    """Return the value that a template turned into text, from JSON or from Python's notation.

    :raises ValueError: it is in neither notation.
    """
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text.strip())
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    raise ValueError("the text is neither JSON nor in Python's notation")


def as_mapping(argument: str, value: Any) -> Mapping[str, Any] | None:
    """Return a dict, ``None`` if it is absent. A template can have turned it into text.

    :raises ParameterError: it is not a dict, nor the text of one.
    """
    if is_absent(value):
        return None
    mapping = value
    if isinstance(value, str):
        try:
            mapping = parse_text(value)
        except ValueError:
            mapping = None
    if not isinstance(mapping, Mapping):
        raise ParameterError(
            argument, f"expected a dict, or its text in JSON or Python notation, got {shown(value)}."
        )
    return mapping


def as_bool(argument: str, value: Any) -> bool:
    """Return a truth value, which can come from a template.

    :raises ParameterError: it is neither true nor false.
    """
    if isinstance(value, bool) or value is None:
        return bool(value)
    word = str(value).strip().lower()
    if word not in _YES | _NO:
        raise ParameterError(argument, f"expected true or false, got {shown(value)}.")
    return word in _YES


def read_text(argument: str, value: Any, *, visible: bool = False) -> str | None:
    """Return a text argument without white space around it, ``None`` if it is absent.

    :param visible: refuse a text in which no character has a glyph.
    :raises ParameterError: it is not text, or contains a character that :func:`check_characters` refuses.
    """
    if is_absent(value):
        return None
    if not isinstance(value, str):
        raise ParameterError(argument, f"expected text, got {shown(value)}.")
    check_characters(argument, value)
    if visible and not any(map(is_visible, value)):
        raise ParameterError(
            argument, "contains only invisible characters, such as zero-width spaces. Write it again."
        )
    return value.strip()


def check_characters(argument: str, text: str) -> None:
    """Refuse what cannot be sent as UTF-8, or what Airflow's metadata database cannot keep.

    PostgreSQL does not take NUL characters. Of the other control characters, only tabs and line ends belong in a text.

    :raises ParameterError: the text contains one. The message names the first one and its place, counted from 0.
    """
    if text.isprintable():
        return  # Neither control characters nor halves of characters are printable.
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ParameterError(
            argument,
            f"has half a character at position {error.start}. Remove it, because the API takes UTF-8.",
        ) from None
    control = _CONTROLS.search(text)
    if control is not None:
        place = control.start()
        before = text[max(0, place - _SHOWN_BEFORE) : place]
        raise ParameterError(
            argument,
            f"has the control character U+{ord(control[0]):04X} at position {place}, after {before!r}. Remove it.",
        )


def check_texts(argument: str, value: Any) -> None:
    """Refuse the same characters in every text of a JSON value.

    :raises ParameterError: a text contains one. The message names the first one and its place in its text.
    """
    if isinstance(value, str):
        check_characters(argument, value)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            check_texts(argument, key)
            check_texts(f"{argument}.{key}", item)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            check_texts(f"{argument}[{number}]", item)


def read_whole(argument: str, value: Any, default: int, *, lowest: int, highest: int, remedy: str) -> int:
    """Return a whole number, which can be rendered as text (``"5"``, ``"5.0"``).

    :raises ParameterError: it is not one. The message names the bounds and the remedy.
    """
    if is_absent(value):
        return default
    try:
        number = Decimal(-1) - highest if isinstance(value, bool) else Decimal(str(value).strip())
        if lowest <= number <= highest and number == number.to_integral_value():
            return int(number)
    except InvalidOperation:
        pass
    raise ParameterError(
        argument, f"expected a whole number from {lowest} to {highest}, got {value!r}; {remedy}."
    )


def read_amount(argument: str, value: Any) -> Decimal:
    """Return an amount of money in CNY.

    :raises ParameterError: it is not an amount.
    """
    try:
        amount = Decimal(str(value).strip())
    except InvalidOperation:
        amount = Decimal(-1)
    if not amount.is_finite() or amount < 0:
        raise ParameterError(argument, f"expected an amount in CNY such as 20 or 7.5, got {value!r}.")
    return amount


def read_seconds(argument: str, value: Any) -> float:
    """Return a number of seconds, which can be rendered as text.

    :raises ParameterError: it is not a finite number, or it is less than 0.
    """
    try:
        seconds = -1.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ParameterError(argument, f"expected a number of seconds such as 600, got {value!r}.")
    return seconds


CAMERA_WORDS: Mapping[str, tuple[str, ...]] = {
    "camera_template": CAMERA_TEMPLATES,
    "camera_strength": CAMERA_STRENGTHS,
}
LONGEST_DURATION = 3600
"""More seconds than any record of a model can name."""


def read_seed(seed: Any) -> int:
    """Return the seed; -1, the default, means a random one."""
    return read_whole("seed", seed, -1, lowest=-1, highest=MAX_SEED, remedy="-1 draws a random seed")


def read_take(take: Any) -> int:
    """Return the version number."""
    return read_whole("take", take, 1, lowest=1, highest=MAX_SEED, remedy="versions are numbered from 1")


def read_duration(spec: ModelSpec, duration: Any) -> int:
    """Return the seconds of the video; by default the first that the model offers."""
    takes = " or ".join(map(str, spec.durations))
    number = read_whole(
        "duration",
        duration,
        spec.durations[0],
        lowest=1,
        highest=LONGEST_DURATION,
        remedy=f"{spec.name} takes {takes} seconds",
    )
    if number not in spec.durations:
        raise ParameterError("duration", f"{number} is refused: {spec.name} renders {takes} seconds.")
    return number


def read_aspect_ratio(spec: ModelSpec, aspect_ratio: Any, *, has_frame: bool) -> str | None:
    """Return the ratio to send, ``None`` if the video follows its first frame.

    :param has_frame: the request has a first frame.
    """
    text = None if is_absent(aspect_ratio) else str(aspect_ratio).strip()
    if not spec.aspect_ratios:
        if text is not None:
            raise ParameterError(
                "aspect_ratio",
                f"{spec.name} does not take it, because the video follows its first frame. Leave it out.",
            )
        return None
    if has_frame and spec.min_images == 0:
        if text is not None:
            raise ParameterError(
                "aspect_ratio",
                f"{spec.name} ignores it when there is a first_frame: the listed ratio nearest to the image is "
                "used. Leave it out, or crop the image.",
            )
        return None
    if text is None:
        return spec.aspect_ratios[0]
    ratio = text.replace("：", ":")
    if ratio not in spec.aspect_ratios:
        raise ParameterError(
            "aspect_ratio", f"{text!r} is refused: {spec.name} takes {', '.join(spec.aspect_ratios)}."
        )
    return ratio


def is_link(reference: str) -> bool:
    """Return whether a text is an http(s) link."""
    return reference.lower().startswith(("http://", "https://"))


def check_frames(spec: ModelSpec, first: str | None, last: str | None) -> None:
    """Refuse frames that the model does not take. A missing frame is not an error here."""
    if first is not None and spec.max_images < 1:
        raise ParameterError(
            "first_frame", f"{spec.name} does not take an image. It renders from {spec.inputs}."
        )
    if last is not None and spec.max_images < 2:
        others = ", ".join(other.name for other in MODELS.values() if other.max_images >= 2)
        raise ParameterError(
            "last_frame", f"{spec.name} does not take a last frame. These models do: {others}."
        )
    if first is not None and last is not None and is_link(first) != is_link(last):
        raise ParameterError(
            "last_frame", "the API takes both frames as links or both as files. Give both in the same way."
        )


def check_camera_model(spec: ModelSpec, argument: str) -> None:
    """Refuse a camera movement for a model that does not take one."""
    if not spec.camera:
        others = ", ".join(other.name for other in MODELS.values() if other.camera)
        raise ParameterError(
            argument, f"{spec.name} does not take it. Leave it out, or choose a model that does: {others}."
        )


def check_camera_word(argument: str, value: str, taker: str = "it") -> None:
    """Refuse a camera movement or strength that the API does not know."""
    takes = CAMERA_WORDS[argument]
    if value not in takes:
        raise ParameterError(argument, f"{value!r} is refused: {taker} takes {', '.join(takes)}.")


# --- known when a DAG file is parsed ------------------------------------------------------------------------------------

DEFAULT_CONNECTION = "jimeng_default"
TEMPLATE_MARKS = ("{{", "{%", "{#")
_PLAIN_WORD = re.compile(r"[A-Za-z0-9_.-]*")
"""A name of the catalogue, or a misspelled one, has only these characters."""
_OWN_LIMIT = f"If your connection allows it, give that connection another id than {DEFAULT_CONNECTION!r}."


def is_final(value: Any) -> bool:
    """Return whether a value is the same when the task runs: plain data without a template in it."""
    if isinstance(value, str):
        return not any(mark in value for mark in TEMPLATE_MARKS)
    if isinstance(value, Mapping):
        return all(map(is_final, value.values()))
    if isinstance(value, list | tuple):
        return all(map(is_final, value))
    return value is None or isinstance(value, int | float)


def check_request(arguments: Mapping[str, Any], *, default_connection: bool) -> None:
    """Check the arguments of a render that are known already. The others can be absent.

    Another connection than the default one can have models and limits of its own. The default one can have them for a
    key that only it knows.

    :raises ParameterError: an argument is wrong. The message names it, the limit and the remedy.
    """
    known = _present(arguments)
    _check_always(known)
    if default_connection and "model" in known:
        spec = _find_announced(known["model"])
        if spec is not None:
            _check_limits(spec, known)


def check_defaults(arguments: Mapping[str, Any], *, default_connection: bool) -> None:
    """Check the defaults of a campaign. Each has to suit at least one model, because each row can name its own model.

    :raises ParameterError: an argument is wrong. The message names it, the limit and the remedy.
    """
    known = _present(arguments)
    _check_always(known)
    if not default_connection:
        return
    if "model" in known:
        _find_announced(known["model"])
    for name, value in known.items():
        refusals = [_refusal(spec, {name: value}) for spec in MODELS.values()]
        if all(refusals) and refusals[0] is not None:
            raise refusals[0]


def check_known_wrong(model: Any) -> None:
    """Refuse a model key that the API certainly does not have. Any other can be one of the connection.

    :raises ParameterError: it is such a key. The message names the right one.
    """
    if isinstance(model, str) and model.strip() in (*WRONG_KEYS, *OTHER_PRODUCTS):
        find_model(model)


def _present(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if not is_absent(value)}


def _check_always(known: Mapping[str, Any]) -> None:
    """Check what no connection changes."""
    read_seed(known.get("seed"))
    read_take(known.get("take"))
    read_whole(
        "duration",
        known.get("duration"),
        1,
        lowest=1,
        highest=LONGEST_DURATION,
        remedy="most models take 5 or 10 seconds",
    )
    if "aspect_ratio" in known and not is_ratio(str(known["aspect_ratio"]).strip().replace("：", ":")):
        raise ParameterError(
            "aspect_ratio", f"expected a ratio such as 16:9, got {shown(known['aspect_ratio'])}."
        )
    for name in CAMERA_WORDS:
        if name in known:
            check_camera_word(name, str(known[name]).strip())


def _find_announced(model: Any) -> ModelSpec | None:
    """Return the catalogue's record of a model, ``None`` for a key that the connection can describe.

    :raises ParameterError: it is neither.
    """
    name = model.strip() if isinstance(model, str) else ""
    for spec in MODELS.values():
        if name in (spec.name, spec.req_key):
            return spec
    check_known_wrong(name)
    if name.startswith(VENDOR_PREFIX) or not _PLAIN_WORD.fullmatch(name):
        return None
    raise ParameterError(
        "model",
        f"{shown(model)} is unknown. Known models: {', '.join(MODELS)}. If your connection describes it, give that "
        f"connection another id than {DEFAULT_CONNECTION!r}, or name the model by a key that begins with "
        f"{VENDOR_PREFIX!r}.",
    )


def _check_limits(spec: ModelSpec, known: Mapping[str, Any]) -> None:
    refusal = _refusal(spec, known)
    if refusal is not None:
        raise refusal


def _refusal(spec: ModelSpec, known: Mapping[str, Any]) -> ParameterError | None:
    """Return why the catalogue's record of a model refuses one of these arguments."""
    first, last = (
        str(known[name]).strip() if name in known else None for name in ("first_frame", "last_frame")
    )
    try:
        check_frames(spec, first, last)
        read_duration(spec, known.get("duration"))
        read_aspect_ratio(spec, known.get("aspect_ratio"), has_frame=first is not None)
        for name in CAMERA_WORDS:
            if name in known:
                check_camera_model(spec, name)
    except ParameterError as error:
        return ParameterError(error.argument, f"{error.reason} {_OWN_LIMIT}")
    return None
