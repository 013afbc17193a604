# SPDX-License-Identifier: Apache-2.0
"""The hook: the Jimeng API behind an Airflow connection, for operators, triggers and scripts."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_jimeng.core.arguments import read_seconds
from airflow_provider_jimeng.core.catalogue import MODELS
from airflow_provider_jimeng.core.errors import (
    JimengError,
    MissingConnectionError,
    ParameterError,
)
from airflow_provider_jimeng.core.messages import wait_error
from airflow_provider_jimeng.core.outcomes import Outcome
from airflow_provider_jimeng.core.parameters import RenderRequest, check_aigc_meta
from airflow_provider_jimeng.core.render import (
    Render,
    RenderManifest,
    deadline_for,
    format_money,
)
from airflow_provider_jimeng.hooks.base import JimengSubmittingHook, ask_for, links_to, without_none
from airflow_provider_jimeng.hooks.connection_cache import Lease, shared_client
from airflow_provider_jimeng.hooks.connection_form import field_behaviour, form_widgets
from airflow_provider_jimeng.hooks.render_argument import FinishedRender, RenderOrId
from airflow_provider_jimeng.hooks.waiting import apoll, poll, poller_for
from airflow_provider_jimeng.storage.landing import land
from airflow_provider_jimeng.storage.output import OutputPath, check_names

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from decimal import Decimal
    from os import PathLike
    from typing import Never

    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_jimeng.core.polling import Poller
    from airflow_provider_jimeng.core.render import RenderEvent
    from airflow_provider_jimeng.core.wire import CancelReply, QueryReply

__all__ = ["FinishedRender", "JimengHook", "RenderOrId"]

log = logging.getLogger(__name__)

DEFAULT_WAIT_TIMEOUT = 21600.0


class JimengHook(JimengSubmittingHook):
    """Calls the Jimeng API through an Airflow connection of type ``jimeng``; its constructor does no I/O.

    Each method has an asynchronous twin for event loops. In a ``with`` (or ``async with``) block all calls share one
    client. Every call raises ``SettingsError`` for an unusable connection, ``ParameterError`` for a bad argument before
    anything is sent, an ``ApiError`` by the code of the reply, and ``TransportError``.

    :param jimeng_conn_id: the connection; when it is read, Airflow masks its secrets in the logs.
    """

    _lease: Lease | None = None
    _leases: AsyncExitStack

    async def __aenter__(self) -> Self:
        """Share one client among the asynchronous calls of the ``async with`` block."""
        self._leases = AsyncExitStack()
        self._lease = await self._leases.enter_async_context(shared_client(self.jimeng_conn_id))
        self._settings, self._auth = self._lease.client.settings, self._lease.client.auth
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._lease = None
        await self._leases.aclose()

    # Airflow 3.1 and older look for these two in the class itself, not in its bases.
    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form fields for Airflow 3.1 and older; newer ones read ``provider_info``."""
        return form_widgets()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return labels and placeholders for Airflow 3.1 and older; newer ones read ``provider_info``."""
        return field_behaviour()

    # ----------------------------------------------------------------------------------------------------- submit
    def submit_text_to_video(
        self,
        *,
        prompt: str,
        duration: int | str | None = None,
        model: str | None = None,
        aspect_ratio: str | None = None,
        seed: int | str | None = None,
        take: int | str | None = None,
        extra_body: Mapping[str, Any] | None = None,
        max_cost_cny: float | Decimal | str | None = None,
        **unknown: Never,
    ) -> Render:
        """Submit a video from a text; see :meth:`submit`."""
        return self.submit(
            prompt=prompt,
            duration=duration,
            model=model,
            aspect_ratio=aspect_ratio,
            seed=seed,
            take=take,
            extra_body=extra_body,
            max_cost_cny=max_cost_cny,
            **unknown,
        )

    def submit_image_to_video(
        self,
        *,
        image_url: str | None = None,
        first_frame: str | PathLike[str] | None = None,
        last_frame: str | PathLike[str] | None = None,
        prompt: str | None = None,
        duration: int | str | None = None,
        model: str | None = None,
        aspect_ratio: str | None = None,
        seed: int | str | None = None,
        camera_template: str | None = None,
        camera_strength: str | None = None,
        take: int | str | None = None,
        extra_body: Mapping[str, Any] | None = None,
        max_cost_cny: float | Decimal | str | None = None,
        **unknown: Never,
    ) -> Render:
        """Submit a video from an image, or from a first and a last one; see :meth:`submit`.

        ``image_url`` and ``first_frame`` are two names of the same argument.
        """
        if image_url and first_frame and image_url != first_frame:
            raise ParameterError("image_url", "is another name of first_frame; give one of them.")
        return self.submit(
            prompt=prompt,
            duration=duration,
            model=model or ("i2v_first_tail_720p" if last_frame else "i2v_first_720p"),
            first_frame=first_frame or image_url,
            last_frame=last_frame,
            aspect_ratio=aspect_ratio,
            seed=seed,
            camera_template=camera_template,
            camera_strength=camera_strength,
            take=take,
            extra_body=extra_body,
            max_cost_cny=max_cost_cny,
            **unknown,
        )

    async def asubmit(
        self,
        request: RenderRequest | None = None,
        *,
        prompt: str | None = None,
        model: str | None = None,
        duration: int | str | None = None,
        aspect_ratio: str | None = None,
        seed: int | str | None = None,
        first_frame: str | PathLike[str] | None = None,
        last_frame: str | PathLike[str] | None = None,
        camera_template: str | None = None,
        camera_strength: str | None = None,
        take: int | str | None = None,
        extra_body: Mapping[str, Any] | None = None,
        max_cost_cny: float | Decimal | str | None = None,
        **unknown: Never,
    ) -> Render:
        """Submit a render from an event loop; see :meth:`submit`."""
        described = without_none(
            prompt=prompt,
            model=model,
            duration=duration,
            aspect_ratio=aspect_ratio,
            seed=seed,
            first_frame=first_frame,
            last_frame=last_frame,
            camera_template=camera_template,
            camera_strength=camera_strength,
            take=take,
            extra_body=extra_body,
            **unknown,
        )
        async with self._open_lease() as lease:
            settings = lease.client.settings
            ready = await asyncio.to_thread(self._ready, request, settings, described, max_cost_cny)
            reply = await lease.client.submit(ready, on_sent=self._sent.set)
        return self._accepted(ready, reply.task_id)

    # ---------------------------------------------------------------------------------------------- query, wait, save, cancel
    async def aquery(
        self,
        render_or_id: RenderOrId,
        model: str | None = None,
        *,
        aigc_meta: Mapping[str, str] | None = None,
    ) -> QueryReply:
        """Ask the API for the state of a render from an event loop; see :meth:`query`."""
        async with self._open_lease() as lease:
            settings = lease.client.settings
            render = self._render_of(render_or_id, model, settings)
            label = check_aigc_meta(aigc_meta) if aigc_meta else settings.aigc_meta
            return await lease.client.query(render.req_key, render.task_id, aigc_meta=label)

    def wait_for_completion(
        self,
        render_or_id: RenderOrId,
        model: str | None = None,
        *,
        wait_timeout: float | None = None,
        timeout: float | None = None,
        poll_interval: float | None = None,
    ) -> FinishedRender:
        """Poll until a render is done and return it with its link.

        :param wait_timeout: seconds to wait at most, 21600 by default; ``timeout`` is another name for it.
        :param poll_interval: seconds between two polls; by default they depend on the age of the render.
        :raises RenderError: the render failed, expired, is not found, has no link, or did not finish in time.
        """
        render = self._render_of(render_or_id, model, self.settings)
        poller = self._poller(render, wait_timeout, timeout, poll_interval)
        event, reply = poll(
            lambda: ask_for(self, render), poller, log, renew=self.renew, now=self._now, sleep=self._sleep
        )
        return _finished(render, event, reply)

    async def await_for_completion(
        self,
        render_or_id: RenderOrId,
        model: str | None = None,
        *,
        wait_timeout: float | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - as in its twin
        poll_interval: float | None = None,
    ) -> FinishedRender:
        """Poll from an event loop until a render is done; see :meth:`wait_for_completion`."""
        async with self._open_lease() as lease:
            render = self._render_of(render_or_id, model, lease.client.settings)
            poller = self._poller(render, wait_timeout, timeout, poll_interval)
            event, reply = await apoll(
                lambda: lease.client.query(
                    render.req_key, render.task_id, aigc_meta=lease.client.settings.aigc_meta
                ),
                poller,
                log,
                renew=lease.renew,
                now=self._now,
            )
        return _finished(render, event, reply)

    def download(
        self,
        render_or_id: RenderOrId,
        output_path: str | PathLike[str] | ObjectStoragePath,
        model: str | None = None,
        *,
        output_conn_id: str | None = None,
        overwrite: bool = False,
        aigc_meta: Mapping[str, str] | None = None,
        require_tagged: bool = False,
    ) -> RenderManifest:
        """Download the video of a finished render with a fresh link, and save it. A repetition costs nothing.

        :param output_path: a directory URI that ends in ``/``, or a full file name; a path object is a file if it ends
            in ``.mp4``, else a directory.
        :param overwrite: replace a file that holds the video of another request.
        :param require_tagged: save nothing unless the API wrote the implicit AIGC label.
        :raises LandingError: or one of its kin; there is no new file under the final name then.
        """
        target = OutputPath.of(output_path, output_conn_id)
        check_names(target)
        render = self._render_of(render_or_id, model, self.settings)
        links = links_to(self, render, aigc_meta=aigc_meta, require_tagged=require_tagged)
        return land(
            render,
            links,
            target=target,
            overwrite=overwrite,
            require_tagged=require_tagged,
            sleep=self._sleep,
        )

    async def adownload(
        self,
        render_or_id: RenderOrId,
        output_path: str | PathLike[str] | ObjectStoragePath,
        model: str | None = None,
        *,
        output_conn_id: str | None = None,
        overwrite: bool = False,
        aigc_meta: Mapping[str, str] | None = None,
        require_tagged: bool = False,
    ) -> RenderManifest:
        """Download and save the video of a finished render in a thread, because stores are synchronous; see :meth:`download`."""
        return await asyncio.to_thread(
            self.download,
            render_or_id,
            output_path,
            model,
            output_conn_id=output_conn_id,
            overwrite=overwrite,
            aigc_meta=aigc_meta,
            require_tagged=require_tagged,
        )

    def cancel(self, render_or_id: RenderOrId, model: str | None = None) -> CancelReply:
        """Ask to cancel a render. The API cancels queued renders only and refuses others by an ``ApiError``."""
        render = self._render_of(render_or_id, model, self.settings)
        with self._open_client() as client:
            return client.cancel(render.req_key, render.task_id)

    async def acancel(self, render_or_id: RenderOrId, model: str | None = None) -> CancelReply:
        """Ask to cancel a render from an event loop; see :meth:`cancel`."""
        async with self._open_lease() as lease:
            render = self._render_of(render_or_id, model, lease.client.settings)
            return await lease.client.cancel(render.req_key, render.task_id)

    # ------------------------------------------------------------------------------------------------------ models
    def list_models(self) -> list[dict[str, Any]]:
        """Return the models of the catalogue, changed by the ``models`` and ``prices`` of the connection.

        Without a connection it returns the built-in catalogue, for readers who have no account yet.
        """
        try:
            catalogue = self.settings.catalogue
        except MissingConnectionError:
            catalogue = MODELS
        return [
            {**spec.to_payload(), "price_cny_per_second": format_money(spec.price_cny_per_second)}
            for spec in catalogue.values()
        ]

    # ------------------------------------------------------------------------------------------------------- inner
    @asynccontextmanager
    async def _open_lease(self) -> AsyncIterator[Lease]:
        if self._lease is not None:
            yield self._lease
            return
        async with shared_client(self.jimeng_conn_id) as lease:
            yield lease

    def _poller(
        self, render: Render, wait_timeout: float | None, timeout: float | None, poll_interval: float | None
    ) -> Poller:
        longest = DEFAULT_WAIT_TIMEOUT
        if wait_timeout is not None:
            longest = read_seconds("wait_timeout", wait_timeout)
        elif timeout is not None:
            longest = read_seconds("timeout", timeout)
        submitted_at = render.submitted_at.timestamp()
        return poller_for(
            render,
            deadline=deadline_for(now=self._now(), wait_timeout=longest, submitted_at=submitted_at),
            poll_interval=None if poll_interval is None else read_seconds("poll_interval", poll_interval),
        )


def _finished(render: Render, event: RenderEvent, reply: QueryReply | JimengError) -> FinishedRender:
    """Return a finished render with its link; raise the error of any other end."""
    if event.outcome is not Outcome.SUCCEEDED or isinstance(reply, JimengError) or reply.video_url is None:
        raise wait_error(event) from (reply if isinstance(reply, JimengError) else None)
    return FinishedRender(
        task_id=render.task_id,
        req_key=render.req_key,
        video_url=reply.video_url,
        aigc_meta_tagged=reply.aigc_meta_tagged,
        request_id=reply.request_id,
        render=render,
    )
