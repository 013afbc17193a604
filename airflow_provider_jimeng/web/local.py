"""Landed videos on a disk, where a name may mean another file from one moment to the next.

A directory on the way may turn into a link, and a link may lead to what those who made it cannot read themselves. So a
video and the manifest beside it are looked for in one directory that is held open, and each later read has to find the
very file that was looked at.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from airflow_provider_jimeng.storage.atomic_file import AtomicFile

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


class OtherFileError(Exception):
    """The name means another file than before, or none that can hold a video."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What tells a file from all others on this machine, and its ``size`` in bytes."""

    device: int
    inode: int
    size: int


def look(file: AtomicFile, beside: AtomicFile, most_bytes: int) -> tuple[Identity, bytes]:
    """Return which file it is, and what the small file beside it holds, at most ``most_bytes``.

    :raises OtherFileError: one of them is no file of that kind.
    """
    folder = os.open(file.folder or "/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        with _opened(beside.name, folder) as (small, size):
            if not 0 < size.size <= most_bytes:
                raise OtherFileError
            content = small.read(most_bytes)
        with _opened(file.name, folder) as (_, identity):
            return identity, content
    finally:
        os.close(folder)


@contextmanager
def reopened(file: AtomicFile, identity: Identity) -> Iterator[BinaryIO]:
    """Open a file that was looked at before.

    :raises OtherFileError: its name means another one by now.
    """
    with _opened(file.path, None) as (opened, found):
        if found != identity:
            raise OtherFileError
        yield opened


@contextmanager
def _opened(name: str, folder: int | None) -> Iterator[tuple[BinaryIO, Identity]]:
    with os.fdopen(os.open(name, _READ, dir_fd=folder), "rb") as opened:
        found = os.fstat(opened.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OtherFileError
        yield opened, Identity(device=found.st_dev, inode=found.st_ino, size=found.st_size)
