"""A render and what became of it, as typed values inside and versioned JSON at every border."""

from __future__ import annotations

from dataclasses import dataclass, fields
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_jimeng.core.event import PAYLOAD_VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pendulum


class RenderStatus(StrEnum):
    """What the API says of a render. The first five are its own words (docs 85621/1777001)."""

    IN_QUEUE = "in_queue"
    GENERATING = "generating"
    DONE = "done"
    NOT_FOUND = "not_found"
    EXPIRED = "expired"
    FAILED = "failed"
    UNKNOWN = "unknown"


def format_time(moment: pendulum.DateTime) -> str:
    """Return RFC 3339 in UTC, e.g. ``2026-01-02T03:04:05.678901Z``."""
    return moment.in_timezone("UTC").to_iso8601_string()


def parse_time(text: str) -> pendulum.DateTime:
    """Read an RFC 3339 time back, in UTC; raises ``ValueError`` on anything else."""
    import pendulum  # noqa: PLC0415 - a query on the command line reads no time, and the import is a third of its CPU

    moment = pendulum.parse(text)
    if isinstance(moment, pendulum.DateTime):
        return moment.in_timezone("UTC")
    raise ValueError(f"expected a date and time, got {text!r}")


def format_money(amount: Decimal | None) -> str | None:
    """Return CNY as a decimal text with at least two places, e.g. ``"1.40"``; ``None`` stays ``None``."""
    if amount is None:
        return None
    exponent = amount.as_tuple().exponent
    short = isinstance(exponent, int) and exponent > -2
    return f"{amount:.2f}" if short else f"{amount:f}"


def cost_in_words(amount: Decimal | None) -> str:
    """Return a cost as a log line tells it, e.g. ``1.40 CNY``."""
    return "unknown" if amount is None else f"{format_money(amount)} CNY"


def parse_money(value: Any) -> Decimal | None:
    """Read :func:`format_money` back; a JSON number does too. Raises ``ValueError`` on anything else."""
    if value is None:
        return None
    try:
        return Decimal(str(value))
    except InvalidOperation:
        raise ValueError(f"expected an amount in CNY, got {value!r}") from None


def _expect_text(values: Mapping[str, Any], *names: str) -> None:
    for name in names:
        if not isinstance(values[name], str):
            raise TypeError(f"{name} is not a text: {type(values[name]).__name__}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Render:
    """An accepted render: what was asked, who pays, since when. ``duration`` in seconds, cost in CNY."""

    task_id: str
    req_key: str
    model: str
    jimeng_conn_id: str
    submitted_at: pendulum.DateTime
    fingerprint: str | None = None
    prompt: str | None = None
    seed: int | None = None
    duration: int | None = None
    aspect_ratio: str | None = None
    estimated_cost_cny: Decimal | None = None

    def to_payload(self) -> dict[str, Any]:
        """Return the render as plain JSON data, as it goes into XCom and the records."""
        payload = {f.name: getattr(self, f.name) for f in fields(Render)}
        payload["submitted_at"] = format_time(self.submitted_at)
        payload["estimated_cost_cny"] = format_money(self.estimated_cost_cny)
        return {"version": PAYLOAD_VERSION, **payload}

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> Self:
        """Read :meth:`to_payload` back; fields of a later version, and of a manifest, are ignored.

        :raises ValueError: a field is missing or of another kind.
        """
        try:
            return cls(**cls._read(payload))
        except (KeyError, TypeError) as error:
            raise ValueError(f"no payload of a {cls.__name__} ({type(error).__name__}: {error})") from None

    @classmethod
    def _read(cls, payload: Mapping[str, Any]) -> dict[str, Any]:
        known = {f.name: payload[f.name] for f in fields(cls) if f.name in payload}
        if not known["task_id"]:
            raise ValueError("a render without a task_id")
        _expect_text(known, "req_key", "model", "jimeng_conn_id")
        return known | {
            "task_id": str(known["task_id"]),
            "submitted_at": parse_time(known["submitted_at"]),
            "estimated_cost_cny": parse_money(known.get("estimated_cost_cny")),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderManifest(Render):
    """A landed render: the file, what is in it, what it cost, how it got there.

    ``bytes`` is the size; ``width`` and ``height`` in pixels, ``fps`` frames a second and ``frames`` are read from
    the file; ``cost_cny`` is ``None`` where the price is unknown; ``polls`` counts queries.
    """

    uri: str
    bytes: int
    sha256: str
    content_type: str = "video/mp4"
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    frames: int | None = None
    duration_seconds: float | None = None
    landed_at: pendulum.DateTime
    request_id: str | None = None
    aigc_meta_tagged: bool | None = None
    cost_cny: Decimal | None = None
    polls: int | None = None
    queued_seconds: float | None = None
    render_seconds: float | None = None

    def to_payload(self) -> dict[str, Any]:
        """Return render and file as plain JSON data, as it goes into XCom, the sidecar and the asset event."""
        own = {
            f.name: getattr(self, f.name) for f in fields(self) if f.name not in Render.__dataclass_fields__
        }
        own["landed_at"] = format_time(self.landed_at)
        own["cost_cny"] = format_money(self.cost_cny)
        return {**Render.to_payload(self), **own}

    @classmethod
    def _read(cls, payload: Mapping[str, Any]) -> dict[str, Any]:
        known = super(RenderManifest, cls)._read(payload)  # a bare super() does not know a slotted class
        _expect_text(known, "uri", "sha256")
        return known | {
            "landed_at": parse_time(known["landed_at"]),
            "cost_cny": parse_money(known.get("cost_cny")),
        }
