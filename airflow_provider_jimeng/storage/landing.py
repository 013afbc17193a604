"""Brings a finished render home: download, check, give the final name, write the manifest.

A file under its final name is always whole; one with a manifest is proven to be what was paid for. Doing it again
costs nothing: a file that still matches its manifest is returned without a request.
"""

from __future__ import annotations

import logging
import secrets
import time
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import pendulum
from airflow.providers.common.compat.lineage.hook import get_hook_lineage_collector

from airflow_provider_jimeng.core.errors import DamagedMediaError, MissingLabelError
from airflow_provider_jimeng.core.mp4 import MediaInfo, inspect_mp4
from airflow_provider_jimeng.core.render import Render, RenderManifest
from airflow_provider_jimeng.storage.download import Download, Link, Patience, Received
from airflow_provider_jimeng.storage.manifest import (
    announce,
    commit,
    landed_manifest,
    matches,
    pending_of,
    refuse_taken,
    withdraw,
)
from airflow_provider_jimeng.storage.stored_file import StoredFile, sync
from airflow_provider_jimeng.storage.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal
    from typing import BinaryIO

    from airflow_provider_jimeng.client.media import MediaPolicy

__all__ = ["Link", "Patience", "Target", "already_landed", "land", "refuse_taken", "still_landed"]

log = logging.getLogger(__name__)

_SHORTER_SECONDS = 0.5
"""A video may be this much shorter than what was asked for."""
_DOWNLOADS = 2
"""A damaged file is fetched once more, over a fresh link, before the task fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Landing:
    render: Render
    target: Target
    file: StoredFile
    fetch_link: Callable[[], Link]
    policy: MediaPolicy
    patience: Patience
    sleep: Callable[[float], None]
    clock: Callable[[], float]
    token: str


def land(
    render: Render,
    *,
    fetch_link: Callable[[], Link],
    target: Target,
    policy: MediaPolicy,
    overwrite: bool = False,
    require_tagged: bool = False,
    now: Callable[[], pendulum.DateTime] = lambda: pendulum.now("UTC"),
    patience: Patience | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    cost_cny: Decimal | None = None,
    polls: int | None = None,
    queued_seconds: float | None = None,
    render_seconds: float | None = None,
) -> RenderManifest:
    """Land the video of a finished render and return its manifest, which lies beside the file as ``<file>.json``.

    :param fetch_link: one query for a fresh link; called when a link is needed, its errors pass through.
    :param overwrite: replace a full file name that holds another request's file.
    :param require_tagged: land nothing unless the API says that it wrote the implicit AIGC label.
    :param cost_cny: what the render cost, ``None`` if the price is unknown; this and the rest go into the manifest.
    :raises TargetTakenError: the target holds another request's file.
    :raises MissingLabelError: ``require_tagged``, and the API wrote no label.
    :raises LandingError: or one of its kin; nothing new is under the final name then.
    """
    landing = _Landing(
        render=render,
        target=target,
        file=target.file_for(render),
        fetch_link=_labelled(fetch_link) if require_tagged else fetch_link,
        policy=policy,
        patience=patience or Patience(),
        sleep=sleep,
        clock=clock,
        token=secrets.token_hex(8),
    )
    if (found := _found(landing, require_tagged=require_tagged)) is not None:
        return found
    if not overwrite:
        refuse_taken(target, render)
    landing.file.remove_leftovers(but=pending_of(landing.file).name)
    with landing.file.staged(landing.token) as (path, part):
        received, media = _receive(landing, part)
        sync(part)
        manifest = replace(
            _manifest(landing, received, media, now()),
            cost_cny=cost_cny,
            polls=polls,
            queued_seconds=queued_seconds,
            render_seconds=render_seconds,
        )
        if (found := _found(landing, require_tagged=require_tagged)) is not None:
            return found  # another try, or a rescue, landed the same render meanwhile
        if not overwrite:
            refuse_taken(target, render)  # again: another task may have come first meanwhile
        announce(landing.file, manifest)
        try:
            landing.file.put(path, landing.token)
        except BaseException:
            withdraw(landing.file)
            raise
    commit(landing.file, manifest, landing.token)
    _report(landing.file, manifest, media, received)
    return manifest


def _found(landing: _Landing, *, require_tagged: bool) -> RenderManifest | None:
    """Return the manifest of the render's file if it is there, unaltered and labelled as asked for."""
    found = landed_manifest(landing.file, landing.render, landing.token)
    if found is None or (require_tagged and not found.aigc_meta_tagged):
        return None
    log.info("%s is landed already and matches its manifest.", found.uri)
    return found


