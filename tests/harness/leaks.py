# SPDX-License-Identifier: Apache-2.0
"""Looks for secrets in files, in every value of every table, and in answers of an API."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

Piece = tuple[str, bytes]
"""Where something stands, and what stands there."""


@dataclass(frozen=True, slots=True)
class Needle:
    """A text to look for. Messages contain only its name."""

    name: str
    pattern: re.Pattern[bytes]


MEDIA_LINK = Needle(
    "a link to a video",
    re.compile(rb"(?:/|%2F)media(?:/|%2F)[0-9a-f]{6,}|sign(?:=|%3D)[0-9a-f]{16,}", re.IGNORECASE),
)
SIGNED_HEADER = Needle(
    "an Authorization header",
    re.compile(
        rb"HMAC-SHA256 Credential|Signature(?:=|%3D)[0-9a-f]{64}|authorization\W{1,6}basic ", re.IGNORECASE
    ),
)


def secret(name: str, text: str) -> Needle:
    """Look for a text as it is, quoted for URLs and JSON, in hexadecimal, and anywhere in a text in base64."""
    raw = text.encode()
    forms = {raw, quote(text, safe="").encode(), json.dumps(text)[1:-1].encode(), raw.hex().encode()}
    for offset in range(3):
        coded = base64.b64encode(bytes(offset) + raw).rstrip(b"=")
        forms.add(coded[-(-offset * 4 // 3) : -1] if offset else coded[:-1])
    return Needle(name, re.compile(b"|".join(re.escape(form) for form in sorted(forms))))


def findings(pieces: Iterable[Piece], needles: Collection[Needle]) -> list[str]:
    """Return the place of each needle, but not the text around it."""
    return [
        f"{needle.name} in {where}"
        for where, content in pieces
        for needle in needles
        if needle.pattern.search(content)
    ]


def files(folder: Path) -> Iterator[Piece]:
    """Yield every file below a folder."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield f"file {path.relative_to(folder)}", path.read_bytes()


def document(where: str, value: Any) -> Piece:
    """Yield a document as JSON."""
    return where, json.dumps(value, ensure_ascii=False, default=str).encode()


def tables(database_url: str, only: Collection[str] = ()) -> Iterator[Piece]:
    """Yield every value of all tables of a database, or of some, one column of a row at a time."""
    from sqlalchemy import create_engine, inspect, text

    engine = create_engine(database_url)
    try:
        with engine.connect() as connection:
            quoted = connection.dialect.identifier_preparer.quote
            for table in only or inspect(connection).get_table_names():
                for row in connection.execute(text(f"SELECT * FROM {quoted(table)}")).mappings():  # noqa: S608
                    for column, value in row.items():
                        if value is not None:
                            yield _value(f"table {table}.{column}", value)
    finally:
        engine.dispose()


def _value(where: str, value: Any) -> Piece:
    if isinstance(value, bytes | memoryview):
        return where, bytes(value)
    return (where, value.encode()) if isinstance(value, str) else document(where, value)
