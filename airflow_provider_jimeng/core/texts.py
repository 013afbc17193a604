# SPDX-License-Identifier: Apache-2.0
"""Makes texts from outside safe to show: short, encodable, and without the signatures of links.

Error messages get into logs, XCom and the database. They can quote a reply of megabytes, an image as base64, or a
presigned link.
"""

from __future__ import annotations

import re

MAX_TEXT_LENGTH = 3800
"""Airflow can put the name of a class in front; the whole message stays below 4,000 characters."""
_WINDOW = 16_000
"""Number of characters that are read at the beginning and at the end of a very long text."""
_BREAKS = " \t\r\n\"'<>…\u3000\u201c\u201d，。；：！？、（）【】「」《》"
_WORD = re.compile(rf"[^{re.escape(_BREAKS)}]+")
_LINK = re.compile(r"//|\\/\\/|%(?:25)*2F%(?:25)*2F", re.IGNORECASE)
_QUERY_OF_LINK = re.compile(r"(?:[?#]|\\u003f|%(?:25)*3F)(?=.)", re.IGNORECASE)
_QUERY = re.compile(
    r"(?P<start>[?&]|\\u003f|\\u0026|%(?:25)*3F|%(?:25)*26)[\w.~%\[\];-]{1,80}(?:=|\\u003d|%(?:25)*3D)",
    re.IGNORECASE,
)
_SIGNATURE = re.compile(
    r"\b(?:X-[A-Za-z]+-(?:Signature|Credential|Security-Token)|Signature|sign|sig)=(?=.)", re.IGNORECASE
)
_USER_INFORMATION = re.compile(rf"//[^/@?#{re.escape(_BREAKS)}]*@")


_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def shorten(text: str, limit: int, *, whole: int | None = None) -> str:
    """Return a text of at most ``limit`` characters; a longer one loses its middle.

    :param whole: the number of characters to name, if the text was longer before.
    """
    if len(text) <= limit:
        return text
    gap = f" … (shortened, {whole or len(text):,} characters) … "
    rest = max(0, limit - len(gap))
    return (text[: rest - rest // 3] + gap + text[len(text) - rest // 3 :])[:limit]


def fit(text: str) -> str:
    """Return a text as an error can show it: at most 3,800 characters; a longer one loses its middle.

    A message says at its beginning what happened, and at its end what to do.
    """
    return shorten(_CONTROLS.sub("\ufffd", without_queries(text)), MAX_TEXT_LENGTH, whole=len(text))


def without_queries(text: str) -> str:
    """Return a text whose links have no query and no user information.

    This includes links that are percent-encoded, escaped as in JSON, or without a scheme. Question marks of sentences
    stay. A very long text loses its middle.
    """
    text = text.encode("utf-8", "replace").decode()
    if len(text) > 2 * _WINDOW:
        text = _whole_words(text[:_WINDOW], end=True) + " … " + _whole_words(text[-_WINDOW:], end=False)
    return _WORD.sub(_cut, text)


def _cut(word: re.Match[str]) -> str:
    text = word[0]
    link = _LINK.search(text)
    if link is not None:
        text = _USER_INFORMATION.sub("//…@", text)
        query = _QUERY_OF_LINK.search(text, link.start())
        if query is not None:
            start = "?" if query[0] == "#" else query[0]
            text = f"{text[: query.start()]}{start}…"
    query = _QUERY.search(text)
    if query is not None:
        text = f"{text[: query.start()]}{query['start']}…"
    signature = _SIGNATURE.search(text)
    return text if signature is None else f"{text[: signature.end()]}…"


def _whole_words(text: str, *, end: bool) -> str:
    """Return a part of a text without the word that was cut in two, because half a link does not look like a link."""
    if end:
        last = max(text.rfind(char) for char in _BREAKS)
        return text[: last + 1] if last >= 0 else text
    starts = [place for char in _BREAKS if (place := text.find(char)) >= 0]
    return text[min(starts) :] if starts else ""
