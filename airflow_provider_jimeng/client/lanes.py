"""A transport for event loops whose bookkeeping does not grow with the number of its connections.

httpx's own pool looks at every connection, several times and some of it for every other connection, whenever a
request starts or ends: with 24 connections that is more work than the request itself. Here a request takes the
connection that was used last, a lane, and gives it back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable


class LaneTransport(httpx.AsyncBaseTransport):
    """Sends each request over an idle lane, or over a new one; its callers limit how many there will be.

    :param build_lane: builds a lane, which answers one request at a time and reads each reply whole.
    """

    def __init__(self, build_lane: Callable[[], httpx.AsyncBaseTransport]) -> None:
        self._build_lane = build_lane
        self._lanes = [build_lane()]
        self._idle = list(self._lanes)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and read its reply, still encoded."""
        lane = self._idle.pop() if self._idle else self._add()
        try:
            return await lane.handle_async_request(request)
        finally:
            self._idle.append(lane)

    async def aclose(self) -> None:
        """Close the connections."""
        for lane in self._lanes:
            await lane.aclose()

    def _add(self) -> httpx.AsyncBaseTransport:
        lane = self._build_lane()
        self._lanes.append(lane)
        return lane
