"""The code table: what each code of the API and its gateway means, and what to do about it.

Sources: product pages of library 85621 and the common return codes (docs 6444/69728) for business codes, the
gateway's public error pages (docs 6369/68677, 6469/1126806) for the others. Classes follow the number, or the
gateway's name, never the text of a message. Only code 10000 with status ``done`` is billed (confidence M).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING

from airflow_provider_jimeng.core.errors import (
    ApiError,
    AuthenticationError,
    ConcurrencyLimitedError,
    InputModeratedError,
    InputRejectedError,
    OutputModeratedError,
    PermissionDeniedError,
    RateLimitedError,
    ServerError,
    UnknownCodeError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

SUCCESS = 10000
_NUMBER = re.compile(r"[0-9]{5}")
MISSING_TASK_STATUSES = frozenset({"task_not_exist", "tasknotfound"})
"""Gateway and tutorial names for "no such task", lower case."""


class ErrorKind(Enum):
    """What a code says, as one of the error classes."""

    INPUT_REJECTED = InputRejectedError
    INPUT_MODERATED = InputModeratedError
    OUTPUT_MODERATED = OutputModeratedError
    RATE_LIMITED = RateLimitedError
    BUSY = ConcurrencyLimitedError
    AUTHENTICATION = AuthenticationError
    PERMISSION = PermissionDeniedError
    SERVER = ServerError
    UNKNOWN = UnknownCodeError

    @property
    def error_class(self) -> type[ApiError]:
        """The class that an answer of this kind raises."""
        error_class: type[ApiError] = self.value
        return error_class

    @property
    def fails_render(self) -> bool:
        """Whether a query's answer of this kind ends the render, rather than only the query."""
        return self in (ErrorKind.INPUT_REJECTED, ErrorKind.INPUT_MODERATED, ErrorKind.OUTPUT_MODERATED)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeEntry:
    """One row.

    ``name`` and ``message`` are the vendor's own. ``gateway``: it comes from the gateway before the API, so it
    judges the request and never the render. ``confidence`` is that of the public sources: H, M or L.
    """

    code: int
    name: str
    http_status: int
    message: str
    kind: ErrorKind
    meaning: str
    advice: str
    gateway: bool = False
    confidence: str = "H"

    @property
    def retryable(self) -> bool:
        """Whether a new submit of the same request may pass."""
        return self.kind.error_class.retryable

    @property
    def fails_render(self) -> bool:
        """Whether a query's answer with this code ends the render, rather than only the query."""
        return self.kind.fails_render and not self.gateway


_CHANGE_PROMPT = "Change the prompt."
_CHANGE_IMAGE = "Use another input image."
_CHANGE_ARGS = "Compare the arguments with what the model takes."
_NEW_SEED = "A new render with another seed or prompt may pass."
_WAIT = "Nothing to do: it is tried again."
_BROKE = "Nothing to do while waiting; after a submit the outcome is unknown."
_KEY = "Check the access key, the secret and the session token of the connection."


def _business(
    code: int,
    http: int,
    message: str,
    kind: ErrorKind,
    meaning: str,
    advice: str,
    *,
    name: str = "",
    confidence: str = "H",
) -> tuple[int, CodeEntry]:
    return code, CodeEntry(
        code=code, name=name, http_status=http, message=message, kind=kind,
        meaning=meaning, advice=advice, confidence=confidence,
    )  # fmt: skip


