"""The API as methods: a sync and an async client that differ by ``await`` only.

Both raise the ``ApiError`` family by the code of the reply, ``NotSentError``, ``NoReplyError`` and
``UnreadableReplyError``; none of them repeats a request, apart from the one re-signing of ``VolcAuth``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Self
from urllib.parse import urljoin

from airflow_provider_jimeng.client.auth import auth_for
from airflow_provider_jimeng.client.channel import AsyncChannel, Channel
from airflow_provider_jimeng.core.wire import (
    CancelReply,
    QueryReply,
    SubmitReply,
    cancel_call,
    parse_cancel,
    parse_query,
    parse_submit,
    query_call,
    submit_call,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import httpx

    from airflow_provider_jimeng.client.settings import ClientSettings
    from airflow_provider_jimeng.core.parameters import RenderRequest


class JimengClient:
    """The client of workers and scripts; use it in a ``with`` block.

    ``auth`` may be shared between clients of one account, so that what it learnt of the clock is; ``transport``
    replaces the network.
    """

    def __init__(
        self,
        settings: ClientSettings,
        *,
        auth: httpx.Auth | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.settings = settings
        self.auth = auth or auth_for(settings)
        self._parse_submit = partial(parse_submit, bearer=settings.auth == "bearer")
        self._channel = Channel(settings, self.auth, transport)
        self._parse_query = _query_parser(settings)

    def __enter__(self) -> Self:
        self._channel.open()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._channel.close()

    def submit(self, request: RenderRequest, *, on_sent: Callable[[], None] | None = None) -> SubmitReply:
        """Ask for a render. This is the call that costs money.

        :param on_sent: called before the first byte of the request leaves.
        """
        return self._channel.exchange(submit_call(request), self._parse_submit, on_sent=on_sent)

    def query(self, req_key: str, task_id: str, *, aigc_meta: Mapping[str, str] | None = None) -> QueryReply:
        """Ask what became of a render; with ``aigc_meta``, the video behind the reply's link is labelled."""
        call = query_call(req_key=req_key, task_id=task_id, aigc_meta=aigc_meta)
        return self._channel.exchange(call, self._parse_query)

    def cancel(self, req_key: str, task_id: str) -> CancelReply:
        """Ask to cancel a render; the API cancels queued ones only."""
        return self._channel.exchange(cancel_call(req_key=req_key, task_id=task_id), parse_cancel)


def _query_parser(settings: ClientSettings) -> Callable[[int, bytes], QueryReply]:
    """Return the reader of queries: a gateway's relative links belong to its origin, others to the endpoint's URL."""
    base = urljoin(settings.endpoint, "/") if settings.auth == "bearer" else settings.endpoint
    return partial(parse_query, endpoint=base)


class AsyncJimengClient:
    """The client of triggers and async scripts; use it in an ``async with`` block.

    ``auth`` may be shared between clients of one account, so that what it learnt of the clock is; ``transport``
    replaces the network.
    """

    def __init__(
        self,
        settings: ClientSettings,
        *,
        auth: httpx.Auth | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.settings = settings
        self.auth = auth or auth_for(settings)
        self._parse_submit = partial(parse_submit, bearer=settings.auth == "bearer")
        self._channel = AsyncChannel(settings, self.auth, transport)
        self._parse_query = _query_parser(settings)

    async def __aenter__(self) -> Self:
        await self._channel.open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._channel.close()

    async def submit(
        self, request: RenderRequest, *, on_sent: Callable[[], None] | None = None
    ) -> SubmitReply:
        """Ask for a render. This is the call that costs money.

        :param on_sent: called before the first byte of the request leaves.
        """
        return await self._channel.exchange(submit_call(request), self._parse_submit, on_sent=on_sent)

    async def query(
        self, req_key: str, task_id: str, *, aigc_meta: Mapping[str, str] | None = None
    ) -> QueryReply:
        """Ask what became of a render; with ``aigc_meta``, the video behind the reply's link is labelled."""
        call = query_call(req_key=req_key, task_id=task_id, aigc_meta=aigc_meta)
        return await self._channel.exchange(call, self._parse_query)

    async def cancel(self, req_key: str, task_id: str) -> CancelReply:
        """Ask to cancel a render; the API cancels queued ones only."""
        return await self._channel.exchange(cancel_call(req_key=req_key, task_id=task_id), parse_cancel)
