# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from airflow_provider_jimeng.client import async_client
from airflow_provider_jimeng.client.async_client import MAX_POLLS_IN_FLIGHT, AsyncJimengClient, RateLimiter
from airflow_provider_jimeng.client.settings import ClientSettings
from airflow_provider_jimeng.core.errors import RateLimitedError

if TYPE_CHECKING:
    from collections.abc import Coroutine

KEY = "jimeng_t2v_v30"
GENERATING = {"code": 10000, "data": {"status": "generating"}, "request_id": "r"}


class Api(httpx.AsyncBaseTransport):
    """Answers after a while, counts what is under way, and can be closed."""

    def __init__(self, *, seconds: float = 0.01, busy: int = 0) -> None:
        self.seconds = seconds
        self.busy = busy
        self.under_way: dict[str, int] = {}
        self.most_under_way: dict[str, int] = {}
        self.requests = 0
        self.closed = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        action = request.url.params["Action"]
        self.requests += 1
        self.under_way[action] = self.under_way.get(action, 0) + 1
        self.most_under_way[action] = max(self.most_under_way.get(action, 0), self.under_way[action])
        await asyncio.sleep(self.seconds)
        self.under_way[action] -= 1
        if self.busy:
            self.busy -= 1
            return httpx.Response(429, json={"code": 50429, "message": "limit", "data": None})
        return httpx.Response(200, json=GENERATING)

    async def aclose(self) -> None:
        self.closed += 1


def settings(**changes: Any) -> ClientSettings:
    return ClientSettings(
        **{"access_key": "AK", "secret_key": "SK", "max_requests_per_second": 10_000.0, **changes}
    )


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


def connections() -> int:
    loop = asyncio.get_running_loop()
    return len(async_client._LOOPS[loop].connections) if loop in async_client._LOOPS else 0


def test_all_clients_of_a_loop_share_one_http_client_and_the_last_one_closes_it() -> None:
    async def story() -> None:
        api = Api()
        first, second = (AsyncJimengClient(settings(), transport=api) for _ in range(2))
        async with first:
            async with second:
                assert first._connections is second._connections
                assert connections() == 1
                await second.query(KEY, "7")
            assert api.closed == 0
            await first.query(KEY, "7")
        assert api.closed == 1
        assert connections() == 0

    run(story())


@pytest.mark.parametrize(
    "change",
    [
        {"endpoint": "https://gw.example.com/"},
        {"verify": False},
        {"timeout_seconds": 5.0},
        {"proxy": "http://proxy.example.com:3128"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_changes_the_connections_is_not_shared(change: dict[str, Any]) -> None:
    async def story() -> None:
        async with AsyncJimengClient(settings()), AsyncJimengClient(settings(**change)):
            assert connections() == 2

    run(story())


def test_two_accounts_share_the_connections_but_not_the_pace() -> None:
    async def story() -> None:
        first, second = AsyncJimengClient(settings()), AsyncJimengClient(settings(access_key="AK2"))
        async with first, second:
            assert first._connections is second._connections
            assert first._pace is not second._pace

    run(story())


def test_one_account_has_one_pace_whatever_its_connections_say_and_the_latest_ceiling_holds() -> None:
    async def story() -> None:
        first, second = (AsyncJimengClient(settings(max_requests_per_second=rate)) for rate in (5.0, 2.0))
        async with first, second:
            assert first._pace is second._pace
            assert first._pace is not None
            assert first._pace._limiter.rate == 2.0

    run(story())


def test_each_loop_has_its_own_and_nothing_is_left_behind() -> None:
    seen = []

    async def story() -> None:
        async with AsyncJimengClient(settings(), transport=Api()) as client:
            await client.query(KEY, "7")
            seen.append(weakref.ref(asyncio.get_running_loop()))

    run(story())
    run(story())
    gc.collect()
    assert [reference() for reference in seen] == [None, None]
    assert len(async_client._LOOPS) == 0


def test_a_client_closed_twice_leaves_once() -> None:
    async def story() -> None:
        api = Api()
        client = AsyncJimengClient(settings(), transport=api)
        async with AsyncJimengClient(settings(), transport=api):
            async with client:
                pass
            await client.__aexit__()
            assert api.closed == 0

    run(story())


def test_polls_queue_before_the_pool_and_submits_do_not_queue_behind_them() -> None:
    async def story() -> None:
        api = Api(seconds=0.05)
        async with AsyncJimengClient(settings(), transport=api) as client:
            polls = [asyncio.create_task(client.query(KEY, str(n))) for n in range(MAX_POLLS_IN_FLIGHT * 3)]
            await asyncio.sleep(0.01)
            await client.cancel(KEY, "7")
            assert sum(poll.done() for poll in polls) <= MAX_POLLS_IN_FLIGHT
            await asyncio.gather(*polls)
        assert api.most_under_way["CVSync2AsyncGetResult"] == MAX_POLLS_IN_FLIGHT

    run(story())


def test_requests_start_no_faster_than_the_rate() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        async with AsyncJimengClient(
            settings(max_requests_per_second=20.0), transport=Api(seconds=0)
        ) as client:
            started = loop.time()
            await asyncio.gather(*(client.query(KEY, str(n)) for n in range(9)))
            assert loop.time() - started >= 8 / (20.0 * 0.8) - 0.06

    run(story())


def test_a_refusal_for_the_rate_slows_all_clients_of_the_account_and_success_speeds_up_again() -> None:
    async def story() -> None:
        api = Api(busy=1)
        first, second = (AsyncJimengClient(settings(), transport=api) for _ in range(2))
        async with first, second:
            with pytest.raises(RateLimitedError):
                await first.query(KEY, "7")
            pace = second._pace
            assert pace is not None
            assert pace._limiter.rate == 5000.0
            await second.query(KEY, "7")
            assert pace._limiter.rate == 5200.0

    run(story())


def test_a_cancelled_waiter_gives_its_place_to_the_next() -> None:
    async def story() -> None:
        pace = async_client.Pace(RateLimiter(4.0))
        await pace.turn(is_routine=True)
        waiting = [asyncio.create_task(pace.turn(is_routine=True)) for _ in range(2)]
        await asyncio.sleep(0.01)
        waiting[0].cancel()
        await asyncio.wait_for(waiting[1], 2)
        assert waiting[0].cancelled()

    run(story())


def test_a_cancelled_query_frees_its_place() -> None:
    async def story() -> None:
        api = Api(seconds=30)
        async with AsyncJimengClient(settings(), transport=api) as client:
            stuck = [asyncio.create_task(client.query(KEY, str(n))) for n in range(MAX_POLLS_IN_FLIGHT)]
            await asyncio.sleep(0.02)
            for task in stuck:
                task.cancel()
            await asyncio.gather(*stuck, return_exceptions=True)
            api.seconds = 0.0
            assert (await asyncio.wait_for(client.query(KEY, "7"), 2)).status_word == "generating"

    run(story())


def test_no_secret_shows_in_a_repr() -> None:
    async def story() -> None:
        chosen = settings(secret_key="SKSECRET", proxy="http://user:pass@proxy.example.com:3128")
        async with AsyncJimengClient(chosen) as client:
            shown = f"{client!r} {client._connections!r}"
            assert "SKSECRET" not in shown
            assert "pass@" not in shown

    run(story())
