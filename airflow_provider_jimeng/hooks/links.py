"""Links to the video of a finished render."""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_jimeng.client.media import MediaPolicy
from airflow_provider_jimeng.core.catalogue import RETENTION_SECONDS
from airflow_provider_jimeng.core.deadlines import spread
from airflow_provider_jimeng.core.errors import (
    ApiError,
    ConcurrencyLimitedError,
    LostContactError,
    NoLinkError,
    ParameterError,
    RateLimitedError,
    RenderNotFoundError,
    ServerError,
    TransportError,
    UnknownCodeError,
)
from airflow_provider_jimeng.core.parameters import check_aigc_meta
from airflow_provider_jimeng.core.polling import (
    CONFIRMATIONS,
    LINK_FIELD,
    NOT_FOUND_SPAN,
    REFUSED_SPAN,
    WAITING_CANNOT_HELP,
)
from airflow_provider_jimeng.core.render import RenderStatus
from airflow_provider_jimeng.hooks.waiting import ask_for, read_settings
from airflow_provider_jimeng.storage.download import Link

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_jimeng.core.render import Render
    from airflow_provider_jimeng.core.wire import QueryReply
    from airflow_provider_jimeng.hooks.jimeng import JimengHook

log = logging.getLogger(__name__)

_GONE = frozenset({RenderStatus.NOT_FOUND, RenderStatus.EXPIRED})
_PASSES = (RateLimitedError, ConcurrencyLimitedError, ServerError, UnknownCodeError, TransportError)
_PAUSES = (2.0, 5.0, 10.0, 20.0, 30.0)
"""Seconds between the attempts to get a link."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderLinks:
    """Fresh links to a finished render. Each comes from a query of its own, made when the link is needed.

    :param label: the implicit AIGC label to ask for, ``None`` for the connection's.
    """

    hook: JimengHook
    render: Render
    media_policy: MediaPolicy
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
        label, settings = check_aigc_meta(aigc_meta), read_settings(hook)
        if require_tagged and not (label or settings.aigc_meta):
            raise ParameterError("require_tagged", "needs aigc_meta, here or in the connection's extra.")
        policy = MediaPolicy.of(settings)
        return cls(hook=hook, render=render, media_policy=policy, label=label, sleep=sleep)

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
        'for 12 hours only. It may have been billed. To pay for a new one, set on_lost="resubmit" and clear the '
        "task that submitted it."
    )
