# SPDX-License-Identifier: Apache-2.0
"""Reads the JSON of every answer: code, message, request id, data and link, in whatever form they come.

There are three forms: the API's own (``code``, ``message``, ``data``), the gateway's (``ResponseMetadata`` with ``Error`` or around a
``Result``), and those of Bearer gateways (``error`` objects, codes that are words, answers wrapped in answers).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from airflow_provider_jimeng.core.codes import (
    FAILURE_RANGES,
    SUCCESS,
    CodeEntry,
    ErrorKind,
    entry_for,
    lookup,
)
from airflow_provider_jimeng.core.errors import ApiError, UnreadableReplyError
from airflow_provider_jimeng.core.texts import without_queries

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_MESSAGE_LENGTH = 1000
MAX_WORD_LENGTH = 80
MAX_DEPTH = 3
"""A gateway's answer contains its task, the task contains the API's answer, and that contains its data."""
TOO_LARGE = CodeEntry(
    code=413, http_status=413, kind=ErrorKind.INPUT_REJECTED, gateway=True,
    meaning="The request is larger than the server, or a proxy in front of it, accepts.",
    meaning_zh="请求体超过了服务器或其前置代理的上限。",
    advice="Send smaller images, or http(s) links to them.",
    advice_zh="请使用更小的图片，或改用 http(s) 图片链接。",
)  # fmt: skip
"""HTTP 413, which servers and proxies answer without asking the API."""
_BY_HTTP_STATUS: Mapping[int, ErrorKind] = {
    401: ErrorKind.AUTHENTICATION,
    403: ErrorKind.PERMISSION,
    429: ErrorKind.RATE_LIMITED,
}
_ID = re.compile(r"[\x21-\x7e]{1,256}")
_NUMBER = re.compile(r"[0-9]{5}")
_PLAIN_WORD = re.compile(r"[\w.-]*")
"""A text that contains no link, so that nothing has to be cut. Codes and request ids are such texts."""
_RENDER_KEYS = ("task_id", "id", "video_url", "video_urls", "result_url")
_SUCCESS_CODES = frozenset({str(SUCCESS), "success", "0", "200", "ok"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One answer. ``outer`` is the object that contains ``data``. ``code`` is text, even if it was a number.

    ``text`` is the message as it came. ``error_type`` is the ``type`` of an error object.
    """

    http_status: int
    outer: Mapping[str, Any]
    code: str | None
    message: str
    request_id: str | None
    has_error_object: bool
    text: str = field(default="", repr=False)
    error_type: str | None = None

    @classmethod
    def read(cls, http_status: int, content: bytes) -> Envelope:
        """Read the JSON of an answer.

        :raises RateLimitedError: HTTP 429 without a JSON object. The status alone is clear.
        :raises InputRejectedError: HTTP 413 without a JSON object. The status alone is clear.
        :raises UnreadableReplyError: any other answer that is not a JSON object.
        """
        return cls.of(http_status, _parse(http_status, content))

    @classmethod
    def of(cls, http_status: int, outer: Mapping[str, Any]) -> Envelope:
        """Return the envelope of an answer whose JSON is parsed already."""
        metadata = as_object(outer.get("ResponseMetadata"))
        request_id = first_text(outer.get("request_id"), metadata.get("RequestId"))
        outer = as_object(outer.get("Result")) or outer
        failure = error_object(metadata) or error_object(outer)
        if failure:
            code, message = code_of(failure), first_text(failure.get("Message"), failure.get("message"))
        else:
            code, message = code_text(outer.get("code")), first_text(outer.get("message"), outer.get("msg"))
        return cls(
            http_status=http_status,
            outer=outer,
            code=code,
            message=readable(message) or "",
            request_id=readable(first_text(outer.get("request_id")) or request_id, at_most=MAX_WORD_LENGTH),
            has_error_object=bool(failure),
            text=message or "",
            error_type=code_text(failure.get("type")),
        )

    @property
    def data(self) -> Any:
        """The value of ``data``."""
        return self.outer.get("data")

    @property
    def data_object(self) -> Mapping[str, Any]:
        """The value of ``data`` if it is an object or contains one, else an empty object."""
        return opened(self.data)

    @property
    def ok_status(self) -> bool:
        """Whether the HTTP status is a 2xx."""
        return 200 <= self.http_status < 300

    @property
    def succeeded(self) -> bool:
        """Whether the answer reports success."""
        return not self.has_error_object and is_success(self.code)

    @property
    def refused(self) -> bool:
        """Whether the answer is a refusal, by an error object or a code; without a code, by the HTTP status."""
        if self.has_error_object:
            return True
        return self.http_status >= 400 if self.code is None else not self.succeeded

    def layers(self) -> list[Mapping[str, Any]]:
        """Return the objects that can describe a render, outermost first.

        Without ``data`` that is the answer itself, if it is good and names a task or a video. A proxy's error in JSON can
        say ``"status": "failed"`` too, and does not mean a render.
        """
        layer = self.data_object
        if not layer:
            flat = self.ok_status and any(self.outer.get(key) for key in _RENDER_KEYS)
            return [self.outer] if flat else []
        layers: list[Mapping[str, Any]] = []
        while layer and len(layers) < MAX_DEPTH:
            layers.append(layer)
            layer = opened(layer.get("data"))
        return layers

    def error(self) -> ApiError:
        """Return the error of the answer, by its code."""
        return error_for(self.code, self.message, request_id=self.request_id, http_status=self.http_status)

    def refusal(self, layers: Iterable[Mapping[str, Any]]) -> ApiError | None:
        """Return the error of the answer, or of an answer inside it; ``None`` if there is none."""
        if self.refused:
            return self.error()
        for layer in layers:
            failure = error_object(layer)
            code = code_of(failure) if failure else code_text(layer.get("code"))
            if layer is self.outer or (not failure and (code is None or is_success(code))):
                continue
            message = first_text(failure.get("message"), layer.get("message"), layer.get("fail_reason"))
            return error_for(
                code,
                readable(message) or "",
                request_id=readable(first_text(layer.get("request_id")), at_most=MAX_WORD_LENGTH)
                or self.request_id,
                http_status=self.http_status,
            )
        return None


