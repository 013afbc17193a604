"""Saves the video of a finished render: download, check, give the final name, write the manifest.

A file under its final name is always whole, and one with a manifest is proven to be what was paid for. To land it again
costs nothing: a file that still matches its manifest is returned without a request. Of several tasks that land one video
at the same moment, one downloads it and the others wait for its file (see :mod:`.claim`).
"""

from __future__ import annotations

import itertools
import logging
import os
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import pendulum
from airflow.providers.common.compat.lineage.hook import get_hook_lineage_collector

from airflow_provider_jimeng.core.errors import DamagedMediaError, LandingError, MissingLabelError
from airflow_provider_jimeng.core.mp4 import MediaInfo, inspect_mp4
from airflow_provider_jimeng.core.render import Render, RenderManifest, cost_in_words
from airflow_provider_jimeng.storage.atomic_file import AtomicFile, abort_unfinished, sync
from airflow_provider_jimeng.storage.claim import Claim
from airflow_provider_jimeng.storage.download import Download, Link, LinkSource, Patience, Received
from airflow_provider_jimeng.storage.manifest import (
    announce,
    commit,
    drop_pending,
    landed_manifest,
    matches,
    pending_of,
    read_manifest,
    refuse_taken,
    sidecar_of,
    withdraw,
)
from airflow_provider_jimeng.storage.output import OutputPath

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, BinaryIO

    from airflow_provider_jimeng.core.event import RenderEvent

log = logging.getLogger(__name__)

_SHORTER_SECONDS = 0.5
"""A video may be this much shorter than what was asked for."""
_DOWNLOADS = 2
"""A damaged file is fetched once more, over a fresh link, before the task fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Landing:
    render: Render
    target: OutputPath
    file: AtomicFile
    claim: Claim
    links: LinkSource
    patience: Patience
    sleep: Callable[[float], None]
    clock: Callable[[], float]
    confirm: Callable[[], None]
    overwrite: bool
    require_tagged: bool
    now: Callable[[], pendulum.DateTime]
    event: RenderEvent | None

    def fetch_link(self) -> Link:
        """Return a fresh link to the video, labelled if it must be."""
        link = self.links.fetch()
        if self.require_tagged and link.aigc_meta_tagged is not True:
            raise MissingLabelError(
                "require_tagged is set and the API did not write the implicit AIGC label "
                f"(aigc_meta_tagged is {link.aigc_meta_tagged}, request id {link.request_id}). Nothing was landed; "
                "the render is kept. Check aigc_meta, or land it without require_tagged."
            )
        return link

    def usable(self, found: RenderManifest | None) -> RenderManifest | None:
        """Return the manifest of the render's file if it is labelled as is asked for."""
        if found is None or (self.require_tagged and not found.aigc_meta_tagged):
            return None
        log.info("%s is landed already and matches its manifest.", found.uri)
        return found


def land(
    render: Render,
    links: LinkSource,
    *,
    target: OutputPath,
    overwrite: bool = False,
    require_tagged: bool = False,
    confirm: Callable[[], None] = lambda: None,
    now: Callable[[], pendulum.DateTime] = lambda: pendulum.now("UTC"),
    patience: Patience | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    event: RenderEvent | None = None,
) -> RenderManifest:
    """Save the video of a finished render and return its manifest, which is stored beside it as ``<file>.json``.

    :param links: gives a fresh link when one is needed; its errors pass through.
    :param overwrite: replace a file that holds the video of another request.
    :param require_tagged: save nothing unless the API says that it wrote the implicit AIGC label.
    :param confirm: called right before the file gets its name; raises if the render must not be saved any more.
    :param event: how the wait ended; its counts are stored in the manifest.
    :raises TargetTakenError: the name belongs to the video of another request.
    :raises MissingLabelError: ``require_tagged`` is set, and the API wrote no label.
    :raises RenderNotFoundError: the API does not keep the render any more.
    :raises LostContactError: the API refuses the connection's access, also after the connection was read again.
    :raises LandingError: or one of its kin; there is no new file under the final name then. A retry is free.
    """
    patience = patience or Patience()
    file = target.file_for(render)
    landing = _Landing(
        render=render,
        target=target,
        file=file,
        claim=_claim(
            file,
            sleep=sleep,
            clock=clock,
            patience_seconds=patience.total_seconds,
            silence_seconds=patience.silence_seconds,
        ),
        links=links,
        patience=patience,
        sleep=sleep,
        clock=clock,
        confirm=confirm,
        overwrite=overwrite,
        require_tagged=require_tagged,
        now=now,
        event=event,
    )
    if (found := landing.usable(_in_place(file, render, landing.claim))) is not None:
        return found
    if not overwrite:
        refuse_taken(target, render)
    with landing.claim:
        if (found := _come_first(landing)) is not None:
            return found
        abort_unfinished(file.fs, file.path)
        try:
            manifest, media = _bring(landing)
        except LandingError:
            if (found := _adopted(landing)) is None:
                raise
            return found
    if media is not None:
        _report(file, manifest, media)
    return manifest