_K = ErrorKind
BUSINESS_CODES: Mapping[int, CodeEntry] = MappingProxyType(
    dict(
        [
            _business(50411, 400, "Pre Img Risk Not Pass", _K.INPUT_MODERATED,
                      "Moderation refused the input image.", _CHANGE_IMAGE),
            _business(50511, 400, "Post Img Risk Not Pass", _K.OUTPUT_MODERATED,
                      "Moderation refused the finished picture.", _NEW_SEED),
            _business(50412, 400, "Text Risk Not Pass", _K.INPUT_MODERATED,
                      "Moderation refused the prompt.", _CHANGE_PROMPT),
            _business(50512, 400, "Post Text Risk Not Pass", _K.INPUT_MODERATED,
                      "Moderation refused the text of the result.", _CHANGE_PROMPT),
            _business(50413, 400, "Post Text Risk Not Pass", _K.INPUT_MODERATED,
                      "The prompt holds sensitive or copyrighted words.", _CHANGE_PROMPT),
            _business(50513, 400, "Pre Video Risk Not Pass", _K.INPUT_MODERATED,
                      "Moderation refused the input video.", "Use another input video."),
            _business(50514, 400, "Pre Audio Risk Not Pass", _K.INPUT_MODERATED,
                      "Moderation refused the input audio.", "Use other input audio."),
            _business(50516, 400, "Post Video Risk Not Pass", _K.OUTPUT_MODERATED,
                      "Moderation refused the finished video.", _NEW_SEED),
            _business(50517, 400, "Post Audio Risk Not Pass", _K.OUTPUT_MODERATED,
                      "Moderation refused the finished audio.", _NEW_SEED),
            _business(50518, 400, "Pre Img Risk Not Pass: Copyright", _K.INPUT_MODERATED,
                      "The input image is protected by copyright.", _CHANGE_IMAGE),
            _business(50519, 400, "Post Img Risk Not Pass: Copyright", _K.OUTPUT_MODERATED,
                      "The finished picture resembles protected work.", _NEW_SEED),
            _business(50520, 400, "Risk Internal Error", _K.INPUT_MODERATED,
                      "The moderation service failed on this request.",
                      "Documented as final; change the input or clear the task later."),
            _business(50521, 400, "Antidirt Internal Error", _K.INPUT_MODERATED,
                      "The text moderation service failed on this request.",
                      "Documented as final; change the prompt or clear the task later."),
            _business(50522, 400, "Image Copyright Internal Error", _K.INPUT_MODERATED,
                      "The copyright check failed on this request.",
                      "Documented as final; change the image or clear the task later."),
            _business(50429, 429, "Request Has Reached API Limit, Please Try Later", _K.RATE_LIMITED,
                      "Too many requests a second.", _WAIT, name="ECReqLimit"),
            _business(50430, 429, "Request Has Reached API Concurrent Limit, Please Try Later", _K.BUSY,
                      "The account runs as many renders of this model as it may.", _WAIT),
            _business(50500, 500, "Internal Error", _K.SERVER,
                      "The API failed inside.", _BROKE,
                      name="ECInternal"),
            _business(50501, 500, "Internal RPC Error", _K.SERVER,
                      "The API failed inside.", _BROKE,
                      name="ECRPCInternal"),
            _business(50200, 400, "Invalid Request Args", _K.INPUT_REJECTED,
                      "An argument, or the model key, is invalid.", _CHANGE_ARGS, name="ECReqInvalidArgs"),
            _business(50201, 400, "Missing Request Args", _K.INPUT_REJECTED,
                      "An argument is missing.", _CHANGE_ARGS, name="ECReqMissingArgs"),
            _business(50204, 400, "Parse Args Failed", _K.INPUT_REJECTED,
                      "An argument has the wrong type or cannot be parsed.", _CHANGE_ARGS, name="ECParseArgs"),
            _business(50205, 400, "Image Size Limited", _K.INPUT_REJECTED,
                      "The image is too large.", "Send a smaller image."),
            _business(50206, 400, "Image Empty", _K.INPUT_REJECTED,
                      "The image is absent.", _CHANGE_IMAGE),
            _business(50207, 400, "Image Decode Error", _K.INPUT_REJECTED,
                      "The image cannot be decoded.", "Send a JPEG or PNG."),
            _business(50209, 400, "Video Empty", _K.INPUT_REJECTED,
                      "The input video is absent.", _CHANGE_ARGS),
            _business(50210, 400, "Video Decode Error", _K.INPUT_REJECTED,
                      "The input video cannot be decoded.", _CHANGE_ARGS),
            _business(50211, 400, "Video Size Limited", _K.INPUT_REJECTED,
                      "The input video is too large.", _CHANGE_ARGS),
            _business(50213, 400, "Request Body Size Limited", _K.INPUT_REJECTED,
                      "The request is too large.", "Send smaller images or links to them.",
                      name="ECReqBodySizeLimited"),
            _business(50214, 400, "Video Time Limited", _K.INPUT_REJECTED,
                      "The input video is too long.", _CHANGE_ARGS),
            _business(50215, 400, "Input invalid for this service.", _K.INPUT_REJECTED,
                      "The image or an argument does not suit the model.", _CHANGE_ARGS),
            _business(60102, 400, "Face Not Detected", _K.INPUT_REJECTED,
                      "No face was found in the image.", _CHANGE_IMAGE),
            _business(60208, 400, "Image Sensitive", _K.INPUT_MODERATED,
                      "The input image is sensitive.", _CHANGE_IMAGE),
            _business(50400, 401, "Access Denied: Internal Error", _K.PERMISSION,
                      "The capability is not opened, the policy lacks CVFullAccess, or the account is in arrears.",
                      "Open the model in the Volcengine console, check the policy and the balance.", name="ECAuth"),
            _business(50402, 404, "Invalid Request Method", _K.PERMISSION,
                      "The endpoint has no such API.", "Check host and path of the connection.",
                      name="ECReqMethod"),
            _business(30403, 200, "NoFeatAuth", _K.PERMISSION,
                      "The capability is not opened.", "Open the model in the Volcengine console.",
                      name="NoFeatAuth", confidence="L"),
            _business(30404, 200, "FeatNotFound", _K.PERMISSION,
                      "The capability does not exist for this account.", "Check the model key of the connection.",
                      name="FeatNotFound", confidence="L"),
        ]
    )
)  # fmt: skip


