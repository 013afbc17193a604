from __future__ import annotations

import asyncio

import httpx
import pytest

from airflow_provider_jimeng.client.lanes import LaneTransport

URL = "http://api.example.com/"


class Lane(httpx.AsyncBaseTransport):
    """One connection: it complains when two requests use it at once."""

    made: list[Lane]

    def __init__(self) -> None:
        self.busy = self.cut = self.closed = False
        self.requests = 0
        self.made.append(self)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert not self.busy
        self.requests += 1
        self.busy = True
        try:
            await asyncio.sleep(0.02)
            if self.cut:
                raise httpx.ReadError("cut")
            return httpx.Response(200, content=b"ab")
        finally:
            self.busy = False

    async def aclose(self) -> None:
        self.closed = True


@pytest.fixture
def lanes() -> list[Lane]:
    Lane.made = []
    return Lane.made


def test_requests_that_follow_each_other_share_a_lane(lanes: list[Lane]) -> None:
    async def story() -> None:
        async with httpx.AsyncClient(transport=LaneTransport(Lane)) as client:
            for _ in range(3):
                assert (await client.get(URL)).content == b"ab"

    asyncio.run(story())
    assert [lane.requests for lane in lanes] == [3]
    assert lanes[0].closed


def test_requests_at_once_have_a_lane_each_and_the_one_used_last_goes_on(lanes: list[Lane]) -> None:
    async def story() -> None:
        async with httpx.AsyncClient(transport=LaneTransport(Lane)) as client:
            await asyncio.gather(*(client.get(URL) for _ in range(3)))
            for _ in range(5):
                await client.get(URL)

    asyncio.run(story())
    assert sorted(lane.requests for lane in lanes) == [1, 1, 6]
    assert all(lane.closed for lane in lanes)


def test_a_lane_that_failed_or_was_left_is_used_again(lanes: list[Lane]) -> None:
    async def story() -> None:
        async with httpx.AsyncClient(transport=LaneTransport(Lane)) as client:
            lanes[0].cut = True
            with pytest.raises(httpx.ReadError):
                await client.get(URL)
            lanes[0].cut = False
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.get(URL), 0.005)
            assert (await client.get(URL)).content == b"ab"

    asyncio.run(story())
    assert [lane.requests for lane in lanes] == [3]
