"""Which links only the own network can open. The API fetches image links itself, from the vendor's network."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow_provider_jimeng.core.errors import ParameterError

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.frames import Frame
    from airflow_provider_jimeng.core.parameters import RenderRequest

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
"""Domains that the public DNS does not have: of machines, routers, companies and clusters."""


def host_of(link: str) -> str:
    """Return the host of a link in lower case, without port, user and final dot; empty if it has none."""
    try:
        return (urlsplit(link).hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_private(link: str) -> bool:
    """Whether a link's host certainly means something in one's own network only. No name is looked up."""
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

    An endpoint in the own network, such as the emulator or a gateway, may reach them: then the request only warns.

    :raises ParameterError: naming the host and the remedy.
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
        "own network, as an emulator or a gateway may."
        for frame in frames
        if frame is not None and frame.is_link and is_private(frame.reference)
    ]


def _is_number(label: str) -> bool:
    """Whether a host ends as only unusual spellings of an IPv4 address do, such as 127.1 or 0x7f.1."""
    return label.isdecimal() or label.startswith("0x")