def _gateway(
    code: int, name: str, http: int, kind: ErrorKind, meaning: str, advice: str
) -> tuple[int, CodeEntry]:
    return code, CodeEntry(
        code=code, name=name, http_status=http, message=name, kind=kind, meaning=meaning, advice=advice, gateway=True
    )  # fmt: skip


_BUG = "Check host, path, region and service of the connection."
GATEWAY_CODES: Mapping[int, CodeEntry] = MappingProxyType(
    dict(
        [
            _gateway(100001, "UndefinedError", 500, _K.SERVER, "The gateway failed.", _BROKE),
            _gateway(100002, "MissingParameter", 400, _K.INPUT_REJECTED, "Action or Version is missing.", _BUG),
            _gateway(100003, "MissingAuthenticationToken", 401, _K.AUTHENTICATION, "No key was sent.", _KEY),
            _gateway(100004, "MissingRequestInfo", 400, _K.INPUT_REJECTED,
                     "The gateway found the request incomplete or malformed.", _BUG),
            _gateway(100005, "MissingSignature", 401, _K.AUTHENTICATION, "No signature was sent.", _KEY),
            _gateway(100006, "InvalidTimestamp", 400, _K.AUTHENTICATION,
                     "The signature's time is too old or too new.", "Set the clock of this machine."),
            _gateway(100007, "ServiceNotFound", 404, _K.INPUT_REJECTED, "The gateway has no such service.", _BUG),
            _gateway(100008, "InvalidActionOrVersion", 404, _K.INPUT_REJECTED,
                     "The gateway has no such action.", _BUG),
            _gateway(100009, "InvalidAccessKey", 401, _K.AUTHENTICATION, "The access key is unknown.", _KEY),
            _gateway(100010, "SignatureDoesNotMatch", 401, _K.AUTHENTICATION,
                     "The signature is wrong: most often the secret key is.", _KEY),
            _gateway(100012, "LackPolicy", 403, _K.PERMISSION, "The key's policy does not allow this.",
                     "Attach CVFullAccess to the key's user."),
            _gateway(100013, "AccessDenied", 403, _K.PERMISSION, "Access is denied.",
                     "Attach CVFullAccess to the key's user."),
            _gateway(100014, "InternalError", 500, _K.SERVER, "The gateway failed.", _BROKE),
            _gateway(100015, "FailToConnect", 502, _K.SERVER, "The gateway cannot reach the service.", _BROKE),
            _gateway(100016, "InternalServiceTimeout", 504, _K.SERVER, "The service did not answer the gateway.",
                     _BROKE),
            _gateway(100018, "FlowLimitExceeded", 429, _K.RATE_LIMITED, "Too many requests a second.", _WAIT),
            _gateway(100019, "ServiceUnavailableTemp", 503, _K.SERVER, "The service is briefly away.", _BROKE),
            _gateway(100020, "MethodNotAllowed", 405, _K.INPUT_REJECTED, "The gateway wants another method.", _BUG),
            _gateway(100024, "InvalidAuthorization", 400, _K.AUTHENTICATION, "The signature is malformed.", _KEY),
            _gateway(100025, "InvalidCredential", 400, _K.AUTHENTICATION, "The signature's scope is malformed.",
                     _BUG),
            _gateway(100026, "InvalidSecretToken", 401, _K.AUTHENTICATION,
                     "The session token is wrong or has expired.", "Renew the session token of the connection."),
        ]
    )
)  # fmt: skip

OTHER_NAMES: Mapping[str, int] = MappingProxyType(
    {
        # Older pages and tutorials (by name, as their numeric kin) …
        "InvalidClientTokenId": 100009,
        "LackProjectPolicy": 100012,
        "InternalServiceError": 100014,
        "AccountFlowLimitExceeded": 100018,
        "InvalidSignature": 100010,
        "InvalidParameter": 50200,
        "QuotaExceeded": 50430,
        "ContentFiltered": 50412,
        # … and Bearer gateways, whose own complaints are about the request, so that none may end a render.
        "invalid_signature": 100010,
        "auth_failed": 100009,
        "key_expired": 100009,
        "key_revoked": 100009,
        "invalid_request": 100004,
        "validation_failed": 100004,
        "rate_limited": 100018,
        "insufficient_quota": 50400,
        "insufficient_user_quota": 50400,
        "pre_consume_token_quota_failed": 50400,
        "upstream_failed": 100015,
        "database_error": 100014,
        "audit_failed": 100014,
        "internal_error": 100014,
        "fail_to_fetch_task": 100014,
    }
)
"""Names that stand for the refusal of a row, and are not the row's own."""