def _parse(http_status: int, content: bytes) -> Mapping[str, Any]:
    try:
        outer = json.loads(content)
    except (ValueError, RecursionError):
        outer = None
    if isinstance(outer, dict):
        return outer
    kind = "something other than a JSON object" if content.strip() else "an empty body"
    message = f"HTTP {http_status} with {kind} instead of an answer."
    if http_status in (413, 429):
        raise error_for(None, message, http_status=http_status)
    raise UnreadableReplyError(message, http_status=http_status)


def error_for(
    code: int | str | None, message: str, *, request_id: str | None = None, http_status: int | None = None
) -> ApiError:
    """Return the error of an answer: by its code, or by the HTTP status if the table does not have the code.

    HTTP 429 counts more than a code that only says that the server failed.
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
        kind = _BY_HTTP_STATUS.get(http_status or 0, ErrorKind.UNKNOWN)
    return kind.error_class(
        message,
        code=None if code is None else str(code),
        request_id=request_id,
        http_status=http_status,
        entry=entry,
    )


def looks_like_failure(error: ApiError) -> bool:
    """Return whether a code without a row has the number of one that fails a render."""
    number = int(error.code) if error.code is not None and _NUMBER.fullmatch(error.code) else 0
    return error.entry is None and any(number in numbers for numbers in FAILURE_RANGES)


def is_success(code: str | None) -> bool:
    """Return whether a code means success, in the API's words or in those of a gateway."""
    return code is not None and code.lower() in _SUCCESS_CODES


