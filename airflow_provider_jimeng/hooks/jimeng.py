# SPDX-License-Identifier: Apache-2.0
"""The hook: the Jimeng API behind an Airflow connection, for operators, triggers and scripts."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_jimeng.core.arguments import read_seconds
from airflow_provider_jimeng.core.catalogue import MODELS, RETENTION_SECONDS
from airflow_provider_jimeng.core.errors import (
    ApiError,
    ConcurrencyLimitedError,
    JimengError,
    LostContactError,
    MissingConnectionError,
    NoLinkError,
    ParameterError,
    RateLimitedError,
    RenderNotFoundError,
    ServerError,
    TransportError,
    UnknownCodeError,
)
from airflow_provider_jimeng.core.limits import spread
from airflow_provider_jimeng.core.messages import wait_error
from airflow_provider_jimeng.core.outcomes import Outcome
from airflow_provider_jimeng.core.parameters import check_aigc_meta
from airflow_provider_jimeng.core.polling import (
    CONFIRMATIONS,
    LINK_FIELD,
    NOT_FOUND_SPAN,
    REFUSED_SPAN,
    WAITING_CANNOT_HELP,
)
from airflow_provider_jimeng.core.render import (
    Render,
    RenderManifest,
    RenderStatus,
    deadline_for,
    format_money,
)
from airflow_provider_jimeng.hooks.base import JimengSubmittingHook, read_settings
from airflow_provider_jimeng.hooks.connection_form import field_behaviour, form_widgets
from airflow_provider_jimeng.hooks.render_argument import FinishedRender, RenderOrId
from airflow_provider_jimeng.hooks.waiting import apoll, poll, poller_for
from airflow_provider_jimeng.storage.download import Link
from airflow_provider_jimeng.storage.landing import land
from airflow_provider_jimeng.storage.output import OutputPath, check_names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from os import PathLike

    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_jimeng.client.settings import ClientSettings
    from airflow_provider_jimeng.core.polling import Poller
    from airflow_provider_jimeng.core.render import RenderEvent
    from airflow_provider_jimeng.core.wire import CancelReply, QueryReply

__all__ = ["FinishedRender", "JimengHook", "RenderOrId"]

log = logging.getLogger(__name__)

DEFAULT_WAIT_TIMEOUT = 21600.0
_GONE = frozenset({RenderStatus.NOT_FOUND, RenderStatus.EXPIRED})
_PASSES = (RateLimitedError, ConcurrencyLimitedError, ServerError, UnknownCodeError, TransportError)
_PAUSES = (2.0, 5.0, 10.0, 20.0, 30.0)
"""Seconds between the attempts to get a link."""


class JimengHook(JimengSubmittingHook):
    """Calls the Jimeng API through an Airflow connection of type ``jimeng``; its constructor does no I/O.

    Each method has an asynchronous twin for event loops. In a ``with`` (or ``async with``) block all calls share one
    client. Every call raises ``SettingsError`` for an unusable connection, ``ParameterError`` for a bad argument before
    anything is sent, an ``ApiError`` by the code of the reply, and ``TransportError``.

    :param jimeng_conn_id: the connection; when it is read, Airflow masks its secrets in the logs.
    """

    # Airflow 3.1 and older look for these two in the class itself, not in its bases.
    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form fields for Airflow 3.1 and older; newer ones read ``provider_info``."""
        return form_widgets()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return labels and placeholders for Airflow 3.1 and older; newer ones read ``provider_info``."""
        return field_behaviour()

    # ----------------------------------------------------------------------------------------- query, wait, save, cancel
    def query(
        self,
        render_or_id: RenderOrId,
        model: str | None = None,
        *,
        aigc_meta: Mapping[str, str] | None = None,
    ) -> QueryReply:
        """Ask the API for the state of a render, and return its answer.

        :param render_or_id: a render, its payload, or its ``task_id``. For an id that this hook did not submit, give
            ``model`` too.
        :param aigc_meta: the implicit label; default: the label of the connection.
        """
        settings = self.settings
        render = self._render_of(render_or_id, model, settings)
        label = check_aigc_meta(aigc_meta) if aigc_meta else settings.aigc_meta
        with self._open_client() as client:
            return client.query(render.req_key, render.task_id, aigc_meta=label)

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
        links = RenderLinks.of(
            self, render, aigc_meta=aigc_meta, require_tagged=require_tagged, sleep=self._sleep
        )
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


def ask_for(hook: JimengHook, render: Render, *, aigc_meta: Mapping[str, str] | None = None) -> QueryReply:
    """Ask what became of a render that is paid for."""
    read_settings(hook)
    return hook.query(render, aigc_meta=aigc_meta)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderLinks:
    """Fresh links to a finished render. Each comes from a query of its own, made when the link is needed.

    :param label: the implicit AIGC label to ask for, ``None`` for the connection's.
    """

    hook: JimengHook
    render: Render
    settings: ClientSettings
    label: Mapping[str, str] | None = None
    sleep: Callable[[float], None] = time.sleep

    @classmethod
    def of(
        cls,
        hook: JimengHook,
        render: Render,
        *,
        aigc_meta: Mapping[str, str] | None = None,
        require_tagged: bool = False,
        sleep: Callable[[float], None] = time.sleep,
    ) -> RenderLinks:
        """Return the links of a render.

        :raises ParameterError: ``require_tagged`` is set, and there is no label.
        """
        label = check_aigc_meta(aigc_meta) if aigc_meta else None
        settings = read_settings(hook)
        if require_tagged and not (label or settings.aigc_meta):
            raise ParameterError("require_tagged", "needs aigc_meta, here or in the connection's extra.")
        return cls(hook=hook, render=render, settings=settings, label=label, sleep=sleep)

    def fetch(self) -> Link:
        """Ask for a fresh link, again after a temporary failure; believe "gone" or "refused" when it is repeated.

        Many renders can be done, and ask, at the same moment: a throttled one must not fail.
        """
        render = self.render
        gone = refused = 0
        for pause in (*_PAUSES, None):
            try:
                reply = ask_for(self.hook, render, aigc_meta=self.label)
            except WAITING_CANNOT_HELP as error:
                refused += 1
                if isinstance(error, ApiError) and error.entry is not None and error.entry.fails_render:
                    raise  # of the render, not of our access
                if refused == CONFIRMATIONS or pause is None:
                    raise LostContactError(
                        f"No link to the render {render.task_id} can be had: {error}"
                    ) from error
                log.info("No link to the render %s, asking again to be sure: %s", render.task_id, error)
                self.hook.renew()
                self.sleep(REFUSED_SPAN / (CONFIRMATIONS - 1))
                continue
            except _PASSES as error:
                if pause is None:
                    said = error.said if isinstance(error, ApiError) else error
                    raise NoLinkError(
                        f"No link to the render {render.task_id} could be had: {said}"
                    ) from error
                log.info("No link to the render %s yet, asking again: %s", render.task_id, error)
                self.sleep(spread(pause, random.random()))
                continue
            if reply.video_url is not None and reply.status is RenderStatus.DONE:
                return Link(
                    url=reply.video_url, request_id=reply.request_id, aigc_meta_tagged=reply.aigc_meta_tagged
                )
            gone += reply.status in _GONE
            if gone == CONFIRMATIONS:
                raise _not_kept(render, reply)
            if pause is None or reply.status not in (*_GONE, RenderStatus.DONE, RenderStatus.UNKNOWN):
                empty = f", nothing in {LINK_FIELD}" if reply.status is RenderStatus.DONE else ""
                raise NoLinkError(
                    f"Render {render.task_id} has no link yet (status {reply.status_word!r}{empty}). "
                    "A retry asks again, free."
                )
            self.sleep(self._pause_when_gone() if gone else spread(pause, random.random()))
        raise AssertionError  # the last round returns or raises

    def _pause_when_gone(self) -> float:
        """Return the seconds until "gone" is confirmed: none if the API need not keep the render any more."""
        kept = time.time() - self.render.submitted_at.timestamp() < RETENTION_SECONDS
        return NOT_FOUND_SPAN / (CONFIRMATIONS - 1) if kept else 0.0


def _not_kept(render: Render, reply: QueryReply) -> RenderNotFoundError:
    return RenderNotFoundError(
        f"Render {render.task_id} cannot be landed: the API no longer keeps it ({reply.status_word}), as it does "
        'for 12 hours only. It might have been billed. To pay for a new one, set on_lost="resubmit" and clear the '
        "task that submitted it."
    )