_NAMES: Mapping[str, int] = MappingProxyType(
    {entry.name.lower(): code for code, entry in GATEWAY_CODES.items()}
    | {entry.name.lower(): code for code, entry in BUSINESS_CODES.items() if entry.name}
    | {name.lower(): code for name, code in OTHER_NAMES.items()}
)


_QUOTA = (
    "The balance or the quota at the gateway is used up.",
    "Top up the account, or raise the token's quota, at the gateway.",
)
_RENEW = "Put a valid token of the gateway into the connection's password."
_MALFORMED = (
    "The gateway found the request incomplete or malformed.",
    "Compare the arguments with what the model takes, and host and path of the connection with the gateway's pages.",
)
_WORDS_OF_GATEWAYS: Mapping[str, CodeEntry] = MappingProxyType(
    {
        word: replace(kin, meaning=meaning, advice=advice, gateway=True)
        for word, (meaning, advice) in {
            "insufficient_quota": _QUOTA,
            "insufficient_user_quota": _QUOTA,
            "pre_consume_token_quota_failed": _QUOTA,
            "auth_failed": ("The gateway does not know the token.", _RENEW),
            "key_expired": ("The token has expired at the gateway.", _RENEW),
            "key_revoked": ("The token was revoked at the gateway.", _RENEW),
            "invalid_request": _MALFORMED,
            "validation_failed": _MALFORMED,
        }.items()
        for kin in [{**BUSINESS_CODES, **GATEWAY_CODES}[OTHER_NAMES[word]]]
    }
)
"""What only Bearer gateways say: their own refusals, with what to do about them there and not at the vendor."""

TOO_LARGE = CodeEntry(
    code=413, name="", http_status=413, message="", kind=ErrorKind.INPUT_REJECTED, gateway=True,
    meaning="The request is larger than the server, or a proxy before it, accepts.",
    advice="Send smaller images, or http(s) links to them.",
)  # fmt: skip
"""HTTP 413, which servers and proxies answer on their own."""

_LONGEST_NUMBER = 9
"""No code has more digits, and longer texts of digits are not worth reading as numbers."""


def lookup(code: int | str | None) -> CodeEntry | None:
    """Return the row for a number, the same number as text, or a name; ``None`` if no row has it."""
    if code is None or isinstance(code, bool):
        return None
    if isinstance(code, int):
        return BUSINESS_CODES.get(code) or GATEWAY_CODES.get(code)
    text = code.strip()
    if text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER:
        number = int(text)
    else:
        number = _NAMES.get(text.lower(), 0)
    return BUSINESS_CODES.get(number) or GATEWAY_CODES.get(number)


_FAILURE_RANGES = (range(50200, 50300), range(50400, 50600))
"""Numbers of inputs and of moderation, which the API uses to say that a render failed (docs 85621)."""


def looks_like_failure(error: ApiError) -> bool:
    """Whether a code that no row lists has the number of one that fails a render."""
    number = int(error.code) if error.code is not None and _NUMBER.fullmatch(error.code) else 0
    return error.entry is None and any(number in numbers for numbers in _FAILURE_RANGES)


_BY_HTTP_STATUS: Mapping[int, ErrorKind] = MappingProxyType(
    {
        401: ErrorKind.AUTHENTICATION,
        403: ErrorKind.PERMISSION,
        429: ErrorKind.RATE_LIMITED,
    }
)


def entry_for(code: int | str | None) -> CodeEntry | None:
    """Return the row for a code as :func:`lookup` does; a gateway's own words have the gateway's advice."""
    own = _WORDS_OF_GATEWAYS.get(code.strip().lower()) if isinstance(code, str) else None
    return own or lookup(code)


def error_for(
    code: int | str | None, message: str, *, request_id: str | None = None, http_status: int | None = None
) -> ApiError:
    """Return the error for an answer. An unlisted code falls back on the HTTP status, and then on unknown.

    HTTP 429 outweighs a code that only says that something broke.
    """
    entry = entry_for(code)
    if entry is not None and entry.kind is ErrorKind.SERVER and http_status == 429:
        entry = None
    elif entry is None and http_status == 413:
        entry = TOO_LARGE
    if entry is not None:
        kind = entry.kind
    elif http_status is not None and http_status >= 500:
        kind = ErrorKind.SERVER
    else:
        kind = (
            ErrorKind.UNKNOWN if http_status is None else _BY_HTTP_STATUS.get(http_status, ErrorKind.UNKNOWN)
        )
    return kind.error_class(
        message,
        code=None if code is None else str(code),
        request_id=request_id,
        http_status=http_status,
        entry=entry,
    )