def already_landed(target: Target, asked: Render | str) -> RenderManifest | None:
    """Return the manifest of a landed file that is still what its manifest says; missing or altered: ``None``.

    Reads the whole file. With a fingerprint instead of a render, ``target`` must be a full file name.

    :raises LandingError: the store cannot be read, which does not mean that the file is missing.
    """
    file = target.file() if isinstance(asked, str) else target.file_for(asked)
    return landed_manifest(file, asked, secrets.token_hex(8))


def still_landed(
    manifest: RenderManifest, *, output_conn_id: str | None = None, output_path: str | None = None
) -> RenderManifest | None:
    """Return a manifest whose file is still there, unaltered; missing or altered: ``None``. Reads the whole file.

    :param output_path: where the file was landed to, in case a connection id stands in that URL.
    :raises LandingError: the store cannot be read, which does not mean that the file is missing.
    """
    conn_id = output_conn_id or (Target(output_path=output_path).url_conn_id if output_path else None)
    file = Target(output_path=manifest.uri, output_conn_id=conn_id).file()
    return manifest if matches(file, manifest) else None


def _labelled(fetch_link: Callable[[], Link]) -> Callable[[], Link]:
    def fetch() -> Link:
        link = fetch_link()
        if link.aigc_meta_tagged is not True:
            raise MissingLabelError(
                "require_tagged is set and the API did not write the implicit AIGC label "
                f"(aigc_meta_tagged is {link.aigc_meta_tagged}, request id {link.request_id}). Nothing was landed; "
                "the render is kept. Check aigc_meta, or land it without require_tagged."
            )
        return link

    return fetch


def _receive(landing: _Landing, part: BinaryIO) -> tuple[Received, MediaInfo]:
    """Download into the open part file until it is a whole MP4."""
    for left in reversed(range(_DOWNLOADS)):
        received = Download(
            part,
            landing.fetch_link,
            policy=landing.policy,
            patience=landing.patience,
            sleep=landing.sleep,
            clock=landing.clock,
        ).run()
        try:
            return received, _whole(inspect_mp4(part), received, landing.render.duration)
        except DamagedMediaError as error:
            if not left:
                raise
            log.warning("%s Fetching the video once more.", error)
    raise AssertionError  # the last round returns or raises


def _whole(media: MediaInfo, received: Received, asked_seconds: int | None) -> MediaInfo:
    """Return what the file holds, unless nothing says where it ends and it is shorter than what was asked for.

    A cut between two fragments leaves a proper file. Mostly the host, the connection or the file says how long it is.
    """
    if received.end_is_certain or not media.open_ended or asked_seconds is None:
        return media
    lasts = media.duration_seconds or 0.0
    if lasts < asked_seconds - _SHORTER_SECONDS:
        raise DamagedMediaError(
            f"The MP4 file seems to be cut: {asked_seconds} s were asked for, and it holds {lasts:g} s. It is fragmented "
            "and does not say how long it is, and the host did not say how many bytes it has."
        )
    return media


def _manifest(
    landing: _Landing, received: Received, media: MediaInfo, landed_at: pendulum.DateTime
) -> RenderManifest:
    return RenderManifest(
        **{field.name: getattr(landing.render, field.name) for field in fields(Render)},
        uri=landing.file.uri,
        bytes=received.bytes,
        sha256=received.sha256,
        width=media.width,
        height=media.height,
        fps=media.fps,
        frames=media.frames,
        duration_seconds=media.duration_seconds,
        landed_at=landed_at,
        request_id=received.link.request_id,
        aigc_meta_tagged=received.link.aigc_meta_tagged,
    )


def _report(file: StoredFile, manifest: RenderManifest, media: MediaInfo, received: Received) -> None:
    """Tell the log and Airflow's lineage; what is odd about the file without being damage is worth a warning."""
    get_hook_lineage_collector().add_output_asset(context=file.context, uri=manifest.uri)
    if manifest.aigc_meta_tagged and media.aigc is None:
        log.warning(
            "The API says that it wrote the implicit AIGC label, but %s holds no AIGC entry.", manifest.uri
        )
    if media.stray_bytes:
        log.warning(
            "%s has %d bytes after the last box of the MP4 file. Players ignore them; the video itself is whole.",
            manifest.uri,
            media.stray_bytes,
        )
    if media.open_ended and not received.end_is_certain and manifest.duration is None:
        log.warning(
            "%s is a fragmented MP4 file that does not say how long it is, and the host did not say how many bytes it "
            "has. It holds %s s of video; whether more should follow cannot be told.",
            manifest.uri,
            media.duration_seconds,
        )
    log.info("Landed %s: %d bytes, %dx%d.", manifest.uri, manifest.bytes, media.width, media.height)
