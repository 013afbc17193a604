"""Fetches a small file from a link that its user trusts, such as a presigned one: no key of ours goes along.

The link may be a secret, so it stands in no log and no error.
"""

from __future__ import annotations

import time

import httpx

from airflow_provider_jimeng.client.transport import (
    CONNECT_TIMEOUT_SECONDS,
    USER_AGENT,
    OwnRequest,
    translated,
)
from airflow_provider_jimeng.core.errors import NoReplyError
from airflow_provider_jimeng.core.links import host_of

TIMEOUT_SECONDS = 30.0
LONGEST_SECONDS = 300.0
"""How long the whole file may take."""


def fetch_file(link: str, max_bytes: int) -> tuple[int, bytes]:
    """Return the HTTP status and the content behind a link, at most one byte more than ``max_bytes``.

    Redirects are followed. Of a status other than 2xx the content is not read.

    :raises NotSentError: the host cannot be reached.
    :raises NoReplyError: no complete reply came in time.
    """
    until = time.monotonic() + LONGEST_SECONDS
    content = bytearray()
    headers = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}
    timeout = httpx.Timeout(TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS)
    try:
        with (
            OwnRequest(),
            httpx.Client(headers=headers, timeout=timeout, follow_redirects=True, max_redirects=5) as client,
            client.stream("GET", link) as response,
        ):
            if response.is_success:
                for chunk in response.iter_bytes():
                    content += chunk
                    if time.monotonic() > until:
                        raise NoReplyError(
                            f"The file on {host_of(link)} did not arrive in {LONGEST_SECONDS:.0f} s."
                        )
                    if len(content) > max_bytes:
                        break
            return response.status_code, bytes(content[: max_bytes + 1])
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        failed = translated(error, host_of(link))
    raise failed
