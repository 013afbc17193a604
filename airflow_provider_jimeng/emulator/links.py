"""Video links: minted anew by each query, good for an hour, signed in their query string (docs §1.4; M-H).

A published link carries its expiry in hex as second path segment and its mint time as ``dy_q``; these do too.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from airflow_provider_jimeng.emulator.messages import Request

MEDIA_PREFIX = "/media/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What a good link stands for; ``label`` is the metadata that its file carries."""

    task_id: str
    label: Mapping[str, str] | None = None


@dataclass(slots=True)
class LinkMint:
    """Mints and checks links; it keeps labels only: a link holds its task, its expiry and a signature."""

    lifetime_seconds: float
    _labels: dict[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    _key: bytes = field(default_factory=lambda: secrets.token_bytes(16), repr=False)

    def mint(self, origin: str, link: Link, now: float) -> str:
        """Return a new URL; it dies at the millisecond, which ``l`` begins with."""
        dies_at = now + self.lifetime_seconds
        expiry = f"{int(dies_at):x}"
        label = ""
        if link.label:
            label = hashlib.sha256(json.dumps(link.label, sort_keys=True).encode()).hexdigest()[:16]
            self._labels[label] = link.label
        nonce = f"{int(dies_at % 1 * 1000):03x}{secrets.token_hex(6)}"
        sign = self._sign(link.task_id, expiry, label, nonce)
        query = f"dy_q={int(now)}&l={nonce}&lr={label}&sign={sign}"
        return f"{origin}{MEDIA_PREFIX}{expiry}/{link.task_id}/video.mp4?{query}"

    def check(self, request: Request, now: float) -> Link | None:
        """Return what a request's link stands for; ``None`` for one that has died or was never minted here."""
        parts = request.path.removeprefix(MEDIA_PREFIX).split("/")
        query = {key: values[0] for key, values in parse_qs(request.query_string).items()}
        if len(parts) != 3:
            return None
        expiry, task_id, _ = parts
        label, nonce = query.get("lr", ""), query.get("l", "")
        expected = self._sign(task_id, expiry, label, nonce)
        if not hmac.compare_digest(expected.encode(), query.get("sign", "").encode()):
            return None
        if now >= int(expiry, 16) + int(nonce[:3], 16) / 1000:
            return None
        return Link(task_id=task_id, label=self._labels.get(label))

    def _sign(self, *parts: str) -> str:
        return hmac.new(self._key, "\n".join(parts).encode(), hashlib.sha256).hexdigest()[:32]
