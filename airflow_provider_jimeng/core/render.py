# SPDX-License-Identifier: Apache-2.0
"""A render, how a wait for it ended, and its saved video: typed values inside, versioned JSON at every border."""

from __future__ import annotations

from dataclasses import dataclass, fields
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_jimeng.core.catalogue import FPS, MODELS, RATIO, RETENTION_SECONDS
from airflow_provider_jimeng.core.outcomes import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pendulum

    from airflow_provider_jimeng.core.catalogue import ModelSpec
    from airflow_provider_jimeng.core.mp4 import MediaInfo

PAYLOAD_VERSION = 1
SAFE_RETENTION_SECONDS = RETENTION_SECONDS - 1800
"""No wait lasts longer than 11.5 h after the submit, so that half an hour is left to save the video."""
_LENGTH_TOLERANCE_SECONDS = 0.5
"""A video has one frame more than its duration, and players round."""
_FRAME_RATE_TOLERANCE = 0.5
_RATIO_TOLERANCE = 0.03
"""Sides are multiples of 8 or 16 pixels, so that the sizes of the catalogue miss their ratios by up to 2.4 %."""


class RenderStatus(StrEnum):
    """The status of a render. The first five are words of the API (docs 85621/1777001)."""

    IN_QUEUE = "in_queue"
    GENERATING = "generating"
    DONE = "done"
    NOT_FOUND = "not_found"
    EXPIRED = "expired"
    FAILED = "failed"
    UNKNOWN = "unknown"


def format_time(moment: pendulum.DateTime) -> str:
    """Return a time as RFC 3339 in UTC, e.g. ``2026-01-02T03:04:05.678901Z``."""
    return moment.in_timezone("UTC").to_iso8601_string()


def parse_time(text: str) -> pendulum.DateTime:
    """Return an RFC 3339 time in UTC.

    :raises ValueError: the text is not such a time.
    """
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
    """Return a cost for a log line, e.g. ``1.40 CNY``."""
    return "unknown" if amount is None else f"{format_money(amount)} CNY"


def total_cost(costs: Iterable[Decimal | None]) -> Decimal | None:
    """Return the sum of costs in CNY; ``None`` if one of them is unknown."""
    total = Decimal(0)
    for cost in costs:
        if cost is None:
            return None
        total += cost
    return total