def _adopted(landing: _Landing) -> RenderManifest | None:
    """Return the manifest of who landed the render while this landing was held up, and so was taken for dead."""
    if landing.claim.held():
        return None
    return landing.usable(landed_manifest(landing.file, landing.render))


def _claim(file: AtomicFile, **options: Any) -> Claim:
    return Claim(file, secrets.token_hex(8), **options)


def _come_first(landing: _Landing) -> RenderManifest | None:
    """Return the manifest of who landed the render first; ``None`` once the claim is held and the name is free."""
    file, render = landing.file, landing.render
    while not landing.claim.take():
        landing.claim.wait()
        if (found := landing.usable(landed_manifest(file, render))) is not None:
            return found
    found = landed_manifest(file, render) or _completed(file, render, landing.claim)
    if (found := landing.usable(found)) is None and not landing.overwrite:
        refuse_taken(landing.target, render)
    return found


def _bring(landing: _Landing) -> tuple[RenderManifest, MediaInfo | None]:
    """Download the video and give it its name; without media, another task's file is what was found meanwhile."""
    file, claim = landing.file, landing.claim
    with file.staged(claim.token) as (path, part):
        with claim.beating(lambda: os.fstat(part.fileno()).st_size):
            received, media = _receive(landing, part)
            sync(part)
        manifest = _manifest(landing, received, media)
        if (found := _come_first(landing)) is not None:
            return found, None
        landing.confirm()
        with claim.beating(itertools.count().__next__):
            announce(file, manifest)
            try:
                file.put(path, claim.token, may_undo=claim.held)
            except BaseException:
                withdraw(file, manifest)
                raise
            return _commit(landing, manifest), media


def _commit(landing: _Landing, manifest: RenderManifest) -> RenderManifest:
    """Write the manifest if the file is the one that it tells of.

    A landing that was held up for long may have been taken for dead, and another one may have put its own file and
    manifest in the same place. Such a landing takes the claim again, which ends when the other one has, and looks.
    """
    file, claim = landing.file, landing.claim
    while True:
        if not claim.held():
            while not claim.take():
                claim.wait()
            if not matches(file, manifest):
                return _give_way(landing, manifest)
        commit(file, manifest, claim.token)
        if claim.held():
            return manifest


def _give_way(landing: _Landing, manifest: RenderManifest) -> RenderManifest:
    """Return the manifest of the other's file, if it is the render's; leave no manifest that tells of ours."""
    if (found := landed_manifest(landing.file, landing.render)) is not None:
        return found
    if read_manifest(sidecar_of(landing.file)) == manifest:
        sidecar_of(landing.file).remove()
    raise LandingError(
        f"Another landing has put its file in the place of {landing.file.uri} while this one was held up. A retry is free."
    )


def _in_place(file: AtomicFile, render: Render, claim: Claim) -> RenderManifest | None:
    """Return the manifest of a landed file; what a landing left that was killed as the last thing it did is removed."""
    found = landed_manifest(file, render)
    if found is not None:
        with suppress(LandingError):
            if claim.tidy():
                drop_pending(file)
    return found


