# SPDX-License-Identifier: Apache-2.0
"""Saves the video of a finished render: link, download, check, final name, manifest.

A file under its final name is always whole, and its manifest proves that it is the paid video. Saving it again is free:
a file that still matches its manifest is returned without a request. If several tasks save one video at the same
moment, one downloads it and the others wait for its file (see :class:`.Claim`).
"""

from __future__ import annotations

import itertools
import json
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
from airflow_provider_jimeng.core.render import (
    Render,
    RenderManifest,
    cost_in_words,
    difference_in_words,
    differences,
)
from airflow_provider_jimeng.storage.atomic_file import AtomicFile, abort_unfinished, sync
from airflow_provider_jimeng.storage.download import Claim, Download, LinkSource, Patience, Received
from airflow_provider_jimeng.storage.output import (
    OutputPath,
    landed_manifest,
    matches,
    read_manifest,
    refuse_taken,
)
from airflow_provider_jimeng.tracing import traced_landing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import Any, BinaryIO

    from airflow_provider_jimeng.core.render import RenderEvent

log = logging.getLogger(__name__)

_SHORTER_SECONDS = 0.5
"""A video can be this much shorter than the requested duration."""
_PATIENCE = Patience()
_DOWNLOADS = 2
"""A damaged file is downloaded once more, with a fresh link, before the task fails."""