def parse_money(value: Any) -> Decimal | None:
    """Return the amount of a text from :func:`format_money`, or of a JSON number.

    :raises ValueError: it is neither.
    """
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
    """An accepted render: its request, the connection that pays, and the time of the submit. Cost in CNY."""

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
    take: int | None = None

    def to_payload(self) -> dict[str, Any]:
        """Return the render as plain JSON data, as it goes into XCom and the records."""
        payload = {f.name: getattr(self, f.name) for f in fields(Render)}
        payload["submitted_at"] = format_time(self.submitted_at)
        payload["estimated_cost_cny"] = format_money(self.estimated_cost_cny)
        if self.take is None:  # it is as in payloads of versions that did not know it
            del payload["take"]
        return {"version": PAYLOAD_VERSION, **payload}

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> Self:
        """Return the render of a payload. Fields of a later version, and of a manifest, are ignored.

        :raises ValueError: a field is missing or of another kind.
        """
        try:
            return cls(**cls._read(payload))
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"this is not a payload of a {cls.__name__} ({type(error).__name__}: {error})"
            ) from None

    @classmethod
    def _read(cls, payload: Mapping[str, Any]) -> dict[str, Any]:
        known = {f.name: payload[f.name] for f in fields(cls) if f.name in payload}
        if not known["task_id"]:
            raise ValueError("the render has no task_id")
        _expect_text(known, "req_key", "model", "jimeng_conn_id")
        return known | {
            "task_id": str(known["task_id"]),
            "submitted_at": parse_time(known["submitted_at"]),
            "estimated_cost_cny": parse_money(known.get("estimated_cost_cny")),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderManifest(Render):
    """A render whose video is saved: the file, its contents and its cost.

    ``bytes`` is the size; ``width`` and ``height`` in pixels, ``fps`` frames a second and ``frames`` are read from
    the file. ``cost_cny`` is ``None`` if the price is unknown. ``polls`` is the number of queries.

    ``queued_seconds`` and ``render_seconds`` are measured between queries: from the submit until the render was first seen
    running, and from then until it was first seen done. ``queued_seconds_min`` and ``render_seconds_min`` are the lower bounds:
    until it was last seen queued, and from when it was first seen running until it was last seen running. ``None`` means
    that no query saw the state.

    ``differs`` lists in what the video differs from its request, each ``{"field", "asked", "got"}``; it is ``None`` in
    manifests of versions that did not compare. ``aigc_label`` is the implicit label found in the file, ``None`` without
    one. ``aigc_meta_tagged`` is only what the API said.
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
    queued_seconds_min: float | None = None
    render_seconds_min: float | None = None
    differs: list[dict[str, Any]] | None = None
    aigc_label: dict[str, Any] | None = None

    @property
    def is_labelled(self) -> bool:
        """Whether the file has an implicit label. For a file of an older version, the API's word counts."""
        if self.differs is None:
            return self.aigc_meta_tagged is True
        return self.aigc_label is not None

    def to_payload(self) -> dict[str, Any]:
        """Return render and file as plain JSON data, as it goes into XCom, the file beside the video and the asset event."""
        own = {
            f.name: getattr(self, f.name) for f in fields(self) if f.name not in Render.__dataclass_fields__
        }
        own["landed_at"] = format_time(self.landed_at)
        own["cost_cny"] = format_money(self.cost_cny)
        return {**Render.to_payload(self), **own}

    def success(self) -> RenderEvent:
        """Return the end of the wait for the render, as the manifest records it."""
        return RenderEvent(
            outcome=Outcome.SUCCEEDED,
            task_id=self.task_id,
            req_key=self.req_key,
            polls=self.polls or 0,
            queued_seconds=self.queued_seconds,
            render_seconds=self.render_seconds,
            queued_seconds_min=self.queued_seconds_min,
            render_seconds_min=self.render_seconds_min,
        )

    @classmethod
    def _read(cls, payload: Mapping[str, Any]) -> dict[str, Any]:
        known = super(RenderManifest, cls)._read(payload)  # a bare super() does not know a slotted class
        _expect_text(known, "uri", "sha256")
        return known | {
            "landed_at": parse_time(known["landed_at"]),
            "cost_cny": parse_money(known.get("cost_cny")),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderEvent:
    """The end of one wait.

    ``code``, ``message`` and ``request_id`` come from the API, if it gave them. ``polls`` counts the queries of this
    wait. ``queued_seconds`` and the other three times are those of :class:`RenderManifest`; ``None`` means that no poll saw
    the state. ``waiting_since`` (epoch seconds) is set for the outcomes of a wait for a slot. ``ready_until`` (epoch seconds)
    is set if the slot is not free yet, but comes free when the render ``task_id`` ends, probably before that time.
    """

    outcome: Outcome
    task_id: str | None = None
    req_key: str | None = None
    code: str | None = None
    message: str | None = None
    request_id: str | None = None
    polls: int = 0
    queued_seconds: float | None = None
    render_seconds: float | None = None
    queued_seconds_min: float | None = None
    render_seconds_min: float | None = None
    waiting_since: float | None = None
    ready_until: float | None = None

    def to_payload(self) -> dict[str, Any]:
        """Return the event as plain JSON data, without the fields that have no value."""
        payload: dict[str, Any] = {
            "version": PAYLOAD_VERSION,
            "outcome": self.outcome.value,
            "polls": self.polls,
        }
        for name in _OPTIONAL:
            value = getattr(self, name)
            if value is not None:
                payload[name] = value
        return payload

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> RenderEvent:
        """Return the event of a payload from :meth:`to_payload`; the fields of a later version are ignored."""
        return cls(
            outcome=Outcome(payload["outcome"]),
            polls=int(payload.get("polls") or 0),
            **{name: payload.get(name) for name in _OPTIONAL},
        )


_OPTIONAL = (
    "task_id",
    "req_key",
    "code",
    "message",
    "request_id",
    "queued_seconds",
    "render_seconds",
    "queued_seconds_min",
    "render_seconds_min",
    "waiting_since",
    "ready_until",
)


def measured(
    submitted_at: float, running_since: float, done_at: float, queued_until: float, running_until: float
) -> dict[str, float]:
    """Return the times of a render from what queries saw: three epoch seconds, and two ages at which a state was last seen."""
    queued = max(0.0, running_since - submitted_at)
    times = {
        "queued_seconds": queued,
        "render_seconds": max(0.0, done_at - running_since),
        "queued_seconds_min": min(queued, max(0.0, queued_until)),
        "render_seconds_min": max(0.0, running_until - queued),
    }
    return {name: round(seconds, 3) for name, seconds in times.items()}


def deadline_for(*, now: float, wait_timeout: float, submitted_at: float) -> float:
    """Return the epoch second at which a wait that starts now ends."""
    return min(submitted_at + SAFE_RETENTION_SECONDS, now + wait_timeout)


def kept_until(submitted_at: pendulum.DateTime) -> str:
    """Return until when the API keeps a render for certain, for example ``14:05 UTC on 2026-01-02``."""
    until = submitted_at.in_timezone("UTC").add(seconds=SAFE_RETENTION_SECONDS)
    return f"{until:HH:mm} UTC on {until:YYYY-MM-DD}"


def landable_until(render: Render) -> str:
    """Return until when the video of a render can be saved; for a bare id the time of the submit is not known."""
    return kept_until(render.submitted_at) if render.fingerprint else "12 hours after its submit"


def in_words(seconds: float) -> str:
    """Return a length of time for a log line, for example ``24 h``, ``5 min`` or ``30 s``."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length and not seconds % length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"


def manifest_or_none(payload: Any) -> Mapping[str, Any] | None:
    """Return a payload if it is that of a manifest, else ``None``."""
    try:
        RenderManifest.from_payload(payload)
    except (ValueError, AttributeError):
        return None
    return dict(payload)


# --- in what a video differs from its request --------------------------------------------------------------------------


def differences(render: Render, media: MediaInfo) -> list[dict[str, Any]]:
    """Return in what a video differs from its request: a list of ``{"field", "asked", "got"}``, empty if in nothing.

    Sizes are compared only for models whose sizes the vendor documents; for the others the ratio is compared. A payload of
    another origin can hold any value. What cannot be compared is left out, because the video is paid and must be saved.
    """
    spec = MODELS.get(render.model)
    checks = (
        _duration_difference(render, media),
        _picture_difference(render, spec, media),
        _frame_rate_difference(media) if spec is not None else None,
    )
    return [check for check in checks if check is not None]


def difference_in_words(difference: Mapping[str, Any]) -> str:
    """Return one entry of :func:`differences` as a log line and an error tell it: ``duration 3.0 instead of 5``."""
    return f"{difference['field']} {difference['got']} instead of {difference['asked']}"


def _duration_difference(render: Render, media: MediaInfo) -> dict[str, Any] | None:
    got = media.duration_seconds
    if (
        not isinstance(render.duration, int)
        or got is None
        or abs(got - render.duration) <= _LENGTH_TOLERANCE_SECONDS
    ):
        return None
    return {"field": "duration", "asked": render.duration, "got": got}


def _picture_difference(render: Render, spec: ModelSpec | None, media: MediaInfo) -> dict[str, Any] | None:
    """Compare the size, or the ratio where the size is uncertain. Without an asked ratio, the first frame decides."""
    ratio = RATIO.fullmatch(render.aspect_ratio) if isinstance(render.aspect_ratio, str) else None
    if ratio is None or render.aspect_ratio is None:
        return None
    across, down = map(int, ratio.groups())
    requested, got = across / down, media.width / media.height
    if abs(got - requested) > requested * _RATIO_TOLERANCE:
        return {"field": "aspect_ratio", "asked": render.aspect_ratio, "got": f"{media.width}:{media.height}"}
    size = None if spec is None or spec.sizes_confidence != "H" else spec.sizes.get(render.aspect_ratio)
    if size is None or size == (media.width, media.height):
        return None
    return {"field": "size", "asked": "{}x{}".format(*size), "got": f"{media.width}x{media.height}"}


def _frame_rate_difference(media: MediaInfo) -> dict[str, Any] | None:
    if media.fps is None or abs(media.fps - FPS) <= _FRAME_RATE_TOLERANCE:
        return None
    return {"field": "fps", "asked": FPS, "got": media.fps}
