"""Landing with a hook: every link comes from a query of its own, made when the link is used."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from airflow_provider_jimeng.client.media import MediaPolicy
from airflow_provider_jimeng.core.errors import LinkRefusedError, RenderNotFoundError
from airflow_provider_jimeng.core.polling import CONFIRMATIONS, NOT_FOUND_SPAN
from airflow_provider_jimeng.core.render import RenderStatus
from airflow_provider_jimeng.storage.landing import Link, land

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_jimeng.core.event import RenderEvent
    from airflow_provider_jimeng.core.render import Render, RenderManifest
    from airflow_provider_jimeng.core.wire import QueryReply
    from airflow_provider_jimeng.hooks.jimeng import JimengHook
    from airflow_provider_jimeng.storage.target import Target

_GONE = frozenset({RenderStatus.NOT_FOUND, RenderStatus.EXPIRED})


def land_render(
    hook: JimengHook,
    render: Render,
    *,
    target: Target,
    overwrite: bool = False,
    aigc_meta: Mapping[str, str] | None = None,
    require_tagged: bool = False,
    event: RenderEvent | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> RenderManifest:
    """Land a finished render; a file that is landed already and unaltered is returned as it is.

    :param event: the end of the wait, whose counts go into the manifest.
    :raises RenderNotFoundError: the API does not keep the render any more.
    :raises LandingError: or one of its kin; a retry lands the render without paying again.
    """
    return land(
        render,
        fetch_link=lambda: _fetch_link(lambda: hook.query(render, aigc_meta=aigc_meta), render, sleep),
        target=target,
        policy=MediaPolicy.of(hook.settings),
        overwrite=overwrite,
        require_tagged=require_tagged,
        sleep=sleep,
        cost_cny=render.estimated_cost_cny,
        polls=None if event is None else event.polls,
        queued_seconds=None if event is None else event.queued_seconds,
        render_seconds=None if event is None else event.render_seconds,
    )


def _fetch_link(ask: Callable[[], QueryReply], render: Render, sleep: Callable[[float], None]) -> Link:
    """Ask for a fresh link; "gone" is believed when it is repeated."""
    reply = ask()
    for _ in range(CONFIRMATIONS - 1):
        if reply.status not in _GONE:
            break
        sleep(NOT_FOUND_SPAN / (CONFIRMATIONS - 1))
        reply = ask()
    if reply.status in _GONE:
        raise RenderNotFoundError(
            f"Render {render.task_id} cannot be landed: the API no longer keeps it ({reply.status_word}), as it does "
            'for 12 hours only. It may have been billed. To pay for a new one, set on_lost="resubmit" and clear the '
            "task that submitted it."
        )
    if reply.video_url is None:
        raise LinkRefusedError(
            f"Render {render.task_id} has no link yet (status {reply.status_word!r}). A retry asks again, free."
        )
    return Link(url=reply.video_url, request_id=reply.request_id, aigc_meta_tagged=reply.aigc_meta_tagged)
