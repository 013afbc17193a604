# SPDX-License-Identifier: Apache-2.0
"""Downloads a video to a local file. Links can expire, and connections can break.

A link is fetched right before its use, and again if the media host refuses it. A download that was cut continues where
it stopped. The SHA-256 is computed while the bytes arrive, so the file is read only once.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Protocol

from airflow_provider_jimeng.client.media import MediaStream, open_media
from airflow_provider_jimeng.core.errors import LandingError, LinkRefusedError, TransportError
from airflow_provider_jimeng.storage.claim import SILENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_jimeng.client.settings import ClientSettings

log = logging.getLogger(__name__)

_REFUSED = frozenset({401, 403, 404, 410})
_RANGE_REFUSED = 416
_BUSY = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A fresh link to the video, from one query. ``aigc_meta_tagged``: the API says that it wrote the implicit label."""

    url: str = field(repr=False)
    request_id: str | None = None
    aigc_meta_tagged: bool | None = None


class LinkSource(Protocol):
    """Gives links to one video."""

    @property
    def settings(self) -> ClientSettings:
        """The settings of the connection, which say how the host of a link can be reached."""

    def fetch(self) -> Link:
        """Ask the API for a fresh link."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a download is tried before the task fails. A retry of the task is free.

    ``failures`` is the number of attempts in a row that bring no new byte. The pause doubles with each, from
    ``pause_seconds`` to ``longest_pause_seconds``. ``fresh_links`` is how often a refused link is replaced in all. ``silence_seconds``
    is how long the download of another task can make no progress before this task takes over.
    """

    failures: int = 5
    fresh_links: int = 3
    pause_seconds: float = 1.0
    longest_pause_seconds: float = 30.0
    total_seconds: float = 3600.0
    silence_seconds: float = SILENCE_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A finished download: size, checksum, and the link that was used last.

    ``end_is_certain`` is false if only the end of the connection showed where the file ends.
    """

    bytes: int
    sha256: str
    link: Link
    end_is_certain: bool = True


class Download:
    """The download of one video into ``sink``, a local binary file that can seek."""

    def __init__(
        self,
        sink: BinaryIO,
        fetch_link: Callable[[], Link],
        *,
        settings: ClientSettings,
        patience: Patience,
        sleep: Callable[[float], None],
        clock: Callable[[], float],
    ) -> None:
        self._sink = sink
        self._fetch_link = fetch_link
        self._settings = settings
        self._patience = patience
        self._sleep = sleep
        self._clock = clock
        self._deadline = clock() + patience.total_seconds
        self._link = fetch_link()
        self._links_left = patience.fresh_links
        self._failures = 0
        self._furthest = 0
        self._etag: str | None = None
        self._total: int | None = None
        self._packed = False
        self._end_is_certain = False
        self._begin_again()

    def run(self) -> Received:
        """Download until the file is whole.

        :raises LinkRefusedError: the media host refused one fresh link after another.
        :raises LandingError: it failed too often in a row, or took too long.
        :raises MediaHostRefusedError: the link leads to a host that the connection does not allow.
        """
        while not self._attempt():
            pass
        return Received(
            bytes=self._written,
            sha256=self._digest.hexdigest(),
            link=self._link,
            end_is_certain=self._end_is_certain,
        )

    def _attempt(self) -> bool:
        before = self._furthest
        if self._packed:
            self._begin_again()  # The host counts the bytes of the packed file, but these are unpacked.
        try:
            with open_media(
                self._link.url, settings=self._settings, start=self._written, etag=self._etag
            ) as stream:
                problem = self._take(stream)
        except TransportError as error:
            problem = str(error)
        if problem is None:
            return True
        self._failures = 1 if self._furthest > before else self._failures + 1
        if self._failures > self._patience.failures:
            raise LandingError(
                f"The download failed {self._failures} times in a row. The last time: {problem}"
            )
        self._check_time()
        log.warning("Download interrupted at byte %d, going on: %s", self._written, problem)
        pause = self._patience.pause_seconds * 2.0 ** (self._failures - 1)
        self._sleep(min(pause, self._patience.longest_pause_seconds))
        return False

    def _take(self, stream: MediaStream) -> str | None:
        """Read a response. Return what went wrong, if another attempt can help."""
        status = stream.status
        if status in (200, 206):
            return self._receive(stream)
        refusal = f"{stream.where} answered HTTP {status}."
        if status in _REFUSED:
            return self._replace_link(refusal)
        if status == _RANGE_REFUSED and self._written:
            self._begin_again()
            return refusal
        if status in _BUSY or status >= 500:
            return refusal
        raise LandingError(f"{refusal} Expected the video.")

    def _replace_link(self, refusal: str) -> str:
        if not self._links_left:
            raise LinkRefusedError(f"{refusal} It refused {self._patience.fresh_links + 1} links in all.")
        self._links_left -= 1
        self._link = self._fetch_link()
        return f"{refusal} Asked for a fresh link."

    def _receive(self, stream: MediaStream) -> str | None:
        if stream.codings and stream.start != 0:
            self._begin_again()
            return f"{stream.where} sent a part of a packed file, which cannot be unpacked."
        if stream.start != self._written or self._is_another(stream):
            resumable = stream.start == 0
            self._begin_again()
            if not resumable:
                return f"{stream.where} sent another part of the file than the one asked for."
        self._etag = stream.etag or self._etag
        self._total = stream.total if stream.total is not None else self._total
        self._packed = bool(stream.codings)
        self._end_is_certain = stream.has_end or self._packed or self._total is not None
        self._copy(stream)
        if self._total is not None and self._written != self._total:
            return f"{stream.where} sent {self._written} of {self._total} bytes."
        return None

    def _is_another(self, stream: MediaStream) -> bool:
        """Return whether the file behind the link has changed since the download began."""
        pairs = ((self._etag, stream.etag), (self._total, stream.total))
        return bool(self._written) and any(None not in pair and pair[0] != pair[1] for pair in pairs)

    def _copy(self, stream: MediaStream) -> None:
        update, write, clock = self._digest.update, self._sink.write, self._clock
        try:
            for chunk in stream.chunks():
                update(chunk)
                write(chunk)
                self._written += len(chunk)
                if clock() > self._deadline:
                    self._check_time()
        finally:
            self._furthest = max(self._furthest, self._written)

    def _begin_again(self) -> None:
        self._sink.seek(0)
        self._sink.truncate()
        self._digest = hashlib.sha256()
        self._written = 0
        self._etag = None
        self._total = None
        self._packed = False

    def _check_time(self) -> None:
        if self._clock() > self._deadline:
            raise LandingError(
                f"The download is not done after {self._patience.total_seconds:g} s; {self._written} bytes arrived."
            )
