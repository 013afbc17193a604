# SPDX-License-Identifier: Apache-2.0
"""Downloads a video to a local file, in one task of several that save it. Links can expire, connections can break.

A link is fetched right before its use, and again if the media host refuses it. A download that was cut continues where
it stopped. The SHA-256 is computed while the bytes arrive, so the file is read only once.

If several tasks save one video, one has the :class:`Claim` on its name and downloads it, and the others wait for its
file. A claim only avoids double downloads. Whether a file is whole and its manifest fits does not depend on it, because a
task can be held up for longer than the others wait for it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
import re
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol, Self

from airflow_provider_jimeng.client.media import MediaStream, open_media
from airflow_provider_jimeng.core.errors import (
    LandingError,
    LinkRefusedError,
    TransportError,
)
from airflow_provider_jimeng.core.limits import spread
from airflow_provider_jimeng.storage.atomic_file import PART, AtomicFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow_provider_jimeng.client.settings import ClientSettings
    from airflow_provider_jimeng.core.wire import QueryReply

log = logging.getLogger(__name__)

SILENCE_SECONDS = 20.0
"""Seconds without progress after which other tasks take a download for dead."""
_BEAT_SHARE = 0.15
"""The owner of a claim shows progress so often, as a share of the silence that others wait for."""

_CLAIM, _BEAT = f"claim{PART}", f"beat{PART}"
_LONGEST_PAUSE = 1.0
_TOKEN = re.compile(r"[0-9a-f]{1,32}")
_threads: dict[str, int] = {}
"""The thread of each claim that this process holds, by token."""

_REFUSED = frozenset({401, 403, 404, 410})
_RANGE_REFUSED = 416
_BUSY = frozenset({408, 425, 429})


class LinkSource(Protocol):
    """Gives links to one video."""

    @property
    def settings(self) -> ClientSettings:
        """The settings of the connection, which say how the host of a link can be reached."""

    def fetch(self) -> QueryReply:
        """Ask the API for a fresh link; return the answer that has it."""


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
    link: QueryReply
    end_is_certain: bool = True


class Download:
    """The download of one video into ``sink``, a local binary file that can seek."""

    def __init__(
        self,
        sink: BinaryIO,
        fetch_link: Callable[[], QueryReply],
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
                str(self._link.video_url), settings=self._settings, start=self._written, etag=self._etag
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
            for chunk in stream.chunks:
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


# --- one of several tasks ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sign:
    """The content of a claim.

    ``rest``: tokens of dead tasks whose temporary files still exist. ``ended``: the owner has ended, and its temporary
    files still exist.
    """

    token: str
    rest: frozenset[str]
    ended: bool


class Claim:
    """One task's claim on a file name. :meth:`take` takes it, and the end of the ``with`` block releases it.

    It is a small hidden file beside the video. It names the temporary files of its owner, so that the next task can
    remove them without listing the folder. The owner writes to a second file while it makes progress, which is while
    ``progress`` returns new values. The others watch whether that file changes, by their own clock. The clocks of two
    hosts are never compared.
    """

    def __init__(
        self,
        file: AtomicFile,
        token: str,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        patience_seconds: float = 3600.0,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        self.token = token
        self._file = file
        self._sleep = sleep
        self._clock = clock
        self._patience_seconds = patience_seconds
        self._silence_seconds = silence_seconds
        self._rest: frozenset[str] = frozenset()
        self._taken = False
        self._ended = threading.Event()
        self._beats: threading.Thread | None = None
        self.progress: Callable[[], object] = lambda: None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._release(landed=error is None)

    def take(self) -> bool:
        """Take the claim if it is free. Return whether this task holds it now."""
        sign = self._look()
        if sign is None:
            content = self._content()
            sign = _read(self._file.hidden(_CLAIM).create(content))
        if sign is None or sign.token != self.token:
            return False
        self._taken = True
        _threads[self.token] = threading.get_ident()
        if self._beats is None:
            self._beats = threading.Thread(target=self._show_progress, daemon=True)
            self._beats.start()
        return True

    def held(self) -> bool:
        """Return whether this task still holds the claim."""
        sign = self._look()
        return sign is not None and sign.token == self.token

    def wait(self) -> None:
        """Wait until the other task has ended, or has made no progress for too long.

        :raises LandingError: the other task is still busy after the longest time of a download.
        """
        log.info("Another task saves %s. Waiting for its file.", self._file.uri)
        self._await_end()

    def tidy(self) -> bool:
        """Remove what a task left that was killed at its very end. Return whether there is no claim any more.

        A task that shows progress is left alone.
        """
        if self._look() is None:
            return True
        self._await_end(or_progress=True)
        if self._rest and self.take():
            self._release(landed=True)
        return self._look() is None

    def _show_progress(self) -> None:
        last = None
        with suppress(ValueError):  # The part file is closed.
            while not self._ended.wait(self._silence_seconds * _BEAT_SHARE):
                now = self.progress()
                if now == last:
                    continue
                last = now
                with suppress(LandingError):  # The store can be back at the next beat.
                    if self.held():
                        self._file.hidden(_BEAT).write_plainly(f"{self.token} {now}".encode())

    def _await_end(self, *, or_progress: bool = False) -> None:
        began = since = self._clock()
        sign, beat, pause = self._look(), self._file.hidden(_BEAT).content(), 0.1
        while sign is not None and sign.token != self.token:
            silent = self._clock() - since > self._silence_seconds
            if sign.ended or silent or _threads.get(sign.token) == threading.get_ident():
                # A claim of this very thread, below a callback, cannot be released before this call returns.
                self._void(sign)
                return
            if since - began > self._patience_seconds:
                raise LandingError(
                    f"Another task has been busy with {self._file.uri} for {self._patience_seconds:g} s. A retry, which "
                    "is free, uses its file or saves the video itself."
                )
            self._sleep(spread(pause, random.random()))
            pause = min(pause * 1.5, _LONGEST_PAUSE)
            latest = (self._look(), self._file.hidden(_BEAT).content())
            if latest != (sign, beat):
                if or_progress:
                    return
                (sign, beat), since = latest, self._clock()

    def _void(self, sign: _Sign) -> None:
        """Remove the claim of a task that has ended or is dead, unless another task has just done so."""
        if self._look() == sign:
            self._rest |= {sign.token, *sign.rest} - {""}
            self._file.hidden(_CLAIM).remove()

    def _release(self, *, landed: bool) -> None:
        """Release the claim. If a temporary file cannot be removed now, the claim stays and names it for the next task."""
        if not self._taken:
            return
        self._taken = False
        _threads.pop(self.token, None)
        if self._beats is not None:
            self._ended.set()
            self._beats.join()
            self._ended.clear()
            self._beats = None
        with suppress(LandingError):
            if landed:
                rest = self._sweep(self._rest, asides=bool(self._rest))
            else:  # A task that was taken for dead can still be running and needs its files.
                rest = self._rest | self._sweep({self.token}, asides=False)
            if not self.held():
                return
            self._file.hidden(_BEAT).remove()
            if rest:
                self._rest = rest
                self._file.hidden(_CLAIM).write_plainly(self._content(ended=True))
            else:
                self._file.hidden(_CLAIM).remove()

    def _sweep(self, tokens: Iterable[str], *, asides: bool) -> frozenset[str]:
        """Remove the temporary files of tasks. Return the tokens of those whose files could not all be removed."""
        left = set()
        for token in tokens:
            for file in (self._file, self._file.sidecar):
                try:
                    file.hidden(f"{token}{PART}").remove()
                    if asides:
                        file.remove_aside()
                except LandingError as error:
                    log.warning(
                        "The next task that saves this video removes a claim that this one could not: %s",
                        error,
                    )
                    left.add(token)
        return frozenset(left)

    def _content(self, *, ended: bool = False) -> bytes:
        return json.dumps({"token": self.token, "rest": sorted(self._rest), "ended": ended}).encode()

    def _look(self) -> _Sign | None:
        return _read(self._file.hidden(_CLAIM).content())


def _read(content: bytes | None) -> _Sign | None:
    """Return the claim that a file holds, ``None`` without a file."""
    if content is None:
        return None
    try:
        payload = json.loads(content)
        tokens = [str(payload["token"]), *map(str, payload["rest"])]
    except (ValueError, KeyError, TypeError):  # The claim was not written to its end.
        payload, tokens = {}, []
    known = [token for token in tokens if _TOKEN.fullmatch(token)]  # They become parts of file names.
    return _Sign(
        token=known[0] if known and known[0] == tokens[0] else "",
        rest=frozenset(known[1:]),
        ended=bool(payload.get("ended")),
    )
