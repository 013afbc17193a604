"""A claim on a file's name: of several tasks that land one video, one downloads it and the others adopt its file.

A claim only saves downloads. That a file is whole and that its manifest fits never depends on it, because a task can be
held up for longer than the others wait for it.

The claim is a small hidden file beside the video. It says which temporary names its owner uses, so that the next
landing can remove them without listing the folder. While the owner makes progress, it writes to a second file. The
others watch whether that one changes, by their own clock: clocks of different hosts never meet.
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

from airflow_provider_jimeng.core.deadlines import spread
from airflow_provider_jimeng.core.errors import LandingError
from airflow_provider_jimeng.storage.atomic_file import PART, AtomicFile
from airflow_provider_jimeng.storage.manifest import sidecar_of

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
"""The thread of each landing of this process, by token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sign:
    """What a claim says. ``rest``: tokens of dead landings whose temporary files are still there; ``ended``: its owner's too."""

    token: str
    rest: frozenset[str]
    ended: bool


class Claim:
    """One landing's claim, as a context that releases it; the claim is taken by :meth:`take`."""

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
        """Take the claim, or keep it; return whether it is this landing's now."""
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
        """Return whether the claim is still this landing's."""
        sign = self._look()
        return sign is not None and sign.token == self.token

    def wait(self) -> None:
        """Wait until the other landing is over or dead.

        :raises LandingError: it is neither after the time that a download may take.
        """
        log.info("Another task is landing %s. Waiting for its file.", self._file.uri)
        self._await_end()

    def tidy(self) -> bool:
        """Remove what a landing left that was killed as the last thing it did; return whether no claim lies there.

        A landing that shows a sign of life is left alone.
        """
        if self._look() is None:
            return True
        self._await_end(or_sign_of_life=True)
        if self._rest and self.take():
            self._release(landed=True)
        return self._look() is None

    @contextmanager
    def beating(self, progress: Callable[[], object]) -> Iterator[None]:
        """Show signs of life while ``progress`` returns something new."""
        stop = threading.Event()
        thread = threading.Thread(target=self._beat_until, args=(stop, progress), daemon=True)
        try:  # a signal may end the task at any line, and the thread must not go on then
            thread.start()
            yield
        finally:
            stop.set()
            if thread.is_alive():
                thread.join()

    def _beat_until(self, stop: threading.Event, progress: Callable[[], object]) -> None:
        last = None
        with suppress(ValueError):  # the part file is closed
            while not stop.wait(self._silence_seconds * _BEAT_SHARE):
                now = progress()
                if now == last:
                    continue
                last = now
                with suppress(LandingError):  # the store may be back at the next beat
                    if not self.held():
                        return
                    self._beat.write_plainly(f"{self.token} {now}".encode())

    def _await_end(self, *, or_sign_of_life: bool = False) -> None:
        began = since = self._clock()
        seen, beat, pause = self._look(), self._beat.content(), 0.1
        while seen is not None and seen.token != self.token:
            silent = self._clock() - since > self._silence_seconds
            if seen.ended or silent or _threads.get(seen.token) == threading.get_ident():
                # A landing on this very thread, as below a callback, cannot go on before this one returns.
                self._void(seen)
                return
            if since - began > self._patience_seconds:
                raise LandingError(
                    f"Another task has been landing {self._file.uri} for {self._patience_seconds:g} s. A retry, which "
                    "is free, adopts its file or lands it."
                )
            self._sleep(spread(pause, random.random()))
            pause = min(pause * 1.5, _LONGEST_PAUSE)
            latest = (self._look(), self._beat.content())
            if latest != (seen, beat):
                if or_sign_of_life:
                    return
                (seen, beat), since = latest, self._clock()

    def _void(self, seen: _Sign) -> None:
        """Remove the claim of a landing that is over or dead, unless another one has done so just now."""
        if self._look() == seen:
            self._rest |= {seen.token, *seen.rest} - {""}
            self._place.remove()

    def _release(self, *, landed: bool) -> None:
        """Give the claim back. What cannot be removed now is left to the next landing, with the claim."""
        if not self._taken:
            return
        self._taken = False
        _threads.pop(self.token, None)
        with suppress(LandingError):
            if landed:
                rest = self._sweep(self._rest, asides=bool(self._rest))
            else:  # a landing that was taken for dead may still be going on
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
        """Remove the temporary files of landings; return the tokens of those of which one could not be removed."""
        left = set()
        for token in tokens:
            for file in (self._file, sidecar_of(self._file)):
                try:
                    file.beside(file.hidden_name(f"{token}{PART}")).remove()
                    if asides:
                        file.remove_aside()
                except LandingError as error:
                    log.warning("%s The next landing removes it.", error)
                    left.add(token)
        return frozenset(left)

    def _content(self, *, ended: bool = False) -> bytes:
        return json.dumps({"token": self.token, "rest": sorted(self._rest), "ended": ended}).encode()

    def _look(self) -> _Sign | None:
        content = self._place.content()
        if content is None:
            return None
        try:
            told = json.loads(content)
            tokens = [str(told["token"]), *map(str, told["rest"])]
        except (ValueError, KeyError, TypeError):  # not written to its end
            told, tokens = {}, []
        known = [token for token in tokens if _TOKEN.fullmatch(token)]  # they become parts of names
        return _Sign(
            token=known[0] if known and known[0] == tokens[0] else "",
            rest=frozenset(known[1:]),
            ended=bool(told.get("ended")),
        )


def remove_dead_parts(place: OutputPath, entries: Iterable[Mapping[str, Any]]) -> None:
    """Remove the temporary files in a directory of landings that were killed more than a day ago.

    The next landing of a video removes them by their names. It does not know those that 0.1.0 wrote, and a video that
    nobody lands again has no next landing.

    :param entries: the directory's listing. The times in it are the store's.
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
                log.info("Removed %s, which a killed landing left.", place.file(name).uri)
            except LandingError as error:
                log.warning("%s", error)
