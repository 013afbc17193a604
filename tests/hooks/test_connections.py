# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jimeng.core.errors import MissingConnectionError, SettingsError
from airflow_provider_jimeng.hooks import connection_cache
from airflow_provider_jimeng.hooks.connection_cache import Known, look_up, shared_client

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from airflow_provider_jimeng.emulator import JimengEmulator

KEY = "jimeng_t2v_v30"


@pytest.fixture
def emulator() -> Iterator[JimengEmulator]:
    from airflow_provider_jimeng.emulator import JimengEmulator

    emulator = JimengEmulator(session_token="STS")
    with emulator.serve():
        yield emulator


@pytest.fixture
def connect(emulator: JimengEmulator, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a connection into the environment, as a DAG author does."""

    def put(**changes: Any) -> None:
        connection = {**json.loads(emulator.connection_json()), **changes}
        monkeypatch.setenv("AIRFLOW_CONN_JIMENG_X", json.dumps(connection))

    put()
    return put


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


def test_a_connection_is_read_once_for_all_who_ask(connect: Any) -> None:
    async def story() -> None:
        first, second = await asyncio.gather(look_up("jimeng_x"), look_up("jimeng_x"))
        assert first is second
        assert first.settings.session_token == "STS"
        connect(login="AKCHANGED")
        assert await look_up("jimeng_x") is first

    run(story())


def test_it_is_read_again_after_a_while(connect: Any) -> None:
    async def story() -> None:
        first = await look_up("jimeng_x")
        look_ups = connection_cache._LOOPS[asyncio.get_running_loop()]
        look_ups.known["jimeng_x"] = Known(
            settings=first.settings, auth=first.auth, read_at=first.read_at - connection_cache.KEEP_SECONDS
        )
        connect(login="AKCHANGED")
        assert (await look_up("jimeng_x")).settings.access_key == "AKCHANGED"

    run(story())


def test_refused_credentials_are_read_again_once_for_all_who_were_refused(connect: Any) -> None:
    async def story() -> None:
        refused = await look_up("jimeng_x")
        connect(login="AKCHANGED")
        renewed = await look_up("jimeng_x", refused=refused)
        assert renewed.settings.access_key == "AKCHANGED"
        connect(login="AKAGAIN")
        assert await look_up("jimeng_x", refused=refused) is renewed

    run(story())


def test_one_waiter_that_is_cancelled_does_not_take_the_flight_from_the_others(connect: Any) -> None:
    async def story() -> None:
        impatient, patient = (asyncio.create_task(look_up("jimeng_x")) for _ in range(2))
        await asyncio.sleep(0)
        impatient.cancel()
        assert (await patient).settings.access_key
        assert impatient.cancelled()

    run(story())


def test_a_missing_connection_and_an_unusable_one_are_told_and_asked_for_anew(connect: Any) -> None:
    async def story() -> None:
        with pytest.raises(MissingConnectionError, match="airflow connections add jimeng_missing"):
            await look_up("jimeng_missing")
        connect(conn_type="http")
        with pytest.raises(SettingsError, match="'jimeng_x': its type is 'http'"):
            await look_up("jimeng_x")
        connect(login=None)
        with pytest.raises(SettingsError, match="'jimeng_x': login"):
            await look_up("jimeng_x")
        connect()
        assert (await look_up("jimeng_x")).settings.access_key

    run(story())


def test_all_triggers_share_client_and_clock_of_a_connection(connect: Any) -> None:
    async def story() -> None:
        async with shared_client("jimeng_x") as first, shared_client("jimeng_x") as second:
            assert first.client.auth is second.client.auth
            assert first.client._connections is second.client._connections
            assert (await second.client.query(KEY, "7")).status_word == "not_found"

    run(story())


def test_a_lease_changes_clients_when_the_connection_changed(connect: Any) -> None:
    from airflow_provider_jimeng.core.errors import AuthenticationError

    async def story() -> None:
        connect(password="SKWRONG")
        async with shared_client("jimeng_x") as lease:
            with pytest.raises(AuthenticationError):
                await lease.client.query(KEY, "7")
            connect()
            await lease.renew()
            assert (await lease.client.query(KEY, "7")).status_word == "not_found"

    run(story())


def test_a_lease_keeps_its_client_when_the_connection_cannot_be_read(connect: Any) -> None:
    async def story() -> None:
        async with shared_client("jimeng_x") as lease:
            connect(login=None)
            with pytest.raises(SettingsError):
                await lease.renew()
            assert (await lease.client.query(KEY, "7")).status_word == "not_found"

    run(story())


def test_a_lease_that_another_renewed_takes_over_what_that_one_read(connect: Any) -> None:
    async def story() -> None:
        async with shared_client("jimeng_x") as first, shared_client("jimeng_x") as second:
            await first.renew()
            await second.renew()
            assert first.client.auth is second.client.auth

    run(story())


def test_nothing_secret_shows_in_a_repr(connect: Any) -> None:
    async def story() -> None:
        known = await look_up("jimeng_x")
        assert known.settings.secret_key not in repr(known)
        assert "STS" not in repr(known)

    run(story())