def _completed(file: AtomicFile, render: Render, claim: Claim) -> RenderManifest | None:
    """Complete a landing that was killed between file and manifest; the claim must be held."""
    found = landed_manifest(file, render, pending_of)
    if found is not None:
        commit(file, found, claim.token)
    return found


def already_landed(
    target: OutputPath,
    render: Render,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> RenderManifest | None:
    """Return the manifest of a render's saved file; ``None`` if the file is missing or altered. Reads the whole file.

    :raises LandingError: the store cannot be read, which does not mean that the file is missing.
    """
    file = target.file_for(render)
    claim = _claim(file, sleep=sleep, clock=clock)
    if (found := _in_place(file, render, claim)) is not None or landed_manifest(
        file, render, pending_of
    ) is None:
        return found
    with claim:  # of who is about to write the manifest, or was killed before
        while not claim.take():
            claim.wait()
        return landed_manifest(file, render) or _completed(file, render, claim)


def still_landed(
    manifest: RenderManifest,
    *,
    output_conn_id: str | None = None,
    output_path: str | None = None,
    compare_bytes: bool = True,
) -> RenderManifest | None:
    """Return a manifest whose file is still there, unaltered; missing or altered: ``None``.

    :param output_path: where the file was landed to, in case a connection id stands in that URL.
    :param compare_bytes: read the whole file; without it, the size must do.
    :raises LandingError: the store cannot be read, which does not mean that the file is missing.
    """
    conn_id = output_conn_id or (OutputPath(output_path=output_path).url_conn_id if output_path else None)
    file = OutputPath(output_path=manifest.uri, output_conn_id=conn_id).file()
    fits = matches(file, manifest) if compare_bytes else file.size() == manifest.bytes
    return manifest if fits else None


def _receive(landing: _Landing, part: BinaryIO) -> tuple[Received, MediaInfo]:
    """Download into the open part file until it is a whole MP4."""
    for left in reversed(range(_DOWNLOADS)):
        received = Download(
            part,
            landing.fetch_link,
            policy=landing.links.media_policy,
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
    if received.end_is_certain or not media.open_ended:
        return media
    lasts = media.duration_seconds or 0.0
    if asked_seconds is None:
        log.warning(
            "The MP4 file is fragmented and does not say how long it is, and the host did not say how many bytes it has. "
            "It holds %g s of video. Whether more should follow cannot be told.",
            lasts,
        )
    elif lasts < asked_seconds - _SHORTER_SECONDS:
        raise DamagedMediaError(
            f"The MP4 file seems to be cut: {asked_seconds} s were asked for, and it holds {lasts:g} s. It is fragmented "
            "and does not say how long it is, and the host did not say how many bytes it has."
        )
    return media


def _manifest(landing: _Landing, received: Received, media: MediaInfo) -> RenderManifest:
    event = landing.event
    return RenderManifest(
        **{field.name: getattr(landing.render, field.name) for field in fields(Render)},
        cost_cny=landing.render.estimated_cost_cny,
        polls=None if event is None else event.polls,
        queued_seconds=None if event is None else event.queued_seconds,
        render_seconds=None if event is None else event.render_seconds,
        uri=landing.file.uri,
        bytes=received.bytes,
        sha256=received.sha256,
        width=media.width,
        height=media.height,
        fps=media.fps,
        frames=media.frames,
        duration_seconds=media.duration_seconds,
        landed_at=landing.now(),
        request_id=received.link.request_id,
        aigc_meta_tagged=received.link.aigc_meta_tagged,
    )


def _report(file: AtomicFile, manifest: RenderManifest, media: MediaInfo) -> None:
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
    log.info(
        "Landed %s: %d bytes, %dx%d, cost %s.",
        *(manifest.uri, manifest.bytes, media.width, media.height, cost_in_words(manifest.cost_cny)),
    )
