"""Text that came from outside: what can be seen of it, what it may show in a message, and how much."""

from __future__ import annotations

import re
import string
import unicodedata

LONGEST_MESSAGE = 3900
"""An error's class, and the task that it stands in, fit in front of it within 4,000 characters."""
_LONGEST_READ = 20_000

_KEPT_CONTROLS = "\t\n\r"
_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zs", "Zl", "Zp", "Mn", "Me"})
_FILLERS = "\u115f\u1160\u2800\u3164\uffa0"
"""Letters and symbols that have no picture: the Hangul fillers and the blank Braille pattern."""
_ZERO_WIDTH = "\u00a0\u00ad\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\u3000\ufeff"
_USER = re.compile(r"(https?://)[^/\s@?#'\"<>]+@", re.IGNORECASE)
_QUERY = re.compile(r"([a-z][a-z0-9+.-]{0,20}://[^\s?#'\"<>]*+)[?#](?!…)[^\s'\"<>]*", re.IGNORECASE)


def is_visible(character: str) -> bool:
    """Whether a character has a picture of its own."""
    return unicodedata.category(character) not in _INVISIBLE_CATEGORIES and character not in _FILLERS


def trim(text: str) -> str:
    """Return a text without the blanks and zero-width characters around it."""
    return text.strip(string.whitespace + _ZERO_WIDTH)


def first_control(text: str) -> int | None:
    """Return where the first character stands that is neither text nor a tab nor a line end; ``None``: nowhere."""
    for index, character in enumerate(text):
        if unicodedata.category(character) == "Cc" and character not in _KEPT_CONTROLS:
            return index
    return None


def shorten(text: str, limit: int) -> str:
    """Return a text of at most ``limit`` characters; what is left out stands in the middle, and is counted."""
    if len(text) <= limit:
        return text
    mark = f" … ({len(text):,} characters) … "
    tail = (limit - len(mark)) // 4
    return text[: limit - len(mark) - tail] + mark + text[len(text) - tail :]


def hide_queries(text: str) -> str:
    """Return a text whose links have lost their user and query: those may be secret."""
    return _QUERY.sub(r"\1?…", _USER.sub(r"\1", text))


def for_message(text: str) -> str:
    """Return a text as a message may show it: bounded, without queries of links, and every database can keep it."""
    short = shorten(hide_queries(text[:_LONGEST_READ]), LONGEST_MESSAGE)
    while (place := first_control(short)) is not None:
        short = short.replace(short[place], "\ufffd")
    return short.encode(errors="replace").decode()
