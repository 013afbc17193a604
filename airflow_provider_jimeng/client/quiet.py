"""Keeps our requests out of the HTTP libraries' own logs.

At INFO httpx writes a line per request, with download links in full; at DEBUG httpcore writes the headers of replies,
a redirect's link among them, and the password of a SOCKS proxy. Requests of others are logged as ever.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar, Token
from typing import Self

LOGGERS = ("httpx", *(f"httpcore.{part}" for part in ("connection", "http11", "http2", "proxy", "socks")))

_own_request: ContextVar[bool] = ContextVar("jimeng_own_request", default=False)


class OwnRequest:
    """A request of ours, as a context."""

    __slots__ = ("_token",)

    _token: Token[bool]

    def __enter__(self) -> Self:
        self._token = _own_request.set(True)
        return self

    def __exit__(self, *error: object) -> None:
        _own_request.reset(self._token)


class _NotOurs(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno > logging.INFO or not _own_request.get()


for _name in LOGGERS:
    logging.getLogger(_name).addFilter(_NotOurs())
