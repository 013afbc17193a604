"""The API's envelopes: success, business error, gateway error (docs 6444/69728, 6369/68677).

Every reply carries a ``request_id``, a ``time_elapsed`` in Go's duration text and the header ``X-Tt-Logid``.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any

from airflow_provider_jimeng.core.codes import BUSINESS_CODES, GATEWAY_CODES, SUCCESS
from airflow_provider_jimeng.emulator.messages import Answer, Headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A code that the API or its gateway answers with; ``detail`` follows the vendor's message (its words are ours, L)."""

    code: int
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """Builds the answers to one request. ``now`` is epoch seconds, ``elapsed`` says how long it took so far."""

    now: float
    elapsed: Callable[[], float]
    action: str = ""
    version: str = ""
    region: str = "cn-north-1"

    def success(self, data: Any) -> Answer:
        """Answer 10000 with HTTP 200; the integer ``status`` mirrors ``code`` (confidence H)."""
        return self._business(200, SUCCESS, "Success", data)

    def refusal(
        self, refusal: Refusal, *, http_status: int | None = None, message: str | None = None
    ) -> Answer:
        """Answer with an error of the code table; ``http_status`` and ``message`` replace the documented ones."""
        code = refusal.code
        if code in GATEWAY_CODES:
            return self._gateway(refusal, http_status, message)
        entry = BUSINESS_CODES.get(code)
        text = message or (entry.message if entry else "Unknown Error")
        if refusal.detail and not message:
            text = f"{text}: {refusal.detail}"
        return self._business(http_status or (entry.http_status if entry else 400), code, text, None)

    def _business(self, http_status: int, code: int, message: str, data: Any) -> Answer:
        request_id = new_request_id(self.now)
        payload = {
            "code": code,
            "data": data,
            "message": message,
            "request_id": request_id,
            "status": code,
            "time_elapsed": go_duration(self.elapsed()),
        }
        return Answer(
            http_status=http_status, code=code, payload=payload, headers=_headers(request_id, self.now)
        )

    def _gateway(self, refusal: Refusal, http_status: int | None, message: str | None) -> Answer:
        entry = GATEWAY_CODES[refusal.code]
        request_id = new_request_id(self.now)
        metadata: Mapping[str, Any] = {
            "RequestId": request_id,
            "Action": self.action,
            "Version": self.version,
            "Service": "cv",
            "Region": self.region,
            "Error": {
                "CodeN": entry.code,
                "Code": entry.name,
                "Message": message or refusal.detail or entry.meaning,
            },
        }
        return Answer(
            http_status=http_status or entry.http_status,
            code=entry.code,
            payload={"ResponseMetadata": metadata},
            headers=_headers(request_id, self.now),
        )


def progress(status: str) -> dict[str, Any]:
    """Return the ``data`` of a query's reply as long as there is no video (H)."""
    return {"status": status, "video_url": "", "resp_data": "", "binary_data_base64": [], "image_urls": None}


def new_request_id(now: float) -> str:
    """Return a new id: UTC time to the second, then 18 hex digits."""
    return f"{datetime.fromtimestamp(now, UTC):%Y%m%d%H%M%S}{uuid.uuid4().hex[:18].upper()}"


def go_duration(seconds: float) -> str:
    """Return seconds as Go writes a duration: ``100.511µs``, ``3.2ms``, ``1.5s`` (units vary, confidence H)."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.6f}".rstrip("0").rstrip(".") + unit
    return f"{max(0, round(seconds * 1e9))}ns"


def _headers(request_id: str, now: float) -> Headers:
    """The log id, and the date by the API's clock, which a caller with a wrong one can correct itself by."""
    return (("X-Tt-Logid", request_id), ("Date", formatdate(now, usegmt=True)))
