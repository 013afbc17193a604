# SPDX-License-Identifier: Apache-2.0
"""Links: which one an answer gives to a video, however it is written, and which hosts only the own network can open."""

from __future__ import annotations

import ipaddress
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from airflow_provider_jimeng.core.envelope import opened
from airflow_provider_jimeng.core.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_jimeng.core.frames import Frame
    from airflow_provider_jimeng.core.parameters import RenderRequest


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
_MAX_DEPTH = 4
_MAX_ELEMENTS = 20
_MAX_LENGTH = 16_384
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
    if depth == _MAX_DEPTH:
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
    if not text or len(text) > _MAX_LENGTH:
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
    text = written.strip(_AROUND)[: _MAX_LENGTH + 1]
    first = _NEXT_LINK.split(text)[0] if _is_absolute(text) else text
    return _AMPERSAND.sub("&", first.translate(_IGNORED))


_PRIVATE_DOMAINS = (
    ".localhost",
    ".local",
    ".localdomain",
    ".internal",
    ".intranet",
    ".lan",
    ".corp",
    ".private",
    ".home",
    ".home.arpa",
    ".svc",
)
"""Domains that the public DNS does not have. Machines, routers, companies and clusters use them."""


def host_of(link: str) -> str:
    """Return the host of a link in lower case, without port, user and final dot; empty if it has none."""
    try:
        return (urlsplit(link).hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_private(link: str) -> bool:
    """Return whether the host of a link certainly is in the own network. No name is looked up."""
    host = host_of(link)
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        last_label = host.rpartition(".")[2]
        return "." not in host or host.endswith(_PRIVATE_DOMAINS) or _is_number(last_label)
    inner = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return not (inner or address).is_global or address.is_multicast


def check_links(request: RenderRequest, endpoint: str) -> None:
    """Refuse image links that an API in the public network cannot fetch.

    An endpoint in the own network, such as the emulator or a gateway, can perhaps reach them. Then there is only a warning.

    :raises ParameterError: there is such a link. The message names the host and the remedy.
    """
    if is_private(endpoint):
        return
    for argument, frame in (("first_frame", request.first_frame), ("last_frame", request.last_frame)):
        if frame is not None and frame.is_link and is_private(frame.reference):
            raise ParameterError(
                argument,
                f"{host_of(frame.reference)} is a host in your own network. The API fetches image links itself and cannot "
                "reach it. Give a link that is public, or the path of the image file.",
            )


def link_warnings(*frames: Frame | None) -> list[str]:
    """Return a warning for each image link that only the own network can open."""
    return [
        f"The API fetches image links itself. It can open those on {host_of(frame.reference)} only if it runs in your "
        "own network, as an emulator or a gateway can."
        for frame in frames
        if frame is not None and frame.is_link and is_private(frame.reference)
    ]


def _is_number(label: str) -> bool:
    """Return whether a host ends like an unusual spelling of an IPv4 address, such as 127.1 or 0x7f.1."""
    return label.isdecimal() or label.startswith("0x")
