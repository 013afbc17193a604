"""What goes in and what comes out, whatever carries it: a socket (:mod:`.server`) or httpx (:mod:`.transport`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from airflow_provider_jimeng.core.codes import SUCCESS

JSON_TYPE = "application/json; charset=utf-8"

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request as it came off the wire; ``target`` is path and query string, not decoded."""

    method: str
    target: str
    headers: Headers = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)
    scheme: str = "http"

    @property
    def path(self) -> str:
        """The path, still percent-encoded; never empty."""
        return self.target.partition("?")[0] or "/"

    @property
    def query_string(self) -> str:
        """What follows the first question mark, still percent-encoded."""
        return self.target.partition("?")[2]

    def header(self, name: str) -> str | None:
        """Return a header by name, several of one name joined as RFC 9110 §5.3 has it; ``None`` without one."""
        wanted = name.lower()
        values = [value for key, value in self.headers if key.lower() == wanted]
        return ",".join(values) if values else None

    @property
    def origin(self) -> str:
        """Scheme and host that the caller used: links are minted for it."""
        return f"{self.scheme}://{self.header('host') or 'localhost'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An HTTP reply, perhaps late, perhaps cut.

    ``declared_length`` is the Content-Length where it is not that of ``body``: with more than ``body`` holds, the
    connection is closed after the last byte.
    """

    status: int
    body: bytes = field(default=b"", repr=False)
    headers: Headers = ()
    delay_seconds: float = 0.0
    declared_length: int | None = None

    @property
    def content_length(self) -> int:
        """The Content-Length to send."""
        return len(self.body) if self.declared_length is None else self.declared_length


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The connection ends without a reply: closed in good order, or reset."""

    how: Literal["close", "reset"] = "close"


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """No reply; the connection stays open for so long, or until the caller gives up."""

    seconds: float


Outcome = Reply | Cut | Silence


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer of the API before it becomes bytes: a Bearer gateway may put it into other words.

    ``code`` is 10000, a business code or a gateway code.
    """

    http_status: int
    code: int
    payload: Mapping[str, Any] = field(repr=False)
    headers: Headers = ()

    @property
    def succeeded(self) -> bool:
        """Did the API answer 10000?"""
        return self.code == SUCCESS

    @property
    def data(self) -> Mapping[str, Any]:
        """The ``data`` object; empty where there is none."""
        data = self.payload.get("data")
        return data if isinstance(data, Mapping) else {}

    def reply(self) -> Reply:
        """Return it in the API's own words."""
        return json_reply(self.http_status, self.payload, self.headers)


def json_reply(status: int, payload: Mapping[str, Any] | list[Any], headers: Headers = ()) -> Reply:
    """Return a JSON reply."""
    # A prompt may hold half of a surrogate pair: JSON can say it, UTF-8 cannot.
    body = json.dumps(payload, ensure_ascii=False).encode(errors="replace")
    return Reply(status=status, body=body, headers=(("Content-Type", JSON_TYPE), *headers))