def error_object(holder: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the value of ``Error`` or ``error`` if it is not empty. A text is taken as the message."""
    for key in ("Error", "error"):
        value = holder.get(key)
        if isinstance(value, str) and value.strip():
            return {"message": value}
        if any(as_object(value).values()):
            return as_object(value)
    return {}


def code_of(failure: Mapping[str, Any]) -> str | None:
    """Return the code of an error object: the first that the table has, else the first."""
    codes = [
        code for key in ("Code", "CodeN", "code", "type") if (code := code_text(failure.get(key))) is not None
    ]
    return next((code for code in codes if lookup(code) is not None), codes[0] if codes else None)


def code_text(value: Any) -> str | None:
    """Return a code as text of at most 80 characters, whole numbers without a point; ``None`` if it is empty."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return readable(str(value).strip()[:MAX_WORD_LENGTH])


def as_object(value: Any) -> Mapping[str, Any]:
    """Return a JSON object, or an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def opened(value: Any) -> Mapping[str, Any]:
    """Return a JSON object, also if it is the one element of a list or is written as text; else an empty one."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str) and value.lstrip()[:1] == "{":
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    return as_object(value)


def first_text(*values: Any) -> str | None:
    """Return the first value that is text or a whole number, as text."""
    for value in values:
        if isinstance(value, str) and value.strip():
            return _whole_characters(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
    return None


def first_id(*places: Any) -> str | None:
    """Return the first value that can be an id. Free text and 0 cannot."""
    texts = ((first_text(place) or "").strip() for place in places)
    return next((text for text in texts if _ID.fullmatch(text) and text != "0"), None)


def readable(message: str | None, *, at_most: int = MAX_MESSAGE_LENGTH) -> str | None:
    """Return a message for logs: shortened, and with links whose signatures are cut."""
    if message is None:
        return None
    if len(message) <= MAX_WORD_LENGTH and _PLAIN_WORD.fullmatch(message):
        return message
    text = without_queries(message)
    return text if len(text) <= at_most else text[:at_most] + "…"


def _whole_characters(text: str) -> str:
    """Return a text that can be written as UTF-8. JSON can contain halves of characters."""
    return text.encode("utf-8", "replace").decode()


# --- the link of the video ---------------------------------------------------------------------------------------------

VIDEO_KEYS = ("video_url", "result_url", "video_urls")
"""Keys that contain the link of the video and nothing else, best first. The API's own is the first."""
_REASON_KEY = "fail_reason"
"""Old gateways put the link here. Otherwise this is the reason for a failure."""
_OTHER_KEYS = (
    "url",
    "video",
    "videos",
    "download_url",
    "output",
    "result",
    "content",
    "metadata",
    "resp_data",
)
"""Keys that can contain the link too. They are read only if the render is done: before that they can lead elsewhere."""
_INNER_KEYS = (*VIDEO_KEYS, "url", "urls", "play_url", "download_url", "link", "video", "videos", "data")
_MAX_LINK_DEPTH = 4
_MAX_ELEMENTS = 20
_MAX_LINK_LENGTH = 16_384
_AROUND = " \t\r\n\v\f\xa0\u200b\u200c\u200d\u2060\u3000\ufeff\"'`<>"
"""Characters that can surround a link: white space, characters without width, quotes and angle brackets."""
_IGNORED = str.maketrans("", "", "\t\r\n")
"""Browsers ignore these inside a link."""
_NEXT_LINK = re.compile(r"[\s,]{1,10}https?://", re.IGNORECASE)
_WITHIN = re.compile(r"https?://[^\s\"'`<>\\)\]}]+", re.IGNORECASE)
_AMPERSAND = re.compile(r"&amp;|&#0{0,9}38;|&#x0{0,9}26;|\\u0026", re.IGNORECASE)
_HOST = re.compile(r"(?:[\w-]{1,63}\.){1,10}[a-z]{2,24}(?::\d{1,5})?/", re.IGNORECASE)
_PATH = re.compile(
    r"(?:\.{0,2}/[^/\s]|[\w.~%-]{2,200}/|[\w.~%-]{1,200}\.mp4(?=$|\?))[^\s\"'<>]*", re.IGNORECASE
)


def video_link(layers: Iterable[Mapping[str, Any]], endpoint: str) -> str | None:
    """Return the link of the video from the objects that describe a render, by the keys that mean nothing else.

    :param endpoint: a link without a host belongs to this URL.
    """
    outer = list(layers)
    objects = [*outer, *(opened(layer["resp_data"]) for layer in outer if "resp_data" in layer)]
    link = _first((each.get(key) for key in VIDEO_KEYS for each in objects), endpoint)
    return link or _first_absolute(each.get(_REASON_KEY) for each in outer)


def any_link(layers: Iterable[Mapping[str, Any]], endpoint: str) -> str | None:
    """Return the link of a render that is done, from the keys that :func:`video_link` does not read."""
    objects = list(layers)
    return _first((each.get(key) for key in _OTHER_KEYS for each in objects), endpoint)


def _first(values: Iterable[Any], endpoint: str, depth: int = 0) -> str | None:
    links = (_link_in(value, endpoint, depth) for value in values)
    return next((link for link in links if link is not None), None)


def _first_absolute(values: Iterable[Any]) -> str | None:
    texts = (_plain(value) for value in values if isinstance(value, str))
    return next((text for text in texts if _is_absolute(text)), None)


def _link_in(value: Any, endpoint: str, depth: int) -> str | None:
    """Return the link in a text, a list or an object. A list or an object can be written as JSON text."""
    if isinstance(value, str):
        inner = _json_in(value)
        if inner is None:
            return _written_link(value, endpoint)
        value = inner
    if depth == _MAX_LINK_DEPTH:
        return None
    if isinstance(value, list):
        return _first(value[:_MAX_ELEMENTS], endpoint, depth + 1)
    if isinstance(value, dict):
        return _first((value.get(key) for key in _INNER_KEYS), endpoint, depth + 1)
    return None


def _json_in(text: str) -> Any:
    """Return the list or the object that a text writes as JSON, else ``None``."""
    if text.lstrip()[:1] not in ("[", "{"):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _written_link(written: str, endpoint: str) -> str | None:
    """Return a text as an absolute link, if it is one: whole, without its scheme, or relative to the endpoint."""
    text = _plain(written)
    if not text or len(text) > _MAX_LINK_LENGTH:
        return None
    if _is_absolute(text):
        return text
    if text.startswith("//"):
        return f"{urlsplit(endpoint).scheme or 'https'}:{text}" if text.strip("/") else None
    if not text.startswith(("/", ".")):
        if within := _WITHIN.search(text):
            return within[0]
        if _HOST.match(text):
            return f"https://{text}"
    return urljoin(endpoint, text) if endpoint and _PATH.fullmatch(text) else None


def _is_absolute(text: str) -> bool:
    return text.lower().startswith(("http://", "https://"))


def _plain(written: str) -> str:
    """Return a text without the characters that can surround a link, and with plain ampersands."""
    text = written.strip(_AROUND)[: _MAX_LINK_LENGTH + 1]
    first = _NEXT_LINK.split(text)[0] if _is_absolute(text) else text
    return _AMPERSAND.sub("&", first.translate(_IGNORED))
