# SPDX-License-Identifier: Apache-2.0
"""HTTP requests and responses, independent of what carries them, and the calls and responses of the API.

The API has three kinds of responses: success, business error and gateway error (docs 6444/69728, 6369/68677). Each has a
``request_id``, a ``time_elapsed`` in Go's notation and the header ``X-Tt-Logid``.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any, Literal

from airflow_provider_jimeng.core.codes import BUSINESS_CODES, GATEWAY_CODES, SUCCESS

JSON_TYPE = "application/json; charset=utf-8"
_HTML = b"<html><head><title>%(status)d</title></head><body><center><h1>%(status)d</h1></center><hr></body></html>\n"

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request. ``target`` is the path and the query string, not decoded."""

    method: str
    target: str
    headers: Headers = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)
    scheme: str = "http"

    @property
    def path(self) -> str:
        """Return the path, still percent-encoded. It is never empty."""
        return self.target.partition("?")[0] or "/"

    @property
    def query_string(self) -> str:
        """Return what follows the first question mark, still percent-encoded."""
        return self.target.partition("?")[2]

    def header(self, name: str) -> str | None:
        """Return the value of a header, or ``None``. Several values are joined as in RFC 9110 §5.3."""
        wanted = name.lower()
        values = [value for key, value in self.headers if key.lower() == wanted]
        return ",".join(values) if values else None

    @property
    def origin(self) -> str:
        """Return the scheme and host that the client used. Video links start with it."""
        return f"{self.scheme}://{self.header('host') or 'localhost'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An HTTP response. It is sent after ``delay_seconds``.

    ``declared_length`` is the Content-Length if that is not the length of ``body``. If it is greater, the connection is
    closed after the last byte of ``body``.
    """

    status: int
    body: bytes = field(default=b"", repr=False)
    headers: Headers = ()
    delay_seconds: float = 0.0
    declared_length: int | None = None

    @property
    def content_length(self) -> int:
        """Return the Content-Length to send."""
        return len(self.body) if self.declared_length is None else self.declared_length


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionCut:
    """The connection ends without a response: it is closed in order, or reset."""

    how: Literal["close", "reset"] = "close"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoResponse:
    """No response. The connection stays open for ``seconds``, or until the client closes it."""

    seconds: float


HttpResult = Response | ConnectionCut | NoResponse


def json_response(status: int, payload: Mapping[str, Any] | list[Any], headers: Headers = ()) -> Response:
    """Return a response with a JSON body."""
    # A prompt can hold half of a surrogate pair. JSON can express it, UTF-8 cannot.
    body = json.dumps(payload, ensure_ascii=False).encode(errors="replace")
    return Response(status=status, body=body, headers=(("Content-Type", JSON_TYPE), *headers))


def html_page(status: int) -> Response:
    """Return an error page as a proxy or a CDN sends it."""
    return Response(status=status, body=_HTML % {b"status": status}, headers=(("Content-Type", "text/html"),))


OPERATIONS: Mapping[tuple[str, str], str] = {
    ("CVSync2AsyncSubmitTask", "2022-08-31"): "submit",
    ("CVSync2AsyncGetResult", "2022-08-31"): "query",
    ("CVCancelTask", "2024-06-06"): "cancel",
}
"""Maps (Action, Version) of the query string to the operation."""


def code_of(name: str) -> int:
    """Return the code with this vendor name or message. The numbers are only in the code table.

    :raises LookupError: no code has this name, or several codes have it.
    """
    rows = [*BUSINESS_CODES.values(), *GATEWAY_CODES.values()]
    matches = {row.code for row in rows if row.name == name} or {
        row.code for row in rows if row.message == name
    }
    if len(matches) != 1:
        raise LookupError(f"{len(matches)} codes are called {name!r}")
    return matches.pop()


class Code:
    """The codes of the errors that the emulator returns by itself."""

    INVALID_ARGS = code_of("ECReqInvalidArgs")
    MISSING_ARGS = code_of("ECReqMissingArgs")
    PARSE_ARGS = code_of("ECParseArgs")
    IMAGE_TOO_LARGE = code_of("Image Size Limited")
    IMAGE_EMPTY = code_of("Image Empty")
    IMAGE_DECODE = code_of("Image Decode Error")
    BODY_TOO_LARGE = code_of("ECReqBodySizeLimited")
    INPUT_INVALID = code_of("Input invalid for this service.")
    TEXT_RISK = code_of("Text Risk Not Pass")
    OUTPUT_RISK = code_of("Post Img Risk Not Pass")
    RATE_LIMIT = code_of("ECReqLimit")
    CONCURRENCY_LIMIT = code_of("Request Has Reached API Concurrent Limit, Please Try Later")
    NOT_ACTIVATED = code_of("ECAuth")

    MISSING_PARAMETER = code_of("MissingParameter")
    MISSING_AUTHENTICATION = code_of("MissingAuthenticationToken")
    MISSING_REQUEST_INFO = code_of("MissingRequestInfo")
    MISSING_SIGNATURE = code_of("MissingSignature")
    INVALID_TIMESTAMP = code_of("InvalidTimestamp")
    SERVICE_NOT_FOUND = code_of("ServiceNotFound")
    INVALID_ACTION = code_of("InvalidActionOrVersion")
    INVALID_ACCESS_KEY = code_of("InvalidAccessKey")
    WRONG_SIGNATURE = code_of("SignatureDoesNotMatch")
    METHOD_NOT_ALLOWED = code_of("MethodNotAllowed")
    INVALID_AUTHORIZATION = code_of("InvalidAuthorization")
    INVALID_CREDENTIAL = code_of("InvalidCredential")
    INVALID_TOKEN = code_of("InvalidSecretToken")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why the API or its gateway refuses a request. ``detail`` follows the vendor's message (our words, L)."""

    code: int
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiResponse:
    """A response of the API before it becomes bytes, so that a Bearer gateway can change its shape.

    ``code`` is 10000, a business code or a gateway code.
    """

    http_status: int
    code: int
    payload: Mapping[str, Any] = field(repr=False)
    headers: Headers = ()

    @property
    def succeeded(self) -> bool:
        """Return whether the code is 10000."""
        return self.code == SUCCESS

    @property
    def data(self) -> Mapping[str, Any]:
        """Return the ``data`` object. It is empty if the payload has none."""
        data = self.payload.get("data")
        return data if isinstance(data, Mapping) else {}

    def to_http(self) -> Response:
        """Return the HTTP response in the API's own shape."""
        return json_response(self.http_status, self.payload, self.headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseBuilder:
    """Builds the responses to one request.

    ``now`` is in epoch seconds. ``elapsed`` returns the seconds since the request came.
    """

    now: float
    elapsed: Callable[[], float]
    action: str = ""
    version: str = ""
    region: str = "cn-north-1"

    def success(self, data: Any) -> ApiResponse:
        """Return code 10000 with HTTP 200. The integer ``status`` is equal to ``code`` (confidence H)."""
        return self._business(200, SUCCESS, "Success", data)

    def refusal(
        self, refusal: Refusal, *, http_status: int | None = None, message: str | None = None
    ) -> ApiResponse:
        """Return an error of the code table. ``http_status`` and ``message`` replace the documented ones."""
        code = refusal.code
        if code in GATEWAY_CODES:
            return self._gateway(refusal, http_status, message)
        entry = BUSINESS_CODES.get(code)
        text = message or (entry.message if entry else "Unknown Error")
        if refusal.detail and not message:
            text = f"{text}: {refusal.detail}"
        return self._business(http_status or (entry.http_status if entry else 400), code, text, None)

    def _business(self, http_status: int, code: int, message: str, data: Any) -> ApiResponse:
        request_id = new_request_id(self.now)
        payload = {
            "code": code,
            "data": data,
            "message": message,
            "request_id": request_id,
            "status": code,
            "time_elapsed": go_duration(self.elapsed()),
        }
        return ApiResponse(
            http_status=http_status, code=code, payload=payload, headers=_headers(request_id, self.now)
        )

    def _gateway(self, refusal: Refusal, http_status: int | None, message: str | None) -> ApiResponse:
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
        return ApiResponse(
            http_status=http_status or entry.http_status,
            code=entry.code,
            payload={"ResponseMetadata": metadata},
            headers=_headers(request_id, self.now),
        )


def status_data(status: str) -> dict[str, Any]:
    """Return the ``data`` of a query's response without a video (H)."""
    return {"status": status, "video_url": "", "resp_data": "", "binary_data_base64": [], "image_urls": None}


def new_request_id(now: float) -> str:
    """Return a new id: the UTC time to the second, then 18 hexadecimal digits."""
    return f"{datetime.fromtimestamp(now, UTC):%Y%m%d%H%M%S}{uuid.uuid4().hex[:18].upper()}"


def go_duration(seconds: float) -> str:
    """Return seconds as Go writes a duration: ``100.511µs``, ``3.2ms``, ``1.5s`` (units vary, confidence H)."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.6f}".rstrip("0").rstrip(".") + unit
    return f"{max(0, round(seconds * 1e9))}ns"


def _headers(request_id: str, now: float) -> Headers:
    """Return the log id and the date. A client with a wrong clock can correct itself by the date."""
    return (("X-Tt-Logid", request_id), ("Date", formatdate(now, usegmt=True)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of an operation of the API. ``body`` is empty if ``raw`` is not a JSON object."""

    operation: str
    raw: bytes = field(repr=False)
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    origin: str
    responses: ResponseBuilder

    @classmethod
    def read(cls, operation: str, raw: bytes, origin: str, responses: ResponseBuilder) -> Call:
        """Read a body without checking it."""
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            body = {}
        return cls(
            operation=operation,
            raw=raw,
            body=body if isinstance(body, dict) else {},
            origin=origin,
            responses=responses,
        )

    @property
    def now(self) -> float:
        """Return the time of the call in epoch seconds."""
        return self.responses.now

    def text(self, name: str) -> str:
        """Return a field of the body if it is text, or an empty string."""
        value = self.body.get(name)
        return value if isinstance(value, str) else ""