@traced_landing
def land(
    render: Render,
    links: LinkSource,
    *,
    target: OutputPath,
    overwrite: bool = False,
    require_tagged: bool = False,
    confirm: Callable[[], None] | None = None,
    now: Callable[[], pendulum.DateTime] = lambda: pendulum.now("UTC"),
    patience: Patience = _PATIENCE,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    event: RenderEvent | None = None,
) -> RenderManifest:
    """Save the video of a finished render and return its manifest, which is stored beside it as ``<file>.json``.

    :param links: gives a fresh link when one is needed; its errors pass through.
    :param overwrite: replace a file that holds the video of another request.
    :param require_tagged: save nothing unless the video has the implicit AIGC label. The file counts, not the reply.
    :param confirm: called right before the file gets its name; raises if the render must not be saved any more.
    :param event: how the wait ended; its counts are stored in the manifest.
    :raises TargetTakenError: the name belongs to the video of another request.
    :raises MissingLabelError: ``require_tagged`` is set, and the video has no label.
    :raises RenderNotFoundError: the API does not keep the render any more.
    :raises LostContactError: the API refuses the connection's access, also after the connection was read again.
    :raises LandingError: or one of its kin; there is no new file under the final name then. A retry is free.
    """
    file = target.file_for(render)
    landing = _Landing(
        render=render,
        target=target,
        file=file,
        claim=Claim(
            file,
            secrets.token_hex(8),
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
    return landing.run()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Landing:
    """One call of :func:`land`. The methods stand in the order in which they run."""

    render: Render
    target: OutputPath
    file: AtomicFile
    claim: Claim
    links: LinkSource
    patience: Patience
    sleep: Callable[[float], None]
    clock: Callable[[], float]
    confirm: Callable[[], None] | None
    overwrite: bool
    require_tagged: bool
    now: Callable[[], pendulum.DateTime]
    event: RenderEvent | None

    def run(self) -> RenderManifest:
        """Return the manifest of the saved file; download the file only if it is not saved yet."""
        if (saved := self._usable(_saved(self.file, self.render, self.claim))) is not None:
            return saved
        if not self.overwrite:
            refuse_taken(self.target, self.render)
        with self.claim:
            if (saved := self._await_turn()) is not None:
                return saved
            try:
                manifest, media = self._save()
            except LandingError:
                if (saved := self._saved_by_successor()) is None:
                    raise
                return saved
        if media is not None:
            _report(self.file, manifest, media)
        return manifest

    def _usable(self, manifest: RenderManifest | None) -> RenderManifest | None:
        """Return the manifest of the saved file, if the file has the label that is required."""
        if manifest is None or (self.require_tagged and not manifest.is_labelled):
            return None
        log.info("%s is saved already and matches its manifest.", manifest.uri)
        return manifest

    def _await_turn(self) -> RenderManifest | None:
        """Take the claim. Return the manifest if another task has saved the render; ``None``: it is this task's turn."""
        while not self.claim.take():
            self.claim.wait()
            if (saved := self._usable(landed_manifest(self.file, self.render))) is not None:
                return saved
        saved = self._usable(_saved_or_completed(self.file, self.render, self.claim))
        if saved is None and not self.overwrite:
            refuse_taken(self.target, self.render)
        return saved

    def _save(self) -> tuple[RenderManifest, MediaInfo | None]:
        """Download the video, and give it its name and its manifest. Media is ``None`` if another task did so first."""
        abort_unfinished(self.file.fs, self.file.path)
        with self.file.staged(self.claim.token) as (path, part):
            self.claim.progress = lambda: os.fstat(part.fileno()).st_size
            received, media = self._download(part)
            if self.require_tagged and media.aigc is None:
                raise MissingLabelError(
                    "require_tagged is set and the video has no implicit AIGC label (the API says aigc_meta_tagged "
                    f"{received.link.aigc_meta_tagged}, request id {received.link.request_id}). Nothing was saved; the "
                    "render is kept. Check aigc_meta, or save it without require_tagged."
                )
            manifest, content = self._manifest(received, media)
            if (saved := self._await_turn()) is not None:
                return saved, None
            if self.confirm is not None:
                self.confirm()
            self.claim.progress = itertools.count().__next__  # The store does not say how far an upload is.
            self._give_name(path, part, manifest, content)
            return self._write_manifest(manifest, content), media

    def _download(self, part: BinaryIO) -> tuple[Received, MediaInfo]:
        """Download into the open part file until it is a whole MP4 file."""
        for downloads_left in reversed(range(_DOWNLOADS)):
            received = Download(
                part,
                self.links.fetch,
                settings=self.links.settings,
                patience=self.patience,
                sleep=self.sleep,
                clock=self.clock,
            ).run()
            try:
                return received, _checked(inspect_mp4(part), received, self.render.duration)
            except DamagedMediaError as error:
                if not downloads_left:
                    raise
                log.warning("Downloading the video once more. %s", error)
        raise AssertionError  # The last round returns or raises.

    def _manifest(self, received: Received, media: MediaInfo) -> tuple[RenderManifest, bytes]:
        """Return the manifest and the bytes of its file."""
        event = self.event
        manifest = RenderManifest(
            **{field.name: getattr(self.render, field.name) for field in fields(Render)},
            cost_cny=self.render.estimated_cost_cny,
            polls=None if event is None else event.polls,
            queued_seconds=None if event is None else event.queued_seconds,
            render_seconds=None if event is None else event.render_seconds,
            queued_seconds_min=None if event is None else event.queued_seconds_min,
            render_seconds_min=None if event is None else event.render_seconds_min,
            uri=self.file.uri,
            bytes=received.bytes,
            sha256=received.sha256,
            width=media.width,
            height=media.height,
            fps=media.fps,
            frames=media.frames,
            duration_seconds=media.duration_seconds,
            landed_at=self.now(),
            request_id=received.link.request_id,
            aigc_meta_tagged=received.link.aigc_meta_tagged,
            differs=differences(self.render, media),
            aigc_label=media.aigc,
        )
        return manifest, _encoded(manifest.to_payload())

    def _give_name(self, path: Path, part: BinaryIO, manifest: RenderManifest, content: bytes) -> None:
        """Put the file under its final name. Until its manifest is written, a pending one says what it is."""
        self.file.pending.write_plainly(content)
        try:
            sync(part)
            self.file.put(path, self.claim.token, may_undo=self.claim.held)
        except BaseException:
            with suppress(LandingError):
                if self.file.size() != manifest.bytes:
                    self.file.pending.remove()
            raise

    def _write_manifest(self, manifest: RenderManifest, content: bytes) -> RenderManifest:
        """Write the manifest, if the file is still the one that it describes.

        Another task can have taken this one for dead while it was held up, and have put its own file and manifest in
        the same place. This task then takes the claim again, which waits for the other one, and looks at the file.
        """
        while True:
            if not self.claim.held():
                while not self.claim.take():
                    self.claim.wait()
                if not matches(self.file, manifest):
                    return self._give_way(manifest)
            self.file.sidecar.write(content, self.claim.token)
            self.file.pending.remove()
            if self.claim.held():
                return manifest

    def _give_way(self, manifest: RenderManifest) -> RenderManifest:
        """Return the manifest of the other task's file, if it is the same render. Leave no manifest of our own."""
        if (saved := landed_manifest(self.file, self.render)) is not None:
            return saved
        if read_manifest(self.file.sidecar) == manifest:
            self.file.sidecar.remove()
        raise LandingError(
            f"Another task saved its video as {self.file.uri} while this task was held up. A retry is free."
        )

    def _saved_by_successor(self) -> RenderManifest | None:
        """Return the manifest of the task that took this one for dead and saved the render."""
        return None if self.claim.held() else self._usable(landed_manifest(self.file, self.render))


def _checked(media: MediaInfo, received: Received, requested_seconds: int | None) -> MediaInfo:
    """Return what the file contains, unless it can have been cut and is shorter than the requested duration.

    A file that is cut between two fragments is a valid file. Usually the host, the connection or the file tells the
    length.
    """
    if received.end_is_certain or not media.open_ended:
        return media
    seconds = media.duration_seconds or 0.0
    if requested_seconds is None:
        log.warning(
            "The MP4 file is fragmented and does not contain its length, and the host did not send the number of bytes. "
            "The file holds %g s of video. It is unknown whether a part is missing.",
            seconds,
        )
    elif seconds < requested_seconds - _SHORTER_SECONDS:
        raise DamagedMediaError(
            f"The MP4 file seems to be cut: {requested_seconds} s were requested, and it holds {seconds:g} s. It is "
            "fragmented and does not contain its length, and the host did not send the number of bytes."
        )
    return media


def _encoded(manifest: Mapping[str, Any]) -> bytes:
    """Return the bytes of the payload of a manifest, as they are stored."""
    return json.dumps(manifest, ensure_ascii=False, indent=2).encode() + b"\n"


def _report(file: AtomicFile, manifest: RenderManifest, media: MediaInfo) -> None:
    """Report the saved file to Airflow's lineage and to the log, with a warning if the file is unusual."""
    get_hook_lineage_collector().add_output_asset(context=file.context, uri=manifest.uri)
    if manifest.aigc_meta_tagged and media.aigc is None:
        log.warning(
            "The API says that it wrote the implicit AIGC label, but %s holds no AIGC entry.", manifest.uri
        )
    for difference in manifest.differs or ():
        log.warning("%s differs from its request: %s.", manifest.uri, difference_in_words(difference))
    if media.stray_bytes:
        log.warning(
            "%s has %d bytes after the last box of the MP4 file. Players ignore them; the video itself is whole.",
            manifest.uri,
            media.stray_bytes,
        )
    log.info(
        "Saved %s: %d bytes, %dx%d, cost %s.",
        *(manifest.uri, manifest.bytes, media.width, media.height, cost_in_words(manifest.cost_cny)),
    )


# ------------------------------------------------------------------------------------------ what is saved already
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
    claim = Claim(file, secrets.token_hex(8), sleep=sleep, clock=clock)
    saved = _saved(file, render, claim)
    if saved is not None or landed_manifest(file, render, pending=True) is None:
        return saved
    with claim:  # Its owner is about to write the manifest, or was killed before that.
        while not claim.take():
            claim.wait()
        return _saved_or_completed(file, render, claim)


def still_landed(
    manifest: RenderManifest,
    *,
    output_conn_id: str | None = None,
    output_path: str | None = None,
    compare_bytes: bool = True,
) -> RenderManifest | None:
    """Return the manifest, or ``None`` if its file is missing or altered.

    :param output_path: the path that the file was saved to. A connection id in this URL is used.
    :param compare_bytes: read the whole file. If not set, only its size is compared.
    :raises LandingError: the store cannot be read, which does not mean that the file is missing.
    """
    conn_id = output_conn_id or (OutputPath(output_path=output_path).url_conn_id if output_path else None)
    file = OutputPath(output_path=manifest.uri, output_conn_id=conn_id).file()
    fits = matches(file, manifest) if compare_bytes else file.size() == manifest.bytes
    return manifest if fits else None


def _saved(file: AtomicFile, render: Render, claim: Claim) -> RenderManifest | None:
    """Return the manifest of a saved file. Remove what a task left that was killed at its very end."""
    if file.size() is None:
        return None
    saved = landed_manifest(file, render)
    if saved is not None:
        with suppress(LandingError):
            if claim.tidy() and file.pending.size() is not None:
                file.pending.remove()
    return saved


def _saved_or_completed(file: AtomicFile, render: Render, claim: Claim) -> RenderManifest | None:
    """Return the manifest of a saved file. Write it if the task that saved it was killed before it did so.

    The caller must hold the claim.
    """
    if file.size() is None:
        return None
    if (saved := landed_manifest(file, render)) is not None:
        return saved
    if (saved := landed_manifest(file, render, pending=True)) is not None:
        file.sidecar.write(_encoded(saved.to_payload()), claim.token)
        file.pending.remove()
    return saved
