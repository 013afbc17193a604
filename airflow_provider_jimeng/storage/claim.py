# SPDX-License-Identifier: Apache-2.0
"""A claim on a file name. If several tasks save one video, one downloads it and the others wait for its file.

A claim only avoids double downloads. Whether a file is whole and its manifest fits does not depend on it, because a
task can be held up for longer than the others wait for it.

The claim is a small hidden file beside the video. It names the temporary files of its owner, so that the next task can
remove them without listing the folder. The owner writes to a second file while it makes progress. The others watch
whether that file changes, by their own clock. The clocks of two hosts are never compared.
"""

from __future__ import annotations

import json
import logging
import random
import re
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_jimeng.core.errors import LandingError
from airflow_provider_jimeng.core.limits import spread
from airflow_provider_jimeng.storage.atomic_file import PART, AtomicFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from airflow_provider_jimeng.storage.output import OutputPath

log = logging.getLogger(__name__)

SILENCE_SECONDS = 20.0
"""Seconds without progress after which other tasks take a download for dead."""
_BEAT_SHARE = 0.15
"""The owner of a claim shows progress so often, as a share of the silence that others wait for."""

_LONGEST_PAUSE = 1.0
_DEAD_AFTER_SECONDS = 24 * 3600
_TEMPORARY = re.compile(r"\..+\.([0-9a-f]{16}|claim|beat)\.part")
_TOKEN = re.compile(r"[0-9a-f]{1,32}")
_threads: dict[str, int] = {}
"""The thread of each claim that this process holds, by token."""


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
    """One task's claim. :meth:`take` takes it, and the end of the ``with`` block releases it."""

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
        self._place = file.beside(file.hidden_name(f"claim{PART}"))
        self._beat = file.beside(file.hidden_name(f"beat{PART}"))
        self._sleep = sleep
        self._clock = clock
        self._patience_seconds = patience_seconds
        self._silence_seconds = silence_seconds
        self._rest: frozenset[str] = frozenset()
        self._taken = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._release(landed=error is None)

    def take(self) -> bool:
        """Take the claim if it is free. Return whether this task holds it now."""
        sign = self._look()
        if sign is None:
            self._place.create(self._content())
            sign = self._look()
        if sign is None or sign.token != self.token:
            return False
        self._taken = True
        _threads[self.token] = threading.get_ident()
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

    @contextmanager
    def beating(self, progress: Callable[[], object]) -> Iterator[None]:
        """Show the others that this task makes progress, while ``progress`` returns new values."""
        stop = threading.Event()
        thread = threading.Thread(target=self._beat_until, args=(stop, progress), daemon=True)
        try:  # A signal can end the task at any line. The thread must stop then too.
            thread.start()
            yield
        finally:
            stop.set()
            if thread.is_alive():
                thread.join()

    def _beat_until(self, stop: threading.Event, progress: Callable[[], object]) -> None:
        last = None
        with suppress(ValueError):  # The part file is closed.
            while not stop.wait(self._silence_seconds * _BEAT_SHARE):
                now = progress()
                if now == last:
                    continue
                last = now
                with suppress(LandingError):  # The store can be back at the next beat.
                    if not self.held():
                        return
                    self._beat.write_plainly(f"{self.token} {now}".encode())

    def _await_end(self, *, or_progress: bool = False) -> None:
        began = since = self._clock()
        sign, beat, pause = self._look(), self._beat.content(), 0.1
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
            latest = (self._look(), self._beat.content())
            if latest != (sign, beat):
                if or_progress:
                    return
                (sign, beat), since = latest, self._clock()

    def _void(self, sign: _Sign) -> None:
        """Remove the claim of a task that has ended or is dead, unless another task has just done so."""
        if self._look() == sign:
            self._rest |= {sign.token, *sign.rest} - {""}
            self._place.remove()

    def _release(self, *, landed: bool) -> None:
        """Release the claim. If a temporary file cannot be removed now, the claim stays and names it for the next task."""
        if not self._taken:
            return
        self._taken = False
        _threads.pop(self.token, None)
        with suppress(LandingError):
            if landed:
                rest = self._sweep(self._rest, asides=bool(self._rest))
            else:  # A task that was taken for dead can still be running and needs its files.
                rest = self._rest | self._sweep({self.token}, asides=False)
            if not self.held():
                return
            self._beat.remove()
            if rest:
                self._rest = rest
                self._place.write_plainly(self._content(ended=True))
            else:
                self._place.remove()

    def _sweep(self, tokens: Iterable[str], *, asides: bool) -> frozenset[str]:
        """Remove the temporary files of tasks. Return the tokens of those whose files could not all be removed."""
        left = set()
        for token in tokens:
            for file in (self._file, self._file.sidecar):
                try:
                    file.beside(file.hidden_name(f"{token}{PART}")).remove()
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
        content = self._place.content()
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


def remove_dead_parts(place: OutputPath, entries: Iterable[Mapping[str, Any]]) -> None:
    """Remove the temporary files of tasks that were killed more than a day ago.

    The next task that saves the same video removes them by their names. It does not know the names that 0.1.0 used, and
    not every video is saved again.

    :param entries: the directory's listing, with times by the clock of the store.
    """
    dead_before = time.time() - _DEAD_AFTER_SECONDS
    for entry in entries:
        name = str(entry["name"]).rpartition("/")[2]
        if entry["type"] != "file" or not _TEMPORARY.fullmatch(name):
            continue
        written_at = entry.get("mtime") or entry.get("LastModified") or dead_before
        if isinstance(written_at, datetime):
            written_at = written_at.timestamp()
        if written_at < dead_before:
            try:
                place.file(name).remove()
                log.info("Removed %s, which a killed task left.", place.file(name).uri)
            except LandingError as error:
                log.warning("%s", error)
